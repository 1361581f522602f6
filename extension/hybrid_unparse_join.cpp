// hybrid_unparse_join.cpp - joins of all kinds, correlated subqueries and CTEs as SQL; see hybrid_unparser.hpp.
//
// A correlated subquery arrives as a join whose right side reads the distinct values of some columns of the left (a
// LogicalDelimGet). The left side is then written once, under a name, and read twice.
#include "hybrid_unparser.hpp"

namespace openduck
{

//! The value of an aggregate without groups, perhaps computed further.
static bool IsOneRow(const LogicalOperator &op)
{
    if (op.type == LogicalOperatorType::LOGICAL_AGGREGATE_AND_GROUP_BY) {
        return op.Cast<LogicalAggregate>().groups.empty();
    }
    return op.type == LogicalOperatorType::LOGICAL_PROJECTION && IsOneRow(*op.children[0]);
}

//! Rows in the order of a table.
static bool IsInTableOrder(const LogicalOperator &op)
{
    return op.type == LogicalOperatorType::LOGICAL_GET ||
           ((op.type == LogicalOperatorType::LOGICAL_PROJECTION || op.type == LogicalOperatorType::LOGICAL_FILTER) &&
            IsInTableOrder(*op.children[0]));
}

bool Unparser::WriteProduct(LogicalOperator &product, const char *between, string &sql)
{
    bool positional = product.type == LogicalOperatorType::LOGICAL_POSITIONAL_JOIN;
    string left, right;
    Sources sources(2);
    if ((positional && !(IsInTableOrder(*product.children[0]) && IsInTableOrder(*product.children[1]))) ||
        !WriteSource(*product.children[0], left, sources[0]) || !WriteSource(*product.children[1], right, sources[1]) ||
        !WriteColumns(product, sources, sql)) {
        return false;
    }
    sql += " FROM " + left + between + right;
    out.reduces = positional || IsOneRow(*product.children[0]) || IsOneRow(*product.children[1]);
    return true;
}

//===--------------------------------------------------------------------===//
// Joins
//===--------------------------------------------------------------------===//
bool Unparser::WriteConditions(LogicalComparisonJoin &join, idx_t first, const Sources &sources, string &sql)
{
    vector<unique_ptr<Expression>> conditions;
    for (idx_t i = first; i < join.conditions.size(); i++) {
        auto &condition = join.conditions[i];
        conditions.push_back(make_uniq<BoundComparisonExpression>(condition.comparison, condition.left->Copy(),
                                                                  condition.right->Copy()));
    }
    if (join.predicate) {
        conditions.push_back(join.predicate->Copy());
    }
    return WriteAll(conditions, sources, sql);
}

static const char *JoinWord(JoinType type)
{
    switch (type) {
    case JoinType::INNER:
        return "JOIN ";
    case JoinType::LEFT:
    case JoinType::SINGLE: // of rows that have one partner at most
        return "LEFT JOIN ";
    case JoinType::RIGHT:
        return "RIGHT JOIN ";
    case JoinType::OUTER:
        return "FULL JOIN ";
    case JoinType::SEMI:
        return "SEMI JOIN ";
    case JoinType::ANTI:
        return "ANTI JOIN ";
    default:
        return nullptr;
    }
}

//! [NOT] IN, ANY, ALL and EXISTS have become a join that marks the rows of its left side. Conditions that are correlated
//! compare with IS NOT DISTINCT FROM; what is left is one comparison, or none for EXISTS.
bool Unparser::WriteMark(LogicalComparisonJoin &join, const Sources &sources, const string &left, const string &right,
                         string &sql)
{
    if (join.type == LogicalOperatorType::LOGICAL_ASOF_JOIN || join.predicate || join.HasProjectionMap()) {
        return false;
    }
    optional_ptr<JoinCondition> compared;
    vector<unique_ptr<Expression>> correlated;
    for (auto &condition : join.conditions) {
        if (condition.comparison == ExpressionType::COMPARE_NOT_DISTINCT_FROM) {
            correlated.push_back(make_uniq<BoundComparisonExpression>(condition.comparison, condition.left->Copy(),
                                                                      condition.right->Copy()));
            continue;
        }
        if (compared || condition.comparison == ExpressionType::COMPARE_DISTINCT_FROM) {
            return false;
        }
        compared = condition;
    }
    if ((!compared && correlated.empty()) ||
        (compared && correlated.empty() != join.duplicate_eliminated_columns.empty())) {
        return false;
    }
    string where;
    if (!WriteAll(correlated, sources, where)) {
        return false;
    }
    where = where.empty() ? "" : " WHERE " + where;
    string mark;
    if (compared) {
        string key, other;
        auto &type = compared->left->return_type;
        bool equality = compared->comparison == ExpressionType::COMPARE_EQUAL;
        if (!TypeHasText(type) || (!equality && type.id() == LogicalTypeId::ENUM) ||
            !WriteTyped(*compared->left, {sources[0]}, key) || !WriteTyped(*compared->right, {sources[1]}, other)) {
            return false;
        }
        mark = key + (equality ? " IN (" : ComparisonText(compared->comparison) + string("ANY (")) + "SELECT " + other +
               " FROM " + right + where + ")";
    } else {
        mark = "EXISTS (SELECT 1 FROM " + right + where + ")";
    }
    sql += "SELECT ";
    auto count = sources[0].bindings.size();
    for (idx_t i = 0; i < count; i++) {
        auto column = ".c" + std::to_string(i);
        sql += sources[0].name + column + " AS c" + std::to_string(i) + ", ";
    }
    sql += "(" + mark + ") AS c" + std::to_string(count) + " FROM " + left;
    return true;
}

using ColumnSet = std::set<std::pair<idx_t, idx_t>>;

static bool IsUnique(const LogicalOperator &op, const ColumnSet &keys);

//! A row of the other side has at most one partner on this one.
static bool HasOnePartner(const LogicalComparisonJoin &join, idx_t side)
{
    ColumnSet keys;
    for (auto &condition : join.conditions) {
        auto &key = side == 0 ? *condition.left : *condition.right;
        if (key.GetExpressionClass() == ExpressionClass::BOUND_COLUMN_REF &&
            (condition.comparison == ExpressionType::COMPARE_EQUAL ||
             condition.comparison == ExpressionType::COMPARE_NOT_DISTINCT_FROM)) {
            auto &binding = key.Cast<BoundColumnRefExpression>().binding;
            keys.insert({binding.table_index, binding.column_index});
        }
    }
    return IsUnique(*join.children[side], keys);
}

//! The same of a filtered product, which is how regrouped inner joins stand: an equality between its sides is a key of both.
static bool IsUniqueProduct(const LogicalOperator &filter, LogicalOperator &product, const ColumnSet &keys)
{
    ColumnSet sides[2], equal[2];
    for (idx_t side = 0; side < 2; side++) {
        for (auto &binding : product.children[side]->GetColumnBindings()) {
            sides[side].insert({binding.table_index, binding.column_index});
        }
    }
    for (auto &expression : filter.expressions) {
        if (expression->GetExpressionType() != ExpressionType::COMPARE_EQUAL &&
            expression->GetExpressionType() != ExpressionType::COMPARE_NOT_DISTINCT_FROM) {
            continue;
        }
        auto &comparison = expression->Cast<BoundComparisonExpression>();
        std::pair<idx_t, idx_t> columns[2];
        bool plain = true;
        for (idx_t i = 0; i < 2; i++) {
            auto &operand = i == 0 ? *comparison.left : *comparison.right;
            plain = plain && operand.GetExpressionClass() == ExpressionClass::BOUND_COLUMN_REF;
            if (plain) {
                auto &binding = operand.Cast<BoundColumnRefExpression>().binding;
                columns[i] = {binding.table_index, binding.column_index};
            }
        }
        for (idx_t i = 0; plain && i < 2; i++) {
            if (sides[0].count(columns[i]) && sides[1].count(columns[1 - i])) {
                equal[0].insert(columns[i]);
                equal[1].insert(columns[1 - i]);
            }
        }
    }
    return (IsUnique(*product.children[0], keys) && IsUnique(*product.children[1], equal[1])) ||
           (IsUnique(*product.children[1], keys) && IsUnique(*product.children[0], equal[0]));
}

//! At most one row for each combination of the values of these columns.
static bool IsUnique(const LogicalOperator &op, const ColumnSet &keys)
{
    auto has_all = [&](idx_t table, idx_t count) {
        for (idx_t i = 0; i < count; i++) {
            if (!keys.count({table, i})) {
                return false;
            }
        }
        return true;
    };
    switch (op.type) {
    case LogicalOperatorType::LOGICAL_PROJECTION: {
        auto &projection = op.Cast<LogicalProjection>();
        ColumnSet below;
        for (idx_t i = 0; i < projection.expressions.size(); i++) {
            auto &expression = *projection.expressions[i];
            if (keys.count({projection.table_index, i}) &&
                expression.GetExpressionClass() == ExpressionClass::BOUND_COLUMN_REF) {
                auto &binding = expression.Cast<BoundColumnRefExpression>().binding;
                below.insert({binding.table_index, binding.column_index});
            }
        }
        return IsUnique(*op.children[0], below);
    }
    case LogicalOperatorType::LOGICAL_FILTER:
        if (op.children[0]->type == LogicalOperatorType::LOGICAL_CROSS_PRODUCT) {
            return IsUniqueProduct(op, *op.children[0], keys);
        }
        return IsUnique(*op.children[0], keys);
    case LogicalOperatorType::LOGICAL_AGGREGATE_AND_GROUP_BY: {
        auto &aggregate = op.Cast<LogicalAggregate>();
        return aggregate.grouping_sets.size() <= 1 && has_all(aggregate.group_index, aggregate.groups.size());
    }
    case LogicalOperatorType::LOGICAL_DELIM_GET: {
        auto &get = op.Cast<LogicalDelimGet>();
        return has_all(get.table_index, get.chunk_types.size());
    }
    case LogicalOperatorType::LOGICAL_COMPARISON_JOIN:
    case LogicalOperatorType::LOGICAL_DELIM_JOIN: {
        auto &join = op.Cast<LogicalComparisonJoin>();
        switch (join.join_type) {
        case JoinType::SEMI:
        case JoinType::ANTI:
        case JoinType::MARK:
            return IsUnique(*join.children[0], keys);
        case JoinType::INNER:
            // Sides change places when joins are regrouped.
            if (IsUnique(*join.children[1], keys) && HasOnePartner(join, 0)) {
                return true;
            }
            return IsUnique(*join.children[0], keys) && HasOnePartner(join, 1);
        case JoinType::LEFT:
        case JoinType::SINGLE:
            return IsUnique(*join.children[0], keys) && HasOnePartner(join, 1);
        default:
            return false;
        }
    }
    default:
        return false;
    }
}

bool Unparser::WriteJoined(LogicalJoin &join, const Sources &sources, const string &left, const string &right,
                           string &sql)
{
    out.reduces = true;
    if (join.join_type == JoinType::MARK) {
        return join.type != LogicalOperatorType::LOGICAL_ANY_JOIN &&
               WriteMark(join.Cast<LogicalComparisonJoin>(), sources, left, right, sql);
    }
    auto word = JoinWord(join.join_type);
    string condition;
    bool any = join.type == LogicalOperatorType::LOGICAL_ANY_JOIN;
    if (!word || !WriteColumns(join, sources, sql) ||
        (join.join_type == JoinType::SINGLE && (any || !HasOnePartner(join.Cast<LogicalComparisonJoin>(), 1)))) {
        return false;
    }
    if (any ? !WriteValue(*join.Cast<LogicalAnyJoin>().condition, sources, condition)
            : !WriteConditions(join.Cast<LogicalComparisonJoin>(), 0, sources, condition) || condition.empty()) {
        return false;
    }
    bool asof = join.type == LogicalOperatorType::LOGICAL_ASOF_JOIN;
    sql += " FROM " + left + (asof ? " ASOF " : " ") + word + right + " ON (" + condition + ")";
    return true;
}

bool Unparser::WriteJoin(LogicalJoin &join, string &sql)
{
    if (join.type != LogicalOperatorType::LOGICAL_ANY_JOIN &&
        !join.Cast<LogicalComparisonJoin>().duplicate_eliminated_columns.empty()) {
        return false;
    }
    string left, right;
    Sources sources(2);
    return WriteSource(*join.children[0], left, sources[0]) && WriteSource(*join.children[1], right, sources[1]) &&
           WriteJoined(join, sources, left, right, sql);
}

bool Unparser::WriteDelimJoin(LogicalComparisonJoin &join, string &sql)
{
    string definition, right;
    Sources sources(2);
    if (join.delim_flipped || !Write(*join.children[0], definition)) {
        return false;
    }
    Outer outer;
    outer.name = NewName("w");
    sources[0].bindings = join.children[0]->GetColumnBindings();
    sources[0].name = NewName("q");
    for (auto &column : join.duplicate_eliminated_columns) {
        if (column->GetExpressionClass() != ExpressionClass::BOUND_COLUMN_REF || !TypeHasText(column->return_type)) {
            return false;
        }
        auto &binding = column->Cast<BoundColumnRefExpression>().binding;
        auto found = std::find(sources[0].bindings.begin(), sources[0].bindings.end(), binding);
        if (found == sources[0].bindings.end()) {
            return false;
        }
        outer.columns.push_back(static_cast<idx_t>(found - sources[0].bindings.begin()));
    }
    auto left = outer.name + " " + sources[0].name;
    sql += "WITH " + outer.name + " AS MATERIALIZED (" + definition + ") ";
    outers.push_back(std::move(outer));
    bool written = WriteSource(*join.children[1], right, sources[1]);
    outers.pop_back();
    return written && WriteJoined(join, sources, left, right, sql);
}

bool Unparser::WriteDelimGet(LogicalDelimGet &get, string &sql)
{
    if (outers.empty() || outers.back().columns.size() != get.chunk_types.size()) {
        return false;
    }
    sql += "SELECT DISTINCT ";
    for (idx_t i = 0; i < get.chunk_types.size(); i++) {
        sql += (i ? ", c" : "c") + std::to_string(outers.back().columns[i]) + " AS c" + std::to_string(i);
    }
    sql += " FROM " + outers.back().name;
    return true;
}

//===--------------------------------------------------------------------===//
// CTEs
//===--------------------------------------------------------------------===//
bool Unparser::WriteCte(LogicalMaterializedCTE &cte, string &sql)
{
    string definition, from;
    Sources sources(1);
    if (!Write(*cte.children[0], definition)) {
        return false;
    }
    auto name = NewName("w");
    ctes[cte.table_index] = name;
    bool written = WriteSource(*cte.children[1], from, sources[0]);
    ctes.erase(cte.table_index);
    sql += "WITH " + name + " AS MATERIALIZED (" + definition + ") ";
    if (!written || !WriteColumns(cte, sources, sql)) {
        return false;
    }
    sql += " FROM " + from;
    return true;
}

bool Unparser::WriteRecursion(LogicalRecursiveCTE &cte, string &sql)
{
    string first, again;
    if (!cte.key_targets.empty() || cte.children[0]->types != cte.children[1]->types ||
        cte.children[0]->types.size() != cte.column_count || !Write(*cte.children[0], first)) {
        return false;
    }
    for (auto &type : cte.types) {
        if (!TypeHasText(type)) {
            return false;
        }
    }
    auto name = NewName("w");
    ctes[cte.table_index] = name;
    bool written = Write(*cte.children[1], again);
    ctes.erase(cte.table_index);
    string columns;
    for (idx_t i = 0; i < cte.column_count; i++) {
        columns += (i ? ", c" : "c") + std::to_string(i);
    }
    sql += "WITH RECURSIVE " + name + "(" + columns + ") AS ((" + first + ") UNION " + (cte.union_all ? "ALL (" : "(") +
           again + ")) SELECT " + columns + " FROM " + name;
    out.reduces = true;
    return written;
}

bool Unparser::WriteCteReference(LogicalCTERef &reference, string &sql)
{
    auto found = ctes.find(reference.cte_index);
    if (found == ctes.end() || reference.is_recurring || reference.correlated_columns > 0) {
        return false;
    }
    sql += "SELECT ";
    for (idx_t i = 0; i < reference.chunk_types.size(); i++) {
        sql += (i ? ", c" : "c") + std::to_string(i);
    }
    sql += " FROM " + found->second;
    return true;
}

} // namespace openduck
