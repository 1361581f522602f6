// rewrite_query.cpp - the walk over queries and what they read (rewriter.hpp).
#include "rewriter.hpp"

#include "duckdb/catalog/catalog_entry/table_catalog_entry.hpp"
#include "duckdb/catalog/catalog_entry/view_catalog_entry.hpp"
#include "duckdb/parser/parsed_expression_iterator.hpp"
#include "duckdb/parser/query_node/statement_node.hpp"

namespace openduck {

namespace {

//! Table functions that compute their rows from their arguments alone.
const case_insensitive_set_t PURE_TABLE_FUNCTIONS = {"range",     "generate_series",     "unnest",
                                                     "repeat",    "repeat_row",          "json_each",
                                                     "json_tree", "generate_subscripts", "test_all_types"};

} // namespace

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
	bool past = table.at_clause != nullptr;
	if (past && (!options.stage_locals || in_definition)) {
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
	auto entry = past ? nullptr
	                  : Lookup(CatalogType::TABLE_ENTRY, table.catalog_name, table.schema_name, table.table_name);
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
	Stage(ref, table.table_name);
}

void Rewriter::Stage(unique_ptr<TableRef> &ref, const string &name) {
	LocalRelation local;
	local.placeholder = "od_stage_" + std::to_string(result.locals.size() + 1);
	auto replacement = make_uniq<BaseTableRef>();
	replacement->table_name = local.placeholder;
	replacement->alias = ref->alias.empty() ? name : ref->alias;
	replacement->column_name_alias = ref->column_name_alias;
	ref->alias.clear();
	ref->column_name_alias.clear();
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

//! The text of a join has no parentheses: a join on the right side stays there only if an ON or USING comes after it.
void Rewriter::KeepParentheses(JoinRef &join) {
	if (join.right->type != TableReferenceType::JOIN || join.condition || !join.using_columns.empty()) {
		return;
	}
	if (join.ref_type != JoinRefType::CROSS) {
		Block("a join in parentheses on the right side of a NATURAL or POSITIONAL JOIN");
	} else if (!join.is_implicit) {
		join.ref_type = JoinRefType::REGULAR;
		join.type = JoinType::INNER;
		join.condition = make_uniq<ConstantExpression>(Value::BOOLEAN(true));
		Changed();
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
		KeepParentheses(join);
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
				Stage(copy, copy->Cast<TableFunctionRef>().function->Cast<FunctionExpression>().function_name);
				ref = std::move(copy);
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

} // namespace openduck
