// upload.cpp - rows that a client sends and a statement reads as openduck_upload('ID').
//
// An upload is a bounded queue with a name. The client's stream pushes numbered batches; the table function reads them on
// DuckDB's threads, which are never made to wait: when nothing is there, the scan is suspended until the next push.
//
// Invariants:
//   U1  The statement sees the end only after od_upload_finish with matching totals; every other end is an error in it,
//       so an incomplete upload never becomes a committed one.
//   U2  At most one statement execution reads an upload. Binding (DESCRIBE, EXPLAIN, PREPARE) takes nothing.
//   U3  A waker given to the source is called once if and only if the source answered EMPTY.
//   U4  When the reader goes, the queue stops: pushes are dropped and nobody waits for room.
#include "engine/engine_internal.hpp"

#include "arrow/ipc.h"
#include "duck/batch_scan.hpp"

#include "duckdb/catalog/catalog.hpp"
#include "duckdb/function/table_function.hpp"
#include "duckdb/parallel/task_scheduler.hpp"
#include "duckdb/parser/parsed_data/create_table_function_info.hpp"

using namespace duckdb;

struct od_upload {
	std::atomic<unsigned> refs{1};
	std::string id;
	std::string schema; // IPC message
	struct od_batch_queue *queue = nullptr;
	std::atomic<bool> claimed{false};

	std::mutex lock;
	uint64_t batches = 0;
	uint64_t rows = 0;
	bool ended = false; // finished or aborted
	struct od_waker waiting {
		nullptr, nullptr
	}; // the suspended scan

	~od_upload() {
		od_batch_queue_unref(queue);
	}

	//! Takes the waiting scan's waker, if there is one.
	struct od_waker TakeWaiting() {
		std::lock_guard<std::mutex> guard(lock);
		struct od_waker taken = waiting;
		waiting = {nullptr, nullptr};
		return taken;
	}

	void Wake() {
		struct od_waker waker = TakeWaiting();
		if (waker.wake) {
			waker.wake(waker.argument);
		}
	}
};

namespace openduck {

namespace {

void QueueReady(void *argument) {
	static_cast<od_upload *>(argument)->Wake();
}

class UploadHolder {
public:
	explicit UploadHolder(struct od_upload *upload_p) : upload(upload_p) {}
	UploadHolder(const UploadHolder &) = delete;
	UploadHolder &operator=(const UploadHolder &) = delete;
	~UploadHolder() {
		od_upload_unref(upload);
	}
	struct od_upload *const upload;
};

class UploadSource : public BatchSource {
public:
	explicit UploadSource(struct od_upload *upload_p) : holder(od_upload_ref(upload_p)), upload(*upload_p) {}

	~UploadSource() override {
		upload.Wake(); // U3: it was told EMPTY
		od_batch_queue_stop(upload.queue);
		od_batch_unref(early);
	}

