// start.hpp - sends the request of a plan that waits for nothing but one server before its pipeline is scheduled.
//
// DuckDB gives a pipeline to whichever of its threads comes first. When a thread of its pool gets it, the caller's thread
// polls until that one has its answer, on a processor that the server could use. So where a plan is one chain of operators
// over one scan, the thread that builds the pipelines (the caller's own) sends the request and waits for the answer,
// which comes within the server's reply delay; the pipeline finds it there. What goes wrong is kept and thrown when the
// pipeline begins, as without this.
#ifndef OPENDUCK_EXTENSION_START_HPP
#define OPENDUCK_EXTENSION_START_HPP

#include "duckdb/planner/operator/logical_extension_operator.hpp"

namespace openduck {

using namespace duckdb;

//! Puts the operator that starts a scan early above the scan of an optimized plan, if the plan is such a chain.
void StartScanEarly(unique_ptr<LogicalOperator> &plan);

} // namespace openduck

#endif
