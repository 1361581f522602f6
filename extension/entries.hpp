// entries.hpp - the catalog entries that differ from DuckDB's own: tables whose scan is remote, views that are read where
// they live. All other kinds (sequences, types, macros, indexes) are stock entries.
#ifndef OPENDUCK_EXTENSION_ENTRIES_HPP
#define OPENDUCK_EXTENSION_ENTRIES_HPP

#include "catalog.hpp"
#include "duckdb/catalog/catalog_entry/duck_table_entry.hpp"
#include "duckdb/catalog/catalog_entry/view_catalog_entry.hpp"
#include "duckdb/parser/parsed_data/create_view_info.hpp"

namespace openduck {

//! A table: DuckDB's own entry, so that everything binds as it does natively, but with our scan.
class OdTable : public DuckTableEntry, public duckdb::enable_shared_from_this<OdTable> {
public:
	OdTable(Catalog &catalog, SchemaCatalogEntry &schema, BoundCreateTableInfo &info, ObjectVersion object,
	        string server_catalog, idx_t estimated_rows);

	TableFunction GetScanFunction(ClientContext &context, unique_ptr<FunctionData> &bind_data) override;
	unique_ptr<BaseStatistics> GetStatistics(ClientContext &context, column_t column_id) override;
	unique_ptr<BlockingSample> GetSample() override;
	TableStorageInfo GetStorageInfo(ClientContext &context) override;
	vector<ColumnSegmentInfo> GetColumnSegmentInfo(const QueryContext &context) override;
	unique_ptr<CatalogEntry> Copy(ClientContext &context) const override;

	const ObjectVersion object;
	const string server_catalog;
	std::atomic<idx_t> estimated_rows; // as a listing last heard
	string selector, past_version; // of the past's tables: where they are read, and the version of the definitions there
};

//! A view: its body is bound on the server, because it may use what only the server has. Here it is a scan of its rows.
class OdView : public ViewCatalogEntry, public duckdb::enable_shared_from_this<OdView> {
public:
	OdView(Catalog &catalog, SchemaCatalogEntry &schema, CreateViewInfo &info, ObjectVersion object,
	       const CatalogSnapshot &snapshot, ErrorData failure);

	unique_ptr<CreateInfo> GetInfo() const override;
	string ToSQL() const override;
	const SelectStatement &GetQuery() override;
	void BindView(ClientContext &context, BindViewAction action) override;
	void UpdateBinding(const vector<LogicalType> &types, const vector<string> &names) override;

	const ObjectVersion object;
	const string server_catalog;
	string selector, past_version; // as a table's

private:
	ErrorData failure; // why the server could not bind it; none: it could
	unique_ptr<CreateViewInfo> original;
};

//! A sequence as it stands now, which its definition does not say. last_value: NULL when it was never used.
shared_ptr<CatalogEntry> MakeUsedSequence(ClientContext &context, OdCatalog &catalog, OdSchema &schema,
                                          CatalogItem &item, int64_t start_value, const Value &last_value);
//! Makes the entry of one item. Throws what its definition makes DuckDB throw.
shared_ptr<CatalogEntry> MakeEntry(ClientContext &context, OdCatalog &catalog, OdSchema &schema,
                                   CatalogSnapshot &snapshot, CatalogItem &item);

} // namespace openduck

#endif
