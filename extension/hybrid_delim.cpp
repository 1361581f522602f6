// hybrid_delim.cpp - a correlated EXISTS or IN that only filters becomes a semi- or anti-join; see hybrid_delim.hpp.
//
// DuckDB binds it as a join with the subquery over the outer query's distinct values (DELIM_GET), which only DuckDB itself
// can run. Where these values meet the subquery's relation in a plain product below projections and conditions, the outer
// rows can meet that relation directly: the conditions are then the join's own.
#include "duckdb/planner/expression/list.hpp"
#include "duckdb/planner/expression_iterator.hpp"
#include "duckdb/planner/operator/list.hpp"
#include "hybrid_delim.hpp"

#include <set>

namespace openduck {

namespace {

//! What an expression reads: columns of the outer rows, of the subquery's relation, anything else.
struct Reads {
	bool outer = false, inner = false, other = false;
};

class Meeting {
public:
	explicit Meeting(LogicalComparisonJoin &join) : join(join), outer(join.children[0]->GetColumnBindings()) {}
	//! The join that does the same; empty: there is none.
	unique_ptr<LogicalOperator> Joined(bool anti);

private:
	bool Descend(unique_ptr<LogicalOperator> &op);
	bool Resolve(unique_ptr<Expression> &expression);
	bool JoinConditions(bool anti);
	bool AddInner(unique_ptr<Expression> condition);
	bool AddPair(unique_ptr<Expression> left, ExpressionType comparison, unique_ptr<Expression> right);
	Reads ReadsOf(const Expression &expression) const;

