// scan.hpp - openduck_scan: the table function every row from a server comes through.
#ifndef OPENDUCK_EXTENSION_SCAN_HPP
#define OPENDUCK_EXTENSION_SCAN_HPP

#include "catalog.hpp"
#include "duckdb/function/table/table_scan.hpp"
#include "duckdb/function/table_function.hpp"
#include "duckdb/planner/bound_parameter_map.hpp"

namespace openduck {

//! How many scans a plan has, so that they can ask the server for one snapshot. Shared by the scans of one plan.
struct ScanGroup {
	std::atomic<uint32_t> size {0};
};

//! A scan's global state, or what went wrong in making it.
struct StartedScan;
struct RemoteInput;

//! What was known of a part of a plan when it was made a scan (hybrid.hpp): for EXPLAIN.
struct PartNote {
	string why;
	double rows = 0, bytes = 0; // estimated, of its result
	uint64_t key = 0;           // under which its rows are remembered (bridge.hpp)
};

//! What is scanned: a table or view (columns and filters are chosen per scan), or the text of a statement.
struct ScanBindData : public TableFunctionData {
	//! DuckDB's index binder (CREATE INDEX, ALTER TABLE ADD PRIMARY KEY) sets TableScanBindData::is_create_index in the
	//! bind data of any scan of a DuckCatalog. Here that place belongs to nobody.
	alignas(void *) char stock_members[sizeof(TableScanBindData) - sizeof(TableFunctionData)] = {};

	shared_ptr<Remote> remote;
	OdCatalog *catalog = nullptr; // lives as long as the transaction that runs the scan; unset: the past's
	string catalog_alias;

	// table or view
	shared_ptr<CatalogEntry> entry; // pinned (C3)
	string relation;                // as the server spells it, quoted
	// text
	string sql;
	bool wrappable = false; // columns may be chosen by SELECT ... FROM (sql)
	bool users_text = false; // it means what it says, whatever definitions it finds
	vector<shared_ptr<BoundParameterData>> parameters;
	vector<shared_ptr<RemoteInput>> inputs; // local rows that the text reads

	vector<LogicalType> types;
	vector<string> names;
	vector<ObjectVersion> objects;
	string catalog_version;
	string snapshot; // see LookBack
	idx_t estimated_rows = 0;
	PartNote part; // of a part of a plan
	vector<string> conditions;      // complex filters that the server applies
	optional_idx limit;
	shared_ptr<ScanGroup> group;
	vector<std::pair<string, string>> settings;
	//! What StartScan has begun, until the pipeline takes it.
	mutable shared_ptr<StartedScan> started;

	bool IsText() const {
		return relation.empty();
	}
	//! It reads a past state of the database: not a part of this connection's transaction, nor of other scans' text.
	void LookBack(const string &selector, const string &version) {
		snapshot = selector;
		catalog_version = version;
		catalog = nullptr;
	}
	unique_ptr<FunctionData> Copy() const override;
	bool Equals(const FunctionData &other) const override;
};

//! Sends the request of a scan whose pipeline has not begun. Never throws: the pipeline does.
void StartScan(ClientContext &context, TableFunctionInitInput &input);

TableFunction ScanFunction();
//! openduck_scan as a function of the catalog: needed to copy plans, and bound by views.
TableFunction ScanTableFunction();

bool IsScan(const TableFunction &function);

} // namespace openduck

#endif
