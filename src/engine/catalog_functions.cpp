// catalog_functions.cpp - the catalog of the database as rows, for clients that mirror it in one round trip.
//
//   openduck_catalog()                            all entries of the users, as the current transaction sees them
//   openduck_catalog_entry(kind, schema, name)    0 or 1 of the same rows, always with its definition
//   openduck_column_statistics(schema, table)     what DuckDB knows about each column, for the client's optimizer
//
// With more than MAX_DEFINED entries the first one leaves definition and hash out, which a client asks for when it needs
// an entry: writing 100,000 definitions takes seconds, and few of them are ever used.
#include "engine/definition.hpp"
#include "engine/engine_internal.hpp"

#include "duckdb/catalog/catalog.hpp"
#include "duckdb/catalog/catalog_entry/duck_table_entry.hpp"
#include "duckdb/catalog/catalog_entry/schema_catalog_entry.hpp"
#include "duckdb/common/types/column/column_data_collection.hpp"
#include "duckdb/function/table_function.hpp"
#include "duckdb/parser/parsed_data/create_table_function_info.hpp"
#include "duckdb/storage/data_table.hpp"
#include "duckdb/storage/statistics/base_statistics.hpp"
#include "duckdb/storage/statistics/numeric_stats.hpp"

#include <algorithm>

using namespace duckdb;

