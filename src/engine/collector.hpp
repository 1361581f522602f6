// collector.hpp - the operator at the end of a streaming plan.
#ifndef OD_ENGINE_COLLECTOR_HPP
#define OD_ENGINE_COLLECTOR_HPP

#include "duckdb/main/prepared_statement_data.hpp"

#include "duck/batch_sink.hpp"

namespace openduck {

//! Encodes the plan's rows into `queue` while it runs; the query's own result is empty.
duckdb::unique_ptr<duckdb::PhysicalOperator>
MakeStreamCollector(duckdb::PreparedStatementData &data, struct od_batch_queue *queue, bool exact,
                    enum od_ipc_codec codec, SinkOrder order);

} // namespace openduck

#endif
