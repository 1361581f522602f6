// hybrid_place.cpp - hands a bound plan to src/plan and does what it says; see hybrid.hpp.
//
// Each operator becomes one of src/plan's, with two exceptions: an ORDER BY under a LIMIT and a product under its filter are
// one with it, and a subtree that has text only as a whole is a leaf on its server. An operator may run on a server when it
// has exact text over any inputs. Then, from the root down, connected operators of one server are one part, and what they
// read from elsewhere is placed in turn and becomes an input of it.
//
// The definition of a materialized CTE may be copied into its readers by the optimizers, which inputs cannot be: it is placed
// first, by itself, without uploads. Duplicate-eliminated columns (DELIM_GET) are read only within their join, here.
#include "hybrid.hpp"

#include "bridge.hpp"

#include "duckdb/catalog/catalog_entry/table_catalog_entry.hpp"
#include "duckdb/main/client_context.hpp"
#include "duckdb/optimizer/optimizer.hpp"
#include "duckdb/parallel/task_scheduler.hpp"
#include "duckdb/planner/binder.hpp"
#include "duckdb/planner/expression/list.hpp"
#include "duckdb/planner/expression_iterator.hpp"
#include "duckdb/planner/logical_operator_visitor.hpp"
#include "duckdb/planner/operator/list.hpp"
#include "hybrid_estimate.hpp"
#include "hybrid_explain.hpp"
#include "scan.hpp"

#include <map>
#include <set>

