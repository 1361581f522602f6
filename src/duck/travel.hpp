// travel.hpp - how one DuckDB type travels: the table behind schema, encoder and decoder, as a tree per column.
//
// There is one decision in the whole conversion, and TravelOf makes it: which buffers a type has on the wire. Schema,
// encoder and decoder only follow the tree it returns, so they cannot disagree.
#ifndef OD_DUCK_TRAVEL_HPP
#define OD_DUCK_TRAVEL_HPP

#include "duckdb.hpp"

namespace openduck {

//! Buffers of a column, and what has to be done between them and DuckDB's vector.
enum class Form : uint8_t {
	NOTHING,    //! Arrow null: no buffers
	BITS,       //! bool bytes <-> bits
	FIXED,      //! values of `width` bytes, the same on both sides
	NARROW,     //! DECIMAL kept as int16, sent as int32
	UUID,       //! 16 bytes, big-endian, without DuckDB's flipped top bit
	STRING,     //! int32 offsets and bytes
	LIST,       //! int32 offsets, one child (MAP: its child is the entries struct)
	ARRAY,      //! one child with `width` values a row
	STRUCT,     //! children (STRUCT, UNION with its tag, VARIANT's storage)
	DECIMAL_38, //! plain only: HUGEINT and UHUGEINT as decimal128(38,0), refused when out of its range
	NANO,       //! plain only: INTERVAL as month_day_nano, refused when microseconds * 1000 overflow
	TEXT        //! plain only: cast to VARCHAR
};

struct Travel {
	duckdb::LogicalType type;
	Form form;
	uint32_t width; //! FIXED: bytes a value on the wire; ARRAY: values a row
	duckdb::string format;              //! of the Arrow C data interface
	duckdb::string extension;           //! ARROW:extension:name, or empty
	duckdb::string extension_metadata;  //! ARROW:extension:metadata
	duckdb::vector<duckdb::string> names; //! of the children
	duckdb::vector<Travel> children;
};

//! `column` is for the message of the NotImplementedException.
Travel TravelOf(const duckdb::LogicalType &type, bool exact, const duckdb::string &column);

//! Name of a type in field metadata "openduck.type"; TypeIdFromName gives INVALID for an unknown one.
const char *TypeIdName(duckdb::LogicalTypeId id);
duckdb::LogicalTypeId TypeIdFromName(const duckdb::string &name);

} // namespace openduck

#endif
