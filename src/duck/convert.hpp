// convert.hpp - DuckDB types and vectors <-> Arrow, exactly. Shared by the engine and the extension (C++, thin).
//
// Every DuckDB type travels as the Arrow type whose buffers are its own storage, wherever one exists, with the DuckDB
// type named in field metadata, so that both ends convert by copying or pointing, never by parsing, and every value
// is exact: NULL at every level, NaN payloads, infinities, NUL characters. docs/internals/types.md has the table.
//
//   field metadata "openduck.type"   LogicalTypeId name, e.g. "HUGEINT", "ENUM", "MAP", "UNION"
//                  "openduck.alias"  type alias ("JSON", a user type's name), when there is one
//                  "openduck.enum"   ENUM values as netstrings ("3:foo,0:,"), NUL written "\0" and backslash "\\"
//                  "openduck.collation"  of a VARCHAR, "openduck.crs" of a GEOMETRY, when there is one
//                  (DECIMAL width and scale, ARRAY size and names of children are Arrow's own)
//   schema metadata "openduck.encoding" = "1": every field follows these rules
//
// Two forms. exact: storage forms everywhere (INTERVAL as 16 raw bytes, ENUM as its codes, ...). plain: what Arrow
// consumers expect (INTERVAL as month_day_nano, ENUM as utf8, HUGEINT as decimal128(38,0), ...), an error where a value
// does not fit; a plain schema has no "openduck.*" metadata.
#ifndef OD_DUCK_CONVERT_HPP
#define OD_DUCK_CONVERT_HPP

#include "arrow/batch.h"
#include "arrow/ipc.h"
#include "duckdb.hpp"

namespace openduck {

// ---- schema

// Fills *out (caller releases). Throws duckdb::NotImplementedException naming the column for a type that cannot travel.
void SchemaFromTypes(const duckdb::vector<duckdb::LogicalType> &types, const duckdb::vector<duckdb::string> &names,
                     bool exact, struct ArrowSchema *out);
// True when the schema says "openduck.encoding" = "1".
bool SchemaIsExact(const struct ArrowSchema &schema);
// Types and names of an openduck-encoded schema. Throws duckdb::InvalidInputException on nonsense (bytes of a peer).
void TypesFromSchema(const struct ArrowSchema &schema, duckdb::vector<duckdb::LogicalType> &types,
                     duckdb::vector<duckdb::string> &names);
// "openduck.*"-encoded IPC schema message of these types.
duckdb::string SchemaMessage(const duckdb::vector<duckdb::LogicalType> &types,
                             const duckdb::vector<duckdb::string> &names, bool exact);

// ---- encode: chunks -> one batch. One encoder per thread; not reusable across threads while filling.
class BatchEncoder {
public:
	//! codec: what Finish compresses batches with.
	BatchEncoder(const duckdb::vector<duckdb::LogicalType> &types, bool exact, enum od_ipc_codec codec = OD_IPC_PLAIN);
	~BatchEncoder();
	//! Adds rows of a chunk with the encoder's types (any vector types: flat, dictionary, constant, ...), from row
	//! `from` on, as many as a batch may hold; returns how many. Fewer than there are (perhaps 0): Finish, then go on
	//! where it stopped. An empty encoder takes at least one row, or throws when that row is larger than a message.
	[[nodiscard]] duckdb::idx_t Append(duckdb::DataChunk &chunk, duckdb::idx_t from = 0);
	duckdb::idx_t Rows() const;
	//! The batch has reached the flush targets of base/limits.h.
	bool Full() const;
	//! Bytes of Arrow data so far (estimate; what the flush target compares with).
	duckdb::idx_t Bytes() const;
	//! Gives a batch of everything appended and empties the encoder. Throws duckdb::OutOfMemoryException.
	struct od_batch *Finish();

private:
	struct Impl;
	duckdb::unique_ptr<Impl> impl;
};

// ---- decode: one batch -> chunks of at most STANDARD_VECTOR_SIZE rows, buffers shared where possible.
class BatchDecoder {
public:
	//! schema: openduck-encoded or plain Arrow (then DuckDB's own Arrow conversion is used). Throws on nonsense.
	BatchDecoder(duckdb::ClientContext &context, const struct ArrowSchema &schema);
	~BatchDecoder();
	const duckdb::vector<duckdb::LogicalType> &Types() const;
	//! Takes a reference to the batch; checks and validates it. Throws duckdb::IOException on corrupt bytes.
	void Load(struct od_batch *batch);
	duckdb::idx_t Remaining() const;
	//! Next rows of the loaded batch into out: column i of out gets batch column columns[i] (empty: in order).
	//! Resets out and sets its cardinality; 0 at the end of the batch. Vectors keep the batch alive as long as they need
	//! it. A BOOLEAN column of out that is mapped to one of another type is DuckDB's empty virtual column: false.
	void Read(duckdb::DataChunk &out, const duckdb::vector<duckdb::idx_t> &columns = {});

private:
	struct Impl;
	duckdb::unique_ptr<Impl> impl;
};

// ---- errors
// Fills *err from a DuckDB error: OD_SQL (or OD_CANCELLED for an interrupt), class, raw message, extra information.
void ErrorFromDuck(const duckdb::ErrorData &error, struct od_error *err);
// The DuckDB error to raise for an od_error of a server: its class where it has one, IOException else; the message is
// the server's own words.
duckdb::ErrorData ErrorToDuck(const struct od_error &err);

} // namespace openduck

#endif