	enum od_pop Next(struct od_batch **batch, struct od_waker waker, struct od_error *err) override {
		if (has_early) {
			has_early = false;
			*batch = early;
			early = nullptr;
			*err = early_error;
			return early_pop;
		}
		if (!waker.wake) {
			return od_batch_queue_wait(upload.queue, UINT32_MAX, batch, err);
		}
		{
			std::lock_guard<std::mutex> guard(upload.lock);
			upload.waiting = waker;
		}
		auto pop = od_batch_queue_pop(upload.queue, batch, err);
		if (pop == OD_POP_EMPTY || upload.TakeWaiting().wake) {
			return pop;
		}
		// The waker has been called meanwhile, so the answer has to be EMPTY (U3); what came is for the next call.
		has_early = true;
		early_pop = pop;
		early = pop == OD_POP_BATCH ? *batch : nullptr;
		early_error = *err;
		return OD_POP_EMPTY;
	}

private:
	UploadHolder holder;
	struct od_upload &upload;
	bool has_early = false;
	enum od_pop early_pop = OD_POP_EMPTY;
	struct od_batch *early = nullptr;
	struct od_error early_error {};
};

// ---- the table function

struct UploadFunctionInfo : public TableFunctionInfo {
	explicit UploadFunctionInfo(struct od_engine &engine_p) : engine(engine_p) {}
	struct od_engine &engine;
};

struct UploadBind : public TableFunctionData {
	explicit UploadBind(shared_ptr<UploadHolder> holder_p) : holder(std::move(holder_p)) {}
	~UploadBind() override {
		if (schema.release) {
			schema.release(&schema);
		}
	}
	shared_ptr<UploadHolder> holder;
	struct ArrowSchema schema {};
	optional_idx rows; // that the sender says will come: an estimate for the optimizer
};

struct UploadGlobal : public GlobalTableFunctionState {
	UploadGlobal(struct od_upload *upload, idx_t threads_p)
	    : scan(make_uniq<UploadSource>(upload), {}), threads(threads_p) {}
	idx_t MaxThreads() const override {
		return threads;
	}
	BatchScanGlobal scan;
	idx_t threads;
};

struct UploadLocal : public LocalTableFunctionState {
	unique_ptr<BatchScanGlobal::Local> local;
};

unique_ptr<FunctionData> Bind(ClientContext &context, TableFunctionBindInput &input, vector<LogicalType> &types,
                              vector<string> &names) {
	if (input.inputs[0].IsNull()) {
		throw BinderException("openduck_upload() needs the id of an upload, not NULL");
	}
	auto id = input.inputs[0].ToString();
	auto upload = od_upload_find(&input.info->Cast<UploadFunctionInfo>().engine, id.c_str());
	if (!upload) {
		throw BinderException("There is no upload \"%s\": open it with the Upload call before the statement, and keep "
		                      "that stream open until the statement has ended",
		                      id);
	}
	auto bind = make_uniq<UploadBind>(make_shared_ptr<UploadHolder>(upload));
	auto rows = input.named_parameters.find("rows");
	if (rows != input.named_parameters.end() && !rows->second.IsNull()) {
		bind->rows = UBigIntValue::Get(rows->second);
	}
	struct od_error error = {};
	if (od_ipc_decode_schema(reinterpret_cast<const uint8_t *>(upload->schema.data()), upload->schema.size(),
	                         &bind->schema, &error) != OD_OK) {
		throw InvalidInputException("upload \"%s\": %s", id, error.message);
	}
	types = BatchDecoder(context, bind->schema).Types();
	for (int64_t i = 0; i < bind->schema.n_children; i++) {
		auto name = bind->schema.children[i]->name;
		names.push_back(name ? name : "");
	}
	return std::move(bind);
}

unique_ptr<GlobalTableFunctionState> InitGlobal(ClientContext &context, TableFunctionInitInput &input) {
	auto upload = input.bind_data->Cast<UploadBind>().holder->upload;
	if (upload->claimed.exchange(true)) {
		throw InvalidInputException("upload \"%s\" is read already: an upload can be read once, by one reference",
		                            upload->id);
	}
	auto threads = NumericCast<idx_t>(TaskScheduler::GetScheduler(context).NumberOfThreads());
	return make_uniq<UploadGlobal>(upload, threads);
}

unique_ptr<LocalTableFunctionState> InitLocal(ExecutionContext &context, TableFunctionInitInput &input,
                                              GlobalTableFunctionState *global) {
	auto local = make_uniq<UploadLocal>();
	local->local =
	    global->Cast<UploadGlobal>().scan.MakeLocal(context.client, input.bind_data->Cast<UploadBind>().schema);
	return std::move(local);
}

void Scan(ClientContext &context, TableFunctionInput &input, DataChunk &out) {
	input.global_state->Cast<UploadGlobal>().scan.Scan(context, *input.local_state->Cast<UploadLocal>().local, input,
	                                                   out);
}

OperatorPartitionData PartitionData(ClientContext &, TableFunctionGetPartitionInput &input) {
	if (input.partition_info.RequiresPartitionColumns()) {
		throw InternalException("openduck_upload() has no partition columns");
	}
	auto &global = input.global_state->Cast<UploadGlobal>();
	return OperatorPartitionData(global.scan.BatchIndex(*input.local_state->Cast<UploadLocal>().local));
}

} // namespace

unique_ptr<NodeStatistics> Cardinality(ClientContext &, const FunctionData *data) {
	auto &bind = data->Cast<UploadBind>();
	return bind.rows.IsValid() ? make_uniq<NodeStatistics>(bind.rows.GetIndex()) : make_uniq<NodeStatistics>();
}

void RegisterUploadFunction(struct od_engine &engine, ClientContext &context) {
	TableFunction function("openduck_upload", {LogicalType::VARCHAR}, Scan, Bind, InitGlobal, InitLocal);
	function.get_partition_data = PartitionData;
	function.named_parameters["rows"] = LogicalType::UBIGINT;
	function.cardinality = Cardinality;
	function.function_info = make_shared_ptr<UploadFunctionInfo>(engine);
	CreateTableFunctionInfo info(function);
	info.internal = true;
	Catalog::GetSystemCatalog(context).CreateTableFunction(context, info);
}

} // namespace openduck

using openduck::Guarded;

od_code od_upload_open(struct od_engine *engine, const char *id, const uint8_t *schema, size_t schema_bytes,
                       struct od_upload **upload, struct od_error *err) {
	return Guarded(err, [&] {
		auto u = make_uniq<od_upload>();
		u->id = id;
		u->schema.assign(reinterpret_cast<const char *>(schema), schema_bytes);
		struct od_error error = {};
		const struct od_batch_queue_options options = {engine->budget, false, 0, 0};
		openduck::Check(od_batch_queue_new(&options, &u->queue, &error), error);
		od_batch_queue_on_ready(u->queue, {openduck::QueueReady, u.get()});
		std::lock_guard<std::mutex> guard(engine->uploads.lock);
		if (!engine->uploads.uploads.emplace(u->id, u.get()).second) {
			openduck::Fail(OD_EXISTS, "there is an upload \"%s\" already", id);
		}
		*upload = od_upload_ref(u.release());
	});
}

