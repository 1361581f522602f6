// ship.cpp - see ship.hpp.
#include "ship.hpp"

#include "change.hpp"
#include "duckdb/execution/physical_plan_generator.hpp"
#include "duckdb/main/attached_database.hpp"
#include "duckdb/main/client_context.hpp"
#include "duckdb/parallel/meta_pipeline.hpp"
#include "duckdb/parallel/pipeline.hpp"
#include "settings.hpp"
#include "state.hpp"
#include "upload.hpp"

namespace openduck {

Value ParameterValue(ClientContext &context, const BoundParameterData &parameter) {
	auto &value = parameter.GetValue();
	auto &type = parameter.return_type;
	switch (type.id()) {
	case LogicalTypeId::INVALID:
	case LogicalTypeId::UNKNOWN:
	case LogicalTypeId::STRING_LITERAL:
	case LogicalTypeId::INTEGER_LITERAL:
	case LogicalTypeId::SQLNULL:
		return value;
	default:
		return value.type() == type ? value : value.CastAs(context, type);
	}
}

RemoteRequest RequestFor(ClientContext &context, ShippedStatement &statement) {
	RemoteRequest request;
	request.sql = statement.sql;
	request.settings = MirroredSettings(context);
	request.catalog_version = statement.catalog_version;
	request.objects = statement.objects;
	request.read_only = statement.read_only;
	for (auto &parameter : statement.parameters) {
		request.parameters.push_back(ParameterValue(context, *parameter));
	}
	return request;
}

void StatementDone(ClientContext &context, ShippedStatement &statement, RemoteQuery &query, const string &before,
                   const vector<vector<Value>> &told) {
	auto &catalog = *statement.catalog;
	if (statement.change && !before.empty()) {
		catalog.DefinitionChanged(context, *statement.change, before, told, query);
		return;
	}
	if (OdCatalog::InExplicitTransaction(context) || statement.together) {
		if (statement.definitions) {
			catalog.DefinitionsChanged(context);
		}
		return;
	}
	catalog.SawVersion(query.CatalogVersion());
}

//===--------------------------------------------------------------------===//
// Result
//===--------------------------------------------------------------------===//
ShippedResult::ShippedResult(ClientContext &context, shared_ptr<ShippedStatement> statement_p)
    : statement(std::move(statement_p)) {
	Send(context, RequestFor(context, *statement));
	if (!statement->rows) {
		if (statement->change && statement->change->tells) {
			told = make_uniq<ResultRows>(context, *query);
		}
		return;
	}
	vector<LogicalType> types;
	vector<string> names;
	query->Schema(types, names);
	if (types != statement->types) {
		throw InvalidInputException("The server's result of \"%s\" has other types than this statement was planned for",
		                            statement->sql);
	}
	decoder = make_uniq<BatchDecoder>(context, query->Arrow());
}

void ShippedResult::Send(ClientContext &context, RemoteRequest request) {
	auto session = statement->catalog->SessionFor(context, statement->session);
	if (statement->change) {
		request.catalog_version = before = statement->catalog->Snapshot(context, false)->version;
		request.tell = statement->change->Tell();
	}
	try {
		query = statement->remote->Execute(request, session.get());
	} catch (CatalogStaleException &ex) {
		if (statement->change) {
			// The text means what it says on any version; only what it changes is not known then.
			request.catalog_version = before = string();
			query = statement->remote->Execute(request, session.get());
			return;
		}
		// The text means what it says on any version; the plan only holds what its rows look like.
		for (int attempt = 0; attempt < 3 && GivesTheSame(context, session.get()); attempt++) {
			request.catalog_version = statement->catalog->Snapshot(context, false)->version;
			request.objects.clear();
			try {
				query = statement->remote->Execute(request, session.get());
				return;
			} catch (CatalogStaleException &) {
				continue;
			}
		}
		throw TransactionException("A definition this statement was planned for changed on the server; nothing was "
		                           "done, run it again (%s)",
		                           string(ex.what()));
	}
}

//! Of the newest definitions: would the rows be those that the plan expects?
bool ShippedResult::GivesTheSame(ClientContext &context, RemoteSession *session) {
	auto &catalog = *statement->catalog;
	catalog.Refresh(context);
	try {
		auto now = statement->remote->Described(statement->sql, catalog.Snapshot(context, false)->version, session,
		                                        MirroredSettings(context));
		return now.types == statement->types && (statement->names.empty() || now.names == statement->names);
	} catch (std::exception &) {
		return false; // with parameters, or what it names is gone
	}
}

bool ShippedResult::Next(ClientContext &context, DataChunk &chunk) {
	while (!done) {
		if (decoder && decoder->Remaining() > 0) {
			decoder->Read(chunk);
			if (chunk.size() > 0) {
				if (!headed && !statement->heading.empty()) {
					chunk.SetValue(1, 0, Value(statement->heading + chunk.GetValue(1, 0).ToString()));
				}
				headed = true;
				return true;
			}
		}
		auto batch = query->Wait(context);
		if (!batch) {
			done = true;
			StatementDone(context, *statement, *query, before, told ? told->rows : vector<vector<Value>>());
			break;
		}
		if (told) {
			told->Add(batch);
			continue;
		}
		if (decoder) {
			try {
				decoder->Load(batch);
			} catch (...) {
				od_batch_unref(batch);
				throw;
			}
		}
		od_batch_unref(batch);
	}
	return false;
}

//===--------------------------------------------------------------------===//
// Logical
//===--------------------------------------------------------------------===//
static InsertionOrderPreservingMap<string> StatementToString(const ShippedStatement &statement) {
	InsertionOrderPreservingMap<string> result;
	result["Server"] = statement.remote->Options().endpoint + "/" + statement.remote->Options().database;
	result["SQL"] = statement.sql;
	return result;
}

LogicalShip::LogicalShip(idx_t table_index, shared_ptr<ShippedStatement> statement_p)
    : table_index(table_index), statement(std::move(statement_p)) {}

void LogicalShip::ResolveTypes() {
	types = statement->types;
}

vector<ColumnBinding> LogicalShip::GetColumnBindings() {
	return GenerateColumnBindings(table_index, statement->types.size());
}

InsertionOrderPreservingMap<string> LogicalShip::ParamsToString() const {
	return StatementToString(*statement);
}

PhysicalOperator &LogicalShip::CreatePlan(ClientContext &context, PhysicalPlanGenerator &planner) {
	auto &ship = planner.Make<PhysicalShip>(statement);
	for (idx_t i = 0; i < children.size(); i++) {
		auto &child = planner.CreatePlan(*children[i]);
		auto &stage =
		    planner.Make<PhysicalStage>(statement->catalog, stage_names[i], stage_columns[i], child.types,
		                                SinkOrder::Of(context, child), ReadsServer(child, *statement->catalog));
		stage.children.push_back(child);
		ship.children.push_back(stage);
	}
	return ship;
}

//===--------------------------------------------------------------------===//
// Physical
//===--------------------------------------------------------------------===//
PhysicalShip::PhysicalShip(PhysicalPlan &plan, shared_ptr<ShippedStatement> statement_p)
    : PhysicalOperator(plan, PhysicalOperatorType::EXTENSION, statement_p->types, 1),
      statement(std::move(statement_p)) {}

InsertionOrderPreservingMap<string> PhysicalShip::ParamsToString() const {
	return StatementToString(*statement);
}

void PhysicalShip::BuildPipelines(Pipeline &current, MetaPipeline &meta_pipeline) {
	op_state.reset();
	started = nullptr;
	if (children.empty()) {
		// See start.hpp: sent by the caller's own thread.
		started = make_uniq<StartedShip>();
		try {
			started->result = make_uniq<ShippedResult>(current.GetClientContext(), statement);
		} catch (...) {
			started->failure = std::current_exception();
		}
	}
	meta_pipeline.GetState().SetPipelineSource(current, *this);
	for (auto &child : children) {
		auto &stage = child.get();
		stage.sink_state.reset();
		auto &stage_pipeline = meta_pipeline.CreateChildMetaPipeline(current, stage);
		stage_pipeline.Build(stage.children[0].get());
	}
}

vector<const_reference<PhysicalOperator>> PhysicalShip::GetSources() const {
	return {*this};
}

namespace {
class ShipSourceState : public GlobalSourceState {
public:
	unique_ptr<ShippedResult> result;
};
} // namespace

unique_ptr<GlobalSourceState> PhysicalShip::GetGlobalSourceState(ClientContext &context) const {
	return make_uniq<ShipSourceState>();
}

SourceResultType PhysicalShip::GetDataInternal(ExecutionContext &context, DataChunk &chunk,
                                               OperatorSourceInput &input) const {
	auto &state = input.global_state.Cast<ShipSourceState>();
	if (!state.result && started) {
		auto taken = std::move(started);
		if (taken->failure) {
			std::rethrow_exception(taken->failure);
		}
		state.result = std::move(taken->result);
	}
	if (!state.result) {
		state.result = make_uniq<ShippedResult>(context.client, statement);
	}
	if (!state.result->Next(context.client, chunk)) {
		return SourceResultType::FINISHED;
	}
	return SourceResultType::HAVE_MORE_OUTPUT;
}

} // namespace openduck
