// bind.cpp - decides for each bound statement what runs where, and replaces what runs on the server.
//
// DuckDB binds every statement against the shadow catalog first: names, types and errors are its own. Then:
//   1. post_bind looks at the bound plan. A statement that changes the attached database, or reads nothing else, is to be
//      shipped as text. The hook does not get the text, so it keeps the bound plan and throws a sentinel.
//   2. OperatorExtension::Bind is what DuckDB tries after any error; it gets the statement. Its text is parsed again (the
//      first bind used up the tree), rewritten (rewrite.cpp), and the plan that goes back is our operator, or the
//      bound plan with a scan of the text in place of a part of it - or, when the text cannot be sent, the bound plan
//      itself, whose scans fetch rows and whose INSERT uploads them.
//   3. post_bind sees the plan that went back, and lets it pass.
//   4. After the optimizer, and again where nothing may be left to chance, a plan that would change or read the shadow's
//      own storage is refused (VerifyPlan).
//
// Statements that name our objects only in a PREPARE, or run an EXECUTE, were treated when their inner statement was
// bound by its own planner.
#include "bind.hpp"

#include "change.hpp"
#include "copy_database.hpp"
#include "duckdb/catalog/catalog_entry/sequence_catalog_entry.hpp"
#include "duckdb/catalog/catalog_search_path.hpp"
#include "duckdb/common/exception/binder_exception.hpp"
#include "duckdb/function/scalar/sequence_utils.hpp"
#include "duckdb/main/attached_database.hpp"
#include "duckdb/main/client_context.hpp"
#include "duckdb/main/client_data.hpp"
#include "duckdb/main/database_manager.hpp"
#include "duckdb/main/prepared_statement_data.hpp"
#include "duckdb/optimizer/optimizer_extension.hpp"
#include "duckdb/parser/parsed_data/alter_info.hpp"
#include "duckdb/parser/parsed_data/drop_info.hpp"
#include "duckdb/parser/parser.hpp"
#include "duckdb/parser/query_node/select_node.hpp"
#include "duckdb/parser/parsed_data/copy_info.hpp"
#include "duckdb/parser/parsed_data/create_table_info.hpp"
#include "duckdb/parser/statement/list.hpp"
#include "duckdb/planner/binder.hpp"
#include "duckdb/planner/bound_parameter_map.hpp"
#include "duckdb/planner/expression/bound_function_expression.hpp"
#include "duckdb/planner/expression/bound_subquery_expression.hpp"
#include "duckdb/planner/expression_iterator.hpp"
#include "duckdb/planner/logical_operator_visitor.hpp"
#include "duckdb/planner/operator/list.hpp"
#include "duckdb/planner/operator_extension.hpp"
#include "duckdb/planner/planner_extension.hpp"
#include "entries.hpp"
#include "hybrid.hpp"
#include "rewrite.hpp"
#include "scan.hpp"
#include "settings.hpp"
#include "ship.hpp"
#include "start.hpp"
#include "state.hpp"
#include "text.hpp"

namespace openduck {

//===--------------------------------------------------------------------===//
// Looking at a bound plan
//===--------------------------------------------------------------------===//
namespace {

struct PlanFacts {
	OdCatalog *catalog = nullptr; // of every remote scan and sequence
	bool several = false;         // more than one attached server database
	idx_t scans = 0;
	bool local = false;          // reads something of this side
	bool sequence = false;       // calls nextval or currval on one of our sequences
	bool planned_inside = false; // PREPARE, EXECUTE: bound by a planner of its own
	bool seeds = false;          // sets this connection's random numbers
	vector<reference<ScanBindData>> binds;

