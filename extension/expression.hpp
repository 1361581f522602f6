// expression.hpp - constants and bound expressions as SQL text that means exactly the same on the server.
//
// The rule: what is not known to be exact is not written. Exactness rests on three things:
//   - every constant and cast carries its type, so that the server's binder chooses the same overloads;
//   - only functions of a closed list are written (expression.cpp), whose value depends on nothing but their arguments;
//   - every function is named in full (system.main.NAME): a macro of that name in the server's database is another thing.
#ifndef OPENDUCK_EXTENSION_EXPRESSION_HPP
#define OPENDUCK_EXTENSION_EXPRESSION_HPP

#include "duckdb.hpp"
#include "duckdb/planner/bound_parameter_map.hpp"
#include "duckdb/planner/expression.hpp"

#include <functional>

namespace openduck
{

using namespace duckdb; // NOLINT: the extension is written in DuckDB's vocabulary

//! Can values and casts of this type be written? No user types, no collations.
bool TypeHasText(const LogicalType &type);

//! Appends the constant as SQL of exactly its type. False (out unchanged): this value has no exact text.
bool LiteralToSql(const Value &value, string &out);

//! A built-in function as it is called in sent text.
string SystemFunction(const string &name);

//! Appends the SQL of a column of the plan; false: not a column of the remote relation.
using ColumnNamer = std::function<bool(const Expression &column, string &out)>;
//! Parameters of a prepared statement in sent text: $1 is the first.
using SentParameters = vector<shared_ptr<BoundParameterData>>;
//! Appends a bound expression. False (out unchanged): something in it is not known to be exact. Parameters are only
//! written if there is a list to add them to.
bool ExpressionToSql(const Expression &expression, const ColumnNamer &namer, string &out,
                     optional_ptr<SentParameters> parameters = nullptr);

//! The word of a comparison, with blanks around it; null: not a comparison that SQL can say.
const char *ComparisonText(ExpressionType type);

} // namespace openduck

#endif
