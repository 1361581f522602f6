// change.hpp - what a CREATE or DROP does to a catalog snapshot, where that is known without reading the catalog again.
//
// It is known when the server ran the statement on the very version the snapshot has (the request carried it), and
// nothing but the named entry, and a table's indexes, can have come or gone.
#ifndef OPENDUCK_EXTENSION_CHANGE_HPP
#define OPENDUCK_EXTENSION_CHANGE_HPP

#include "catalog.hpp"
#include "duckdb/parser/sql_statement.hpp"

namespace openduck {

struct DefinitionChange {
	enum class Action : uint8_t { CREATE, REPLACE, DROP };
	Action action = Action::CREATE;
	bool conditional = false; // IF [NOT] EXISTS: it may have done nothing
	EntrySet set = EntrySet::NONE; // NONE: a schema
	string kind, schema, name;
};

//! What the statement, as it is sent, does. nullptr: something that only the server can tell.
unique_ptr<DefinitionChange> ChangeOf(const SQLStatement &statement);

//! The snapshot after the change, whose new entry has its definition fetched when it is looked up. nullptr: the catalog
//! must be read.
shared_ptr<CatalogSnapshot> ChangedSnapshot(CatalogSnapshot &base, const DefinitionChange &change,
                                            const string &version, idx_t number);
//! The same definitions under another version.
shared_ptr<CatalogSnapshot> CopySnapshot(CatalogSnapshot &base, const string &version, idx_t number);

} // namespace openduck

#endif
