// hybrid_estimate.cpp - see hybrid_estimate.hpp.
#include "hybrid_estimate.hpp"

#include "duckdb/planner/expression/list.hpp"
#include "duckdb/planner/expression_iterator.hpp"
#include "duckdb/planner/operator/list.hpp"
#include "duckdb/storage/statistics/base_statistics.hpp"
#include "duckdb/execution/expression_executor.hpp"
#include "hybrid_statistics.hpp"

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

ColumnEstimate OfExpression(const Expression &expression, const PlanEstimate &input) {
	auto column = ColumnOf(expression, input);
	ColumnEstimate result;
	if (column) {
		result = *column;
	}
	if (!column || expression.GetExpressionClass() == ExpressionClass::BOUND_CAST) {
		result.bytes = BytesOf(expression.return_type);
	}
	return result;
}

ColumnStatistic LocalStatistic(ClientContext &context, LogicalGet &get, const ColumnIndex &column) {
	unique_ptr<BaseStatistics> statistics;
	if (get.function.statistics_extended) {
		TableFunctionGetStatisticsInput input(get.bind_data.get(), column);
		statistics = get.function.statistics_extended(context, input);
	} else if (get.function.statistics) {
		statistics = get.function.statistics(context, get.bind_data.get(), column.GetPrimaryIndex());
	}
	return statistics ? StatisticOf(*statistics) : ColumnStatistic();
}

void EstimateScan(ClientContext &context, LogicalGet &get, PlanEstimate &result) {
	auto nodes = get.function.cardinality ? get.function.cardinality(context, get.bind_data.get()) : nullptr;
	result.rows =
	    nodes && nodes->has_estimated_cardinality ? static_cast<double>(nodes->estimated_cardinality) : UNKNOWN_ROWS;
	if (IsScan(get.function) && result.rows == 0) {
		result.rows = UNKNOWN_ROWS; // the catalog does not say it of views
	}
	auto &ids = get.GetColumnIds();
	shared_ptr<const vector<ColumnStatistic>> server;
	if (IsScan(get.function)) {
		server = StatisticsOf(get.bind_data->Cast<ScanBindData>());
	}
	for (idx_t i = 0; i < result.columns.size() && i < ids.size(); i++) {
		if (ids[i].IsVirtualColumn()) {
			continue;
		}
		auto id = ids[i].GetPrimaryIndex();
		ColumnStatistic statistic;
		if (server && id < server->size()) {
			statistic = (*server)[id];
		} else if (!IsScan(get.function)) {
			statistic = LocalStatistic(context, get, ids[i]);
		}
		auto &column = result.columns[i];
		column.distinct = std::min(statistic.distinct, result.rows);
		column.domain = column.distinct;
		column.bytes = statistic.bytes > 0 ? statistic.bytes : column.bytes;
		column.has_range = statistic.has_range;
		column.low = statistic.low;
		column.high = statistic.high;
	}
}

} // namespace

double PlanEstimate::RowBytes(const column_binding_set_t &used) const {
	double result = 1;
	for (idx_t i = 0; i < columns.size(); i++) {
		result += used.count(bindings[i]) ? columns[i].bytes : 0;
	}
	return result;
}

vector<const Expression *> PointersTo(const vector<unique_ptr<Expression>> &expressions) {
	vector<const Expression *> result;
	for (auto &expression : expressions) {
		result.push_back(expression.get());
	}
	return result;
}

double JoinEstimate::Rows(double left, double right) const {
	return equalities ? left * right / domain : left * right;
}

double JoinEstimate::Kept(idx_t side) const {
	return equalities ? std::min(1.0, distinct[1 - side] / domain) : 1;
}

double EstimateGroups(const vector<unique_ptr<Expression>> &groups, const PlanEstimate &input) {
	double result = 1;
	for (auto &group : groups) {
		auto column = ColumnOf(*group, input);
		result *= column && column->distinct > 0 ? column->distinct : std::pow(input.rows, GROUPING_POWER);
	}
	return std::min(result, input.rows);
}

JoinEstimate EstimateJoinKeys(const vector<const Expression *> &conditions, const PlanEstimate &left,
                              const PlanEstimate &right) {
	JoinEstimate result;
	double product[2] = {1, 1}, widest = 1;
	result.key_bytes = 0;
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
		result.used.insert(condition);
		product[0] *= first;
		product[1] *= second;
		widest = std::max({widest, first, second, a->domain, b->domain});
		result.key_bytes += std::max(a->bytes, b->bytes);
		result.equalities++;
	}
	result.distinct[0] = std::min(product[0], left.rows);
	result.distinct[1] = std::min(product[1], right.rows);
	result.domain = widest;
	if (result.equalities > 1) { // of several columns together: most likely the key of the smaller side, again
		result.domain = std::max(widest, std::min(result.distinct[0], result.distinct[1]));
	}
	return result;
}

