// hybrid_regroup.cpp - the relations of one server meet before they cross; see hybrid.hpp.
//
// A tree of inner joins that reads more than one database is taken apart into relations and conditions and put together
// again: each condition as low as it can be, relations of one server that equalities connect joined to each other first,
// then everything else, connected relations before unconnected ones and small ones before large ones. The join order within
// a server, and of what is joined here, is chosen anew by the optimizers; only what stands together matters. A projection
// above keeps the columns in their old order, for operators that count columns instead of naming them.
#include "duckdb/optimizer/optimizer.hpp"
#include "duckdb/planner/binder.hpp"
#include "duckdb/planner/expression/list.hpp"
#include "duckdb/planner/expression_iterator.hpp"
#include "duckdb/planner/operator/list.hpp"
#include "hybrid.hpp"

#include <set>

namespace openduck {

namespace {

class Regrouper {
public:
	explicit Regrouper(OptimizerExtensionInput &input) : input(input) {}
	Replacements Walk(unique_ptr<LogicalOperator> &op);

private:
	//! Relations that are joined already, by position.
	struct Tree {
		unique_ptr<LogicalOperator> plan;
		std::set<idx_t> members;
		idx_t rows;
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
	static void Join(Tree &tree, Tree other, vector<Condition> &conditions);
	static bool Connects(const Condition &condition, const Tree &tree, const Tree &other);
	static void JoinAll(vector<Tree> &trees, vector<Condition> &conditions, bool only_connected);
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
	tree.plan = LogicalCrossProduct::Create(std::move(tree.plan), std::move(other.plan));
	tree.plan->ResolveOperatorTypes();
	tree.members.insert(other.members.begin(), other.members.end());
	tree.rows = MaxValue(tree.rows, other.rows);
	AddConditions(tree, conditions);
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

//! Joins the trees to the largest of them, the smallest connected one at a time.
void Regrouper::JoinAll(vector<Tree> &trees, vector<Condition> &conditions, bool only_connected) {
	vector<Tree> result;
	while (!trees.empty()) {
		idx_t largest = 0;
		for (idx_t i = 1; i < trees.size(); i++) {
			largest = trees[i].rows > trees[largest].rows ? i : largest;
		}
		Tree tree = std::move(trees[largest]);
		trees.erase_at(largest);
		while (!trees.empty()) {
			optional_idx next;
			bool connected = false;
			for (idx_t i = 0; i < trees.size(); i++) {
				bool connects = false;
				for (auto &condition : conditions) {
					connects = connects || Connects(condition, tree, trees[i]);
				}
				if (!next.IsValid() || (connects && !connected) ||
				    (connects == connected && trees[i].rows < trees[next.GetIndex()].rows)) {
					next = i;
					connected = connects;
				}
			}
			if (only_connected && !connected) {
				break;
			}
			auto other = std::move(trees[next.GetIndex()]);
			trees.erase_at(next.GetIndex());
			Join(tree, std::move(other), conditions);
		}
		result.push_back(std::move(tree));
	}
	trees = std::move(result);
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
		any = any || catalogs.back();
	}
	if (!any) {
		return false;
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
		tree.rows = tree.plan->EstimateCardinality(input.context);
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
