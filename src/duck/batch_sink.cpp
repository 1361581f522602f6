// batch_sink.cpp - chunks into batches into the queue (see batch_sink.hpp).
//
// A chunk may end in the middle of a batch's room: the sink then has to push before it can go on, and may be told to wait
// while the chunk is half done. DuckDB gives the same chunk again after BLOCKED, so the position is kept.
#include "duck/batch_sink.hpp"

#include "duckdb/execution/physical_plan_generator.hpp"
#include "duckdb/parallel/interrupt.hpp"

namespace openduck {

using namespace duckdb; // NOLINT: written in DuckDB's vocabulary

SinkOrder SinkOrder::Of(ClientContext &context, PhysicalOperator &root) {
	if (!PhysicalPlanGenerator::PreserveInsertionOrder(context, root)) {
		return {true, false};
	}
	// Without batch indexes the order can be kept by one thread only.
	auto batch_index = PhysicalPlanGenerator::UseBatchIndex(context, root);
	return {batch_index, batch_index};
}

namespace {

struct BatchSinkLocal : public LocalSinkState {
	BatchSinkLocal(const vector<LogicalType> &types, bool exact, enum od_ipc_codec codec)
	    : encoder(types, exact, codec) {
	}
	BatchEncoder encoder;
	idx_t index = 0;    // of the batch being filled
	idx_t position = 0; // rows of the present chunk that are encoded already
};

void Resume(void *argument) {
	unique_ptr<InterruptState> state(static_cast<InterruptState *>(argument));
	state->Callback();
}

//! Pushes what the encoder holds, unless the queue has no room: then false, and the task is resumed later.
bool Flush(struct od_batch_queue *queue, BatchSinkLocal &local, const InterruptState &interrupt) {
	if (!local.encoder.Rows()) {
		return true;
	}
	auto holder = make_uniq<InterruptState>(interrupt);
	if (od_batch_queue_full(queue, local.index, {Resume, holder.get()})) {
		holder.release(); // NOLINT: Resume deletes it
		return false;
	}
	od_batch_queue_push(queue, local.index, local.encoder.Finish());
	return true;
}

} // namespace

BatchSink::BatchSink(struct od_batch_queue *queue, const vector<LogicalType> &types, bool exact,
                     enum od_ipc_codec codec, SinkOrder order)
    : queue(queue), types(types), exact(exact), codec(codec), order(order) {
}

unique_ptr<LocalSinkState> BatchSink::LocalState() const {
	return make_uniq<BatchSinkLocal>(types, exact, codec);
}

SinkResultType BatchSink::Sink(DataChunk &chunk, OperatorSinkInput &input) const {
	auto &local = input.local_state.Cast<BatchSinkLocal>();
	if (od_batch_queue_stopped(queue)) {
		return SinkResultType::FINISHED;
	}
	if (order.batch_index) {
		local.index = local.partition_info.batch_index.GetIndex();
		od_batch_queue_advance(queue, local.partition_info.min_batch_index.GetIndex());
	}
	bool must_flush = local.encoder.Full();
	while (local.position < chunk.size()) {
		if (must_flush && !Flush(queue, local, input.interrupt_state)) {
			return SinkResultType::BLOCKED;
		}
		local.position += local.encoder.Append(chunk, local.position);
		must_flush = true; // rows are left only when the batch has no room for them
	}
	local.position = 0;
	return SinkResultType::NEED_MORE_INPUT;
}

SinkNextBatchType BatchSink::NextBatch(OperatorSinkNextBatchInput &input) const {
	auto &local = input.local_state.Cast<BatchSinkLocal>();
	if (!Flush(queue, local, input.interrupt_state)) {
		return SinkNextBatchType::BLOCKED;
	}
	local.index = local.partition_info.batch_index.GetIndex();
	od_batch_queue_advance(queue, local.partition_info.min_batch_index.GetIndex());
	return SinkNextBatchType::READY;
}

SinkCombineResultType BatchSink::Combine(OperatorSinkCombineInput &input) const {
	auto &local = input.local_state.Cast<BatchSinkLocal>();
	// The last batch of a thread goes in without asking: at most one per thread, and nothing follows it.
	if (local.encoder.Rows()) {
		od_batch_queue_push(queue, local.index, local.encoder.Finish());
	}
	if (order.batch_index) {
		od_batch_queue_advance(queue, local.partition_info.min_batch_index.GetIndex());
	}
	return SinkCombineResultType::FINISHED;
}

} // namespace openduck
