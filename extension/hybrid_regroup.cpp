// hybrid_regroup.cpp - the relations of one server meet before they cross; see hybrid.hpp.
//
// A tree of inner joins that reads more than one database is taken apart into relations and conditions and put together
// again: each condition as low as it can be, relations of one server that equalities connect joined to each other first
// (unless that gives many more rows than they have), then everything else, connected relations before unconnected ones;
// those that give few rows first. The join order within a server, and of what is joined here, is chosen anew by the optimizers;
// only what stands together matters. A projection above keeps the columns in their old order, for operators that count
// columns instead of naming them.
#include "duckdb/optimizer/optimizer.hpp"
#include "duckdb/planner/binder.hpp"
#include "duckdb/planner/expression/list.hpp"
#include "duckdb/planner/expression_iterator.hpp"
#include "duckdb/planner/operator/list.hpp"
#include "hybrid.hpp"
#include "hybrid_estimate.hpp"
#include "scan.hpp"

#include <set>

namespace openduck {

namespace {

//! Relations of one server whose join has so many times the rows of the larger one are not joined for their own sake.
constexpr double MULTIPLIED = 4;

//! What a condition of the form (a AND b) OR (c AND d) says of one relation alone, if a and c are about it: a OR c. It holds
//! wherever the whole does.
unique_ptr<Expression> PartAbout(const Expression &condition, const vector<ColumnBinding> &relation);

class Regrouper {
public:
	explicit Regrouper(OptimizerExtensionInput &input) : input(input) {}
	Replacements Walk(unique_ptr<LogicalOperator> &op);

private:
	//! Relations that are joined already, by position.
	struct Tree {
		unique_ptr<LogicalOperator> plan;
		std::set<idx_t> members;
		PlanEstimate estimate;
	};
	struct Condition {
		unique_ptr<Expression> expression; // empty: it is in the tree
		std::set<idx_t> uses;
		bool known = true;
	};
	static bool IsRegion(const LogicalOperator &op);
	static void Collect(unique_ptr<LogicalOperator> &op, vector<unique_ptr<LogicalOperator> *> &relations,
	                    vector<unique_ptr<Expression>> &conditions);
	static void AddConditions(Tree &tree, vector<Condition> &conditions);
	void Join(Tree &tree, Tree other, vector<Condition> &conditions);
	static bool Connects(const Condition &condition, const Tree &tree, const Tree &other);
	//! True: equalities connect the two; rows: of their join.
	static bool EstimateJoin(const Tree &tree, const Tree &other, const vector<Condition> &conditions, double &rows);
	void JoinAll(vector<Tree> &trees, vector<Condition> &conditions, bool of_one_server);
	bool Regroup(unique_ptr<LogicalOperator> &op, Replacements &replacements);

