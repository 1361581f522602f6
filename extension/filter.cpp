// filter.cpp - filters, expressions and constants to exact SQL; see filter.hpp for the rule.
//
// Exactness of an expression rests on three things: every constant and cast carries its type, so the server's binder
// chooses the same overloads; only functions of the list below are written, whose result depends on nothing but their
// arguments; and only built-in functions count, never a macro or a user's function of the same name.
#include "filter.hpp"

#include "duckdb/common/types/blob.hpp"
#include "duckdb/parser/keyword_helper.hpp"
#include "duckdb/planner/expression/list.hpp"
#include "duckdb/planner/filter/conjunction_filter.hpp"
#include "duckdb/planner/filter/constant_filter.hpp"
#include "duckdb/planner/filter/dynamic_filter.hpp"
#include "duckdb/planner/filter/expression_filter.hpp"
#include "duckdb/planner/filter/in_filter.hpp"
#include "duckdb/planner/filter/optional_filter.hpp"
#include "duckdb/planner/filter/struct_filter.hpp"

#include <cmath>

namespace openduck {

// ---- constants

//! Types whose name in a cast means the same everywhere: no user types, no collations.
static bool TypeIsPlain(const LogicalType &type) {
	if (type.HasAlias()) {
		return false;
	}
	switch (type.id()) {
	case LogicalTypeId::VARCHAR:
		return StringType::GetCollation(type).empty();
	case LogicalTypeId::BOOLEAN:
	case LogicalTypeId::TINYINT:
	case LogicalTypeId::SMALLINT:
	case LogicalTypeId::INTEGER:
	case LogicalTypeId::BIGINT:
	case LogicalTypeId::HUGEINT:
	case LogicalTypeId::UTINYINT:
	case LogicalTypeId::USMALLINT:
	case LogicalTypeId::UINTEGER:
	case LogicalTypeId::UBIGINT:
	case LogicalTypeId::UHUGEINT:
	case LogicalTypeId::FLOAT:
	case LogicalTypeId::DOUBLE:
	case LogicalTypeId::DECIMAL:
	case LogicalTypeId::BLOB:
	case LogicalTypeId::BIT:
	case LogicalTypeId::UUID:
	case LogicalTypeId::DATE:
	case LogicalTypeId::TIME:
	case LogicalTypeId::TIME_TZ:
	case LogicalTypeId::TIMESTAMP:
	case LogicalTypeId::TIMESTAMP_SEC:
	case LogicalTypeId::TIMESTAMP_MS:
	case LogicalTypeId::TIMESTAMP_NS:
	case LogicalTypeId::TIMESTAMP_TZ:
	case LogicalTypeId::INTERVAL:
		return true;
	case LogicalTypeId::LIST:
		return TypeIsPlain(ListType::GetChildType(type));
	case LogicalTypeId::ARRAY:
		return TypeIsPlain(ArrayType::GetChildType(type));
	case LogicalTypeId::STRUCT:
		if (StructType::IsUnnamed(type)) {
			return false;
		}
		for (auto &child : StructType::GetChildTypes(type)) {
			if (!TypeIsPlain(child.second)) {
				return false;
			}
		}
		return true;
	default:
		return false;
	}
}

//! Text in quotes; a NUL cannot stand in SQL text and is written as chr(0).
static string QuotedText(const string &text) {
	string out = "'";
	for (auto c : text) {
		if (c == '\0') {
			out += "' || chr(0) || '";
		} else if (c == '\'') {
			out += "''";
		} else {
			out += c;
		}
	}
	return out + "'";
}

static string HexBlob(const string &bytes) {
	static const char digits[] = "0123456789ABCDEF";
	string out = "'";
	for (auto c : bytes) {
		auto byte = static_cast<uint8_t>(c);
		out += "\\x";
		out += digits[byte >> 4];
		out += digits[byte & 15];
	}
	return out + "'::BLOB";
}

static bool ChildrenToSql(const vector<Value> &children, const char *open, const char *close, string &out) {
	out += open;
	for (idx_t i = 0; i < children.size(); i++) {
		out += i ? ", " : "";
		if (!LiteralToSql(children[i], out)) {
			return false;
		}
	}
	out += close;
	return true;
}

static bool WriteLiteral(const Value &value, string &out) {
	auto &type = value.type();
	if (!TypeIsPlain(type)) {
		return false;
	}
	if (value.IsNull()) {
		out += "NULL::" + type.ToString();
		return true;
	}
	switch (type.id()) {
	case LogicalTypeId::BOOLEAN:
		out += BooleanValue::Get(value) ? "true" : "false";
		return true;
	case LogicalTypeId::VARCHAR:
		out += "(" + QuotedText(StringValue::Get(value)) + ")";
		return true;
	case LogicalTypeId::BLOB:
		out += HexBlob(StringValue::Get(value));
		return true;
	case LogicalTypeId::FLOAT:
		if (std::isnan(FloatValue::Get(value))) {
			return false; // the bits of a NaN have no text
		}
		break;
	case LogicalTypeId::DOUBLE:
		if (std::isnan(DoubleValue::Get(value))) {
			return false;
		}
		break;
	case LogicalTypeId::INTERVAL: {
		// Text would be normalised; the three parts are not.
		auto interval = IntervalValue::Get(value);
		out += StringUtil::Format("(to_months(%d) + to_days(%d) + to_microseconds(%d))", interval.months, interval.days,
		                          interval.micros);
		return true;
	}
	case LogicalTypeId::LIST:
		if (!ChildrenToSql(ListValue::GetChildren(value), "[", "]::", out)) {
			return false;
		}
		out += type.ToString();
		return true;
	case LogicalTypeId::ARRAY:
		if (!ChildrenToSql(ArrayValue::GetChildren(value), "[", "]::", out)) {
			return false;
		}
		out += type.ToString();
		return true;
	case LogicalTypeId::STRUCT: {
		auto &fields = StructType::GetChildTypes(type);
		auto &children = StructValue::GetChildren(value);
		out += "struct_pack(";
		for (idx_t i = 0; i < children.size(); i++) {
			out += (i ? ", " : "") + KeywordHelper::WriteQuoted(fields[i].first, '"') + " := ";
			if (!LiteralToSql(children[i], out)) {
				return false;
			}
		}
		out += ")";
		return true;
	}
	default:
		break;
	}
	// DuckDB's own text of these types reads back to the same value.
	out += QuotedText(value.ToString()) + "::" + type.ToString();
	return true;
}

bool LiteralToSql(const Value &value, string &out) {
	auto before = out.size();
	if (WriteLiteral(value, out)) {
		return true;
	}
	out.resize(before);
	return false;
}

// ---- bound expressions

//! Built-in functions whose value depends on nothing but their arguments: not on settings, collations, time zone, row
//! order, or the state of a session. Operators are functions with quoted names.
static bool FunctionIsExact(const BoundFunctionExpression &call) {
	static const case_insensitive_set_t names {
	    "+",      "-",         "*",         "/",        "//",       "%",          "||",        "~~",         "!~~",
	    "~~*",    "!~~*",      "abs",       "ceil",     "floor",    "round",      "sign",      "sqrt",       "lower",
	    "upper",  "lcase",     "ucase",     "length",   "len",      "strlen",     "substring", "substr",     "left",
	    "right",  "ltrim",     "rtrim",     "trim",     "reverse",  "replace",    "contains",  "prefix",     "suffix",
	    "concat", "greatest",  "least",     "strpos",   "instr",    "starts_with", "ends_with", "struct_extract",
	    "year",   "month",     "day",       "quarter",  "dayofweek", "dayofyear", "&",         "|",
	    "xor",    "list_contains", "list_has", "array_length", "bit_count"};
	auto &function = call.function;
	if (function.GetStability() != FunctionStability::CONSISTENT || !names.count(function.name)) {
		return false;
	}
	if (!function.catalog_name.empty() && !StringUtil::CIEquals(function.catalog_name, SYSTEM_CATALOG)) {
		return false;
	}
	// Parts of a time with a zone depend on the session's zone.
	for (auto &child : call.children) {
		if (child->return_type.id() == LogicalTypeId::TIMESTAMP_TZ || child->return_type.id() == LogicalTypeId::TIME_TZ) {
			return false;
		}
	}
	return true;
}

//! Casts whose text form means the same on both sides; those that involve a time zone's offset do not.
static bool CastIsExact(const LogicalType &from, const LogicalType &to) {
	auto zoned = [](const LogicalType &type) {
		return type.id() == LogicalTypeId::TIMESTAMP_TZ || type.id() == LogicalTypeId::TIME_TZ;
	};
	return TypeIsPlain(from) && TypeIsPlain(to) && !from.IsNested() && !to.IsNested() && !zoned(from) && !zoned(to);
}

static const char *ComparisonText(ExpressionType type) {
	switch (type) {
	case ExpressionType::COMPARE_EQUAL:
		return " = ";
	case ExpressionType::COMPARE_NOTEQUAL:
		return " <> ";
	case ExpressionType::COMPARE_LESSTHAN:
		return " < ";
	case ExpressionType::COMPARE_GREATERTHAN:
		return " > ";
	case ExpressionType::COMPARE_LESSTHANOREQUALTO:
		return " <= ";
	case ExpressionType::COMPARE_GREATERTHANOREQUALTO:
		return " >= ";
	case ExpressionType::COMPARE_DISTINCT_FROM:
		return " IS DISTINCT FROM ";
	case ExpressionType::COMPARE_NOT_DISTINCT_FROM:
		return " IS NOT DISTINCT FROM ";
	default:
		return nullptr;
	}
}

static bool WriteExpression(const Expression &expression, const ColumnNamer &namer, string &out);

static bool WriteList(const vector<unique_ptr<Expression>> &list, idx_t first, const char *between,
                      const ColumnNamer &namer, string &out) {
	for (idx_t i = first; i < list.size(); i++) {
		out += i > first ? between : "";
		if (!WriteExpression(*list[i], namer, out)) {
			return false;
		}
	}
	return true;
}

static bool WriteOperator(const BoundOperatorExpression &op, const ColumnNamer &namer, string &out) {
	switch (op.GetExpressionType()) {
	case ExpressionType::OPERATOR_NOT:
		out += "(NOT ";
		return WriteExpression(*op.children[0], namer, out) && (out += ")", true);
	case ExpressionType::OPERATOR_IS_NULL:
	case ExpressionType::OPERATOR_IS_NOT_NULL:
		out += "(";
		if (!WriteExpression(*op.children[0], namer, out)) {
			return false;
		}
		out += op.GetExpressionType() == ExpressionType::OPERATOR_IS_NULL ? " IS NULL)" : " IS NOT NULL)";
		return true;
	case ExpressionType::COMPARE_IN:
	case ExpressionType::COMPARE_NOT_IN:
		out += "(";
		if (!WriteExpression(*op.children[0], namer, out)) {
			return false;
		}
		out += op.GetExpressionType() == ExpressionType::COMPARE_IN ? " IN (" : " NOT IN (";
		return WriteList(op.children, 1, ", ", namer, out) && (out += "))", true);
	case ExpressionType::OPERATOR_COALESCE:
		out += "coalesce(";
		return WriteList(op.children, 0, ", ", namer, out) && (out += ")", true);
	default:
		return false;
	}
}

static bool WriteCase(const BoundCaseExpression &choice, const ColumnNamer &namer, string &out) {
	out += "(CASE";
	for (auto &check : choice.case_checks) {
		out += " WHEN ";
		if (!WriteExpression(*check.when_expr, namer, out)) {
			return false;
		}
		out += " THEN ";
		if (!WriteExpression(*check.then_expr, namer, out)) {
			return false;
		}
	}
	out += " ELSE ";
	return WriteExpression(*choice.else_expr, namer, out) && (out += " END)", true);
}

static bool WriteBetween(const BoundBetweenExpression &between, const ColumnNamer &namer, string &out) {
	string input, lower, upper;
	if (!WriteExpression(*between.input, namer, input) || !WriteExpression(*between.lower, namer, lower) ||
	    !WriteExpression(*between.upper, namer, upper)) {
		return false;
	}
	out += "(" + input + (between.lower_inclusive ? " >= " : " > ") + lower + " AND " + input +
	       (between.upper_inclusive ? " <= " : " < ") + upper + ")";
	return true;
}

static bool WriteExpression(const Expression &expression, const ColumnNamer &namer, string &out) {
	switch (expression.GetExpressionClass()) {
	case ExpressionClass::BOUND_CONSTANT:
		return LiteralToSql(expression.Cast<BoundConstantExpression>().value, out);
	case ExpressionClass::BOUND_COLUMN_REF:
	case ExpressionClass::BOUND_REF:
		return namer(expression, out);
	case ExpressionClass::BOUND_COMPARISON: {
		auto &comparison = expression.Cast<BoundComparisonExpression>();
		auto text = ComparisonText(comparison.GetExpressionType());
		if (!text) {
			return false;
		}
		// ENUMs order by position; on the server the other side would be text. Equality is the same either way.
		out += "(";
		if (!WriteExpression(*comparison.left, namer, out)) {
			return false;
		}
		out += text;
		return WriteExpression(*comparison.right, namer, out) && (out += ")", true);
	}
	case ExpressionClass::BOUND_CONJUNCTION: {
		auto &conjunction = expression.Cast<BoundConjunctionExpression>();
		out += "(";
		auto word = conjunction.GetExpressionType() == ExpressionType::CONJUNCTION_AND ? " AND " : " OR ";
		return WriteList(conjunction.children, 0, word, namer, out) && (out += ")", true);
	}
	case ExpressionClass::BOUND_OPERATOR:
		return WriteOperator(expression.Cast<BoundOperatorExpression>(), namer, out);
	case ExpressionClass::BOUND_BETWEEN:
		return WriteBetween(expression.Cast<BoundBetweenExpression>(), namer, out);
	case ExpressionClass::BOUND_CASE:
		return WriteCase(expression.Cast<BoundCaseExpression>(), namer, out);
	case ExpressionClass::BOUND_CAST: {
		auto &cast = expression.Cast<BoundCastExpression>();
		if (!CastIsExact(cast.child->return_type, cast.return_type)) {
			return false;
		}
		out += cast.try_cast ? "TRY_CAST(" : "CAST(";
		if (!WriteExpression(*cast.child, namer, out)) {
			return false;
		}
		out += " AS " + cast.return_type.ToString() + ")";
		return true;
	}
	case ExpressionClass::BOUND_FUNCTION: {
		auto &call = expression.Cast<BoundFunctionExpression>();
		if (!FunctionIsExact(call)) {
			return false;
		}
		// Arguments that the binder has widened make a wider decimal when they are bound again.
		bool decimal = call.return_type.id() == LogicalTypeId::DECIMAL;
		out += (decimal ? "CAST(" : "") + KeywordHelper::WriteQuoted(call.function.name, '"') + "(";
		if (!WriteList(call.children, 0, ", ", namer, out)) {
			return false;
		}
		out += decimal ? ") AS " + call.return_type.ToString() + ")" : ")";
		return true;
	}
	default:
		return false;
	}
}

bool ExpressionToSql(const Expression &expression, const ColumnNamer &namer, string &out) {
	auto before = out.size();
	if (WriteExpression(expression, namer, out)) {
		return true;
	}
	out.resize(before);
	return false;
}

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
	if (!text || !TypeIsPlain(type) || constant.type() != type || !LiteralToSql(constant, literal)) {
		return FilterText::IMPOSSIBLE;
	}
	out += "(" + column + text + literal + ")";
	return FilterText::WRITTEN;
}

static FilterText WriteIn(const InFilter &filter, const string &column, const LogicalType &type, string &out) {
	string list;
	if (!TypeIsPlain(type)) {
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
		auto field = "struct_extract(" + column + ", " + QuotedText(StructType::GetChildName(type, child.child_idx)) + ")";
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
