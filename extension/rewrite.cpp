// rewrite.cpp - see rewrite.hpp.
//
// Names. A name that resolves (as the binder resolves it: temporary objects, search path, then the catalog named in it)
// to an object of the attached catalog is sent as schema.name, or as it was when it needs no schema; the server's
// sessions look into their own database first. The catalog itself is never sent: definitions that the server stores
// must not contain a name that only this connection knows.
#include "rewrite.hpp"

#include "duckdb/catalog/catalog_entry/scalar_function_catalog_entry.hpp"
#include "duckdb/catalog/catalog_entry/table_catalog_entry.hpp"
#include "duckdb/catalog/catalog_entry/view_catalog_entry.hpp"
#include "duckdb/execution/expression_executor.hpp"
#include "duckdb/main/attached_database.hpp"
#include "duckdb/main/client_context.hpp"
#include "duckdb/main/client_data.hpp"
#include "duckdb/parser/constraints/list.hpp"
#include "duckdb/parser/expression/list.hpp"
#include "duckdb/parser/parsed_data/alter_table_info.hpp"
#include "duckdb/parser/parsed_data/comment_on_column_info.hpp"
#include "duckdb/parser/parsed_data/create_index_info.hpp"
#include "duckdb/parser/parsed_data/create_macro_info.hpp"
#include "duckdb/parser/parsed_data/create_sequence_info.hpp"
#include "duckdb/parser/parsed_data/create_table_info.hpp"
#include "duckdb/parser/parsed_data/create_type_info.hpp"
#include "duckdb/parser/parsed_data/create_view_info.hpp"
#include "duckdb/parser/parsed_data/drop_info.hpp"
#include "duckdb/parser/parsed_data/vacuum_info.hpp"
#include "duckdb/parser/parsed_expression_iterator.hpp"
#include "duckdb/parser/query_node/list.hpp"
#include "duckdb/parser/query_node/statement_node.hpp"
#include "duckdb/parser/statement/list.hpp"
#include "duckdb/parser/tableref/list.hpp"
#include "duckdb/function/scalar_macro_function.hpp"
#include "duckdb/function/table_macro_function.hpp"
#include "duckdb/planner/binder.hpp"
#include "duckdb/planner/expression_binder/constant_binder.hpp"
#include "duckdb/main/client_config.hpp"
#include "entries.hpp"
#include "state.hpp"
#include "text.hpp"

namespace openduck {

namespace {

//! Functions whose value belongs to this connection or this statement, constant while it runs.
const case_insensitive_set_t LOCAL_CONSTANTS = {"current_database",
                                                "current_catalog",
                                                "current_schema",
                                                "current_schemas",
                                                "current_user",
                                                "current_role",
                                                "session_user",
                                                "user",
                                                "current_setting",
                                                "getvariable",
                                                "current_query",
                                                "current_query_id",
                                                "current_connection_id",
                                                "current_transaction_id",
                                                "txid_current",
                                                "in_search_path",
                                                "now",
                                                "get_current_timestamp",
                                                "transaction_timestamp",
                                                "current_timestamp",
                                                "current_date",
                                                "today",
                                                "current_time",
                                                "get_current_time",
                                                "current_localtime",
                                                "current_localtimestamp",
                                                "localtime",
                                                "localtimestamp"};
//! Those that are written without parentheses and parsed as columns.
const case_insensitive_set_t VALUE_KEYWORDS = {"current_catalog", "current_date",      "current_role", "current_schema",
                                               "current_time",    "current_timestamp", "current_user", "localtime",
                                               "localtimestamp",  "session_user",      "user"};
//! Table functions that compute their rows from their arguments alone.
const case_insensitive_set_t PURE_TABLE_FUNCTIONS = {"range",     "generate_series",     "unnest",
                                                     "repeat",    "repeat_row",          "json_each",
                                                     "json_tree", "generate_subscripts", "test_all_types"};
const case_insensitive_set_t SEQUENCE_FUNCTIONS = {"nextval", "currval"};
//! Functions whose state is this connection's.
const case_insensitive_set_t LOCAL_STATE = {"setseed", "setval", "write_log", "parse_duckdb_log_message"};
//! Functions that draw from the connection's random numbers.
const case_insensitive_set_t RANDOM_FUNCTIONS = {"random", "uuid", "gen_random_uuid", "uuidv4", "uuidv7"};

class Rewriter {
public:
	Rewriter(ClientContext &context, Binder &binder, OdCatalog &catalog, RewriteOptions options,
	         RewrittenStatement &result)
	    : context(context), binder(binder), catalog(catalog), options(options), result(result),
	      alias(catalog.GetName()), server(catalog.ServerName(context)), seeded(OdContextState::Get(context)->seeded) {}

