// fuzz_duck_batch.cpp - a schema message followed by a batch message, both of arbitrary bytes, read as DuckDB types and
// vectors. What is accepted is read to the end, every value of it, and encodes again.
#include "duck/convert.hpp"

#include "base/alloc.h"
#include "base/assert.h"
#include "base/error.h"

#include "duckdb/common/types/data_chunk.hpp"

#include <cstring>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

using namespace duckdb;

namespace {

DuckDB &Database() {
	static DuckDB db(nullptr);
	return db;
}

struct SchemaHolder {
	struct ArrowSchema arrow {};
	~SchemaHolder() {
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

//! The receiver's form: one segment in memory of exactly its size (a read beyond is seen), its body aligned.
struct od_batch *Receive(const uint8_t *message, size_t bytes) {
	size_t body_offset = 0;
	uint64_t rows = 0;
	if (od_ipc_check(message, bytes, OD_IPC_BATCH, &body_offset, &rows, nullptr) != OD_OK) {
		return nullptr;
	}
	struct od_message_buffer buffer;
	od_assert(od_message_buffer_get(bytes, body_offset, &buffer, nullptr) == OD_OK);
	memcpy(buffer.data, message, bytes);
	auto batch = od_batch_from_buffer(&buffer, rows);
	od_assert(batch);
	return batch;
}

void ReadAll(ClientContext &context, const struct ArrowSchema &schema, struct od_batch *batch) {
	openduck::BatchDecoder decoder(context, schema);
	decoder.Load(batch);
	DataChunk chunk;
	chunk.Initialize(Allocator::Get(context), decoder.Types());
	openduck::BatchEncoder encoder(decoder.Types(), true);
	while (decoder.Remaining()) {
		chunk.Reset();
		decoder.Read(chunk);
		od_assert(chunk.size() > 0);
		chunk.Verify();
		for (idx_t column = 0; column < chunk.ColumnCount(); column++) {
			(void)chunk.GetValue(column, chunk.size() - 1).ToString();
		}
		if (encoder.Append(chunk) == chunk.size()) {
			BatchHolder again;
			again.batch = encoder.Finish();
		}
	}
}

} // namespace

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
	static Connection connection(Database());
	uint32_t header_bytes;
	if (size < 8) {
		return 0;
	}
	memcpy(&header_bytes, data + 4, 4);
	if (header_bytes > size - 8) {
		return 0;
	}
	size_t schema_bytes = 8 + static_cast<size_t>(header_bytes);
	SchemaHolder schema;
	if (od_ipc_decode_schema(data, schema_bytes, &schema.arrow, nullptr) != OD_OK) {
		return 0;
	}
	BatchHolder holder;
	holder.batch = Receive(data + schema_bytes, size - schema_bytes);
	if (!holder.batch) {
		return 0;
	}
	try {
		// DuckDB's own conversion of plain schemas looks into the catalog for extension types.
		connection.context->RunFunctionInTransaction([&] { ReadAll(*connection.context, schema.arrow, holder.batch); });
	} catch (const std::exception &ex) {
		ErrorData error(ex);
		od_assert(error.Type() != ExceptionType::INTERNAL && error.Type() != ExceptionType::FATAL);
	}
	return 0;
}
