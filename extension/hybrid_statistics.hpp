// hybrid_statistics.hpp - what is known of the columns of tables: how many values differ, from where to where they go, how
// wide they are. Of a server's tables it is asked when a plan first reads them beside others, one request for all of them.
//
// Only estimates come of it, so it may be old: it is asked again when the catalog's version or the number of rows has
// changed. A server that does not answer costs an estimate, nothing else.
#ifndef OPENDUCK_EXTENSION_HYBRID_STATISTICS_HPP
#define OPENDUCK_EXTENSION_HYBRID_STATISTICS_HPP

#include "duckdb/planner/logical_operator.hpp"
#include "scan.hpp"

namespace openduck {

//! Of one column. A field that is 0 is not known.
struct ColumnStatistic {
	double distinct = 0;
	double bytes = 0; // of a text
	bool has_range = false;
	double low = 0, high = 0;
};

//! A number, date or time on the scale of ColumnStatistic::low. False: it has no place there.
bool PlaceOf(const Value &value, double &out);

//! Of a table of a server, by column; nothing when it is not known.
shared_ptr<const vector<ColumnStatistic>> StatisticsOf(const ScanBindData &bind);
//! Of a local table's column.
ColumnStatistic StatisticOf(const BaseStatistics &statistics);

//! Asks the servers for what the plan needs and is not known.
void LearnStatistics(ClientContext &context, LogicalOperator &plan);

} // namespace openduck

#endif
