// hybrid_fold.cpp - replaces parts of a plan by scans of their text; see hybrid.hpp.
//
// Two things happen on the way down:
//   - The first subtree that can be written, and that reduces rows, becomes one scan. It is the largest one there.
//   - In a tree of inner joins that cannot be written as a whole, the relations of one server that conditions connect are
//     brought together below the others, and become one scan. A projection above keeps the columns in their old order, for
//     operators that count columns instead of naming them.
//
// A replaced column has a new binding: every call gives back the replacements that hold for what lies above it.
//
// The rule for what is worth it needs no estimate: filters and columns alone are pushed into a table's scan by DuckDB
// itself, a product without a condition grows, everything else that has text shrinks or joins rows where they are.
#include "duckdb/main/client_context.hpp"
#include "duckdb/main/config.hpp"
#include "duckdb/main/settings.hpp"
#include "duckdb/optimizer/column_binding_replacer.hpp"
#include "duckdb/optimizer/optimizer.hpp"
#include "duckdb/optimizer/optimizer_extension.hpp"
#include "duckdb/planner/binder.hpp"
#include "duckdb/planner/expression/list.hpp"
#include "duckdb/planner/expression_iterator.hpp"
#include "duckdb/planner/logical_operator_visitor.hpp"
#include "duckdb/planner/operator/list.hpp"
#include "hybrid.hpp"
#include "scan.hpp"
#include "state.hpp"

namespace openduck {

namespace {

constexpr const char *PLACEMENT = "openduck_placement";
//! Keys of a join's local side that are sent as a list; more are sent as their range.
constexpr idx_t IN_KEYS_MAX = 10000;

using Replacements = vector<ReplacementBinding>;

void Replace(const Replacements &replacements, unique_ptr<Expression> &expression) {
	ColumnBindingReplacer replacer;
	replacer.replacement_bindings = replacements;
	replacer.VisitExpression(&expression);
}

void Append(Replacements &to, Replacements from) {
	for (auto &replacement : from) {
		to.push_back(replacement);
	}
}

class Folder {
public:
	Folder(OptimizerExtensionInput &input, bool everything) : input(input), everything(everything) {}
	Replacements Fold(unique_ptr<LogicalOperator> &op);
	bool changed = false;

private:
	bool TryFold(unique_ptr<LogicalOperator> &op, Replacements &replacements);
	static bool IsRegion(const LogicalOperator &op);
	static void Collect(unique_ptr<LogicalOperator> &op, vector<unique_ptr<LogicalOperator> *> &relations,
	                    vector<unique_ptr<Expression>> &conditions);
	static unique_ptr<LogicalOperator> Build(vector<unique_ptr<LogicalOperator>> relations,
	                                         vector<unique_ptr<Expression>> conditions);
	bool Regroup(unique_ptr<LogicalOperator> &op, Replacements &replacements);

