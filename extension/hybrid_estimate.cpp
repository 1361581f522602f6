// hybrid_estimate.cpp - see hybrid_estimate.hpp.
#include "hybrid_estimate.hpp"

#include "duckdb/planner/expression/list.hpp"
#include "duckdb/planner/expression_iterator.hpp"
#include "duckdb/planner/operator/list.hpp"
#include "duckdb/storage/statistics/base_statistics.hpp"
#include "scan.hpp"

#include <algorithm>
#include <cmath>

namespace openduck {

namespace {

constexpr double TEXT_BYTES = 16;
constexpr double NESTED_BYTES = 48;
constexpr double UNKNOWN_ROWS = 100000; // of a view or function that does not say
//! Of values that nothing is known about, this power of the number of rows is taken to differ.
constexpr double GROUPING_POWER = 0.6;
constexpr double JOIN_KEY_POWER = 0.85;

double BytesOf(const LogicalType &type) {
	switch (type.InternalType()) {
	case PhysicalType::VARCHAR:
		return TEXT_BYTES;
	case PhysicalType::LIST:
	case PhysicalType::STRUCT:
	case PhysicalType::ARRAY:
		return NESTED_BYTES;
	default:
		return static_cast<double>(GetTypeIdSize(type.InternalType()));
	}
}

//! A plain column, perhaps cast: what keys and groups mostly are.
optional_ptr<const ColumnEstimate> ColumnOf(const Expression &expression, const PlanEstimate &input) {
	if (expression.GetExpressionClass() == ExpressionClass::BOUND_CAST) {
		return ColumnOf(*expression.Cast<BoundCastExpression>().child, input);
	}
	if (expression.GetExpressionClass() != ExpressionClass::BOUND_COLUMN_REF) {
		return nullptr;
	}
	auto &binding = expression.Cast<BoundColumnRefExpression>().binding;
	for (idx_t i = 0; i < input.bindings.size(); i++) {
		if (input.bindings[i] == binding) {
			return input.columns[i];
		}
	}
	return nullptr;
}

double Groups(const vector<unique_ptr<Expression>> &groups, const PlanEstimate &input) {
	double result = 1;
	for (auto &group : groups) {
		auto column = ColumnOf(*group, input);
		result *= column && column->distinct > 0 ? column->distinct : std::pow(input.rows, GROUPING_POWER);
	}
	return std::min(result, input.rows);
}

ColumnEstimate OfExpression(const Expression &expression, const PlanEstimate &input) {
	auto column = ColumnOf(expression, input);
	return {BytesOf(expression.return_type), column ? column->distinct : 0};
}

void EstimateScan(ClientContext &context, LogicalGet &get, PlanEstimate &result) {
	auto nodes = get.function.cardinality ? get.function.cardinality(context, get.bind_data.get()) : nullptr;
	result.rows =
	    nodes && nodes->has_estimated_cardinality ? static_cast<double>(nodes->estimated_cardinality) : UNKNOWN_ROWS;
	if (IsScan(get.function) && result.rows == 0) {
		result.rows = UNKNOWN_ROWS; // the catalog does not say it of views
	}
	auto &ids = get.GetColumnIds();
	for (idx_t i = 0; i < result.columns.size() && i < ids.size(); i++) {
		if (!get.function.statistics || IsScan(get.function) || ids[i].IsVirtualColumn()) {
			continue;
		}
		auto statistics = get.function.statistics(context, get.bind_data.get(), ids[i].GetPrimaryIndex());
		if (statistics) {
			auto distinct = static_cast<double>(statistics->GetDistinctCount());
			result.columns[i].distinct = std::min(distinct, result.rows);
		}
	}
}

double JoinRows(const JoinEstimate &keys, double left, double right) {
	if (keys.equalities == 0) {
		return left * right;
	}
	auto result = left * right / std::max(1.0, std::max(keys.distinct[0], keys.distinct[1]));
	return result * std::pow(0.7, static_cast<double>(keys.equalities - 1));
}

} // namespace

double PlanEstimate::RowBytes() const {
	double result = 0;
	for (auto &column : columns) {
		result += column.bytes;
	}
	return result;
}

JoinEstimate EstimateJoinKeys(const vector<unique_ptr<Expression>> &conditions, const PlanEstimate &left,
                              const PlanEstimate &right) {
	JoinEstimate result;
	for (auto &condition : conditions) {
		if (condition->GetExpressionType() != ExpressionType::COMPARE_EQUAL &&
		    condition->GetExpressionType() != ExpressionType::COMPARE_NOT_DISTINCT_FROM) {
			continue;
		}
		auto &comparison = condition->Cast<BoundComparisonExpression>();
		auto a = ColumnOf(*comparison.left, left), b = ColumnOf(*comparison.right, right);
		if (!a || !b) {
			a = ColumnOf(*comparison.right, left);
			b = ColumnOf(*comparison.left, right);
		}
		if (!a || !b) {
			continue;
		}
		double first = a->distinct, second = b->distinct;
		if (first == 0 && second == 0) {
			// Most likely the key of the smaller side, which each row of the other refers to.
			first = second = std::min(left.rows, right.rows);
		} else if (first == 0) {
			first = std::min(left.rows, std::max(second, std::pow(left.rows, JOIN_KEY_POWER)));
		} else if (second == 0) {
			second = std::min(right.rows, std::max(first, std::pow(right.rows, JOIN_KEY_POWER)));
		}
		if (result.equalities == 0 || first > result.distinct[0]) {
			result.distinct[0] = first;
		}
		if (result.equalities == 0 || second > result.distinct[1]) {
			result.distinct[1] = second;
		}
		result.key_bytes = std::max(a->bytes, b->bytes);
		result.equalities++;
	}
	return result;
}

double EstimateSelectivity(const Expression &condition, const PlanEstimate &input) {
	switch (condition.GetExpressionType()) {
	case ExpressionType::CONJUNCTION_AND: {
		double result = 1;
		for (auto &child : condition.Cast<BoundConjunctionExpression>().children) {
			result *= EstimateSelectivity(*child, input);
		}
		return result;
	}
	case ExpressionType::CONJUNCTION_OR: {
		double none = 1;
		for (auto &child : condition.Cast<BoundConjunctionExpression>().children) {
			none *= 1 - EstimateSelectivity(*child, input);
		}
		return 1 - none;
	}
	case ExpressionType::COMPARE_EQUAL: {
		auto &comparison = condition.Cast<BoundComparisonExpression>();
		auto column = ColumnOf(*comparison.left, input);
		column = column ? column : ColumnOf(*comparison.right, input);
		return column && column->distinct > 0 ? 1 / column->distinct : 0.05;
	}
	case ExpressionType::COMPARE_IN: {
		auto &in = condition.Cast<BoundOperatorExpression>();
		auto column = ColumnOf(*in.children[0], input);
		auto one = column && column->distinct > 0 ? 1 / column->distinct : 0.05;
		return std::min(0.5, one * static_cast<double>(in.children.size() - 1));
	}
	case ExpressionType::COMPARE_LESSTHAN:
	case ExpressionType::COMPARE_GREATERTHAN:
	case ExpressionType::COMPARE_LESSTHANOREQUALTO:
	case ExpressionType::COMPARE_GREATERTHANOREQUALTO:
	case ExpressionType::COMPARE_BETWEEN:
		return 0.3;
	case ExpressionType::OPERATOR_IS_NULL:
		return 0.1;
	case ExpressionType::COMPARE_NOTEQUAL:
	case ExpressionType::OPERATOR_IS_NOT_NULL:
	case ExpressionType::OPERATOR_NOT:
		return 0.9;
	default:
		return 0.3;
	}
}

PlanEstimate EstimatePlan(ClientContext &context, LogicalOperator &op, const vector<const PlanEstimate *> &inputs,
                          const vector<unique_ptr<Expression>> &conditions) {
	PlanEstimate result;
	result.bindings = op.GetColumnBindings();
	result.columns.resize(result.bindings.size());
	for (idx_t i = 0; i < result.bindings.size(); i++) {
		result.columns[i].bytes = i < op.types.size() ? BytesOf(op.types[i]) : 8;
		for (auto input : inputs) {
			for (idx_t c = 0; c < input->bindings.size(); c++) {
				if (input->bindings[c] == result.bindings[i]) {
					result.columns[i] = input->columns[c];
				}
			}
		}
	}
	for (auto input : inputs) {
		result.rows = std::max(result.rows, input->rows);
	}
	// A subtree that is written as a whole is a leaf too.
	auto type = op.type;
	if (inputs.empty() && type != LogicalOperatorType::LOGICAL_GET) {
		result.rows = static_cast<double>(op.EstimateCardinality(context));
		type = LogicalOperatorType::LOGICAL_INVALID;
	}
	switch (type) {
	case LogicalOperatorType::LOGICAL_GET:
		if (inputs.empty()) {
			EstimateScan(context, op.Cast<LogicalGet>(), result);
		}
		break;
	case LogicalOperatorType::LOGICAL_FILTER:
		if (inputs.size() == 2) { // over a product: a join
			auto keys = EstimateJoinKeys(conditions, *inputs[0], *inputs[1]);
			result.rows = JoinRows(keys, inputs[0]->rows, inputs[1]->rows);
			break;
		}
		for (auto &condition : conditions) {
			result.rows *= EstimateSelectivity(*condition, *inputs[0]);
		}
		break;
	case LogicalOperatorType::LOGICAL_PROJECTION:
		for (idx_t i = 0; i < op.expressions.size() && i < result.columns.size(); i++) {
			result.columns[i] = OfExpression(*op.expressions[i], *inputs[0]);
		}
		break;
	case LogicalOperatorType::LOGICAL_AGGREGATE_AND_GROUP_BY: {
		auto &aggregate = op.Cast<LogicalAggregate>();
		result.rows = aggregate.groups.empty() ? 1 : Groups(aggregate.groups, *inputs[0]);
		for (idx_t i = 0; i < aggregate.groups.size() && i < result.columns.size(); i++) {
			result.columns[i] = OfExpression(*aggregate.groups[i], *inputs[0]);
		}
		break;
	}
	case LogicalOperatorType::LOGICAL_DISTINCT:
		result.rows = Groups(op.Cast<LogicalDistinct>().distinct_targets, *inputs[0]);
		break;
	case LogicalOperatorType::LOGICAL_LIMIT: {
		auto &limit = op.Cast<LogicalLimit>();
		if (limit.limit_val.Type() == LimitNodeType::CONSTANT_VALUE) {
			result.rows = std::min(result.rows, static_cast<double>(limit.limit_val.GetConstantValue()));
		}
		break;
	}
	case LogicalOperatorType::LOGICAL_UNION:
		result.rows = 0;
		for (auto input : inputs) {
			result.rows += input->rows;
		}
		break;
	case LogicalOperatorType::LOGICAL_CROSS_PRODUCT:
		result.rows = inputs[0]->rows * inputs[1]->rows;
		break;
	case LogicalOperatorType::LOGICAL_ANY_JOIN:
	case LogicalOperatorType::LOGICAL_COMPARISON_JOIN:
	case LogicalOperatorType::LOGICAL_DELIM_JOIN: {
		auto left = inputs[0]->rows, right = inputs[1]->rows;
		auto keys = EstimateJoinKeys(conditions, *inputs[0], *inputs[1]);
		auto rows = JoinRows(keys, left, right);
		switch (op.Cast<LogicalJoin>().join_type) {
		case JoinType::INNER:
			result.rows = rows;
			break;
		case JoinType::LEFT:
			result.rows = std::max(rows, left);
			break;
		case JoinType::RIGHT:
			result.rows = std::max(rows, right);
			break;
		case JoinType::OUTER:
			result.rows = std::max(rows, left + right);
			break;
		case JoinType::SEMI:
			result.rows =
			    keys.equalities ? left * std::min(1.0, keys.distinct[1] / std::max(1.0, keys.distinct[0])) : left;
			break;
		case JoinType::ANTI:
			result.rows = left / 2;
			break;
		default:
			result.rows = left;
		}
		break;
	}
	default:
		break;
	}
	if (!std::isfinite(result.rows)) {
		result.rows = 1e15;
	}
	result.rows = std::min(std::max(result.rows, 1.0), 1e15);
	for (auto &column : result.columns) {
		column.distinct = std::min(column.distinct, result.rows);
	}
	return result;
}

void EstimateWork(enum od_plan_kind kind, struct od_plan_op &op) {
	switch (kind) {
	case OD_PLAN_SCAN:
		op.cpu_in_s = 4e-9;
		break;
	case OD_PLAN_FILTER:
		op.cpu_in_s = 3e-9;
		break;
	case OD_PLAN_PROJECT:
		op.cpu_in_s = 4e-9;
		break;
	case OD_PLAN_JOIN:
		op.cpu_in_s = 20e-9;
		op.cpu_out_s = 10e-9;
		break;
	case OD_PLAN_AGGREGATE:
		op.cpu_in_s = 15e-9;
		op.cpu_out_s = 50e-9;
		break;
	case OD_PLAN_DISTINCT:
		op.cpu_in_s = 40e-9;
		break;
	case OD_PLAN_ORDER:
		op.cpu_in_s = 100e-9;
		break;
	case OD_PLAN_TOP_N:
		op.cpu_in_s = 5e-9;
		break;
	case OD_PLAN_WINDOW:
		op.cpu_in_s = 150e-9;
		break;
	case OD_PLAN_SET:
	case OD_PLAN_OTHER:
		op.cpu_in_s = 20e-9;
		break;
	case OD_PLAN_LIMIT:
		break;
	}
}

} // namespace openduck