	void Visit(SQLStatement &statement);

private:
	// ---- outcome
	void Block(const string &reason) {
		if (result.blocker.empty()) {
			result.blocker = reason;
		}
	}
	void Changed() {
		result.changed = true;
	}
	void Use(const CatalogItem &item) {
		for (auto &object : result.objects) {
			if (object.kind == item.kind && object.schema == item.schema && object.name == item.name) {
				return;
			}
		}
		result.objects.push_back({item.kind, item.schema, item.name, item.hash});
	}
	void UseEntry(CatalogEntry &entry, EntrySet set) {
		auto snapshot = catalog.Snapshot(context, false);
		auto item = snapshot->Find(entry.ParentSchema().name, set, entry.name);
		if (item) {
			Use(*item);
		}
	}

	// ---- names
	bool IsOurs(CatalogEntry &entry) {
		return &entry.ParentCatalog() == &catalog;
	}
	//! Names of an object that is ours: catalog and schema as they are sent.
	void SetNames(string &catalog_name, string &schema_name, const string &schema) {
		string sent_catalog, sent_schema;
		bool qualified = !catalog_name.empty() || !schema_name.empty();
		if (StringUtil::CIEquals(schema, server)) {
			sent_catalog = server; // else the schema's name would be taken for the database's
			sent_schema = schema;
		} else if (qualified || !StringUtil::CIEquals(schema, DEFAULT_SCHEMA)) {
			sent_schema = schema;
		}
		if (sent_catalog != catalog_name || sent_schema != schema_name) {
			catalog_name = sent_catalog;
			schema_name = sent_schema;
			Changed();
		}
	}
	optional_ptr<CatalogEntry> Lookup(CatalogType type, string catalog_name, string schema_name, const string &name) {
		EntryLookupInfo lookup(type, name);
		try {
			Binder::BindSchemaOrCatalog(context, catalog_name, schema_name);
			return Catalog::GetEntry(context, catalog_name, schema_name, lookup, OnEntryNotFound::RETURN_NULL);
		} catch (std::exception &) {
			return nullptr;
		}
	}
	//! Names of something that is made, changed or dropped: it may not exist.
	void VisitTarget(string &catalog_name, string &schema_name, CatalogType type, const string &name) {
		auto entry = Lookup(type, catalog_name, schema_name, name);
		if (!entry && type == CatalogType::MACRO_ENTRY) {
			entry = Lookup(CatalogType::TABLE_MACRO_ENTRY, catalog_name, schema_name, name);
		}
		if (entry && IsOurs(*entry)) {
			SetNames(catalog_name, schema_name, entry->ParentSchema().name);
			return;
		}
		VisitNewTarget(catalog_name, schema_name);
	}
	//! Where a new object goes when its name says only so much.
	void VisitNewTarget(string &catalog_name, string &schema_name) {
		auto given_catalog = catalog_name;
		auto given_schema = schema_name;
		Binder::BindSchemaOrCatalog(context, given_catalog, given_schema);
		if (given_schema.empty()) {
			auto &path = *ClientData::Get(context).catalog_search_path;
			auto schema = path.GetDefaultSchema(context, given_catalog.empty() ? alias : given_catalog);
			given_schema = schema.empty() ? string(DEFAULT_SCHEMA) : schema;
		}
		SetNames(catalog_name, schema_name, given_schema);
	}

	// ---- the walk
	void VisitNode(QueryNode &node);
	void VisitCTEs(CommonTableExpressionMap &map);
	void VisitSelect(SelectStatement &statement) {
		VisitNode(*statement.node);
	}
	void VisitRef(unique_ptr<TableRef> &ref);
	void VisitBaseTable(unique_ptr<TableRef> &ref);
	void VisitSample(const unique_ptr<SampleOptions> &sample);
	void VisitTableFunction(TableFunctionRef &ref);
	void VisitExpression(unique_ptr<ParsedExpression> &expression);
	void VisitFunction(unique_ptr<ParsedExpression> &expression);
	void VisitSequenceName(FunctionExpression &function);
	void VisitType(LogicalType &type);
	void VisitTypeExpression(unique_ptr<ParsedExpression> &expression);
	void ReplaceByConstant(unique_ptr<ParsedExpression> &expression);
	void VisitOptional(unique_ptr<ParsedExpression> &expression) {
		if (expression) {
			VisitExpression(expression);
		}
	}
	void VisitList(vector<unique_ptr<ParsedExpression>> &list) {
		for (auto &expression : list) {
			VisitExpression(expression);
		}
	}
	void VisitCreate(CreateInfo &info);
	void VisitAlter(AlterInfo &info);
	void VisitSetInfo(UpdateSetInfo &info);

	bool IsLocalName(const string &name) {
		for (auto &scope : cte_scopes) {
			if (scope.find(name) != scope.end()) {
				return true;
			}
		}
		return false;
	}

