// rewrite.hpp - a statement's own text made into text that means the same on the server.
//
// The parsed statement is walked once. Every name of the attached catalog loses its local qualification, every local
// name is reported, and values that belong to this connection (current_database(), now(), ...) become constants. What
// was not touched keeps its original text, character for character.
#ifndef OPENDUCK_EXTENSION_REWRITE_HPP
#define OPENDUCK_EXTENSION_REWRITE_HPP

#include "catalog.hpp"
#include "duckdb/parser/sql_statement.hpp"
#include "duckdb/parser/tableref/basetableref.hpp"

namespace openduck {

//! A relation of this side that the statement reads.
struct LocalRelation {
	unique_ptr<TableRef> original; // to be bound here
	string placeholder;            // the relation's name in the server's text
};

struct RewrittenStatement {
	unique_ptr<SQLStatement> statement;
	bool changed = false;           // else the original text is as good
	string blocker;                 // why it cannot be sent; empty: it can
	vector<ObjectVersion> objects;  // what it refers to
	vector<string> parameters;      // identifiers, in the order of $1, $2, ...
	vector<LocalRelation> locals;
};

struct RewriteOptions {
	//! Local relations become placeholders; otherwise they are blockers.
	bool stage_locals = false;
};

//! Walks (and changes) the statement. `text` is its original text, empty when there is none.
RewrittenStatement RewriteStatement(ClientContext &context, Binder &binder, OdCatalog &catalog,
                                    unique_ptr<SQLStatement> statement, RewriteOptions options);

} // namespace openduck

#endif
