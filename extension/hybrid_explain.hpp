// hybrid_explain.hpp - where each operator of a statement's plan was placed, and why: above the plan that EXPLAIN shows,
// and as rows of openduck_placement().
#ifndef OPENDUCK_EXTENSION_HYBRID_EXPLAIN_HPP
#define OPENDUCK_EXTENSION_HYBRID_EXPLAIN_HPP

#include "duckdb.hpp"
#include "duckdb/planner/logical_operator.hpp"
#include "filter.hpp"

namespace openduck {

//! One operator of a placed plan, in the order of a walk from the root.
struct PlacedOperator {
	idx_t depth;
	string name, site, reason;
	double rows;   // estimated
	string bridge; // "download", "upload", ... to its reader; empty: it stays
	double bridge_rows = 0, bridge_bytes = 0;
	string reduction; // of what crosses
};

//! Keeps the account for EXPLAIN and openduck_placement(), in place of the connection's last one.
void NotePlacement(ClientContext &context, vector<PlacedOperator> operators);
//! At the start of a statement's optimization.
void ForgetPlacement(ClientContext &context);
//! Puts the account above the plan of an EXPLAIN statement; others are left alone.
void ShowPlacement(ClientContext &context, unique_ptr<LogicalOperator> &plan);

TableFunction PlacementFunction();

} // namespace openduck

#endif
