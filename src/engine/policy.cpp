// policy.cpp - what SQL may not do on a server.
//
// Without external access a user's SQL must not reach the server's files, its process-wide settings or other users. Four
// layers, each sufficient for what it covers:
//   1  DuckDB's own switches (instance.cpp): no external access, configuration locked but for a list of settings.
//   2  Connections have a file system that refuses everything. DuckDB's switch alone would still allow the database
//      file, its WAL and the temporary directory, which SQL could then overwrite.
//   3  Functions that act on the whole process are replaced by ones that refuse.
//   4  Bound plans are searched for statements that act outside the database (ATTACH, COPY TO, LOAD, ...).
// With external access only what would break the server itself is refused.
#include "engine/engine_internal.hpp"

#include "engine/statement.hpp"

#include "duckdb/catalog/catalog.hpp"
#include "duckdb/catalog/catalog_search_path.hpp"
#include "duckdb/common/opener_file_system.hpp"
#include "duckdb/function/pragma_function.hpp"
#include "duckdb/main/client_data.hpp"
#include "duckdb/parser/expression/constant_expression.hpp"
#include "duckdb/parser/parsed_data/create_table_function_info.hpp"
#include "duckdb/parser/parsed_data/detach_info.hpp"
#include "duckdb/parser/statement/explain_statement.hpp"
#include "duckdb/parser/statement/set_statement.hpp"
#include "duckdb/planner/binder.hpp"
#include "duckdb/planner/operator/logical_pragma.hpp"
#include "duckdb/planner/operator/logical_reset.hpp"
#include "duckdb/planner/operator/logical_set.hpp"
#include "duckdb/planner/operator/logical_simple.hpp"
#include "duckdb/planner/planner_extension.hpp"

using namespace duckdb;

namespace {

constexpr const char *WITHOUT = "not allowed on this server, which gives SQL no access to files, extensions and "
                                "server-wide settings (external access is off)";

// ---- 1: settings that concern one session only

const vector<std::string> &AllowedSettings() {
	static const vector<std::string> names{"Calendar",
	                                       "TimeZone",
	                                       "binary_as_string",
	                                       "default_collation",
	                                       "default_null_order",
	                                       "default_order",
	                                       "disable_timestamptz_casts",
	                                       "enable_view_dependencies",
	                                       "enable_macro_dependencies",
	                                       "explain_output",
	                                       "ieee_floating_point_ops",
	                                       "integer_division",
	                                       "lambda_syntax",
	                                       "late_materialization_max_rows",
	                                       "merge_join_threshold",
	                                       "nested_loop_join_threshold",
	                                       "old_implicit_casting",
	                                       "openduck_durability",
	                                       "order_by_non_integer_literal",
	                                       "ordered_aggregate_threshold",
	                                       "perfect_ht_threshold",
	                                       "pivot_filter_threshold",
	                                       "pivot_limit",
	                                       "prefer_range_joins",
	                                       "preserve_identifier_case",
	                                       "preserve_insertion_order",
	                                       "scalar_subquery_error_on_multiple_rows",
	                                       "schema",
	                                       "search_path"};
	return names;
}

// ---- 2: a file system that refuses

class NoFileSystem : public OpenerFileSystem {
public:
	FileSystem &GetFileSystem() const override {
		throw PermissionException("Access to files is %s", WITHOUT);
	}
	optional_ptr<FileOpener> GetOpener() const override {
		return nullptr;
	}
};

// ---- 3: functions that refuse

unique_ptr<FunctionData> Refuse(ClientContext &, TableFunctionBindInput &input, vector<LogicalType> &,
                                vector<string> &) {
	throw PermissionException("%s() is %s", input.table_function.name, WITHOUT);
}

unique_ptr<FunctionData> RefusePointers(ClientContext &, TableFunctionBindInput &input, vector<LogicalType> &,
                                        vector<string> &) {
	throw PermissionException("%s() takes addresses of this process and is not available on a server",
	                          input.table_function.name);
}

void ReplaceFunction(ClientContext &context, const char *name, table_function_bind_t bind) {
	TableFunction function(name, {}, nullptr, bind);
	function.varargs = LogicalType::ANY;
	CreateTableFunctionInfo info(function);
	info.on_conflict = OnCreateConflict::REPLACE_ON_CONFLICT;
	info.internal = true;
	Catalog::GetSystemCatalog(context).CreateTableFunction(context, info);
}

// ---- 4: statements that act outside the database

struct PolicyInfo : public PlannerExtensionInfo {
	explicit PolicyInfo(struct od_engine &engine_p) : engine(engine_p) {}
	struct od_engine &engine;
};

const char *OutsideStatement(LogicalOperatorType type) {
	switch (type) {
	case LogicalOperatorType::LOGICAL_ATTACH:
		return "ATTACH";
	case LogicalOperatorType::LOGICAL_DETACH:
		return "DETACH";
	case LogicalOperatorType::LOGICAL_LOAD:
		return "LOAD or INSTALL";
	case LogicalOperatorType::LOGICAL_EXPORT:
		return "EXPORT DATABASE";
	case LogicalOperatorType::LOGICAL_COPY_TO_FILE:
		return "COPY TO a file";
	case LogicalOperatorType::LOGICAL_UPDATE_EXTENSIONS:
		return "UPDATE EXTENSIONS";
	case LogicalOperatorType::LOGICAL_CREATE_SECRET:
		return "CREATE SECRET";
	default:
		return nullptr;
	}
}

bool HarmlessPragma(const string &name) {
	static const char *const names[] = {"enable_optimizer",    "disable_optimizer",    "disable_profile",
	                                    "disable_profiling",   "disable_progress_bar", "disable_print_progress_bar",
	                                    "disable_verification"};
	for (auto harmless : names) {
		if (name == harmless) {
			return true;
		}
	}
	return false;
}

void CheckGlobal(SetScope scope, const string &name) {
	if (scope == SetScope::GLOBAL) {
		throw PermissionException("Changing \"%s\" for the whole server is %s", name, WITHOUT);
	}
}

void CheckOperator(const struct od_engine &engine, LogicalOperator &op) {
	// Verification runs each statement several times, and so would send each result several times.
	if (op.type == LogicalOperatorType::LOGICAL_PRAGMA) {
		auto &function = op.Cast<LogicalPragma>().info->function;
		auto name = function.name.empty() ? string("of this kind") : function.name;
		if (name == "enable_verification" || StringUtil::StartsWith(name, "verify_")) {
			throw PermissionException("PRAGMA %s is not available on a server", name);
		}
		if (!engine.external_access && !HarmlessPragma(name)) {
			throw PermissionException("PRAGMA %s is %s", name, WITHOUT);
		}
	}
	if (op.type == LogicalOperatorType::LOGICAL_DETACH) {
		auto &info = op.Cast<LogicalSimple>().info->Cast<DetachInfo>();
		if (StringUtil::CIEquals(info.name, engine.catalog_name)) {
			throw PermissionException("Database \"%s\" is being served and cannot be detached", info.name);
		}
	}
	if (!engine.external_access) {
		if (auto what = OutsideStatement(op.type)) {
			throw PermissionException("%s is %s", what, WITHOUT);
		}
		if (op.type == LogicalOperatorType::LOGICAL_SET) {
			CheckGlobal(op.Cast<LogicalSet>().scope, op.Cast<LogicalSet>().name);
		} else if (op.type == LogicalOperatorType::LOGICAL_RESET) {
			CheckGlobal(op.Cast<LogicalReset>().scope, op.Cast<LogicalReset>().name);
		}
	}
	for (auto &child : op.children) {
		CheckOperator(engine, *child);
	}
}

void PostBind(PlannerExtensionInput &input, BoundStatement &statement) {
	if (statement.plan) {
		CheckOperator(static_cast<PolicyInfo &>(*input.info).engine, *statement.plan);
	}
	openduck::Run::Bound(input.context, input.binder.GetStatementProperties());
}

} // namespace

