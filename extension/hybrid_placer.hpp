// hybrid_placer.hpp - one plan on its way through src/plan: told (hybrid_tree.cpp), placed and made into parts
// (hybrid_place.cpp), accounted for and compared with what is known of earlier runs (hybrid_account.cpp).
#ifndef OPENDUCK_EXTENSION_HYBRID_PLACER_HPP
#define OPENDUCK_EXTENSION_HYBRID_PLACER_HPP

#include "hybrid.hpp"
#include "hybrid_estimate.hpp"
#include "hybrid_explain.hpp"
#include "scan.hpp"

#include <map>
#include <set>

namespace openduck {

//! An IN list has at most this many keys (hybrid_fold.cpp sets the same for DuckDB).
constexpr uint32_t IN_LIST_KEYS_MAX = 10000;

using CteRows = std::map<idx_t, double>;

//! Places one plan, or the definition of one CTE.
class Placer {
public:
	Placer(OptimizerExtensionInput &input, const PlacementWish &wish, bool uploads, CteRows &cte_rows)
	    : input(input), wish(wish), uploads(uploads), cte_rows(cte_rows) {}
	~Placer() {
		od_plan_placement_release(&placement);
		od_plan_free(plan);
	}
	//! Gives the replacements for what lies above. `rows` (may be null): how many the plan is estimated to give.
	Replacements Run(unique_ptr<LogicalOperator> &root, double *rows);
	bool changed = false;
	vector<PlacedOperator> account; // what was decided, for EXPLAIN

private:
	struct Node {
		unique_ptr<LogicalOperator> *slot;
		vector<uint32_t> kids;
		PlanEstimate estimate;
		bool delim = false; // reads duplicate-eliminated columns of a join above
	};
	void FindServers(LogicalOperator &op);
	void FindColumns(LogicalOperator &op);
	uint32_t SiteOf(OdCatalog &catalog);
	uint64_t EverySite() const;
	vector<unique_ptr<LogicalOperator> *> Inputs(LogicalOperator &op);
	uint32_t Add(unique_ptr<LogicalOperator> &slot);
	uint32_t AddLeaf(unique_ptr<LogicalOperator> &slot, uint64_t sites);
	uint32_t AddNode(Node node, struct od_plan_op op);
	void DescribeJoin(const vector<unique_ptr<Expression>> &conditions, LogicalOperator &op, const Node &node,
	                  struct od_plan_op &out);
	void MakePlan();
	enum od_plan_force ForceOf(LogicalOperator &op) const;
	void Place();
	void CutAt(uint32_t index, UnparsedPlan &text);
	uint64_t KeyOf(uint32_t index);
	bool Learn(uint32_t index, bool is_root);
	void Describe(uint32_t index, idx_t depth);
	void StaysHere(uint32_t index);
	Replacements Apply(uint32_t index);
	//! What a part reads from elsewhere, and which columns of that.
	struct Part {
		column_binding_set_t used;
		vector<unique_ptr<LogicalOperator> *> inputs;
	};
	void FindUsed(uint32_t index, Part &part);
	Replacements ApplyPart(uint32_t index, Part &part);
	Replacements ApplyInput(uint32_t index, Part &part);

	OptimizerExtensionInput &input;
	const PlacementWish &wish;
	bool uploads;
	CteRows &cte_rows;
	vector<OdCatalog *> servers;                    // site n is servers[n - 1]
	vector<Node> nodes;                             // by src/plan's numbers
	std::map<LogicalOperator *, double> known_rows; // of parts that have run before
	std::set<LogicalOperator *> definitions;        // of CTEs, that are placed already
	column_binding_set_t used;                      // by some operator, of all columns in the plan
	double delim_rows = 1;                          // that the join around gives to its right side's DELIM_GETs
	vector<idx_t> lines;                            // of each node, in the account
	vector<PlacedOperator> below;                   // account of the definitions
	struct od_plan *plan = nullptr;
	struct od_plan_placement placement = {};
};

[[noreturn]] void FailToPlace(const struct od_error &err);

//! LIMIT and its ORDER BY, a condition and the product below it: one operator each.
bool IsSortedLimit(const LogicalOperator &op);
bool IsFilteredProduct(const LogicalOperator &op);
enum od_plan_kind KindOf(const LogicalOperator &op);
//! Others take all columns of their inputs, by position.
bool NamesItsColumns(const LogicalOperator &op);
void AddColumns(const Expression &expression, column_binding_set_t &out);

} // namespace openduck

#endif
