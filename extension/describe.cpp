// describe.cpp - see describe.hpp.
#include "describe.hpp"

#include "duckdb/catalog/catalog_search_path.hpp"
#include "duckdb/main/client_context.hpp"
#include "duckdb/parser/parser.hpp"
#include "duckdb/parser/query_node/select_node.hpp"
#include "duckdb/parser/statement/select_statement.hpp"
#include "duckdb/parser/tableref/showref.hpp"
#include "duckdb/parser/tableref/subqueryref.hpp"
#include "duckdb/planner/binder.hpp"

namespace openduck {

//! DESCRIBE, or SELECT ... FROM (DESCRIBE ...).
static bool IsDescription(const QueryNode &node) {
	if (node.type != QueryNodeType::SELECT_NODE || !node.cte_map.map.empty()) {
		return false;
	}
	auto &from = *node.Cast<SelectNode>().from_table;
	switch (from.type) {
	case TableReferenceType::SHOW_REF:
		return from.Cast<ShowRef>().query != nullptr && from.Cast<ShowRef>().show_type == ShowType::DESCRIBE;
	case TableReferenceType::SUBQUERY:
		return IsDescription(*from.Cast<SubqueryRef>().subquery->node);
	default:
		return false;
	}
}

static bool Describes(ClientContext &context) {
	if (!context.transaction.HasActiveTransaction() || context.transaction.GetActiveQuery() == MAXIMUM_QUERY_ID) {
		return false;
	}
	auto text = StringUtil::Lower(context.GetCurrentQuery());
	if (text.find("desc") == string::npos && text.find("show") == string::npos) {
		return false; // most statements are not worth a parse
	}
	Parser parser(context.GetParserOptions());
	try {
		parser.ParseQuery(context.GetCurrentQuery());
	} catch (std::exception &) {
		return false;
	}
	return parser.statements.size() == 1 && parser.statements[0]->type == StatementType::SELECT_STATEMENT &&
	       IsDescription(*parser.statements[0]->Cast<SelectStatement>().node);
}

shared_ptr<CatalogEntry> DescribedView(ClientContext &context, OdView &view) {
	if (!Describes(context)) {
		return nullptr;
	}
	auto info = unique_ptr_cast<CreateInfo, CreateViewInfo>(view.GetInfo());
	auto &catalog = view.ParentCatalog();
	try {
		auto binder = Binder::CreateBinder(context);
		binder->EntryRetriever().SetSearchPath({CatalogSearchEntry(catalog.GetName(), view.ParentSchema().name)});
		auto copy = unique_ptr_cast<SQLStatement, SelectStatement>(info->query->Copy());
		auto bound = binder->Bind(*copy->node);
		if (bound.types != info->types) {
			return nullptr; // a function of another meaning there, say
		}
	} catch (std::exception &) {
		return nullptr;
	}
	return make_shared_ptr<ViewCatalogEntry>(catalog, view.ParentSchema(), *info);
}

} // namespace openduck