	OptimizerExtensionInput &input;
	bool everything; // also what only filters and chooses columns
};

bool Folder::TryFold(unique_ptr<LogicalOperator> &op, Replacements &replacements) {
	if (op->type == LogicalOperatorType::LOGICAL_GET) {
		return false; // already one scan
	}
	UnparsedPlan plan;
	if (!UnparsePlan(*op, plan) || !(plan.reduces || everything)) {
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
	bind->estimated_rows = op->EstimateCardinality(input.context);
	for (idx_t i = 0; i < bindings.size(); i++) {
		bind->names.push_back("c" + std::to_string(i));
	}
	auto types = bind->types;
	auto names = bind->names;
	virtual_column_map_t virtual_columns;
	virtual_columns.insert({COLUMN_IDENTIFIER_EMPTY, TableColumn("", LogicalType::BOOLEAN)});
	auto index = input.optimizer.binder.GenerateTableIndex();
	auto get = make_uniq<LogicalGet>(index, ScanFunction(), std::move(bind), types, names, std::move(virtual_columns));
	for (idx_t i = 0; i < bindings.size(); i++) {
		get->AddColumnId(i);
		replacements.emplace_back(bindings[i], ColumnBinding(index, i));
	}
	get->ResolveOperatorTypes();
	op = std::move(get);
	changed = true;
	return true;
}

//===--------------------------------------------------------------------===//
// Inner joins
//===--------------------------------------------------------------------===//
bool Folder::IsRegion(const LogicalOperator &op) {
	switch (op.type) {
	case LogicalOperatorType::LOGICAL_CROSS_PRODUCT:
		return true;
	case LogicalOperatorType::LOGICAL_FILTER:
		for (auto &expression : op.expressions) {
			if (expression->IsVolatile()) {
				return false;
			}
		}
		return !op.HasProjectionMap() && IsRegion(*op.children[0]);
	case LogicalOperatorType::LOGICAL_COMPARISON_JOIN: {
		auto &join = op.Cast<LogicalComparisonJoin>();
		return join.join_type == JoinType::INNER && join.duplicate_eliminated_columns.empty() &&
		       !join.HasProjectionMap() && !(join.predicate && join.predicate->IsVolatile());
	}
	default:
		return false;
	}
}

void Folder::Collect(unique_ptr<LogicalOperator> &op, vector<unique_ptr<LogicalOperator> *> &relations,
                     vector<unique_ptr<Expression>> &conditions) {
	if (!IsRegion(*op)) {
		relations.push_back(&op);
		return;
	}
	if (op->type == LogicalOperatorType::LOGICAL_FILTER) {
		for (auto &expression : op->expressions) {
			conditions.push_back(expression->Copy());
		}
	} else if (op->type == LogicalOperatorType::LOGICAL_COMPARISON_JOIN) {
		auto &join = op->Cast<LogicalComparisonJoin>();
		for (auto &condition : join.conditions) {
			conditions.push_back(make_uniq<BoundComparisonExpression>(condition.comparison, condition.left->Copy(),
			                                                          condition.right->Copy()));
		}
		if (join.predicate) {
			conditions.push_back(join.predicate->Copy());
		}
	}
	for (auto &child : op->children) {
		Collect(child, relations, conditions);
	}
}

unique_ptr<LogicalOperator> Folder::Build(vector<unique_ptr<LogicalOperator>> relations,
                                          vector<unique_ptr<Expression>> conditions) {
	auto result = std::move(relations[0]);
	for (idx_t i = 1; i < relations.size(); i++) {
		result = LogicalCrossProduct::Create(std::move(result), std::move(relations[i]));
	}
	if (!conditions.empty()) {
		auto filter = make_uniq<LogicalFilter>();
		filter->expressions = std::move(conditions);
		filter->children.push_back(std::move(result));
		result = std::move(filter);
	}
	result->ResolveOperatorTypes();
	return result;
}

//! The relations (by position) that an expression's columns belong to.
void RelationsOf(Expression &expression, const vector<vector<ColumnBinding>> &bindings, std::set<idx_t> &out,
                 bool &known) {
	if (expression.GetExpressionClass() == ExpressionClass::BOUND_COLUMN_REF) {
		auto &ref = expression.Cast<BoundColumnRefExpression>();
		for (idx_t i = 0; i < bindings.size(); i++) {
			if (std::find(bindings[i].begin(), bindings[i].end(), ref.binding) != bindings[i].end()) {
				out.insert(i);
				return;
			}
		}
		known = false;
		return;
	}
	ExpressionIterator::EnumerateChildren(expression,
	                                      [&](Expression &child) { RelationsOf(child, bindings, out, known); });
}

bool Folder::Regroup(unique_ptr<LogicalOperator> &op, Replacements &replacements) {
	vector<unique_ptr<LogicalOperator> *> relations;
	vector<unique_ptr<Expression>> conditions;
	Collect(op, relations, conditions);
	LogicalFilter::SplitPredicates(conditions);

	vector<vector<ColumnBinding>> bindings;
	vector<optional_ptr<OdCatalog>> catalogs;
	for (auto relation : relations) {
		bindings.push_back((*relation)->GetColumnBindings());
		UnparsedPlan plan;
		catalogs.push_back(UnparsePlan(**relation, plan) ? plan.catalog : nullptr);
	}
	vector<std::set<idx_t>> uses(conditions.size());
	vector<bool> sendable;
	for (idx_t c = 0; c < conditions.size(); c++) {
		bool known = true;
		RelationsOf(*conditions[c], bindings, uses[c], known);
		sendable.push_back(known && !uses[c].empty() && HasExactText(*conditions[c]));
	}
	// Relations of one server that equalities connect.
	vector<idx_t> group;
	for (idx_t i = 0; i < relations.size(); i++) {
		group.push_back(i);
	}
	bool found = false;
	for (idx_t c = 0; c < conditions.size(); c++) {
		if (!sendable[c] || uses[c].size() != 2 ||
		    conditions[c]->GetExpressionType() != ExpressionType::COMPARE_EQUAL) {
			continue;
		}
		auto first = *uses[c].begin(), second = *uses[c].rbegin();
		if (catalogs[first] && catalogs[first] == catalogs[second]) {
			auto from = group[second], to = group[first];
			for (auto &member : group) {
				member = member == from ? to : member;
			}
			found = true;
		}
	}
	if (!found) {
		return false;
	}
	auto old_bindings = op->GetColumnBindings();
	auto old_types = op->types;
	vector<unique_ptr<LogicalOperator>> together;
	Replacements inner;
	for (idx_t g = 0; g < relations.size(); g++) {
		vector<unique_ptr<LogicalOperator>> members;
		for (idx_t i = 0; i < relations.size(); i++) {
			if (group[i] == g) {
				members.push_back(std::move(*relations[i]));
			}
		}
		if (members.empty()) {
			continue;
		}
		vector<unique_ptr<Expression>> own;
		for (idx_t c = 0; members.size() > 1 && c < conditions.size(); c++) {
			bool inside = sendable[c];
			for (auto user : uses[c]) {
				inside = inside && group[user] == g;
			}
			if (inside) {
				own.push_back(std::move(conditions[c]));
				sendable[c] = false;
			}
		}
		auto relation = Build(std::move(members), std::move(own));
		Append(inner, Fold(relation));
		together.push_back(std::move(relation));
	}
	vector<unique_ptr<Expression>> rest;
	for (auto &condition : conditions) {
		if (condition) {
			Replace(inner, condition);
			rest.push_back(std::move(condition));
		}
	}
	auto joined = Build(std::move(together), std::move(rest));
	vector<unique_ptr<Expression>> columns;
	auto index = input.optimizer.binder.GenerateTableIndex();
	for (idx_t i = 0; i < old_bindings.size(); i++) {
		columns.push_back(make_uniq<BoundColumnRefExpression>(old_types[i], old_bindings[i]));
		Replace(inner, columns.back());
		replacements.emplace_back(old_bindings[i], ColumnBinding(index, i));
	}
	auto projection = make_uniq<LogicalProjection>(index, std::move(columns));
	projection->children.push_back(std::move(joined));
	projection->ResolveOperatorTypes();
	op = std::move(projection);
	return true;
}

Replacements Folder::Fold(unique_ptr<LogicalOperator> &op) {
	Replacements result;
	switch (op->type) {
	case LogicalOperatorType::LOGICAL_RECURSIVE_CTE: // runs its parts many times
	case LogicalOperatorType::LOGICAL_UPDATE:        // these look into their children
	case LogicalOperatorType::LOGICAL_DELETE:
	case LogicalOperatorType::LOGICAL_MERGE_INTO:
	case LogicalOperatorType::LOGICAL_CREATE_INDEX:
		return result;
	default:
		break;
	}
	if (TryFold(op, result) || (IsRegion(*op) && Regroup(op, result))) {
		return result;
	}
	for (auto &child : op->children) {
		Append(result, Fold(child));
	}
	if (!result.empty()) {
		LogicalOperatorVisitor::EnumerateExpressions(
		    *op, [&](unique_ptr<Expression> *expression) { Replace(result, *expression); });
	}
	return result;
}

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

//! The scans of one server ask for one snapshot, as they are now.
void GroupAgain(LogicalOperator &plan) {
	vector<reference<ScanBindData>> scans;
	CollectScans(plan, scans);
	unordered_map<OdCatalog *, shared_ptr<ScanGroup>> groups;
	for (auto &scan : scans) {
		auto &group = groups[scan.get().catalog];
		if (!group) {
			group = make_shared_ptr<ScanGroup>();
		}
		group->size++;
		scan.get().group = group;
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
	Value placement, collation;
	if (!input.context.TryGetCurrentSetting(PLACEMENT, placement) || placement.IsNull() ||
	    StringUtil::CIEquals(placement.ToString(), "local")) {
		return;
	}
	if (input.context.TryGetCurrentSetting("default_collation", collation) && !collation.ToString().empty()) {
		return; // text would be compared differently where the plan already says how
	}
	plan->ResolveOperatorTypes();
	Folder folder(input, StringUtil::CIEquals(placement.ToString(), "remote"));
	folder.Fold(plan);
	if (folder.changed) {
		GroupAgain(*plan);
		plan->ResolveOperatorTypes();
	}
}

void CheckPlacement(ClientContext &, SetScope, Value &value) {
	auto text = value.IsNull() ? string() : StringUtil::Lower(value.ToString());
	if (text != "auto" && text != "local" && text != "remote") {
		throw InvalidInputException("openduck_placement is 'auto', 'local' or 'remote', not \"%s\"", text);
	}
}

} // namespace

void RegisterHybrid(DBConfig &config) {
	config.AddExtensionOption(PLACEMENT,
	                          "Which parts of a query that reads several databases run on a server: 'auto' those that "
	                          "join, group or cut rows, 'remote' all that can, 'local' none",
	                          LogicalType::VARCHAR, Value("auto"), CheckPlacement);
	OptimizerExtension optimizer;
	optimizer.pre_optimize_function = PreOptimize;
	OptimizerExtension::Register(config, optimizer);
}

} // namespace openduck
