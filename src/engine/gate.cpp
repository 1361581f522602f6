// gate.cpp - when a reply may leave, and what the ledger remembers of a request; see gate.hpp and filesystem.cpp.
#include "engine/gate.hpp"

#include "duckdb/common/allocator.hpp"
#include "duckdb/main/config.hpp"
#include "duckdb/execution/operator/helper/physical_materialized_collector.hpp"
#include "duckdb/main/materialized_query_result.hpp"
#include "duckdb/main/prepared_statement_data.hpp"

using namespace duckdb;

namespace openduck {

void Gate::Sample() {
	if (engine.volume && !passed) {
		lsn = MaxValue<uint64_t>(lsn, od_volume_barrier_lsn(engine.volume));
	}
}

void Gate::Pass(const CommitScope &scope, enum od_durability level) {
	if (passed || !engine.volume) {
		return;
	}
	passed = true;
	struct od_error error = {};
	auto rc = engine.read_only ? OD_OK : od_volume_wait(engine.volume, lsn, level, &error);
	if (rc == OD_OK) {
		return;
	}
	bool lost = od_volume_health(engine.volume, nullptr) != OD_OK;
	if (lost) {
		engine.stop = true;
	}
	// What is on disk here may be gone for all others when another machine has taken over (OD_UNAVAILABLE).
	if (scope.lsn && (rc == OD_UNAVAILABLE || scope.lsn > od_volume_acknowledged_lsn(engine.volume, level))) {
		Fail(OD_OUTCOME_UNKNOWN, "whether the statement took effect is not known yet: %s", error.message);
	}
	Fail(OD_UNAVAILABLE, lost ? "database \"%s\" is being reopened: %s" : "database \"%s\" cannot answer: %s",
	     engine.catalog_name.c_str(), error.message);
}

const char *const DURABILITY_SETTING = "openduck_durability";

static const char *const LEVELS[] = {"database", "local", "remote"};

static bool ReadLevel(const Value &value, enum od_durability &level) {
	for (int i = 0; i < 3 && !value.IsNull(); i++) {
		if (StringUtil::CIEquals(value.ToString(), LEVELS[i])) {
			level = static_cast<enum od_durability>(i);
			return true;
		}
	}
	return false;
}

void AddDurabilitySetting(DBConfig &config) {
	config.AddExtensionOption(
	    DURABILITY_SETTING, "When a commit is acknowledged: 'database' (as the database says), 'local', 'remote'",
	    LogicalType::VARCHAR, Value(LEVELS[OD_DURABILITY_DATABASE]), [](ClientContext &, SetScope, Value &value) {
		    enum od_durability level;
		    if (!ReadLevel(value, level)) {
			    throw InvalidInputException("%s is 'database', 'local' or 'remote', not '%s'", DURABILITY_SETTING,
			                                value.ToString());
		    }
	    });
}

enum od_durability SessionDurability(ClientContext &context) {
	Value value;
	enum od_durability level = OD_DURABILITY_DATABASE;
	if (context.TryGetCurrentSetting(DURABILITY_SETTING, value)) {
		(void)ReadLevel(value, level);
	}
	return level;
}

unique_ptr<ColumnDataCollection> CountedRows(uint64_t rows) {
	auto collection =
	    make_uniq<ColumnDataCollection>(Allocator::DefaultAllocator(), vector<LogicalType> {LogicalType::BIGINT});
	DataChunk chunk;
	chunk.Initialize(Allocator::DefaultAllocator(), collection->Types());
	chunk.SetValue(0, 0, Value::BIGINT(static_cast<int64_t>(rows)));
	chunk.SetCardinality(1);
	collection->Append(chunk);
	return collection;
}

namespace {

class CountCollector : public PhysicalMaterializedCollector {
public:
	CountCollector(PhysicalPlan &plan, PreparedStatementData &data) : PhysicalMaterializedCollector(plan, data, false) {}

	unique_ptr<QueryResult> GetResult(GlobalSinkState &state) const override {
		auto result = PhysicalMaterializedCollector::GetResult(state);
		auto scope = CommitScope::current;
		if (scope && !result->HasError()) {
			for (auto &chunk : result->Cast<MaterializedQueryResult>().Collection().Chunks()) {
				auto value = chunk.GetValue(0, 0);
				scope->changed_rows = value.IsNull() ? 0 : static_cast<uint64_t>(value.GetValue<int64_t>());
				break;
			}
		}
		return result;
	}
};

// The sink's local state is made and left on the thread that runs the plan's one task.
class Borrowed : public LocalSinkState {
public:
	explicit Borrowed(CommitScope &scope) : outer(CommitScope::current) {
		CommitScope::current = &scope;
	}
	~Borrowed() override {
		Return();
	}
	void Return() {
		if (borrowed) {
			CommitScope::current = outer;
		}
		borrowed = false;
	}

private:
	CommitScope *outer;
	bool borrowed = true;
};

class CommitCollector : public PhysicalResultCollector {
public:
	CommitCollector(PhysicalPlan &plan, PreparedStatementData &data, CommitScope &scope_p)
	    : PhysicalResultCollector(plan, data), scope(scope_p) {}

	unique_ptr<GlobalSinkState> GetGlobalSinkState(ClientContext &) const override {
		return make_uniq<GlobalSinkState>();
	}
	unique_ptr<LocalSinkState> GetLocalSinkState(ExecutionContext &) const override {
		return make_uniq<Borrowed>(scope);
	}
	SinkResultType Sink(ExecutionContext &, DataChunk &, OperatorSinkInput &) const override {
		return SinkResultType::NEED_MORE_INPUT;
	}
	SinkCombineResultType Combine(ExecutionContext &, OperatorSinkCombineInput &input) const override {
		input.local_state.Cast<Borrowed>().Return();
		return SinkCombineResultType::FINISHED;
	}
	bool ParallelSink() const override {
		return false;
	}
	unique_ptr<QueryResult> GetResult(GlobalSinkState &) const override {
		return make_uniq<MaterializedQueryResult>(statement_type, properties, names,
		                                          make_uniq<ColumnDataCollection>(Allocator::DefaultAllocator(), types),
		                                          ClientProperties());
	}

private:
	CommitScope &scope;
};

} // namespace

unique_ptr<PhysicalOperator> MakeCommitCollector(PreparedStatementData &data, CommitScope &scope) {
	return make_uniq_base<PhysicalOperator, CommitCollector>(*data.physical_plan, data, scope);
}

unique_ptr<PhysicalOperator> MakeCountCollector(PreparedStatementData &data) {
	return make_uniq_base<PhysicalOperator, CountCollector>(*data.physical_plan, data);
}

} // namespace openduck
