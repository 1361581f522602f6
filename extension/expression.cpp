// expression.cpp - bound expressions as exact SQL text; see expression.hpp for the rule.
//
// Not written, and why:
//   functions of the session (current_date, getvariable, nextval), volatile ones   they have another value there
//   functions not in the list below            not known to be exact: see each group
//   functions over TIME or TIMESTAMP WITH TIME ZONE, casts from and to them        depend on the session's zone
//   functions and order comparisons of ENUMs   two ENUM types compare as text
//   functions that have dropped an argument when they were bound   the text would lack it
//   subqueries                                 joins by the time this is asked
#include "expression.hpp"

#include "duckdb/common/type_visitor.hpp"
#include "duckdb/function/lambda_functions.hpp"
#include "duckdb/planner/expression/list.hpp"
#include "text.hpp"

namespace openduck
{

namespace
{

//! Built-in functions whose value depends on nothing but their arguments: not on settings, collations, time zone, row
//! order, or the state of a session. Operators are functions too.
const case_insensitive_set_t EXACT_FUNCTIONS = {
    // operators
    "+", "-", "*", "/", "//", "%", "**", "^", "||", "&", "|", "~", "<<", ">>", "xor", "@", "!", "~~", "!~~", "~~*",
    "!~~*", "~~~", "like_escape", "not_like_escape", "ilike_escape", "not_ilike_escape", "^@", "@>", "<@", "&&", "add",
    "subtract", "multiply", "divide", "mod",
    // numbers
    "abs", "acos", "acosh", "asin", "asinh", "atan", "atan2", "atanh", "bit_count", "cbrt", "ceil", "ceiling", "cos",
    "cosh", "cot", "degrees", "even", "exp", "factorial", "floor", "gamma", "gcd", "greatest_common_divisor",
    "isfinite", "isinf", "isnan", "lcm", "least_common_multiple", "lgamma", "ln", "log", "log10", "log2", "nextafter",
    "pow", "power", "radians", "round", "sign", "signbit", "sin", "sinh", "sqrt", "tan", "tanh", "trunc", "greatest",
    "least", "bin", "hex", "to_base", "to_binary", "to_hex",
    // text and bytes
    "array_to_string", "ascii", "bar", "base64", "bit_length", "char_length", "character_length", "chr", "concat",
    "concat_ws", "contains", "damerau_levenshtein", "decode", "editdist3", "encode", "ends_with", "format",
    "format_bytes", "formatreadabledecimalsize", "formatreadablesize", "from_base64", "from_binary", "from_hex",
    "hamming", "instr", "jaccard", "jaro_similarity", "jaro_winkler_similarity", "lcase", "left", "left_grapheme",
    "len", "length", "length_grapheme", "levenshtein", "lower", "lpad", "ltrim", "md5", "mismatches", "nfc_normalize",
    "octet_length", "ord", "parse_dirname", "parse_dirpath", "parse_filename", "parse_path", "position", "prefix",
    "printf", "regexp_escape", "regexp_extract", "regexp_extract_all", "regexp_full_match", "regexp_matches",
    "regexp_replace", "regexp_split_to_array", "repeat", "replace", "reverse", "right", "right_grapheme", "rpad",
    "rtrim", "sha1", "sha256", "split", "starts_with", "str_split", "str_split_regex", "string_split",
    "string_split_regex", "string_to_array", "strip_accents", "strlen", "strpos", "substr", "substring",
    "substring_grapheme", "suffix", "to_base64", "translate", "trim", "ucase", "unbin", "unhex", "unicode", "upper",
    "url_decode", "url_encode",
    // dates and times, without a zone
    "century", "date_diff", "date_part", "date_sub", "date_trunc", "datediff", "datepart", "datesub", "datetrunc",
    "day", "dayname", "dayofmonth", "dayofweek", "dayofyear", "decade", "epoch", "epoch_ms", "epoch_ns", "epoch_us",
    "era", "hour", "isodow", "isoyear", "julian", "last_day", "make_date", "make_time", "make_timestamp",
    "make_timestamp_ms", "make_timestamp_ns", "microsecond", "millennium", "millisecond", "minute", "month",
    "monthname", "nanosecond", "normalized_interval", "quarter", "second", "strftime", "time_bucket", "to_centuries",
    "to_days", "to_decades", "to_hours", "to_microseconds", "to_millennia", "to_milliseconds", "to_minutes",
    "to_months", "to_quarters", "to_seconds", "to_weeks", "to_years", "week", "weekday", "weekofyear", "year",
    "yearweek",
    // lists, structs, maps (sorting ones follow a setting)
    "array_cat", "array_concat", "array_contains", "array_extract", "array_has", "array_has_all", "array_has_any",
    "array_indexof", "array_length", "array_position", "array_resize", "array_slice", "array_where", "cardinality",
    "element_at", "flatten", "generate_series", "list_cat", "list_concat", "list_contains", "list_element",
    "list_extract", "list_has", "list_has_all", "list_has_any", "list_indexof", "list_pack", "list_position",
    "list_resize", "list_select", "list_slice", "list_value", "list_where", "map", "map_contains", "map_entries",
    "map_extract", "map_extract_value", "map_from_entries", "map_keys", "map_values", "range", "struct_extract",
    "struct_extract_at", "struct_pack", "union_extract", "union_tag", "union_value"};

const case_insensitive_set_t LAMBDA_FUNCTIONS = {"list_transform", "array_transform", "list_apply",   "array_apply",
                                                 "apply",          "list_filter",     "array_filter", "filter",
                                                 "list_reduce",    "array_reduce",    "reduce"};

bool IsZoned(const LogicalType &type)
{
    return TypeVisitor::Contains(type, [](const LogicalType &part) {
        return part.id() == LogicalTypeId::TIMESTAMP_TZ || part.id() == LogicalTypeId::TIME_TZ;
    });
}

bool HasEnum(const LogicalType &type)
{
    return TypeVisitor::Contains(type, LogicalTypeId::ENUM);
}

bool IsNull(const LogicalType &type)
{
    return type.id() == LogicalTypeId::SQLNULL;
}

class Writer
{
public:
    Writer(const ColumnNamer &namer, optional_ptr<SentParameters> parameters) : namer(namer), parameters(parameters) {}
    bool Write(const Expression &expression, string &out);

private:
    bool WriteList(const vector<unique_ptr<Expression>> &list, idx_t first, const char *between, string &out)
    {
        for (idx_t i = first; i < list.size(); i++) {
            out += i > first ? between : "";
            if (!Write(*list[i], out)) {
                return false;
            }
        }
        return true;
    }
    bool WriteConstant(const Value &value, string &out);
    bool WriteParameter(const BoundParameterExpression &parameter, string &out);
    bool WriteComparison(const BoundComparisonExpression &comparison, string &out);
    bool WriteOperator(const BoundOperatorExpression &op, string &out);
    bool WriteBetween(const BoundBetweenExpression &between, string &out);
    bool WriteCase(const BoundCaseExpression &choice, string &out);
    bool WriteCast(const BoundCastExpression &cast, string &out);
    bool WriteFunction(const BoundFunctionExpression &call, string &out);
    bool WriteLambda(const BoundFunctionExpression &call, string &out);

