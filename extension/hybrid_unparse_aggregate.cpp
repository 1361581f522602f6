// hybrid_unparse_aggregate.cpp - aggregates, grouping sets and windows as SQL; see hybrid_unparser.hpp.
#include "hybrid_unparser.hpp"
#include "text.hpp"

namespace openduck
{

//! Aggregates whose value depends on their rows alone, not on the rows' order. (Sums of floating-point numbers differ in
//! their last bits with the order, here as everywhere.)
static const case_insensitive_set_t EXACT_AGGREGATES = {"avg",
                                                        "bit_and",
                                                        "bit_or",
                                                        "bit_xor",
                                                        "bool_and",
                                                        "bool_or",
                                                        "corr",
                                                        "count",
                                                        "count_if",
                                                        "count_star",
                                                        "countif",
                                                        "covar_pop",
                                                        "covar_samp",
                                                        "entropy",
                                                        "favg",
                                                        "fsum",
                                                        "kahan_sum",
                                                        "kurtosis",
                                                        "kurtosis_pop",
                                                        "mad",
                                                        "max",
                                                        "mean",
                                                        "median",
                                                        "min",
                                                        "product",
                                                        "regr_avgx",
                                                        "regr_avgy",
                                                        "regr_count",
                                                        "regr_intercept",
                                                        "regr_r2",
                                                        "regr_slope",
                                                        "regr_sxx",
                                                        "regr_sxy",
                                                        "regr_syy",
                                                        "sem",
                                                        "skewness",
                                                        "stddev",
                                                        "stddev_pop",
                                                        "stddev_samp",
                                                        "sum",
                                                        "sumkahan",
                                                        "var_pop",
                                                        "var_samp",
                                                        "variance"};

//! Exact if they say in which order they take their rows, by everything they take: then equal rows are alike.
static const case_insensitive_set_t ORDERED_AGGREGATES = {"any_value", "arbitrary", "array_agg",
                                                          "first",     "last",      "list"};

static bool IsOrderedByAll(const BoundAggregateExpression &call)
{
    if (!call.order_bys) {
        return false;
    }
    for (auto &child : call.children) {
        bool found = false;
        for (auto &order : call.order_bys->orders) {
            found = found || order.expression->Equals(*child);
        }
        if (!found) {
            return false;
        }
    }
    return true;
}

bool Unparser::WriteAggregateCall(const BoundAggregateExpression &call, const Sources &sources, string &sql)
{
    auto &name = call.function.name;
    bool exact = EXACT_AGGREGATES.count(name) || (ORDERED_AGGREGATES.count(name) && IsOrderedByAll(call));
    if (!exact || !TypeHasText(call.return_type) || !call.function.original_arguments.empty()) {
        return false;
    }
    string text = SystemFunction(name) + "(";
    text += call.IsDistinct() ? "DISTINCT " : "";
    if (!WriteTypedList(call.children, sources, text) ||
        (call.order_bys && !WriteOrder(call.order_bys->orders, sources, text))) {
        return false;
    }
    text += ")";
    if (call.filter) {
        text += " FILTER (WHERE ";
        if (!WriteValue(*call.filter, sources, text)) {
            return false;
        }
        text += ")";
    }
    sql += "CAST(" + text + " AS " + call.return_type.ToString() + ")";
    return true;
}

bool Unparser::WriteAggregate(LogicalAggregate &aggregate, string &sql)
{
    if (aggregate.groups.size() + aggregate.expressions.size() == 0) {
        return false;
    }
    string from;
    Sources sources(1);
    if (!WriteSource(*aggregate.children[0], from, sources[0])) {
        return false;
    }
    auto &sets = aggregate.grouping_sets;
    bool plain = sets.empty() || (sets.size() == 1 && sets[0].size() == aggregate.groups.size());
    vector<string> groups;
    string columns;
    auto add = [&](const string &value) {
        auto position = std::to_string(std::count(columns.begin(), columns.end(), '\n'));
        columns += (columns.empty() ? "" : ", ") + value + " AS c" + position + "\n";
    };
    for (auto &group : aggregate.groups) {
        string text;
        if (!TypeHasText(group->return_type) || !WriteTyped(*group, sources, text)) {
            return false;
        }
        add(text);
        groups.push_back(std::move(text));
    }
    for (auto &expression : aggregate.expressions) {
        string text;
        if (expression->GetExpressionClass() != ExpressionClass::BOUND_AGGREGATE ||
            !WriteAggregateCall(expression->Cast<BoundAggregateExpression>(), sources, text)) {
            return false;
        }
        add(text);
    }
    auto list_of = [&](const std::function<bool(idx_t)> &wanted) {
        string text;
        for (idx_t i = 0; i < groups.size(); i++) {
            if (wanted(i)) {
                text += (text.empty() ? "" : ", ") + groups[i];
            }
        }
        return text;
    };
    for (auto &function : aggregate.grouping_functions) {
        string text;
        for (auto group : function) {
            text += (text.empty() ? "" : ", ") + groups[group];
        }
        add("GROUPING(" + text + ")");
    }
    sql += "SELECT " + columns + " FROM " + from;
    if (plain && !groups.empty()) {
        sql += " GROUP BY " + list_of([](idx_t) { return true; });
    } else if (!plain) {
        sql += " GROUP BY GROUPING SETS (";
        for (idx_t s = 0; s < sets.size(); s++) {
            sql += (s ? ", (" : "(") + list_of([&](idx_t i) { return sets[s].count(i) > 0; }) + ")";
        }
        sql += ")";
    }
    out.reduces = true;
    return true;
}

//===--------------------------------------------------------------------===//
// Windows
//===--------------------------------------------------------------------===//
//! The function's name; null: not written. `ordered`: it needs an order to mean anything.
static const char *WindowName(ExpressionType type, bool &ordered)
{
    ordered = true;
    switch (type) {
    case ExpressionType::WINDOW_RANK:
        return "rank";
    case ExpressionType::WINDOW_RANK_DENSE:
        return "dense_rank";
    case ExpressionType::WINDOW_NTILE:
        return "ntile";
    case ExpressionType::WINDOW_PERCENT_RANK:
        return "percent_rank";
    case ExpressionType::WINDOW_CUME_DIST:
        return "cume_dist";
    case ExpressionType::WINDOW_ROW_NUMBER:
        return "row_number";
    case ExpressionType::WINDOW_FIRST_VALUE:
        return "first_value";
    case ExpressionType::WINDOW_LAST_VALUE:
        return "last_value";
    case ExpressionType::WINDOW_NTH_VALUE:
        return "nth_value";
    case ExpressionType::WINDOW_LEAD:
        return "lead";
    case ExpressionType::WINDOW_LAG:
        return "lag";
    case ExpressionType::WINDOW_FILL:
        return "fill";
    default:
        return nullptr;
    }
}

static bool IsRows(WindowBoundary boundary)
{
    return boundary == WindowBoundary::CURRENT_ROW_ROWS || boundary == WindowBoundary::EXPR_PRECEDING_ROWS ||
           boundary == WindowBoundary::EXPR_FOLLOWING_ROWS;
}

static bool IsGroups(WindowBoundary boundary)
{
    return boundary == WindowBoundary::CURRENT_ROW_GROUPS || boundary == WindowBoundary::EXPR_PRECEDING_GROUPS ||
           boundary == WindowBoundary::EXPR_FOLLOWING_GROUPS;
}

//! The distance of a RANGE boundary: the binder has added it to the order's value, or taken it off.
static optional_ptr<const Expression> RangeDistance(const Expression &boundary)
{
    if (boundary.GetExpressionClass() == ExpressionClass::BOUND_CAST) {
        return RangeDistance(*boundary.Cast<BoundCastExpression>().child);
    }
    if (boundary.GetExpressionClass() != ExpressionClass::BOUND_FUNCTION) {
        return nullptr;
    }
    auto &call = boundary.Cast<BoundFunctionExpression>();
    if (call.children.size() != 2 || (call.function.name != "+" && call.function.name != "-")) {
        return nullptr;
    }
    return *call.children[1];
}

bool Unparser::WriteFrame(const BoundWindowExpression &call, const Sources &sources, string &sql)
{
    auto write = [&](WindowBoundary boundary, const unique_ptr<Expression> &distance) {
        optional_ptr<const Expression> value = distance.get();
        const char *direction = nullptr;
        switch (boundary) {
        case WindowBoundary::UNBOUNDED_PRECEDING:
            sql += "UNBOUNDED PRECEDING";
            return true;
        case WindowBoundary::UNBOUNDED_FOLLOWING:
            sql += "UNBOUNDED FOLLOWING";
            return true;
        case WindowBoundary::CURRENT_ROW_RANGE:
        case WindowBoundary::CURRENT_ROW_ROWS:
        case WindowBoundary::CURRENT_ROW_GROUPS:
            sql += "CURRENT ROW";
            return true;
        case WindowBoundary::EXPR_PRECEDING_RANGE:
        case WindowBoundary::EXPR_FOLLOWING_RANGE:
            value = value ? RangeDistance(*value) : nullptr;
            direction = boundary == WindowBoundary::EXPR_PRECEDING_RANGE ? " PRECEDING" : " FOLLOWING";
            break;
        case WindowBoundary::EXPR_PRECEDING_ROWS:
        case WindowBoundary::EXPR_PRECEDING_GROUPS:
            direction = " PRECEDING";
            break;
        case WindowBoundary::EXPR_FOLLOWING_ROWS:
        case WindowBoundary::EXPR_FOLLOWING_GROUPS:
            direction = " FOLLOWING";
            break;
        default:
            return false;
        }
        if (!value || !WriteTyped(*value, sources, sql)) {
            return false;
        }
        sql += direction;
        return true;
    };
    sql += IsRows(call.start) || IsRows(call.end)       ? " ROWS"
           : IsGroups(call.start) || IsGroups(call.end) ? " GROUPS"
                                                        : " RANGE";
    sql += " BETWEEN ";
    if (!write(call.start, call.start_expr)) {
        return false;
    }
    sql += " AND ";
    if (!write(call.end, call.end_expr)) {
        return false;
    }
    switch (call.exclude_clause) {
    case WindowExcludeMode::NO_OTHER:
        return true;
    case WindowExcludeMode::CURRENT_ROW:
        sql += " EXCLUDE CURRENT ROW";
        return true;
    case WindowExcludeMode::GROUP:
        sql += " EXCLUDE GROUP";
        return true;
    case WindowExcludeMode::TIES:
        sql += " EXCLUDE TIES";
        return true;
    }
    return false;
}

bool Unparser::WriteWindowCall(const BoundWindowExpression &call, const Sources &sources, string &sql)
{
    bool ordered = IsRows(call.start) || IsRows(call.end);
    string name;
    if (call.aggregate) {
        if (!EXACT_AGGREGATES.count(call.aggregate->name) || !call.aggregate->original_arguments.empty()) {
            return false;
        }
        name = call.aggregate->name;
    } else {
        auto known = WindowName(call.GetExpressionType(), ordered);
        if (!known) {
            return false;
        }
        name = known;
    }
    if (!TypeHasText(call.return_type) || (ordered && call.orders.empty() && call.arg_orders.empty())) {
        return false;
    }
    string text = SystemFunction(name) + "(" + (call.distinct ? "DISTINCT " : "");
    if (!WriteTypedList(call.children, sources, text)) {
        return false;
    }
    for (auto more : {call.offset_expr.get(), call.default_expr.get()}) {
        if (more) {
            text += ", ";
            if (!TypeHasText(more->return_type) || !WriteTyped(*more, sources, text)) {
                return false;
            }
        }
    }
    if (!call.offset_expr && call.default_expr) {
        return false;
    }
    if (!WriteOrder(call.arg_orders, sources, text)) {
        return false;
    }
    text += call.ignore_nulls && !call.aggregate ? " IGNORE NULLS)" : ")";
    if (call.ignore_nulls && call.aggregate) {
        return false;
    }
    if (call.filter_expr) {
        text += " FILTER (WHERE ";
        if (!WriteValue(*call.filter_expr, sources, text)) {
            return false;
        }
        text += ")";
    }
    text += " OVER (";
    if (!call.partitions.empty()) {
        text += "PARTITION BY ";
        if (!WriteTypedList(call.partitions, sources, text)) {
            return false;
        }
    }
    if (!WriteOrder(call.orders, sources, text) || !WriteFrame(call, sources, text)) {
        return false;
    }
    sql += "CAST(" + text + ") AS " + call.return_type.ToString() + ")";
    return true;
}

bool Unparser::WriteWindow(LogicalWindow &window, string &sql)
{
    string from;
    Sources sources(1);
    if (!WriteSource(*window.children[0], from, sources[0])) {
        return false;
    }
    sql += "SELECT ";
    auto column = sources[0].bindings.size();
    for (idx_t i = 0; i < column; i++) {
        sql += sources[0].name + ".c" + std::to_string(i) + " AS c" + std::to_string(i) + ", ";
    }
    for (idx_t i = 0; i < window.expressions.size(); i++) {
        auto &expression = *window.expressions[i];
        sql += i ? ", " : "";
        if (expression.GetExpressionClass() != ExpressionClass::BOUND_WINDOW ||
            !WriteWindowCall(expression.Cast<BoundWindowExpression>(), sources, sql)) {
            return false;
        }
        sql += " AS c" + std::to_string(column + i);
    }
    sql += " FROM " + from;
    return !window.expressions.empty();
}

} // namespace openduck
