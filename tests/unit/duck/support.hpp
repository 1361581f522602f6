// support.hpp - what the tests of src/duck share: chunks through encoder and decoder, and exact comparison.
#ifndef OD_TEST_DUCK_SUPPORT_HPP
#define OD_TEST_DUCK_SUPPORT_HPP

#include "duck/batch_scan.hpp"
#include "duck/batch_sink.hpp"
#include "duck/convert.hpp"
#include "duckdb/common/arrow/arrow.hpp"
#include "duckdb/common/types/vector.hpp"

#include <csetjmp>
#include <cstdarg>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <sstream>

// After everything else: it defines macros named fail and skip.
extern "C" {
#include <cmocka.h>
}

namespace openduck {

struct BatchUnref {
	void operator()(struct od_batch *batch) const {
		od_batch_unref(batch);
	}
};
using BatchPtr = std::unique_ptr<struct od_batch, BatchUnref>;

struct SchemaPtr {
	struct ArrowSchema schema;
	SchemaPtr() {
		schema.release = nullptr;
	}
	SchemaPtr(const SchemaPtr &) = delete;
	~SchemaPtr() {
		if (schema.release) {
			schema.release(&schema);
		}
	}
};

//! The bytes of a batch as a peer receives them: one segment.
inline BatchPtr Received(const duckdb::string &bytes, duckdb::idx_t rows, size_t body_offset = 0) {
	struct od_message_buffer buffer;
	assert_int_equal(od_message_buffer_get(bytes.size(), body_offset, &buffer, nullptr), OD_OK);
	memcpy(buffer.data, bytes.data(), bytes.size());
	return BatchPtr(od_batch_from_buffer(&buffer, rows));
}

inline duckdb::string BytesOf(const struct od_batch &batch) {
	duckdb::string bytes;
	for (size_t i = 0; i < batch.segment_count; i++) {
		bytes.append(reinterpret_cast<const char *>(batch.segments[i].data), batch.segments[i].bytes);
	}
	return bytes;
}

//! Sends the batch: checked as every message of a peer is.
inline BatchPtr Sent(const struct od_batch &batch) {
	auto bytes = BytesOf(batch);
	size_t body_offset;
	uint64_t rows;
	struct od_error err = {};
	if (od_ipc_check(reinterpret_cast<const uint8_t *>(bytes.data()), bytes.size(), OD_IPC_BATCH, &body_offset, &rows,
	                 &err) != OD_OK) {
		fail_msg("%s", err.message);
	}
	assert_int_equal(body_offset % 64, 0);
	assert_int_equal(rows, batch.rows);
	return Received(bytes, rows, body_offset);
}

//! Schema through its message, as it travels.
inline void SendSchema(const duckdb::vector<duckdb::LogicalType> &types, const duckdb::vector<duckdb::string> &names,
                       bool exact, SchemaPtr &out) {
	auto message = SchemaMessage(types, names, exact);
	struct od_error err = {};
	if (od_ipc_decode_schema(reinterpret_cast<const uint8_t *>(message.data()), message.size(), &out.schema, &err) !=
	    OD_OK) {
		fail_msg("%s", err.message);
	}
}

inline duckdb::vector<BatchPtr> Encode(const duckdb::vector<duckdb::LogicalType> &types, bool exact,
                                       duckdb::vector<duckdb::unique_ptr<duckdb::DataChunk>> &chunks) {
	BatchEncoder encoder(types, exact);
	duckdb::vector<BatchPtr> batches;
	for (auto &chunk : chunks) {
		for (duckdb::idx_t at = 0; at < chunk->size();) {
			at += encoder.Append(*chunk, at);
			if (at < chunk->size() || encoder.Full()) {
				batches.emplace_back(encoder.Finish());
			}
		}
	}
	if (encoder.Rows() || batches.empty()) {
		batches.emplace_back(encoder.Finish());
	}
	return batches;
}

template <class T, class BITS>
bool SameBits(T left, T right) {
	BITS a, b;
	memcpy(&a, &left, sizeof a);
	memcpy(&b, &right, sizeof b);
	return a == b;
}

//! Equal type, equal bits: NaN payloads, signs of zero and NULL at every level count.
inline bool Same(const duckdb::Value &left, const duckdb::Value &right) {
	using namespace duckdb; // NOLINT
	if (left.type() != right.type() || left.type().GetAlias() != right.type().GetAlias() ||
	    left.IsNull() != right.IsNull()) {
		return false;
	}
	if (left.IsNull()) {
		return true;
	}
	auto all = [](const vector<Value> &a, const vector<Value> &b) {
		if (a.size() != b.size()) {
			return false;
		}
		for (idx_t i = 0; i < a.size(); i++) {
			if (!Same(a[i], b[i])) {
				return false;
			}
		}
		return true;
	};
	switch (left.type().InternalType()) {
	case PhysicalType::FLOAT:
		return SameBits<float, uint32_t>(FloatValue::Get(left), FloatValue::Get(right));
	case PhysicalType::DOUBLE:
		return SameBits<double, uint64_t>(DoubleValue::Get(left), DoubleValue::Get(right));
	case PhysicalType::VARCHAR:
		return StringValue::Get(left) == StringValue::Get(right);
	case PhysicalType::INTERVAL: {
		auto a = IntervalValue::Get(left), b = IntervalValue::Get(right);
		return a.months == b.months && a.days == b.days && a.micros == b.micros;
	}
	case PhysicalType::STRUCT:
		return all(StructValue::GetChildren(left), StructValue::GetChildren(right));
	case PhysicalType::LIST:
		return all(ListValue::GetChildren(left), ListValue::GetChildren(right));
	case PhysicalType::ARRAY:
		return all(ArrayValue::GetChildren(left), ArrayValue::GetChildren(right));
	default:
		return Value::NotDistinctFrom(left, right) && left.ToString() == right.ToString();
	}
}

//! All rows of all batches, in order, must equal the chunks' rows. Returns how many there were.
inline duckdb::idx_t WantSame(duckdb::ClientContext &context, const duckdb::vector<duckdb::LogicalType> &types,
                              const duckdb::vector<duckdb::string> &names,
                              duckdb::vector<duckdb::unique_ptr<duckdb::DataChunk>> &chunks) {
	using namespace duckdb; // NOLINT
	SchemaPtr schema;
	SendSchema(types, names, true, schema);
	assert_true(SchemaIsExact(schema.schema));
	BatchDecoder decoder(context, schema.schema);
	assert_int_equal(decoder.Types().size(), types.size());
	for (idx_t i = 0; i < types.size(); i++) {
		if (decoder.Types()[i] != types[i] || decoder.Types()[i].ToString() != types[i].ToString()) {
			fail_msg("type %s came back as %s", types[i].ToString().c_str(), decoder.Types()[i].ToString().c_str());
		}
	}
	auto batches = Encode(types, true, chunks);
	DataChunk out;
	out.Initialize(Allocator::DefaultAllocator(), types);
	idx_t chunk = 0, row = 0, total = 0;
	for (auto &batch : batches) {
		decoder.Load(Sent(*batch).get());
		batch.reset();
		while (decoder.Remaining()) {
			out.Reset();
			decoder.Read(out);
			assert_true(out.size() > 0 && out.size() <= STANDARD_VECTOR_SIZE);
			out.Verify();
			for (idx_t i = 0; i < out.size(); i++, row++, total++) {
				while (row == chunks[chunk]->size()) {
					chunk++;
					row = 0;
				}
				for (idx_t c = 0; c < types.size(); c++) {
					auto want = chunks[chunk]->GetValue(c, row), have = out.GetValue(c, i);
					if (!Same(want, have)) {
						fail_msg("column %s (%s), row %llu: %s came back as %s", names[c].c_str(), types[c].ToString().c_str(),
						         (unsigned long long)total, want.ToString().c_str(), have.ToString().c_str());
					}
				}
			}
		}
	}
	return total;
}

//! Runs SQL and takes its chunks as they come (streaming keeps dictionary and constant vectors).
inline duckdb::vector<duckdb::unique_ptr<duckdb::DataChunk>> Chunks(duckdb::Connection &con, const duckdb::string &sql,
                                                                    duckdb::vector<duckdb::LogicalType> &types,
                                                                    duckdb::vector<duckdb::string> &names) {
	using namespace duckdb; // NOLINT
	auto result = con.Query(sql);
	if (result->HasError()) {
		fail_msg("%s: %s", sql.c_str(), result->GetError().c_str());
	}
	types = result->types;
	names = result->names;
	vector<unique_ptr<DataChunk>> chunks;
	while (auto chunk = result->Fetch()) {
		if (chunk->size() == 0) {
			break;
		}
		auto copy = make_uniq<DataChunk>();
		copy->Initialize(Allocator::DefaultAllocator(), types);
		chunk->Copy(*copy);
		chunks.push_back(std::move(copy));
	}
	return chunks;
}

template <class CALL>
duckdb::string ErrorOf(CALL call) {
	try {
		call();
	} catch (const std::exception &ex) {
		return duckdb::ErrorData(ex).Message();
	}
	return "no error";
}

inline void WantError(const duckdb::string &message, const char *part) {
	if (message.find(part) == duckdb::string::npos) {
		fail_msg("'%s' is not in: %s", part, message.c_str());
	}
}

} // namespace openduck

#endif
