// test_batch_scan.cpp - a table function over a source of batches that is now full, now empty: order, row groups,
// parallel threads, failure, interrupts.
#include "support.hpp"

#include "duckdb/main/extension/extension_loader.hpp"

#include <atomic>
#include <condition_variable>
#include <thread>

using namespace duckdb;
using namespace openduck;

//! What a source does; the tests set it before a query.
static struct Script {
	idx_t rows = 1000000;
	idx_t batch_rows = 5000;
	idx_t empty_every = 0;       // each so many batches: nothing for a millisecond
	idx_t fail_at = ~idx_t(0);   // batch
	bool never = false;          // EMPTY until the end of time
	std::atomic<idx_t> wakers {0}; // left and not called
} script;

static const vector<LogicalType> TYPES = {LogicalType::BIGINT, LogicalType::VARCHAR};
static const vector<string> NAMES = {"i", "t"};

class ScriptedSource : public BatchSource {
public:
	~ScriptedSource() override {
		if (pauser.joinable()) {
			pauser.join();
		}
		if (pending.wake) {
			Wake(pending);
		}
	}
	od_pop Next(od_batch **batch, od_waker waker, od_error *err) override {
		if (script.never) {
			assert_null(pending.wake);
			pending = waker;
			script.wakers++;
			return OD_POP_EMPTY;
		}
		if (number == script.fail_at) {
			od_fail(err, OD_DISCONNECTED, "the server went away");
			return OD_POP_FAILED;
		}
		if (script.empty_every && number % script.empty_every == 0 && !paused) {
			paused = true;
			if (pauser.joinable()) {
				pauser.join();
			}
			script.wakers++;
			pauser = std::thread([waker] {
				std::this_thread::sleep_for(std::chrono::milliseconds(1));
				Wake(waker);
			});
			return OD_POP_EMPTY;
		}
		paused = false;
		auto first = number++ * script.batch_rows;
		if (first >= script.rows) {
			return OD_POP_END;
		}
		BatchEncoder encoder(TYPES, true);
		DataChunk chunk;
		chunk.Initialize(Allocator::DefaultAllocator(), TYPES);
		auto left = MinValue<idx_t>(script.batch_rows, script.rows - first);
		while (left) {
			auto count = MinValue<idx_t>(left, STANDARD_VECTOR_SIZE);
			chunk.Reset();
			for (idx_t i = 0; i < count; i++) {
				FlatVector::GetData<int64_t>(chunk.data[0])[i] = int64_t(first + i);
				FlatVector::GetData<string_t>(chunk.data[1])[i] =
				    StringVector::AddString(chunk.data[1], "the text of row " + to_string(first + i));
			}
			chunk.SetCardinality(count);
			assert_int_equal(encoder.Append(chunk), count);
			first += count;
			left -= count;
		}
		BatchPtr made(encoder.Finish());
		*batch = Sent(*made).release();
		return OD_POP_BATCH;
	}

private:
	static void Wake(od_waker waker) {
		script.wakers--;
		waker.wake(waker.argument);
	}
	idx_t number = 0;
	bool paused = false;
	od_waker pending = {};
	std::thread pauser;
};

struct ScanBind : public TableFunctionData {
	SchemaPtr schema;
};

struct ScanGlobal : public GlobalTableFunctionState {
	explicit ScanGlobal(vector<idx_t> columns) : scan(make_uniq_base<BatchSource, ScriptedSource>(), std::move(columns)) {
	}
	BatchScanGlobal scan;
	idx_t MaxThreads() const override {
		return 4;
	}
};

struct ScanLocal : public LocalTableFunctionState {
	unique_ptr<BatchScanGlobal::Local> local;
};

static unique_ptr<FunctionData> Bind(ClientContext &, TableFunctionBindInput &, vector<LogicalType> &types,
                                     vector<string> &names) {
	auto bind = make_uniq<ScanBind>();
	SendSchema(TYPES, NAMES, true, bind->schema);
	types = TYPES;
	names = NAMES;
	return std::move(bind);
}

static unique_ptr<GlobalTableFunctionState> InitGlobal(ClientContext &, TableFunctionInitInput &input) {
	vector<idx_t> columns;
	for (auto column : input.column_ids) {
		columns.push_back(column < 2 ? column : 0);
	}
	return make_uniq<ScanGlobal>(std::move(columns));
}

static unique_ptr<LocalTableFunctionState> InitLocal(ExecutionContext &context, TableFunctionInitInput &input,
                                                     GlobalTableFunctionState *global) {
	auto local = make_uniq<ScanLocal>();
	local->local = global->Cast<ScanGlobal>().scan.MakeLocal(context.client, input.bind_data->Cast<ScanBind>().schema.schema);
	return std::move(local);
}

static void Scan(ClientContext &context, TableFunctionInput &input, DataChunk &out) {
	input.global_state->Cast<ScanGlobal>().scan.Scan(context, *input.local_state->Cast<ScanLocal>().local, input, out);
}

