// statement.cpp - runs one statement: parse, check, bind, decide how its result travels, execute, commit.
//
// Order of events:
//   Parse        exactly one statement (some expand into several: PIVOT, a few PRAGMAs; only the last has a result)
//   binding.cpp  DuckDB begins a transaction, binds and plans, and calls back: may it run, how does its result travel?
//   Drive        DuckDB's threads and this one execute
//   Execute()    DuckDB commits an autocommit statement
//   PassGate     the commit is durable; only now may a write's result be seen
//
// Invariants:
//   S1  Nothing that can write streams: its rows become visible after its commit.
//   S2  A stale catalog or a refused statement has no effect, and does not abort an open transaction.
//   S3  After a commit the answer is success, whatever comes later (interrupt, failed automatic checkpoint).
//   S4  A statement that was interrupted before its commit began fails with OD_CANCELLED within 20 ms, also when all of its
//       tasks are blocked on a consumer or an upload.
#include "engine/statement.hpp"

#include "engine/spool.hpp"

#include "duckdb/execution/operator/helper/physical_result_collector.hpp"
#include "duckdb/main/materialized_query_result.hpp"
#include "duckdb/parser/parser.hpp"
#include "duckdb/parser/statement/set_statement.hpp"
#include "duckdb/transaction/meta_transaction.hpp"

#include "base/limits.h"
#include "base/log.h"

#include <thread>

using namespace duckdb;

namespace openduck {

namespace {

//! What DuckDB throws when only the checkpoint after a commit failed (duck_transaction_manager.cpp).
constexpr const char *COMMITTED = "Transaction COMMIT succeeded and is durable";

} // namespace

Run::Run(struct od_connection &connection_p, const struct od_statement &statement_p, struct od_result *result_p)
    : connection(connection_p), statement(statement_p), result(result_p), context(connection_p.Context()),
      scope(statement_p.request_id), gate(*connection_p.engine) {}

void Run::Attach(struct od_connection &connection) {
	auto &context = connection.Context();
	context.registered_state->Insert(ConnectionState::KEY, make_shared_ptr<ConnectionState>(connection));
	ClientConfig::GetConfig(context).get_result_collector = [&connection](ClientContext &cx,
	                                                                      PreparedStatementData &data) {
		return connection.run ? connection.run->Planned(cx, data)
		                      : PhysicalResultCollector::GetResultCollector(cx, data);
	};
}

// ---- errors

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
	if (tells) {
		told = CatalogEntries(context, *connection.engine, statement.tell, statement.tell_count);
	}
	if (wrote && context.transaction.IsAutoCommit() && has_bound) {
		catalog_changed = !TransactionVersion(*connection.engine, context).Committed();
	}
	auto rows = pending->Execute();
	if (rows->HasError()) {
		auto &error = rows->GetErrorObject();
		if (!scope.committed && !StringUtil::StartsWith(error.RawMessage(), COMMITTED)) {
			Throw(error);
		}
		// S3. What DuckDB has in memory cannot be trusted from now on; the statement's own answer is still success.
		connection.engine->stop = true;
		od_log(OD_LOG_ERROR, "engine", "database \"%s\": %s", connection.engine->catalog_name.c_str(),
		       error.RawMessage().c_str());
		rows_of_commit = CommittedRows();
		return nullptr;
	}
	return rows;
}

// ---- what is durable

void Run::PassGate() {
	if (!gate.Passed()) {
		gate.Sample();
		gate.Pass(scope, SessionDurability(context));
	}
	if (connection.engine->volume) {
		od_result_set_position(result, od_volume_epoch(connection.engine->volume), gate.Lsn());
	}
}

void Run::Failed() {
	struct od_error failure = {};
	(void)CurrentException(&failure);
	if (scope.doubtful) {
		Fail(OD_OUTCOME_UNKNOWN, "whether the statement took effect is not known yet: %s", failure.message);
	}
	PassGate();
	if (connection.engine->stop && !strcmp(failure.error_class, "FATAL")) {
		Fail(OD_UNAVAILABLE, "database \"%s\" is being reopened: %s", connection.engine->catalog_name.c_str(),
		     failure.message);
	}
}

// The rows of a commit of which only the number is known.
unique_ptr<ColumnDataCollection> Run::CommittedRows() {
	if (scope.changed_rows == OD_OUTCOME_ROWS) {
		Fail(OD_RESULT_GONE, "the statement took effect, but its rows are lost");
	}
	return scope.changed_rows == OD_OUTCOME_NOTHING ? nullptr : CountedRows(scope.changed_rows);
}

// True: the request has committed before, and this is its answer.
bool Run::Remembered() {
	auto &engine = *connection.engine;
	struct od_ledger_entry entry = {};
	if (engine.volume && statement.request_id && od_volume_ledger_find(engine.volume, statement.request_id, &entry)) {
		AnswerFromLedger(entry.changed_rows);
		return true;
	}
	if (statement.remembered_only) {
		Fail(OD_NOT_FOUND, "no commit of the request is known");
	}
	return false;
}

void Run::AnswerFromLedger(uint64_t changed_rows) {
	bound = connection.engine->CommittedVersion();
	scope.changed_rows = changed_rows;
	PassGate();
	auto rows = CommittedRows();
	StatementProperties properties;
	properties.return_type = rows ? StatementReturnType::CHANGED_ROWS : StatementReturnType::NOTHING;
	(void)properties.modified_databases[connection.engine->catalog_name];
	if (rows) {
		DescribeResult(rows->Types(), {"Count"}, properties, "");
		Spool(result, std::move(rows), statement.exact_types, statement.codec, true);
	} else {
		DescribeResult({LogicalType::BOOLEAN}, {"Success"}, properties, "");
	}
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
	PassGate();
	if (told) {
		Spool(result, std::move(told), statement.exact_types, statement.codec, wrote);
	} else if (!streaming && !tells && rows) {
		Spool(result, rows->Cast<MaterializedQueryResult>().TakeCollection(), statement.exact_types,
		      statement.codec, wrote);
	} else if (rows_of_commit) {
		Spool(result, std::move(rows_of_commit), statement.exact_types, statement.codec, wrote);
	}
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
	type = statements.back()->type;
	if (Remembered()) {
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
		} detach{*connection};
		try {
			run.Execute();
		} catch (...) {
			run.Failed();
			throw;
		}
		run.PassGate();
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
