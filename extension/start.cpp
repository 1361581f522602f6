// start.cpp - see start.hpp.
#include "start.hpp"

#include "duckdb/execution/operator/scan/physical_table_scan.hpp"
#include "duckdb/execution/physical_plan_generator.hpp"
#include "duckdb/parallel/meta_pipeline.hpp"
#include "duckdb/parallel/pipeline.hpp"
#include "duckdb/planner/operator/logical_get.hpp"
#include "scan.hpp"
#include "wrapper.hpp"

namespace openduck {

namespace {

optional_ptr<PhysicalTableScan> ScanOf(PhysicalOperator &op) {
	if (op.type == PhysicalOperatorType::TABLE_SCAN) {
		return op.Cast<PhysicalTableScan>();
	}
	return op.children.size() == 1 ? ScanOf(op.children[0].get()) : nullptr;
}

//! Not part of any pipeline: it only sees them being built, on the thread that runs the statement.
class PhysicalStart : public PhysicalOperator {
public:
	PhysicalStart(PhysicalPlan &plan, PhysicalOperator &child)
	    : PhysicalOperator(plan, PhysicalOperatorType::EXTENSION, child.types, child.estimated_cardinality) {
		children.push_back(child);
	}
	string GetName() const override {
		return "OPENDUCK_START";
	}
	void BuildPipelines(Pipeline &current, MetaPipeline &meta_pipeline) override {
		auto scan = ScanOf(children[0].get());
		if (scan && !scan->dynamic_filters) {
			TableFunctionInitInput input(scan->bind_data.get(), scan->column_ids, scan->projection_ids,
			                             scan->table_filters.get(), scan->extra_info.sample_options, scan.get());
			StartScan(current.GetClientContext(), input);
		}
		children[0].get().BuildPipelines(current, meta_pipeline);
	}
};

struct LogicalStart : public LogicalWrapper {
	explicit LogicalStart(unique_ptr<LogicalOperator> child) : LogicalWrapper(std::move(child), "OPENDUCK_START") {
	}
	PhysicalOperator &CreatePlan(ClientContext &, PhysicalPlanGenerator &planner) override {
		return planner.Make<PhysicalStart>(planner.CreatePlan(*children[0]));
	}
};

} // namespace

void StartScanEarly(unique_ptr<LogicalOperator> &plan) {
	auto slot = &plan;
	while (true) {
		switch ((*slot)->type) {
		case LogicalOperatorType::LOGICAL_GET: {
			auto &get = (*slot)->Cast<LogicalGet>();
			if (IsScan(get.function) && get.children.empty() && !get.dynamic_filters) {
				*slot = make_uniq<LogicalStart>(std::move(*slot));
			}
			return;
		}
		case LogicalOperatorType::LOGICAL_PROJECTION:
		case LogicalOperatorType::LOGICAL_FILTER:
		case LogicalOperatorType::LOGICAL_LIMIT:
		case LogicalOperatorType::LOGICAL_ORDER_BY:
		case LogicalOperatorType::LOGICAL_TOP_N:
		case LogicalOperatorType::LOGICAL_DISTINCT:
		case LogicalOperatorType::LOGICAL_AGGREGATE_AND_GROUP_BY:
			if ((*slot)->children.size() != 1) {
				return;
			}
			slot = &(*slot)->children[0];
			break;
		default:
			return;
		}
	}
}

} // namespace openduck
