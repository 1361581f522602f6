// filter.cpp - table filters as exact SQL text, and those that are applied here; see filter.hpp.
#include "filter.hpp"

#include "duckdb/common/type_visitor.hpp"
#include "duckdb/planner/expression/list.hpp"
#include "duckdb/planner/filter/conjunction_filter.hpp"
#include "duckdb/planner/filter/constant_filter.hpp"
#include "duckdb/planner/filter/dynamic_filter.hpp"
#include "duckdb/planner/filter/expression_filter.hpp"
#include "duckdb/planner/filter/in_filter.hpp"
#include "duckdb/planner/filter/optional_filter.hpp"
#include "duckdb/planner/filter/struct_filter.hpp"
#include "text.hpp"

namespace openduck {

// ---- table filters

//! A filter that need not be applied is sent when it is no longer than this: the list of a join's keys.
static constexpr idx_t OPTIONAL_TEXT_MAX = 64 * 1024;

static FilterText WriteConjunction(const ConjunctionFilter &filter, bool all, const string &column,
                                   const LogicalType &type, string &out) {
	string text;
	idx_t written = 0;
	for (auto &child : filter.child_filters) {
		string part;
		auto outcome = FilterToSql(*child, column, type, part);
		if (outcome == FilterText::IMPOSSIBLE) {
			return outcome;
		}
		if (outcome == FilterText::NOTHING) {
			if (!all) {
				return FilterText::NOTHING; // one branch lets everything through
			}
			continue;
		}
		text += (written++ ? (all ? " AND " : " OR ") : "") + part;
	}
	if (!written) {
		return FilterText::NOTHING;
	}
	out += "(" + text + ")";
	return FilterText::WRITTEN;
}

static FilterText WriteComparison(ExpressionType comparison, const Value &constant, const string &column,
                                  const LogicalType &type, string &out) {
	auto text = ComparisonText(comparison);
	string literal;
	bool order = comparison != ExpressionType::COMPARE_EQUAL && comparison != ExpressionType::COMPARE_NOTEQUAL;
	if (!text || !TypeHasText(type) || constant.type() != type || !LiteralToSql(constant, literal) ||
	    (order && TypeVisitor::Contains(type, LogicalTypeId::ENUM))) { // two types of ENUMs compare as text
		return FilterText::IMPOSSIBLE;
	}
	out += "(" + column + text + literal + ")";
	return FilterText::WRITTEN;
}

static FilterText WriteIn(const InFilter &filter, const string &column, const LogicalType &type, string &out) {
	string list;
	if (!TypeHasText(type)) {
		return FilterText::IMPOSSIBLE;
	}
	for (auto &value : filter.values) {
		list += list.empty() ? "" : ", ";
		if (value.type() == type && !value.IsNull() && type.IsIntegral() && GetTypeIdSize(type.InternalType()) <= sizeof(int64_t)) {
			list += value.ToString(); // widening integers changes nothing about equality, and lists may be long
			continue;
		}
		if (value.type() != type || !LiteralToSql(value, list)) {
			return FilterText::IMPOSSIBLE;
		}
	}
	out += "(" + column + " IN (" + list + "))";
	return FilterText::WRITTEN;
}

FilterText FilterToSql(const TableFilter &filter, const string &column, const LogicalType &type, string &out) {
	switch (filter.filter_type) {
	case TableFilterType::CONSTANT_COMPARISON: {
		auto &constant = filter.Cast<ConstantFilter>();
		return WriteComparison(constant.comparison_type, constant.constant, column, type, out);
	}
	case TableFilterType::IS_NULL:
		out += "(" + column + " IS NULL)";
		return FilterText::WRITTEN;
	case TableFilterType::IS_NOT_NULL:
		out += "(" + column + " IS NOT NULL)";
		return FilterText::WRITTEN;
	case TableFilterType::CONJUNCTION_AND:
		return WriteConjunction(filter.Cast<ConjunctionAndFilter>(), true, column, type, out);
	case TableFilterType::CONJUNCTION_OR:
		return WriteConjunction(filter.Cast<ConjunctionOrFilter>(), false, column, type, out);
	case TableFilterType::IN_FILTER:
		return WriteIn(filter.Cast<InFilter>(), column, type, out);
	case TableFilterType::STRUCT_EXTRACT: {
		auto &child = filter.Cast<StructFilter>();
		if (type.id() != LogicalTypeId::STRUCT || child.child_idx >= StructType::GetChildCount(type) ||
		    StructType::IsUnnamed(type)) {
			return FilterText::IMPOSSIBLE;
		}
		auto field = SystemFunction("struct_extract") + "(" + column + ", " + TextLiteral(StructType::GetChildName(type, child.child_idx)) + ")";
		return FilterToSql(*child.child_filter, field, StructType::GetChildType(type, child.child_idx), out);
	}
	case TableFilterType::OPTIONAL_FILTER: {
		auto &optional = filter.Cast<OptionalFilter>();
		if (!optional.child_filter) {
			return FilterText::NOTHING;
		}
		string text;
		auto outcome = FilterToSql(*optional.child_filter, column, type, text);
		if (outcome != FilterText::WRITTEN || text.size() > OPTIONAL_TEXT_MAX) {
			return FilterText::NOTHING;
		}
		out += text;
		return outcome;
	}
	case TableFilterType::DYNAMIC_FILTER: {
		// A bound that tightens while the query runs: only what is known at the start of the scan can be sent. The
		// operator that made the filter checks its rows itself.
		auto &dynamic = filter.Cast<DynamicFilter>();
		if (!dynamic.filter_data) {
			return FilterText::NOTHING;
		}
		std::lock_guard<std::mutex> guard(dynamic.filter_data->lock);
		if (!dynamic.filter_data->initialized) {
			return FilterText::NOTHING;
		}
		auto &known = *dynamic.filter_data->filter;
		auto outcome = WriteComparison(known.comparison_type, known.constant, column, type, out);
		return outcome == FilterText::WRITTEN ? outcome : FilterText::NOTHING;
	}
	case TableFilterType::EXPRESSION_FILTER: {
		auto &expression = filter.Cast<ExpressionFilter>();
		auto namer = [&](const Expression &, string &text) {
			text += column;
			return true;
		};
		return ExpressionToSql(*expression.expr, namer, out) ? FilterText::WRITTEN : FilterText::IMPOSSIBLE;
	}
	case TableFilterType::BLOOM_FILTER:
		return FilterText::NOTHING; // the join checks its rows itself
	default:
		return FilterText::IMPOSSIBLE;
	}
}

// ---- what stays here

ResidualFilter::ResidualFilter(ClientContext &context) : context(context) {
}

void ResidualFilter::Add(const TableFilter &filter, idx_t column, const LogicalType &type) {
	BoundReferenceExpression reference(type, column);
	expressions.push_back(filter.ToExpression(reference));
	conjunction = nullptr;
}

void ResidualFilter::Apply(DataChunk &chunk) {
	if (expressions.empty() || chunk.size() == 0) {
		return;
	}
	if (!conjunction) {
		auto all = make_uniq<BoundConjunctionExpression>(ExpressionType::CONJUNCTION_AND);
		for (auto &expression : expressions) {
			all->children.push_back(expression->Copy());
		}
		all->children.push_back(make_uniq<BoundConstantExpression>(Value::BOOLEAN(true)));
		conjunction = std::move(all);
		executor = make_uniq<ExpressionExecutor>(context, *conjunction);
	}
	SelectionVector passed(STANDARD_VECTOR_SIZE);
	auto count = executor->SelectExpression(chunk, passed);
	if (count < chunk.size()) {
		chunk.Slice(passed, count);
	}
}

} // namespace openduck
