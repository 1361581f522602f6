// hybrid_tree.cpp - what src/plan is told of a plan; see hybrid_placer.hpp.
//
// Each operator becomes one of src/plan's, with two exceptions: an ORDER BY under a LIMIT and a product under its filter are
// one with it, and a subtree that has text only as a whole is a leaf on its server. An operator may run on a server when it
// has exact text over any inputs.
//
// The definition of a materialized CTE may be copied into its readers by the optimizers, which inputs cannot be: it is placed
// first, by itself, without uploads. Duplicate-eliminated columns (DELIM_GET) are read only within their join, here.
#include "hybrid_placer.hpp"

#include "duckdb/catalog/catalog_entry/table_catalog_entry.hpp"
#include "duckdb/planner/expression/list.hpp"
#include "duckdb/planner/expression_iterator.hpp"
#include "duckdb/planner/logical_operator_visitor.hpp"
#include "duckdb/planner/operator/list.hpp"

namespace openduck {

namespace {
constexpr double IN_LIST_BYTES_MAX = 64 * 1024; // as text: filter.cpp
} // namespace

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

//! The columns that are used: those of a projection that nobody uses are not, however it makes them.
void Placer::FindColumns(LogicalOperator &op) {
	if (op.type == LogicalOperatorType::LOGICAL_PROJECTION) {
		auto bindings = op.GetColumnBindings();
		for (idx_t i = 0; i < bindings.size(); i++) {
			if (used.count(bindings[i])) {
				AddColumns(*op.expressions[i], used);
			}
		}
	} else {
		LogicalOperatorVisitor::EnumerateExpressions(
		    op, [&](unique_ptr<Expression> *expression) { AddColumns(**expression, used); });
	}
	for (auto &child : op.children) {
		if (!NamesItsColumns(op) && op.type != LogicalOperatorType::LOGICAL_DELIM_JOIN) {
			for (auto &binding : child->GetColumnBindings()) {
				used.insert(binding);
			}
		}
		FindColumns(*child);
	}
}

void AddColumns(const Expression &expression, column_binding_set_t &out) {
	if (expression.GetExpressionClass() == ExpressionClass::BOUND_COLUMN_REF) {
		out.insert(expression.Cast<BoundColumnRefExpression>().binding);
	}
	ExpressionIterator::EnumerateChildren(expression, [&](const Expression &child) { AddColumns(child, out); });
}

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

uint32_t Placer::SiteOf(OdCatalog &catalog) {
	auto found = std::find(servers.begin(), servers.end(), &catalog);
	return static_cast<uint32_t>(found - servers.begin()) + 1;
}

uint64_t Placer::EverySite() const {
	return (uint64_t(2) << servers.size()) - 1;
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
static bool StandsAlone(const LogicalOperator &op) {
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

static enum od_plan_join_type JoinTypeOf(const LogicalOperator &op) {
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

void Placer::DescribeJoin(const vector<unique_ptr<Expression>> &conditions, LogicalOperator &op, const Node &node,
                          struct od_plan_op &out) {
	out.join.type = JoinTypeOf(op);
	auto keys = EstimateJoinKeys(PointersTo(conditions), nodes[node.kids[0]].estimate, nodes[node.kids[1]].estimate);
	for (idx_t side = 0; side < 2; side++) {
		out.join.distinct[side] = keys.distinct[side];
		out.join.kept[side] = keys.Kept(side);
	}
	out.join.key_bytes = keys.key_bytes + 4;
	if (keys.equalities > 0) {
		// DuckDB gives the keys of the smaller side, if they are not too many, to the scan of the other.
		for (idx_t side = 0; side < 2; side++) {
			auto own = nodes[node.kids[side]].estimate.rows, others = nodes[node.kids[1 - side]].estimate.rows;
			if (others <= own && others <= IN_LIST_KEYS_MAX && others * out.join.key_bytes <= IN_LIST_BYTES_MAX) {
				out.join.reduce |= side == 0 ? OD_PLAN_REDUCE_LEFT : OD_PLAN_REDUCE_RIGHT;
			}
		}
	}
}

uint32_t Placer::AddNode(Node node, struct od_plan_op op) {
	uint32_t index;
	struct od_error err = {};
	if (od_plan_add(plan, &op, node.kids.data(), static_cast<uint32_t>(node.kids.size()), &index, &err) != OD_OK) {
		FailToPlace(err);
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
	if (node.delim) {
		node.estimate.rows = delim_rows;
		for (auto &column : node.estimate.columns) {
			column.distinct = column.domain = delim_rows;
		}
	}
	auto known = known_rows.find(slot.get());
	if (known != known_rows.end()) {
		node.estimate.rows = known->second;
	}
	struct od_plan_op op = {};
	op.force = ForceOf(*slot);
	op.kind = OD_PLAN_SCAN;
	op.sites = sites;
	op.rows = op.scan_rows = node.estimate.rows;
	op.row_bytes = node.estimate.RowBytes(used);
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
	auto outer = delim_rows;
	for (auto child : inputs) {
		node.kids.push_back(Add(*child));
		auto &kid = nodes[node.kids.back()];
		node.delim = node.delim || kid.delim;
		if (op.type == LogicalOperatorType::LOGICAL_DELIM_JOIN && node.kids.size() == 1) {
			delim_rows = EstimateGroups(op.Cast<LogicalComparisonJoin>().duplicate_eliminated_columns, kid.estimate);
		}
	}
	delim_rows = outer;
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
	out.row_bytes = node.estimate.RowBytes(used);
	if (out.kind == OD_PLAN_JOIN && node.kids.size() == 2) {
		DescribeJoin(conditions, op, node, out);
	} else if (out.kind == OD_PLAN_JOIN) {
		out.kind = OD_PLAN_OTHER;
	}
	EstimateWork(out.kind, out);
	return AddNode(std::move(node), out);
}

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

} // namespace openduck
