// hybrid_estimate.hpp - how many rows each operator of a bound plan gives, how wide they are, and what it costs to make them.
//
// DuckDB's own estimates come with its optimizers, after a plan has been split. These are coarser: what local tables know
// of themselves, the row counts of the server's catalog, and fixed guesses for everything else. They decide where
// something runs, never what it gives.
#ifndef OPENDUCK_EXTENSION_HYBRID_ESTIMATE_HPP
#define OPENDUCK_EXTENSION_HYBRID_ESTIMATE_HPP

#include "duckdb/planner/logical_operator.hpp"
#include "filter.hpp"
#include "plan/plan.h"

namespace openduck {

struct ColumnEstimate {
	double bytes = 8;
	double distinct = 0; // 0: not known
};

struct PlanEstimate {
	double rows = 0;
	vector<ColumnBinding> bindings;
	vector<ColumnEstimate> columns; // one for each binding
	double RowBytes() const;
};

//! The conditions of an inner or outer join, whichever operators stand for it, and whether they are equalities of a column
//! of each side (then the estimates of both).
struct JoinEstimate {
	double distinct[2] = {0, 0};
	double key_bytes = 8;
	idx_t equalities = 0;
};
JoinEstimate EstimateJoinKeys(const vector<unique_ptr<Expression>> &conditions, const PlanEstimate &left,
                              const PlanEstimate &right);

//! Rows and columns of the operator over inputs whose estimates are given. `conditions`: of a join, else what filters.
PlanEstimate EstimatePlan(ClientContext &context, LogicalOperator &op, const vector<const PlanEstimate *> &inputs,
                          const vector<unique_ptr<Expression>> &conditions);

//! Part of the rows that pass the condition.
double EstimateSelectivity(const Expression &condition, const PlanEstimate &input);

//! Fills in the seconds of work for each row. Measured on the machine the project is developed on; only ratios matter.
void EstimateWork(enum od_plan_kind kind, struct od_plan_op &op);

} // namespace openduck

#endif
