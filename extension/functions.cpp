// functions.cpp - see functions.hpp.
#include "functions.hpp"

#include "catalog.hpp"
#include "duckdb/main/attached_database.hpp"
#include "duckdb/main/client_context.hpp"
#include "duckdb/main/database_manager.hpp"
#include "duckdb/parser/parser.hpp"
#include "duckdb/parser/query_node/select_node.hpp"
#include "duckdb/parser/statement/select_statement.hpp"
#include "duckdb/planner/binder.hpp"
#include "hybrid_explain.hpp"
#include "scan.hpp"
#include "settings.hpp"
#include "state.hpp"

namespace openduck {

static OdCatalog &CatalogArgument(ClientContext &context, const Value &value) {
	auto name = value.IsNull() ? string() : value.ToString();
	auto entry = Catalog::GetCatalogEntry(context, name);
	if (!entry) {
		throw BinderException("No database is attached as \"%s\"", name);
	}
	auto catalog = OdCatalog::From(*entry);
	if (!catalog) {
		throw BinderException("\"%s\" is not on an OpenDuck server", name);
	}
	return *catalog;
}

static string TextArgument(const Value &value) {
	if (value.IsNull()) {
		throw BinderException("The SQL text must not be NULL");
	}
	return StringValue::Get(value);
}

//===--------------------------------------------------------------------===//
// openduck_query
//===--------------------------------------------------------------------===//
//! May columns be chosen with SELECT ... FROM (text)? Not when that could change the order of rows, or names collide.
static bool IsWrappable(ClientContext &context, const string &sql, const vector<string> &names) {
	case_insensitive_set_t seen;
	for (auto &name : names) {
		if (!seen.insert(name).second) {
			return false;
		}
	}
	try {
		Parser parser(context.GetParserOptions());
		parser.ParseQuery(sql);
		if (parser.statements.size() != 1 || parser.statements[0]->type != StatementType::SELECT_STATEMENT) {
			return false;
		}
		return parser.statements[0]->Cast<SelectStatement>().node->modifiers.empty();
	} catch (std::exception &) {
		return false;
	}
}

static unique_ptr<FunctionData> QueryBind(ClientContext &context, TableFunctionBindInput &input,
                                          vector<LogicalType> &types, vector<string> &names) {
	auto &catalog = CatalogArgument(context, input.inputs[0]);
	auto bind = make_uniq<ScanBindData>();
	bind->remote = catalog.GetRemote();
	bind->catalog = &catalog;
	bind->catalog_alias = catalog.GetName();
	bind->sql = TextArgument(input.inputs[1]);
	auto session = catalog.SessionFor(context);
	auto described = bind->remote->Described(bind->sql, catalog.KnownVersion(), session.get(),
	                                         MirroredSettings(context));
	if (described.types.empty()) {
		throw BinderException("This statement gives no rows: use openduck_execute('%s', '...')", catalog.GetName());
	}
	bind->types = types = described.types;
	bind->names = names = described.names;
	bind->wrappable = IsWrappable(context, bind->sql, names);
	return std::move(bind);
}

//===--------------------------------------------------------------------===//
// openduck_execute
//===--------------------------------------------------------------------===//
struct ExecuteBindData : public TableFunctionData {
	OdCatalog *catalog = nullptr;
	string sql;
};

struct ExecuteState : public GlobalTableFunctionState {
	bool done = false;
};

static unique_ptr<FunctionData> ExecuteBind(ClientContext &context, TableFunctionBindInput &input,
                                            vector<LogicalType> &types, vector<string> &names) {
	auto bind = make_uniq<ExecuteBindData>();
	bind->catalog = &CatalogArgument(context, input.inputs[0]);
	bind->sql = TextArgument(input.inputs[1]);
	if (input.binder) {
		input.binder->GetStatementProperties().RegisterDBRead(*bind->catalog, context);
	}
	types = {LogicalType::VARCHAR, LogicalType::BIGINT};
	names = {"statement", "changed_rows"};
	return std::move(bind);
}

static unique_ptr<GlobalTableFunctionState> ExecuteInit(ClientContext &context, TableFunctionInitInput &input) {
	return make_uniq<ExecuteState>();
}

static void ExecuteRun(ClientContext &context, TableFunctionInput &input, DataChunk &output) {
	auto &state = input.global_state->Cast<ExecuteState>();
	if (state.done) {
		return;
	}
	state.done = true;
	auto &bind = input.bind_data->Cast<ExecuteBindData>();
	auto &catalog = *bind.catalog;
	RemoteRequest request;
	request.sql = bind.sql;
	request.settings = MirroredSettings(context);
	request.read_only = catalog.GetAttached().IsReadOnly();
	if (catalog.IsPast()) {
		throw InvalidInputException("\"%s\" is attached as it was at \"%s\", where nothing can be executed: use "
		                            "openduck_query('%s', 'sql') to read",
		                            catalog.GetName(), catalog.GetRemote()->Options().snapshot, catalog.GetName());
	}
	// Whatever state the text leaves in its session must be there for the statements that follow.
	auto session = catalog.SessionFor(context, true);
	auto query = catalog.GetRemote()->Execute(request, session.get());
	Value count(LogicalType::BIGINT);
	vector<LogicalType> types;
	vector<string> names;
	query->Schema(types, names);
	bool counts = query->ResultKind() == 1 && types.size() == 1 && types[0] == LogicalType::BIGINT;
	while (auto batch = query->Wait(context)) {
		if (counts && batch->rows > 0) {
			BatchDecoder decoder(context, query->Arrow());
			DataChunk chunk;
			chunk.Initialize(Allocator::Get(context), types);
			decoder.Load(batch);
			decoder.Read(chunk);
			count = chunk.size() > 0 ? chunk.GetValue(0, 0) : count;
		}
		od_batch_unref(batch);
	}
	auto statement = query->Statement();
	static const case_insensitive_set_t STATELESS = {"SELECT", "INSERT", "UPDATE", "DELETE", "MERGE_INTO", "ALTER",
	                                                 "DROP",   "EXPLAIN", "ANALYZE", "VACUUM"};
	if (STATELESS.find(statement) == STATELESS.end()) {
		session->has_state = true;
	}
	if (OdCatalog::InExplicitTransaction(context)) {
		catalog.DefinitionsChanged(context);
	} else {
		catalog.SawVersion(query->CatalogVersion());
	}
	output.SetValue(0, 0, Value(statement));
	output.SetValue(1, 0, count);
	output.SetCardinality(1);
}

//===--------------------------------------------------------------------===//
// openduck_stats
//===--------------------------------------------------------------------===//
struct StatsState : public GlobalTableFunctionState {
	vector<vector<Value>> rows;
	idx_t next = 0;
};

static unique_ptr<FunctionData> StatsBind(ClientContext &context, TableFunctionBindInput &input,
                                          vector<LogicalType> &types, vector<string> &names) {
	names = {"catalog",          "endpoint",     "database",    "bytes_sent", "bytes_received", "batches_received",
	         "batches_sent",     "round_trips",  "retries",     "resumes",    "rows_read"};
	types = {LogicalType::VARCHAR, LogicalType::VARCHAR, LogicalType::VARCHAR};
	while (types.size() < names.size()) {
		types.push_back(LogicalType::UBIGINT);
	}
	return make_uniq<TableFunctionData>();
}

static unique_ptr<GlobalTableFunctionState> StatsInit(ClientContext &context, TableFunctionInitInput &input) {
	auto state = make_uniq<StatsState>();
	for (auto &database : DatabaseManager::Get(context).GetDatabases(context)) {
		auto catalog = OdCatalog::From(database->GetCatalog());
		if (!catalog) {
			continue;
		}
		auto remote = catalog->GetRemote();
		auto traffic = remote->GetTraffic();
		state->rows.push_back({Value(catalog->GetName()), Value(remote->Options().endpoint),
		                       Value(remote->Options().database), Value::UBIGINT(traffic.bytes_sent),
		                       Value::UBIGINT(traffic.bytes_received), Value::UBIGINT(traffic.batches_received),
		                       Value::UBIGINT(traffic.batches_sent), Value::UBIGINT(traffic.round_trips),
		                       Value::UBIGINT(traffic.retries), Value::UBIGINT(traffic.resumes),
		                       Value::UBIGINT(remote->rows_read.load())});
	}
	return std::move(state);
}

static void StatsRun(ClientContext &context, TableFunctionInput &input, DataChunk &output) {
	auto &state = input.global_state->Cast<StatsState>();
	idx_t count = 0;
	for (; state.next < state.rows.size() && count < STANDARD_VECTOR_SIZE; state.next++, count++) {
		for (idx_t i = 0; i < output.ColumnCount(); i++) {
			output.SetValue(i, count, state.rows[state.next][i]);
		}
	}
	output.SetCardinality(count);
}

void RegisterFunctions(ExtensionLoader &loader) {
	loader.RegisterFunction(ScanFunction());

	auto query = ScanFunction();
	query.name = "openduck_query";
	query.arguments = {LogicalType::VARCHAR, LogicalType::VARCHAR};
	query.original_arguments.clear();
	query.varargs = LogicalType(LogicalTypeId::INVALID);
	query.bind = QueryBind;
	loader.RegisterFunction(query);

	loader.RegisterFunction(TableFunction("openduck_execute", {LogicalType::VARCHAR, LogicalType::VARCHAR}, ExecuteRun,
	                                      ExecuteBind, ExecuteInit));
	loader.RegisterFunction(PlacementFunction());
	loader.RegisterFunction(TableFunction("openduck_stats", {}, StatsRun, StatsBind, StatsInit));
}

} // namespace openduck
