// text.hpp - names and string literals as SQL text (filter.hpp writes other values).
#ifndef OPENDUCK_EXTENSION_TEXT_HPP
#define OPENDUCK_EXTENSION_TEXT_HPP

#include "duckdb.hpp"

namespace openduck {

using namespace duckdb; // NOLINT

string QuotedName(const string &name);
//! "catalog"."schema"."name", leaving out what is empty.
string QualifiedText(const string &catalog, const string &schema, const string &name);
//! A string literal; characters that a literal cannot hold are put together with chr().
string TextLiteral(const string &text);

} // namespace openduck

#endif
