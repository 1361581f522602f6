// facts.cpp - see facts.hpp.
#include "facts.hpp"

#include "duckdb/catalog/catalog_entry/sequence_catalog_entry.hpp"
#include "duckdb/function/scalar/sequence_utils.hpp"
#include "duckdb/main/attached_database.hpp"
#include "duckdb/main/client_context.hpp"
#include "duckdb/main/database_manager.hpp"
#include "duckdb/parser/parsed_data/alter_info.hpp"
#include "duckdb/parser/parsed_data/drop_info.hpp"
#include "duckdb/planner/binder.hpp"
#include "duckdb/planner/expression/bound_function_expression.hpp"
#include "duckdb/planner/expression/bound_subquery_expression.hpp"
#include "duckdb/planner/expression_iterator.hpp"
#include "duckdb/planner/logical_operator_visitor.hpp"
#include "duckdb/planner/operator/list.hpp"

namespace openduck {

static const case_insensitive_set_t PURE_FUNCTIONS = {"range",     "generate_series",     "unnest",
                                               "repeat",    "repeat_row",          "json_each",
                                               "json_tree", "generate_subscripts", "test_all_types"};

void InspectExpression(Expression &expression, PlanFacts &facts) {
	if (expression.GetExpressionClass() == ExpressionClass::BOUND_FUNCTION) {
		auto &function = expression.Cast<BoundFunctionExpression>();
		facts.seeds = facts.seeds || function.function.name == "setseed";
		if (function.bind_info && (function.function.name == "nextval" || function.function.name == "currval")) {
			auto &sequence = function.bind_info->Cast<NextvalBindData>().sequence;
			if (auto catalog = OdCatalog::From(sequence.ParentCatalog())) {
				facts.Remote(*catalog);
				facts.sequence = true;
			} else {
				facts.local = true;
			}
		}
	}
	if (expression.GetExpressionClass() == ExpressionClass::BOUND_SUBQUERY) {
		auto &subquery = expression.Cast<BoundSubqueryExpression>();
		if (subquery.subquery.plan) {
			Inspect(*subquery.subquery.plan, facts);
		}
	}
	ExpressionIterator::EnumerateChildren(expression, [&](Expression &child) { InspectExpression(child, facts); });
}

void Inspect(LogicalOperator &op, PlanFacts &facts) {
	switch (op.type) {
	case LogicalOperatorType::LOGICAL_GET: {
		auto &get = op.Cast<LogicalGet>();
		if (IsScan(get.function)) {
			auto &bind = get.bind_data->Cast<ScanBindData>();
			if (bind.IsText() || !bind.catalog) {
				facts.local = true;
				if (bind.catalog && get.function.name == "openduck_scan") {
					facts.binds.push_back(bind); // a part of a plan
				}
				break;
			}
			facts.Remote(*bind.catalog);
			facts.scans++;
			facts.binds.push_back(bind);
			break;
		}
		if (PURE_FUNCTIONS.find(get.function.name) == PURE_FUNCTIONS.end()) {
			facts.local = true;
		}
		break;
	}
	case LogicalOperatorType::LOGICAL_CHUNK_GET:
		facts.local = true;
		break;
	case LogicalOperatorType::LOGICAL_PREPARE:
	case LogicalOperatorType::LOGICAL_EXECUTE:
		facts.planned_inside = true;
		return;
	default:
		break;
	}
	LogicalOperatorVisitor::EnumerateExpressions(
	    op, [&](unique_ptr<Expression> *expression) { InspectExpression(**expression, facts); });
	for (auto &child : op.children) {
		Inspect(*child, facts);
	}
}

void GroupScans(PlanFacts &facts) {
	unordered_map<OdCatalog *, shared_ptr<ScanGroup>> groups;
	for (auto &bind : facts.binds) {
		auto &group = groups[bind.get().catalog];
		if (!group) {
			group = make_shared_ptr<ScanGroup>();
		}
		group->size++;
		bind.get().group = group;
	}
}

//! The attached database a DROP or ALTER of something that is not there would have been about.
static optional_ptr<OdCatalog> TargetOfMissing(ClientContext &context, LogicalOperator &op) {
	if (op.type != LogicalOperatorType::LOGICAL_DROP && op.type != LogicalOperatorType::LOGICAL_ALTER) {
		return nullptr;
	}
	auto &info = *op.Cast<LogicalSimple>().info;
	string catalog;
	if (op.type == LogicalOperatorType::LOGICAL_DROP) {
		auto &drop = info.Cast<DropInfo>();
		if (drop.type == CatalogType::PREPARED_STATEMENT || drop.type == CatalogType::SECRET_ENTRY) {
			return nullptr;
		}
		catalog = drop.catalog;
	} else {
		auto &alter = info.Cast<AlterInfo>();
		if (alter.type == AlterType::ALTER_DATABASE) {
			return nullptr;
		}
		catalog = alter.catalog;
	}
	if (catalog.empty()) {
		catalog = DatabaseManager::GetDefaultDatabase(context);
	}
	auto entry = Catalog::GetCatalogEntry(context, catalog);
	return entry ? OdCatalog::From(*entry) : nullptr;
}

optional_ptr<OdCatalog> WrittenCatalog(ClientContext &context, Binder &binder, LogicalOperator &plan) {
	auto &properties = binder.GetStatementProperties();
	for (auto &modified : properties.modified_databases) {
		auto entry = Catalog::GetCatalogEntry(context, modified.first);
		if (entry) {
			if (auto catalog = OdCatalog::From(*entry)) {
				return catalog;
			}
		}
	}
	auto target = TargetOfMissing(context, plan);
	if (target) {
		properties.RegisterDBModify(*target, context, DatabaseModificationType::DROP_CATALOG_ENTRY);
		return target;
	}
	if (plan.type == LogicalOperatorType::LOGICAL_VACUUM) {
		PlanFacts facts;
		Inspect(plan, facts);
		return facts.catalog;
	}
	return nullptr;
}

} // namespace openduck
