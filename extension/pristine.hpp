// pristine.hpp - a statement's tree as it was before it was bound, which uses it up.
#ifndef OPENDUCK_EXTENSION_PRISTINE_HPP
#define OPENDUCK_EXTENSION_PRISTINE_HPP

#include "duckdb/parser/sql_statement.hpp"

namespace openduck {

using namespace duckdb;

struct Pristine {
	unique_ptr<SQLStatement> statement;
	string text; // of exactly this statement; empty: it has none of its own
};

//! The tree of a statement that DuckDB is binding. Without a statement: it cannot be had.
Pristine PristineStatement(ClientContext &context, SQLStatement &bound);

} // namespace openduck

#endif
