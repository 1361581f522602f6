// hybrid_input.hpp - local rows that a remote part of a plan reads: collected first, then sent with its statement.
//
// The statement names each input as a relation (od_input_1, ...) with columns c0, c1, ... Few rows travel in the request,
// as one list for each column; more are streamed beside it and read there as they come. Either way the rows are in the
// order in which the local plan gave them, and it ran once.
#ifndef OPENDUCK_EXTENSION_HYBRID_INPUT_HPP
#define OPENDUCK_EXTENSION_HYBRID_INPUT_HPP

#include "duckdb/common/types/column/column_data_collection.hpp"
#include "duckdb/execution/physical_operator.hpp"
#include "duckdb/planner/operator/logical_extension_operator.hpp"
#include "bridge.hpp"

#include <thread>

namespace openduck {

//! Shared by the operator that fills it and the scan whose statement reads it; anew for each execution.
struct RemoteInput {
	string name;
	vector<LogicalType> types;
	unique_ptr<ColumnDataCollection> rows;
};

//! The name of the input with this number, counted from 0.
string RemoteInputName(idx_t number);

//! What one execution sends besides its text: it lives until the statement's last row.
class SentInputs {
public:
	//! Adds to the request what the inputs need: their definitions before its text, parameters, or uploads begun.
	SentInputs(ClientContext &context, const shared_ptr<Remote> &remote, const vector<shared_ptr<RemoteInput>> &inputs,
	           RemoteRequest &request);
	~SentInputs();
	//! Why an upload broke off, if one did.
	void ThrowIfFailed();
	//! "od_input_1: 1000 rows, 8.0 KB"
	const string &Text() const {
		return text;
	}

private:
	struct Stream {
		unique_ptr<RemoteUpload> upload;
		shared_ptr<RemoteInput> input;
		shared_ptr<LinkKnowledge> knowledge;
		std::thread sender;
		std::atomic<bool> stop{false};
		ErrorData failure;
		std::mutex lock;
	};
	static void Send(Stream &stream, enum od_ipc_codec codec);
	vector<unique_ptr<Stream>> streams;
	string text;
};

//! Its first child is the scan of the statement, whose columns are its own; the others give the inputs, in order.
struct LogicalInputs : public LogicalExtensionOperator {
	LogicalInputs(unique_ptr<LogicalOperator> scan, vector<unique_ptr<LogicalOperator>> plans,
	              vector<shared_ptr<RemoteInput>> inputs);

	vector<shared_ptr<RemoteInput>> inputs;

	PhysicalOperator &CreatePlan(ClientContext &context, PhysicalPlanGenerator &planner) override;
	vector<ColumnBinding> GetColumnBindings() override {
		return children[0]->GetColumnBindings();
	}
	idx_t EstimateCardinality(ClientContext &context) override {
		return children[0]->EstimateCardinality(context);
	}
	string GetName() const override {
		return "OPENDUCK_INPUTS";
	}
	string GetExtensionName() const override {
		return "openduck";
	}
	bool SupportSerialization() const override {
		return false;
	}
	void ResolveColumnBindings(ColumnBindingResolver &resolver, vector<ColumnBinding> &bindings) override;

protected:
	void ResolveTypes() override {
		types = children[0]->types;
	}
};

} // namespace openduck

#endif
