// hybrid_place.cpp - hands a bound plan to src/plan and does what it says; see hybrid_placer.hpp.
//
// From the root down, connected operators of one server are one part, and what they read from elsewhere is placed in turn
// and becomes an input of it.
#include "bridge.hpp"
#include "duckdb/main/client_context.hpp"
#include "duckdb/optimizer/optimizer.hpp"
#include "duckdb/parallel/task_scheduler.hpp"
#include "duckdb/planner/binder.hpp"
#include "duckdb/planner/expression/list.hpp"
#include "duckdb/planner/logical_operator_visitor.hpp"
#include "duckdb/planner/operator/list.hpp"
#include "hybrid_placer.hpp"

namespace openduck {

namespace {

//! A link that nothing is known about.
constexpr double LINK_BYTES_PER_S = 200e6;
constexpr double LINK_WINDOW_BYTES = 512 << 10;
constexpr double LINK_ROUND_TRIP_S = 0.001;
constexpr double LINK_UPLOAD_TRIP_S = 0.0002; // rows go with the request, or beside it
constexpr double LINK_ROW_S = 10e-9;
constexpr double LINK_BYTE_S = 0.6e-9;

} // namespace

[[noreturn]] void FailToPlace(const struct od_error &err) {
	throw InternalException("openduck: placing a plan: %s", err.message);
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
			// What is known of one direction is likely of the other; of neither, a window of bytes goes with each round trip.
			auto guess = std::min(LINK_BYTES_PER_S, LINK_WINDOW_BYTES / site.link.round_trip_s);
			auto down = meter.bytes_per_s[OD_METER_DOWN], up = meter.bytes_per_s[OD_METER_UP];
			site.link.down_bytes_per_s = known(down, known(up, guess));
			site.link.up_bytes_per_s = known(up, known(down, guess));
		}
		site.link.upload_trip_s = LINK_UPLOAD_TRIP_S;
		site.link.row_s = LINK_ROW_S;
		site.link.byte_s = LINK_BYTE_S;
	}
	struct od_plan_config config = {};
	config.sites = sites.data();
	config.site_count = static_cast<uint32_t>(sites.size());
	od_plan_params_default(&config.params);
	config.params.in_keys_max = IN_LIST_KEYS_MAX;
	struct od_error err = {};
	if (od_plan_new(&config, &plan, &err) != OD_OK) {
		FailToPlace(err);
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

void Placer::Place() {
	struct od_plan_request request = {};
	request.mode = wish.mode == PlacementWish::Mode::REMOTE   ? OD_PLAN_PUSH
	               : wish.mode == PlacementWish::Mode::RANDOM ? OD_PLAN_RANDOM
	                                                          : OD_PLAN_COST;
	request.seed = wish.seed;
	struct od_error err = {};
	od_plan_placement_release(&placement);
	if (od_plan_place(plan, &request, &placement, &err) != OD_OK) {
		FailToPlace(err);
	}
}

Replacements Placer::Run(unique_ptr<LogicalOperator> &root, double *rows) {
	FindServers(*root);
	for (auto &binding : root->GetColumnBindings()) {
		used.insert(binding);
	}
	FindColumns(*root);
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
