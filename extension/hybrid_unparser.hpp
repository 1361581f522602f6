// hybrid_unparser.hpp - the writer of plans as SQL, shared by the files that know its operators; see hybrid.hpp.
//
// Each operator becomes SELECT ... AS c0, ... AS c1 FROM (child) q1, so that a column of the plan is always q<k>.c<i>.
// Expressions are expression.cpp's, with its rule: what is not known to be exact is not written. Where SQL leaves a
// choice open (rows that an ORDER BY calls equal), the server's choice is as good as ours.
#ifndef OPENDUCK_EXTENSION_HYBRID_UNPARSER_HPP
#define OPENDUCK_EXTENSION_HYBRID_UNPARSER_HPP

#include "duckdb/planner/bound_result_modifier.hpp"
#include "duckdb/planner/expression/list.hpp"
#include "duckdb/planner/operator/list.hpp"
#include "expression.hpp"
#include "hybrid.hpp"

namespace openduck
{

class Unparser
{
public:
    explicit Unparser(UnparsedPlan &out) : out(out) {}
    //! Appends the statement of one operator and everything below it.
    bool Write(LogicalOperator &op, string &sql);

private:
    //! A child as it stands in FROM, and how its columns are named.
    struct Source {
        vector<ColumnBinding> bindings;
        string name;
    };
    using Sources = vector<Source>;
    //! What the right side of a correlated subquery knows of the left: columns of a named relation.
    struct Outer {
        string name;
        vector<idx_t> columns;
    };

    // hybrid_unparse.cpp: what all operators use, and the simple ones
    string NewName(const char *prefix)
    {
        return prefix + std::to_string(next++);
    }
    bool WriteSource(LogicalOperator &op, string &from, Source &source);
    static bool Find(const Sources &sources, const ColumnBinding &binding, string &sql);
    bool WriteValue(const Expression &expression, const Sources &sources, string &sql);
    //! A value of exactly the expression's type.
    bool WriteTyped(const Expression &expression, const Sources &sources, string &sql);
    bool WriteTypedList(const vector<unique_ptr<Expression>> &list, const Sources &sources, string &sql);
    //! SELECT and the columns that the operator hands on from its children.
    static bool WriteColumns(LogicalOperator &op, const Sources &sources, string &sql, const char *select = "SELECT ");
    bool WriteAll(const vector<unique_ptr<Expression>> &conditions, const Sources &sources, string &sql);
    //! Values in order, with directions; nothing for an empty list.
    bool WriteOrder(const vector<BoundOrderByNode> &orders, const Sources &sources, string &sql);

    //! An operator that is read as a relation (UnparsedPlan::inputs).
    bool WriteInput(LogicalOperator &op, idx_t number, string &sql);
    bool WriteGet(LogicalGet &get, string &sql);
    bool WriteProjection(LogicalProjection &projection, string &sql);
    bool WriteFilter(LogicalFilter &filter, string &sql);
    bool WriteLimit(LogicalLimit &limit, string &sql);
    bool WriteDistinct(LogicalDistinct &distinct, string &sql);
    bool WriteSetOperation(LogicalSetOperation &set, string &sql);
    bool WriteUnnest(LogicalUnnest &unnest, string &sql);

    // hybrid_unparse_aggregate.cpp
    bool WriteAggregate(LogicalAggregate &aggregate, string &sql);
    bool WriteAggregateCall(const BoundAggregateExpression &call, const Sources &sources, string &sql);
    bool WriteWindow(LogicalWindow &window, string &sql);
    bool WriteWindowCall(const BoundWindowExpression &call, const Sources &sources, string &sql);
    bool WriteFrame(const BoundWindowExpression &call, const Sources &sources, string &sql);

    // hybrid_unparse_join.cpp
    bool WriteProduct(LogicalOperator &product, const char *between, string &sql);
    bool WriteConditions(LogicalComparisonJoin &join, idx_t first, const Sources &sources, string &sql);
    bool WriteMark(LogicalComparisonJoin &join, const Sources &sources, const string &left, const string &right,
                   string &sql);
    bool WriteJoin(LogicalJoin &join, string &sql);
    bool WriteDelimJoin(LogicalComparisonJoin &join, string &sql);
    bool WriteJoined(LogicalJoin &join, const Sources &sources, const string &left, const string &right, string &sql);
    bool WriteDelimGet(LogicalDelimGet &get, string &sql);
    bool WriteCte(LogicalMaterializedCTE &cte, string &sql);
    bool WriteRecursion(LogicalRecursiveCTE &cte, string &sql);
    bool WriteCteReference(LogicalCTERef &reference, string &sql);

    UnparsedPlan &out;
    idx_t next = 0;
    unordered_map<idx_t, string> ctes; // by index: the name of what is defined around
    vector<Outer> outers;              // of correlated subqueries, the innermost last
};

} // namespace openduck

#endif
