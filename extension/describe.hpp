// describe.hpp - what DESCRIBE of a query is to find for a view: DuckDB traces each column to the table it comes from, and
// says of it what the table's constraints say.
#ifndef OPENDUCK_EXTENSION_DESCRIBE_HPP
#define OPENDUCK_EXTENSION_DESCRIBE_HPP

#include "entries.hpp"

namespace openduck {

//! DuckDB's own entry of the view, whose body binds here, if the running statement describes a query and nothing else.
//! nullptr: it does not, or this side cannot bind the body.
shared_ptr<CatalogEntry> DescribedView(ClientContext &context, OdView &view);

} // namespace openduck

#endif
