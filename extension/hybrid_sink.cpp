// hybrid_sink.cpp - conditions go down to what they are about; see hybrid.hpp.
//
// A bound WHERE stands above the joins that its subqueries have become, and so hides from the joins of FROM which of their
// relations belong together. DuckDB pushes conditions down too, but only after a plan has been split; the same holds for
// an IN that only filters, which becomes a semi-join.
#include "duckdb/planner/expression/list.hpp"
#include "duckdb/planner/expression_iterator.hpp"
#include "duckdb/planner/logical_operator_visitor.hpp"
#include "duckdb/planner/operator/list.hpp"
#include "hybrid.hpp"
#include "hybrid_delim.hpp"
#include "hybrid_estimate.hpp"

#include <map>

namespace openduck {

namespace {

bool ReadsOnly(const Expression &expression, const vector<ColumnBinding> &bindings) {
	if (expression.GetExpressionClass() == ExpressionClass::BOUND_COLUMN_REF) {
		auto &ref = expression.Cast<BoundColumnRefExpression>();
		return ref.depth == 0 && std::find(bindings.begin(), bindings.end(), ref.binding) != bindings.end();
	}
	bool result = true;
	ExpressionIterator::EnumerateChildren(
	    expression, [&](const Expression &child) { result = result && ReadsOnly(child, bindings); });
	return result;
}

bool ReadsColumns(const Expression &expression) {
	bool result = expression.GetExpressionClass() == ExpressionClass::BOUND_COLUMN_REF;
	ExpressionIterator::EnumerateChildren(expression,
	                                      [&](const Expression &child) { result = result || ReadsColumns(child); });
	return result;
}

//! Does a left row that fails a condition on its own columns leave nothing in the join's result?
bool FollowsLeft(const LogicalOperator &op) {
	if (op.type != LogicalOperatorType::LOGICAL_COMPARISON_JOIN && op.type != LogicalOperatorType::LOGICAL_ANY_JOIN &&
	    op.type != LogicalOperatorType::LOGICAL_DELIM_JOIN) {
		return false;
	}
	switch (op.Cast<LogicalJoin>().join_type) {
	case JoinType::LEFT:
	case JoinType::SEMI:
	case JoinType::ANTI:
	case JoinType::MARK:
	case JoinType::SINGLE:
		return true;
	default:
		return false;
	}
}

void PutAbove(unique_ptr<LogicalOperator> &op, unique_ptr<Expression> condition) {
	if (op->type != LogicalOperatorType::LOGICAL_FILTER || op->HasProjectionMap()) {
		auto filter = make_uniq<LogicalFilter>();
		filter->children.push_back(std::move(op));
		op = std::move(filter);
	}
	op->expressions.push_back(std::move(condition));
	op->ResolveOperatorTypes();
}

//! True: the condition, which holds for all rows of `op` that are wanted, stands further down now.
bool Sink(unique_ptr<LogicalOperator> &op, unique_ptr<Expression> &condition) {
	if (op->type == LogicalOperatorType::LOGICAL_FILTER && !op->HasProjectionMap()) {
		return Sink(op->children[0], condition);
	}
	if (!FollowsLeft(*op) || op->HasProjectionMap() || !ReadsOnly(*condition, op->children[0]->GetColumnBindings())) {
		return false;
	}
	if (!Sink(op->children[0], condition)) {
		PutAbove(op->children[0], std::move(condition));
	}
	return true;
}

//! A semi-join that leaves this part of its left rows, or less, is worth making before other joins.
constexpr double FEW = 0.3;

bool IsInner(const LogicalOperator &op) {
	return op.type == LogicalOperatorType::LOGICAL_CROSS_PRODUCT ||
	       (op.type == LogicalOperatorType::LOGICAL_COMPARISON_JOIN && !op.HasProjectionMap() &&
	        op.Cast<LogicalComparisonJoin>().join_type == JoinType::INNER);
}

//! A semi-join filters its left rows as a condition does: if it leaves few, it goes to the one relation of inner joins that
//! it is about.
void SinkSemi(ClientContext &context, unique_ptr<LogicalOperator> &op) {
	auto &join = op->Cast<LogicalComparisonJoin>();
	if (join.join_type != JoinType::SEMI || join.predicate || join.HasProjectionMap()) {
		return;
	}
	auto is_about = [&](LogicalOperator &relation) {
		auto bindings = relation.GetColumnBindings();
		for (auto &condition : join.conditions) {
			if (!ReadsColumns(*condition.left) || !ReadsOnly(*condition.left, bindings)) {
				return false;
			}
		}
		return true;
	};
	auto slot = &join.children[0];
	bool moved = false;
	while (true) {
		if ((*slot)->type == LogicalOperatorType::LOGICAL_FILTER && !(*slot)->HasProjectionMap()) {
			slot = &(*slot)->children[0];
			continue;
		}
		if (!IsInner(**slot)) {
			break;
		}
		bool left = is_about(*(*slot)->children[0]);
		if (!left && !is_about(*(*slot)->children[1])) {
			break;
		}
		slot = &(*slot)->children[left ? 0 : 1];
		moved = true;
	}
	if (!moved) {
		return;
	}
	auto keys = EstimateJoinKeys(PointersTo(ConditionsOf(join)), EstimateTree(context, **slot),
	                             EstimateTree(context, *join.children[1]));
	if (keys.Kept(0) > FEW) {
		return;
	}
	auto whole = std::move(join.children[0]);
	auto relation = std::move(*slot);
	*slot = std::move(op);
	(*slot)->children[0] = std::move(relation);
	op = std::move(whole);
	op->ResolveOperatorTypes();
}

class Sinker {
public:
	Sinker(ClientContext &context, LogicalOperator &root) : context(context) {
		CountUses(root);
	}
	//! `named`: what is above takes columns by their names, so that none is missed that nobody names.
	void Walk(unique_ptr<LogicalOperator> &op, bool named);

private:
	void CountUses(LogicalOperator &op);
	bool MakeSemi(unique_ptr<LogicalOperator> &below, const Expression &condition);
	ClientContext &context;
	std::map<idx_t, idx_t> uses; // of each table index, in all expressions
};

void CountIn(const Expression &expression, std::map<idx_t, idx_t> &uses) {
	if (expression.GetExpressionClass() == ExpressionClass::BOUND_COLUMN_REF) {
		uses[expression.Cast<BoundColumnRefExpression>().binding.table_index]++;
	}
	ExpressionIterator::EnumerateChildren(expression, [&](const Expression &child) { CountIn(child, uses); });
}

void Sinker::CountUses(LogicalOperator &op) {
	LogicalOperatorVisitor::EnumerateExpressions(
	    op, [&](unique_ptr<Expression> *expression) { CountIn(**expression, uses); });
	for (auto &child : op.children) {
		CountUses(*child);
	}
}

//! True: the condition asked for rows with a partner, and now the join below gives only these.
bool Sinker::MakeSemi(unique_ptr<LogicalOperator> &below, const Expression &condition) {
	bool delim = below->type == LogicalOperatorType::LOGICAL_DELIM_JOIN;
	bool anti = condition.GetExpressionType() == ExpressionType::OPERATOR_NOT;
	auto &mark = anti ? *condition.Cast<BoundOperatorExpression>().children[0] : condition;
	if ((!delim && (anti || below->type != LogicalOperatorType::LOGICAL_COMPARISON_JOIN)) ||
	    below->HasProjectionMap() || mark.GetExpressionClass() != ExpressionClass::BOUND_COLUMN_REF) {
		return false;
	}
	auto &join = below->Cast<LogicalComparisonJoin>();
	auto table = mark.Cast<BoundColumnRefExpression>().binding.table_index;
	if (join.join_type != JoinType::MARK || join.mark_index != table || uses[table] != 1) {
		return false;
	}
	if (delim) {
		return MakeSemiOfDelim(below, anti);
	}
	join.join_type = JoinType::SEMI;
	return true;
}

void Sinker::Walk(unique_ptr<LogicalOperator> &op, bool named) {
	if (KeepsItsInputs(*op)) {
		return;
	}
	if (op->type == LogicalOperatorType::LOGICAL_FILTER && !op->HasProjectionMap()) {
		LogicalFilter::SplitPredicates(op->expressions);
		vector<unique_ptr<Expression>> rest;
		for (auto &condition : op->expressions) {
			// What has no text would keep from the server what it stands on.
			bool may = !condition->IsVolatile() && ReadsColumns(*condition) && HasExactText(*condition);
			if (named && MakeSemi(op->children[0], *condition)) {
				continue;
			}
			if (!may || !Sink(op->children[0], condition)) {
				rest.push_back(std::move(condition));
			}
		}
		op->expressions = std::move(rest);
		if (op->expressions.empty()) {
			auto child = std::move(op->children[0]);
			op = std::move(child);
			op->ResolveOperatorTypes();
			Walk(op, named);
			return;
		}
		op->ResolveOperatorTypes();
	}
	if (op->type == LogicalOperatorType::LOGICAL_COMPARISON_JOIN) {
		SinkSemi(context, op);
	}
	switch (op->type) {
	case LogicalOperatorType::LOGICAL_PROJECTION:
	case LogicalOperatorType::LOGICAL_AGGREGATE_AND_GROUP_BY:
		named = true;
		break;
	case LogicalOperatorType::LOGICAL_FILTER:
	case LogicalOperatorType::LOGICAL_COMPARISON_JOIN:
	case LogicalOperatorType::LOGICAL_DELIM_JOIN:
	case LogicalOperatorType::LOGICAL_CROSS_PRODUCT:
		break;
	default:
		named = false;
	}
	for (auto &child : op->children) {
		Walk(child, named);
	}
}

} // namespace

void SinkConditions(ClientContext &context, unique_ptr<LogicalOperator> &op) {
	Sinker(context, *op).Walk(op, false);
}

} // namespace openduck
