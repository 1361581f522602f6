// rewrite.cpp - see rewrite.hpp; and the walk over statements (rewriter.hpp).
#include "rewrite.hpp"

#include "duckdb/function/scalar_macro_function.hpp"
#include "duckdb/function/table_macro_function.hpp"
#include "duckdb/parser/constraints/list.hpp"
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
#include "rewriter.hpp"

namespace openduck {

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

RewrittenStatement RewriteStatement(ClientContext &context, Binder &binder, OdCatalog &catalog,
                                    unique_ptr<SQLStatement> statement, RewriteOptions options) {
	RewrittenStatement result;
	Rewriter rewriter(context, binder, catalog, options, result);
	rewriter.Visit(*statement);
	result.statement = std::move(statement);
	return result;
}

} // namespace openduck
