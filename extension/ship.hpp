// ship.hpp - a statement that runs on the server as a whole: the logical operator that stands for it in a plan, and the
// physical one that sends it.
//
// A shipped statement is sent once, by one thread: when its pipelines are built (start.hpp), or, after its stages, when
// they run. Its rows (a count, RETURNING, or none) are
// handed on after the server has carried it out.
#ifndef OPENDUCK_EXTENSION_SHIP_HPP
#define OPENDUCK_EXTENSION_SHIP_HPP

#include "catalog.hpp"
#include "duckdb/execution/physical_operator.hpp"
#include "duckdb/planner/bound_parameter_map.hpp"
#include "duckdb/planner/operator/logical_extension_operator.hpp"

namespace openduck {

struct ShippedStatement {
	shared_ptr<Remote> remote;
	OdCatalog *catalog = nullptr; // lives as long as the transaction that runs the statement
	string sql;
	vector<shared_ptr<BoundParameterData>> parameters;
	vector<LogicalType> types; // of the plan's output
	vector<string> names;      // its columns'; empty: they do not matter
	bool rows = false;         // the server's rows are the output; otherwise there are none
	bool definitions = false;  // it may change definitions
	shared_ptr<DefinitionChange> change; // how, if that is known
	bool read_only = false;    // the attachment is
	bool session = false;      // it needs a session (staged relations)
	bool together = false;     // it is one of several that make up one transaction, be it outside BEGIN ... COMMIT
	vector<ObjectVersion> objects;
	string catalog_version; // empty: the server binds the text as it is now, which is exact
	string heading;         // of an EXPLAIN's plan: the operator on this side
};

//! Sends the statement and gives its result chunk by chunk.
class ShippedResult {
public:
	ShippedResult(ClientContext &context, shared_ptr<ShippedStatement> statement);
	//! False at the end. Waits, and notices an interrupt.
	bool Next(ClientContext &context, DataChunk &chunk);

private:
	shared_ptr<ShippedStatement> statement;
	unique_ptr<RemoteQuery> query;
	unique_ptr<BatchDecoder> decoder;
	unique_ptr<ResultRows> told; // the definitions that it made
	string before; // see StatementDone
	bool headed = false;
	bool done = false;

	void Send(ClientContext &context, RemoteRequest request);
	bool GivesTheSame(ClientContext &context, RemoteSession *session);
};

//! A parameter as it is sent: with the type the binder gave it.
Value ParameterValue(ClientContext &context, const BoundParameterData &parameter);
//! What is sent for it: text, parameters, settings, checks.
RemoteRequest RequestFor(ClientContext &context, ShippedStatement &statement);
//! Tells the catalog what a reply said. `before`: the version of the catalog it ran on; empty: not known. told: rows of
//! the catalog that came with the reply.
void StatementDone(ClientContext &context, ShippedStatement &statement, RemoteQuery &query,
                   const string &before = string(), const vector<vector<Value>> &told = {});

struct LogicalShip : public LogicalExtensionOperator {
	LogicalShip(idx_t table_index, shared_ptr<ShippedStatement> statement);

	idx_t table_index;
	shared_ptr<ShippedStatement> statement;
	//! For each child: the relation's name on the server, and its columns.
	vector<string> stage_names;
	vector<vector<string>> stage_columns;

	PhysicalOperator &CreatePlan(ClientContext &context, PhysicalPlanGenerator &planner) override;
	vector<ColumnBinding> GetColumnBindings() override;
	vector<idx_t> GetTableIndex() const override {
		return {table_index};
	}
	string GetName() const override {
		return "OPENDUCK";
	}
	InsertionOrderPreservingMap<string> ParamsToString() const override;
	string GetExtensionName() const override {
		return "openduck";
	}
	bool SupportSerialization() const override {
		return false;
	}
	bool RequireOptimizer() const override {
		return !children.empty();
	}

protected:
	void ResolveTypes() override;
};

class PhysicalShip : public PhysicalOperator {
public:
	PhysicalShip(PhysicalPlan &plan, shared_ptr<ShippedStatement> statement);

	unique_ptr<GlobalSourceState> GetGlobalSourceState(ClientContext &context) const override;
	bool IsSource() const override {
		return true;
	}
	OrderPreservationType SourceOrder() const override {
		return OrderPreservationType::FIXED_ORDER;
	}
	string GetName() const override {
		return "OPENDUCK";
	}
	InsertionOrderPreservingMap<string> ParamsToString() const override;
	//! Children are stages: sinks that must be finished before.
	void BuildPipelines(Pipeline &current, MetaPipeline &meta_pipeline) override;
	vector<const_reference<PhysicalOperator>> GetSources() const override;

	shared_ptr<ShippedStatement> statement;
	//! A statement without stages is sent when its pipelines are built; the one thread that runs them takes its result.
	struct StartedShip {
		unique_ptr<ShippedResult> result;
		std::exception_ptr failure;
	};
	mutable unique_ptr<StartedShip> started;

protected:
	SourceResultType GetDataInternal(ExecutionContext &context, DataChunk &chunk,
	                                 OperatorSourceInput &input) const override;
};

} // namespace openduck

#endif
