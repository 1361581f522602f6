// hybrid_fold.cpp - makes one scan of a part of a plan, and the hook that starts it all; see hybrid.hpp.
//
// A replaced column has a new binding: every call gives back the replacements that hold for what lies above it.
#include "duckdb/main/client_context.hpp"
#include "duckdb/main/config.hpp"
#include "duckdb/optimizer/optimizer.hpp"
#include "duckdb/planner/binder.hpp"
#include "duckdb/planner/expression/list.hpp"
#include "duckdb/planner/logical_operator_visitor.hpp"
#include "duckdb/planner/operator/list.hpp"
#include "hybrid.hpp"
#include "hybrid_explain.hpp"
#include "hybrid_input.hpp"
#include "hybrid_statistics.hpp"
#include "scan.hpp"
#include "state.hpp"

namespace openduck {

namespace {
constexpr const char *PLACEMENT = "openduck_placement";
constexpr const char *RANDOM = "random:";
constexpr const char *PLACEMENT_TABLES = "openduck_placement_tables";
//! Keys of a join's local side that are sent as a list; more are sent as their range.
constexpr idx_t IN_KEYS_MAX = 10000;
} // namespace

void Replace(const Replacements &replacements, unique_ptr<Expression> &expression) {
	ColumnBindingReplacer replacer;
	replacer.replacement_bindings = replacements;
	replacer.VisitExpression(&expression);
}

void ReplaceIn(const Replacements &replacements, LogicalOperator &op) {
	if (!replacements.empty()) {
		LogicalOperatorVisitor::EnumerateExpressions(
		    op, [&](unique_ptr<Expression> *expression) { Replace(replacements, *expression); });
	}
}

void Append(Replacements &to, Replacements from) {
	for (auto &replacement : from) {
		to.push_back(replacement);
	}
}

bool KeepsItsInputs(const LogicalOperator &op) {
	switch (op.type) {
	case LogicalOperatorType::LOGICAL_RECURSIVE_CTE: // runs its parts many times
	case LogicalOperatorType::LOGICAL_UPDATE:        // these look into their children
	case LogicalOperatorType::LOGICAL_DELETE:
	case LogicalOperatorType::LOGICAL_MERGE_INTO:
	case LogicalOperatorType::LOGICAL_CREATE_INDEX:
		return true;
	default:
		return false;
	}
}

//! The scan among a projection's and its inputs' operators: the projection gives DuckDB's join ordering something it knows.
static unique_ptr<LogicalOperator> OverInputs(OptimizerExtensionInput &input, unique_ptr<LogicalOperator> scan,
                                              vector<unique_ptr<LogicalOperator>> plans,
                                              vector<shared_ptr<RemoteInput>> inputs, idx_t &table_index) {
	auto bindings = scan->GetColumnBindings();
	auto types = scan->types;
	auto rows = scan->estimated_cardinality;
	auto over = make_uniq<LogicalInputs>(std::move(scan), std::move(plans), std::move(inputs));
	over->SetEstimatedCardinality(rows);
	vector<unique_ptr<Expression>> columns;
	for (idx_t i = 0; i < bindings.size(); i++) {
		columns.push_back(make_uniq<BoundColumnRefExpression>(types[i], bindings[i]));
	}
	table_index = input.optimizer.binder.GenerateTableIndex();
	auto projection = make_uniq<LogicalProjection>(table_index, std::move(columns));
	projection->children.push_back(std::move(over));
	projection->ResolveOperatorTypes();
	projection->SetEstimatedCardinality(rows);
	return std::move(projection);
}

bool FoldPart(OptimizerExtensionInput &input, unique_ptr<LogicalOperator> &op,
              const vector<unique_ptr<LogicalOperator> *> &inputs, bool everything, const PartNote &note,
              Replacements &replacements) {
	if (op->type == LogicalOperatorType::LOGICAL_GET) {
		return false; // already one scan
	}
	UnparsedPlan plan;
	for (auto slot : inputs) {
		plan.inputs.push_back(**slot);
	}
	if (!UnparsePlan(*op, plan) || !plan.catalog || !(plan.reduces || everything || !inputs.empty())) {
		return false;
	}
	auto bindings = op->GetColumnBindings();
	auto bind = make_uniq<ScanBindData>();
	bind->remote = plan.catalog->GetRemote();
	bind->catalog = plan.catalog.get();
	bind->catalog_alias = plan.catalog_alias;
	bind->sql = std::move(plan.sql);
	bind->wrappable = true;
	bind->types = op->types;
	bind->objects = std::move(plan.objects);
	bind->parameters = std::move(plan.parameters);
	bind->catalog_version = std::move(plan.catalog_version);
	bind->estimated_rows = LossyNumericCast<idx_t>(note.rows);
	bind->part = note;
	for (idx_t i = 0; i < bindings.size(); i++) {
		bind->names.push_back("c" + std::to_string(i));
	}
	vector<unique_ptr<LogicalOperator>> plans;
	vector<shared_ptr<RemoteInput>> shared;
	for (idx_t i = 0; i < inputs.size(); i++) {
		auto read = make_shared_ptr<RemoteInput>();
		read->name = RemoteInputName(i);
		read->types = (*inputs[i])->types;
		shared.push_back(std::move(read));
		plans.push_back(std::move(*inputs[i]));
	}
	bind->inputs = shared;
	auto types = bind->types;
	auto names = bind->names;
	virtual_column_map_t virtual_columns;
	virtual_columns.insert({COLUMN_IDENTIFIER_EMPTY, TableColumn("", LogicalType::BOOLEAN)});
	auto index = input.optimizer.binder.GenerateTableIndex();
	auto get = make_uniq<LogicalGet>(index, ScanFunction(), std::move(bind), types, names, std::move(virtual_columns));
	for (idx_t i = 0; i < bindings.size(); i++) {
		get->AddColumnId(i);
	}
	get->ResolveOperatorTypes();
	get->SetEstimatedCardinality(LossyNumericCast<idx_t>(note.rows));
	op = std::move(get);
	if (!plans.empty()) {
		op = OverInputs(input, std::move(op), std::move(plans), std::move(shared), index);
	}
	for (idx_t i = 0; i < bindings.size(); i++) {
		replacements.emplace_back(bindings[i], ColumnBinding(index, i));
	}
	return true;
}

//===--------------------------------------------------------------------===//
// The hook
//===--------------------------------------------------------------------===//
namespace {

void CollectScans(LogicalOperator &op, vector<reference<ScanBindData>> &scans) {
	if (op.type == LogicalOperatorType::LOGICAL_GET) {
		auto &get = op.Cast<LogicalGet>();
		if (get.function.name == "openduck_scan") {
			auto &bind = get.bind_data->Cast<ScanBindData>();
			if (bind.catalog) {
				scans.push_back(bind);
			}
		}
	}
	for (auto &child : op.children) {
		CollectScans(*child, scans);
	}
}

//! "t=local, main.u=remote" as names, last part last, and true for remote.
vector<std::pair<vector<string>, bool>> TablesOf(const string &text) {
	vector<std::pair<vector<string>, bool>> result;
	for (auto &item : StringUtil::Split(text, ',')) {
		auto equals = item.find('=');
		auto name = item.substr(0, equals);
		auto place = equals == string::npos ? string() : StringUtil::Lower(item.substr(equals + 1));
		StringUtil::Trim(name);
		StringUtil::Trim(place);
		if (name.empty() && equals == string::npos) {
			continue; // a comma too many
		}
		if (name.empty() || (place != "local" && place != "remote")) {
			throw InvalidInputException("%s is a list like 'orders=local, main.lineitem=remote', not \"%s\"",
			                            PLACEMENT_TABLES, text);
		}
		result.emplace_back(StringUtil::Split(name, '.'), place == "remote");
	}
	return result;
}

void CheckTables(ClientContext &, SetScope, Value &value) {
	TablesOf(value.IsNull() ? string() : value.ToString());
}

//! What a setting says; 'random:7' draws a placement, for tests that compare them.
PlacementWish WishOf(const Value &setting) {
	auto text = StringUtil::Lower(setting.ToString());
	PlacementWish wish;
	if (text == "remote") {
		wish.mode = PlacementWish::Mode::REMOTE;
	} else if (StringUtil::StartsWith(text, RANDOM)) {
		wish.mode = PlacementWish::Mode::RANDOM;
		wish.seed = std::strtoull(text.c_str() + strlen(RANDOM), nullptr, 10);
	}
	return wish;
}

//! Takes the scans out of the recursive part of a WITH RECURSIVE; what is left are references to them.
void TakeScans(Binder &binder, unique_ptr<LogicalOperator> &op,
               vector<std::pair<idx_t, unique_ptr<LogicalOperator>>> &taken) {
	if (op->type == LogicalOperatorType::LOGICAL_GET && IsScan(op->Cast<LogicalGet>().function)) {
		auto &get = op->Cast<LogicalGet>();
		get.ResolveOperatorTypes();
		auto index = get.table_index;
		auto cte = binder.GenerateTableIndex();
		vector<string> names;
		for (idx_t i = 0; i < get.types.size(); i++) {
			names.push_back("c" + std::to_string(i));
		}
		auto reference = make_uniq<LogicalCTERef>(index, cte, get.types, std::move(names));
		get.table_index = binder.GenerateTableIndex();
		taken.emplace_back(cte, std::move(op));
		op = std::move(reference);
		return;
	}
	for (auto &child : op->children) {
		TakeScans(binder, child, taken);
	}
}

//! The recursive part runs once for every step: its scans would be sent each time, and see the server as it is by then.
//! They become CTEs around the recursion instead, which are read once.
void ReadOnceInRecursions(Binder &binder, unique_ptr<LogicalOperator> &op) {
	if (op->type != LogicalOperatorType::LOGICAL_RECURSIVE_CTE) {
		for (auto &child : op->children) {
			ReadOnceInRecursions(binder, child);
		}
		return;
	}
	vector<std::pair<idx_t, unique_ptr<LogicalOperator>>> taken;
	TakeScans(binder, op->children[1], taken);
	ReadOnceInRecursions(binder, op->children[0]);
	for (auto &scan : taken) {
		auto columns = scan.second->types.size();
		op = make_uniq<LogicalMaterializedCTE>("openduck_scan_" + std::to_string(scan.first), scan.first, columns,
		                                       std::move(scan.second), std::move(op),
		                                       CTEMaterialize::CTE_MATERIALIZE_ALWAYS);
		op->ResolveOperatorTypes();
	}
}

void MakeParts(OptimizerExtensionInput &input, unique_ptr<LogicalOperator> &plan) {
	Value placement, collation;
	if (!input.context.TryGetCurrentSetting(PLACEMENT, placement) || placement.IsNull() ||
	    StringUtil::CIEquals(placement.ToString(), "local")) {
		return;
	}
	if (input.context.TryGetCurrentSetting("default_collation", collation) && !collation.ToString().empty()) {
		return; // text would be compared differently where the plan already says how
	}
	ForgetPlacement(input.context);
	plan->ResolveOperatorTypes();
	LearnStatistics(input.context, *plan);
	SinkConditions(input.context, plan);
	RegroupJoins(input, plan);
	auto wish = WishOf(placement);
	Value own;
	if (input.context.TryGetCurrentSetting(PLACEMENT_TABLES, own) && !own.IsNull()) {
		wish.tables = TablesOf(own.ToString());
	}
	if (PlacePlan(input, wish, plan)) {
		plan->ResolveOperatorTypes();
	}
}

void PreOptimize(OptimizerExtensionInput &input, unique_ptr<LogicalOperator> &plan) {
	vector<reference<ScanBindData>> scans;
	CollectScans(*plan, scans);
	bool tables = false;
	for (auto &scan : scans) {
		tables = tables || !scan.get().IsText();
	}
	if (!tables) {
		return;
	}
	OdContextState::Get(input.context)->RaiseJoinKeys(input.context, IN_KEYS_MAX);
	MakeParts(input, plan);
	ReadOnceInRecursions(input.optimizer.binder, plan);
}

void CheckPlacement(ClientContext &, SetScope, Value &value) {
	auto text = value.IsNull() ? string() : StringUtil::Lower(value.ToString());
	if (text != "auto" && text != "local" && text != "remote" && !StringUtil::StartsWith(text, RANDOM)) {
		throw InvalidInputException("openduck_placement is 'auto', 'local' or 'remote', not \"%s\"", text);
	}
}

void Optimize(OptimizerExtensionInput &input, unique_ptr<LogicalOperator> &plan) {
	ShowPlacement(input.context, plan);
}

} // namespace

void RegisterHybrid(DBConfig &config) {
	config.AddExtensionOption(PLACEMENT,
	                          "Where the parts of a query that reads several databases run: 'auto' where it costs "
	                          "least, 'remote' on a server whatever can, 'local' here",
	                          LogicalType::VARCHAR, Value("auto"), CheckPlacement);
	config.AddExtensionOption(PLACEMENT_TABLES,
	                          "Tables of servers with a placement of their own, as 'orders=local, main.lineitem=remote': "
	                          "what reads them runs here, or on their server as far as it can",
	                          LogicalType::VARCHAR, Value(""), CheckTables);
	OptimizerExtension optimizer;
	optimizer.pre_optimize_function = PreOptimize;
	optimizer.optimize_function = Optimize;
	OptimizerExtension::Register(config, optimizer);
}

} // namespace openduck
