// upload.cpp - see upload.hpp.
#include "upload.hpp"

#include "duckdb/execution/physical_plan_generator.hpp"
#include "duckdb/main/attached_database.hpp"
#include "duckdb/main/client_context.hpp"
#include "duckdb/parser/parsed_data/create_table_info.hpp"
#include "duckdb/planner/operator/logical_create_table.hpp"
#include "duckdb/planner/operator/logical_insert.hpp"
#include "duckdb/catalog/catalog_entry/table_catalog_entry.hpp"
#include "duckdb/execution/operator/scan/physical_table_scan.hpp"
#include "entries.hpp"
#include "scan.hpp"
#include "text.hpp"

namespace openduck {

//===--------------------------------------------------------------------===//
// UploadRun
//===--------------------------------------------------------------------===//
UploadRun::UploadRun(ClientContext &context, shared_ptr<ShippedStatement> statement_p, const string &text_before,
                     const string &text_after, const vector<LogicalType> &types, const vector<string> &names,
                     const SinkOrder &order, bool reads_server)
    : statement(std::move(statement_p)) {
	session = statement->catalog->SessionFor(context, statement->session, statement->together);
	upload = make_uniq<RemoteUpload>(statement->remote, types, names);
	request = RequestFor(context, *statement);
	request.sql = text_before + "openduck_upload(" + TextLiteral(upload->Id()) + ")" + text_after;
	struct od_batch_queue_options options = {};
	options.ordered = order.batch_index;
	bool later = session && reads_server;
	if (later) {
		options.sendable_bytes = options.ahead_bytes = NumericLimits<int64_t>::Maximum();
	}
	struct od_error err = {};
	if (od_batch_queue_new(&options, &queue, &err) != OD_OK) {
		ThrowRemote(err);
	}
	sink = make_uniq<BatchSink>(queue, types, true, statement->remote->Options().Codec(), order);
	if (!later) {
		Start();
	}
}

void UploadRun::Start() {
	started = true;
	sender = std::thread([this]() { Send(); });
	runner = std::thread([this]() { Run(); });
}

UploadRun::~UploadRun() {
	Stop();
	if (sender.joinable()) {
		sender.join();
	}
	if (runner.joinable()) {
		runner.join();
	}
	for (; next_batch < batches.size(); next_batch++) {
		od_batch_unref(batches[next_batch]);
	}
	query.reset();
	upload.reset();
	if (queue) {
		od_batch_queue_unref(queue);
	}
}

void UploadRun::Fail(ErrorData error) {
	std::lock_guard<std::mutex> guard(lock);
	if (!failure.HasError()) {
		failure = std::move(error);
	}
}

void UploadRun::Stop() {
	shared_ptr<RemoteQuery> running;
	{
		std::lock_guard<std::mutex> guard(lock);
		stopped = true;
		if (!ran) {
			running = query;
		}
	}
	od_batch_queue_stop(queue);
	if (!sent || !ran) {
		upload->Cancel();
	}
	if (running) {
		running->Cancel();
	}
}

void UploadRun::Send() {
	struct od_error err = {};
	bool good = true;
	while (true) {
		struct od_batch *batch = nullptr;
		auto outcome = od_batch_queue_wait(queue, 1000, &batch, &err);
		if (outcome == OD_POP_EMPTY) {
			std::lock_guard<std::mutex> guard(lock);
			if (stopped) {
				good = false;
				break;
			}
			continue;
		}
		if (outcome == OD_POP_BATCH) {
			if (!upload->Send(batch, &err)) {
				good = false;
				break;
			}
			continue;
		}
		if (outcome == OD_POP_END) {
			good = upload->Finish(&err);
		} else {
			good = false;
		}
		break;
	}
	if (!good) {
		od_batch_queue_stop(queue);
		upload->Cancel();
		bool by_statement;
		{
			std::lock_guard<std::mutex> guard(lock);
			by_statement = ran || stopped;
		}
		// When the statement failed first, its error says why; the server has dropped the upload with it.
		if (!by_statement && err.code != OD_OK && err.code != OD_CANCELLED) {
			std::unique_lock<std::mutex> guard(lock);
			changed.wait_for(guard, std::chrono::seconds(5), [this]() { return ran; });
			if (!failure.HasError()) {
				failure = ErrorToDuck(err);
			}
		}
	}
	std::lock_guard<std::mutex> guard(lock);
	sent = true;
	changed.notify_all();
}

void UploadRun::Run() {
	try {
		auto running = shared_ptr<RemoteQuery>(statement->remote->Execute(request, session.get()).release());
		{
			std::lock_guard<std::mutex> guard(lock);
			query = running;
			if (stopped) {
				running->Cancel();
			}
		}
		while (true) {
			struct od_batch *batch = nullptr;
			struct od_error err = {};
			auto outcome = running->Next(&batch, {nullptr, nullptr}, &err);
			if (outcome == OD_POP_BATCH) {
				std::lock_guard<std::mutex> guard(lock);
				batches.push_back(batch);
				continue;
			}
			if (outcome == OD_POP_END) {
				break;
			}
			ThrowRemote(err);
		}
	} catch (CatalogStaleException &ex) {
		Fail(ErrorData(TransactionException("A definition this statement was planned for changed on the server; "
		                                    "nothing was done, run it again (%s)",
		                                    string(ex.what()))));
	} catch (std::exception &ex) {
		Fail(ErrorData(ex));
	}
	bool failed;
	{
		std::lock_guard<std::mutex> guard(lock);
		ran = true;
		failed = failure.HasError();
		changed.notify_all();
	}
	if (failed) {
		od_batch_queue_stop(queue);
		upload->Cancel();
	}
}

void UploadRun::ThrowIfFailed() {
	std::lock_guard<std::mutex> guard(lock);
	if (failure.HasError()) {
		failure.Throw();
	}
}

void UploadRun::Finish(ClientContext &context) {
	od_batch_queue_finish(queue, nullptr);
	if (!started) {
		Start();
	}
	std::unique_lock<std::mutex> guard(lock);
	while (!sent || !ran) {
		changed.wait_for(guard, std::chrono::milliseconds(20));
		if (context.IsInterrupted() && !stopped) {
			guard.unlock();
			Stop();
			guard.lock();
			if (!failure.HasError()) {
				failure = ErrorData(InterruptException());
			}
		}
	}
	if (failure.HasError()) {
		failure.Throw();
	}
	guard.unlock();
	StatementDone(context, *statement, *query);
	if (statement->rows) {
		vector<LogicalType> types;
		vector<string> names;
		query->Schema(types, names);
		if (types != statement->types) {
			throw InvalidInputException("The server's result of \"%s\" has other types than this statement was planned "
			                            "for",
			                            request.sql);
		}
		decoder = make_uniq<BatchDecoder>(context, query->Arrow());
	}
}

bool UploadRun::Next(ClientContext &context, DataChunk &chunk) {
	while (decoder) {
		if (decoder->Remaining() > 0) {
			decoder->Read(chunk);
			if (chunk.size() > 0) {
				return true;
			}
		}
		if (next_batch == batches.size()) {
			return false;
		}
		auto batch = batches[next_batch++];
		try {
			decoder->Load(batch);
		} catch (...) {
			od_batch_unref(batch);
			throw;
		}
		od_batch_unref(batch);
	}
	return false;
}

//===--------------------------------------------------------------------===//
// Operators
//===--------------------------------------------------------------------===//
namespace {
class UploadSinkState : public GlobalSinkState {
public:
	unique_ptr<UploadRun> run;
};
} // namespace

PhysicalUpload::PhysicalUpload(PhysicalPlan &plan, shared_ptr<ShippedStatement> statement_p, string text_before,
                               string text_after, vector<string> names, vector<LogicalType> input_types, SinkOrder order,
                               bool reads_server)
    : PhysicalOperator(plan, PhysicalOperatorType::EXTENSION, statement_p->types, 1),
      statement(std::move(statement_p)), text_before(std::move(text_before)), text_after(std::move(text_after)),
      names(std::move(names)), input_types(std::move(input_types)), order(order),
      reads_server(reads_server) {
}

unique_ptr<GlobalSinkState> PhysicalUpload::GetGlobalSinkState(ClientContext &context) const {
	auto state = make_uniq<UploadSinkState>();
	state->run = make_uniq<UploadRun>(context, statement, text_before, text_after, input_types, names, order,
	                                 reads_server);
	return std::move(state);
}

unique_ptr<LocalSinkState> PhysicalUpload::GetLocalSinkState(ExecutionContext &context) const {
	return sink_state->Cast<UploadSinkState>().run->Sink().LocalState();
}

SinkResultType PhysicalUpload::Sink(ExecutionContext &context, DataChunk &chunk, OperatorSinkInput &input) const {
	return input.global_state.Cast<UploadSinkState>().run->Sink().Sink(chunk, input);
}

SinkNextBatchType PhysicalUpload::NextBatch(ExecutionContext &context, OperatorSinkNextBatchInput &input) const {
	return input.global_state.Cast<UploadSinkState>().run->Sink().NextBatch(input);
}

SinkCombineResultType PhysicalUpload::Combine(ExecutionContext &context, OperatorSinkCombineInput &input) const {
	return input.global_state.Cast<UploadSinkState>().run->Sink().Combine(input);
}

SinkFinalizeType PhysicalUpload::Finalize(Pipeline &pipeline, Event &event, ClientContext &context,
                                          OperatorSinkFinalizeInput &input) const {
	input.global_state.Cast<UploadSinkState>().run->Finish(context);
	return SinkFinalizeType::READY;
}

SourceResultType PhysicalUpload::GetDataInternal(ExecutionContext &context, DataChunk &chunk,
                                                 OperatorSourceInput &input) const {
	if (!sink_state->Cast<UploadSinkState>().run->Next(context.client, chunk)) {
		return SourceResultType::FINISHED;
	}
	return SourceResultType::HAVE_MORE_OUTPUT;
}

InsertionOrderPreservingMap<string> PhysicalUpload::ParamsToString() const {
	InsertionOrderPreservingMap<string> result;
	result["Server"] = statement->remote->Options().endpoint + "/" + statement->remote->Options().database;
	result["SQL"] = text_before + "openduck_upload(...)" + text_after;
	return result;
}

static shared_ptr<ShippedStatement> StageStatement(OdCatalog *catalog) {
	auto statement = make_shared_ptr<ShippedStatement>();
	statement->remote = catalog->GetRemote();
	statement->catalog = catalog;
	statement->session = true;
	return statement;
}

PhysicalStage::PhysicalStage(PhysicalPlan &plan, OdCatalog *catalog, const string &name, vector<string> columns,
                             vector<LogicalType> input_types, SinkOrder order, bool reads_server)
    : PhysicalUpload(plan, StageStatement(catalog),
                     "CREATE OR REPLACE TEMPORARY TABLE " + QuotedName(name) + " AS SELECT * FROM ", string(),
                     std::move(columns), std::move(input_types), order, reads_server) {
}

//===--------------------------------------------------------------------===//
// Planning
//===--------------------------------------------------------------------===//
bool ReadsServer(PhysicalOperator &plan, OdCatalog &catalog) {
	if (plan.type == PhysicalOperatorType::TABLE_SCAN) {
		auto &scan = plan.Cast<PhysicalTableScan>();
		if (IsScan(scan.function) && scan.bind_data->Cast<ScanBindData>().catalog == &catalog) {
			return true;
		}
	}
	for (auto &child : plan.GetChildren()) {
		if (ReadsServer(const_cast<PhysicalOperator &>(child.get()), catalog)) {
			return true;
		}
	}
	return false;
}

static string ColumnText(const vector<string> &names) {
	string result;
	for (auto &name : names) {
		result += (result.empty() ? "" : ", ") + QuotedName(name);
	}
	return result;
}

PhysicalOperator &OdCatalog::PlanInsert(ClientContext &context, PhysicalPlanGenerator &planner, LogicalInsert &op,
                                        optional_ptr<PhysicalOperator> plan) {
	if (!plan) {
		ThrowNotShipped("this form of INSERT");
	}
	if (op.on_conflict_info.action_type != OnConflictAction::THROW) {
		ThrowNotShipped("INSERT with ON CONFLICT");
	}
	auto &table = reinterpret_cast<OdTable &>(op.table);
	auto statement = make_shared_ptr<ShippedStatement>();
	statement->remote = remote;
	statement->catalog = this;
	statement->types = op.types;
	statement->rows = true;
	statement->read_only = db.IsReadOnly();
	statement->objects.push_back(table.object);
	statement->catalog_version = Snapshot(context, false)->version;

	// The plan's columns in their order: only columns the statement names are sent, so that the server fills in the
	// others.
	vector<string> names;
	if (op.column_index_map.empty()) {
		for (auto &column : table.GetColumns().Physical()) {
			names.push_back(column.Name());
		}
	} else {
		names.resize(plan->types.size());
		for (auto &column : table.GetColumns().Physical()) {
			auto position = op.column_index_map[column.Physical()];
			if (position != DConstants::INVALID_INDEX) {
				names[position] = column.Name();
			}
		}
	}
	auto text = "INSERT INTO " + QualifiedText(table.server_catalog, table.object.schema, table.object.name) + " (" +
	            ColumnText(names) + ") SELECT * FROM ";
	string returning;
	if (op.return_chunk) {
		vector<string> columns;
		for (auto &column : table.GetColumns().Physical()) {
			columns.push_back(column.Name());
		}
		returning = " RETURNING " + ColumnText(columns);
	}
	auto &upload = planner.Make<PhysicalUpload>(statement, std::move(text), std::move(returning), std::move(names),
	                                            plan->types, SinkOrder::Of(context, *plan), ReadsServer(*plan, *this));
	upload.children.push_back(*plan);
	return upload;
}

PhysicalOperator &OdCatalog::PlanCreateTableAs(ClientContext &context, PhysicalPlanGenerator &planner,
                                               LogicalCreateTable &op, PhysicalOperator &plan) {
	auto &info = op.info->Base();
	auto statement = make_shared_ptr<ShippedStatement>();
	statement->remote = remote;
	statement->catalog = this;
	statement->types = op.types;
	statement->rows = true;
	statement->definitions = true;
	statement->read_only = db.IsReadOnly();

	string text = "CREATE ";
	if (info.on_conflict == OnCreateConflict::REPLACE_ON_CONFLICT) {
		text += "OR REPLACE ";
	}
	text += "TABLE ";
	if (info.on_conflict == OnCreateConflict::IGNORE_ON_CONFLICT) {
		text += "IF NOT EXISTS ";
	}
	text += QualifiedText(ServerName(context), op.schema.name, info.table) + " AS SELECT * FROM ";
	vector<string> names;
	for (auto &column : info.columns.Logical()) {
		names.push_back(column.Name());
	}
	auto &upload = planner.Make<PhysicalUpload>(statement, std::move(text), string(), std::move(names), plan.types,
	                                            SinkOrder::Of(context, plan), ReadsServer(plan, *this));
	upload.children.push_back(plan);
	return upload;
}

} // namespace openduck
