// bind.cpp - decides for each bound statement what runs where, and replaces what runs on the server.
//
// DuckDB binds every statement against the shadow catalog first: names, types and errors are its own. Then:
//   1. post_bind looks at the bound plan. A statement that changes the attached database, or reads nothing else, is to be
//      shipped as text. The hook does not get the text, so it keeps the bound plan and throws a sentinel.
//   2. OperatorExtension::Bind is what DuckDB tries after any error; it gets the statement. Its text is parsed again (the
//      first bind used up the tree), rewritten (rewrite.cpp), and the plan that goes back is our operator, or the
//      bound plan with a scan of the text in place of a part of it - or, when the text cannot be sent, the bound plan
//      itself, whose scans fetch rows and whose INSERT uploads them.
//   3. post_bind sees the plan that went back, and lets it pass.
//   4. After the optimizer, and again where nothing may be left to chance, a plan that would change or read the shadow's
//      own storage is refused (VerifyPlan).
//
// Statements that name our objects only in a PREPARE, or run an EXECUTE, were treated when their inner statement was
// bound by its own planner.
#include "bind.hpp"

#include "duckdb/catalog/catalog_entry/table_catalog_entry.hpp"
#include "duckdb/common/exception/binder_exception.hpp"
#include "duckdb/main/attached_database.hpp"
#include "duckdb/main/client_context.hpp"
#include "duckdb/optimizer/optimizer_extension.hpp"
#include "duckdb/planner/logical_operator_visitor.hpp"
#include "duckdb/planner/operator/list.hpp"
#include "duckdb/planner/operator_extension.hpp"
#include "duckdb/planner/planner_extension.hpp"
#include "export.hpp"
#include "facts.hpp"
#include "hybrid.hpp"
#include "shipping.hpp"
#include "start.hpp"
#include "state.hpp"

namespace openduck {

namespace {

//===--------------------------------------------------------------------===//
// post_bind
//===--------------------------------------------------------------------===//
[[noreturn]] void ThrowSentinel() {
	throw BinderException("openduck: this statement runs on the server");
}

void PostBind(PlannerExtensionInput &input, BoundStatement &statement) {
	auto &context = input.context;
	if (!statement.plan) {
		return;
	}
	PlanFacts facts;
	Inspect(*statement.plan, facts);
	if (facts.seeds) {
		OdContextState::Get(context)->seeded = true;
	}
	if (auto replaced = OdContextState::Find(context)) {
		if (replaced->ship.replacing) {
			replaced->ship = PendingShip();
			GroupScans(facts);
			return;
		}
	}
	if (facts.planned_inside) {
		return;
	}
	auto written = WrittenCatalog(context, input.binder, *statement.plan);
	if (!written && !facts.catalog) {
		return;
	}
	auto state = OdContextState::Get(context);
	bool whole = facts.catalog && !facts.several && !facts.local;
	if (!written && !whole) {
		GroupScans(facts);
		return;
	}
	auto &ship = state->ship;
	ship.armed = true;
	ship.writes = written;
	ship.catalog = written ? written : facts.catalog;
	ship.bound = std::move(statement);
	ThrowSentinel();
}

BoundStatement BindRefused(ClientContext &context, Binder &binder, OperatorExtensionInfo *, SQLStatement &statement) {
	auto state = OdContextState::Get(context);
	if (!state->ship.armed) {
		return BoundStatement(); // an error of the user's
	}
	auto ship = std::move(state->ship);
	state->ship = PendingShip();
	Shipping shipping{context, binder, *ship.catalog, PristineStatement(context, statement)};
	auto result = ship.writes ? ShipWrite(shipping, statement, std::move(ship.bound))
	                          : ShipSelect(shipping, std::move(ship.bound));
	state->ship.replacing = true;
	return result;
}

class ShipExtension : public OperatorExtension {
public:
	ShipExtension() {
		Bind = BindRefused;
	}
	string GetName() override {
		return "openduck";
	}
	unique_ptr<LogicalExtensionOperator> Deserialize(Deserializer &) override {
		throw NotImplementedException("A plan that runs on an OpenDuck server cannot be read from bytes");
	}
};

//===--------------------------------------------------------------------===//
// The last look
//===--------------------------------------------------------------------===//
//! Nothing in an optimized plan may change the shadow or read its storage.
void VerifyOperator(LogicalOperator &op) {
	auto refuse = [](Catalog &catalog, const string &what) {
		if (OdCatalog::From(catalog)) {
			throw InternalException("openduck: %s would have reached the local shadow of \"%s\"", what,
			                        catalog.GetName());
		}
	};
	switch (op.type) {
	case LogicalOperatorType::LOGICAL_GET: {
		auto &get = op.Cast<LogicalGet>();
		if (!IsScan(get.function)) {
			auto table = get.GetTable();
			if (table) {
				refuse(table->ParentCatalog(), "a scan of \"" + table->name + "\"");
			}
		}
		break;
	}
	case LogicalOperatorType::LOGICAL_UPDATE:
		refuse(op.Cast<LogicalUpdate>().table.ParentCatalog(), "an UPDATE");
		break;
	case LogicalOperatorType::LOGICAL_DELETE:
		refuse(op.Cast<LogicalDelete>().table.ParentCatalog(), "a DELETE");
		break;
	case LogicalOperatorType::LOGICAL_MERGE_INTO:
		refuse(op.Cast<LogicalMergeInto>().table.ParentCatalog(), "a MERGE");
		break;
	case LogicalOperatorType::LOGICAL_CREATE_INDEX:
		refuse(op.Cast<LogicalCreateIndex>().table.ParentCatalog(), "a CREATE INDEX");
		break;
	default:
		break;
	}
	LogicalOperatorVisitor::EnumerateExpressions(op, [&](unique_ptr<Expression> *expression) {
		PlanFacts facts;
		InspectExpression(**expression, facts);
		if (facts.sequence) {
			throw NotImplementedException("A sequence of a server is used together with local rows; use "
			                              "openduck_query('%s', 'SELECT nextval(...)')",
			                              facts.catalog->GetName());
		}
	});
	for (auto &child : op.children) {
		VerifyOperator(*child);
	}
}

void VerifyPlan(OptimizerExtensionInput &input, unique_ptr<LogicalOperator> &plan) {
	VerifyOperator(*plan);
	PlanFacts facts;
	Inspect(*plan, facts);
	GroupScans(facts); // again: optimizers copy scans, where they write a CTE into each of its places
	StartScanEarly(plan);
	OrderExport(input.context, plan);
}

} // namespace

void RegisterPlannerHooks(DBConfig &config) {
	PlannerExtension planner;
	planner.post_bind_function = PostBind;
	PlannerExtension::Register(config, planner);
	OperatorExtension::Register(config, make_shared_ptr<ShipExtension>());
	OptimizerExtension optimizer;
	optimizer.optimize_function = VerifyPlan;
	OptimizerExtension::Register(config, optimizer);
	RegisterHybrid(config);
}

} // namespace openduck
