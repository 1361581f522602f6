// hybrid_estimate.hpp - how many rows each operator of a bound plan gives, how wide they are, and what it costs to make them.
//
// DuckDB's own estimates come with its optimizers, after a plan has been split. These are coarser: what tables know of
// themselves, here and on the server (hybrid_statistics.hpp), and fixed guesses for everything else. They decide where
// something runs, never what it gives.
#ifndef OPENDUCK_EXTENSION_HYBRID_ESTIMATE_HPP
#define OPENDUCK_EXTENSION_HYBRID_ESTIMATE_HPP

#include "duckdb/planner/logical_operator.hpp"
#include "filter.hpp"
#include "plan/plan.h"

#include <set>

namespace openduck {

struct ColumnEstimate {
	double bytes = 8;
	double distinct = 0; // 0: not known
	double domain = 0;   // distinct values of the table's column that it comes from, before anything was filtered
	double truth = 0.3;  // of a BOOLEAN: part of the rows where it is true
	bool has_range = false;
	double low = 0, high = 0; // as ColumnStatistic has them
};

struct PlanEstimate {
	double rows = 0;
	vector<ColumnBinding> bindings;
	vector<ColumnEstimate> columns; // one for each binding
	//! Of the columns that somebody uses.
	double RowBytes(const column_binding_set_t &used) const;
};

//! The conditions of an inner or outer join, whichever operators stand for it, and whether they are equalities of a column
//! of each side (then the estimates of both).
struct JoinEstimate {
	double distinct[2] = {0, 0}; // of each side's keys together
	double domain = 1;           // of both
	double key_bytes = 8;
	idx_t equalities = 0;
	std::set<const Expression *> used; // the conditions that are these equalities
	double Rows(double left, double right) const;
	//! Part of a side's rows that has a partner on the other.
	double Kept(idx_t side) const;
};
vector<const Expression *> PointersTo(const vector<unique_ptr<Expression>> &expressions);
JoinEstimate EstimateJoinKeys(const vector<const Expression *> &conditions, const PlanEstimate &left,
                              const PlanEstimate &right);

//! What an operator tests: of a join both its conditions and what is tested beside them.
vector<unique_ptr<Expression>> ConditionsOf(const LogicalOperator &op);

//! Rows and columns of the operator over inputs whose estimates are given. `conditions`: of a join, else what filters.
PlanEstimate EstimatePlan(ClientContext &context, LogicalOperator &op, const vector<const PlanEstimate *> &inputs,
                          const vector<unique_ptr<Expression>> &conditions);

//! The same of a whole tree.
PlanEstimate EstimateTree(ClientContext &context, LogicalOperator &op);

//! How many different values the expressions have together.
double EstimateGroups(const vector<unique_ptr<Expression>> &groups, const PlanEstimate &input);

//! Part of the rows that pass all conditions.
double EstimateSelectivity(ClientContext &context, const vector<unique_ptr<Expression>> &conditions,
                           const PlanEstimate &input);

//! Fills in the seconds of work for each row. Measured on the machine the project is developed on; only ratios matter.
void EstimateWork(enum od_plan_kind kind, struct od_plan_op &op);

} // namespace openduck

#endif
