// change.hpp - what a CREATE, ALTER or DROP does to a catalog snapshot, where that is known without reading the catalog
// again.
//
// It is known when the server ran the statement on the very version the snapshot has (the request carried it), and
// nothing but the named entry, and a table's indexes, can have come, changed or gone. What the entry then is comes with
// the server's answer.
#ifndef OPENDUCK_EXTENSION_CHANGE_HPP
#define OPENDUCK_EXTENSION_CHANGE_HPP

#include "catalog.hpp"
#include "duckdb/parser/sql_statement.hpp"

namespace openduck {

struct DefinitionChange {
	enum class Action : uint8_t { CREATE, REPLACE, ALTER, DROP };
	Action action = Action::CREATE;
	bool conditional = false; // IF [NOT] EXISTS: it may have done nothing
	EntrySet set = EntrySet::NONE; // NONE: a schema
	string kind, schema, name;
	string new_name;      // by an ALTER that renames the entry
	bool renames = false; // the entry or a column, which other definitions may name
	bool tells = false;   // the server is asked what the entry is afterwards

	//! What to ask for.
	vector<ObjectVersion> Tell() const;
};

//! What the statement, as it is sent, does. nullptr: something that only the server can tell.
unique_ptr<DefinitionChange> ChangeOf(const SQLStatement &statement);

//! The snapshot after the change. told: the server's rows of the catalog; without one a new entry has its definition
//! fetched when it is looked up. nullptr: the catalog must be read.
shared_ptr<CatalogSnapshot> ChangedSnapshot(CatalogSnapshot &base, const DefinitionChange &change,
                                            const vector<vector<Value>> &told, const string &version, idx_t number);
//! The same definitions under another version.
shared_ptr<CatalogSnapshot> CopySnapshot(CatalogSnapshot &base, const string &version, idx_t number);

} // namespace openduck

#endif
