// upload.hpp - local rows on their way into a statement of the server.
//
// The rows of a local plan are encoded by DuckDB's threads into a bounded queue (BatchSink), sent from there by one
// thread, and read on the server by the statement, which a second thread runs meanwhile: INSERT, CREATE TABLE AS, or
// the filling of a staged relation. Whichever of the three fails stops the other two, and nothing is kept.
#ifndef OPENDUCK_EXTENSION_UPLOAD_HPP
#define OPENDUCK_EXTENSION_UPLOAD_HPP

#include "ship.hpp"

#include <condition_variable>
#include <thread>

namespace openduck {

//! One upload and the statement that reads it.
class UploadRun {
public:
	//! `text_before` and `text_after` surround openduck_upload('ID') in the statement's text.
	//! `reads_server`: the plan that gives the rows reads from the same database. Inside a transaction it needs the
	//! session to itself, so the rows are kept here and the statement runs when all are there.
	UploadRun(ClientContext &context, shared_ptr<ShippedStatement> statement, const string &text_before,
	          const string &text_after, const vector<LogicalType> &types, const vector<string> &names,
	          const SinkOrder &order, bool reads_server);
	~UploadRun();

	BatchSink &Sink() {
		return *sink;
	}
	//! All rows are in: waits for the server's outcome. Throws what went wrong.
	void Finish(ClientContext &context);
	//! The statement's rows, after Finish.
	bool Next(ClientContext &context, DataChunk &chunk);
	//! The failure that made sinks finish early, if any.
	void ThrowIfFailed();

private:
	void Start();
	void Send();
	void Run();
	void Fail(ErrorData error);
	void Stop();

	shared_ptr<ShippedStatement> statement;
	RemoteRequest request;
	shared_ptr<RemoteSession> session;
	unique_ptr<RemoteUpload> upload;
	struct od_batch_queue *queue = nullptr;
	unique_ptr<BatchSink> sink;

	std::mutex lock;
	std::condition_variable changed;
	bool started = false, sent = false, ran = false, stopped = false;
	ErrorData failure;
	shared_ptr<RemoteQuery> query;
	vector<struct od_batch *> batches; // of the statement's result
	idx_t next_batch = 0;
	unique_ptr<BatchDecoder> decoder;
	std::thread sender, runner;
};

//! INSERT INTO, CREATE TABLE AS: a sink for the rows, a source for what the statement returns.
class PhysicalUpload : public PhysicalOperator {
public:
	PhysicalUpload(PhysicalPlan &plan, shared_ptr<ShippedStatement> statement, string text_before, string text_after,
	               vector<string> names, vector<LogicalType> input_types, SinkOrder order, bool reads_server);

	unique_ptr<GlobalSinkState> GetGlobalSinkState(ClientContext &context) const override;
	unique_ptr<LocalSinkState> GetLocalSinkState(ExecutionContext &context) const override;
	SinkResultType Sink(ExecutionContext &context, DataChunk &chunk, OperatorSinkInput &input) const override;
	SinkNextBatchType NextBatch(ExecutionContext &context, OperatorSinkNextBatchInput &input) const override;
	SinkCombineResultType Combine(ExecutionContext &context, OperatorSinkCombineInput &input) const override;
	SinkFinalizeType Finalize(Pipeline &pipeline, Event &event, ClientContext &context,
	                          OperatorSinkFinalizeInput &input) const override;
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
	bool IsSource() const override {
		return true;
	}
	string GetName() const override {
		return "OPENDUCK_UPLOAD";
	}
	InsertionOrderPreservingMap<string> ParamsToString() const override;
	//! Other requests of the same DuckDB statement stand or fall with it.
	void BelongsToOthers() {
		statement->together = true;
	}

protected:
	SourceResultType GetDataInternal(ExecutionContext &context, DataChunk &chunk,
	                                 OperatorSourceInput &input) const override;

	shared_ptr<ShippedStatement> statement;
	string text_before, text_after;
	vector<string> names;
	vector<LogicalType> input_types;
	SinkOrder order;
	bool reads_server;
};

//! Does the plan read from this database?
bool ReadsServer(PhysicalOperator &plan, OdCatalog &catalog);

//! Fills a staged relation (a temporary table of the session) for a statement that reads it.
class PhysicalStage : public PhysicalUpload {
public:
	PhysicalStage(PhysicalPlan &plan, OdCatalog *catalog, const string &name, vector<string> columns,
	              vector<LogicalType> input_types, SinkOrder order, bool reads_server);
	string GetName() const override {
		return "OPENDUCK_STAGE";
	}
};

} // namespace openduck

#endif
