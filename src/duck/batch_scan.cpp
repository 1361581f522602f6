// batch_scan.cpp - numbered batches into chunks (see batch_scan.hpp).
//
// A claim is a run of consecutive batches for one thread, with one batch index. It stays open until it covers a row
// group: its owner decodes what is there meanwhile, and threads that come for more fill it before they begin their own.
//
// Invariants
//   S1  Batches are taken under the lock, in the source's order; at most one claim is open, the newest.
//   S2  Claim indexes rise with the order of their rows, so an ordered sink restores it; a thread's indexes only rise.
//   S3  At most one waker is with the source at a time: the source is asked again only after it was called.
//   S4  Nothing waits under the lock. A DuckDB thread waits here for a few milliseconds at most; then the scan returns
//       BLOCKED with a task that waits as shortly, so that other work of the process gets its turn (DuckDB 1.5 gives a
//       table function no way to be woken from outside). In synchronous mode, where BLOCKED is not allowed, it waits on,
//       noticing interrupts.
//   S5  A claim holds at most CLAIM_READY_MAX batches that are not decoded yet.
#include "duck/batch_scan.hpp"

#include "base/limits.h"
#include "duckdb/main/client_context.hpp"
#include "duckdb/parallel/async_result.hpp"

#include <chrono>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <mutex>

namespace openduck {

using namespace duckdb; // NOLINT: written in DuckDB's vocabulary

namespace {

constexpr auto SHORT_WAIT = std::chrono::milliseconds(2);
constexpr idx_t CLAIM_READY_MAX = 16;

//! What the source's waker signals. Shared with the source until it has called.
struct Signal {
	std::mutex lock;
	std::condition_variable changed;
	bool raised = false;

	void Raise() {
		std::lock_guard<std::mutex> guard(lock);
		raised = true;
		changed.notify_all();
	}
	bool Wait(std::chrono::milliseconds limit) {
		std::unique_lock<std::mutex> guard(lock);
		return changed.wait_for(guard, limit, [&] { return raised; });
	}
};

void RaiseSignal(void *argument) {
	unique_ptr<shared_ptr<Signal>> signal(static_cast<shared_ptr<Signal> *>(argument));
	(*signal)->Raise();
}

class WaitTask : public AsyncTask {
public:
	explicit WaitTask(shared_ptr<Signal> signal) : signal(std::move(signal)) {
	}
	void Execute() override {
		signal->Wait(SHORT_WAIT);
	}

private:
	shared_ptr<Signal> signal;
};

struct BatchUnref {
	void operator()(struct od_batch *batch) const {
		od_batch_unref(batch);
	}
};
using BatchHolder = std::unique_ptr<struct od_batch, BatchUnref>;

struct Claim {
	idx_t index;
	idx_t batches_wanted;
	idx_t batches = 0;
	idx_t rows = 0;
	std::deque<BatchHolder> ready;
};

struct LocalState : public BatchScanGlobal::Local {
	LocalState(ClientContext &context, const struct ArrowSchema &schema) : decoder(context, schema) {
	}
	BatchDecoder decoder;
	shared_ptr<Claim> claim;
	idx_t index = 0;
};

} // namespace

struct BatchScanGlobal::Impl {
	unique_ptr<BatchSource> source;
	vector<idx_t> columns;

	std::mutex lock; // guards all below, the source, and what is in claims
	shared_ptr<Signal> waiting;
	shared_ptr<Claim> open; // the claim that is being filled
	idx_t next_index = 0;
	idx_t batches_wanted = 1; // grows, so that the first rows come fast
	bool ended = false;
	ErrorData failure;