	OptimizerExtensionInput &input;
};

bool Regrouper::IsRegion(const LogicalOperator &op) {
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

void Regrouper::Collect(unique_ptr<LogicalOperator> &op, vector<unique_ptr<LogicalOperator> *> &relations,
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

bool IsAbout(const Expression &expression, const vector<ColumnBinding> &relation, bool &any) {
	if (expression.GetExpressionClass() == ExpressionClass::BOUND_COLUMN_REF) {
		auto &binding = expression.Cast<BoundColumnRefExpression>().binding;
		any = true;
		return std::find(relation.begin(), relation.end(), binding) != relation.end();
	}
	bool result = true;
	ExpressionIterator::EnumerateChildren(
	    expression, [&](const Expression &child) { result = result && IsAbout(child, relation, any); });
	return result;
}

unique_ptr<Expression> PartAbout(const Expression &condition, const vector<ColumnBinding> &relation) {
	bool any = false;
	if (condition.GetExpressionType() == ExpressionType::CONJUNCTION_OR) {
		auto result = make_uniq<BoundConjunctionExpression>(ExpressionType::CONJUNCTION_OR);
		for (auto &child : condition.Cast<BoundConjunctionExpression>().children) {
			auto part = PartAbout(*child, relation);
			if (!part) {
				return nullptr;
			}
			result->children.push_back(std::move(part));
		}
		return std::move(result);
	}
	if (condition.GetExpressionType() == ExpressionType::CONJUNCTION_AND) {
		unique_ptr<Expression> result;
		for (auto &child : condition.Cast<BoundConjunctionExpression>().children) {
			auto part = PartAbout(*child, relation);
			if (part && result) {
				result = make_uniq<BoundConjunctionExpression>(ExpressionType::CONJUNCTION_AND, std::move(result),
				                                               std::move(part));
			} else if (part) {
				result = std::move(part);
			}
		}
		return result;
	}
	return IsAbout(condition, relation, any) && any && !condition.IsVolatile() && !condition.CanThrow()
	           ? condition.Copy()
	           : nullptr;
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

//! Puts the conditions on top that read nothing else.
void Regrouper::AddConditions(Tree &tree, vector<Condition> &conditions) {
	auto filter = make_uniq<LogicalFilter>();
	for (auto &condition : conditions) {
		if (condition.expression && condition.known &&
		    std::includes(tree.members.begin(), tree.members.end(), condition.uses.begin(), condition.uses.end())) {
			filter->expressions.push_back(std::move(condition.expression));
		}
	}
	if (!filter->expressions.empty()) {
		filter->children.push_back(std::move(tree.plan));
		tree.plan = std::move(filter);
		tree.plan->ResolveOperatorTypes();
	}
}

void Regrouper::Join(Tree &tree, Tree other, vector<Condition> &conditions) {
	if (other.estimate.rows > tree.estimate.rows) {
		std::swap(tree.plan, other.plan); // the larger one on the left: where it lies, there the join mostly is
	}
	tree.plan = LogicalCrossProduct::Create(std::move(tree.plan), std::move(other.plan));
	tree.plan->ResolveOperatorTypes();
	tree.members.insert(other.members.begin(), other.members.end());
	AddConditions(tree, conditions);
	tree.estimate = EstimateTree(input.context, *tree.plan);
}

bool Regrouper::Connects(const Condition &condition, const Tree &tree, const Tree &other) {
	if (!condition.expression || !condition.known || condition.uses.size() != 2 ||
	    condition.expression->GetExpressionType() != ExpressionType::COMPARE_EQUAL) {
		return false;
	}
	auto first = *condition.uses.begin(), second = *condition.uses.rbegin();
	return (tree.members.count(first) && other.members.count(second)) ||
	       (tree.members.count(second) && other.members.count(first));
}

bool Regrouper::EstimateJoin(const Tree &tree, const Tree &other, const vector<Condition> &conditions, double &rows) {
	vector<const Expression *> equalities;
	for (auto &condition : conditions) {
		if (Connects(condition, tree, other)) {
			equalities.push_back(condition.expression.get());
		}
	}
	rows = EstimateJoinKeys(equalities, tree.estimate, other.estimate).Rows(tree.estimate.rows, other.estimate.rows);
	return !equalities.empty();
}

//! Joins two of the trees at a time: of the connected ones those that give the fewest rows. Of one server only what is
//! connected, and no join that multiplies.
void Regrouper::JoinAll(vector<Tree> &trees, vector<Condition> &conditions, bool of_one_server) {
	while (trees.size() > 1) {
		idx_t first = 0, second = 0;
		bool connected = false;
		double least = 0;
		for (idx_t i = 0; i < trees.size(); i++) {
			for (idx_t k = i + 1; k < trees.size(); k++) {
				double rows;
				bool connects = EstimateJoin(trees[i], trees[k], conditions, rows);
				auto larger = std::max(trees[i].estimate.rows, trees[k].estimate.rows);
				if (of_one_server && (!connects || rows > MULTIPLIED * larger)) {
					continue;
				}
				if (second == 0 || (connects && !connected) || (connects == connected && rows < least)) {
					first = i;
					second = k;
					connected = connects;
					least = rows;
				}
			}
		}
		if (second == 0) {
			break;
		}
		auto other = std::move(trees[second]);
		trees.erase_at(second);
		Join(trees[first], std::move(other), conditions);
	}
}

bool ReadsServer(const LogicalOperator &op) {
	bool result = op.type == LogicalOperatorType::LOGICAL_GET && IsScan(op.Cast<LogicalGet>().function);
	for (auto &child : op.children) {
		result = result || ReadsServer(*child);
	}
	return result;
}

bool Regrouper::Regroup(unique_ptr<LogicalOperator> &op, Replacements &replacements) {
	vector<unique_ptr<LogicalOperator> *> relations;
	vector<unique_ptr<Expression>> expressions;
	Collect(op, relations, expressions);
	LogicalFilter::SplitPredicates(expressions);

	vector<vector<ColumnBinding>> bindings;
	vector<optional_ptr<OdCatalog>> catalogs;
	bool one_database = true, any = false;
	for (auto relation : relations) {
		bindings.push_back((*relation)->GetColumnBindings());
		UnparsedPlan plan;
		catalogs.push_back(UnparsePlan(**relation, plan) ? plan.catalog : nullptr);
		one_database = one_database && catalogs.back() && catalogs.back() == catalogs[0];
		any = any || catalogs.back() || ReadsServer(**relation);
	}
	if (!any) {
		return false;
	}
	for (idx_t c = 0, count = expressions.size(); c < count; c++) {
		bool known = true;
		std::set<idx_t> uses;
		RelationsOf(*expressions[c], bindings, uses, known);
		for (auto relation : uses) {
			auto part = uses.size() > 1 && known ? PartAbout(*expressions[c], bindings[relation]) : nullptr;
			if (part) {
				expressions.push_back(std::move(part));
			}
		}
	}
	vector<Condition> conditions(expressions.size());
	for (idx_t c = 0; c < expressions.size(); c++) {
		conditions[c].expression = std::move(expressions[c]);
		RelationsOf(*conditions[c].expression, bindings, conditions[c].uses, conditions[c].known);
		one_database = one_database && HasExactText(*conditions[c].expression);
	}
	if (one_database) {
		return false; // as a whole it is one part already
	}
	auto old_bindings = op->GetColumnBindings();
	auto old_types = op->types;
	Replacements inner;
	vector<Tree> trees;
	std::map<OdCatalog *, vector<Tree>> servers;
	for (idx_t i = 0; i < relations.size(); i++) {
		Tree tree;
		tree.plan = std::move(*relations[i]);
		Append(inner, Walk(tree.plan));
		tree.members.insert(i);
		(catalogs[i] ? servers[catalogs[i].get()] : trees).push_back(std::move(tree));
	}
	// What has no text must not stand below what has: it would keep it from the server.
	vector<Condition> sendable(conditions.size());
	for (idx_t c = 0; c < conditions.size(); c++) {
		Replace(inner, conditions[c].expression);
		if (HasExactText(*conditions[c].expression)) {
			sendable[c] = std::move(conditions[c]);
		}
	}
	for (auto &server : servers) {
		for (auto &tree : server.second) {
			AddConditions(tree, sendable);
			tree.estimate = EstimateTree(input.context, *tree.plan);
		}
		JoinAll(server.second, sendable, true);
		for (auto &tree : server.second) {
			trees.push_back(std::move(tree));
		}
	}
	for (idx_t c = 0; c < conditions.size(); c++) {
		if (!conditions[c].expression) {
			conditions[c] = std::move(sendable[c]);
		}
	}
	for (auto &tree : trees) {
		AddConditions(tree, conditions);
		tree.estimate = EstimateTree(input.context, *tree.plan);
	}
	JoinAll(trees, conditions, false);
	auto &whole = trees[0];
	auto last = make_uniq<LogicalFilter>();
	for (auto &condition : conditions) {
		if (condition.expression) { // its columns come from elsewhere
			last->expressions.push_back(std::move(condition.expression));
		}
	}
	if (!last->expressions.empty()) {
		last->children.push_back(std::move(whole.plan));
		whole.plan = std::move(last);
		whole.plan->ResolveOperatorTypes();
	}
	vector<unique_ptr<Expression>> columns;
	auto index = input.optimizer.binder.GenerateTableIndex();
	for (idx_t i = 0; i < old_bindings.size(); i++) {
		columns.push_back(make_uniq<BoundColumnRefExpression>(old_types[i], old_bindings[i]));
		Replace(inner, columns.back());
		replacements.emplace_back(old_bindings[i], ColumnBinding(index, i));
	}
	auto projection = make_uniq<LogicalProjection>(index, std::move(columns));
	projection->children.push_back(std::move(whole.plan));
	projection->ResolveOperatorTypes();
	op = std::move(projection);
	return true;
}

Replacements Regrouper::Walk(unique_ptr<LogicalOperator> &op) {
	Replacements result;
	if (KeepsItsInputs(*op) || (IsRegion(*op) && Regroup(op, result))) {
		return result;
	}
	for (auto &child : op->children) {
		Append(result, Walk(child));
	}
	ReplaceIn(result, *op);
	return result;
}

} // namespace

Replacements RegroupJoins(OptimizerExtensionInput &input, unique_ptr<LogicalOperator> &op) {
	return Regrouper(input).Walk(op);
}

} // namespace openduck