	LogicalComparisonJoin &join;
	vector<ColumnBinding> outer, inner_bindings;
	idx_t delim = DConstants::INVALID_INDEX;             // table index of the outer values
	unique_ptr<LogicalOperator> *inner = nullptr;        // what they meet
	column_binding_map_t<reference<Expression>> columns; // of projections on the way
	vector<unique_ptr<Expression>> met;                  // conditions on the way
	vector<unique_ptr<Expression>> about_inner;
	vector<JoinCondition> conditions;
};

bool ReadsDelim(const LogicalOperator &op) {
	if (op.type == LogicalOperatorType::LOGICAL_DELIM_GET) {
		return true;
	}
	for (auto &child : op.children) {
		if (ReadsDelim(*child)) {
			return true;
		}
	}
	return false;
}

bool Meeting::Descend(unique_ptr<LogicalOperator> &op) {
	switch (op->type) {
	case LogicalOperatorType::LOGICAL_PROJECTION: {
		auto bindings = op->GetColumnBindings();
		for (idx_t i = 0; i < bindings.size(); i++) {
			if (op->expressions[i]->IsVolatile()) {
				return false;
			}
			columns.emplace(bindings[i], *op->expressions[i]);
		}
		return Descend(op->children[0]);
	}
	case LogicalOperatorType::LOGICAL_FILTER:
		if (op->HasProjectionMap()) {
			return false;
		}
		for (auto &condition : op->expressions) {
			if (condition->IsVolatile() || condition->CanThrow()) {
				return false;
			}
			met.push_back(condition->Copy());
		}
		return Descend(op->children[0]);
	case LogicalOperatorType::LOGICAL_CROSS_PRODUCT:
		for (idx_t side = 0; side < 2; side++) {
			if (op->children[side]->type == LogicalOperatorType::LOGICAL_DELIM_GET &&
			    !ReadsDelim(*op->children[1 - side])) {
				delim = op->children[side]->Cast<LogicalDelimGet>().table_index;
				inner = &op->children[1 - side];
				inner_bindings = (*inner)->GetColumnBindings();
				return true;
			}
		}
		return false;
	default:
		return false;
	}
}

//! Writes it over outer rows and the inner relation. False: it reads a value that the join does not have.
bool Meeting::Resolve(unique_ptr<Expression> &expression) {
	if (expression->GetExpressionClass() == ExpressionClass::BOUND_COLUMN_REF) {
		auto binding = expression->Cast<BoundColumnRefExpression>().binding;
		auto made = columns.find(binding);
		if (made != columns.end()) {
			expression = made->second.get().Copy();
			return Resolve(expression);
		}
		if (binding.table_index == delim) {
			if (binding.column_index >= join.duplicate_eliminated_columns.size()) {
				return false;
			}
			expression = join.duplicate_eliminated_columns[binding.column_index]->Copy();
		}
		return true;
	}
	bool result = true;
	ExpressionIterator::EnumerateChildren(*expression,
	                                      [&](unique_ptr<Expression> &child) { result = Resolve(child) && result; });
	return result;
}

Reads Meeting::ReadsOf(const Expression &expression) const {
	Reads result;
	if (expression.GetExpressionClass() == ExpressionClass::BOUND_COLUMN_REF) {
		auto &binding = expression.Cast<BoundColumnRefExpression>().binding;
		result.outer = std::find(outer.begin(), outer.end(), binding) != outer.end();
		result.inner = std::find(inner_bindings.begin(), inner_bindings.end(), binding) != inner_bindings.end();
		result.other = !result.outer && !result.inner;
	}
	ExpressionIterator::EnumerateChildren(expression, [&](const Expression &child) {
		auto reads = ReadsOf(child);
		result.outer = result.outer || reads.outer;
		result.inner = result.inner || reads.inner;
		result.other = result.other || reads.other;
	});
	return result;
}

bool Meeting::AddPair(unique_ptr<Expression> left, ExpressionType comparison, unique_ptr<Expression> right) {
	auto first = ReadsOf(*left), second = ReadsOf(*right);
	if (first.other || second.other) {
		return false;
	}
	if (first.inner && !first.outer && second.outer && !second.inner) {
		std::swap(left, right);
		comparison = FlipComparisonExpression(comparison);
	} else if (!first.outer || first.inner || !second.inner || second.outer) {
		return false;
	}
	JoinCondition condition;
	condition.left = std::move(left);
	condition.right = std::move(right);
	condition.comparison = comparison;
	conditions.push_back(std::move(condition));
	return true;
}

bool Meeting::AddInner(unique_ptr<Expression> condition) {
	if (!Resolve(condition)) {
		return false;
	}
	auto reads = ReadsOf(*condition);
	if (reads.other) {
		return false;
	}
	if (!reads.outer) {
		about_inner.push_back(std::move(condition));
		return true;
	}
	if (condition->GetExpressionClass() != ExpressionClass::BOUND_COMPARISON) {
		return false;
	}
	auto &comparison = condition->Cast<BoundComparisonExpression>();
	return AddPair(std::move(comparison.left), comparison.GetExpressionType(), std::move(comparison.right));
}

//! The join's own conditions: that an outer row meets its own values is what the new join does anyway.
bool Meeting::JoinConditions(bool anti) {
	std::set<idx_t> own;
	for (auto &condition : join.conditions) {
		auto right = condition.right->Copy();
		reference<Expression> last = *right;
		while (last.get().GetExpressionClass() == ExpressionClass::BOUND_COLUMN_REF) {
			auto made = columns.find(last.get().Cast<BoundColumnRefExpression>().binding);
			if (made == columns.end()) {
				break;
			}
			last = made->second;
		}
		if (condition.comparison == ExpressionType::COMPARE_NOT_DISTINCT_FROM &&
		    last.get().GetExpressionClass() == ExpressionClass::BOUND_COLUMN_REF) {
			auto &binding = last.get().Cast<BoundColumnRefExpression>().binding;
			auto &values = join.duplicate_eliminated_columns;
			if (binding.table_index == delim && binding.column_index < values.size() &&
			    values[binding.column_index]->Equals(*condition.left)) {
				own.insert(binding.column_index);
				continue;
			}
		}
		// IN: NULL is no partner, and not surely none.
		if (anti || condition.comparison != ExpressionType::COMPARE_EQUAL || !Resolve(right) ||
		    !AddPair(condition.left->Copy(), condition.comparison, std::move(right))) {
			return false;
		}
	}
	return own.size() == join.duplicate_eliminated_columns.size();
}

unique_ptr<LogicalOperator> Meeting::Joined(bool anti) {
	if (join.predicate || join.HasProjectionMap() || !Descend(join.children[1]) || !JoinConditions(anti)) {
		return nullptr;
	}
	for (auto &condition : met) {
		if (!AddInner(std::move(condition))) {
			return nullptr;
		}
	}
	bool equality = false;
	for (auto &condition : conditions) {
		equality = equality || condition.comparison == ExpressionType::COMPARE_EQUAL;
	}
	if (!equality) {
		return nullptr;
	}
	auto result = make_uniq<LogicalComparisonJoin>(anti ? JoinType::ANTI : JoinType::SEMI);
	result->conditions = std::move(conditions);
	auto relation = std::move(*inner);
	if (!about_inner.empty()) {
		auto filter = make_uniq<LogicalFilter>();
		filter->expressions = std::move(about_inner);
		filter->children.push_back(std::move(relation));
		relation = std::move(filter);
	}
	result->children.push_back(std::move(join.children[0]));
	result->children.push_back(std::move(relation));
	result->ResolveOperatorTypes();
	return std::move(result);
}

} // namespace

bool MakeSemiOfDelim(unique_ptr<LogicalOperator> &op, bool anti) {
	auto joined = Meeting(op->Cast<LogicalComparisonJoin>()).Joined(anti);
	if (!joined) {
		return false;
	}
	op = std::move(joined);
	return true;
}

} // namespace openduck
