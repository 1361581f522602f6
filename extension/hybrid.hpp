// hybrid.hpp - plans that read both sides: which parts of them run on a server, as one statement each.
//
// Before DuckDB's optimizers run, conditions are brought down to what they are about (hybrid_sink.cpp), inner joins are
// regrouped so that relations of one server meet first (hybrid_regroup.cpp), src/plan is told of the plan and says where
// each operator is cheapest (hybrid_placer.hpp), and each part that is to run on a server becomes one scan of its text
// (hybrid_fold.cpp; the text is made by hybrid_unparse.cpp). Local rows such a part reads are collected first and sent with
// it (hybrid_input.cpp). The optimizers then push columns, filters and the keys of joins into these scans as they do for
// tables. What has no exact text stays as it is: scans of tables, computed here.
#ifndef OPENDUCK_EXTENSION_HYBRID_HPP
#define OPENDUCK_EXTENSION_HYBRID_HPP

#include "catalog.hpp"
#include "duckdb/optimizer/column_binding_replacer.hpp"
#include "duckdb/optimizer/optimizer_extension.hpp"
#include "duckdb/planner/logical_operator.hpp"
#include "expression.hpp"

namespace openduck {

//! A subtree as a statement of one server, with columns c0, c1, ... in the order of the subtree's bindings.
struct UnparsedPlan {
	//! Operators that are not written but read, as relations named by their place in this list (hybrid_input.hpp).
	vector<reference<LogicalOperator>> inputs;

	optional_ptr<OdCatalog> catalog; // of all its scans; unset: it reads nothing
	string catalog_alias;
	string sql;
	string catalog_version;
	vector<ObjectVersion> objects;
	SentParameters parameters; // of a prepared statement: $1, $2, ... in the text
	bool reduces = false; // joins, groups or cuts: its rows are worth making where the data is
};

//! Writes the plan (types resolved). False: something in it has no exact text, or it reads more than one database.
//! True with out.catalog unset: it reads no database.
bool UnparsePlan(LogicalOperator &op, UnparsedPlan &out);

//! Can this expression be written, whatever its columns are called?
bool HasExactText(const Expression &expression);

//! Columns of replaced operators, and where they are now: for everything above.
using Replacements = vector<ReplacementBinding>;
void Replace(const Replacements &replacements, unique_ptr<Expression> &expression);
//! In the expressions of the operator itself.
void ReplaceIn(const Replacements &replacements, LogicalOperator &op);
void Append(Replacements &to, Replacements from);

//! Operators whose inputs stay as they are: they run them many times, or look into them.
bool KeepsItsInputs(const LogicalOperator &op);

//! Puts conditions of a WHERE below the joins that its subqueries have become. Types are resolved before and after.
void SinkConditions(ClientContext &context, unique_ptr<LogicalOperator> &op);

//! Brings relations of one server together within trees of inner joins. Types are resolved before and after.
Replacements RegroupJoins(OptimizerExtensionInput &input, unique_ptr<LogicalOperator> &op);

struct PartNote;

//! Makes one scan of the subtree, over inputs that are taken out of it. False: it has no text, or would gain nothing
//! (`everything`: it may be mere filters and projections); then nothing is changed.
bool FoldPart(OptimizerExtensionInput &input, unique_ptr<LogicalOperator> &op,
              const vector<unique_ptr<LogicalOperator> *> &inputs, bool everything, const PartNote &note,
              Replacements &replacements);

//! How the user wants parts to be placed.
struct PlacementWish {
	enum class Mode { COST, REMOTE, RANDOM } mode = Mode::COST;
	uint64_t seed = 0;
	//! Tables with a wish of their own: the last part of the name, or more of it, as written; and where ("local", "remote").
	vector<std::pair<vector<string>, bool>> tables; // true: remote
};

//! Decides where everything runs, and makes the scans. True: the plan was changed.
bool PlacePlan(OptimizerExtensionInput &input, const PlacementWish &wish, unique_ptr<LogicalOperator> &plan);

void RegisterHybrid(DBConfig &config);

} // namespace openduck

#endif
