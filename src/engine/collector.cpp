// collector.cpp - the operator at the end of a streaming plan: DuckDB's face of BatchSink, which does the work on
// DuckDB's own threads and answers BLOCKED when the consumer is slow.
#include "engine/collector.hpp"

#include "duckdb/common/types/column/column_data_collection.hpp"
#include "duckdb/execution/operator/helper/physical_result_collector.hpp"
#include "duckdb/execution/physical_plan_generator.hpp"
#include "duckdb/main/client_context.hpp"
#include "duckdb/main/materialized_query_result.hpp"

using namespace duckdb;

namespace openduck {

namespace {

class StreamCollector : public PhysicalResultCollector {
public:
	StreamCollector(PreparedStatementData &data, struct od_batch_queue *queue, bool exact, enum od_ipc_codec codec,
	                SinkOrder order_p)
	    : PhysicalResultCollector(*data.physical_plan, data), order(order_p),
	      sink(queue, data.types, exact, codec, order_p) {}

	unique_ptr<GlobalSinkState> GetGlobalSinkState(ClientContext &) const override {
		return make_uniq<GlobalSinkState>();
	}
	unique_ptr<LocalSinkState> GetLocalSinkState(ExecutionContext &) const override {
		return sink.LocalState();
	}
	SinkResultType Sink(ExecutionContext &, DataChunk &chunk, OperatorSinkInput &input) const override {
		return sink.Sink(chunk, input);
	}
	SinkNextBatchType NextBatch(ExecutionContext &, OperatorSinkNextBatchInput &input) const override {
		return sink.NextBatch(input);
	}
	SinkCombineResultType Combine(ExecutionContext &, OperatorSinkCombineInput &input) const override {
		return sink.Combine(input);
	}
	bool ParallelSink() const override {
		return order.parallel;
	}
	bool SinkOrderDependent() const override {
		return true;
	}
	OperatorPartitionInfo RequiredPartitionInfo() const override {
		return order.batch_index ? OperatorPartitionInfo::BatchIndex() : OperatorPartitionInfo::NoPartitionInfo();
	}
	unique_ptr<QueryResult> GetResult(GlobalSinkState &) const override {
		return make_uniq<MaterializedQueryResult>(statement_type, properties, names,
		                                          make_uniq<ColumnDataCollection>(Allocator::DefaultAllocator(), types),
		                                          ClientProperties());
	}

private:
	SinkOrder order;
	BatchSink sink;
};

} // namespace

unique_ptr<PhysicalOperator> MakeStreamCollector(PreparedStatementData &data, struct od_batch_queue *queue, bool exact,
                                                 enum od_ipc_codec codec, SinkOrder order) {
	return make_uniq_base<PhysicalOperator, StreamCollector>(data, queue, exact, codec, order);
}

} // namespace openduck
