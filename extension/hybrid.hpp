// hybrid.hpp - plans that read both sides: which parts of them run on a server, as one statement each.
//
// Before DuckDB's optimizers run, the largest subtrees that read one server alone, and that have exact SQL text, are
// replaced by one scan of that text (hybrid_fold.cpp; the text is made by hybrid_unparse.cpp). The optimizers then push
// columns, filters and the keys of joins into that scan as they do for a table. What has no exact text, or would not
// cross smaller, stays as it is: scans of tables, computed here.
#ifndef OPENDUCK_EXTENSION_HYBRID_HPP
#define OPENDUCK_EXTENSION_HYBRID_HPP

#include "catalog.hpp"
#include "duckdb/planner/logical_operator.hpp"
#include "expression.hpp"

namespace openduck {

//! A subtree as a statement of one server, with columns c0, c1, ... in the order of the subtree's bindings.
struct UnparsedPlan {
	optional_ptr<OdCatalog> catalog; // of all its scans; unset: it reads nothing
	string catalog_alias;
	string sql;
	string catalog_version;
	vector<ObjectVersion> objects;
	SentParameters parameters; // of a prepared statement: $1, $2, ... in the text
	bool reduces = false; // joins, groups or cuts: its rows are worth making where the data is
};

//! Writes the plan (types resolved). False: something in it has no exact text, or it reads more than one database.
bool UnparsePlan(LogicalOperator &op, UnparsedPlan &out);

//! Can this expression be written, whatever its columns are called?
bool HasExactText(const Expression &expression);

void RegisterHybrid(DBConfig &config);

} // namespace openduck

#endif
