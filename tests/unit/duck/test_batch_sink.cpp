// test_batch_sink.cpp - a query's pipelines into an ordered, small queue: order, completeness, blocking, stopping.
#include "support.hpp"

#include "duckdb/common/types/column/column_data_collection.hpp"
#include "duckdb/execution/operator/helper/physical_result_collector.hpp"
#include "duckdb/main/client_config.hpp"
#include "duckdb/main/materialized_query_result.hpp"
#include "duckdb/main/prepared_statement_data.hpp"

#include <atomic>
#include <thread>

using namespace duckdb;
using namespace openduck;

class Collector : public PhysicalResultCollector {
public:
	Collector(PhysicalPlan &plan, PreparedStatementData &data, od_batch_queue *queue, SinkOrder order)
	    : PhysicalResultCollector(plan, data), order(order), sink(queue, types, true, OD_IPC_PLAIN, order) {
	}
	SinkOrder order;
	BatchSink sink;
	unique_ptr<GlobalSinkState> GetGlobalSinkState(ClientContext &) const override {
		return make_uniq<GlobalSinkState>();
	}
	unique_ptr<LocalSinkState> GetLocalSinkState(ExecutionContext &) const override {
		return sink.LocalState();
	}
	bool ParallelSink() const override {
		return order.parallel;
	}
	OperatorPartitionInfo RequiredPartitionInfo() const override {
		return order.batch_index ? OperatorPartitionInfo::BatchIndex() : OperatorPartitionInfo::NoPartitionInfo();
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
	unique_ptr<QueryResult> GetResult(GlobalSinkState &) const override {
		return make_uniq<MaterializedQueryResult>(
		    statement_type, properties, names, make_uniq<ColumnDataCollection>(Allocator::DefaultAllocator(), types),
		    ClientProperties());
	}
};

//! Runs a query on its own thread; its batches come out of `queue`.
struct Running {
	Connection con;
	od_batch_queue *queue = nullptr;
	vector<LogicalType> types;
	SinkOrder order = {false, false};
	string error;
	std::thread thread;
	std::atomic<bool> done {false};

