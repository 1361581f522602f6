// shipping.cpp - see shipping.hpp.
#include "shipping.hpp"

#include "change.hpp"
#include "copy_database.hpp"
#include "duckdb/main/attached_database.hpp"
#include "duckdb/main/client_context.hpp"
#include "duckdb/parser/parsed_data/comment_on_column_info.hpp"
#include "duckdb/parser/parsed_data/copy_info.hpp"
#include "duckdb/parser/parsed_data/create_table_info.hpp"
#include "duckdb/parser/parser_options.hpp"
#include "duckdb/parser/query_node/select_node.hpp"
#include "duckdb/parser/statement/list.hpp"
#include "duckdb/planner/bound_parameter_map.hpp"
#include "duckdb/planner/operator/list.hpp"
#include "facts.hpp"
#include "settings.hpp"
#include "ship.hpp"
#include "text.hpp"

namespace openduck {

//! DuckDB's own text of COMMENT ON COLUMN leaves the column out.
static string StatementText(const SQLStatement &statement) {
	if (statement.type != StatementType::ALTER_STATEMENT ||
	    statement.Cast<AlterStatement>().info->type != AlterType::SET_COLUMN_COMMENT) {
		return statement.ToString();
	}
	auto &info = statement.Cast<AlterStatement>().info->Cast<SetColumnCommentInfo>();
	return "COMMENT ON COLUMN " + QualifiedText(info.catalog, info.schema, info.name) + "." +
	       QuotedName(info.column_name) + " IS " + info.comment_value.ToSQLString();
}

string Shipping::Text(RewrittenStatement &rewritten) {
	// The server keeps capitals: where this side's parser does not, its tree has the names.
	if (!rewritten.changed && !pristine.text.empty() && context.GetParserOptions().preserve_identifier_case) {
		return pristine.text;
	}
	return StatementText(*rewritten.statement);
}

namespace {

vector<shared_ptr<BoundParameterData>> ParametersOf(Binder &binder, const vector<string> &identifiers, bool &found) {
	vector<shared_ptr<BoundParameterData>> result;
	found = true;
	auto parameters = binder.GetParameters();
	for (auto &identifier : identifiers) {
		if (!parameters) {
			found = false;
			return result;
		}
		auto &map = parameters->GetParameters();
		auto entry = map.find(identifier);
		if (entry != map.end()) {
			result.push_back(entry->second);
			continue;
		}
		// The value was known when the statement was bound.
		auto &given = parameters->GetParameterData();
		auto value = given.find(identifier);
		if (value == given.end()) {
			found = false;
			return result;
		}
		result.push_back(make_shared_ptr<BoundParameterData>(value->second));
	}
	return result;
}

//! A scan of the text in place of `slot`. False: it cannot take its place.
bool ReplaceByTextScan(Shipping &shipping, unique_ptr<LogicalOperator> &slot, RewrittenStatement &rewritten,
                       const vector<LogicalType> &types, const vector<string> &names) {
	auto bindings = slot->GetColumnBindings();
	if (bindings.size() != types.size() || types.empty()) {
		return false;
	}
	auto table_index = bindings[0].table_index;
	for (idx_t i = 0; i < bindings.size(); i++) {
		if (bindings[i].table_index != table_index || bindings[i].column_index != i) {
			return false;
		}
	}
	bool found;
	auto bind = make_uniq<ScanBindData>();
	bind->parameters = ParametersOf(shipping.binder, rewritten.parameters, found);
	if (!found) {
		return false;
	}
	bind->remote = shipping.catalog.GetRemote();
	bind->catalog = &shipping.catalog;
	bind->catalog_alias = shipping.catalog.GetName();
	bind->sql = shipping.Text(rewritten);
	bind->users_text = true;
	bind->types = types;
	bind->names = names;
	bind->objects = std::move(rewritten.objects);
	bind->catalog_version = shipping.catalog.Snapshot(shipping.context, false)->version;
	auto get = make_uniq<LogicalGet>(table_index, ScanFunction(), std::move(bind), types, names);
	for (idx_t i = 0; i < types.size(); i++) {
		get->AddColumnId(i);
	}
	get->ResolveOperatorTypes();
	slot = std::move(get);
	return true;
}

//! Is this statement's plan one whose rows can be uploaded (INSERT, CREATE TABLE AS)?
bool CanUpload(LogicalOperator &op, const PlanFacts &facts) {
	if (facts.sequence) {
		return false;
	}
	switch (op.type) {
	case LogicalOperatorType::LOGICAL_EXPLAIN:
	case LogicalOperatorType::LOGICAL_PROJECTION:
		return CanUpload(*op.children[0], facts);
	case LogicalOperatorType::LOGICAL_INSERT:
		return !op.children.empty();
	case LogicalOperatorType::LOGICAL_CREATE_TABLE:
		return !op.children.empty();
	case LogicalOperatorType::LOGICAL_MATERIALIZED_CTE: // as DuckDB's Appender has its rows
		return CanUpload(*op.children[1], facts);
	default:
		return false;
	}
}

//! Relations of this side become children of the shipped statement.
void AddStages(Shipping &shipping, LogicalShip &ship, vector<LocalRelation> &locals) {
	for (auto &local : locals) {
		auto select = make_uniq<SelectStatement>();
		auto node = make_uniq<SelectNode>();
		node->select_list.push_back(make_uniq<StarExpression>());
		node->from_table = std::move(local.original);
		select->node = std::move(node);
		auto stage_binder = Binder::CreateBinder(shipping.context, &shipping.binder);
		auto bound = stage_binder->Bind(static_cast<SQLStatement &>(*select));
		ship.children.push_back(std::move(bound.plan));
		ship.stage_names.push_back(local.placeholder);
		ship.stage_columns.push_back(bound.names);
	}
	ship.statement->session = true;
}

unique_ptr<LogicalOperator> MakeShip(Shipping &shipping, RewrittenStatement &rewritten, BoundStatement &bound,
                                     StatementType type, bool gives_count) {
	auto &properties = shipping.binder.GetStatementProperties();
	auto statement = make_shared_ptr<ShippedStatement>();
	statement->remote = shipping.catalog.GetRemote();
	statement->catalog = &shipping.catalog;
	statement->sql = shipping.Text(rewritten);
	bool found;
	statement->parameters = ParametersOf(shipping.binder, rewritten.parameters, found);
	if (!found) {
		return nullptr;
	}
	statement->types = bound.types;
	statement->names = bound.names;
	statement->definitions = type == StatementType::CREATE_STATEMENT || type == StatementType::DROP_STATEMENT ||
	                         type == StatementType::ALTER_STATEMENT;
	if (statement->definitions && rewritten.locals.empty()) {
		statement->change = ChangeOf(*rewritten.statement);
	}
	// What DuckDB gives back for the statement: rows, a count, or nothing.
	// CREATE TABLE AS gives its count although it says that it gives nothing.
	statement->rows = properties.return_type != StatementReturnType::NOTHING || gives_count;
	statement->read_only = shipping.catalog.GetAttached().IsReadOnly();
	if (properties.return_type == StatementReturnType::QUERY_RESULT) {
		// Rows whose types were decided by the definitions known here.
		statement->objects = std::move(rewritten.objects);
		statement->catalog_version = shipping.catalog.Snapshot(shipping.context, false)->version;
	}
	auto ship = make_uniq<LogicalShip>(shipping.binder.GenerateTableIndex(), std::move(statement));
	if (!rewritten.locals.empty()) {
		AddStages(shipping, *ship, rewritten.locals);
	}
	ship->ResolveOperatorTypes();
	return std::move(ship);
}

//! EXPLAIN of a statement that runs on the server: the server's plan, below the operator that stands for it here.
unique_ptr<LogicalOperator> MakeExplain(Shipping &shipping, RewrittenStatement &rewritten,
                                        const ExplainStatement &outer, StatementType type) {
	BoundStatement rows;
	rows.types = {LogicalType::VARCHAR, LogicalType::VARCHAR};
	bool analyze = outer.explain_type == ExplainType::EXPLAIN_ANALYZE;
	shipping.pristine.text = string();
	auto ship = MakeShip(shipping, rewritten, rows, analyze ? type : StatementType::EXPLAIN_STATEMENT, false);
	if (!ship) {
		return nullptr;
	}
	auto &statement = *ship->Cast<LogicalShip>().statement;
	bool drawn = outer.explain_format == ExplainFormat::DEFAULT || outer.explain_format == ExplainFormat::TEXT;
	if (drawn) {
		statement.heading = ship->ToString(outer.explain_format);
	}
	ExplainStatement explain(std::move(rewritten.statement), outer.explain_type, outer.explain_format);
	statement.sql = explain.ToString();
	return ship;
}

[[noreturn]] void ThrowCannotShip(const string &catalog, const string &reason) {
	throw NotImplementedException(
	    "This statement changes \"%s\", which is on a server, and cannot be sent there because "
	    "of %s. Use openduck_execute('%s', 'sql') to run text on the server as it is",
	    catalog, reason.empty() ? string("its form") : reason, catalog);
}

//! The part of a plan that a SELECT's text can stand for: the plan itself, or what is under EXPLAIN, COPY TO, CTAS.
unique_ptr<LogicalOperator> &SelectSlot(unique_ptr<LogicalOperator> &plan) {
	switch (plan->type) {
	case LogicalOperatorType::LOGICAL_EXPLAIN:
		return SelectSlot(plan->children[0]);
	case LogicalOperatorType::LOGICAL_COPY_TO_FILE:
		return plan->children[0];
	case LogicalOperatorType::LOGICAL_CREATE_TABLE:
		return plan->children.empty() ? plan : plan->children[0];
	default:
		return plan;
	}
}

//! Does the text itself give these types? Some file formats have the rows converted within the plan.
bool HasTypes(Shipping &shipping, RewrittenStatement &rewritten, const vector<LogicalType> &types) {
	auto &catalog = shipping.catalog;
	auto session = catalog.SessionFor(shipping.context);
	try {
		auto described = catalog.GetRemote()->Described(shipping.Text(rewritten), catalog.KnownVersion(), session.get(),
		                                                MirroredSettings(shipping.context));
		return described.types == types;
	} catch (std::exception &) {
		return false; // with parameters, or a table that is gone: the rows are fetched
	}
}

} // namespace

BoundStatement ShipWrite(Shipping &shipping, SQLStatement &statement, BoundStatement bound) {
	if (statement.type == StatementType::COPY_DATABASE_STATEMENT) {
		bound.plan = ShipCopyDatabase(shipping.context, shipping.catalog, shipping.binder.GenerateTableIndex(),
		                              std::move(bound.plan));
		return bound;
	}
	PlanFacts facts;
	Inspect(*bound.plan, facts);
	if (statement.type == StatementType::RELATION_STATEMENT && facts.local) {
		shipping.pristine = Pristine(); // a frame in it has no text
	}
	bool uploadable = CanUpload(*bound.plan, facts);
	auto name = shipping.catalog.GetName();
	string reason = "its form";
	bool explain = false;
	unique_ptr<ExplainStatement> explained;

	if (shipping.pristine.statement && shipping.pristine.statement->type == StatementType::EXPLAIN_STATEMENT) {
		explain = true;
		explained = unique_ptr_cast<SQLStatement, ExplainStatement>(shipping.pristine.statement->Copy());
		auto inner = std::move(shipping.pristine.statement->Cast<ExplainStatement>().stmt);
		shipping.pristine.statement = std::move(inner);
		shipping.pristine.text = string();
	}
	if (shipping.pristine.statement) {
		auto type = shipping.pristine.statement->type;
		auto spare = shipping.pristine.statement->Copy();
		auto rewritten = RewriteStatement(shipping.context, shipping.binder, shipping.catalog,
		                                  std::move(shipping.pristine.statement), RewriteOptions());
		if (!rewritten.blocker.empty() && !uploadable) {
			reason = rewritten.blocker;
			RewriteOptions options;
			options.stage_locals = true;
			rewritten =
			    RewriteStatement(shipping.context, shipping.binder, shipping.catalog, std::move(spare), options);
		}
		if (rewritten.blocker.empty()) {
			if (explain) {
				auto plan = MakeExplain(shipping, rewritten, *explained, type);
				if (plan) {
					bound.plan = std::move(plan);
					return bound;
				}
				ThrowCannotShip(name, "its parameters");
			}
			BoundStatement inner;
			inner.types = bound.types;
			inner.names = bound.names;
			bool gives_count =
			    bound.plan->type == LogicalOperatorType::LOGICAL_CREATE_TABLE && !bound.plan->children.empty();
			auto ship = MakeShip(shipping, rewritten, inner, type, gives_count);
			if (ship) {
				bound.plan = std::move(ship);
				return bound;
			}
			reason = "its parameters";
		} else if (reason == "its form") {
			reason = rewritten.blocker;
		}
	}
	if (uploadable) {
		return bound;
	}
	ThrowCannotShip(name, reason);
}

BoundStatement ShipSelect(Shipping &shipping, BoundStatement bound) {
	auto &pristine = shipping.pristine;
	if (!pristine.statement) {
		return bound;
	}
	if (pristine.statement->type == StatementType::EXPLAIN_STATEMENT &&
	    pristine.statement->Cast<ExplainStatement>().stmt->type == StatementType::SELECT_STATEMENT) {
		auto explain = unique_ptr_cast<SQLStatement, ExplainStatement>(pristine.statement->Copy());
		auto inner = pristine.statement->Cast<ExplainStatement>().stmt->Copy();
		auto rewritten =
		    RewriteStatement(shipping.context, shipping.binder, shipping.catalog, std::move(inner), RewriteOptions());
		if (rewritten.blocker.empty()) {
			auto ship = MakeExplain(shipping, rewritten, *explain, StatementType::SELECT_STATEMENT);
			if (ship) {
				bound.plan = std::move(ship);
				return bound;
			}
		}
	}
	// Down to the SELECT whose text stands for the slot.
	unique_ptr<SQLStatement> select;
	bool outer = true;
	while (outer) {
		switch (pristine.statement->type) {
		case StatementType::EXPLAIN_STATEMENT: {
			auto inner = std::move(pristine.statement->Cast<ExplainStatement>().stmt);
			pristine.statement = std::move(inner);
			pristine.text = string();
			break;
		}
		case StatementType::COPY_STATEMENT: {
			auto node = std::move(pristine.statement->Cast<CopyStatement>().info->select_statement);
			if (!node) {
				return bound;
			}
			if (bound.plan->type == LogicalOperatorType::LOGICAL_COPY_TO_FILE &&
			    bound.plan->Cast<LogicalCopyToFile>().per_thread_output) {
				return bound; // a file for each thread: one stream of rows would be one file
			}
			auto inner = make_uniq<SelectStatement>();
			inner->node = std::move(node);
			pristine.statement = std::move(inner);
			pristine.text = string();
			break;
		}
		case StatementType::CREATE_STATEMENT: {
			auto &info = *pristine.statement->Cast<CreateStatement>().info;
			if (info.type != CatalogType::TABLE_ENTRY || !info.Cast<CreateTableInfo>().query) {
				return bound;
			}
			auto inner = std::move(info.Cast<CreateTableInfo>().query);
			pristine.statement = std::move(inner);
			pristine.text = string();
			break;
		}
		case StatementType::SELECT_STATEMENT:
			outer = false;
			break;
		default:
			return bound;
		}
	}
	auto rewritten = RewriteStatement(shipping.context, shipping.binder, shipping.catalog,
	                                  std::move(pristine.statement), RewriteOptions());
	if (!rewritten.blocker.empty()) {
		return bound;
	}
	auto &slot = SelectSlot(bound.plan);
	if (slot.get() == bound.plan.get()) {
		ReplaceByTextScan(shipping, slot, rewritten, bound.types, bound.names);
		return bound;
	}
	slot->ResolveOperatorTypes();
	auto types = slot->types;
	vector<string> names;
	for (idx_t i = 0; i < types.size(); i++) {
		names.push_back("c" + std::to_string(i));
	}
	if (bound.plan->type == LogicalOperatorType::LOGICAL_COPY_TO_FILE && !HasTypes(shipping, rewritten, types)) {
		return bound;
	}
	if (ReplaceByTextScan(shipping, slot, rewritten, types, names) &&
	    bound.plan->type == LogicalOperatorType::LOGICAL_EXPLAIN) {
		auto &explain = bound.plan->Cast<LogicalExplain>();
		explain.logical_plan_unopt = explain.children[0]->ToString(explain.explain_format);
	}
	return bound;
}

} // namespace openduck