//===--------------------------------------------------------------------===//
// Conditions
//===--------------------------------------------------------------------===//
namespace {

constexpr double EQUAL_PART = 0.05;
constexpr double RANGE_PART = 0.3;
constexpr double PATTERN_PART = 0.1;
constexpr double OTHER_PART = 0.3;

bool ConstantPlace(ClientContext &context, const Expression &expression, double &out) {
	Value value;
	return expression.IsFoldable() && !expression.HasParameter() &&
	       ExpressionExecutor::TryEvaluateScalar(context, expression, value) && PlaceOf(value, out);
}

//! What conditions leave of a column's range, on a scale from 0 to 1.
struct LeftOfRange {
	double low = 0, high = 1;
};

//! A comparison of a column with constants, if the column's range is known: narrows what is left of it.
bool Narrow(ClientContext &context, const Expression &condition, const PlanEstimate &input,
            std::map<const ColumnEstimate *, LeftOfRange> &left) {
	optional_ptr<const ColumnEstimate> column;
	double from = 0, to = 0;
	bool has_from = false, has_to = false;
	if (condition.GetExpressionType() == ExpressionType::COMPARE_BETWEEN) {
		auto &between = condition.Cast<BoundBetweenExpression>();
		column = ColumnOf(*between.input, input);
		has_from = ConstantPlace(context, *between.lower, from);
		has_to = ConstantPlace(context, *between.upper, to);
	} else if (condition.GetExpressionClass() == ExpressionClass::BOUND_COMPARISON) {
		auto &comparison = condition.Cast<BoundComparisonExpression>();
		auto type = comparison.GetExpressionType();
		auto other = comparison.right.get();
		column = ColumnOf(*comparison.left, input);
		if (!column) {
			column = ColumnOf(*comparison.right, input);
			other = comparison.left.get();
			type = FlipComparisonExpression(type);
		}
		if (type == ExpressionType::COMPARE_LESSTHAN || type == ExpressionType::COMPARE_LESSTHANOREQUALTO) {
			has_to = ConstantPlace(context, *other, to);
		} else if (type == ExpressionType::COMPARE_GREATERTHAN ||
		           type == ExpressionType::COMPARE_GREATERTHANOREQUALTO) {
			has_from = ConstantPlace(context, *other, from);
		}
	}
	if (!column || !column->has_range || column->high <= column->low || (!has_from && !has_to)) {
		return false;
	}
	auto &range = left[column.get()];
	auto width = column->high - column->low;
	if (has_from) {
		range.low = std::max(range.low, (from - column->low) / width);
	}
	if (has_to) {
		range.high = std::min(range.high, (to - column->low) / width);
	}
	return true;
}

double SelectivityOf(ClientContext &context, const Expression &condition, const PlanEstimate &input) {
	switch (condition.GetExpressionType()) {
	case ExpressionType::CONJUNCTION_AND:
		return EstimateSelectivity(context, condition.Cast<BoundConjunctionExpression>().children, input);
	case ExpressionType::CONJUNCTION_OR: {
		double none = 1;
		for (auto &child : condition.Cast<BoundConjunctionExpression>().children) {
			none *= 1 - SelectivityOf(context, *child, input);
		}
		return 1 - none;
	}
	case ExpressionType::COMPARE_EQUAL:
	case ExpressionType::COMPARE_NOT_DISTINCT_FROM: {
		auto &comparison = condition.Cast<BoundComparisonExpression>();
		auto a = ColumnOf(*comparison.left, input), b = ColumnOf(*comparison.right, input);
		auto distinct = std::max(a ? a->distinct : 0, b ? b->distinct : 0);
		return distinct > 0 ? 1 / distinct : EQUAL_PART;
	}
	case ExpressionType::COMPARE_IN: {
		auto &in = condition.Cast<BoundOperatorExpression>();
		auto column = ColumnOf(*in.children[0], input);
		auto one = column && column->distinct > 0 ? 1 / column->distinct : EQUAL_PART;
		return std::min(0.5, one * static_cast<double>(in.children.size() - 1));
	}
	case ExpressionType::COMPARE_LESSTHAN:
	case ExpressionType::COMPARE_GREATERTHAN:
	case ExpressionType::COMPARE_LESSTHANOREQUALTO:
	case ExpressionType::COMPARE_GREATERTHANOREQUALTO:
	case ExpressionType::COMPARE_BETWEEN:
		return RANGE_PART;
	case ExpressionType::OPERATOR_IS_NULL:
		return 0.1;
	case ExpressionType::OPERATOR_NOT:
		return 1 - SelectivityOf(context, *condition.Cast<BoundOperatorExpression>().children[0], input);
	case ExpressionType::COMPARE_NOTEQUAL:
	case ExpressionType::OPERATOR_IS_NOT_NULL:
		return 0.9;
	case ExpressionType::BOUND_COLUMN_REF: {
		auto column = ColumnOf(condition, input);
		return column ? column->truth : OTHER_PART;
	}
	case ExpressionType::BOUND_FUNCTION: {
		auto &name = condition.Cast<BoundFunctionExpression>().function.name;
		return !name.empty() && name[0] == '!' ? 1 - PATTERN_PART : PATTERN_PART; // "!~~" is NOT LIKE
	}
	default:
		return OTHER_PART;
	}
}

} // namespace

