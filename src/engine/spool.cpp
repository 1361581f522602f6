// spool.cpp - finished results that wait in DuckDB's buffer manager and are encoded as the consumer makes room.
//
// The collection counts against the memory limit and spills to the temporary directory. Reading it needs neither the
// connection nor a transaction, so the session goes on with its next statement while its last result is still sent.
#include "engine/spool.hpp"

#include "base/limits.h"

using namespace duckdb;

namespace openduck {

namespace {

struct SpooledRows {
	SpooledRows(unique_ptr<ColumnDataCollection> rows_p, bool exact, enum od_ipc_codec codec, bool wrote_p)
	    : rows(std::move(rows_p)), encoder(rows->Types(), exact, codec), wrote(wrote_p) {
		rows->InitializeScan(scan, ColumnDataScanProperties::ALLOW_ZERO_COPY);
		rows->InitializeScanChunk(scan, chunk);
	}

	enum od_fill Fill(struct od_batch_queue *queue, struct od_waker room) {
		for (;;) {
			if (encoder.Rows() > 0 && (at_end || cut || encoder.Full())) {
				if (od_batch_queue_full(queue, 0, room)) {
					return OD_FILL_FULL;
				}
				od_batch_queue_push(queue, 0, encoder.Finish());
				cut = false;
			}
			if (at_end) {
				return OD_FILL_END;
			}
			if (row >= chunk.size()) {
				chunk.Reset();
				row = 0;
				at_end = !rows->Scan(scan, chunk);
				continue;
			}
			row += encoder.Append(chunk, row);
			cut = row < chunk.size();
		}
	}

	bool Wrote() const {
		return wrote;
	}

private:
	unique_ptr<ColumnDataCollection> rows;
	BatchEncoder encoder;
	bool wrote;
	ColumnDataScanState scan;
	DataChunk chunk;
	idx_t row = 0;       // of the chunk: those before it are in the encoder
	bool cut = false;    // the encoder did not take all of the chunk: its batch has to go first
	bool at_end = false; // of the collection
};

enum od_fill Fill(void *self, struct od_batch_queue *queue, struct od_waker room, struct od_error *err) {
	auto &rows = *static_cast<SpooledRows *>(self);
	enum od_fill fill = OD_FILL_FAILED;
	od_code rc = Guarded(err, [&] { fill = rows.Fill(queue, room); });
	if (rc != OD_OK && rows.Wrote()) {
		struct od_error cause = *err;
		(void)od_fail(err, OD_RESULT_GONE, "the statement took effect, but its rows cannot be returned: %s",
		              cause.message);
	}
	return rc == OD_OK ? fill : OD_FILL_FAILED;
}

void Free(void *self) {
	delete static_cast<SpooledRows *>(self);
}

constexpr struct od_result_source SPOOLED_ROWS = {Fill, Free};

} // namespace

void Spool(struct od_result *result, unique_ptr<ColumnDataCollection> rows, bool exact, enum od_ipc_codec codec,
           bool wrote) {
	auto spooled = make_uniq<SpooledRows>(std::move(rows), exact, codec, wrote);
	struct od_error error = {};
	od_code rc = od_result_spool(result, &SPOOLED_ROWS, spooled.release(), &error);
	Check(rc, error);
}

} // namespace openduck
