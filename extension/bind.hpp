// bind.hpp - where DuckDB's planner is entered: after a statement is bound, and when a bound statement was refused.
#ifndef OPENDUCK_EXTENSION_BIND_HPP
#define OPENDUCK_EXTENSION_BIND_HPP

#include "duckdb.hpp"

namespace openduck {

using namespace duckdb; // NOLINT

void RegisterPlannerHooks(DBConfig &config);

} // namespace openduck

#endif
