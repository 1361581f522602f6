// batch_sink.hpp - a pipeline's end that encodes chunks into a batch queue, in parallel and in order. The engine's result
// collector and the extension's upload sink are both thin operators around it.
//
// Rules: sinks never wait. Full() is asked before a chunk is touched; when it says true the operator returns BLOCKED
// with the interrupt state it was given. Ordered pipelines carry DuckDB's batch index (OperatorPartitionInfo::BatchIndex).
#ifndef OD_DUCK_BATCH_SINK_HPP
#define OD_DUCK_BATCH_SINK_HPP

#include "arrow/batch_queue.h"
#include "duck/convert.hpp"
#include "duckdb/execution/physical_operator.hpp"

namespace openduck {

//! How a plan's rows may be collected without changing their order.
struct SinkOrder {
	bool parallel;    //! several threads may sink
	bool batch_index; //! order by batch index
	static SinkOrder Of(duckdb::ClientContext &context, duckdb::PhysicalOperator &root);
};

class BatchSink {
public:
	BatchSink(struct od_batch_queue *queue, const duckdb::vector<duckdb::LogicalType> &types, bool exact,
	          enum od_ipc_codec codec, SinkOrder order);
	duckdb::unique_ptr<duckdb::LocalSinkState> LocalState() const;
	duckdb::SinkResultType Sink(duckdb::DataChunk &chunk, duckdb::OperatorSinkInput &input) const;
	duckdb::SinkNextBatchType NextBatch(duckdb::OperatorSinkNextBatchInput &input) const;
	duckdb::SinkCombineResultType Combine(duckdb::OperatorSinkCombineInput &input) const;

private:
	struct od_batch_queue *queue; // borrowed
	duckdb::vector<duckdb::LogicalType> types;
	bool exact;
	enum od_ipc_codec codec;
	SinkOrder order;
};

} // namespace openduck

#endif
