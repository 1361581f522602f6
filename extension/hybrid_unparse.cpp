// hybrid_unparse.cpp - bound operators as SQL text that gives exactly their rows and types; see hybrid_unparser.hpp.
//
// What is not written, and why (docs/guides/hybrid.md has the same rows; a test compares them):
//
// | what | why |
// |---|---|
// | functions of the session, volatile ones | have another value there |
// | sorting of lists, JSON, spatial and variant functions, local macros and functions | follow settings, or are not surely there |
// | functions and casts of times with a zone | depend on the session's zone |
// | ENUMs in functions, and ENUMs compared by order | two types of ENUM compare as text |
// | `list`, `string_agg`, `first` and the like without an `ORDER BY` of all they take, `arg_min`, `mode` | depend on the order of rows |
// | approximate aggregates and `quantile` | depend on the order of rows, or have lost their arguments when bound |
// | windows without an order, for functions that need one | depend on the order of rows |
// | scalar subqueries that may give two rows | must fail, which a join does not |
// | positional joins of what is not a mere table | depend on the order of rows |
// | `USING SAMPLE`, `TABLESAMPLE` | draw anew at each run |
// | `ORDER BY` without `LIMIT` | order is made where rows are used |
// | `LIMIT` by expression or percentage | may be a subquery's value |
// | tables of values, table functions | cross no smaller as text |
// | `WITH RECURSIVE ... USING KEY` | its text is not proven equal yet |
// | references to a CTE without its definition | the definition is elsewhere in the plan |
// | everything, with a `default_collation` | text would be compared differently where the plan already says how |
#include "hybrid_unparser.hpp"
#include "hybrid_input.hpp"
#include "scan.hpp"
#include "text.hpp"