	Running(DuckDB &db, const string &sql, od_batch_queue_options options) : con(db) {
		types = con.Prepare(sql)->GetTypes();
		assert_int_equal(od_batch_queue_new(&options, &queue, nullptr), OD_OK);
		ClientConfig::GetConfig(*con.context).get_result_collector = [this](ClientContext &context,
		                                                                    PreparedStatementData &data) {
			order = SinkOrder::Of(context, data.physical_plan->Root());
			return make_uniq_base<PhysicalOperator, Collector>(*data.physical_plan, data, queue, order);
		};
		thread = std::thread([this, sql] {
			auto result = con.Query(sql);
			od_error err = {};
			if (result->HasError()) {
				error = result->GetError();
				ErrorFromDuck(result->GetErrorObject(), &err);
			}
			od_batch_queue_finish(queue, result->HasError() ? &err : nullptr);
			done = true;
		});
	}
	~Running() {
		od_batch_queue_stop(queue);
		thread.join();
		od_batch_queue_unref(queue);
	}
};

static unique_ptr<DuckDB> db;

static int SetUp(void **) {
	db = make_uniq<DuckDB>(nullptr);
	Connection con(*db);
	con.Query("SET threads = 4");
	auto made = con.Query("CREATE TABLE numbers AS SELECT i, i::VARCHAR || repeat('x', 20) AS t FROM range(2000000) r(i)");
	assert_false(made->HasError());
	return 0;
}

static int TearDown(void **) {
	db.reset();
	return 0;
}

//! All values of the first column, which is BIGINT.
static vector<int64_t> Numbers(Running &running, unsigned pause_every = 0) {
	vector<int64_t> numbers;
	Connection con(*db);
	con.BeginTransaction();
	SchemaPtr schema;
	vector<string> names;
	for (idx_t i = 0; i < running.types.size(); i++) {
		names.push_back("c" + to_string(i));
	}
	SendSchema(running.types, names, true, schema);
	BatchDecoder decoder(*con.context, schema.schema);
	DataChunk out;
	out.Initialize(Allocator::DefaultAllocator(), running.types);
	od_error err = {};
	od_batch *batch;
	for (unsigned count = 1;; count++) {
		auto pop = od_batch_queue_wait(running.queue, 60000, &batch, &err);
		if (pop != OD_POP_BATCH) {
			assert_int_equal(pop, OD_POP_END);
			break;
		}
		BatchPtr owned(batch);
		decoder.Load(Sent(*batch).get());
		while (decoder.Remaining()) {
			out.Reset();
			decoder.Read(out);
			out.Flatten();
			auto values = FlatVector::GetData<int64_t>(out.data[0]);
			numbers.insert(numbers.end(), values, values + out.size());
		}
		if (pause_every && count % pause_every == 0) {
			std::this_thread::sleep_for(std::chrono::milliseconds(1));
		}
	}
	con.Rollback();
	return numbers;
}

static void InOrder(void **) {
	// Room for two batches: the sinks block again and again, also those ahead of the smallest index.
	for (uint64_t room : {2000000ull, 64000000ull}) {
		od_batch_queue_options options = {};
		options.ordered = true;
		options.sendable_bytes = room;
		options.ahead_bytes = room;
		Running running(*db, "SELECT i, t FROM numbers", options);
		auto numbers = Numbers(running, 3);
		assert_true(running.order.parallel && running.order.batch_index);
		assert_int_equal(numbers.size(), 2000000);
		for (idx_t i = 0; i < numbers.size(); i++) {
			assert_int_equal(numbers[i], i);
		}
	}
}

static void InOrderOnOneThread(void **) {
	od_batch_queue_options options = {};
	options.ordered = true;
	Running running(*db, "SELECT row_number() OVER () FROM numbers WHERE i % 3 = 0", options);
	auto numbers = Numbers(running);
	for (idx_t i = 0; i < numbers.size(); i++) {
		assert_int_equal(numbers[i], i + 1);
	}
	assert_int_equal(numbers.size(), 666667);
}

static void InAnyOrder(void **) {
	Connection con(*db);
	od_batch_queue_options options = {};
	options.sendable_bytes = 2000000;
	con.Query("SET GLOBAL preserve_insertion_order = false");
	Running running(*db, "SELECT i, t FROM numbers", options);
	auto numbers = Numbers(running);
	con.Query("SET GLOBAL preserve_insertion_order = true");
	assert_true(running.order.parallel && !running.order.batch_index);
	std::sort(numbers.begin(), numbers.end());
	assert_int_equal(numbers.size(), 2000000);
	for (idx_t i = 0; i < numbers.size(); i++) {
		assert_int_equal(numbers[i], i);
	}
}

static void WideRowsBlockInMidChunk(void **) {
	// One chunk is many batches, and there is room for one only.
	od_batch_queue_options options = {};
	options.ordered = true;
	options.sendable_bytes = 1;
	options.ahead_bytes = 1;
	Running running(*db, "SELECT i, repeat(t, 2000) FROM numbers LIMIT 3000", options);
	auto numbers = Numbers(running);
	assert_int_equal(numbers.size(), 3000);
	for (idx_t i = 0; i < numbers.size(); i++) {
		assert_int_equal(numbers[i], i);
	}
}

static void StoppingEndsTheQuery(void **) {
	for (bool ordered : {true, false}) {
		od_batch_queue_options options = {};
		options.ordered = ordered;
		options.sendable_bytes = 1000000;
		Running running(*db, "SELECT a.i, b.t FROM numbers a, numbers b", options);
		od_batch *batch;
		od_error err = {};
		assert_int_equal(od_batch_queue_wait(running.queue, 60000, &batch, &err), OD_POP_BATCH);
		od_batch_unref(batch);
		od_batch_queue_stop(running.queue); // 4 * 10^12 rows are left
	}
}

static void ErrorsEndTheQueue(void **) {
	od_batch_queue_options options = {};
	options.ordered = true;
	Running running(*db, "SELECT i, CASE WHEN i = 1999999 THEN error('it broke') ELSE 1 END FROM numbers", options);
	od_error err = {};
	od_batch *batch;
	od_pop pop;
	while ((pop = od_batch_queue_wait(running.queue, 60000, &batch, &err)) == OD_POP_BATCH) {
		od_batch_unref(batch);
	}
	assert_int_equal(pop, OD_POP_FAILED);
	assert_non_null(strstr(err.message, "it broke"));
}

int main() {
	const CMUnitTest tests[] = {
	    cmocka_unit_test(InOrder),
	    cmocka_unit_test(InOrderOnOneThread),
	    cmocka_unit_test(InAnyOrder),
	    cmocka_unit_test(WideRowsBlockInMidChunk),
	    cmocka_unit_test(StoppingEndsTheQuery),
	    cmocka_unit_test(ErrorsEndTheQueue),
	};
	return cmocka_run_group_tests_name("batch_sink", tests, SetUp, TearDown);
}
