// statement.cpp - runs one statement: parse, check, bind, decide how its result travels, execute, commit.
//
// Order of events inside DuckDB, and what is done there:
//   parse           exactly one statement (some expand into several: PIVOT, a few PRAGMAs; only the last has a result)
//   QueryBegin      the transaction is open, nothing is bound: compare the catalog with what the client's plan was bound to
//   Planned         bound, nothing has run: refuse what may not run, describe the result, choose stream or spool
//   Drive           DuckDB's threads and this one execute
//   Execute()       DuckDB commits an autocommit statement; only now may a write's result be seen
//
// Invariants:
//   S1  Nothing that can write streams: its rows become visible after its commit.
//   S2  A stale catalog or a refused statement has no effect, and does not abort an open transaction.
//   S3  After a commit the answer is success, whatever comes later (interrupt, failed automatic checkpoint).
//   S4  A statement that was interrupted before its commit began fails with OD_CANCELLED within 20 ms, also when all of its
//       tasks are blocked on a consumer or an upload.
#include "engine/statement.hpp"

#include "engine/collector.hpp"
#include "engine/spool.hpp"

#include "duckdb/execution/operator/helper/physical_result_collector.hpp"
#include "duckdb/main/client_data.hpp"
#include "duckdb/main/materialized_query_result.hpp"
#include "duckdb/parser/parser.hpp"
#include "duckdb/parser/statement/explain_statement.hpp"
#include "duckdb/parser/statement/set_statement.hpp"
#include "duckdb/planner/planner.hpp"
#include "duckdb/transaction/duck_transaction_manager.hpp"
#include "duckdb/transaction/meta_transaction.hpp"

#include "base/limits.h"
#include "base/log.h"

#include <cstdarg>
#include <thread>

using namespace duckdb;

