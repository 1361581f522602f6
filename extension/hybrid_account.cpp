// hybrid_account.cpp - what was decided, for EXPLAIN, and what earlier runs say of it; see hybrid_placer.hpp.
#include "bridge.hpp"
#include "duckdb/catalog/catalog_entry/table_catalog_entry.hpp"
#include "duckdb/planner/operator/list.hpp"
#include "hybrid_placer.hpp"

namespace openduck {

//===--------------------------------------------------------------------===//
// The account
//===--------------------------------------------------------------------===//
static string NameOf(LogicalOperator &op) {
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

} // namespace openduck