struct od_upload *od_upload_find(struct od_engine *engine, const char *id) {
	struct od_upload *found = nullptr;
	(void)Guarded(nullptr, [&] {
		std::lock_guard<std::mutex> guard(engine->uploads.lock);
		auto entry = engine->uploads.uploads.find(id);
		if (entry != engine->uploads.uploads.end()) {
			found = od_upload_ref(entry->second);
		}
	});
	return found;
}

struct od_upload *od_upload_ref(struct od_upload *upload) {
	upload->refs.fetch_add(1, std::memory_order_relaxed);
	return upload;
}

void od_upload_unref(struct od_upload *upload) {
	if (upload && upload->refs.fetch_sub(1, std::memory_order_acq_rel) == 1) {
		od_batch_queue_on_ready(upload->queue, {nullptr, nullptr});
		od_batch_queue_stop(upload->queue);
		delete upload;
	}
}

od_code od_upload_push(struct od_upload *upload, uint64_t number, struct od_batch *batch, struct od_error *err) {
	od_code rc = OD_OK;
	{
		std::lock_guard<std::mutex> guard(upload->lock);
		if (number < upload->batches) {
			od_batch_unref(batch); // sent again after a broken connection
			return OD_OK;
		}
		if (upload->ended) {
			rc = od_fail(err, OD_INVALID, "upload \"%s\" has ended; batch %llu comes too late", upload->id.c_str(),
			             static_cast<unsigned long long>(number));
		} else if (number > upload->batches) {
			rc = od_fail(err, OD_INVALID, "upload \"%s\": batch %llu came where %llu was expected", upload->id.c_str(),
			             static_cast<unsigned long long>(number), static_cast<unsigned long long>(upload->batches));
		} else {
			upload->batches++;
			upload->rows += batch->rows;
		}
	}
	if (rc != OD_OK) {
		od_batch_unref(batch);
		return rc;
	}
	od_batch_queue_push(upload->queue, 0, batch);
	return OD_OK;
}

uint64_t od_upload_next_batch(struct od_upload *upload) {
	std::lock_guard<std::mutex> guard(upload->lock);
	return upload->batches;
}

bool od_upload_room(struct od_upload *upload, struct od_waker waker) {
	return !od_batch_queue_full(upload->queue, 0, waker);
}

od_code od_upload_finish(struct od_upload *upload, uint64_t batches, uint64_t rows, struct od_error *err) {
	struct od_error failure = {};
	od_code rc = OD_OK;
	{
		std::lock_guard<std::mutex> guard(upload->lock);
		if (upload->ended) {
			return OD_OK; // sent again
		}
		upload->ended = true;
		if (batches != upload->batches || rows != upload->rows) {
			rc = od_fail(&failure, OD_INVALID,
			             "upload \"%s\": %llu batches with %llu rows were sent, %llu with %llu have arrived",
			             upload->id.c_str(), static_cast<unsigned long long>(batches),
			             static_cast<unsigned long long>(rows), static_cast<unsigned long long>(upload->batches),
			             static_cast<unsigned long long>(upload->rows));
		}
	}
	od_batch_queue_finish(upload->queue, rc == OD_OK ? nullptr : &failure);
	if (rc != OD_OK && err) {
		*err = failure;
	}
	return rc;
}

void od_upload_abort(struct od_upload *upload, const struct od_error *failure) {
	struct od_error reason = *failure;
	if (reason.code == OD_CANCELLED) {
		// The rows were given up, not the statement that reads them: it must not look cancelled itself.
		reason.code = OD_DISCONNECTED;
	}
	{
		std::lock_guard<std::mutex> guard(upload->lock);
		if (upload->ended) {
			return;
		}
		upload->ended = true;
	}
	od_batch_queue_finish(upload->queue, &reason);
}

bool od_upload_claimed(struct od_upload *upload) {
	return upload->claimed;
}

void od_upload_close(struct od_engine *engine, const char *id) {
	struct od_upload *upload = nullptr;
	(void)Guarded(nullptr, [&] {
		std::lock_guard<std::mutex> guard(engine->uploads.lock);
		auto entry = engine->uploads.uploads.find(id);
		if (entry != engine->uploads.uploads.end()) {
			upload = entry->second;
			engine->uploads.uploads.erase(entry);
		}
	});
	if (!upload) {
		return;
	}
	// A statement that still reads it must not wait for ever (U1).
	struct od_error failure = {};
	(void)od_fail(&failure, OD_CANCELLED, "upload \"%s\" was closed before its end", id);
	od_upload_abort(upload, &failure);
	od_upload_unref(upload);
}
