// hybrid_delim.hpp - correlated subqueries that only filter, without the outer query's distinct values.
#ifndef OPENDUCK_EXTENSION_HYBRID_DELIM_HPP
#define OPENDUCK_EXTENSION_HYBRID_DELIM_HPP

#include "duckdb/planner/logical_operator.hpp"

namespace openduck {

using namespace duckdb; // NOLINT

//! `op` is a join of outer rows with a correlated subquery (DELIM_JOIN) that marks those with a partner: makes it one that
//! keeps these, or with `anti` the others. False: it is not so simple, and nothing is changed.
bool MakeSemiOfDelim(unique_ptr<LogicalOperator> &op, bool anti);

} // namespace openduck

#endif
