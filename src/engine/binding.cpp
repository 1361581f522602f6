// binding.cpp - what a statement is and whether it may run: everything between its parse and its first effect.
//
//   QueryBegin   the transaction is open, nothing is bound: compare the catalog with what the client's plan was bound to
//   Bound        names and types are known: refuse what may not run
//   Planned      the physical plan is known: describe the result, choose stream or spool
//
// A rule of ours that is broken in there is remembered (Reject) and something is thrown that does not abort an open
// transaction; statement.cpp then reports what was remembered.
#include "engine/statement.hpp"

#include "engine/collector.hpp"

#include "duckdb/execution/operator/helper/physical_result_collector.hpp"
#include "duckdb/parser/statement/explain_statement.hpp"
#include "duckdb/planner/planner.hpp"
#include "duckdb/transaction/duck_transaction_manager.hpp"
#include "duckdb/transaction/meta_transaction.hpp"

#include <cstdarg>

using namespace duckdb;

namespace openduck {

namespace {

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

//! The type to tell a client; NULL's where binding could not tell.
LogicalType ParameterType(const LogicalType &type) {
	switch (type.id()) {
	case LogicalTypeId::STRING_LITERAL:
		return LogicalType::VARCHAR;
	case LogicalTypeId::INVALID:
	case LogicalTypeId::UNKNOWN:
	case LogicalTypeId::ANY:
	case LogicalTypeId::INTEGER_LITERAL:
		return LogicalType::SQLNULL;
	default:
		return type;
	}
}

} // namespace

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

void Run::Inspect(SQLStatement &parsed, bool is_last) {
	type = parsed.type;
	last = is_last;
	plain_explain = type == StatementType::EXPLAIN_STATEMENT &&
	                parsed.Cast<ExplainStatement>().explain_type != ExplainType::EXPLAIN_ANALYZE;
	if (LeavesState(type)) {
		connection.has_state = true;
	}
	// The syncs of CHECKPOINT are not a commit.
	scope.armed = last && type != StatementType::CALL_STATEMENT && type != StatementType::PRAGMA_STATEMENT &&
	              type != StatementType::VACUUM_STATEMENT;
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
		Reject(OD_READ_ONLY, "%s can write, and this request may only read", StatementTypeToString(type).c_str());
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

void Run::Bound(ClientContext &cx, StatementProperties &properties) {
	auto state = cx.registered_state->Get<ConnectionState>(ConnectionState::KEY);
	auto run = state ? state->connection.run : nullptr;
	// What PREPARE prepares is judged when it is executed.
	if (run && run->type != StatementType::PREPARE_STATEMENT) {
		run->Admit(properties);
		run->ThrowIfRejected();
	}
}

void Run::ThrowIfRejected() {
	if (rejected) {
		throw PermissionException("refused by the server"); // does not abort a transaction
	}
}

bool Run::Tells(const StatementProperties &properties) const {
	return statement.tell_count > 0 && Kind(properties) == OD_RESULT_NOTHING && WritesDatabase(properties) &&
	       (type == StatementType::CREATE_STATEMENT || type == StatementType::ALTER_STATEMENT);
}

unique_ptr<PhysicalOperator> Run::Planned(ClientContext &cx, PreparedStatementData &data) {
	Admit(data.properties);
	if (!rejected && last && !described) {
		// Errors of ours keep their code; errors of DuckDB (a type that cannot travel) are its own.
		try {
			tells = Tells(data.properties);
			if (tells) {
				vector<LogicalType> types;
				vector<std::string> names;
				CatalogColumns(types, names);
				DescribeResult(types, names, data.properties, "");
			} else {
				DescribeResult(data.types, data.names, data.properties, "");
			}
			streaming = Kind(data.properties) == OD_RESULT_ROWS && data.properties.modified_databases.empty() &&
			            (cx.transaction.IsAutoCommit() || connection.snapshot);
			if (streaming) {
				auto order = SinkOrder::Of(cx, data.physical_plan->Root());
				PassGate();
				struct od_batch_queue *queue;
				struct od_error error = {};
				Check(od_result_stream(result, order.batch_index, &queue, &error), error);
				return MakeStreamCollector(data, queue, statement.exact_types, statement.codec, order);
			}
		} catch (const EngineError &failure) {
			Reject(failure.error.code, "%s", failure.error.message);
		}
	}
	ThrowIfRejected();
	if (last && type == StatementType::TRANSACTION_STATEMENT) {
		return MakeCommitCollector(data, scope);
	}
	if (last && Kind(data.properties) == OD_RESULT_CHANGED_ROWS) {
		return MakeCountCollector(data);
	}
	if (last && Kind(data.properties) == OD_RESULT_ROWS) {
		scope.changed_rows = OD_OUTCOME_ROWS;
	}
	return PhysicalResultCollector::GetResultCollector(cx, data);
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
			ThrowIfRejected();
			planner.CreatePlan(std::move(parsed));
			vector<LogicalType> parameter_types;
			for (auto &identifier : identifiers) {
				auto entry = planner.value_map.find(identifier);
				parameter_types.push_back(ParameterType(entry == planner.value_map.end() ? LogicalType::UNKNOWN
				                                                                         : entry->second->return_type));
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

} // namespace openduck