    const ColumnNamer &namer;
    optional_ptr<SentParameters> parameters;
    idx_t depth = 0; // of lambdas
};

bool Writer::WriteConstant(const Value &value, string &out)
{
    if (IsNull(value.type())) {
        out += "NULL";
        return true;
    }
    return LiteralToSql(value, out);
}

bool Writer::WriteParameter(const BoundParameterExpression &parameter, string &out)
{
    auto &type = parameter.return_type;
    if (!parameters || !TypeHasText(type)) {
        return false;
    }
    auto found = std::find(parameters->begin(), parameters->end(), parameter.parameter_data);
    auto number = static_cast<idx_t>(found - parameters->begin()) + 1;
    if (found == parameters->end()) {
        parameters->push_back(parameter.parameter_data);
    }
    out += "CAST($" + std::to_string(number) + " AS " + type.ToString() + ")";
    return true;
}

bool Writer::WriteComparison(const BoundComparisonExpression &comparison, string &out)
{
    auto type = comparison.GetExpressionType();
    auto text = ComparisonText(type);
    bool equality = type == ExpressionType::COMPARE_EQUAL || type == ExpressionType::COMPARE_NOTEQUAL ||
                    type == ExpressionType::COMPARE_DISTINCT_FROM || type == ExpressionType::COMPARE_NOT_DISTINCT_FROM;
    if (!text || (!equality && (HasEnum(comparison.left->return_type) || HasEnum(comparison.right->return_type)))) {
        return false;
    }
    out += "(";
    if (!Write(*comparison.left, out)) {
        return false;
    }
    out += text;
    return Write(*comparison.right, out) && (out += ")", true);
}

bool Writer::WriteOperator(const BoundOperatorExpression &op, string &out)
{
    switch (op.GetExpressionType()) {
    case ExpressionType::OPERATOR_NOT:
        out += "(NOT ";
        return Write(*op.children[0], out) && (out += ")", true);
    case ExpressionType::OPERATOR_IS_NULL:
    case ExpressionType::OPERATOR_IS_NOT_NULL:
        out += "(";
        if (!Write(*op.children[0], out)) {
            return false;
        }
        out += op.GetExpressionType() == ExpressionType::OPERATOR_IS_NULL ? " IS NULL)" : " IS NOT NULL)";
        return true;
    case ExpressionType::COMPARE_IN:
    case ExpressionType::COMPARE_NOT_IN:
        out += "(";
        if (!Write(*op.children[0], out)) {
            return false;
        }
        out += op.GetExpressionType() == ExpressionType::COMPARE_IN ? " IN (" : " NOT IN (";
        return WriteList(op.children, 1, ", ", out) && (out += "))", true);
    case ExpressionType::OPERATOR_COALESCE:
        out += "coalesce(";
        return WriteList(op.children, 0, ", ", out) && (out += ")", true);
    case ExpressionType::OPERATOR_TRY:
        out += "TRY(";
        return Write(*op.children[0], out) && (out += ")", true);
    default:
        return false;
    }
}

bool Writer::WriteCase(const BoundCaseExpression &choice, string &out)
{
    out += "(CASE";
    for (auto &check : choice.case_checks) {
        out += " WHEN ";
        if (!Write(*check.when_expr, out)) {
            return false;
        }
        out += " THEN ";
        if (!Write(*check.then_expr, out)) {
            return false;
        }
    }
    out += " ELSE ";
    return Write(*choice.else_expr, out) && (out += " END)", true);
}

bool Writer::WriteBetween(const BoundBetweenExpression &between, string &out)
{
    string input, lower, upper;
    if (HasEnum(between.input->return_type) || !Write(*between.input, input) || !Write(*between.lower, lower) ||
        !Write(*between.upper, upper)) {
        return false;
    }
    out += "(" + input + (between.lower_inclusive ? " >= " : " > ") + lower + " AND " + input +
           (between.upper_inclusive ? " <= " : " < ") + upper + ")";
    return true;
}

bool Writer::WriteCast(const BoundCastExpression &cast, string &out)
{
    auto &from = cast.child->return_type;
    auto &to = cast.return_type;
    if (!TypeHasText(to) || IsZoned(to) || !(IsNull(from) || (TypeHasText(from) && !IsZoned(from)))) {
        return false;
    }
    out += cast.try_cast ? "TRY_CAST(" : "CAST(";
    if (!Write(*cast.child, out)) {
        return false;
    }
    out += " AS " + to.ToString() + ")";
    return true;
}

bool Writer::WriteLambda(const BoundFunctionExpression &call, string &out)
{
    if (!call.bind_info) {
        return false; // a list that is NULL
    }
    auto &info = call.bind_info->Cast<ListLambdaBindData>();
    if (!info.lambda_expr) {
        return false;
    }
    // The body sees its parameters, the last one first, and then what it uses of its surroundings.
    bool reduces = StringUtil::EndsWith(StringUtil::Lower(call.function.name), "reduce");
    idx_t count = (reduces ? 2 : 1) + (info.has_index ? 1 : 0);
    idx_t first_capture = info.has_initial ? 2 : 1;
    vector<string> names;
    depth++;
    for (idx_t i = 0; i < count; i++) {
        names.push_back("l" + std::to_string(depth) + "_" + std::to_string(count - 1 - i));
    }
    for (idx_t i = first_capture; i < call.children.size(); i++) {
        string capture;
        if (!Write(*call.children[i], capture)) {
            return false;
        }
        names.push_back(std::move(capture));
    }
    auto inside = [&](const Expression &column, string &text) {
        if (column.GetExpressionClass() != ExpressionClass::BOUND_REF) {
            return false;
        }
        auto index = column.Cast<BoundReferenceExpression>().index;
        if (index >= names.size()) {
            return false;
        }
        text += names[index];
        return true;
    };
    string body;
    ColumnNamer inside_namer = inside;
    Writer writer(inside_namer, parameters);
    writer.depth = depth;
    if (!writer.Write(*info.lambda_expr, body)) {
        return false;
    }
    out += SystemFunction(call.function.name) + "(";
    if (!Write(*call.children[0], out)) {
        return false;
    }
    out += ", lambda ";
    for (idx_t i = count; i-- > 0;) {
        out += names[i] + (i ? ", " : ": ");
    }
    out += "(" + body + ")";
    if (info.has_initial) {
        out += ", ";
        if (!Write(*call.children[1], out)) {
            return false;
        }
    }
    out += ")";
    return true;
}

bool Writer::WriteFunction(const BoundFunctionExpression &call, string &out)
{
    auto &function = call.function;
    if (function.GetStability() != FunctionStability::CONSISTENT || !function.original_arguments.empty() ||
        (!function.catalog_name.empty() && !StringUtil::CIEquals(function.catalog_name, SYSTEM_CATALOG))) {
        return false;
    }
    for (auto &child : call.children) {
        if (IsZoned(child->return_type) || HasEnum(child->return_type)) {
            return false;
        }
    }
    if (LAMBDA_FUNCTIONS.count(function.name)) {
        return WriteLambda(call, out);
    }
    if (!EXACT_FUNCTIONS.count(function.name)) {
        return false;
    }
    // Arguments that the binder has widened make a wider decimal when they are bound again.
    bool decimal = call.return_type.id() == LogicalTypeId::DECIMAL;
    out += (decimal ? "CAST(" : "") + SystemFunction(function.name) + "(";
    for (idx_t i = 0; i < call.children.size(); i++) {
        out += i ? ", " : "";
        if (function.name == "struct_pack") {
            out += QuotedName(StructType::GetChildName(call.return_type, i)) + " := ";
        } else if (function.name == "union_value") {
            out += QuotedName(UnionType::GetMemberName(call.return_type, i)) + " := ";
        }
        if (!Write(*call.children[i], out)) {
            return false;
        }
    }
    out += decimal ? ") AS " + call.return_type.ToString() + ")" : ")";
    return true;
}

bool Writer::Write(const Expression &expression, string &out)
{
    switch (expression.GetExpressionClass()) {
    case ExpressionClass::BOUND_CONSTANT:
        return WriteConstant(expression.Cast<BoundConstantExpression>().value, out);
    case ExpressionClass::BOUND_PARAMETER:
        return WriteParameter(expression.Cast<BoundParameterExpression>(), out);
    case ExpressionClass::BOUND_COLUMN_REF:
    case ExpressionClass::BOUND_REF:
        return namer(expression, out);
    case ExpressionClass::BOUND_COMPARISON:
        return WriteComparison(expression.Cast<BoundComparisonExpression>(), out);
    case ExpressionClass::BOUND_CONJUNCTION: {
        auto &conjunction = expression.Cast<BoundConjunctionExpression>();
        out += "(";
        auto word = conjunction.GetExpressionType() == ExpressionType::CONJUNCTION_AND ? " AND " : " OR ";
        return WriteList(conjunction.children, 0, word, out) && (out += ")", true);
    }
    case ExpressionClass::BOUND_OPERATOR:
        return WriteOperator(expression.Cast<BoundOperatorExpression>(), out);
    case ExpressionClass::BOUND_BETWEEN:
        return WriteBetween(expression.Cast<BoundBetweenExpression>(), out);
    case ExpressionClass::BOUND_CASE:
        return WriteCase(expression.Cast<BoundCaseExpression>(), out);
    case ExpressionClass::BOUND_CAST:
        return WriteCast(expression.Cast<BoundCastExpression>(), out);
    case ExpressionClass::BOUND_FUNCTION:
        return WriteFunction(expression.Cast<BoundFunctionExpression>(), out);
    default:
        return false;
    }
}

} // namespace

const char *ComparisonText(ExpressionType type)
{
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

bool ExpressionToSql(const Expression &expression, const ColumnNamer &namer, string &out,
                     optional_ptr<SentParameters> parameters)
{
    auto before = out.size();
    Writer writer(namer, parameters);
    if (writer.Write(expression, out)) {
        return true;
    }
    out.resize(before);
    return false;
}

} // namespace openduck