namespace openduck {

namespace {

//! An IN list has at most this many keys (hybrid_fold.cpp sets the same for DuckDB).
constexpr uint32_t IN_KEYS_MAX = 10000;
//! A link that nothing is known about.
constexpr double LINK_BYTES_PER_S = 200e6;
constexpr double LINK_ROUND_TRIP_S = 0.001;
constexpr double LINK_UPLOAD_TRIP_S = 0.0002; // rows go with the request, or beside it
constexpr double LINK_ROW_S = 10e-9;
constexpr double LINK_BYTE_S = 0.6e-9;

using CteRows = std::map<idx_t, double>;

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
	vector<OdCatalog *> servers; // site n is servers[n - 1]
	vector<Node> nodes;          // by src/plan's numbers
	std::map<LogicalOperator *, double> known_rows; // of parts that have run before
	std::set<LogicalOperator *> definitions;        // of CTEs, that are placed already
	vector<idx_t> lines;                            // of each node, in the account
	vector<PlacedOperator> below;                   // account of the definitions
	struct od_plan *plan = nullptr;
	struct od_plan_placement placement = {};
};

[[noreturn]] void Fail(const struct od_error &err) {
	throw InternalException("openduck: placing a plan: %s", err.message);
}

void Placer::FindServers(LogicalOperator &op) {
	if (op.type == LogicalOperatorType::LOGICAL_GET && IsScan(op.Cast<LogicalGet>().function)) {
		auto catalog = op.Cast<LogicalGet>().bind_data->Cast<ScanBindData>().catalog;
		// The past takes no rows of this side.
		if (catalog && !catalog->IsPast() && std::find(servers.begin(), servers.end(), catalog) == servers.end()) {
			servers.push_back(catalog);
		}
	}
	for (auto &child : op.children) {
		FindServers(*child);
	}
}

uint32_t Placer::SiteOf(OdCatalog &catalog) {
	auto found = std::find(servers.begin(), servers.end(), &catalog);
	return static_cast<uint32_t>(found - servers.begin()) + 1;
}

uint64_t Placer::EverySite() const {
	return (uint64_t(2) << servers.size()) - 1;
}

void Placer::MakePlan() {
	auto threads = static_cast<double>(TaskScheduler::GetScheduler(input.context).NumberOfThreads());
	vector<struct od_plan_site> sites(servers.size() + 1);
	for (idx_t i = 0; i < sites.size(); i++) {
		auto &site = sites[i];
		site = {};
		site.speed = 1;
		site.threads = MaxValue(threads, 1.0);
		site.flags = uploads ? OD_PLAN_SITE_UPLOAD | OD_PLAN_SITE_ORDERED_UPLOAD : 0;
		site.link.down_bytes_per_s = site.link.up_bytes_per_s = LINK_BYTES_PER_S;
		site.link.round_trip_s = LINK_ROUND_TRIP_S;
		if (i > 0) {
			auto knowledge = KnowledgeOf(servers[i - 1]->GetRemote()->Options());
			std::lock_guard<std::mutex> guard(knowledge->lock);
			auto &meter = knowledge->meter;
			auto known = [](double value, double otherwise) { return value > 0 ? value : otherwise; };
			site.link.round_trip_s = known(meter.round_trip_s, LINK_ROUND_TRIP_S);
			auto down = known(meter.bytes_per_s[OD_METER_DOWN], LINK_BYTES_PER_S);
			site.link.down_bytes_per_s = down;
			site.link.up_bytes_per_s = known(meter.bytes_per_s[OD_METER_UP], down);
		}
		site.link.upload_trip_s = LINK_UPLOAD_TRIP_S;
		site.link.row_s = LINK_ROW_S;
		site.link.byte_s = LINK_BYTE_S;
	}
	struct od_plan_config config = {};
	config.sites = sites.data();
	config.site_count = static_cast<uint32_t>(sites.size());
	od_plan_params_default(&config.params);
	config.params.in_keys_max = IN_KEYS_MAX;
	struct od_error err = {};
	if (od_plan_new(&config, &plan, &err) != OD_OK) {
		Fail(err);
	}
}

bool IsSortedLimit(const LogicalOperator &op) {
	return op.type == LogicalOperatorType::LOGICAL_LIMIT &&
	       op.children[0]->type == LogicalOperatorType::LOGICAL_ORDER_BY;
}

bool IsFilteredProduct(const LogicalOperator &op) {
	return op.type == LogicalOperatorType::LOGICAL_FILTER &&
	       op.children[0]->type == LogicalOperatorType::LOGICAL_CROSS_PRODUCT;
}

//! Means the same over any inputs that give the same rows. Others are written together with what is below them.
bool StandsAlone(const LogicalOperator &op) {
	switch (op.type) {
	case LogicalOperatorType::LOGICAL_FILTER:
	case LogicalOperatorType::LOGICAL_PROJECTION:
	case LogicalOperatorType::LOGICAL_AGGREGATE_AND_GROUP_BY:
	case LogicalOperatorType::LOGICAL_WINDOW:
	case LogicalOperatorType::LOGICAL_COMPARISON_JOIN:
	case LogicalOperatorType::LOGICAL_ANY_JOIN:
	case LogicalOperatorType::LOGICAL_CROSS_PRODUCT:
	case LogicalOperatorType::LOGICAL_DISTINCT:
	case LogicalOperatorType::LOGICAL_LIMIT:
	case LogicalOperatorType::LOGICAL_UNION:
	case LogicalOperatorType::LOGICAL_EXCEPT:
	case LogicalOperatorType::LOGICAL_INTERSECT:
	case LogicalOperatorType::LOGICAL_UNNEST:
		return true;
	default:
		return false;
	}
}

//! What stands below the operator, or below the one that it is one with.
vector<unique_ptr<LogicalOperator> *> Placer::Inputs(LogicalOperator &op) {
	vector<unique_ptr<LogicalOperator> *> result;
	auto &holder = IsSortedLimit(op) || IsFilteredProduct(op) ? *op.children[0] : op;
	for (auto &child : holder.children) {
		result.push_back(&child);
	}
	return result;
}

enum od_plan_kind KindOf(const LogicalOperator &op) {
	switch (op.type) {
	case LogicalOperatorType::LOGICAL_FILTER:
		return IsFilteredProduct(op) ? OD_PLAN_JOIN : OD_PLAN_FILTER;
	case LogicalOperatorType::LOGICAL_PROJECTION:
		return OD_PLAN_PROJECT;
	case LogicalOperatorType::LOGICAL_COMPARISON_JOIN:
	case LogicalOperatorType::LOGICAL_ANY_JOIN:
	case LogicalOperatorType::LOGICAL_CROSS_PRODUCT:
	case LogicalOperatorType::LOGICAL_DELIM_JOIN:
	case LogicalOperatorType::LOGICAL_ASOF_JOIN:
	case LogicalOperatorType::LOGICAL_POSITIONAL_JOIN:
		return OD_PLAN_JOIN;
	case LogicalOperatorType::LOGICAL_AGGREGATE_AND_GROUP_BY:
		return OD_PLAN_AGGREGATE;
	case LogicalOperatorType::LOGICAL_DISTINCT:
		return OD_PLAN_DISTINCT;
	case LogicalOperatorType::LOGICAL_ORDER_BY:
		return OD_PLAN_ORDER;
	case LogicalOperatorType::LOGICAL_LIMIT:
		return IsSortedLimit(op) ? OD_PLAN_TOP_N : OD_PLAN_LIMIT;
	case LogicalOperatorType::LOGICAL_WINDOW:
		return OD_PLAN_WINDOW;
	case LogicalOperatorType::LOGICAL_UNION:
	case LogicalOperatorType::LOGICAL_EXCEPT:
	case LogicalOperatorType::LOGICAL_INTERSECT:
		return OD_PLAN_SET;
	default:
		return OD_PLAN_OTHER;
	}
}

enum od_plan_join_type JoinTypeOf(const LogicalOperator &op) {
	if (op.type == LogicalOperatorType::LOGICAL_CROSS_PRODUCT) {
		return OD_PLAN_CROSS;
	}
	if (op.type == LogicalOperatorType::LOGICAL_FILTER) {
		return OD_PLAN_INNER;
	}
	if (op.type != LogicalOperatorType::LOGICAL_COMPARISON_JOIN) {
		return OD_PLAN_JOIN_OTHER;
	}
	switch (op.Cast<LogicalComparisonJoin>().join_type) {
	case JoinType::INNER:
		return OD_PLAN_INNER;
	case JoinType::LEFT:
		return OD_PLAN_LEFT;
	case JoinType::RIGHT:
		return OD_PLAN_RIGHT;
	case JoinType::OUTER:
		return OD_PLAN_FULL;
	case JoinType::SEMI:
		return OD_PLAN_SEMI;
	case JoinType::ANTI:
		return OD_PLAN_ANTI;
	case JoinType::MARK:
		return OD_PLAN_MARK;
	case JoinType::SINGLE:
		return OD_PLAN_SINGLE;
	default:
		return OD_PLAN_JOIN_OTHER;
	}
}

//! What an operator tests: of a join both its conditions and what is tested beside them.
vector<unique_ptr<Expression>> ConditionsOf(const LogicalOperator &op) {
	vector<unique_ptr<Expression>> result;
	switch (op.type) {
	case LogicalOperatorType::LOGICAL_FILTER:
		for (auto &expression : op.expressions) {
			result.push_back(expression->Copy());
		}
		break;
	case LogicalOperatorType::LOGICAL_COMPARISON_JOIN:
	case LogicalOperatorType::LOGICAL_DELIM_JOIN:
		for (auto &condition : op.Cast<LogicalComparisonJoin>().conditions) {
			result.push_back(make_uniq<BoundComparisonExpression>(condition.comparison, condition.left->Copy(),
			                                                      condition.right->Copy()));
		}
		break;
	case LogicalOperatorType::LOGICAL_ANY_JOIN:
		result.push_back(op.Cast<LogicalAnyJoin>().condition->Copy());
		break;
	default:
		break;
	}
	LogicalFilter::SplitPredicates(result);
	return result;
}

void Placer::DescribeJoin(const vector<unique_ptr<Expression>> &conditions, LogicalOperator &op, const Node &node,
                          struct od_plan_op &out) {
	out.join.type = JoinTypeOf(op);
	auto keys = EstimateJoinKeys(conditions, nodes[node.kids[0]].estimate, nodes[node.kids[1]].estimate);
	out.join.distinct[0] = keys.distinct[0];
	out.join.distinct[1] = keys.distinct[1];
	out.join.key_bytes = keys.key_bytes + 4;
	if (keys.equalities > 0) {
		// DuckDB gives the keys of the side that is here to the scan of the other.
		out.join.reduce = od_plan_join_reducible(out.join.type);
	}
}

uint32_t Placer::AddNode(Node node, struct od_plan_op op) {
	uint32_t index;
	struct od_error err = {};
	if (od_plan_add(plan, &op, node.kids.data(), static_cast<uint32_t>(node.kids.size()), &index, &err) != OD_OK) {
		Fail(err);
	}
	nodes.push_back(std::move(node));
	return index;
}

uint32_t Placer::AddLeaf(unique_ptr<LogicalOperator> &slot, uint64_t sites) {
	Node node;
	node.slot = &slot;
	node.estimate = EstimatePlan(input.context, *slot, {}, {});
	if (slot->type == LogicalOperatorType::LOGICAL_CTE_REF) {
		auto rows = cte_rows.find(slot->Cast<LogicalCTERef>().cte_index);
		node.estimate.rows = rows == cte_rows.end() ? 1000 : rows->second;
	}
	node.delim = slot->type == LogicalOperatorType::LOGICAL_DELIM_GET;
	auto known = known_rows.find(slot.get());
	if (known != known_rows.end()) {
		node.estimate.rows = known->second;
	}
	struct od_plan_op op = {};
	op.force = ForceOf(*slot);
	op.kind = OD_PLAN_SCAN;
	op.sites = sites;
	op.rows = op.scan_rows = node.estimate.rows;
	op.row_bytes = node.estimate.RowBytes();
	EstimateWork(op.kind, op);
	return AddNode(std::move(node), op);
}

uint32_t Placer::Add(unique_ptr<LogicalOperator> &slot) {
	auto &op = *slot;
	const auto local = OD_PLAN_SITE(OD_PLAN_LOCAL);
	auto inputs = Inputs(op);
	if (inputs.empty() || KeepsItsInputs(op)) {
		UnparsedPlan text;
		bool there = UnparsePlan(op, text) && text.catalog;
		return AddLeaf(slot, there ? OD_PLAN_SITE(SiteOf(*text.catalog)) : local);
	}
	UnparsedPlan alone, whole;
	for (auto child : inputs) {
		alone.inputs.push_back(**child);
	}
	bool has_text = StandsAlone(op) && UnparsePlan(op, alone);
	if (!has_text && UnparsePlan(op, whole) && whole.catalog) {
		return AddLeaf(slot, OD_PLAN_SITE(SiteOf(*whole.catalog)));
	}
	if (op.type == LogicalOperatorType::LOGICAL_MATERIALIZED_CTE) {
		if (definitions.insert(&op).second) {
			Placer definition(input, wish, false, cte_rows);
			definition.Run(op.children[0], &cte_rows[op.Cast<LogicalCTE>().table_index]);
			changed = changed || definition.changed;
			below.insert(below.end(), definition.account.begin(), definition.account.end());
		}
		inputs.erase(inputs.begin());
	}
	Node node;
	node.slot = &slot;
	vector<const PlanEstimate *> estimates;
	struct od_plan_op out = {};
	out.kind = KindOf(op);
	for (auto child : inputs) {
		node.kids.push_back(Add(*child));
		node.delim = node.delim || nodes[node.kids.back()].delim;
	}
	for (auto kid : node.kids) {
		estimates.push_back(&nodes[kid].estimate);
	}
	auto conditions = ConditionsOf(op);
	node.estimate = EstimatePlan(input.context, op, estimates, conditions);
	auto known = known_rows.find(&op);
	if (known != known_rows.end()) {
		node.estimate.rows = known->second;
	}
	out.sites = local;
	if (!has_text || node.delim) {
		out.flags |= OD_PLAN_UNPARSABLE;
	} else {
		out.sites = EverySite();
	}
	if (op.type == LogicalOperatorType::LOGICAL_DELIM_JOIN) {
		node.delim = false;
	}
	out.rows = node.estimate.rows;
	out.row_bytes = node.estimate.RowBytes();
	if (out.kind == OD_PLAN_JOIN && node.kids.size() == 2) {
		DescribeJoin(conditions, op, node, out);
	} else if (out.kind == OD_PLAN_JOIN) {
		out.kind = OD_PLAN_OTHER;
	}
	EstimateWork(out.kind, out);
	return AddNode(std::move(node), out);
}

void AddColumns(const Expression &expression, column_binding_set_t &out) {
	if (expression.GetExpressionClass() == ExpressionClass::BOUND_COLUMN_REF) {
		out.insert(expression.Cast<BoundColumnRefExpression>().binding);
	}
	ExpressionIterator::EnumerateChildren(expression, [&](const Expression &child) { AddColumns(child, out); });
}

//! Others take all columns of their inputs, by position.
bool NamesItsColumns(const LogicalOperator &op) {
	switch (op.type) {
	case LogicalOperatorType::LOGICAL_FILTER:
	case LogicalOperatorType::LOGICAL_PROJECTION:
	case LogicalOperatorType::LOGICAL_AGGREGATE_AND_GROUP_BY:
	case LogicalOperatorType::LOGICAL_COMPARISON_JOIN:
	case LogicalOperatorType::LOGICAL_ANY_JOIN:
	case LogicalOperatorType::LOGICAL_CROSS_PRODUCT:
	case LogicalOperatorType::LOGICAL_LIMIT:
		return true;
	default:
		return false;
	}
}

void Placer::FindUsed(uint32_t index, Part &part) {
	auto add = [&](unique_ptr<Expression> *expression) {
		AddColumns(**expression, part.used);
	};
	auto &op = **nodes[index].slot;
	LogicalOperatorVisitor::EnumerateExpressions(op, add);
	if (IsSortedLimit(op) || IsFilteredProduct(op)) {
		LogicalOperatorVisitor::EnumerateExpressions(*op.children[0], add);
	}
	for (auto kid : nodes[index].kids) {
		if (placement.ops[kid].site == placement.ops[index].site) {
			FindUsed(kid, part);
		}
		if (!NamesItsColumns(op)) {
			for (auto &binding : (*nodes[kid].slot)->GetColumnBindings()) {
				part.used.insert(binding);
			}
		}
	}
}

//! Places an input of a part, and puts a projection to the columns that are used on top of it.
Replacements Placer::ApplyInput(uint32_t index, Part &part) {
	auto &slot = *nodes[index].slot;
	auto before = slot->GetColumnBindings();
	Apply(index);
	slot->ResolveOperatorTypes();
	auto after = slot->GetColumnBindings();
	Replacements result;
	vector<unique_ptr<Expression>> columns;
	auto table = input.optimizer.binder.GenerateTableIndex();
	for (idx_t i = 0; i < before.size(); i++) {
		if (part.used.count(before[i]) ||
		    (columns.empty() && i + 1 == before.size())) { // rows are counted by some column
			result.emplace_back(before[i], ColumnBinding(table, columns.size()));
			columns.push_back(make_uniq<BoundColumnRefExpression>(slot->types[i], after[i]));
		}
	}
	auto projection = make_uniq<LogicalProjection>(table, std::move(columns));
	projection->children.push_back(std::move(slot));
	projection->ResolveOperatorTypes();
	slot = std::move(projection);
	part.inputs.push_back(&slot);
	return result;
}

//! Places what is below the operators of a part, and finds its inputs.
Replacements Placer::ApplyPart(uint32_t index, Part &part) {
	Replacements result;
	for (auto kid : nodes[index].kids) {
		bool inside = placement.ops[kid].site == placement.ops[index].site;
		Append(result, inside ? ApplyPart(kid, part) : ApplyInput(kid, part));
	}
	auto &op = **nodes[index].slot;
	ReplaceIn(result, op);
	if (IsSortedLimit(op) || IsFilteredProduct(op)) {
		ReplaceIn(result, *op.children[0]);
	}
	return result;
}

//! Makes scans of the parts at and below this operator, whose reader is on another site.
Replacements Placer::Apply(uint32_t index) {
	auto &placed = placement.ops[index];
	auto &node = nodes[index];
	Replacements result;
	if (placed.site == OD_PLAN_LOCAL) {
		for (auto kid : node.kids) {
			Append(result, Apply(kid));
		}
		auto &op = **node.slot;
		ReplaceIn(result, op);
		if (IsSortedLimit(op) || IsFilteredProduct(op)) {
			ReplaceIn(result, *op.children[0]);
		}
		return result;
	}
	Part part;
	FindUsed(index, part);
	for (auto &binding : (*node.slot)->GetColumnBindings()) {
		part.used.insert(binding);
	}
	result = ApplyPart(index, part);
	PartNote note;
	note.key = KeyOf(index);
	note.why = od_plan_reason_name(placed.reason);
	note.rows = node.estimate.rows;
	note.bytes = placed.bridge.bytes;
	bool everything = wish.mode != PlacementWish::Mode::COST;
	(*node.slot)->ResolveOperatorTypes();
	if (FoldPart(input, *node.slot, part.inputs, everything, note, result)) {
		changed = true;
	} else {
		StaysHere(index);
	}
	return result;
}

//===--------------------------------------------------------------------===//
// The account
//===--------------------------------------------------------------------===//
string NameOf(LogicalOperator &op) {
	if (op.type == LogicalOperatorType::LOGICAL_GET) {
		auto &get = op.Cast<LogicalGet>();
		auto table = get.GetTable();
		return "SCAN" + (table ? " " + table->name : " " + get.function.name);
	}
	if (IsSortedLimit(op)) {
		return "TOP_N";
	}
	if (IsFilteredProduct(op)) {
		return "JOIN INNER";
	}
	auto name = LogicalOperatorToString(op.type);
	if (KindOf(op) == OD_PLAN_JOIN && op.type != LogicalOperatorType::LOGICAL_CROSS_PRODUCT) {
		name = "JOIN " + EnumUtil::ToString(op.Cast<LogicalJoin>().join_type);
	}
	return name;
}

void Placer::Describe(uint32_t index, idx_t depth) {
	auto &placed = placement.ops[index];
	PlacedOperator line;
	line.depth = depth;
	line.name = NameOf(**nodes[index].slot);
	line.site = placed.site == OD_PLAN_LOCAL ? "here" : servers[placed.site - 1]->GetName();
	line.reason = od_plan_reason_name(placed.reason);
	line.rows = nodes[index].estimate.rows;
	if (placed.bridge.direction != OD_PLAN_STAY) {
		line.bridge = od_plan_direction_name(placed.bridge.direction);
		line.bridge_rows = placed.bridge.rows;
		line.bridge_bytes = placed.bridge.bytes;
		if (placed.bridge.reduction != OD_PLAN_UNREDUCED) {
			line.reduction = od_plan_reduction_name(placed.bridge.reduction);
		}
	}
	lines[index] = account.size();
	account.push_back(std::move(line));
	for (auto kid : nodes[index].kids) {
		Describe(kid, depth + 1);
	}
}

//! A part that was not made: filters and projections go into the scan below them in any case.
void Placer::StaysHere(uint32_t index) {
	if (nodes[index].kids.empty()) {
		return;
	}
	account[lines[index]].reason = "in_scan";
	for (auto kid : nodes[index].kids) {
		if (placement.ops[kid].site == placement.ops[index].site) {
			StaysHere(kid);
		}
	}
}

//===--------------------------------------------------------------------===//
// What is known of parts that have run
//===--------------------------------------------------------------------===//
void Placer::CutAt(uint32_t index, UnparsedPlan &text) {
	for (auto kid : nodes[index].kids) {
		if (placement.ops[kid].site == placement.ops[index].site) {
			CutAt(kid, text);
		} else {
			text.inputs.push_back(**nodes[kid].slot);
		}
	}
}

//! Under which the rows of the part with this root are remembered; 0: it is none.
uint64_t Placer::KeyOf(uint32_t index) {
	UnparsedPlan text;
	CutAt(index, text);
	auto &op = **nodes[index].slot;
	if (op.type == LogicalOperatorType::LOGICAL_GET || !UnparsePlan(op, text) || !text.catalog) {
		return 0;
	}
	return ObservedKey(text.catalog->GetRemote()->Options(), text.catalog_version, text.sql);
}

//! True: of some part, other rows are known than were estimated.
bool Placer::Learn(uint32_t index, bool is_root) {
	bool result = false;
	auto site = placement.ops[index].site;
	if (is_root && site != OD_PLAN_LOCAL) {
		double rows;
		auto knowledge = KnowledgeOf(servers[site - 1]->GetRemote()->Options());
		auto key = KeyOf(index);
		std::lock_guard<std::mutex> guard(knowledge->lock);
		if (key && od_observed_get(&knowledge->observed, key, &rows)) {
			auto estimate = nodes[index].estimate.rows;
			rows = MaxValue(rows, 1.0);
			if (rows > 2 * estimate || estimate > 2 * rows) {
				known_rows[nodes[index].slot->get()] = rows;
				result = true;
			}
		}
	}
	for (auto kid : nodes[index].kids) {
		result = Learn(kid, placement.ops[kid].site != site) || result;
	}
	return result;
}

//===--------------------------------------------------------------------===//
// The whole
//===--------------------------------------------------------------------===//
enum od_plan_force Placer::ForceOf(LogicalOperator &op) const {
	if (op.type != LogicalOperatorType::LOGICAL_GET || !IsScan(op.Cast<LogicalGet>().function)) {
		return OD_PLAN_FREE;
	}
	auto &bind = op.Cast<LogicalGet>().bind_data->Cast<ScanBindData>();
	if (!bind.entry) {
		return OD_PLAN_FREE;
	}
	vector<string> name = {bind.catalog_alias, bind.entry->ParentSchema().name, bind.entry->name};
	for (auto &table : wish.tables) {
		auto &parts = table.first;
		bool same = parts.size() <= name.size();
		for (idx_t i = 0; same && i < parts.size(); i++) {
			same = StringUtil::CIEquals(parts[parts.size() - 1 - i], name[name.size() - 1 - i]);
		}
		if (same) {
			return table.second ? OD_PLAN_FORCE_REMOTE : OD_PLAN_FORCE_LOCAL;
		}
	}
	return OD_PLAN_FREE;
}

void Placer::Place() {
	struct od_plan_request request = {};
	request.mode = wish.mode == PlacementWish::Mode::REMOTE   ? OD_PLAN_PUSH
	               : wish.mode == PlacementWish::Mode::RANDOM ? OD_PLAN_RANDOM
	                                                          : OD_PLAN_COST;
	request.seed = wish.seed;
	struct od_error err = {};
	od_plan_placement_release(&placement);
	if (od_plan_place(plan, &request, &placement, &err) != OD_OK) {
		Fail(err);
	}
}

Replacements Placer::Run(unique_ptr<LogicalOperator> &root, double *rows) {
	FindServers(*root);
	if (servers.size() >= OD_PLAN_SITES_MAX - 1) {
		return Replacements();
	}
	MakePlan();
	auto top = Add(root);
	if (rows) {
		*rows = nodes[top].estimate.rows;
	}
	if (servers.empty()) {
		return Replacements();
	}
	Place();
	if (wish.mode == PlacementWish::Mode::COST && Learn(top, true)) {
		od_plan_free(plan);
		plan = nullptr;
		nodes.clear();
		MakePlan();
		top = Add(root);
		Place();
	}
	lines.resize(nodes.size());
	Describe(top, 0);
	account.insert(account.end(), below.begin(), below.end());
	return Apply(top);
}

} // namespace

bool PlacePlan(OptimizerExtensionInput &input, const PlacementWish &wish, unique_ptr<LogicalOperator> &plan) {
	CteRows cte_rows;
	Placer placer(input, wish, true, cte_rows);
	placer.Run(plan, nullptr);
	if (!placer.account.empty()) {
		NotePlacement(input.context, std::move(placer.account));
	}
	return placer.changed;
}

} // namespace openduck