namespace openduck {

namespace {

constexpr const char *STATE_KEY = "openduck";
//! What DuckDB throws when only the checkpoint after a commit failed (duck_transaction_manager.cpp).
constexpr const char *COMMITTED = "Transaction COMMIT succeeded and is durable";

class ConnectionState : public ClientContextState {
public:
	explicit ConnectionState(struct od_connection &connection_p) : connection(connection_p) {
	}
	void QueryBegin(ClientContext &context) override {
		if (connection.run) {
			connection.run->QueryBegin(context);
		}
	}

private:
	struct od_connection &connection;
};

//! Statements that are not bound to tables. Their transaction need not begin on the database, and for some must not:
//! FORCE CHECKPOINT refuses to run inside one.
bool BindsToCatalog(StatementType type) {
	switch (type) {
	case StatementType::TRANSACTION_STATEMENT:
	case StatementType::SET_STATEMENT:
	case StatementType::VARIABLE_SET_STATEMENT:
	case StatementType::PRAGMA_STATEMENT:
	case StatementType::CALL_STATEMENT:
	case StatementType::VACUUM_STATEMENT:
	case StatementType::LOAD_STATEMENT:
	case StatementType::ATTACH_STATEMENT:
	case StatementType::DETACH_STATEMENT:
	case StatementType::UPDATE_EXTENSIONS_STATEMENT:
		return false;
	default:
		return true;
	}
}

//! Statements that change nothing beyond what their properties list (modified databases).
bool OnlyReadsUnlessModifying(StatementType type) {
	switch (type) {
	case StatementType::SELECT_STATEMENT:
	case StatementType::EXPLAIN_STATEMENT:
	case StatementType::RELATION_STATEMENT:
	case StatementType::EXECUTE_STATEMENT:
	case StatementType::LOGICAL_PLAN_STATEMENT:
	case StatementType::EXTENSION_STATEMENT:
		return true;
	default:
		return false;
	}
}

//! Statements that change something outside the listed databases: files, the instance.
bool ActsOutside(StatementType type, const StatementProperties &properties) {
	switch (type) {
	case StatementType::COPY_STATEMENT: // COPY TO; COPY FROM modifies a database
	case StatementType::EXPORT_STATEMENT:
	case StatementType::ATTACH_STATEMENT:
	case StatementType::DETACH_STATEMENT:
	case StatementType::LOAD_STATEMENT:
	case StatementType::UPDATE_EXTENSIONS_STATEMENT:
	case StatementType::VACUUM_STATEMENT:
		return true;
	case StatementType::EXECUTE_STATEMENT: // a prepared COPY TO
		return properties.return_type != StatementReturnType::QUERY_RESULT;
	default:
		return false;
	}
}

bool LeavesState(StatementType type) {
	switch (type) {
	case StatementType::SET_STATEMENT:
	case StatementType::VARIABLE_SET_STATEMENT:
	case StatementType::PRAGMA_STATEMENT:
	case StatementType::PREPARE_STATEMENT:
	case StatementType::CALL_STATEMENT:
	case StatementType::ATTACH_STATEMENT:
	case StatementType::DETACH_STATEMENT:
	case StatementType::LOAD_STATEMENT:
		return true;
	default:
		return false;
	}
}

enum od_result_kind Kind(const StatementProperties &properties) {
	switch (properties.return_type) {
	case StatementReturnType::QUERY_RESULT:
		return OD_RESULT_ROWS;
	case StatementReturnType::CHANGED_ROWS:
		return OD_RESULT_CHANGED_ROWS;
	default:
		return OD_RESULT_NOTHING;
	}
}

} // namespace

Run::Run(struct od_connection &connection_p, const struct od_statement &statement_p, struct od_result *result_p)
    : connection(connection_p), statement(statement_p), result(result_p), context(connection_p.Context()) {
}

void Run::Attach(struct od_connection &connection) {
	auto &context = connection.Context();
	context.registered_state->Insert(STATE_KEY, make_shared_ptr<ConnectionState>(connection));
	ClientConfig::GetConfig(context).get_result_collector = [&connection](ClientContext &cx, PreparedStatementData &data) {
		return connection.run ? connection.run->Planned(cx, data) : PhysicalResultCollector::GetResultCollector(cx, data);
	};
}

// ---- errors

// Inside DuckDB's code a rule of ours is broken: remember why, and throw something that does not abort a transaction.
void Run::Reject(od_code code, const char *format, ...) {
	char message[OD_ERROR_MESSAGE_BYTES];
	va_list arguments;
	va_start(arguments, format);
	vsnprintf(message, sizeof(message), format, arguments);
	va_end(arguments);
	if (!rejected) {
		rejected = true;
		(void)od_fail(&rejection, code, "%s", message);
	}
}

void Run::Throw(const ErrorData &error) {
	if (context.transaction.HasActiveTransaction() && context.transaction.GetAutoRollback()) {
		context.transaction.Rollback(nullptr);
	}
	EngineError failure;
	if (rejected) {
		failure.error = rejection;
	} else if (connection.interrupted && error.Type() == ExceptionType::INTERRUPT) {
		(void)od_fail(&failure.error, OD_CANCELLED, "cancelled");
	} else {
		ErrorFromDuck(error, &failure.error);
	}
	throw failure;
}

void Run::ThrowIfInterrupted() {
	if (connection.interrupted) {
		Fail(OD_CANCELLED, "cancelled");
	}
}

// ---- parse

vector<unique_ptr<SQLStatement>> Run::Parse() {
	if (statement.sql_bytes > OD_SQL_BYTES_MAX) {
		Fail(OD_LIMIT, "the statement has %zu bytes, more than %llu", statement.sql_bytes,
		     static_cast<unsigned long long>(OD_SQL_BYTES_MAX));
	}
	std::string sql(statement.sql, statement.sql_bytes);
	auto nul = sql.find('\0');
	if (nul != std::string::npos) {
		Fail(OD_INVALID, "the statement has a NUL character at byte %zu", nul);
	}
	Parser parser(context.GetParserOptions());
	try {
		parser.ParseQuery(sql);
	} catch (const std::exception &ex) {
		ErrorData error(ex);
		error.AddErrorLocation(sql);
		Throw(error);
	}
	auto statements = std::move(parser.statements);
	if (statements.empty()) {
		Fail(OD_INVALID, "there is no statement in the request");
	}
	if (statements.size() > 1) {
		Fail(OD_INVALID, "one statement per request: this one has %llu",
		     static_cast<unsigned long long>(statements.size()));
	}
	PrepareSetStatement(*connection.engine, statements[0]);
	auto first = statements[0]->type;
	if (first == StatementType::PRAGMA_STATEMENT || first == StatementType::MULTI_STATEMENT) {
		try {
			context.PreprocessStatements(statements);
		} catch (const std::exception &ex) {
			Throw(ErrorData(ex));
		}
		if (statements.empty()) {
			Fail(OD_INVALID, "there is no statement in the request");
		}
	}
	return statements;
}

void Run::Inspect(SQLStatement &parsed, bool is_last) {
	type = parsed.type;
	last = is_last;
	plain_explain = type == StatementType::EXPLAIN_STATEMENT &&
	                parsed.Cast<ExplainStatement>().explain_type != ExplainType::EXPLAIN_ANALYZE;
	if (LeavesState(type)) {
		connection.has_state = true;
	}
}

// ---- the catalog

// may_begin: the statement reads the catalog anyway, so its transaction may begin on the database now.
void Run::CheckCatalog(ClientContext &cx, bool may_begin) {
	auto &engine = *connection.engine;
	bool check = statement.catalog_version && *statement.catalog_version;
	if (may_begin || Transaction::TryGet(cx, *engine.attached)) {
		bound = TransactionVersion(engine, cx);
	} else {
		bound = engine.CommittedVersion();
	}
	has_bound = true;
	if (!cx.transaction.IsAutoCommit() && !connection.transaction_has_version && bound.Committed()) {
		connection.transaction_has_version = true;
		connection.transaction_version = bound;
	}
	if (!check || bound.Text(engine) == statement.catalog_version) {
		return;
	}
	if (statement.catalog_object_count == 0) {
		Reject(OD_CATALOG_STALE, "the catalog of database \"%s\" has changed", engine.catalog_name.c_str());
	}
	for (size_t i = 0; i < statement.catalog_object_count && !rejected; i++) {
		auto &object = statement.catalog_objects[i];
		auto hash = DefinitionHash(cx, engine, object.kind, object.schema, object.name);
		if (hash != object.definition_hash) {
			Reject(OD_CATALOG_STALE, "%s \"%s\".\"%s\" has %s since the statement was planned", object.kind,
			       object.schema, object.name, hash.empty() ? "been dropped" : "changed");
		}
	}
}

void Run::QueryBegin(ClientContext &cx) noexcept {
	if (type == StatementType::TRANSACTION_STATEMENT) {
		return;
	}
	struct od_error failure = {};
	if (Guarded(&failure, [&] { CheckCatalog(cx, BindsToCatalog(type)); }) != OD_OK) {
		Reject(failure.code, "%s", failure.message);
	}
}

// The version to report: see od_result_info.catalog_version. A change by others between ours and our commit must not be
// hidden, hence the comparison by one.
CatalogVersion Run::FinalVersion() {
	auto &engine = *connection.engine;
	if (!context.transaction.IsAutoCommit()) {
		return wrote ? TransactionVersion(engine, context) : bound;
	}
	if (!catalog_changed) {
		return bound;
	}
	auto after = engine.CommittedVersion();
	return after.number == bound.number + 1 ? after : bound;
}

// ---- planned

bool Run::WritesDatabase(const StatementProperties &properties) const {
	for (auto &entry : properties.modified_databases) {
		if (entry.first != TEMP_CATALOG) {
			return !plain_explain;
		}
	}
	return false;
}

void Run::Admit(StatementProperties &properties) {
	if (rejected) {
		return;
	}
	auto &engine = *connection.engine;
	for (auto &entry : properties.modified_databases) {
		auto &name = entry.first;
		if (name == TEMP_CATALOG) {
			connection.has_state = true;
		} else if (!engine.external_access && !StringUtil::CIEquals(name, engine.catalog_name)) {
			Reject(OD_SQL, "database \"%s\" belongs to the server itself; create objects in \"%s\"", name.c_str(),
			       engine.catalog_name.c_str());
			od_error_set_class(&rejection, "Permission", nullptr, 0);
		}
	}
	bool outside = ActsOutside(type, properties) && !plain_explain;
	wrote = wrote || (!properties.modified_databases.empty() && !plain_explain);
	if ((statement.read_only || connection.snapshot) && (WritesDatabase(properties) || outside)) {
		Reject(OD_READ_ONLY, "%s can write, and this request may only read",
		       StatementTypeToString(type).c_str());
	}
}

void Run::DescribeResult(const vector<LogicalType> &types, const vector<std::string> &names,
                         const StatementProperties &properties, const std::string &parameter_schema) {
	auto schema = SchemaMessage(types, names, statement.exact_types);
	auto statement_name = StatementTypeToString(type);
	auto version = bound.Text(*connection.engine);
	struct od_result_info info = {};
	info.kind = Kind(properties);
	info.statement = statement_name.c_str();
	info.read_only = plain_explain || (OnlyReadsUnlessModifying(type) && properties.modified_databases.empty() &&
	                                   !ActsOutside(type, properties));
	info.schema = reinterpret_cast<const uint8_t *>(schema.data());
	info.schema_bytes = schema.size();
	info.parameter_schema = reinterpret_cast<const uint8_t *>(parameter_schema.data());
	info.parameter_schema_bytes = parameter_schema.size();
	info.catalog_version = version.c_str();
	struct od_error error = {};
	Check(od_result_describe(result, &info, &error), error);
	described = true;
}

unique_ptr<PhysicalOperator> Run::Planned(ClientContext &cx, PreparedStatementData &data) {
	Admit(data.properties);
	if (!rejected && last && !described) {
		// Errors of ours keep their code; errors of DuckDB (a type that cannot travel) are its own.
		try {
			DescribeResult(data.types, data.names, data.properties, "");
			streaming = Kind(data.properties) == OD_RESULT_ROWS && data.properties.modified_databases.empty() &&
			            (cx.transaction.IsAutoCommit() || connection.snapshot);
			if (streaming) {
				auto order = SinkOrder::Of(cx, data.physical_plan->Root());
				struct od_batch_queue *queue;
				struct od_error error = {};
				Check(od_result_stream(result, order.batch_index, &queue, &error), error);
				return MakeStreamCollector(data, queue, statement.exact_types, order);
			}
		} catch (const EngineError &failure) {
			Reject(failure.error.code, "%s", failure.error.message);
		}
	}
	if (rejected) {
		throw PermissionException("refused by the server"); // does not abort a transaction (S2)
	}
	return PhysicalResultCollector::GetResultCollector(cx, data);
}

// ---- run

// Executes on this thread and DuckDB's. DuckDB's own loop spins while others work, and does not see an interrupt while
// all tasks are blocked (S4).
void Run::Drive(PendingQueryResult &pending) {
	unsigned idle = 0;
	for (;;) {
		auto state = pending.ExecuteTask();
		if (PendingQueryResult::IsExecutionFinished(state)) {
			return;
		}
		if (state == PendingExecutionResult::BLOCKED) {
			if (connection.interrupted) {
				// What the statement did so far must not be committed.
				if (!context.transaction.IsAutoCommit()) {
					ValidChecker::Invalidate(context.transaction.ActiveTransaction(), "Interrupted");
				}
				context.CancelTransaction();
				Fail(OD_CANCELLED, "cancelled");
			}
			pending.WaitForTask(); // at most 20 ms
			idle = 0;
		} else if (state == PendingExecutionResult::NO_TASKS_AVAILABLE) {
			idle++;
			if (idle < 64) {
				std::this_thread::yield();
			} else {
				std::this_thread::sleep_for(std::chrono::microseconds(idle < 1000 ? 50 : 200));
			}
		} else {
			idle = 0;
		}
	}
}

unique_ptr<QueryResult> Run::RunOne(unique_ptr<SQLStatement> parsed) {
	case_insensitive_map_t<BoundParameterData> values;
	if (last && statement.parameters) {
		DecodeParameters(context, statement, parsed->named_param_map, values);
	}
	catalog_changed = false;
	if (type == StatementType::TRANSACTION_STATEMENT) {
		if (context.transaction.HasActiveTransaction()) {
			auto transaction = Transaction::TryGet(context, *connection.engine->attached);
			catalog_changed = transaction && !TransactionVersion(*connection.engine, context).Committed();
			bound = connection.transaction_has_version ? connection.transaction_version
			                                           : connection.engine->CommittedVersion();
		} else {
			bound = connection.engine->CommittedVersion();
		}
	}
	QueryParameters parameters(QueryResultOutputType::FORCE_MATERIALIZED);
	parameters.memory_type = QueryResultMemoryType::BUFFER_MANAGED;
	auto pending = context.PendingQuery(std::move(parsed), values, parameters);
	if (pending->HasError()) {
		Throw(pending->GetErrorObject());
	}
	if (connection.interrupted) {
		context.Interrupt(); // beginning the query has cleared it
	}
	Drive(*pending);
	if (pending->HasError()) {
		Throw(pending->GetErrorObject());
	}
	if (wrote && context.transaction.IsAutoCommit() && has_bound) {
		catalog_changed = !TransactionVersion(*connection.engine, context).Committed();
	}
	auto rows = pending->Execute();
	if (rows->HasError()) {
		auto &error = rows->GetErrorObject();
		if (!StringUtil::StartsWith(error.RawMessage(), COMMITTED)) {
			Throw(error);
		}
		// S3. DuckDB refuses the database from now on; the statement's own answer is still success.
		od_log(OD_LOG_ERROR, "engine", "database \"%s\": %s", connection.engine->catalog_name.c_str(),
		       error.RawMessage().c_str());
		return nullptr;
	}
	return rows;
}

void Run::RunAll(vector<unique_ptr<SQLStatement>> statements) {
	unique_ptr<QueryResult> rows;
	for (idx_t i = 0; i < statements.size(); i++) {
		ThrowIfInterrupted();
		Inspect(*statements[i], i + 1 == statements.size());
		rows = RunOne(std::move(statements[i]));
	}
	if (catalog_changed || !context.transaction.IsAutoCommit()) {
		od_result_set_catalog_version(result, FinalVersion().Text(*connection.engine).c_str());
	}
	if (!streaming && rows) {
		Spool(result, rows->Cast<MaterializedQueryResult>().TakeCollection(), statement.exact_types, wrote);
	}
}

// ---- describe

void Run::DescribeOne(unique_ptr<SQLStatement> parsed) {
	case_insensitive_map_t<BoundParameterData> values;
	if (statement.parameters) {
		DecodeParameters(context, statement, parsed->named_param_map, values);
	}
	vector<std::string> identifiers(parsed->named_param_map.size());
	for (auto &entry : parsed->named_param_map) {
		identifiers[entry.second - 1] = entry.first;
	}
	try {
		context.RunFunctionInTransaction([&] {
			QueryBegin(context);
			Planner planner(context);
			for (auto &value : values) {
				planner.parameter_data.emplace(value.first, value.second);
			}
			if (!rejected) {
				planner.CreatePlan(std::move(parsed));
				Admit(planner.properties);
			}
			if (rejected) {
				throw PermissionException("refused by the server");
			}
			vector<LogicalType> parameter_types;
			for (auto &identifier : identifiers) {
				auto entry = planner.value_map.find(identifier);
				auto parameter_type = entry == planner.value_map.end() ? LogicalType(LogicalTypeId::UNKNOWN)
				                                                       : entry->second->return_type;
				parameter_types.push_back(parameter_type.IsValid() && parameter_type.id() != LogicalTypeId::UNKNOWN
				                              ? parameter_type
				                              : LogicalType::SQLNULL);
			}
			auto types = planner.types;
			for (auto &column : types) {
				if (column.id() == LogicalTypeId::UNKNOWN) {
					column = LogicalType::SQLNULL;
				}
			}
			DescribeResult(types, planner.names, planner.properties,
			               identifiers.empty() ? std::string()
			                                   : SchemaMessage(parameter_types, identifiers, statement.exact_types));
		});
	} catch (const EngineError &) {
		throw;
	} catch (const std::exception &ex) {
		ErrorData error(ex);
		error.AddErrorLocation(std::string(statement.sql, statement.sql_bytes));
		Throw(error);
	}
}

// A PIVOT without IN expands into the creation of a temporary type and a SELECT that cannot be bound without it: the first
// part runs in a transaction that is rolled back.
void Run::Describe(vector<unique_ptr<SQLStatement>> statements) {
	bool own_transaction = statements.size() > 1 && context.transaction.IsAutoCommit();
	if (own_transaction) {
		context.transaction.SetAutoCommit(false);
	}
	od_error failure = {};
	od_code rc = Guarded(&failure, [&] {
		for (idx_t i = 0; i < statements.size(); i++) {
			ThrowIfInterrupted();
			Inspect(*statements[i], i + 1 == statements.size());
			if (last) {
				DescribeOne(std::move(statements[i]));
			} else {
				RunOne(std::move(statements[i]));
			}
		}
	});
	if (own_transaction && context.transaction.HasActiveTransaction()) {
		context.transaction.Rollback(nullptr);
	}
	Check(rc, failure);
}

void Run::Execute() {
	SettingsScope settings(context, statement.settings, statement.setting_count);
	auto statements = Parse();
	std::string set_by_statement;
	if (statements[0]->type == StatementType::SET_STATEMENT) {
		set_by_statement = statements[0]->Cast<SetStatement>().name;
	}
	if (statement.describe_only) {
		Describe(std::move(statements));
		return;
	}
	RunAll(std::move(statements));
	if (!set_by_statement.empty()) {
		settings.Forget(set_by_statement);
	}
}

} // namespace openduck

od_code od_connection_run(struct od_connection *connection, const struct od_statement *statement,
                          struct od_result *result, struct od_error *err) {
	{
		std::lock_guard<std::mutex> guard(connection->lock);
		if (connection->running) {
			(void)od_fail(err, OD_INTERNAL, "the connection is already running a statement");
			return OD_INTERNAL;
		}
		connection->interrupted = false;
		connection->running = true;
	}
	struct od_error failure = {};
	od_code rc = openduck::Guarded(&failure, [&] {
		openduck::Run run(*connection, *statement, result);
		connection->run = &run;
		struct Detach {
			struct od_connection &connection;
			~Detach() {
				connection.run = nullptr;
			}
		} detach {*connection};
		run.Execute();
	});
	if (connection->Context().transaction.IsAutoCommit()) {
		connection->transaction_has_version = false;
	}
	{
		std::lock_guard<std::mutex> guard(connection->lock);
		connection->running = false;
	}
	od_result_finish(result, rc == OD_OK ? nullptr : &failure);
	if (rc != OD_OK && err) {
		*err = failure;
	}
	return rc;
}
