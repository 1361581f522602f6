// batch_scan.hpp - a table function's inside that reads numbered batches from a source and hands out chunks, in parallel
// and in order. The extension's remote scan and the engine's openduck_upload() are both thin table functions around it.
//
// One lock covers only the taking of batches. A thread claims several consecutive batches at a time (about one row group,
// 122,880 rows, growing from one batch so that the first rows come fast) and gives them one batch index, because an
// ordered insert writes a batch straight through only when it covers a row group; decoding runs outside the lock.
#ifndef OD_DUCK_BATCH_SCAN_HPP
#define OD_DUCK_BATCH_SCAN_HPP

#include "arrow/batch_queue.h"
#include "duck/convert.hpp"
#include "duckdb/function/table_function.hpp"

namespace openduck {

//! Where batches come from, in order. Thread-safe against interrupt only: the scan calls it under its lock.
class BatchSource {
public:
	virtual ~BatchSource() = default;
	//! BATCH, END, FAILED (err filled), or EMPTY: nothing now; `waker` will be called exactly once: when there may be,
	//! at the latest in the destructor. Otherwise the waker is dropped.
	//! With waker.wake == NULL the source may wait.
	virtual enum od_pop Next(struct od_batch **batch, struct od_waker waker, struct od_error *err) = 0;
};

class BatchScanGlobal {
public:
	BatchScanGlobal(duckdb::unique_ptr<BatchSource> source, duckdb::vector<duckdb::idx_t> columns);
	//! columns: for each output column the batch column it comes from (empty: in order)
	//! Per thread: claimed batches, decoder.
	struct Local {
		virtual ~Local() = default;
	};
	duckdb::unique_ptr<Local> MakeLocal(duckdb::ClientContext &context, const struct ArrowSchema &schema);
	//! The table function's body. Sets async_result when the source is empty (no thread waits). Throws ErrorToDuck.
	void Scan(duckdb::ClientContext &context, Local &local, duckdb::TableFunctionInput &input, duckdb::DataChunk &out);
	duckdb::idx_t BatchIndex(const Local &local) const;
	~BatchScanGlobal();

private:
	struct Impl;
	duckdb::unique_ptr<Impl> impl;
};

} // namespace openduck

#endif
