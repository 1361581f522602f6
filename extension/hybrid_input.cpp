// hybrid_input.cpp - see hybrid_input.hpp.
#include "hybrid_input.hpp"

#include "duckdb/common/types/batched_data_collection.hpp"
#include "duckdb/execution/column_binding_resolver.hpp"
#include "duckdb/execution/operator/projection/physical_projection.hpp"
#include "duckdb/execution/physical_plan_generator.hpp"
#include "duckdb/main/client_context.hpp"
#include "duckdb/parallel/meta_pipeline.hpp"
#include "duckdb/parallel/pipeline.hpp"
#include "duckdb/planner/expression/list.hpp"
#include "text.hpp"

namespace openduck {

namespace {
//! An input that is not larger than this travels in the request.
constexpr idx_t LIST_ROWS_MAX = 20000;
constexpr idx_t LIST_BYTES_MAX = idx_t(1) << 20;
} // namespace

string RemoteInputName(idx_t number) {
	return "od_input_" + std::to_string(number + 1);
}

//===--------------------------------------------------------------------===//
// Sending
//===--------------------------------------------------------------------===//
static string ColumnName(idx_t column) {
	return "c" + std::to_string(column);
}

static void AddLists(const RemoteInput &input, RemoteRequest &request, string &columns) {
	vector<vector<Value>> lists(input.types.size());
	for (auto &row : input.rows->Rows()) {
		for (idx_t i = 0; i < lists.size(); i++) {
			lists[i].push_back(row.GetValue(i));
		}
	}
	for (idx_t i = 0; i < lists.size(); i++) {
		auto type = LogicalType::LIST(input.types[i]);
		request.parameters.push_back(Value::LIST(input.types[i], std::move(lists[i])));
		columns += (i ? ", " : "") + string("unnest(CAST($") + std::to_string(request.parameters.size()) + " AS " +
		           type.ToString() + ")) AS " + ColumnName(i);
	}
}

SentInputs::SentInputs(ClientContext &context, const shared_ptr<Remote> &remote,
                       const vector<shared_ptr<RemoteInput>> &inputs, RemoteRequest &request) {
	string definitions;
	for (auto &input : inputs) {
		if (!input->rows) {
			throw InternalException("openduck: an input of a remote part was not collected before it");
		}
		string columns, source;
		if (input->rows->Count() <= LIST_ROWS_MAX && input->rows->SizeInBytes() <= LIST_BYTES_MAX) {
			AddLists(*input, request, columns);
		} else {
			vector<string> names;
			for (idx_t i = 0; i < input->types.size(); i++) {
				names.push_back(ColumnName(i));
			}
			auto stream = make_uniq<Stream>();
			stream->upload = make_uniq<RemoteUpload>(remote, input->types, names);
			stream->input = input;
			stream->knowledge = KnowledgeOf(remote->Options());
			columns = "*";
			source = " FROM openduck_upload(" + TextLiteral(stream->upload->Id()) +
			         ", rows := " + std::to_string(input->rows->Count()) + ")";
			streams.push_back(std::move(stream));
		}
		text += (text.empty() ? "" : "\n") + input->name +
		        StringUtil::Format(": %d rows, %s", input->rows->Count(),
		                           BytesText(static_cast<double>(input->rows->SizeInBytes())));
		definitions += (definitions.empty() ? "WITH " : ", ") + input->name + " AS (SELECT " + columns + source + ")";
	}
	request.sql = definitions + " SELECT * FROM (" + request.sql + "\n)";
	for (auto &stream : streams) {
		auto codec = remote->Options().Codec();
		auto &sent = *stream;
		stream->sender = std::thread([&sent, codec]() { Send(sent, codec); });
	}
}

void SentInputs::Send(Stream &stream, enum od_ipc_codec codec) {
	struct od_error err = {};
	bool good = true;
	try {
		auto &rows = *stream.input->rows;
		BatchEncoder encoder(stream.input->types, true, codec);
		auto begun = std::chrono::steady_clock::now();
		uint64_t bytes = 0;
		auto flush = [&]() {
			auto batch = encoder.Finish();
			bytes += batch->bytes;
			good = stream.upload->Send(batch, &err);
		};
		for (auto &chunk : rows.Chunks()) {
			for (idx_t from = 0; good && from < chunk.size();) {
				auto taken = encoder.Append(chunk, from);
				from += taken;
				if (encoder.Full() || from < chunk.size()) {
					flush();
				}
			}
			if (!good || stream.stop) {
				break;
			}
		}
		if (good && !stream.stop && encoder.Rows() > 0) {
			flush();
		}
		good = good && !stream.stop && stream.upload->Finish(&err);
		if (good) {
			std::chrono::duration<double> took = std::chrono::steady_clock::now() - begun;
			std::lock_guard<std::mutex> guard(stream.knowledge->lock);
			od_link_meter_moved(&stream.knowledge->meter, OD_METER_UP, bytes, took.count());
		}
		if (!good && err.code != OD_OK && err.code != OD_CANCELLED) {
			std::lock_guard<std::mutex> guard(stream.lock);
			stream.failure = ErrorToDuck(err);
		}
	} catch (std::exception &ex) {
		good = false;
		std::lock_guard<std::mutex> guard(stream.lock);
		stream.failure = ErrorData(ex);
	}
	if (!good) {
		stream.upload->Cancel(); // so that the statement does not wait for rows that never come
	}
}

void SentInputs::ThrowIfFailed() {
	for (auto &stream : streams) {
		std::lock_guard<std::mutex> guard(stream->lock);
		if (stream->failure.HasError()) {
			stream->failure.Throw();
		}
	}
}

SentInputs::~SentInputs() {
	for (auto &stream : streams) {
		stream->stop = true;
		stream->upload->Cancel();
	}
	for (auto &stream : streams) {
		if (stream->sender.joinable()) {
			stream->sender.join();
		}
	}
}

//===--------------------------------------------------------------------===//
// Collecting
//===--------------------------------------------------------------------===//
namespace {

class CollectGlobal : public GlobalSinkState {
public:
	CollectGlobal(ClientContext &context, const vector<LogicalType> &types) : rows(context, types) {}
	std::mutex lock;
	BatchedDataCollection rows;
	std::atomic<idx_t> locals{0};
};

class CollectLocal : public LocalSinkState {
public:
	CollectLocal(ClientContext &context, const vector<LogicalType> &types, idx_t number)
	    : rows(context, types), number(number) {}
	BatchedDataCollection rows;
	idx_t number; // stands for a batch index where order does not matter
};

//! Keeps the rows of its child, in their order, for the statement that reads them.
class PhysicalCollect : public PhysicalOperator {
public:
	PhysicalCollect(PhysicalPlan &plan, PhysicalOperator &child, shared_ptr<RemoteInput> input, SinkOrder order)
	    : PhysicalOperator(plan, PhysicalOperatorType::EXTENSION, child.types, child.estimated_cardinality),
	      input(std::move(input)), order(order) {
		children.push_back(child);
	}
	unique_ptr<GlobalSinkState> GetGlobalSinkState(ClientContext &context) const override {
		input->rows = nullptr;
		return make_uniq<CollectGlobal>(context, input->types);
	}
	unique_ptr<LocalSinkState> GetLocalSinkState(ExecutionContext &context) const override {
		auto number = sink_state->Cast<CollectGlobal>().locals++;
		return make_uniq<CollectLocal>(context.client, input->types, number);
	}
	SinkResultType Sink(ExecutionContext &, DataChunk &chunk, OperatorSinkInput &sink) const override {
		auto &local = sink.local_state.Cast<CollectLocal>();
		local.rows.Append(chunk, order.batch_index ? local.partition_info.batch_index.GetIndex() : local.number);
		return SinkResultType::NEED_MORE_INPUT;
	}
	SinkCombineResultType Combine(ExecutionContext &, OperatorSinkCombineInput &sink) const override {
		auto &global = sink.global_state.Cast<CollectGlobal>();
		std::lock_guard<std::mutex> guard(global.lock);
		global.rows.Merge(sink.local_state.Cast<CollectLocal>().rows);
		return SinkCombineResultType::FINISHED;
	}
	SinkFinalizeType Finalize(Pipeline &, Event &, ClientContext &, OperatorSinkFinalizeInput &sink) const override {
		input->rows = sink.global_state.Cast<CollectGlobal>().rows.FetchCollection();
		return SinkFinalizeType::READY;
	}
	bool IsSink() const override {
		return true;
	}
	bool ParallelSink() const override {
		return order.parallel;
	}
	OperatorPartitionInfo RequiredPartitionInfo() const override {
		return order.batch_index ? OperatorPartitionInfo::BatchIndex() : OperatorPartitionInfo::NoPartitionInfo();
	}
	bool SinkOrderDependent() const override {
		return true;
	}
	string GetName() const override {
		return "OPENDUCK_UPLOAD";
	}
	InsertionOrderPreservingMap<string> ParamsToString() const override {
		InsertionOrderPreservingMap<string> result;
		result["As"] = input->name;
		return result;
	}

private:
	shared_ptr<RemoteInput> input;
	SinkOrder order;
};

//! Not part of any pipeline: it lets the inputs be collected before the scan begins.
class PhysicalInputs : public PhysicalOperator {
public:
	PhysicalInputs(PhysicalPlan &plan, PhysicalOperator &scan)
	    : PhysicalOperator(plan, PhysicalOperatorType::EXTENSION, scan.types, scan.estimated_cardinality) {
		children.push_back(scan);
	}
	string GetName() const override {
		return "OPENDUCK_INPUTS";
	}
	void BuildPipelines(Pipeline &current, MetaPipeline &meta_pipeline) override {
		for (idx_t i = 1; i < children.size(); i++) {
			auto &collect = children[i].get();
			collect.sink_state.reset();
			meta_pipeline.CreateChildMetaPipeline(current, collect).Build(collect.children[0].get());
		}
		children[0].get().BuildPipelines(current, meta_pipeline);
	}
	vector<const_reference<PhysicalOperator>> GetSources() const override {
		return children[0].get().GetSources();
	}
};

} // namespace

LogicalInputs::LogicalInputs(unique_ptr<LogicalOperator> scan, vector<unique_ptr<LogicalOperator>> plans,
                             vector<shared_ptr<RemoteInput>> inputs_p)
    : inputs(std::move(inputs_p)) {
	children.push_back(std::move(scan));
	for (auto &plan : plans) {
		// References to every column, so that none is found to be unused.
		auto bindings = plan->GetColumnBindings();
		for (idx_t i = 0; i < bindings.size(); i++) {
			expressions.push_back(make_uniq<BoundColumnRefExpression>(plan->types[i], bindings[i]));
		}
		children.push_back(std::move(plan));
	}
	types = children[0]->types;
}

void LogicalInputs::ResolveColumnBindings(ColumnBindingResolver &resolver, vector<ColumnBinding> &bindings) {
	idx_t column = 0;
	for (idx_t i = 1; i < children.size(); i++) {
		resolver.VisitOperator(*children[i]);
		for (idx_t end = column + inputs[i - 1]->types.size(); column < end; column++) {
			resolver.VisitExpression(&expressions[column]);
		}
	}
	resolver.VisitOperator(*children[0]);
	bindings = GetColumnBindings();
}

PhysicalOperator &LogicalInputs::CreatePlan(ClientContext &context, PhysicalPlanGenerator &planner) {
	auto &result = planner.Make<PhysicalInputs>(planner.CreatePlan(*children[0]));
	idx_t column = 0;
	for (idx_t i = 1; i < children.size(); i++) {
		reference<PhysicalOperator> plan = planner.CreatePlan(*children[i]);
		auto &input = inputs[i - 1];
		vector<unique_ptr<Expression>> columns;
		bool as_they_are = plan.get().types.size() == input->types.size();
		for (idx_t c = 0; c < input->types.size(); c++) {
			columns.push_back(std::move(expressions[column++]));
			as_they_are = as_they_are && columns[c]->GetExpressionClass() == ExpressionClass::BOUND_REF &&
			              columns[c]->Cast<BoundReferenceExpression>().index == c;
		}
		if (!as_they_are) {
			auto &projection =
			    planner.Make<PhysicalProjection>(input->types, std::move(columns), plan.get().estimated_cardinality);
			projection.children.push_back(plan.get());
			plan = projection;
		}
		result.children.push_back(planner.Make<PhysicalCollect>(plan.get(), input, SinkOrder::Of(context, plan.get())));
	}
	return result;
}

} // namespace openduck
