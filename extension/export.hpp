// export.hpp - EXPORT DATABASE of an attached database: its definitions in an order in which they can be run again.
//
// DuckDB orders them by its dependency manager, which knows nothing of the shadow's entries; the server's does.
#ifndef OPENDUCK_EXTENSION_EXPORT_HPP
#define OPENDUCK_EXTENSION_EXPORT_HPP

#include "duckdb/planner/logical_operator.hpp"

namespace openduck {

using namespace duckdb;

//! Puts the operator that orders the definitions above an EXPORT of one of our databases.
void OrderExport(ClientContext &context, unique_ptr<LogicalOperator> &plan);

} // namespace openduck

#endif
