// definition.cpp - catalog entries as CREATE statements.
//
// DuckDB's own texts are used where they can be parsed again. They cannot for a table that refers to itself (an empty
// constraint), for foreign keys to names that need quotes, for ENUM values with quotes, and they leave out the schema
// "main" and column comments; a sequence's text changes with each nextval.
#include "engine/definition.hpp"

#include "duckdb/catalog/catalog.hpp"
#include "duckdb/catalog/catalog_entry/duck_table_entry.hpp"
#include "duckdb/catalog/catalog_entry/index_catalog_entry.hpp"
#include "duckdb/catalog/catalog_entry/macro_catalog_entry.hpp"
#include "duckdb/catalog/catalog_entry/schema_catalog_entry.hpp"
#include "duckdb/catalog/catalog_entry/sequence_catalog_entry.hpp"
#include "duckdb/catalog/catalog_entry/type_catalog_entry.hpp"
#include "duckdb/catalog/catalog_entry/view_catalog_entry.hpp"
#include "duckdb/function/scalar_macro_function.hpp"
#include "duckdb/function/table_macro_function.hpp"
#include "duckdb/parser/constraints/foreign_key_constraint.hpp"
#include "duckdb/parser/expression/columnref_expression.hpp"
#include "duckdb/parser/expression/function_expression.hpp"
#include "duckdb/parser/expression/subquery_expression.hpp"
#include "duckdb/parser/keyword_helper.hpp"
#include "duckdb/parser/parsed_data/create_index_info.hpp"
#include "duckdb/parser/parsed_data/create_macro_info.hpp"
#include "duckdb/parser/parsed_data/create_sequence_info.hpp"
#include "duckdb/parser/parsed_data/create_table_info.hpp"
#include "duckdb/parser/parsed_data/create_type_info.hpp"
#include "duckdb/parser/parsed_data/create_view_info.hpp"
#include "duckdb/parser/parsed_expression_iterator.hpp"
#include "duckdb/parser/query_node/cte_node.hpp"
#include "duckdb/parser/tableref/basetableref.hpp"

#define XXH_INLINE_ALL
#include <xxhash.h>

using namespace duckdb;

namespace openduck {

const CatalogKind CATALOG_KINDS[] = {
    {"schema", CatalogType::SCHEMA_ENTRY, CatalogType::SCHEMA_ENTRY},
    {"type", CatalogType::TYPE_ENTRY, CatalogType::TYPE_ENTRY},
    {"sequence", CatalogType::SEQUENCE_ENTRY, CatalogType::SEQUENCE_ENTRY},
    {"macro", CatalogType::SCALAR_FUNCTION_ENTRY, CatalogType::MACRO_ENTRY},
    {"table", CatalogType::TABLE_ENTRY, CatalogType::TABLE_ENTRY},
    {"view", CatalogType::TABLE_ENTRY, CatalogType::VIEW_ENTRY},
    {"table macro", CatalogType::TABLE_FUNCTION_ENTRY, CatalogType::TABLE_MACRO_ENTRY},
    {"index", CatalogType::INDEX_ENTRY, CatalogType::INDEX_ENTRY},
};
const size_t CATALOG_KIND_COUNT = sizeof(CATALOG_KINDS) / sizeof(CATALOG_KINDS[0]);

namespace {

std::string Quote(const std::string &name) {
	return KeywordHelper::WriteOptionallyQuoted(name);
}

std::string QuoteAll(const vector<string> &names) {
	return StringUtil::Join(names, names.size(), ", ", [](const string &name) { return Quote(name); });
}

std::string Qualify(const std::string &schema, const std::string &name) {
	return Quote(schema) + "." + Quote(name);
}

// ---- leaving the catalog's name out of queries

class CatalogRemover {
public:
	explicit CatalogRemover(const std::string &catalog_p) : catalog(catalog_p) {}

	void Node(QueryNode &node) {
		if (node.type == QueryNodeType::CTE_NODE) {
			// DuckDB's iterator does not know this one, an older form of WITH.
			auto &cte = node.Cast<CTENode>();
			Node(*cte.query);
			Node(*cte.child);
			return;
		}
		ParsedExpressionIterator::EnumerateQueryNodeChildren(
		    node, [this](unique_ptr<ParsedExpression> &child) { Expression(*child); },
		    [this](TableRef &ref) {
			    if (ref.type == TableReferenceType::BASE_TABLE) {
				    Remove(ref.Cast<BaseTableRef>().catalog_name);
			    }
		    });
	}