namespace openduck
{

//===--------------------------------------------------------------------===//
// Parts
//===--------------------------------------------------------------------===//
bool Unparser::WriteSource(LogicalOperator &op, string &from, Source &source)
{
    string sql;
    if (!Write(op, sql)) {
        return false;
    }
    source.bindings = op.GetColumnBindings();
    source.name = NewName("q");
    from += "(" + sql + ") " + source.name;
    return true;
}

bool Unparser::Find(const Sources &sources, const ColumnBinding &binding, string &sql)
{
    for (auto &source : sources) {
        for (idx_t i = 0; i < source.bindings.size(); i++) {
            if (source.bindings[i] == binding) {
                sql += source.name + ".c" + std::to_string(i);
                return true;
            }
        }
    }
    return false;
}

bool Unparser::WriteValue(const Expression &expression, const Sources &sources, string &sql)
{
    auto namer = [&](const Expression &column, string &text) {
        if (column.GetExpressionClass() != ExpressionClass::BOUND_COLUMN_REF) {
            return false;
        }
        auto &ref = column.Cast<BoundColumnRefExpression>();
        return ref.depth == 0 && Find(sources, ref.binding, text);
    };
    return !expression.IsVolatile() && ExpressionToSql(expression, namer, sql, out.parameters);
}

bool Unparser::WriteTyped(const Expression &expression, const Sources &sources, string &sql)
{
    if (expression.GetExpressionClass() == ExpressionClass::BOUND_COLUMN_REF) {
        return WriteValue(expression, sources, sql);
    }
    string value;
    if (!TypeHasText(expression.return_type) || !WriteValue(expression, sources, value)) {
        return false;
    }
    sql += "CAST(" + value + " AS " + expression.return_type.ToString() + ")";
    return true;
}

bool Unparser::WriteTypedList(const vector<unique_ptr<Expression>> &list, const Sources &sources, string &sql)
{
    for (idx_t i = 0; i < list.size(); i++) {
        sql += i ? ", " : "";
        if (!TypeHasText(list[i]->return_type) || !WriteTyped(*list[i], sources, sql)) {
            return false;
        }
    }
    return true;
}

bool Unparser::WriteColumns(LogicalOperator &op, const Sources &sources, string &sql, const char *select)
{
    sql += select;
    auto bindings = op.GetColumnBindings();
    for (idx_t i = 0; i < bindings.size(); i++) {
        sql += i ? ", " : "";
        if (!Find(sources, bindings[i], sql)) {
            return false;
        }
        sql += " AS c" + std::to_string(i);
    }
    return !bindings.empty();
}

bool Unparser::WriteAll(const vector<unique_ptr<Expression>> &conditions, const Sources &sources, string &sql)
{
    for (idx_t i = 0; i < conditions.size(); i++) {
        sql += i ? " AND " : "";
        if (!WriteValue(*conditions[i], sources, sql)) {
            return false;
        }
    }
    return true;
}

bool Unparser::WriteOrder(const vector<BoundOrderByNode> &orders, const Sources &sources, string &sql)
{
    for (idx_t i = 0; i < orders.size(); i++) {
        auto &node = orders[i];
        if (!TypeHasText(node.expression->return_type) || node.type == OrderType::ORDER_DEFAULT ||
            node.null_order == OrderByNullType::ORDER_DEFAULT || node.type == OrderType::INVALID) {
            return false;
        }
        sql += i ? ", " : " ORDER BY ";
        if (!WriteTyped(*node.expression, sources, sql)) { // a bare constant would be a position
            return false;
        }
        sql += node.type == OrderType::DESCENDING ? " DESC" : " ASC";
        sql += node.null_order == OrderByNullType::NULLS_FIRST ? " NULLS FIRST" : " NULLS LAST";
    }
    return true;
}

//===--------------------------------------------------------------------===//
// Operators
//===--------------------------------------------------------------------===//
bool Unparser::WriteGet(LogicalGet &get, string &sql)
{
    if (get.function.name != "openduck_scan" || !get.children.empty() || !get.table_filters.filters.empty() ||
        get.ordinality_idx.IsValid() || get.extra_info.sample_options || get.dynamic_filters ||
        !get.projection_ids.empty()) {
        return false;
    }
    auto &bind = get.bind_data->Cast<ScanBindData>();
    if (bind.IsText() || !bind.catalog || bind.catalog->IsPast() || !bind.conditions.empty() || bind.limit.IsValid() ||
        (out.catalog && out.catalog.get() != bind.catalog)) {
        return false;
    }
    sql += "SELECT ";
    auto &ids = get.GetColumnIds();
    for (idx_t i = 0; i < ids.size(); i++) {
        auto &id = ids[i];
        sql += i ? ", " : "";
        if (id.HasChildren() || id.HasType()) {
            return false;
        }
        if (id.GetPrimaryIndex() == COLUMN_IDENTIFIER_ROW_ID) {
            sql += "rowid";
        } else if (id.GetPrimaryIndex() == COLUMN_IDENTIFIER_EMPTY) {
            sql += "false";
        } else if (id.GetPrimaryIndex() < bind.names.size()) {
            sql += QuotedName(bind.names[id.GetPrimaryIndex()]);
        } else {
            return false;
        }
        sql += " AS c" + std::to_string(i);
    }
    sql += " FROM " + bind.relation;
    out.catalog = bind.catalog;
    out.catalog_alias = bind.catalog_alias;
    out.catalog_version = bind.catalog_version;
    for (auto &object : bind.objects) {
        bool known = false;
        for (auto &other : out.objects) {
            known = known || (other.kind == object.kind && other.schema == object.schema && other.name == object.name);
        }
        if (!known) {
            out.objects.push_back(object);
        }
    }
    return !ids.empty();
}

bool Unparser::WriteProjection(LogicalProjection &projection, string &sql)
{
    string from;
    Sources sources(1);
    if (!WriteSource(*projection.children[0], from, sources[0])) {
        return false;
    }
    sql += "SELECT ";
    for (idx_t i = 0; i < projection.expressions.size(); i++) {
        sql += i ? ", " : "";
        if (!WriteTyped(*projection.expressions[i], sources, sql)) {
            return false;
        }
        sql += " AS c" + std::to_string(i);
    }
    sql += " FROM " + from;
    return !projection.expressions.empty();
}

static bool IsProduct(const LogicalOperator &op)
{
    return op.type == LogicalOperatorType::LOGICAL_CROSS_PRODUCT ||
           (op.type == LogicalOperatorType::LOGICAL_FILTER && IsProduct(*op.children[0]));
}

//! Rows are computed below, so that a condition on them saves their crossing.
static bool IsComputed(const LogicalOperator &op)
{
    return op.type == LogicalOperatorType::LOGICAL_WINDOW || op.type == LogicalOperatorType::LOGICAL_UNNEST ||
           (op.type == LogicalOperatorType::LOGICAL_PROJECTION && IsComputed(*op.children[0]));
}

//! An equality of two things that are not constants, or several conditions with one among them.
static bool IsJoinCondition(const Expression &expression)
{
    if (expression.GetExpressionType() == ExpressionType::CONJUNCTION_AND) {
        for (auto &child : expression.Cast<BoundConjunctionExpression>().children) {
            if (IsJoinCondition(*child)) {
                return true;
            }
        }
        return false;
    }
    if (expression.GetExpressionType() != ExpressionType::COMPARE_EQUAL) {
        return false;
    }
    auto &comparison = expression.Cast<BoundComparisonExpression>();
    return !comparison.left->IsFoldable() && !comparison.right->IsFoldable();
}

bool Unparser::WriteFilter(LogicalFilter &filter, string &sql)
{
    string from, condition;
    Sources sources(1);
    if (!WriteSource(*filter.children[0], from, sources[0]) || !WriteColumns(filter, sources, sql) ||
        !WriteAll(filter.expressions, sources, condition) || condition.empty()) {
        return false;
    }
    sql += " FROM " + from + " WHERE " + condition;
    out.reduces = out.reduces || IsComputed(*filter.children[0]);
    for (auto &expression : filter.expressions) {
        out.reduces = out.reduces || (IsProduct(*filter.children[0]) && IsJoinCondition(*expression));
    }
    return true;
}

//! LIMIT, and the ORDER BY it cuts: together they keep their meaning as a subquery.
bool Unparser::WriteLimit(LogicalLimit &limit, string &sql)
{
    auto plain = [](const BoundLimitNode &node) {
        return node.Type() == LimitNodeType::UNSET || node.Type() == LimitNodeType::CONSTANT_VALUE;
    };
    if (!plain(limit.limit_val) || !plain(limit.offset_val)) {
        return false;
    }
    auto &child = *limit.children[0];
    bool ordered = child.type == LogicalOperatorType::LOGICAL_ORDER_BY;
    string from, order;
    Sources sources(1);
    if (!WriteSource(ordered ? *child.children[0] : child, from, sources[0]) || !WriteColumns(limit, sources, sql) ||
        (ordered && !WriteOrder(child.Cast<LogicalOrder>().orders, sources, order))) {
        return false;
    }
    sql += " FROM " + from + order;
    if (limit.limit_val.Type() == LimitNodeType::CONSTANT_VALUE) {
        sql += " LIMIT " + std::to_string(limit.limit_val.GetConstantValue());
    }
    if (limit.offset_val.Type() == LimitNodeType::CONSTANT_VALUE) {
        sql += " OFFSET " + std::to_string(limit.offset_val.GetConstantValue());
    }
    out.reduces = true;
    return true;
}

bool Unparser::WriteDistinct(LogicalDistinct &distinct, string &sql)
{
    string from, targets, order;
    Sources sources(1);
    auto count = distinct.GetColumnBindings().size();
    if (!WriteSource(*distinct.children[0], from, sources[0])) {
        return false;
    }
    if (distinct.distinct_type == DistinctType::DISTINCT_ON) {
        if (!distinct.order_by || !WriteTypedList(distinct.distinct_targets, sources, targets) ||
            !WriteOrder(distinct.order_by->orders, sources, order)) {
            return false;
        }
        targets = "SELECT DISTINCT ON (" + targets + ") ";
    } else {
        if (distinct.order_by || distinct.distinct_targets.size() != count) {
            return false;
        }
        for (idx_t i = 0; i < count; i++) {
            auto &target = *distinct.distinct_targets[i];
            if (target.GetExpressionClass() != ExpressionClass::BOUND_COLUMN_REF || !TypeHasText(target.return_type) ||
                target.Cast<BoundColumnRefExpression>().binding != sources[0].bindings[i]) {
                return false;
            }
        }
        targets = "SELECT DISTINCT ";
    }
    if (!WriteColumns(distinct, sources, sql, targets.c_str())) {
        return false;
    }
    sql += " FROM " + from + order;
    out.reduces = true;
    return true;
}

bool Unparser::WriteSetOperation(LogicalSetOperation &set, string &sql)
{
    const char *word = set.type == LogicalOperatorType::LOGICAL_UNION    ? " UNION "
                       : set.type == LogicalOperatorType::LOGICAL_EXCEPT ? " EXCEPT "
                                                                         : " INTERSECT ";
    for (idx_t i = 0; i < set.children.size(); i++) {
        auto &child = *set.children[i];
        string from;
        Sources sources(1);
        sql += i ? word + string(set.setop_all ? "ALL (" : "(") : string("(");
        if (child.types != set.types || !WriteSource(child, from, sources[0]) || !WriteColumns(child, sources, sql)) {
            return false;
        }
        sql += " FROM " + from + ")";
    }
    for (auto &type : set.types) {
        if (!TypeHasText(type)) {
            return false;
        }
    }
    out.reduces = out.reduces || !set.setop_all;
    return set.children.size() > 1;
}

bool Unparser::WriteUnnest(LogicalUnnest &unnest, string &sql)
{
    string from;
    Sources sources(1);
    if (!WriteSource(*unnest.children[0], from, sources[0]) || unnest.expressions.empty()) {
        return false;
    }
    sql += "SELECT ";
    auto count = sources[0].bindings.size();
    for (idx_t i = 0; i < count; i++) {
        auto column = "c" + std::to_string(i);
        sql += sources[0].name + "." + column + " AS " + column + ", ";
    }
    for (idx_t i = 0; i < unnest.expressions.size(); i++) {
        auto &expression = *unnest.expressions[i];
        if (expression.GetExpressionClass() != ExpressionClass::BOUND_UNNEST) {
            return false;
        }
        sql += i ? ", unnest(" : "unnest(";
        auto &list = *expression.Cast<BoundUnnestExpression>().child;
        if (list.return_type.id() != LogicalTypeId::LIST || !TypeHasText(list.return_type) ||
            !WriteTyped(list, sources, sql)) {
            return false;
        }
        sql += ") AS c" + std::to_string(count + i);
    }
    sql += " FROM " + from;
    return true;
}

bool Unparser::WriteInput(LogicalOperator &op, idx_t number, string &sql)
{
    sql += "SELECT ";
    for (idx_t i = 0; i < op.types.size(); i++) {
        if (!TypeHasText(op.types[i])) {
            return false;
        }
        sql += (i ? ", c" : "c") + std::to_string(i);
    }
    sql += " FROM " + RemoteInputName(number);
    return !op.types.empty();
}

bool Unparser::Write(LogicalOperator &op, string &sql)
{
    for (idx_t i = 0; i < out.inputs.size(); i++) {
        if (&out.inputs[i].get() == &op) {
            return WriteInput(op, i, sql);
        }
    }
    switch (op.type) {
    case LogicalOperatorType::LOGICAL_GET:
        return WriteGet(op.Cast<LogicalGet>(), sql);
    case LogicalOperatorType::LOGICAL_PROJECTION:
        return WriteProjection(op.Cast<LogicalProjection>(), sql);
    case LogicalOperatorType::LOGICAL_FILTER:
        return WriteFilter(op.Cast<LogicalFilter>(), sql);
    case LogicalOperatorType::LOGICAL_AGGREGATE_AND_GROUP_BY:
        return WriteAggregate(op.Cast<LogicalAggregate>(), sql);
    case LogicalOperatorType::LOGICAL_WINDOW:
        return WriteWindow(op.Cast<LogicalWindow>(), sql);
    case LogicalOperatorType::LOGICAL_COMPARISON_JOIN:
    case LogicalOperatorType::LOGICAL_ASOF_JOIN:
    case LogicalOperatorType::LOGICAL_ANY_JOIN:
        return WriteJoin(op.Cast<LogicalJoin>(), sql);
    case LogicalOperatorType::LOGICAL_DELIM_JOIN:
        return WriteDelimJoin(op.Cast<LogicalComparisonJoin>(), sql);
    case LogicalOperatorType::LOGICAL_DELIM_GET:
        return WriteDelimGet(op.Cast<LogicalDelimGet>(), sql);
    case LogicalOperatorType::LOGICAL_CROSS_PRODUCT:
        return WriteProduct(op, ", ", sql);
    case LogicalOperatorType::LOGICAL_POSITIONAL_JOIN:
        return WriteProduct(op, " POSITIONAL JOIN ", sql);
    case LogicalOperatorType::LOGICAL_LIMIT:
        return WriteLimit(op.Cast<LogicalLimit>(), sql);
    case LogicalOperatorType::LOGICAL_DISTINCT:
        return WriteDistinct(op.Cast<LogicalDistinct>(), sql);
    case LogicalOperatorType::LOGICAL_UNION:
    case LogicalOperatorType::LOGICAL_EXCEPT:
    case LogicalOperatorType::LOGICAL_INTERSECT:
        return WriteSetOperation(op.Cast<LogicalSetOperation>(), sql);
    case LogicalOperatorType::LOGICAL_UNNEST:
        return WriteUnnest(op.Cast<LogicalUnnest>(), sql);
    case LogicalOperatorType::LOGICAL_MATERIALIZED_CTE:
        return WriteCte(op.Cast<LogicalMaterializedCTE>(), sql);
    case LogicalOperatorType::LOGICAL_RECURSIVE_CTE:
        return WriteRecursion(op.Cast<LogicalRecursiveCTE>(), sql);
    case LogicalOperatorType::LOGICAL_CTE_REF:
        return WriteCteReference(op.Cast<LogicalCTERef>(), sql);
    case LogicalOperatorType::LOGICAL_DUMMY_SCAN:
        sql += "SELECT '0'::INTEGER AS c0";
        return op.types.size() == 1 && op.types[0] == LogicalType::INTEGER;
    default:
        return false;
    }
}

bool HasExactText(const Expression &expression)
{
    string text;
    SentParameters parameters;
    auto namer = [](const Expression &, string &) { return true; };
    return !expression.IsVolatile() && ExpressionToSql(expression, namer, text, parameters);
}

bool UnparsePlan(LogicalOperator &op, UnparsedPlan &out)
{
    Unparser unparser(out);
    return unparser.Write(op, out.sql);
}

} // namespace openduck
