// entries.cpp - definitions of the server made into catalog entries (see entries.hpp).
//
// A definition is the CREATE statement DuckDB itself prints. It is parsed, and its types are looked up in the same
// snapshot. What only matters to the server (a DEFAULT with a function the client lacks, ...) must not make the table
// unusable here: when a definition does not bind as a whole, it binds again without that part.
#include "entries.hpp"

#include "duckdb/catalog/catalog_entry/duck_index_entry.hpp"
#include "duckdb/catalog/catalog_entry/scalar_macro_catalog_entry.hpp"
#include "duckdb/catalog/catalog_entry/sequence_catalog_entry.hpp"
#include "duckdb/catalog/catalog_entry/table_macro_catalog_entry.hpp"
#include "duckdb/catalog/catalog_entry/type_catalog_entry.hpp"
#include "duckdb/main/client_context.hpp"
#include "duckdb/parser/constraints/list.hpp"
#include "duckdb/parser/expression/columnref_expression.hpp"
#include "duckdb/parser/expression/constant_expression.hpp"
#include "duckdb/parser/expression/function_expression.hpp"
#include "duckdb/parser/expression/star_expression.hpp"
#include "duckdb/parser/parsed_data/create_index_info.hpp"
#include "duckdb/parser/parsed_data/create_macro_info.hpp"
#include "duckdb/parser/parsed_data/create_sequence_info.hpp"
#include "duckdb/parser/parsed_data/create_table_info.hpp"
#include "duckdb/parser/parsed_data/create_type_info.hpp"
#include "duckdb/parser/parsed_expression_iterator.hpp"
#include "duckdb/parser/parser.hpp"
#include "duckdb/parser/query_node/select_node.hpp"
#include "duckdb/parser/statement/create_statement.hpp"
#include "duckdb/parser/tableref/table_function_ref.hpp"
#include "duckdb/planner/binder.hpp"
#include "duckdb/planner/parsed_data/bound_create_table_info.hpp"
#include "duckdb/storage/data_table.hpp"
#include "duckdb/storage/statistics/base_statistics.hpp"
#include "duckdb/storage/table_storage_info.hpp"
#include "duckdb/transaction/duck_transaction.hpp"
#include "duckdb/function/table_macro_function.hpp"
#include "duckdb/function/macro_function.hpp"
#include "scan.hpp"
#include "text.hpp"

#include <regex>