namespace openduck {

const vector<std::string> &SessionSettings() {
	return AllowedSettings();
}

bool SessionSettingAllowed(const std::string &name) {
	auto canonical = StringUtil::CIEquals(name, "null_order") ? std::string("default_null_order") : name;
	for (auto &allowed : AllowedSettings()) {
		if (StringUtil::CIEquals(allowed, canonical)) {
			return true;
		}
	}
	return false;
}

void InstallPolicy(struct od_engine &engine, ClientContext &context) {
	ReplaceFunction(context, "arrow_scan", RefusePointers);
	ReplaceFunction(context, "arrow_scan_dumb", RefusePointers);
	if (!engine.external_access) {
		for (auto name :
		     {"enable_logging", "disable_logging", "truncate_duckdb_logs", "enable_profiling", "enable_peg_parser",
		      "disable_peg_parser", "check_peg_parser", "force_checkpoint", "read_duckdb"}) {
			ReplaceFunction(context, name, Refuse);
		}
	}
	PlannerExtension extension;
	extension.post_bind_function = PostBind;
	extension.planner_info = make_shared_ptr<PolicyInfo>(engine);
	PlannerExtension::Register(DBConfig::GetConfig(context), extension);
}

void ApplyConnectionPolicy(struct od_engine &engine, ClientContext &context) {
	if (!engine.external_access) {
		ClientData::Get(context).client_file_system = make_uniq<NoFileSystem>();
	}
}

// DuckDB's default scope for some of them is the whole instance, which would let one session change all others. And the
// default search path is the in-memory main database, where nothing of the user's is.
void PrepareSetStatement(struct od_engine &engine, unique_ptr<SQLStatement> &statement) {
	if (statement->type == StatementType::EXPLAIN_STATEMENT) {
		PrepareSetStatement(engine, statement->Cast<ExplainStatement>().stmt);
	}
	if (statement->type != StatementType::SET_STATEMENT) {
		return;
	}
	auto &set = statement->Cast<SetStatement>();
	if (set.scope == SetScope::AUTOMATIC && SessionSettingAllowed(set.name)) {
		set.scope = SetScope::SESSION;
	}
	if (set.set_type == SetType::RESET &&
	    (StringUtil::CIEquals(set.name, "search_path") || StringUtil::CIEquals(set.name, "schema"))) {
		auto path = CatalogSearchEntry(engine.catalog_name, DEFAULT_SCHEMA).ToString();
		statement =
		    make_uniq<SetVariableStatement>(set.name, make_uniq<ConstantExpression>(Value(path)), SetScope::SESSION);
	}
}

} // namespace openduck