namespace openduck {

namespace {

constexpr idx_t MAX_DEFINED = 5000;

struct CatalogInfo : public TableFunctionInfo {
	explicit CatalogInfo(struct od_engine &engine_p) : engine(engine_p) {}
	struct od_engine &engine;
};

struct CatalogBind : public TableFunctionData {
	explicit CatalogBind(struct od_engine &engine_p) : engine(engine_p) {}
	struct od_engine &engine;
	vector<std::string> arguments;
};

struct CatalogState : public GlobalTableFunctionState {
	vector<reference<CatalogEntry>> entries;
	idx_t position = 0;
	bool defined = true;
};

//! The entry of a kind and name that the transaction sees, or NULL. There are none of unknown kinds.
optional_ptr<CatalogEntry> Find(ClientContext &context, struct od_engine &engine, const std::string &kind_name,
                                const std::string &schema_name, const std::string &name) {
	auto &catalog = engine.attached->GetCatalog();
	for (idx_t i = 0; i < CATALOG_KIND_COUNT; i++) {
		auto &kind = CATALOG_KINDS[i];
		if (kind_name != kind.name) {
			continue;
		}
		bool is_schema = kind.type == CatalogType::SCHEMA_ENTRY;
		auto schema = catalog.GetSchema(context, is_schema ? name : schema_name, OnEntryNotFound::RETURN_NULL);
		if (!schema || is_schema) {
			return schema && KindOf(*schema) ? optional_ptr<CatalogEntry>(*schema) : nullptr;
		}
		auto entry = schema->LookupEntry(catalog.GetCatalogTransaction(context), EntryLookupInfo(kind.scan, name));
		return entry && KindOf(*entry) == &kind ? entry : nullptr;
	}
	return nullptr;
}

void CheckKind(const std::string &name) {
	for (idx_t i = 0; i < CATALOG_KIND_COUNT; i++) {
		if (name == CATALOG_KINDS[i].name) {
			return;
		}
	}
	throw InvalidInputException("openduck_catalog_entry: there are no entries of kind \"%s\"", name);
}

// ---- rows

Value CommentMap(const std::map<std::string, std::string> &comments) {
	if (comments.empty()) {
		return Value(LogicalType::MAP(LogicalType::VARCHAR, LogicalType::VARCHAR));
	}
	InsertionOrderPreservingMap<string> map;
	for (auto &entry : comments) {
		map.insert(entry.first, entry.second);
	}
	return Value::MAP(map);
}

void CatalogRow(CatalogEntry &entry, const std::string &catalog, bool defined, DataChunk &out, idx_t row) {
	auto definition = defined ? Define(entry, catalog) : Name(entry);
	auto text = [](const std::string &value) {
		return value.empty() ? Value(LogicalType::VARCHAR) : Value(value);
	};
	out.SetValue(0, row, Value(definition.kind));
	out.SetValue(1, row, Value(definition.schema));
	out.SetValue(2, row, Value(definition.name));
	out.SetValue(3, row, text(definition.table));
	out.SetValue(4, row, text(definition.sql));
	out.SetValue(5, row, text(definition.hash));
	out.SetValue(6, row,
	             definition.comment.IsNull() ? Value(LogicalType::VARCHAR) : Value(definition.comment.ToString()));
	out.SetValue(7, row,
	             entry.type == CatalogType::TABLE_ENTRY
	                 ? Value::BIGINT(NumericCast<int64_t>(entry.Cast<DuckTableEntry>().GetStorage().GetTotalRows()))
	                 : Value(LogicalType::BIGINT));
	out.SetValue(8, row, CommentMap(definition.column_comments));
	out.SetValue(9, row, Value::BIGINT(NumericCast<int64_t>(entry.oid)));
}

unique_ptr<FunctionData> CatalogBindFunction(ClientContext &, TableFunctionBindInput &input, vector<LogicalType> &types,
                                             vector<string> &names) {
	auto bind = make_uniq<CatalogBind>(input.info->Cast<CatalogInfo>().engine);
	for (auto &value : input.inputs) {
		if (value.IsNull()) {
			throw BinderException("%s: NULL names nothing", input.table_function.name);
		}
		bind->arguments.push_back(value.ToString());
	}
	CatalogColumns(types, names);
	return std::move(bind);
}

unique_ptr<GlobalTableFunctionState> CatalogAllInit(ClientContext &context, TableFunctionInitInput &input) {
	auto state = make_uniq<CatalogState>();
	auto &catalog = input.bind_data->Cast<CatalogBind>().engine.attached->GetCatalog();
	vector<reference<SchemaCatalogEntry>> schemas;
	catalog.ScanSchemas(context, [&](SchemaCatalogEntry &schema) { schemas.push_back(schema); });
	for (idx_t i = 0; i < CATALOG_KIND_COUNT; i++) {
		auto &kind = CATALOG_KINDS[i];
		auto first = state->entries.size();
		auto add = [&](CatalogEntry &entry) {
			if (KindOf(entry) == &kind) {
				state->entries.push_back(entry);
			}
		};
		for (auto &schema : schemas) {
			if (kind.type == CatalogType::SCHEMA_ENTRY) {
				add(schema.get());
			} else {
				schema.get().Scan(context, kind.scan, add);
			}
		}
		// In the order of creation, so that what an entry depends on comes before it.
		std::sort(state->entries.begin() + NumericCast<int64_t>(first), state->entries.end(),
		          [](const reference<CatalogEntry> &a, const reference<CatalogEntry> &b) {
			          return a.get().oid < b.get().oid;
		          });
	}
	state->defined = state->entries.size() <= MAX_DEFINED;
	return std::move(state);
}

unique_ptr<GlobalTableFunctionState> CatalogOneInit(ClientContext &context, TableFunctionInitInput &input) {
	auto &bind = input.bind_data->Cast<CatalogBind>();
	auto state = make_uniq<CatalogState>();
	CheckKind(bind.arguments[0]);
	auto entry = Find(context, bind.engine, bind.arguments[0], bind.arguments[1], bind.arguments[2]);
	if (entry) {
		state->entries.push_back(*entry);
	}
	return std::move(state);
}

void CatalogRows(ClientContext &, TableFunctionInput &input, DataChunk &out) {
	auto &state = input.global_state->Cast<CatalogState>();
	auto &catalog = input.bind_data->Cast<CatalogBind>().engine.catalog_name;
	idx_t row = 0;
	while (row < STANDARD_VECTOR_SIZE && state.position < state.entries.size()) {
		CatalogRow(state.entries[state.position++], catalog, state.defined, out, row++);
	}
	out.SetCardinality(row);
}

// ---- statistics

struct StatisticsState : public GlobalTableFunctionState {
	optional_ptr<TableCatalogEntry> table;
	idx_t position = 0;
};

unique_ptr<FunctionData> StatisticsBind(ClientContext &context, TableFunctionBindInput &input,
                                        vector<LogicalType> &types, vector<string> &names) {
	vector<LogicalType> unused_types;
	vector<string> unused_names;
	auto bind = CatalogBindFunction(context, input, unused_types, unused_names);
	names = {"column_name", "min", "max", "has_null", "distinct_count"};
	types = {LogicalType::VARCHAR, LogicalType::VARCHAR, LogicalType::VARCHAR, LogicalType::BOOLEAN,
	         LogicalType::BIGINT};
	return bind;
}

unique_ptr<GlobalTableFunctionState> StatisticsInit(ClientContext &context, TableFunctionInitInput &input) {
	auto &bind = input.bind_data->Cast<CatalogBind>();
	auto state = make_uniq<StatisticsState>();
	auto entry = Find(context, bind.engine, "table", bind.arguments[0], bind.arguments[1]);
	if (!entry) {
		throw CatalogException("Table \"%s\".\"%s\" does not exist", bind.arguments[0], bind.arguments[1]);
	}
	state->table = entry->Cast<TableCatalogEntry>();
	return std::move(state);
}

void StatisticsRow(ClientContext &context, TableCatalogEntry &table, const ColumnDefinition &column, DataChunk &out,
                   idx_t row) {
	Value minimum(LogicalType::VARCHAR), maximum(LogicalType::VARCHAR), has_null(LogicalType::BOOLEAN),
	    distinct(LogicalType::BIGINT);
	auto statistics = column.Generated() ? nullptr : table.GetStatistics(context, column.Logical().index);
	if (statistics) {
		has_null = Value::BOOLEAN(statistics->CanHaveNull());
		auto count = statistics->GetDistinctCount();
		if (count > 0) {
			distinct = Value::BIGINT(NumericCast<int64_t>(count));
		}
		// Those of strings are cut to eight bytes, which is no bound above.
		if (statistics->GetStatsType() == StatisticsType::NUMERIC_STATS && NumericStats::HasMinMax(*statistics)) {
			minimum = Value(NumericStats::Min(*statistics).ToString());
			maximum = Value(NumericStats::Max(*statistics).ToString());
		}
	}
	out.SetValue(0, row, Value(column.Name()));
	out.SetValue(1, row, minimum);
	out.SetValue(2, row, maximum);
	out.SetValue(3, row, has_null);
	out.SetValue(4, row, distinct);
}

void StatisticsRows(ClientContext &context, TableFunctionInput &input, DataChunk &out) {
	auto &state = input.global_state->Cast<StatisticsState>();
	auto &columns = state.table->GetColumns();
	idx_t row = 0;
	while (row < STANDARD_VECTOR_SIZE && state.position < columns.LogicalColumnCount()) {
		StatisticsRow(context, *state.table, columns.GetColumn(LogicalIndex(state.position++)), out, row++);
	}
	out.SetCardinality(row);
}

void Register(ClientContext &context, struct od_engine &engine, TableFunction function) {
	function.function_info = make_shared_ptr<CatalogInfo>(engine);
	CreateTableFunctionInfo info(std::move(function));
	info.internal = true;
	Catalog::GetSystemCatalog(context).CreateTableFunction(context, info);
}

} // namespace

void RegisterCatalogFunctions(struct od_engine &engine, ClientContext &context) {
	auto text = LogicalType::VARCHAR;
	Register(context, engine, TableFunction("openduck_catalog", {}, CatalogRows, CatalogBindFunction, CatalogAllInit));
	Register(
	    context, engine,
	    TableFunction("openduck_catalog_entry", {text, text, text}, CatalogRows, CatalogBindFunction, CatalogOneInit));
	Register(context, engine,
	         TableFunction("openduck_column_statistics", {text, text}, StatisticsRows, StatisticsBind, StatisticsInit));
}

void CatalogColumns(vector<LogicalType> &types, vector<string> &names) {
	auto add = [&](const char *name, LogicalType type) {
		names.emplace_back(name);
		types.push_back(std::move(type));
	};
	add("kind", LogicalType::VARCHAR);
	add("schema", LogicalType::VARCHAR);
	add("name", LogicalType::VARCHAR);
	add("table_name", LogicalType::VARCHAR);
	add("definition", LogicalType::VARCHAR);
	add("definition_hash", LogicalType::VARCHAR);
	add("comment", LogicalType::VARCHAR);
	add("estimated_rows", LogicalType::BIGINT);
	add("column_comments", LogicalType::MAP(LogicalType::VARCHAR, LogicalType::VARCHAR));
	add("oid", LogicalType::BIGINT); // the same after ALTER; another one when the database is opened again
}

unique_ptr<ColumnDataCollection> CatalogEntries(ClientContext &context, struct od_engine &engine,
                                                const struct od_catalog_object *objects, size_t count) {
	vector<LogicalType> types;
	vector<string> names;
	CatalogColumns(types, names);
	auto rows = make_uniq<ColumnDataCollection>(Allocator::DefaultAllocator(), types);
	DataChunk chunk;
	chunk.Initialize(Allocator::DefaultAllocator(), types);
	for (size_t i = 0; i < count; i++) {
		auto entry = Find(context, engine, objects[i].kind, objects[i].schema, objects[i].name);
		if (entry) {
			chunk.Reset();
			CatalogRow(*entry, engine.catalog_name, true, chunk, 0);
			chunk.SetCardinality(1);
			rows->Append(chunk);
		}
	}
	return rows;
}

std::string DefinitionHash(ClientContext &context, struct od_engine &engine, const std::string &kind,
                           const std::string &schema, const std::string &name) {
	auto entry = Find(context, engine, kind, schema, name);
	return entry ? Define(*entry, engine.catalog_name).hash : std::string();
}

} // namespace openduck