static OperatorPartitionData Partition(ClientContext &, TableFunctionGetPartitionInput &input) {
	return OperatorPartitionData(
	    input.global_state->Cast<ScanGlobal>().scan.BatchIndex(*input.local_state->Cast<ScanLocal>().local));
}

static unique_ptr<DuckDB> db;
static unique_ptr<Connection> con;

static int SetUp(void **) {
	db = make_uniq<DuckDB>(nullptr);
	con = make_uniq<Connection>(*db);
	con->Query("SET threads = 4");
	TableFunction function("scripted", {}, Scan, Bind, InitGlobal, InitLocal);
	function.projection_pushdown = true;
	function.get_partition_data = Partition;
	ExtensionLoader loader(*db->instance, "scripted");
	loader.RegisterFunction(function);
	return 0;
}

static int TearDown(void **) {
	con.reset();
	db.reset();
	return 0;
}

static Value One(const string &sql) {
	auto result = con->Query(sql);
	if (result->HasError()) {
		fail_msg("%s", result->GetError().c_str());
	}
	return result->GetValue(0, 0);
}

static void Reset(idx_t rows, idx_t batch_rows, idx_t empty_every) {
	script.rows = rows;
	script.batch_rows = batch_rows;
	script.empty_every = empty_every;
	script.fail_at = ~idx_t(0);
	script.never = false;
	assert_int_equal(script.wakers.load(), 0);
}

static void AllRowsInOrder(void **) {
	const idx_t shapes[][3] = {{1000000, 5000, 0}, {500000, 8192, 3}, {300000, 100000, 1}, {20000, 100, 7},
	                           {0, 100, 0},        {1, 1, 1},         {122880, 122880, 0}};
	for (auto &shape : shapes) {
		Reset(shape[0], shape[1], shape[2]);
		assert_true(One("SELECT count(*) FROM scripted()") == Value::BIGINT(int64_t(shape[0])));
		assert_true(One("SELECT count(*) FROM (SELECT i, t, row_number() OVER () AS n FROM scripted()) "
		                "WHERE i <> n - 1 OR t <> 'the text of row ' || i") == Value::BIGINT(0));
		// An ordered insert restores the order of the threads' rows by batch index.
		con->Query("CREATE OR REPLACE TEMP TABLE copy AS SELECT t, i FROM scripted()");
		assert_true(One("SELECT count(*) FROM copy WHERE i <> rowid OR t <> 'the text of row ' || i") == Value::BIGINT(0));
		assert_true(One("SELECT count(*) FROM copy") == Value::BIGINT(int64_t(shape[0])));
	}
}

static void AStreamingClientSeesTheOrder(void **) {
	Reset(400000, 3000, 5);
	auto result = con->SendQuery("SELECT i FROM scripted()");
	int64_t next = 0;
	while (auto chunk = result->Fetch()) {
		for (idx_t i = 0; i < chunk->size(); i++) {
			assert_true(chunk->GetValue(0, i) == Value::BIGINT(next++));
		}
	}
	assert_int_equal(next, 400000);
}

static void LimitsAndJoins(void **) {
	Reset(1000000, 2000, 2);
	assert_true(One("SELECT sum(i) FROM (FROM scripted() LIMIT 10)") == Value::HUGEINT(45));
	Reset(100000, 2000, 9);
	assert_true(One("SELECT count(*) FROM scripted() a JOIN scripted() b USING (i, t)") == Value::BIGINT(100000));
}

static void FailureReachesTheUser(void **) {
	Reset(1000000, 5000, 4);
	script.fail_at = 100;
	auto result = con->Query("CREATE OR REPLACE TEMP TABLE copy AS FROM scripted()");
	assert_true(result->HasError());
	WantError(result->GetError(), "IO Error: the server went away");
}

static void InterruptedWhileEmpty(void **) {
	for (auto sql : {"SELECT count(*) FROM scripted()", "SELECT * FROM scripted() LIMIT 1"}) {
		Reset(1, 1, 0);
		script.never = true;
		std::atomic<bool> done {false};
		std::thread interrupter([&] {
			while (!done) {
				std::this_thread::sleep_for(std::chrono::milliseconds(20));
				con->Interrupt();
			}
		});
		auto result = con->Query(sql);
		done = true;
		interrupter.join();
		assert_true(result->HasError());
		assert_true(result->GetErrorType() == ExceptionType::INTERRUPT);
		result.reset();
		con->Query("SELECT 1");
		assert_int_equal(script.wakers.load(), 0);
	}
}

int main() {
	const CMUnitTest tests[] = {
	    cmocka_unit_test(AllRowsInOrder),        cmocka_unit_test(AStreamingClientSeesTheOrder),
	    cmocka_unit_test(LimitsAndJoins),        cmocka_unit_test(FailureReachesTheUser),
	    cmocka_unit_test(InterruptedWhileEmpty),
	};
	return cmocka_run_group_tests_name("batch_scan", tests, SetUp, TearDown);
}
