// rewriter.hpp - the walk behind rewrite.hpp, one visit for each kind of node: rewrite_query.cpp, rewrite_expression.cpp,
// and rewrite.cpp for statements.
//
// Names. A name that resolves (as the binder resolves it: temporary objects, search path, then the catalog named in it)
// to an object of the attached catalog is sent as schema.name, or as it was when it needs no schema; the server's
// sessions look into their own database first. The catalog itself is never sent: definitions that the server stores
// must not contain a name that only this connection knows.
#ifndef OPENDUCK_EXTENSION_REWRITER_HPP
#define OPENDUCK_EXTENSION_REWRITER_HPP

#include "rewrite.hpp"

#include "duckdb/catalog/catalog_search_path.hpp"
#include "duckdb/main/client_context.hpp"
#include "duckdb/main/client_data.hpp"
#include "duckdb/parser/expression/list.hpp"
#include "duckdb/parser/parsed_data/create_info.hpp"
#include "duckdb/parser/parsed_data/alter_info.hpp"
#include "duckdb/parser/parsed_data/sample_options.hpp"
#include "duckdb/parser/query_node/list.hpp"
#include "duckdb/parser/statement/list.hpp"
#include "duckdb/parser/tableref/list.hpp"
#include "duckdb/planner/binder.hpp"
#include "state.hpp"

namespace openduck {

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
	void KeepParentheses(JoinRef &join);
	void VisitRef(unique_ptr<TableRef> &ref);
	void VisitBaseTable(unique_ptr<TableRef> &ref);
	//! A relation of this side becomes one that is sent along, under its alias or this name.
	void Stage(unique_ptr<TableRef> &ref, const string &name);
	void VisitSample(const unique_ptr<SampleOptions> &sample);
	void VisitTableFunction(TableFunctionRef &ref);
	void VisitExpression(unique_ptr<ParsedExpression> &expression);
	void VisitFunction(unique_ptr<ParsedExpression> &expression);
	bool FoldName(unique_ptr<ParsedExpression> &expression);
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

} // namespace openduck

#endif
