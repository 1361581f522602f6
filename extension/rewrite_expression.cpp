// rewrite_expression.cpp - the walk over expressions and types (rewriter.hpp).
#include "rewriter.hpp"

#include "duckdb/catalog/catalog_entry/scalar_function_catalog_entry.hpp"
#include "duckdb/execution/expression_executor.hpp"
#include "duckdb/main/attached_database.hpp"
#include "duckdb/main/client_config.hpp"
#include "duckdb/parser/parsed_expression_iterator.hpp"
#include "duckdb/planner/expression_binder/constant_binder.hpp"
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
const case_insensitive_set_t SEQUENCE_FUNCTIONS = {"nextval", "currval"};
//! Functions whose state is this connection's.
const case_insensitive_set_t LOCAL_STATE = {"setseed", "setval", "write_log", "parse_duckdb_log_message"};
//! Functions that draw from the connection's random numbers.
const case_insensitive_set_t RANDOM_FUNCTIONS = {"random", "uuid", "gen_random_uuid", "uuidv4", "uuidv7"};

} // namespace

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

//! Replaces an expression without columns, parameters and volatile functions by its value, as DuckDB's binder would do
//! with a sequence's name. False if it is none.
bool Rewriter::FoldName(unique_ptr<ParsedExpression> &expression) {
	auto copy = expression->Copy();
	try {
		ConstantBinder constant_binder(binder, context, "the name of a sequence");
		auto bound = constant_binder.Bind(copy);
		if (bound->HasParameter() || !bound->IsFoldable()) {
			return false;
		}
		auto value = ExpressionExecutor::EvaluateScalar(context, *bound);
		expression = make_uniq<ConstantExpression>(value.DefaultCastAs(LogicalType::VARCHAR));
		return true;
	} catch (std::exception &) {
		return false;
	}
}

void Rewriter::VisitSequenceName(FunctionExpression &function) {
	if (function.children.size() == 1 && function.children[0]->GetExpressionClass() != ExpressionClass::CONSTANT &&
	    !in_definition) {
		auto name = function.GetName();
		if (FoldName(function.children[0])) {
			function.SetAlias(function.GetAlias().empty() ? name : function.GetAlias());
			Changed();
		}
	}
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

} // namespace openduck