	void Remote(OdCatalog &found) {
		if (catalog && catalog != &found) {
			several = true;
		}
		catalog = &found;
	}
};

const case_insensitive_set_t PURE_FUNCTIONS = {"range",     "generate_series",     "unnest",
                                               "repeat",    "repeat_row",          "json_each",
                                               "json_tree", "generate_subscripts", "test_all_types"};

void Inspect(LogicalOperator &op, PlanFacts &facts);

void InspectExpression(Expression &expression, PlanFacts &facts) {
	if (expression.GetExpressionClass() == ExpressionClass::BOUND_FUNCTION) {
		auto &function = expression.Cast<BoundFunctionExpression>();
		facts.seeds = facts.seeds || function.function.name == "setseed";
		if (function.bind_info && (function.function.name == "nextval" || function.function.name == "currval")) {
			auto &sequence = function.bind_info->Cast<NextvalBindData>().sequence;
			if (auto catalog = OdCatalog::From(sequence.ParentCatalog())) {
				facts.Remote(*catalog);
				facts.sequence = true;
			} else {
				facts.local = true;
			}
		}
	}
	if (expression.GetExpressionClass() == ExpressionClass::BOUND_SUBQUERY) {
		auto &subquery = expression.Cast<BoundSubqueryExpression>();
		if (subquery.subquery.plan) {
			Inspect(*subquery.subquery.plan, facts);
		}
	}
	ExpressionIterator::EnumerateChildren(expression, [&](Expression &child) { InspectExpression(child, facts); });
}

void Inspect(LogicalOperator &op, PlanFacts &facts) {
	switch (op.type) {
	case LogicalOperatorType::LOGICAL_GET: {
		auto &get = op.Cast<LogicalGet>();
		if (IsScan(get.function)) {
			auto &bind = get.bind_data->Cast<ScanBindData>();
			if (bind.IsText() || !bind.catalog) {
				facts.local = true;
				if (bind.catalog && get.function.name == "openduck_scan") {
					facts.binds.push_back(bind); // a part of a plan
				}
				break;
			}
			facts.Remote(*bind.catalog);
			facts.scans++;
			facts.binds.push_back(bind);
			break;
		}
		if (PURE_FUNCTIONS.find(get.function.name) == PURE_FUNCTIONS.end()) {
			facts.local = true;
		}
		break;
	}
	case LogicalOperatorType::LOGICAL_CHUNK_GET:
		facts.local = true;
		break;
	case LogicalOperatorType::LOGICAL_PREPARE:
	case LogicalOperatorType::LOGICAL_EXECUTE:
		facts.planned_inside = true;
		return;
	default:
		break;
	}
	LogicalOperatorVisitor::EnumerateExpressions(
	    op, [&](unique_ptr<Expression> *expression) { InspectExpression(**expression, facts); });
	for (auto &child : op.children) {
		Inspect(*child, facts);
	}
}

//! The scans of one server ask for one snapshot.
void GroupScans(PlanFacts &facts) {
	unordered_map<OdCatalog *, shared_ptr<ScanGroup>> groups;
	for (auto &bind : facts.binds) {
		auto &group = groups[bind.get().catalog];
		if (!group) {
			group = make_shared_ptr<ScanGroup>();
		}
		group->size++;
		bind.get().group = group;
	}
}

//! The attached database a DROP or ALTER of something that is not there would have been about.
optional_ptr<OdCatalog> TargetOfMissing(ClientContext &context, LogicalOperator &op) {
	if (op.type != LogicalOperatorType::LOGICAL_DROP && op.type != LogicalOperatorType::LOGICAL_ALTER) {
		return nullptr;
	}
	auto &info = *op.Cast<LogicalSimple>().info;
	string catalog;
	if (op.type == LogicalOperatorType::LOGICAL_DROP) {
		auto &drop = info.Cast<DropInfo>();
		if (drop.type == CatalogType::PREPARED_STATEMENT || drop.type == CatalogType::SECRET_ENTRY) {
			return nullptr;
		}
		catalog = drop.catalog;
	} else {
		auto &alter = info.Cast<AlterInfo>();
		if (alter.type == AlterType::ALTER_DATABASE) {
			return nullptr;
		}
		catalog = alter.catalog;
	}
	if (catalog.empty()) {
		catalog = DatabaseManager::GetDefaultDatabase(context);
	}
	auto entry = Catalog::GetCatalogEntry(context, catalog);
	return entry ? OdCatalog::From(*entry) : nullptr;
}

optional_ptr<OdCatalog> WrittenCatalog(ClientContext &context, Binder &binder, LogicalOperator &plan) {
	auto &properties = binder.GetStatementProperties();
	for (auto &modified : properties.modified_databases) {
		auto entry = Catalog::GetCatalogEntry(context, modified.first);
		if (entry) {
			if (auto catalog = OdCatalog::From(*entry)) {
				return catalog;
			}
		}
	}
	auto target = TargetOfMissing(context, plan);
	if (target) {
		properties.RegisterDBModify(*target, context, DatabaseModificationType::DROP_CATALOG_ENTRY);
		return target;
	}
	if (plan.type == LogicalOperatorType::LOGICAL_VACUUM) {
		PlanFacts facts;
		Inspect(plan, facts);
		return facts.catalog;
	}
	return nullptr;
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

//===--------------------------------------------------------------------===//
// post_bind
//===--------------------------------------------------------------------===//
[[noreturn]] void ThrowSentinel() {
	throw BinderException("openduck: this statement runs on the server");
}

void PostBind(PlannerExtensionInput &input, BoundStatement &statement) {
	auto &context = input.context;
	if (!statement.plan) {
		return;
	}
	PlanFacts facts;
	Inspect(*statement.plan, facts);
	if (facts.seeds) {
		OdContextState::Get(context)->seeded = true;
	}
	if (auto replaced = OdContextState::Find(context)) {
		if (replaced->ship.replacing) {
			replaced->ship = PendingShip();
			GroupScans(facts);
			return;
		}
	}
	if (facts.planned_inside) {
		return;
	}
	auto written = WrittenCatalog(context, input.binder, *statement.plan);
	if (!written && !facts.catalog) {
		return;
	}
	auto state = OdContextState::Get(context);
	bool whole = facts.catalog && !facts.several && !facts.local;
	if (!written && !whole) {
		GroupScans(facts);
		return;
	}
	auto &ship = state->ship;
	ship.armed = true;
	ship.writes = written;
	ship.catalog = written ? written : facts.catalog;
	ship.bound = std::move(statement);
	ThrowSentinel();
}

//===--------------------------------------------------------------------===//
// The statement's tree, as it was before it was bound
//===--------------------------------------------------------------------===//
unique_ptr<SQLStatement> ParseOne(ClientContext &context, const string &text) {
	Parser parser(context.GetParserOptions());
	try {
		parser.ParseQuery(text);
	} catch (std::exception &) {
		return nullptr;
	}
	return parser.statements.size() == 1 ? std::move(parser.statements[0]) : nullptr;
}

bool QueryIsActive(ClientContext &context) {
	return context.transaction.HasActiveTransaction() && context.transaction.GetActiveQuery() != MAXIMUM_QUERY_ID;
}

struct Pristine {
	unique_ptr<SQLStatement> statement;
	string text; // of exactly this statement; empty: it has none of its own
};

Pristine PristineStatement(ClientContext &context, SQLStatement &bound) {
	Pristine result;
	if (bound.type == StatementType::RELATION_STATEMENT) {
		auto &relation = *bound.Cast<RelationStatement>().relation;
		switch (relation.type) {
		case RelationType::QUERY_RELATION:
		case RelationType::TABLE_RELATION:
		case RelationType::PROJECTION_RELATION:
		case RelationType::FILTER_RELATION:
		case RelationType::AGGREGATE_RELATION:
		case RelationType::LIMIT_RELATION:
		case RelationType::ORDER_RELATION:
		case RelationType::DISTINCT_RELATION:
		case RelationType::JOIN_RELATION:
		case RelationType::CROSS_PRODUCT_RELATION:
		case RelationType::SUBQUERY_RELATION:
		case RelationType::SET_OPERATION_RELATION: {
			auto select = make_uniq<SelectStatement>();
			select->node = relation.GetQueryNode();
			// Its text is what the tree says: parse that, so that nothing bound is left in it.
			result.text = select->ToString();
			result.statement = ParseOne(context, result.text);
			break;
		}
		default:
			break;
		}
		return result;
	}
	if (!bound.query.empty()) {
		result.statement = ParseOne(context, bound.query);
		result.text = bound.query;
	} else if (QueryIsActive(context)) {
		// The statement inside PREPARE and EXECUTE has no text of its own.
		auto outer = ParseOne(context, context.GetCurrentQuery());
		if (outer && outer->type == StatementType::PREPARE_STATEMENT) {
			result.statement = std::move(outer->Cast<PrepareStatement>().statement);
		} else if (outer && outer->type == StatementType::EXECUTE_STATEMENT) {
			auto &prepared = ClientData::Get(context).prepared_statements;
			auto entry = prepared.find(outer->Cast<ExecuteStatement>().name);
			if (entry != prepared.end() && entry->second->unbound_statement) {
				result.statement = entry->second->unbound_statement->Copy();
			}
		}
	}
	if (result.statement && result.statement->type != bound.type) {
		result = Pristine();
	}
	return result;
}

//===--------------------------------------------------------------------===//
// Replacing
//===--------------------------------------------------------------------===//
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

struct Shipping {
	ClientContext &context;
	Binder &binder;
	OdCatalog &catalog;
	Pristine pristine;

	string Text(RewrittenStatement &rewritten) {
		if (!rewritten.changed && !pristine.text.empty()) {
			return pristine.text;
		}
		return rewritten.statement->ToString();
	}
};

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

BoundStatement ShipWrite(Shipping &shipping, SQLStatement &statement, BoundStatement bound) {
	if (statement.type == StatementType::COPY_DATABASE_STATEMENT) {
		bound.plan = ShipCopyDatabase(shipping.context, shipping.catalog, shipping.binder.GenerateTableIndex(),
		                              std::move(bound.plan));
		return bound;
	}
	PlanFacts facts;
	Inspect(*bound.plan, facts);
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

BoundStatement BindRefused(ClientContext &context, Binder &binder, OperatorExtensionInfo *, SQLStatement &statement) {
	auto state = OdContextState::Get(context);
	if (!state->ship.armed) {
		return BoundStatement(); // an error of the user's
	}
	auto ship = std::move(state->ship);
	state->ship = PendingShip();
	Shipping shipping{context, binder, *ship.catalog, PristineStatement(context, statement)};
	auto result = ship.writes ? ShipWrite(shipping, statement, std::move(ship.bound))
	                          : ShipSelect(shipping, std::move(ship.bound));
	state->ship.replacing = true;
	return result;
}

class ShipExtension : public OperatorExtension {
public:
	ShipExtension() {
		Bind = BindRefused;
	}
	string GetName() override {
		return "openduck";
	}
	unique_ptr<LogicalExtensionOperator> Deserialize(Deserializer &) override {
		throw NotImplementedException("A plan that runs on an OpenDuck server cannot be read from bytes");
	}
};

//===--------------------------------------------------------------------===//
// The last look
//===--------------------------------------------------------------------===//
//! Nothing in an optimized plan may change the shadow or read its storage.
void VerifyOperator(LogicalOperator &op) {
	auto refuse = [](Catalog &catalog, const string &what) {
		if (OdCatalog::From(catalog)) {
			throw InternalException("openduck: %s would have reached the local shadow of \"%s\"", what,
			                        catalog.GetName());
		}
	};
	switch (op.type) {
	case LogicalOperatorType::LOGICAL_GET: {
		auto &get = op.Cast<LogicalGet>();
		if (!IsScan(get.function)) {
			auto table = get.GetTable();
			if (table) {
				refuse(table->ParentCatalog(), "a scan of \"" + table->name + "\"");
			}
		}
		break;
	}
	case LogicalOperatorType::LOGICAL_UPDATE:
		refuse(op.Cast<LogicalUpdate>().table.ParentCatalog(), "an UPDATE");
		break;
	case LogicalOperatorType::LOGICAL_DELETE:
		refuse(op.Cast<LogicalDelete>().table.ParentCatalog(), "a DELETE");
		break;
	case LogicalOperatorType::LOGICAL_MERGE_INTO:
		refuse(op.Cast<LogicalMergeInto>().table.ParentCatalog(), "a MERGE");
		break;
	case LogicalOperatorType::LOGICAL_CREATE_INDEX:
		refuse(op.Cast<LogicalCreateIndex>().table.ParentCatalog(), "a CREATE INDEX");
		break;
	default:
		break;
	}
	LogicalOperatorVisitor::EnumerateExpressions(op, [&](unique_ptr<Expression> *expression) {
		PlanFacts facts;
		InspectExpression(**expression, facts);
		if (facts.sequence) {
			throw NotImplementedException("A sequence of a server is used together with local rows; use "
			                              "openduck_query('%s', 'SELECT nextval(...)')",
			                              facts.catalog->GetName());
		}
	});
	for (auto &child : op.children) {
		VerifyOperator(*child);
	}
}

void VerifyPlan(OptimizerExtensionInput &input, unique_ptr<LogicalOperator> &plan) {
	VerifyOperator(*plan);
	PlanFacts facts;
	Inspect(*plan, facts);
	GroupScans(facts); // again: optimizers copy scans, where they write a CTE into each of its places
	StartScanEarly(plan);
}

} // namespace

void RegisterPlannerHooks(DBConfig &config) {
	PlannerExtension planner;
	planner.post_bind_function = PostBind;
	PlannerExtension::Register(config, planner);
	OperatorExtension::Register(config, make_shared_ptr<ShipExtension>());
	OptimizerExtension optimizer;
	optimizer.optimize_function = VerifyPlan;
	OptimizerExtension::Register(config, optimizer);
	RegisterHybrid(config);
}

} // namespace openduck
