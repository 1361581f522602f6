// facts.hpp - what a bound plan reads and changes, as far as it decides where it runs.
#ifndef OPENDUCK_EXTENSION_FACTS_HPP
#define OPENDUCK_EXTENSION_FACTS_HPP

#include "catalog.hpp"
#include "duckdb/planner/logical_operator.hpp"
#include "scan.hpp"

namespace openduck {

struct PlanFacts {
	OdCatalog *catalog = nullptr; // of every remote scan and sequence
	bool several = false;         // more than one attached server database
	idx_t scans = 0;
	bool local = false;          // reads something of this side
	bool sequence = false;       // calls nextval or currval on one of our sequences
	bool planned_inside = false; // PREPARE, EXECUTE: bound by a planner of its own
	bool seeds = false;          // sets this connection's random numbers
	vector<reference<ScanBindData>> binds;

	void Remote(OdCatalog &found) {
		if (catalog && catalog != &found) {
			several = true;
		}
		catalog = &found;
	}
};

//! Adds what an expression, or an operator and all below it, does.
void InspectExpression(Expression &expression, PlanFacts &facts);
void Inspect(LogicalOperator &op, PlanFacts &facts);
//! The scans of one server ask for one snapshot.
void GroupScans(PlanFacts &facts);
//! The one of our databases that a bound statement changes, or nullptr.
optional_ptr<OdCatalog> WrittenCatalog(ClientContext &context, Binder &binder, LogicalOperator &plan);

} // namespace openduck

#endif