	//! One batch, or nullptr: the source has ended, or is empty (then `waiting` is set).
	BatchHolder Take() {
		if (ended) {
			return nullptr;
		}
		if (waiting) {
			if (!waiting->Wait(std::chrono::milliseconds(0))) {
				return nullptr; // S3
			}
			waiting = nullptr;
		}
		auto signal = make_shared_ptr<Signal>();
		auto argument = make_uniq<shared_ptr<Signal>>(signal);
		struct od_batch *batch = nullptr;
		struct od_error err;
		memset(&err, 0, sizeof err);
		switch (source->Next(&batch, {RaiseSignal, argument.get()}, &err)) {
		case OD_POP_BATCH:
			return BatchHolder(batch);
		case OD_POP_EMPTY:
			argument.release(); // NOLINT: RaiseSignal deletes it
			waiting = signal;
			return nullptr;
		case OD_POP_END:
			ended = true;
			return nullptr;
		case OD_POP_FAILED:
			break;
		}
		ended = true;
		failure = ErrorToDuck(err);
		return nullptr;
	}

	void Fill(BatchHolder batch) {
		open->rows += batch->rows;
		open->batches++;
		open->ready.push_back(std::move(batch));
		if (open->rows >= OD_BATCH_ROWS_MAX || open->batches >= open->batches_wanted ||
		    open->ready.size() >= CLAIM_READY_MAX) {
			open = nullptr;
		}
	}

	//! The thread's next batch, or nullptr: there is nothing now (`waiting` is set) or any more (`ended` is).
	BatchHolder Next(LocalState &local) {
		while (true) {
			auto &claim = local.claim;
			if (claim && !claim->ready.empty()) {
				auto batch = std::move(claim->ready.front());
				claim->ready.pop_front();
				local.index = claim->index;
				return batch;
			}
			if (claim != open) {
				claim = nullptr;
			}
			auto batch = Take();
			if (failure.HasError()) {
				failure.Throw();
			}
			if (!batch) {
				return nullptr;
			}
			if (!open) {
				open = make_shared_ptr<Claim>();
				open->index = next_index++;
				open->batches_wanted = batches_wanted;
				batches_wanted *= batches_wanted < OD_BATCH_ROWS_MAX ? 2 : 1;
				claim = open;
			}
			Fill(std::move(batch));
		}
	}
};

BatchScanGlobal::BatchScanGlobal(unique_ptr<BatchSource> source, vector<idx_t> columns) : impl(make_uniq<Impl>()) {
	impl->source = std::move(source);
	impl->columns = std::move(columns);
}

BatchScanGlobal::~BatchScanGlobal() {
}

unique_ptr<BatchScanGlobal::Local> BatchScanGlobal::MakeLocal(ClientContext &context,
                                                              const struct ArrowSchema &schema) {
	return make_uniq_base<Local, LocalState>(context, schema);
}

void BatchScanGlobal::Scan(ClientContext &context, Local &local_p, TableFunctionInput &input, DataChunk &out) {
	auto &local = static_cast<LocalState &>(local_p);
	while (true) {
		if (local.decoder.Remaining()) {
			local.decoder.Read(out, impl->columns);
			if (out.size()) {
				return;
			}
		}
		BatchHolder batch;
		shared_ptr<Signal> waiting;
		{
			std::lock_guard<std::mutex> guard(impl->lock);
			batch = impl->Next(local);
			waiting = impl->waiting;
			if (!batch && impl->ended) {
				out.SetCardinality(0);
				return;
			}
		}
		if (batch) {
			local.decoder.Load(batch.get());
			continue;
		}
		if (waiting->Wait(SHORT_WAIT)) {
			continue;
		}
		if (context.interrupted) {
			throw InterruptException();
		}
		if (input.results_execution_mode == AsyncResultsExecutionMode::TASK_EXECUTOR) {
			vector<unique_ptr<AsyncTask>> tasks;
			tasks.push_back(make_uniq_base<AsyncTask, WaitTask>(std::move(waiting)));
			input.async_result = AsyncResult(std::move(tasks));
			return;
		}
	}
}

idx_t BatchScanGlobal::BatchIndex(const Local &local) const {
	return static_cast<const LocalState &>(local).index;
}

} // namespace openduck