	void Expression(ParsedExpression &expression) {
		switch (expression.GetExpressionClass()) {
		case ExpressionClass::COLUMN_REF: {
			auto &names = expression.Cast<ColumnRefExpression>().column_names;
			if (names.size() >= 4 && StringUtil::CIEquals(names[0], catalog)) {
				names.erase(names.begin());
			}
			break;
		}
		case ExpressionClass::FUNCTION:
			Remove(expression.Cast<FunctionExpression>().catalog);
			break;
		case ExpressionClass::SUBQUERY:
			Node(*expression.Cast<SubqueryExpression>().subquery->node);
			break;
		default:
			break;
		}
		ParsedExpressionIterator::EnumerateChildren(
		    expression, [this](unique_ptr<ParsedExpression> &child) { Expression(*child); });
	}

private:
	void Remove(string &name) {
		if (StringUtil::CIEquals(name, catalog)) {
			name.clear();
		}
	}
	const std::string &catalog;
};

// Node types that DuckDB's iterator cannot walk keep their text: it still works where the catalog has the same name.
template <class WALK>
void TryRemove(WALK &&walk) {
	try {
		walk();
	} catch (const NotImplementedException &) {
	}
}

bool Mentions(const std::string &text, const std::string &catalog) {
	return StringUtil::Lower(text).find(StringUtil::Lower(catalog)) != std::string::npos;
}

// ---- one kind each

std::string TableSql(TableCatalogEntry &table, Definition &definition) {
	vector<unique_ptr<Constraint>> constraints;
	std::string foreign_keys;
	for (auto &constraint : table.GetConstraints()) {
		if (constraint->type != ConstraintType::FOREIGN_KEY) {
			constraints.push_back(constraint->Copy());
			continue;
		}
		auto &key = constraint->Cast<ForeignKeyConstraint>();
		bool self = key.info.type == ForeignKeyType::FK_TYPE_SELF_REFERENCE_TABLE;
		if (!self && key.info.type != ForeignKeyType::FK_TYPE_FOREIGN_KEY_TABLE) {
			continue; // the other end of somebody else's foreign key
		}
		auto target = self || key.info.schema.empty() ? table.schema.name : key.info.schema;
		foreign_keys += ", FOREIGN KEY (" + QuoteAll(key.fk_columns) + ") REFERENCES " +
		                Qualify(target, self ? table.name : key.info.table);
		if (!key.pk_columns.empty()) {
			foreign_keys += " (" + QuoteAll(key.pk_columns) + ")";
		}
	}
	auto columns = TableCatalogEntry::ColumnsToSQL(table.GetColumns(), constraints);
	columns.insert(columns.size() - 1, foreign_keys);
	for (auto &column : table.GetColumns().Logical()) {
		if (!column.Comment().IsNull()) {
			definition.column_comments[column.Name()] = column.Comment().ToString();
		}
	}
	return "CREATE TABLE " + Qualify(table.schema.name, table.name) + columns + ";";
}

std::string ViewSql(ViewCatalogEntry &view, const std::string &catalog, Definition &definition) {
	auto info = view.GetInfo();
	auto &create = info->Cast<CreateViewInfo>();
	auto query = create.query->ToString();
	if (Mentions(query, catalog)) {
		TryRemove([&] { CatalogRemover(catalog).Node(*create.query->node); });
		query = create.query->ToString();
	}
	for (auto &entry : create.column_comments_map) {
		if (!entry.second.IsNull()) {
			definition.column_comments[entry.first] = entry.second.ToString();
		}
	}
	return "CREATE VIEW " + Qualify(view.schema.name, view.name) +
	       (create.aliases.empty() ? "" : " (" + QuoteAll(create.aliases) + ")") + " AS " + query + ";";
}

std::string IndexSql(IndexCatalogEntry &index) {
	auto info = index.GetInfo();
	auto &create = info->Cast<CreateIndexInfo>();
	return std::string("CREATE") + (create.constraint_type == IndexConstraintType::UNIQUE ? " UNIQUE" : "") +
	       " INDEX " + Quote(index.name) + " ON " + Qualify(index.GetSchemaName(), index.GetTableName()) +
	       (create.index_type == "ART" ? "" : " USING " + Quote(create.index_type)) + " (" +
	       create.ExpressionsToString() + ");";
}

std::string MacroSql(MacroCatalogEntry &macro, const std::string &catalog) {
	std::string overloads;
	for (auto &overload : macro.macros) {
		auto text = overload->ToSQL();
		if (Mentions(text, catalog)) {
			auto copy = overload->Copy();
			TryRemove([&] {
				if (copy->type == MacroType::SCALAR_MACRO) {
					CatalogRemover(catalog).Expression(*copy->Cast<ScalarMacroFunction>().expression);
				} else {
					CatalogRemover(catalog).Node(*copy->Cast<TableMacroFunction>().query_node);
				}
			});
			text = copy->ToSQL();
		}
		overloads += (overloads.empty() ? " " : ", ") + text;
	}
	return "CREATE MACRO " + Qualify(macro.schema.name, macro.name) + overloads + ";";
}

std::string SequenceSql(SequenceCatalogEntry &sequence, bool with_position) {
	auto data = sequence.GetData();
	return "CREATE SEQUENCE " + Qualify(sequence.schema.name, sequence.name) + " INCREMENT BY " +
	       std::to_string(data.increment) + " MINVALUE " + std::to_string(data.min_value) + " MAXVALUE " +
	       std::to_string(data.max_value) + (with_position ? " START " + std::to_string(data.counter) : "") +
	       (data.cycle ? " CYCLE;" : " NO CYCLE;");
}

std::string TypeSql(TypeCatalogEntry &type) {
	auto underlying = type.user_type;
	underlying.SetAlias("");
	return "CREATE TYPE " + Qualify(type.schema.name, type.name) + " AS " + underlying.ToString() + ";";
}

void Hash(Definition &definition, const std::string &stable_sql) {
	std::string all = definition.kind + '\0' + stable_sql + '\0' + definition.comment.ToString() + '\0';
	for (auto &entry : definition.column_comments) {
		all += entry.first + '\0' + entry.second + '\0';
	}
	auto hash = XXH3_128bits(all.data(), all.size());
	char text[33];
	snprintf(text, sizeof(text), "%016llx%016llx", static_cast<unsigned long long>(hash.high64),
	         static_cast<unsigned long long>(hash.low64));
	definition.hash = text;
}

} // namespace

const CatalogKind *KindOf(const CatalogEntry &entry) {
	if (entry.internal) {
		return nullptr;
	}
	for (auto &kind : CATALOG_KINDS) {
		if (entry.type == kind.type) {
			return &kind;
		}
	}
	return nullptr;
}

Definition Name(CatalogEntry &entry) {
	Definition definition;
	definition.kind = KindOf(entry)->name;
	definition.name = entry.name;
	definition.schema = entry.type == CatalogType::SCHEMA_ENTRY ? entry.name : entry.ParentSchema().name;
	if (entry.type == CatalogType::INDEX_ENTRY) {
		definition.table = entry.Cast<IndexCatalogEntry>().GetTableName();
	}
	definition.comment = entry.comment;
	return definition;
}

Definition Define(CatalogEntry &entry, const std::string &catalog) {
	auto definition = Name(entry);
	auto &sql = definition.sql;
	std::string stable_sql;
	switch (entry.type) {
	case CatalogType::SCHEMA_ENTRY:
		sql = "CREATE SCHEMA " + Quote(entry.name) + ";";
		break;
	case CatalogType::TABLE_ENTRY:
		sql = TableSql(entry.Cast<TableCatalogEntry>(), definition);
		break;
	case CatalogType::VIEW_ENTRY:
		sql = ViewSql(entry.Cast<ViewCatalogEntry>(), catalog, definition);
		break;
	case CatalogType::INDEX_ENTRY:
		sql = IndexSql(entry.Cast<IndexCatalogEntry>());
		break;
	case CatalogType::SEQUENCE_ENTRY:
		sql = SequenceSql(entry.Cast<SequenceCatalogEntry>(), true);
		stable_sql = SequenceSql(entry.Cast<SequenceCatalogEntry>(), false);
		break;
	case CatalogType::TYPE_ENTRY:
		sql = TypeSql(entry.Cast<TypeCatalogEntry>());
		break;
	default:
		sql = MacroSql(entry.Cast<MacroCatalogEntry>(), catalog);
		break;
	}
	Hash(definition, stable_sql.empty() ? sql : stable_sql);
	return definition;
}

} // namespace openduck