namespace openduck {

//===--------------------------------------------------------------------===//
// Tables
//===--------------------------------------------------------------------===//
OdTable::OdTable(Catalog &catalog, SchemaCatalogEntry &schema, BoundCreateTableInfo &info, ObjectVersion object,
                 string server_catalog, idx_t estimated_rows)
    : DuckTableEntry(catalog, schema, info), object(std::move(object)), server_catalog(std::move(server_catalog)),
      estimated_rows(estimated_rows) {}

TableFunction OdTable::GetScanFunction(ClientContext &context, unique_ptr<FunctionData> &bind_data) {
	auto &od_catalog = catalog.Cast<OdCatalog>();
	auto data = make_uniq<ScanBindData>();
	data->remote = od_catalog.GetRemote();
	data->catalog = &od_catalog;
	data->catalog_alias = catalog.GetName();
	data->entry = shared_from_this();
	data->relation = QualifiedText(server_catalog, object.schema, object.name);
	for (auto &column : columns.Logical()) {
		data->types.push_back(column.Type());
		data->names.push_back(column.Name());
	}
	data->objects.push_back(object);
	if (selector.empty()) {
		data->catalog_version = od_catalog.Snapshot(context, false)->version;
	} else {
		data->LookBack(selector, past_version);
	}
	data->estimated_rows = estimated_rows.load();
	bind_data = std::move(data);
	return ScanFunction();
}

unique_ptr<BaseStatistics> OdTable::GetStatistics(ClientContext &context, column_t column_id) {
	return nullptr; // those of the empty local storage would be wrong
}

unique_ptr<BlockingSample> OdTable::GetSample() {
	return nullptr;
}

TableStorageInfo OdTable::GetStorageInfo(ClientContext &context) {
	auto result = DuckTableEntry::GetStorageInfo(context);
	result.cardinality = estimated_rows.load();
	return result;
}

vector<ColumnSegmentInfo> OdTable::GetColumnSegmentInfo(const QueryContext &query) {
	auto context = query.GetClientContext();
	if (!context || !selector.empty()) {
		throw NotImplementedException("Storage information is there for the newest state of \"%s\" only", name);
	}
	RemoteRequest request;
	request.sql =
	    "SELECT row_group_id, column_id, column_path, segment_id, segment_type, start, count, compression, stats, "
	    "has_updates, persistent, coalesce(block_id, -1), coalesce(block_offset, 0), coalesce(segment_info, ''), "
	    "coalesce(additional_block_ids, []) FROM pragma_storage_info(" +
	    TextLiteral(QualifiedText(server_catalog, object.schema, object.name)) + ")";
	auto &od_catalog = catalog.Cast<OdCatalog>();
	auto session = od_catalog.SessionFor(*context);
	vector<ColumnSegmentInfo> result;
	for (auto &row : od_catalog.GetRemote()->Collect(*context, request, session.get())) {
		auto number = [&](idx_t i) { return NumericCast<idx_t>(row[i].GetValue<int64_t>()); };
		ColumnSegmentInfo info;
		info.row_group_index = number(0);
		info.column_id = number(1);
		info.column_path = row[2].ToString();
		info.segment_idx = number(3);
		info.segment_type = row[4].ToString();
		info.segment_start = number(5);
		info.segment_count = number(6);
		info.compression_type = row[7].ToString();
		info.segment_stats = row[8].ToString();
		info.has_updates = row[9].GetValue<bool>();
		info.persistent = row[10].GetValue<bool>();
		info.block_id = row[11].GetValue<int64_t>();
		info.block_offset = number(12);
		info.segment_info = row[13].ToString();
		for (auto &block : ListValue::GetChildren(row[14])) {
			info.additional_blocks.push_back(block.GetValue<int64_t>());
		}
		result.push_back(std::move(info));
	}
	return result;
}

unique_ptr<CatalogEntry> OdTable::Copy(ClientContext &context) const {
	ThrowNotShipped("copying a table entry");
}

//===--------------------------------------------------------------------===//
// Views
//===--------------------------------------------------------------------===//
OdView::OdView(Catalog &catalog, SchemaCatalogEntry &schema, CreateViewInfo &info, ObjectVersion object_p,
               const CatalogSnapshot &snapshot, ErrorData failure)
    : ViewCatalogEntry(catalog, schema, info), object(std::move(object_p)), server_catalog(snapshot.catalog_name),
      selector(snapshot.selector), past_version(snapshot.version), failure(std::move(failure)) {
	original = unique_ptr_cast<CreateInfo, CreateViewInfo>(ViewCatalogEntry::GetInfo());
	// What the binder is given instead of the body: SELECT * FROM openduck_scan('catalog', 'schema', 'view').
	auto node = make_uniq<SelectNode>();
	node->select_list.push_back(make_uniq<StarExpression>());
	vector<unique_ptr<ParsedExpression>> arguments;
	for (auto &argument : {catalog.GetName(), object.schema, object.name}) {
		arguments.push_back(make_uniq<ConstantExpression>(Value(argument)));
	}
	if (!selector.empty()) {
		arguments.push_back(make_uniq<ConstantExpression>(Value(selector)));
	}
	auto function = make_uniq<TableFunctionRef>();
	function->function =
	    make_uniq<FunctionExpression>(SYSTEM_CATALOG, DEFAULT_SCHEMA, "openduck_scan", std::move(arguments));
	node->from_table = std::move(function);
	query = make_uniq<SelectStatement>();
	query->node = std::move(node);
	aliases.clear();
}

unique_ptr<CreateInfo> OdView::GetInfo() const {
	return original ? original->Copy() : ViewCatalogEntry::GetInfo();
}

string OdView::ToSQL() const {
	auto info = GetInfo();
	info->catalog.clear(); // DuckDB's own views do not name their database either
	return info->ToString();
}

const SelectStatement &OdView::GetQuery() {
	if (failure.HasError()) {
		failure.Throw();
	}
	return *query;
}

void OdView::BindView(ClientContext &context, BindViewAction action) {
	if (failure.HasError()) {
		failure.Throw();
	}
}

void OdView::UpdateBinding(const vector<LogicalType> &types, const vector<string> &names) {
	// The server said what the columns are; a snapshot does not change (C2).
}

//===--------------------------------------------------------------------===//
// Making entries
//===--------------------------------------------------------------------===//
static unique_ptr<CreateInfo> ParseDefinition(ClientContext &context, CatalogItem &item) {
	auto options = context.GetParserOptions();
	options.preserve_identifier_case = true; // names are as the server has them
	Parser parser(options);
	try {
		parser.ParseQuery(item.definition);
	} catch (std::exception &) {
		// DuckDB writes a generated column's collation where its own parser does not want it.
		static const std::regex COLLATED("COLLATE ([A-Za-z_.]+) GENERATED ALWAYS");
		parser.statements.clear();
		parser.ParseQuery(std::regex_replace(item.definition, COLLATED, "GENERATED ALWAYS"));
	}
	if (parser.statements.size() != 1 || parser.statements[0]->type != StatementType::CREATE_STATEMENT) {
		throw InternalException("openduck: the server's definition of %s \"%s\" is not one CREATE statement", item.kind,
		                        item.name);
	}
	return std::move(parser.statements[0]->Cast<CreateStatement>().info);
}

//! A binder that looks into our catalog and the object's schema first, whatever the client's search path is.
static shared_ptr<Binder> BinderIn(ClientContext &context, OdCatalog &catalog, OdSchema &schema) {
	auto binder = Binder::CreateBinder(context);
	vector<CatalogSearchEntry> path;
	path.emplace_back(catalog.GetName(), schema.name);
	if (schema.name != DEFAULT_SCHEMA) {
		path.emplace_back(catalog.GetName(), DEFAULT_SCHEMA);
	}
	binder->EntryRetriever().SetSearchPath(std::move(path));
	return binder;
}

static void ClearQualification(CreateInfo &info, OdCatalog &catalog, OdSchema &schema, const CatalogItem &item) {
	info.catalog = catalog.GetName();
	info.schema = schema.name;
	info.comment = item.comment;
	info.on_conflict = OnCreateConflict::ERROR_ON_CONFLICT;
}

static unique_ptr<BoundCreateTableInfo> BindTable(ClientContext &context, OdCatalog &catalog, OdSchema &schema,
                                                  CatalogItem &item, bool whole) {
	auto info = ParseDefinition(context, item);
	ClearQualification(*info, catalog, schema, item);
	auto binder = BinderIn(context, catalog, schema);
	if (whole) {
		return binder->BindCreateTableInfo(std::move(info), schema);
	}
	auto &base = info->Cast<CreateTableInfo>();
	auto result = make_uniq<BoundCreateTableInfo>(schema, std::move(info));
	for (auto &column : base.columns.Logical()) {
		auto &mutable_column = base.columns.GetColumnMutable(column.Logical());
		binder->BindLogicalType(mutable_column.TypeMutable());
	}
	// Constraints that need a look at other tables or at functions are the server's alone here.
	vector<unique_ptr<Constraint>> kept;
	for (auto &constraint : base.constraints) {
		if (constraint->type == ConstraintType::NOT_NULL || constraint->type == ConstraintType::UNIQUE) {
			kept.push_back(std::move(constraint));
		}
	}
	base.constraints = std::move(kept);
	return result;
}

//! Unique indexes made by CREATE INDEX: ON CONFLICT binds against them, so the storage must know them.
static void AddUniqueIndexes(ClientContext &context, CatalogSnapshot &snapshot, OdTable &table) {
	auto schema = snapshot.items.find(table.object.schema);
	if (schema == snapshot.items.end()) {
		return;
	}
	for (auto &entry : schema->second.sets[static_cast<idx_t>(EntrySet::INDEX)]) {
		auto &item = entry.second;
		if (!StringUtil::CIEquals(item.table_name, table.name) || !item.has_definition) {
			continue;
		}
		try {
			auto info = ParseDefinition(context, item);
			auto &index = info->Cast<CreateIndexInfo>();
			vector<LogicalIndex> columns;
			for (auto &expression : index.expressions) {
				if (expression->GetExpressionClass() != ExpressionClass::COLUMN_REF) {
					columns.clear();
					break;
				}
				columns.push_back(table.GetColumn(expression->Cast<ColumnRefExpression>().GetColumnName()).Logical());
			}
			if (!columns.empty()) {
				table.GetStorage().AddIndex(table.GetColumns(), columns, index.constraint_type,
				                            IndexStorageInfo(item.name));
			}
		} catch (std::exception &) {
			continue; // an index the client cannot understand only matters on the server
		}
	}
}

static shared_ptr<CatalogEntry> MakeTable(ClientContext &context, OdCatalog &catalog, OdSchema &schema,
                                          CatalogSnapshot &snapshot, CatalogItem &item) {
	unique_ptr<BoundCreateTableInfo> info;
	try {
		info = BindTable(context, catalog, schema, item, true);
	} catch (std::exception &) {
		info = BindTable(context, catalog, schema, item, false);
	}
	for (auto &comment : item.column_comments) {
		auto &columns = info->Base().columns;
		if (columns.ColumnExists(comment.first)) {
			columns.GetColumnMutable(comment.first).SetComment(comment.second);
		}
	}
	ObjectVersion object{item.kind, item.schema, item.name, item.hash};
	auto table =
	    make_shared_ptr<OdTable>(catalog, schema, *info, std::move(object), snapshot.catalog_name, item.estimated_rows);
	table->selector = snapshot.selector;
	table->past_version = snapshot.version;
	AddUniqueIndexes(context, snapshot, *table);
	return table;
}

//! What the server says against a view's text, in its words but without the place in a text that is not the user's.
static ErrorData FailureOfView(const ErrorData &error) {
	auto &message = error.RawMessage();
	return ErrorData(error.Type(), message.substr(0, message.find("\n\nLINE ")));
}

//! The columns that a view had when its text could still be bound, as the server lists them.
static void ReadColumnsOfBrokenView(ClientContext &context, OdCatalog &catalog, const CatalogSnapshot &snapshot,
                                    optional_ptr<RemoteSession> session, const CatalogItem &item,
                                    CreateViewInfo &view) {
	RemoteRequest listing;
	listing.sql = "SELECT column_name, data_type FROM duckdb_columns() WHERE database_name = " +
	              TextLiteral(snapshot.catalog_name) + " AND schema_name = " + TextLiteral(item.schema) +
	              " AND table_name = " + TextLiteral(item.name) +
	              " AND column_name IS NOT NULL AND data_type IS NOT NULL ORDER BY column_index";
	listing.snapshot = snapshot.selector;
	listing.read_only = true;
	for (auto &row : catalog.GetRemote()->Collect(context, listing, session)) {
		view.names.push_back(StringValue::Get(row[0]));
		view.types.push_back(TransformStringToLogicalType(StringValue::Get(row[1]), context));
	}
}

static shared_ptr<CatalogEntry> MakeView(ClientContext &context, OdCatalog &catalog, OdSchema &schema,
                                         CatalogSnapshot &snapshot, CatalogItem &item) {
	auto info = ParseDefinition(context, item);
	ClearQualification(*info, catalog, schema, item);
	auto &view = info->Cast<CreateViewInfo>();
	ErrorData failure;
	RemoteRequest request;
	request.sql = "SELECT * FROM " + QualifiedText(snapshot.catalog_name, item.schema, item.name);
	request.describe_only = true;
	request.snapshot = snapshot.selector;
	auto session = snapshot.selector.empty() ? catalog.State(context)->session.get() : nullptr;
	try {
		auto query = catalog.GetRemote()->Execute(request, session);
		query->Schema(view.types, view.names);
	} catch (CatalogStaleException &ex) {
		failure = ErrorData(ExceptionType::BINDER, ex.what());
	} catch (std::exception &ex) {
		ErrorData error(ex);
		switch (error.Type()) {
		case ExceptionType::IO:
		case ExceptionType::CONNECTION:
		case ExceptionType::NETWORK:
		case ExceptionType::HTTP:
		case ExceptionType::INTERRUPT:
		case ExceptionType::TRANSACTION:
		case ExceptionType::OUT_OF_MEMORY:
		case ExceptionType::INTERNAL:
		case ExceptionType::FATAL:
			throw; // nothing is wrong with the view
		default:
			break;
		}
		failure = FailureOfView(error);
		ReadColumnsOfBrokenView(context, catalog, snapshot, session, item, view);
	}
	ObjectVersion object{item.kind, item.schema, item.name, item.hash};
	view.sql = item.definition;
	for (auto &comment : item.column_comments) {
		view.column_comments_map[comment.first] = comment.second;
	}
	return make_shared_ptr<OdView>(catalog, schema, view, std::move(object), snapshot, std::move(failure));
}

static shared_ptr<CatalogEntry> MakeIndex(ClientContext &context, OdCatalog &catalog, OdSchema &schema,
                                          CatalogSnapshot &snapshot, CatalogItem &item) {
	auto info = ParseDefinition(context, item);
	ClearQualification(*info, catalog, schema, item);
	auto table_item = snapshot.Find(item.schema, EntrySet::RELATION, item.table_name);
	if (!table_item) {
		throw CatalogException("The server's index \"%s\" is on a table it does not list", item.name);
	}
	auto table = catalog.EntryFor(context, snapshot, schema, *table_item);
	auto &index = info->Cast<CreateIndexInfo>();
	index.sql = item.definition;
	index.parsed_expressions.clear(); // the parser has filled them in already
	// As a binder would have it: the columns in the order in which they are first named.
	std::function<void(const ParsedExpression &)> add = [&](const ParsedExpression &expression) {
		if (expression.GetExpressionClass() == ExpressionClass::COLUMN_REF) {
			auto name = expression.Cast<ColumnRefExpression>().GetColumnName();
			auto &columns = table->Cast<TableCatalogEntry>().GetColumns();
			if (columns.ColumnExists(name)) {
				auto column = columns.GetColumn(name).Logical().index;
				auto &ids = index.column_ids;
				if (std::find(ids.begin(), ids.end(), column) == ids.end()) {
					ids.push_back(column);
				}
			}
		}
		ParsedExpressionIterator::EnumerateChildren(expression, add);
	};
	for (auto &expression : index.expressions) {
		add(*expression);
		index.parsed_expressions.push_back(expression->Copy());
	}
	return make_shared_ptr<DuckIndexEntry>(catalog, schema, index, table->Cast<TableCatalogEntry>());
}

static shared_ptr<CatalogEntry> MakeMacro(ClientContext &context, OdCatalog &catalog, OdSchema &schema,
                                          CatalogItem &item) {
	auto info = ParseDefinition(context, item);
	ClearQualification(*info, catalog, schema, item);
	auto &macro = info->Cast<CreateMacroInfo>();
	auto binder = BinderIn(context, catalog, schema);
	for (auto &function : macro.macros) {
		for (auto &type : function->types) {
			if (type.id() != LogicalTypeId::UNKNOWN) {
				binder->BindLogicalType(type);
			}
		}
	}
	if (info->type == CatalogType::TABLE_MACRO_ENTRY) {
		return make_shared_ptr<TableMacroCatalogEntry>(catalog, schema, macro);
	}
	return make_shared_ptr<ScalarMacroCatalogEntry>(catalog, schema, macro);
}

static shared_ptr<CatalogEntry> MakeType(ClientContext &context, OdCatalog &catalog, OdSchema &schema,
                                         CatalogItem &item) {
	auto info = ParseDefinition(context, item);
	ClearQualification(*info, catalog, schema, item);
	auto &type = info->Cast<CreateTypeInfo>();
	BinderIn(context, catalog, schema)->BindLogicalType(type.type);
	return make_shared_ptr<TypeCatalogEntry>(catalog, schema, type);
}

shared_ptr<CatalogEntry> MakeUsedSequence(ClientContext &context, OdCatalog &catalog, OdSchema &schema,
                                          CatalogItem &item, int64_t start_value, const Value &last_value) {
	auto info = ParseDefinition(context, item);
	ClearQualification(*info, catalog, schema, item);
	auto &create = info->Cast<CreateSequenceInfo>();
	create.start_value = start_value;
	create.usage_count = 0;
	auto sequence = make_shared_ptr<SequenceCatalogEntry>(catalog, schema, create);
	sequence->comment = item.comment;
	if (!last_value.IsNull()) {
		// Used once more from where it was, it stands where it stands. A temporary one leaves no trace of that.
		sequence->ReplayValue(1, last_value.GetValue<int64_t>());
		sequence->temporary = true;
		try {
			(void)sequence->NextValue(DuckTransaction::Get(context, catalog));
		} catch (SequenceException &) {
			// at its end
		}
		sequence->temporary = false;
	}
	return sequence;
}

shared_ptr<CatalogEntry> MakeEntry(ClientContext &context, OdCatalog &catalog, OdSchema &schema,
                                   CatalogSnapshot &snapshot, CatalogItem &item) {
	if (item.kind == "table") {
		return MakeTable(context, catalog, schema, snapshot, item);
	}
	if (item.kind == "view") {
		return MakeView(context, catalog, schema, snapshot, item);
	}
	if (item.kind == "index") {
		return MakeIndex(context, catalog, schema, snapshot, item);
	}
	if (item.kind == "macro" || item.kind == "table macro") {
		return MakeMacro(context, catalog, schema, item);
	}
	if (item.kind == "type") {
		return MakeType(context, catalog, schema, item);
	}
	if (item.kind == "sequence") {
		auto info = ParseDefinition(context, item);
		ClearQualification(*info, catalog, schema, item);
		return make_shared_ptr<SequenceCatalogEntry>(catalog, schema, info->Cast<CreateSequenceInfo>());
	}
	throw NotImplementedException("The server lists a %s, which this extension does not know", item.kind);
}

} // namespace openduck