double EstimateSelectivity(ClientContext &context, const vector<unique_ptr<Expression>> &conditions,
                           const PlanEstimate &input) {
	double result = 1;
	std::map<const ColumnEstimate *, LeftOfRange> left;
	for (auto &condition : conditions) {
		if (!Narrow(context, *condition, input, left)) {
			result *= SelectivityOf(context, *condition, input);
		}
	}
	for (auto &entry : left) {
		// However little is left, some value is.
		auto least = entry.first->distinct > 0 ? 1 / entry.first->distinct : 0.001;
		result *= std::min(1.0, std::max(least, entry.second.high - entry.second.low));
	}
	return result;
}

//===--------------------------------------------------------------------===//
// Operators
//===--------------------------------------------------------------------===//
namespace {

vector<unique_ptr<Expression>> OtherConditions(const vector<unique_ptr<Expression>> &conditions,
                                               const JoinEstimate &keys) {
	vector<unique_ptr<Expression>> result;
	for (auto &condition : conditions) {
		if (!keys.used.count(condition.get())) {
			result.push_back(condition->Copy());
		}
	}
	return result;
}

} // namespace

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
			auto keys = EstimateJoinKeys(PointersTo(conditions), *inputs[0], *inputs[1]);
			result.rows = keys.Rows(inputs[0]->rows, inputs[1]->rows);
			result.rows *= EstimateSelectivity(context, OtherConditions(conditions, keys), result);
			break;
		}
		result.rows *= EstimateSelectivity(context, conditions, *inputs[0]);
		break;
	case LogicalOperatorType::LOGICAL_PROJECTION:
		for (idx_t i = 0; i < op.expressions.size() && i < result.columns.size(); i++) {
			result.columns[i] = OfExpression(*op.expressions[i], *inputs[0]);
		}
		break;
	case LogicalOperatorType::LOGICAL_AGGREGATE_AND_GROUP_BY: {
		auto &aggregate = op.Cast<LogicalAggregate>();
		result.rows = aggregate.groups.empty() ? 1 : EstimateGroups(aggregate.groups, *inputs[0]);
		for (idx_t i = 0; i < aggregate.groups.size() && i < result.columns.size(); i++) {
			result.columns[i] = OfExpression(*aggregate.groups[i], *inputs[0]);
		}
		break;
	}
	case LogicalOperatorType::LOGICAL_DISTINCT:
		result.rows = EstimateGroups(op.Cast<LogicalDistinct>().distinct_targets, *inputs[0]);
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
		auto keys = EstimateJoinKeys(PointersTo(conditions), *inputs[0], *inputs[1]);
		auto rows = keys.Rows(left, right);
		switch (op.Cast<LogicalJoin>().join_type) {
		case JoinType::INNER:
			result.rows = rows * EstimateSelectivity(context, OtherConditions(conditions, keys), result);
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
			result.rows = left * keys.Kept(0);
			break;
		case JoinType::ANTI:
			result.rows = left * std::max(1 - keys.Kept(0), 0.1);
			break;
		case JoinType::MARK: // the last column says who has a partner
			result.rows = left;
			result.columns.back().truth = keys.equalities ? keys.Kept(0) : OTHER_PART;
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

vector<unique_ptr<Expression>> ConditionsOf(const LogicalOperator &op) {
	vector<unique_ptr<Expression>> result;
	switch (op.type) {
	case LogicalOperatorType::LOGICAL_FILTER:
		for (auto &expression : op.expressions) {
			result.push_back(expression->Copy());
		}
		break;
	case LogicalOperatorType::LOGICAL_COMPARISON_JOIN:
	case LogicalOperatorType::LOGICAL_DELIM_JOIN:
		for (auto &condition : op.Cast<LogicalComparisonJoin>().conditions) {
			result.push_back(make_uniq<BoundComparisonExpression>(condition.comparison, condition.left->Copy(),
			                                                      condition.right->Copy()));
		}
		break;
	case LogicalOperatorType::LOGICAL_ANY_JOIN:
		result.push_back(op.Cast<LogicalAnyJoin>().condition->Copy());
		break;
	default:
		break;
	}
	LogicalFilter::SplitPredicates(result);
	return result;
}

PlanEstimate EstimateTree(ClientContext &context, LogicalOperator &op) {
	vector<PlanEstimate> below;
	for (auto &child : op.children) {
		below.push_back(EstimateTree(context, *child));
	}
	vector<const PlanEstimate *> inputs;
	for (auto &input : below) {
		inputs.push_back(&input);
	}
	return EstimatePlan(context, op, inputs, ConditionsOf(op));
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
		op.cpu_in_s = 12e-9;
		op.cpu_out_s = 25e-9;
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
