// pristine.cpp - see pristine.hpp.
#include "pristine.hpp"

#include "duckdb/main/client_context.hpp"
#include "duckdb/main/client_data.hpp"
#include "duckdb/main/prepared_statement_data.hpp"
#include "duckdb/main/relation/create_table_relation.hpp"
#include "duckdb/main/relation/create_view_relation.hpp"
#include "duckdb/main/relation/delete_relation.hpp"
#include "duckdb/main/relation/insert_relation.hpp"
#include "duckdb/main/relation/update_relation.hpp"
#include "duckdb/parser/parsed_data/create_table_info.hpp"
#include "duckdb/parser/parsed_data/create_view_info.hpp"
#include "duckdb/parser/parser.hpp"
#include "duckdb/parser/statement/list.hpp"
#include "duckdb/parser/tableref/basetableref.hpp"

namespace openduck {

static unique_ptr<SQLStatement> ParseOne(ClientContext &context, const string &text) {
	Parser parser(context.GetParserOptions());
	try {
		parser.ParseQuery(text);
	} catch (std::exception &) {
		return nullptr;
	}
	return parser.statements.size() == 1 ? std::move(parser.statements[0]) : nullptr;
}

static bool QueryIsActive(ClientContext &context) {
	return context.transaction.HasActiveTransaction() && context.transaction.GetActiveQuery() != MAXIMUM_QUERY_ID;
}

static unique_ptr<SelectStatement> SelectOf(Relation &relation) {
	auto select = make_uniq<SelectStatement>();
	select->node = relation.GetQueryNode();
	return select;
}

static unique_ptr<TableRef> TableOf(const string &catalog, const string &schema, const string &name) {
	auto table = make_uniq<BaseTableRef>();
	table->catalog_name = catalog;
	table->schema_name = schema;
	table->table_name = name;
	return std::move(table);
}

//! A relation as the statement that it stands for, as its own Bind makes it. nullptr: it has none.
static unique_ptr<SQLStatement> StatementOf(Relation &relation) {
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
	case RelationType::SET_OPERATION_RELATION:
		return SelectOf(relation);
	case RelationType::CREATE_VIEW_RELATION: {
		auto &view = dynamic_cast<CreateViewRelation &>(relation);
		auto info = make_uniq<CreateViewInfo>();
		info->query = SelectOf(*view.child);
		info->view_name = view.view_name;
		info->temporary = view.temporary;
		info->schema = view.schema_name;
		info->on_conflict =
		    view.replace ? OnCreateConflict::REPLACE_ON_CONFLICT : OnCreateConflict::ERROR_ON_CONFLICT;
		auto create = make_uniq<CreateStatement>();
		create->info = std::move(info);
		return std::move(create);
	}
	case RelationType::CREATE_TABLE_RELATION: {
		auto &table = dynamic_cast<CreateTableRelation &>(relation);
		auto info = make_uniq<CreateTableInfo>();
		info->catalog = table.catalog_name;
		info->schema = table.schema_name;
		info->table = table.table_name;
		info->query = SelectOf(*table.child);
		info->on_conflict = table.on_conflict;
		info->temporary = table.temporary;
		auto create = make_uniq<CreateStatement>();
		create->info = std::move(info);
		return std::move(create);
	}
	case RelationType::INSERT_RELATION: {
		auto &table = dynamic_cast<InsertRelation &>(relation);
		auto insert = make_uniq<InsertStatement>();
		insert->catalog = table.catalog_name;
		insert->schema = table.schema_name;
		insert->table = table.table_name;
		insert->select_statement = SelectOf(*table.child);
		return std::move(insert);
	}
	case RelationType::UPDATE_RELATION: {
		auto &table = dynamic_cast<UpdateRelation &>(relation);
		auto update = make_uniq<UpdateStatement>();
		update->table = TableOf(table.catalog_name, table.schema_name, table.table_name);
		update->set_info = make_uniq<UpdateSetInfo>();
		update->set_info->condition = table.condition ? table.condition->Copy() : nullptr;
		update->set_info->columns = table.update_columns;
		for (auto &expression : table.expressions) {
			update->set_info->expressions.push_back(expression->Copy());
		}
		return std::move(update);
	}
	case RelationType::DELETE_RELATION: {
		auto &table = dynamic_cast<DeleteRelation &>(relation);
		auto remove = make_uniq<DeleteStatement>();
		remove->table = TableOf(table.catalog_name, table.schema_name, table.table_name);
		remove->condition = table.condition ? table.condition->Copy() : nullptr;
		return std::move(remove);
	}
	default:
		return nullptr;
	}
}

Pristine PristineStatement(ClientContext &context, SQLStatement &bound) {
	Pristine result;
	if (bound.type == StatementType::RELATION_STATEMENT) {
		if (auto made = StatementOf(*bound.Cast<RelationStatement>().relation)) {
			// Its text is what the tree says: parse that, so that nothing bound is left in it.
			result.text = made->ToString();
			result.statement = ParseOne(context, result.text);
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

} // namespace openduck
