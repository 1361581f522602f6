// hybrid_explain.cpp - see hybrid_explain.hpp.
#include "hybrid_explain.hpp"

#include "bridge.hpp"
#include "duckdb/execution/physical_plan_generator.hpp"
#include "duckdb/main/client_context.hpp"
#include "duckdb/main/client_context_state.hpp"
#include "duckdb/parallel/meta_pipeline.hpp"
#include "duckdb/parallel/pipeline.hpp"
#include "duckdb/planner/operator/logical_extension_operator.hpp"

namespace openduck {

namespace {

constexpr const char *STATE_KEY = "openduck_placement";

class PlacementState : public ClientContextState {
public:
	vector<PlacedOperator> last;
	bool fresh = false; // of the statement that is being planned
};

PlacementState &StateOf(ClientContext &context) {
	return *context.registered_state->GetOrCreate<PlacementState>(STATE_KEY);
}

string RowsText(double rows) {
	return StringUtil::Format("~%.0f rows", rows);
}

string LineOf(const PlacedOperator &op) {
	auto line = string(op.depth, '.') + op.name + " @" + op.site + " (" + op.reason + ")";
	if (!op.bridge.empty()) {
		line += " " + op.bridge + " " + RowsText(op.bridge_rows) + " " + BytesText(op.bridge_bytes);
		line += op.reduction.empty() ? "" : " by " + op.reduction;
	}
	return line;
}

//! Hands on what its child gives; only EXPLAIN sees it.
class PhysicalNote : public PhysicalOperator {
public:
	PhysicalNote(PhysicalPlan &plan, PhysicalOperator &child, string text)
	    : PhysicalOperator(plan, PhysicalOperatorType::EXTENSION, child.types, child.estimated_cardinality),
	      text(std::move(text)) {
		children.push_back(child);
	}
	string GetName() const override {
		return "OPENDUCK_PLACEMENT";
	}
	InsertionOrderPreservingMap<string> ParamsToString() const override {
		InsertionOrderPreservingMap<string> result;
		result["Placement"] = text;
		return result;
	}
	void BuildPipelines(Pipeline &current, MetaPipeline &meta_pipeline) override {
		children[0].get().BuildPipelines(current, meta_pipeline);
	}

private:
	string text;
};

struct LogicalNote : public LogicalExtensionOperator {
	LogicalNote(unique_ptr<LogicalOperator> child, string text) : text(std::move(text)) {
		types = child->types;
		SetEstimatedCardinality(child->estimated_cardinality);
		children.push_back(std::move(child));
	}
	PhysicalOperator &CreatePlan(ClientContext &context, PhysicalPlanGenerator &planner) override {
		return planner.Make<PhysicalNote>(planner.CreatePlan(*children[0]), text);
	}
	vector<ColumnBinding> GetColumnBindings() override {
		return children[0]->GetColumnBindings();
	}
	string GetName() const override {
		return "OPENDUCK_PLACEMENT";
	}
	string GetExtensionName() const override {
		return "openduck";
	}
	bool SupportSerialization() const override {
		return false;
	}
	string text;

protected:
	void ResolveTypes() override {
		types = children[0]->types;
	}
};

} // namespace

void NotePlacement(ClientContext &context, vector<PlacedOperator> operators) {
	auto &state = StateOf(context);
	state.last = std::move(operators);
	state.fresh = true;
}

void ForgetPlacement(ClientContext &context) {
	StateOf(context).fresh = false;
}

void ShowPlacement(ClientContext &context, unique_ptr<LogicalOperator> &plan) {
	auto state = context.registered_state->Get<PlacementState>(STATE_KEY);
	if (!state || !state->fresh || plan->type != LogicalOperatorType::LOGICAL_EXPLAIN) {
		return;
	}
	string text;
	for (auto &op : state->last) {
		text += (text.empty() ? "" : "\n") + LineOf(op);
	}
	plan->children[0] = make_uniq<LogicalNote>(std::move(plan->children[0]), std::move(text));
	state->fresh = false;
}

//===--------------------------------------------------------------------===//
// openduck_placement()
//===--------------------------------------------------------------------===//
namespace {

struct PlacementRows : public GlobalTableFunctionState {
	vector<PlacedOperator> operators;
	idx_t next = 0;
};

unique_ptr<FunctionData> BindPlacement(ClientContext &, TableFunctionBindInput &, vector<LogicalType> &types,
                                       vector<string> &names) {
	names = {"depth",  "operator",    "site",         "reason",   "estimated_rows",
	         "bridge", "bridge_rows", "bridge_bytes", "reduction"};
	types = {LogicalType::UBIGINT, LogicalType::VARCHAR, LogicalType::VARCHAR,
	         LogicalType::VARCHAR, LogicalType::DOUBLE,  LogicalType::VARCHAR,
	         LogicalType::DOUBLE,  LogicalType::DOUBLE,  LogicalType::VARCHAR};
	return make_uniq<TableFunctionData>();
}

unique_ptr<GlobalTableFunctionState> InitPlacement(ClientContext &context, TableFunctionInitInput &) {
	auto result = make_uniq<PlacementRows>();
	result->operators = StateOf(context).last;
	return std::move(result);
}

void RunPlacement(ClientContext &, TableFunctionInput &input, DataChunk &output) {
	auto &state = input.global_state->Cast<PlacementRows>();
	idx_t count = 0;
	auto text = [](const string &value) { return value.empty() ? Value(LogicalType::VARCHAR) : Value(value); };
	for (; state.next < state.operators.size() && count < STANDARD_VECTOR_SIZE; state.next++, count++) {
		auto &op = state.operators[state.next];
		bool crosses = !op.bridge.empty();
		vector<Value> row = {Value::UBIGINT(op.depth),
		                     text(op.name),
		                     text(op.site),
		                     text(op.reason),
		                     Value::DOUBLE(op.rows),
		                     text(op.bridge),
		                     crosses ? Value::DOUBLE(op.bridge_rows) : Value(LogicalType::DOUBLE),
		                     crosses ? Value::DOUBLE(op.bridge_bytes) : Value(LogicalType::DOUBLE),
		                     text(op.reduction)};
		for (idx_t i = 0; i < row.size(); i++) {
			output.SetValue(i, count, row[i]);
		}
	}
	output.SetCardinality(count);
}

} // namespace

TableFunction PlacementFunction() {
	return TableFunction("openduck_placement", {}, RunPlacement, BindPlacement, InitPlacement);
}

} // namespace openduck
