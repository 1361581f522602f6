// parameters.cpp - the values of $1, $2, ... out of the two Arrow IPC messages of a request.
//
// Values are found by name when the statement has a parameter of the column's name, else by position.
#include "engine/engine_internal.hpp"

#include "arrow/batch.h"
#include "arrow/ipc.h"

#include "duckdb/common/types/data_chunk.hpp"
#include "duckdb/planner/expression/bound_parameter_data.hpp"

#include <cstring>

using namespace duckdb;

namespace openduck {

namespace {

struct Schema {
	struct ArrowSchema arrow {};
	~Schema() {
		if (arrow.release) {
			arrow.release(&arrow);
		}
	}
};

struct BatchHolder {
	struct od_batch *batch = nullptr;
	~BatchHolder() {
		od_batch_unref(batch);
	}
};

//! Bytes of the first message of two; a schema message has no body.
size_t FirstMessageBytes(const struct od_statement &statement) {
	uint32_t words[2];
	if (statement.parameter_bytes < sizeof(words)) {
		Fail(OD_CORRUPT, "parameters: %zu bytes are no Arrow messages", statement.parameter_bytes);
	}
	memcpy(words, statement.parameters, sizeof(words));
	if (words[0] != 0xFFFFFFFFu || words[1] > statement.parameter_bytes - sizeof(words)) {
		Fail(OD_CORRUPT, "parameters: the first message is no Arrow schema");
	}
	return sizeof(words) + words[1];
}

//! The receiver's form of a batch: one segment, its body aligned.
struct od_batch *CopyBatch(const uint8_t *message, size_t bytes) {
	struct od_error error = {};
	size_t body_offset = 0;
	uint64_t rows = 0;
	Check(od_ipc_check(message, bytes, OD_IPC_BATCH, &body_offset, &rows, &error), error);
	if (rows != 1) {
		Fail(OD_INVALID, "parameters: one row is needed, not %llu", static_cast<unsigned long long>(rows));
	}
	struct od_message_buffer buffer;
	Check(od_message_buffer_get(bytes, body_offset, &buffer, &error), error);
	memcpy(buffer.data, message, bytes);
	auto batch = od_batch_from_buffer(&buffer, rows);
	if (!batch) {
		od_message_buffer_put(&buffer);
		throw std::bad_alloc();
	}
	return batch;
}

} // namespace

void DecodeParameters(ClientContext &context, const struct od_statement &statement,
                      const case_insensitive_map_t<idx_t> &names, case_insensitive_map_t<BoundParameterData> &values) {
	struct od_error error = {};
	size_t schema_bytes = FirstMessageBytes(statement);
	Schema schema;
	Check(od_ipc_decode_schema(statement.parameters, schema_bytes, &schema.arrow, &error), error);
	BatchHolder holder;
	holder.batch = CopyBatch(statement.parameters + schema_bytes, statement.parameter_bytes - schema_bytes);

	BatchDecoder decoder(context, schema.arrow);
	decoder.Load(holder.batch);
	DataChunk chunk;
	chunk.Initialize(Allocator::Get(context), decoder.Types());
	decoder.Read(chunk);
	for (idx_t i = 0; i < chunk.ColumnCount(); i++) {
		std::string name = schema.arrow.children[i]->name ? schema.arrow.children[i]->name : "";
		if (names.find(name) == names.end()) {
			name = std::to_string(i + 1);
		}
		if (!values.emplace(name, BoundParameterData(chunk.GetValue(i, 0))).second) {
			Fail(OD_INVALID, "parameters: there are two values for $%s", name.c_str());
		}
	}
}

} // namespace openduck
