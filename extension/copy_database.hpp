// copy_database.hpp - COPY FROM DATABASE into an attached database.
//
// DuckDB splits it into two statements. The definitions become one CREATE after another, the rows one upload for each
// table; each of the two is one transaction of the server.
#ifndef OPENDUCK_EXTENSION_COPY_DATABASE_HPP
#define OPENDUCK_EXTENSION_COPY_DATABASE_HPP

#include "catalog.hpp"
#include "duckdb/planner/logical_operator.hpp"

namespace openduck {

//! The plan in place of what DuckDB bound for a COPY FROM DATABASE with this target.
unique_ptr<LogicalOperator> ShipCopyDatabase(ClientContext &context, OdCatalog &target, idx_t table_index,
                                             unique_ptr<LogicalOperator> plan);

} // namespace openduck

#endif
