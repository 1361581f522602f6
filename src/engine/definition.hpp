// definition.hpp - catalog entries as statements that make them again, and as hashes that tell when they changed.
#ifndef OD_ENGINE_DEFINITION_HPP
#define OD_ENGINE_DEFINITION_HPP

#include "duckdb.hpp"
#include "duckdb/catalog/catalog_entry.hpp"

#include <map>
#include <string>

namespace openduck {

struct Definition {
	std::string kind; // "table", "view", ... as in od_catalog_object
	std::string schema;
	std::string name;
	std::string table; // of an index
	std::string sql;   // CREATE ...; qualified with the schema, without the catalog
	std::string hash;  // of kind, sql and comments
	duckdb::Value comment;
	std::map<std::string, std::string> column_comments;
};

//! The kinds, in an order in which their definitions can be run one after the other.
struct CatalogKind {
	const char *name;
	duckdb::CatalogType scan; // the set to scan: views are in the tables', macros in the functions'
	duckdb::CatalogType type;
};
extern const CatalogKind CATALOG_KINDS[];
extern const size_t CATALOG_KIND_COUNT;
//! NULL for entries that are not a user's (functions, internal entries).
const CatalogKind *KindOf(const duckdb::CatalogEntry &entry);

//! Names only.
Definition Name(duckdb::CatalogEntry &entry);
//! Everything. catalog: the name to leave out of views and macros.
Definition Define(duckdb::CatalogEntry &entry, const std::string &catalog);

} // namespace openduck

#endif