	ClientContext &context;
	Binder &binder;
	OdCatalog &catalog;
	RewriteOptions options;
	RewrittenStatement &result;
	const string alias;  // the catalog's name here
	const string server; // and there
	const bool seeded;   // random numbers follow from a seed given on this side
	vector<case_insensitive_set_t> cte_scopes;
	case_insensitive_set_t columns; // of every relation seen: a keyword of that name is a column
	vector<reference<unique_ptr<ParsedExpression>>> keywords;
	bool in_definition = false; // its names and values mean something when it is used, on the server
};

//===--------------------------------------------------------------------===//
// Queries
//===--------------------------------------------------------------------===//
void Rewriter::VisitCTEs(CommonTableExpressionMap &map) {
	for (auto &entry : map.map) {
		auto &query = *entry.second->query;
		bool recursive = query.node->type == QueryNodeType::RECURSIVE_CTE_NODE;
		if (recursive) {
			cte_scopes.back().insert(entry.first);
		}
		VisitSelect(query);
		VisitList(entry.second->key_targets);
		cte_scopes.back().insert(entry.first);
	}
}

void Rewriter::VisitNode(QueryNode &node) {
	cte_scopes.emplace_back();
	VisitCTEs(node.cte_map);
	switch (node.type) {
	case QueryNodeType::SELECT_NODE: {
		auto &select = node.Cast<SelectNode>();
		if (select.from_table) {
			VisitRef(select.from_table);
		}
		VisitList(select.select_list);
		VisitSample(select.sample);
		VisitList(select.groups.group_expressions);
		VisitOptional(select.where_clause);
		VisitOptional(select.having);
		VisitOptional(select.qualify);
		break;
	}
	case QueryNodeType::SET_OPERATION_NODE:
		for (auto &child : node.Cast<SetOperationNode>().children) {
			VisitNode(*child);
		}
		break;
	case QueryNodeType::RECURSIVE_CTE_NODE: {
		auto &recursive = node.Cast<RecursiveCTENode>();
		cte_scopes.back().insert(recursive.ctename);
		VisitNode(*recursive.left);
		VisitNode(*recursive.right);
		VisitList(recursive.key_targets);
		break;
	}
	case QueryNodeType::STATEMENT_NODE:
		Visit(node.Cast<StatementNode>().stmt);
		break;
	default:
		Block("this kind of query");
		break;
	}
	ParsedExpressionIterator::EnumerateQueryNodeModifiers(
	    node, [&](unique_ptr<ParsedExpression> &child) { VisitExpression(child); });
	cte_scopes.pop_back();
}

void Rewriter::VisitBaseTable(unique_ptr<TableRef> &ref) {
	auto &table = ref->Cast<BaseTableRef>();
	if (table.at_clause) {
		Block("an AT clause");
		return;
	}
	if (table.catalog_name.empty() && table.schema_name.empty() && IsLocalName(table.table_name)) {
		return;
	}
	if (StringUtil::CIEquals(table.alias, alias)) {
		Block("the alias \"" + table.alias + "\", which is also the name of the database");
		return;
	}
	auto entry = Lookup(CatalogType::TABLE_ENTRY, table.catalog_name, table.schema_name, table.table_name);
	if (entry && IsOurs(*entry)) {
		auto &schema = entry->ParentSchema().name;
		SetNames(table.catalog_name, table.schema_name, schema);
		UseEntry(*entry, EntrySet::RELATION);
		if (entry->type == CatalogType::TABLE_ENTRY) {
			for (auto &column : entry->Cast<TableCatalogEntry>().GetColumns().Logical()) {
				columns.insert(column.Name());
			}
		} else if (auto info = entry->Cast<ViewCatalogEntry>().GetColumnInfo()) {
			columns.insert(info->names.begin(), info->names.end());
		}
		return;
	}
	if (in_definition && !entry) {
		return; // a definition: the server looks for it when the definition is used
	}
	if (!options.stage_locals || in_definition) {
		Block("the local relation \"" + table.table_name + "\"");
		return;
	}
	LocalRelation local;
	local.placeholder = "od_stage_" + std::to_string(result.locals.size() + 1);
	auto replacement = make_uniq<BaseTableRef>();
	replacement->table_name = local.placeholder;
	replacement->alias = table.alias.empty() ? table.table_name : table.alias;
	replacement->column_name_alias = table.column_name_alias;
	replacement->sample = std::move(table.sample);
	table.alias.clear();
	table.column_name_alias.clear();
	local.original = std::move(ref);
	result.locals.push_back(std::move(local));
	ref = std::move(replacement);
	Changed();
}

void Rewriter::VisitTableFunction(TableFunctionRef &ref) {
	if (ref.subquery) {
		VisitSelect(*ref.subquery);
	}
	if (ref.function->GetExpressionClass() != ExpressionClass::FUNCTION) {
		Block("this table function");
		return;
	}
	auto &function = ref.function->Cast<FunctionExpression>();
	VisitList(function.children);
	auto entry = Lookup(CatalogType::TABLE_FUNCTION_ENTRY, function.catalog, function.schema, function.function_name);
	if (entry && IsOurs(*entry)) {
		SetNames(function.catalog, function.schema, entry->ParentSchema().name);
		UseEntry(*entry, EntrySet::TABLE_FUNCTION);
		return;
	}
	if (in_definition && (!entry || entry->ParentCatalog().IsSystemCatalog())) {
		return;
	}
	if (!entry || !entry->ParentCatalog().IsSystemCatalog() ||
	    PURE_TABLE_FUNCTIONS.find(function.function_name) == PURE_TABLE_FUNCTIONS.end()) {
		Block("the table function \"" + function.function_name + "\"");
	}
}

//! A sample without a seed of its own follows the connection's.
void Rewriter::VisitSample(const unique_ptr<SampleOptions> &sample) {
	if (sample && seeded && !in_definition && !sample->repeatable) {
		Block("a sample after the seed was set");
	}
}

void Rewriter::VisitRef(unique_ptr<TableRef> &ref) {
	VisitSample(ref->sample);
	switch (ref->type) {
	case TableReferenceType::BASE_TABLE:
		VisitBaseTable(ref);
		break;
	case TableReferenceType::SUBQUERY:
		VisitSelect(*ref->Cast<SubqueryRef>().subquery);
		break;
	case TableReferenceType::JOIN: {
		auto &join = ref->Cast<JoinRef>();
		VisitRef(join.left);
		VisitRef(join.right);
		VisitOptional(join.condition);
		break;
	}
	case TableReferenceType::TABLE_FUNCTION:
		if (options.stage_locals && !in_definition) {
			// A function that reads local things is staged like a table.
			auto before = result.blocker;
			auto copy = ref->Copy();
			auto objects = result.objects.size();
			VisitTableFunction(ref->Cast<TableFunctionRef>());
			if (result.blocker != before) {
				result.blocker = before;
				result.objects.resize(objects);
				LocalRelation local;
				local.placeholder = "od_stage_" + std::to_string(result.locals.size() + 1);
				auto replacement = make_uniq<BaseTableRef>();
				replacement->table_name = local.placeholder;
				replacement->alias =
				    copy->alias.empty()
				        ? copy->Cast<TableFunctionRef>().function->Cast<FunctionExpression>().function_name
				        : copy->alias;
				replacement->column_name_alias = copy->column_name_alias;
				copy->alias.clear();
				copy->column_name_alias.clear();
				local.original = std::move(copy);
				result.locals.push_back(std::move(local));
				ref = std::move(replacement);
				Changed();
			}
		} else {
			VisitTableFunction(ref->Cast<TableFunctionRef>());
		}
		break;
	case TableReferenceType::EXPRESSION_LIST:
		for (auto &row : ref->Cast<ExpressionListRef>().values) {
			VisitList(row);
		}
		break;
	case TableReferenceType::PIVOT: {
		auto &pivot = ref->Cast<PivotRef>();
		VisitRef(pivot.source);
		VisitList(pivot.aggregates);
		for (auto &column : pivot.pivots) {
			VisitList(column.pivot_expressions);
			for (auto &entry : column.entries) {
				VisitOptional(entry.expr);
			}
			if (column.subquery) {
				VisitNode(*column.subquery);
			}
			if (!column.pivot_enum.empty()) {
				Block("PIVOT without an IN list"); // its values are in a temporary type of this side
			}
		}
		break;
	}
	case TableReferenceType::SHOW_REF:
		Block("SHOW or DESCRIBE"); // of what this side sees; DuckDB cannot parse its own text of one
		break;
	case TableReferenceType::EMPTY_FROM:
		break;
	default:
		Block("a relation that has no SQL text");
		break;
	}
	if (!ref->alias.empty() && StringUtil::CIEquals(ref->alias, alias)) {
		Block("the alias \"" + ref->alias + "\", which is also the name of the database");
	}
}

//===--------------------------------------------------------------------===//
// Expressions
//===--------------------------------------------------------------------===//
void Rewriter::ReplaceByConstant(unique_ptr<ParsedExpression> &expression) {
	auto name = expression->GetName();
	auto copy = expression->Copy();
	try {
		ConstantBinder constant_binder(binder, context, "a value of this connection");
		auto bound = constant_binder.Bind(copy);
		if (bound->HasParameter()) {
			Block("the function \"" + name + "\"");
			return;
		}
		auto value = ExpressionExecutor::EvaluateScalar(context, *bound, true);
		auto constant = make_uniq<ConstantExpression>(value);
		constant->alias = expression->alias.empty() ? name : expression->alias;
		expression = std::move(constant);
		Changed();
	} catch (std::exception &) {
		Block("the function \"" + name + "\"");
	}
}

void Rewriter::VisitSequenceName(FunctionExpression &function) {
	if (function.children.size() != 1 || function.children[0]->GetExpressionClass() != ExpressionClass::CONSTANT) {
		if (in_definition) {
			return; // the macro's caller says which
		}
		Block("a sequence whose name is computed");
		return;
	}
	auto &constant = function.children[0]->Cast<ConstantExpression>();
	if (constant.value.IsNull() || constant.value.type().id() != LogicalTypeId::VARCHAR) {
		return;
	}
	auto name = QualifiedName::Parse(StringValue::Get(constant.value));
	auto entry = Lookup(CatalogType::SEQUENCE_ENTRY, name.catalog, name.schema, name.name);
	if (!entry || !IsOurs(*entry)) {
		Block("the local sequence \"" + name.name + "\"");
		return;
	}
	bool before = result.changed;
	SetNames(name.catalog, name.schema, entry->ParentSchema().name);
	UseEntry(*entry, EntrySet::SEQUENCE);
	if (result.changed != before || !name.schema.empty()) {
		constant.value = Value(QualifiedText(name.catalog, name.schema, name.name));
		Changed();
	}
}

void Rewriter::VisitFunction(unique_ptr<ParsedExpression> &expression) {
	auto &function = expression->Cast<FunctionExpression>();
	auto &name = function.function_name;
	if (function.schema.empty() && LOCAL_CONSTANTS.find(name) != LOCAL_CONSTANTS.end()) {
		if (!in_definition) {
			ReplaceByConstant(expression);
		}
		return;
	}
	if (LOCAL_STATE.find(name) != LOCAL_STATE.end()) {
		Block("the function \"" + name + "\"");
		return;
	}
	if (!in_definition && seeded && RANDOM_FUNCTIONS.find(name) != RANDOM_FUNCTIONS.end()) {
		Block("the function \"" + name + "\" after its seed was set");
		return;
	}
	if (!in_definition && name == "stats" && !ClientConfig::GetConfig(context).enable_optimizer) {
		Block("the function \"stats\" while the optimizer is off");
		return;
	}
	if (SEQUENCE_FUNCTIONS.find(name) != SEQUENCE_FUNCTIONS.end()) {
		VisitSequenceName(function);
		return;
	}
	ParsedExpressionIterator::EnumerateChildren(function,
	                                            [&](unique_ptr<ParsedExpression> &child) { VisitExpression(child); });
	if (function.is_operator) {
		return;
	}
	auto entry = Lookup(CatalogType::SCALAR_FUNCTION_ENTRY, function.catalog, function.schema, name);
	if (!entry) {
		return; // a.b.f(): a method call; the binder here has accepted it
	}
	if (IsOurs(*entry)) {
		SetNames(function.catalog, function.schema, entry->ParentSchema().name);
		UseEntry(*entry, EntrySet::FUNCTION);
		return;
	}
	if (!entry->ParentCatalog().IsSystemCatalog()) {
		Block("the local function \"" + name + "\"");
		return;
	}
	if (!in_definition && !catalog.GetRemote()->HasFunction(context, name)) {
		Block("the function \"" + name + "\", which the server does not have");
	}
}

void Rewriter::VisitTypeExpression(unique_ptr<ParsedExpression> &expression) {
	if (expression->GetExpressionClass() == ExpressionClass::TYPE) {
		auto &type = expression->Cast<TypeExpression>();
		for (auto &child : type.GetChildren()) {
			VisitTypeExpression(child);
		}
		auto entry = Lookup(CatalogType::TYPE_ENTRY, type.GetCatalog(), type.GetSchema(), type.GetTypeName());
		if (entry && IsOurs(*entry) && !entry->internal) {
			auto snapshot = catalog.Snapshot(context, false);
			auto item = snapshot->Find(entry->ParentSchema().name, EntrySet::TYPE, entry->name);
			if (!item) {
				return; // a type every schema has
			}
			Use(*item);
			auto catalog_name = type.GetCatalog();
			auto schema_name = type.GetSchema();
			SetNames(catalog_name, schema_name, entry->ParentSchema().name);
			if (catalog_name != type.GetCatalog() || schema_name != type.GetSchema()) {
				auto replacement = make_uniq<TypeExpression>(catalog_name, schema_name, type.GetTypeName(),
				                                             std::move(type.GetChildren()));
				replacement->alias = expression->alias;
				expression = std::move(replacement);
			}
			return;
		}
		if (entry && !entry->ParentCatalog().IsSystemCatalog() && !IsOurs(*entry)) {
			// DEFAULT types live in every schema; only a user's type matters.
			if (!entry->internal) {
				Block("the local type \"" + type.GetTypeName() + "\"");
			}
		}
		return;
	}
	VisitExpression(expression);
}

void Rewriter::VisitType(LogicalType &type) {
	if (type.id() != LogicalTypeId::UNBOUND) {
		return;
	}
	auto expression = UnboundType::GetTypeExpression(type)->Copy();
	auto before = result.changed;
	result.changed = false;
	VisitTypeExpression(expression);
	if (result.changed) {
		type = LogicalType::UNBOUND(std::move(expression));
	}
	result.changed = result.changed || before;
}

void Rewriter::VisitExpression(unique_ptr<ParsedExpression> &expression) {
	switch (expression->GetExpressionClass()) {
	case ExpressionClass::COLUMN_REF: {
		auto &names = expression->Cast<ColumnRefExpression>().column_names;
		if (names.size() >= 3 && StringUtil::CIEquals(names[0], alias)) {
			names.erase(names.begin());
			Changed();
		} else if (!in_definition && names.size() == 1 && VALUE_KEYWORDS.find(names[0]) != VALUE_KEYWORDS.end()) {
			keywords.push_back(expression);
		}
		return;
	}
	case ExpressionClass::FUNCTION:
		VisitFunction(expression);
		return;
	case ExpressionClass::WINDOW: {
		auto &window = expression->Cast<WindowExpression>();
		if (!window.catalog.empty() || !window.schema.empty()) {
			auto entry =
			    Lookup(CatalogType::SCALAR_FUNCTION_ENTRY, window.catalog, window.schema, window.function_name);
			if (entry && IsOurs(*entry)) {
				SetNames(window.catalog, window.schema, entry->ParentSchema().name);
			}
		}
		break;
	}
	case ExpressionClass::SUBQUERY: {
		auto &subquery = expression->Cast<SubqueryExpression>();
		VisitSelect(*subquery.subquery);
		break;
	}
	case ExpressionClass::CAST:
		VisitType(expression->Cast<CastExpression>().cast_type);
		break;
	case ExpressionClass::TYPE:
		VisitTypeExpression(expression);
		return;
	case ExpressionClass::PARAMETER: {
		auto &parameter = expression->Cast<ParameterExpression>();
		if (auto parameters = binder.GetParameters()) {
			// Integers of an EXECUTE are literals to the binder, which fit every integer type they are small enough for.
			auto &given = parameters->GetParameterData();
			auto value = given.find(parameter.identifier);
			if (value != given.end() && value->second.return_type.id() == LogicalTypeId::INTEGER_LITERAL) {
				auto constant = make_uniq<ConstantExpression>(value->second.GetValue());
				constant->alias = expression->alias;
				expression = std::move(constant);
				Changed();
				return;
			}
		}
		idx_t position = 0;
		while (position < result.parameters.size() && result.parameters[position] != parameter.identifier) {
			position++;
		}
		if (position == result.parameters.size()) {
			result.parameters.push_back(parameter.identifier);
		}
		auto number = std::to_string(position + 1);
		if (parameter.identifier != number) {
			parameter.identifier = number;
			Changed();
		}
		return;
	}
	case ExpressionClass::STAR: {
		auto &star = expression->Cast<StarExpression>();
		if (!star.rename_list.empty() || !star.exclude_list.empty()) {
			for (auto &name : star.exclude_list) {
				if (StringUtil::CIEquals(name.catalog, alias)) {
					Block("EXCLUDE with the name of the database");
				}
			}
		}
		break;
	}
	default:
		break;
	}
	ParsedExpressionIterator::EnumerateChildren(*expression,
	                                            [&](unique_ptr<ParsedExpression> &child) { VisitExpression(child); });
}

//===--------------------------------------------------------------------===//
// Statements
//===--------------------------------------------------------------------===//
void Rewriter::VisitSetInfo(UpdateSetInfo &info) {
	VisitOptional(info.condition);
	VisitList(info.expressions);
}

void Rewriter::VisitCreate(CreateInfo &info) {
	switch (info.type) {
	case CatalogType::SCHEMA_ENTRY:
		if (!info.catalog.empty()) {
			info.catalog = string();
			Changed();
		}
		return;
	case CatalogType::TABLE_ENTRY: {
		auto &table = info.Cast<CreateTableInfo>();
		VisitNewTarget(info.catalog, info.schema);
		for (idx_t i = 0; i < table.columns.LogicalColumnCount(); i++) {
			auto &column = table.columns.GetColumnMutable(LogicalIndex(i));
			VisitType(column.TypeMutable());
			if (column.Generated()) {
				auto copy = column.GeneratedExpression().Copy();
				auto before = result.changed;
				result.changed = false;
				in_definition = true;
				VisitExpression(copy);
				in_definition = false;
				if (result.changed) {
					column.SetGeneratedExpression(std::move(copy));
				}
				result.changed = result.changed || before;
			} else if (column.HasDefaultValue()) {
				// now() in a DEFAULT is evaluated when a row is inserted: only names are looked at.
				auto copy = column.DefaultValue().Copy();
				auto before = result.changed;
				result.changed = false;
				in_definition = true;
				VisitExpression(copy);
				in_definition = false;
				if (result.changed) {
					column.SetDefaultValue(std::move(copy));
				}
				result.changed = result.changed || before;
			}
		}
		for (auto &constraint : table.constraints) {
			if (constraint->type == ConstraintType::CHECK) {
				in_definition = true;
				VisitExpression(constraint->Cast<CheckConstraint>().expression);
				in_definition = false;
			} else if (constraint->type == ConstraintType::FOREIGN_KEY) {
				auto &key = constraint->Cast<ForeignKeyConstraint>();
				string key_catalog;
				if (StringUtil::CIEquals(key.info.schema, alias)) {
					key.info.schema = string();
					Changed();
				}
				auto parent = key.info.schema.empty()
				                  ? Lookup(CatalogType::TABLE_ENTRY, string(), string(), key.info.table)
				                  : nullptr;
				if (parent && IsOurs(*parent) && parent->ParentSchema().name != DEFAULT_SCHEMA) {
					key.info.schema = parent->ParentSchema().name; // found along this connection's search path
					Changed();
				}
			}
		}
		if (table.query) {
			VisitSelect(*table.query);
		}
		return;
	}
	case CatalogType::VIEW_ENTRY: {
		auto &view = info.Cast<CreateViewInfo>();
		VisitNewTarget(info.catalog, info.schema);
		in_definition = true;
		VisitSelect(*view.query);
		in_definition = false;
		return;
	}
	case CatalogType::INDEX_ENTRY: {
		auto &index = info.Cast<CreateIndexInfo>();
		VisitTarget(info.catalog, info.schema, CatalogType::TABLE_ENTRY, index.table);
		VisitList(index.expressions);
		VisitList(index.parsed_expressions);
		return;
	}
	case CatalogType::TYPE_ENTRY: {
		auto &type = info.Cast<CreateTypeInfo>();
		VisitNewTarget(info.catalog, info.schema);
		VisitType(type.type);
		if (type.query) {
			Visit(*type.query);
		}
		return;
	}
	case CatalogType::MACRO_ENTRY:
	case CatalogType::TABLE_MACRO_ENTRY: {
		auto &macro = info.Cast<CreateMacroInfo>();
		VisitNewTarget(info.catalog, info.schema);
		in_definition = true;
		for (auto &function : macro.macros) {
			for (auto &type : function->types) {
				VisitType(type);
			}
			// Bodies bind where they are used; the text stays, except for names that only this side knows.
			if (function->type == MacroType::SCALAR_MACRO) {
				VisitExpression(function->Cast<ScalarMacroFunction>().expression);
			} else {
				VisitNode(*function->Cast<TableMacroFunction>().query_node);
			}
		}
		in_definition = false;
		return;
	}
	case CatalogType::SEQUENCE_ENTRY:
		VisitNewTarget(info.catalog, info.schema);
		return;
	default:
		Block("this kind of CREATE");
		return;
	}
}

void Rewriter::VisitAlter(AlterInfo &info) {
	if (info.type == AlterType::SET_COLUMN_COMMENT) {
		VisitTarget(info.catalog, info.schema, CatalogType::TABLE_ENTRY, info.name);
		return;
	}
	if (info.type == AlterType::ALTER_DATABASE) {
		Block("ALTER DATABASE");
		return;
	}
	VisitTarget(info.catalog, info.schema, info.GetCatalogType(), info.name);
	if (info.type != AlterType::ALTER_TABLE) {
		return;
	}
	in_definition = true;
	auto &table = info.Cast<AlterTableInfo>();
	switch (table.alter_table_type) {
	case AlterTableType::ADD_COLUMN: {
		auto &column = table.Cast<AddColumnInfo>().new_column;
		VisitType(column.TypeMutable());
		if (column.HasDefaultValue()) {
			auto copy = column.DefaultValue().Copy();
			VisitExpression(copy);
			column.SetDefaultValue(std::move(copy));
		}
		break;
	}
	case AlterTableType::ADD_FIELD:
		VisitType(table.Cast<AddFieldInfo>().new_field.TypeMutable());
		break;
	case AlterTableType::ALTER_COLUMN_TYPE: {
		auto &change = table.Cast<ChangeColumnTypeInfo>();
		VisitType(change.target_type);
		VisitOptional(change.expression);
		break;
	}
	case AlterTableType::SET_DEFAULT:
		VisitOptional(table.Cast<SetDefaultInfo>().expression);
		break;
	default:
		break;
	}
	in_definition = false;
}

void Rewriter::Visit(SQLStatement &statement) {
	switch (statement.type) {
	case StatementType::SELECT_STATEMENT:
		VisitSelect(statement.Cast<SelectStatement>());
		break;
	case StatementType::INSERT_STATEMENT: {
		auto &insert = statement.Cast<InsertStatement>();
		cte_scopes.emplace_back();
		VisitCTEs(insert.cte_map);
		VisitTarget(insert.catalog, insert.schema, CatalogType::TABLE_ENTRY, insert.table);
		if (insert.table_ref && insert.table_ref->type == TableReferenceType::BASE_TABLE) {
			auto &target = insert.table_ref->Cast<BaseTableRef>();
			target.catalog_name = insert.catalog;
			target.schema_name = insert.schema;
		}
		if (insert.select_statement) {
			VisitSelect(*insert.select_statement);
		}
		if (insert.on_conflict_info) {
			VisitOptional(insert.on_conflict_info->condition);
			if (insert.on_conflict_info->set_info) {
				VisitSetInfo(*insert.on_conflict_info->set_info);
			}
		}
		VisitList(insert.returning_list);
		cte_scopes.pop_back();
		break;
	}
	case StatementType::UPDATE_STATEMENT: {
		auto &update = statement.Cast<UpdateStatement>();
		cte_scopes.emplace_back();
		VisitCTEs(update.cte_map);
		VisitRef(update.table);
		if (update.from_table) {
			VisitRef(update.from_table);
		}
		VisitSetInfo(*update.set_info);
		VisitList(update.returning_list);
		cte_scopes.pop_back();
		break;
	}
	case StatementType::DELETE_STATEMENT: {
		auto &del = statement.Cast<DeleteStatement>();
		cte_scopes.emplace_back();
		VisitCTEs(del.cte_map);
		VisitRef(del.table);
		for (auto &ref : del.using_clauses) {
			VisitRef(ref);
		}
		VisitOptional(del.condition);
		VisitList(del.returning_list);
		cte_scopes.pop_back();
		break;
	}
	case StatementType::MERGE_INTO_STATEMENT: {
		auto &merge = statement.Cast<MergeIntoStatement>();
		cte_scopes.emplace_back();
		VisitCTEs(merge.cte_map);
		VisitRef(merge.target);
		VisitRef(merge.source);
		VisitOptional(merge.join_condition);
		for (auto &condition : merge.actions) {
			for (auto &action : condition.second) {
				VisitOptional(action->condition);
				if (action->update_info) {
					VisitSetInfo(*action->update_info);
				}
				VisitList(action->expressions);
			}
		}
		VisitList(merge.returning_list);
		cte_scopes.pop_back();
		break;
	}
	case StatementType::CREATE_STATEMENT:
		cte_scopes.emplace_back();
		VisitCreate(*statement.Cast<CreateStatement>().info);
		cte_scopes.pop_back();
		break;
	case StatementType::DROP_STATEMENT: {
		auto &drop = *statement.Cast<DropStatement>().info;
		if (drop.type == CatalogType::SCHEMA_ENTRY) {
			if (!drop.catalog.empty()) {
				drop.catalog = string();
				Changed();
			}
		} else {
			VisitTarget(drop.catalog, drop.schema, drop.type, drop.name);
		}
		break;
	}
	case StatementType::ALTER_STATEMENT:
		cte_scopes.emplace_back();
		VisitAlter(*statement.Cast<AlterStatement>().info);
		cte_scopes.pop_back();
		break;
	case StatementType::VACUUM_STATEMENT: {
		auto &vacuum = *statement.Cast<VacuumStatement>().info;
		if (vacuum.ref) {
			VisitRef(vacuum.ref);
		}
		break;
	}
	default:
		Block("this kind of statement");
		break;
	}
	for (auto &keyword : keywords) {
		auto &expression = keyword.get();
		auto &names = expression->Cast<ColumnRefExpression>().column_names;
		if (columns.find(names[0]) == columns.end()) {
			ReplaceByConstant(expression);
		}
	}
	keywords.clear();
}

} // namespace

RewrittenStatement RewriteStatement(ClientContext &context, Binder &binder, OdCatalog &catalog,
                                    unique_ptr<SQLStatement> statement, RewriteOptions options) {
	RewrittenStatement result;
	Rewriter rewriter(context, binder, catalog, options, result);
	rewriter.Visit(*statement);
	result.statement = std::move(statement);
	return result;
}

} // namespace openduck
