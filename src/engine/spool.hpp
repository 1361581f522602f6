// spool.hpp - finished results that wait in DuckDB's buffer manager.
#ifndef OD_ENGINE_SPOOL_HPP
#define OD_ENGINE_SPOOL_HPP

#include "engine/engine_internal.hpp"

#include "duckdb/common/types/column/column_data_collection.hpp"

namespace openduck {

//! Gives the rows to the result. `wrote`: the statement has changed something, so an error now must not look as if
//! it had not.
void Spool(struct od_result *result, duckdb::unique_ptr<duckdb::ColumnDataCollection> rows, bool exact,
           enum od_ipc_codec codec, bool wrote);

} // namespace openduck

#endif
