// travel.cpp - the table of travel.hpp. docs/internals/types.md shows it to readers.
#include "duck/travel.hpp"

#include "base/limits.h"

#include <cstring>

using namespace duckdb;

namespace openduck {

static const struct {
	LogicalTypeId id;
	const char *name;
} TYPE_NAMES[] = {
    {LogicalTypeId::SQLNULL, "NULL"},
    {LogicalTypeId::BOOLEAN, "BOOLEAN"},
    {LogicalTypeId::TINYINT, "TINYINT"},
    {LogicalTypeId::SMALLINT, "SMALLINT"},
    {LogicalTypeId::INTEGER, "INTEGER"},
    {LogicalTypeId::BIGINT, "BIGINT"},
    {LogicalTypeId::UTINYINT, "UTINYINT"},
    {LogicalTypeId::USMALLINT, "USMALLINT"},
    {LogicalTypeId::UINTEGER, "UINTEGER"},
    {LogicalTypeId::UBIGINT, "UBIGINT"},
    {LogicalTypeId::HUGEINT, "HUGEINT"},
    {LogicalTypeId::UHUGEINT, "UHUGEINT"},
    {LogicalTypeId::FLOAT, "FLOAT"},
    {LogicalTypeId::DOUBLE, "DOUBLE"},
    {LogicalTypeId::DECIMAL, "DECIMAL"},
    {LogicalTypeId::DATE, "DATE"},
    {LogicalTypeId::TIME, "TIME"},
    {LogicalTypeId::TIME_NS, "TIME_NS"},
    {LogicalTypeId::TIME_TZ, "TIME_TZ"},
    {LogicalTypeId::TIMESTAMP_SEC, "TIMESTAMP_S"},
    {LogicalTypeId::TIMESTAMP_MS, "TIMESTAMP_MS"},
    {LogicalTypeId::TIMESTAMP, "TIMESTAMP"},
    {LogicalTypeId::TIMESTAMP_NS, "TIMESTAMP_NS"},
    {LogicalTypeId::TIMESTAMP_TZ, "TIMESTAMP_TZ"},
    {LogicalTypeId::INTERVAL, "INTERVAL"},
    {LogicalTypeId::CHAR, "CHAR"},
    {LogicalTypeId::VARCHAR, "VARCHAR"},
    {LogicalTypeId::BLOB, "BLOB"},
    {LogicalTypeId::BIT, "BIT"},
    {LogicalTypeId::BIGNUM, "BIGNUM"},
    {LogicalTypeId::UUID, "UUID"},
    {LogicalTypeId::GEOMETRY, "GEOMETRY"},
    {LogicalTypeId::ENUM, "ENUM"},
    {LogicalTypeId::LIST, "LIST"},
    {LogicalTypeId::MAP, "MAP"},
    {LogicalTypeId::ARRAY, "ARRAY"},
    {LogicalTypeId::STRUCT, "STRUCT"},
    {LogicalTypeId::UNION, "UNION"},
    {LogicalTypeId::VARIANT, "VARIANT"},
};

const char *TypeIdName(LogicalTypeId id) {
	for (auto &entry : TYPE_NAMES) {
		if (entry.id == id) {
			return entry.name;
		}
	}
	return nullptr;
}

LogicalTypeId TypeIdFromName(const string &name) {
	for (auto &entry : TYPE_NAMES) {
		if (name == entry.name) {
			return entry.id;
		}
	}
	return LogicalTypeId::INVALID;
}

static Travel Make(const LogicalType &type, Form form, uint32_t width, string format) {
	Travel travel;
	travel.type = type;
	travel.form = form;
	travel.width = width;
	travel.format = std::move(format);
	return travel;
}

static Travel Fixed(const LogicalType &type, string format) {
	return Make(type, Form::FIXED, uint32_t(GetTypeIdSize(type.InternalType())), std::move(format));
}

//! Storage bytes without an Arrow type: named by arrow.opaque, so that others can say what they are.
static Travel Opaque(Travel travel, const char *type_name) {
	travel.extension = "arrow.opaque";
	travel.extension_metadata = string("{\"type_name\":\"") + type_name + "\",\"vendor_name\":\"DuckDB\"}";
	return travel;
}

static Travel Decimal(const LogicalType &type) {
	auto digits = to_string(DecimalType::GetWidth(type)) + "," + to_string(DecimalType::GetScale(type));
	switch (type.InternalType()) {
	case PhysicalType::INT16:
		return Make(type, Form::NARROW, 4, "d:" + digits + ",32");
	case PhysicalType::INT32:
		return Fixed(type, "d:" + digits + ",32");
	case PhysicalType::INT64:
		return Fixed(type, "d:" + digits + ",64");
	default:
		return Fixed(type, "d:" + digits);
	}
}

static Travel EnumCodes(const LogicalType &type) {
	switch (type.InternalType()) {
	case PhysicalType::UINT8:
		return Fixed(type, "C");
	case PhysicalType::UINT16:
		return Fixed(type, "S");
	default:
		return Fixed(type, "I");
	}
}

static Travel Nested(const LogicalType &type, bool exact, const string &column, idx_t depth);

static Travel TravelAt(const LogicalType &type, bool exact, const string &column, idx_t depth) {
	if (depth > OD_NESTING_MAX) {
		throw NotImplementedException("Column \"%s\" is nested more than %llu levels deep and cannot be sent", column,
		                              (unsigned long long)OD_NESTING_MAX);
	}
	switch (type.id()) {
	case LogicalTypeId::SQLNULL:
		return Make(type, Form::NOTHING, 0, "n");
	case LogicalTypeId::BOOLEAN:
		return Make(type, Form::BITS, 0, "b");
	case LogicalTypeId::TINYINT:
		return Fixed(type, "c");
	case LogicalTypeId::SMALLINT:
		return Fixed(type, "s");
	case LogicalTypeId::INTEGER:
		return Fixed(type, "i");
	case LogicalTypeId::BIGINT:
		return Fixed(type, "l");
	case LogicalTypeId::UTINYINT:
		return Fixed(type, "C");
	case LogicalTypeId::USMALLINT:
		return Fixed(type, "S");
	case LogicalTypeId::UINTEGER:
		return Fixed(type, "I");
	case LogicalTypeId::UBIGINT:
		return Fixed(type, "L");
	case LogicalTypeId::FLOAT:
		return Fixed(type, "f");
	case LogicalTypeId::DOUBLE:
		return Fixed(type, "g");
	case LogicalTypeId::HUGEINT:
		return exact ? Opaque(Fixed(type, "w:16"), "hugeint") : Make(type, Form::DECIMAL_38, 16, "d:38,0");
	case LogicalTypeId::UHUGEINT:
		return exact ? Opaque(Fixed(type, "w:16"), "uhugeint") : Make(type, Form::DECIMAL_38, 16, "d:38,0");
	case LogicalTypeId::DECIMAL:
		return Decimal(type);
	case LogicalTypeId::DATE:
		return Fixed(type, "tdD");
	case LogicalTypeId::TIME:
		return Fixed(type, "ttu");
	case LogicalTypeId::TIME_NS:
		return Fixed(type, "ttn");
	case LogicalTypeId::TIME_TZ:
		return exact ? Opaque(Fixed(type, "w:8"), "time_tz") : Make(type, Form::TEXT, 0, "u");
	case LogicalTypeId::TIMESTAMP_SEC:
		return Fixed(type, "tss:");
	case LogicalTypeId::TIMESTAMP_MS:
		return Fixed(type, "tsm:");
	case LogicalTypeId::TIMESTAMP:
		return Fixed(type, "tsu:");
	case LogicalTypeId::TIMESTAMP_NS:
		return Fixed(type, "tsn:");
	case LogicalTypeId::TIMESTAMP_TZ:
		return Fixed(type, "tsu:UTC");
	case LogicalTypeId::INTERVAL:
		return exact ? Opaque(Fixed(type, "w:16"), "interval") : Make(type, Form::NANO, 16, "tin");
	case LogicalTypeId::CHAR:
	case LogicalTypeId::VARCHAR: {
		auto travel = Make(type, Form::STRING, 0, "u");
		if (!exact && type.IsJSONType()) {
			travel.extension = "arrow.json";
		}
		return travel;
	}
	case LogicalTypeId::BLOB:
		return Make(type, Form::STRING, 0, "z");
	case LogicalTypeId::BIT:
		return exact ? Opaque(Make(type, Form::STRING, 0, "z"), "bit") : Make(type, Form::TEXT, 0, "u");
	case LogicalTypeId::BIGNUM:
		return exact ? Opaque(Make(type, Form::STRING, 0, "z"), "bignum") : Make(type, Form::TEXT, 0, "u");
	case LogicalTypeId::GEOMETRY: {
		auto travel = Make(type, Form::STRING, 0, "z"); // DuckDB's own storage is little-endian WKB
		travel.extension = "geoarrow.wkb";
		travel.extension_metadata = "{}";
		return travel;
	}
	case LogicalTypeId::UUID: {
		auto travel = Make(type, Form::UUID, 16, "w:16");
		travel.extension = "arrow.uuid";
		return travel;
	}
	case LogicalTypeId::ENUM:
		if (type.InternalType() == PhysicalType::INVALID) {
			break;
		}
		return exact ? EnumCodes(type) : Make(type, Form::TEXT, 0, "u");
	case LogicalTypeId::VARIANT:
		return exact ? Nested(type, exact, column, depth) : Make(type, Form::TEXT, 0, "u");
	case LogicalTypeId::LIST:
	case LogicalTypeId::MAP:
	case LogicalTypeId::ARRAY:
	case LogicalTypeId::STRUCT:
	case LogicalTypeId::UNION:
		return Nested(type, exact, column, depth);
	default:
		break;
	}
	throw NotImplementedException("Column \"%s\" has type %s, which cannot be sent; cast it to VARCHAR or BLOB", column,
	                              type.ToString());
}

static Travel Nested(const LogicalType &type, bool exact, const string &column, idx_t depth) {
	Travel travel;
	switch (type.id()) {
	case LogicalTypeId::LIST:
	case LogicalTypeId::MAP:
		travel = Make(type, Form::LIST, 0, type.id() == LogicalTypeId::MAP ? "+m" : "+l");
		travel.names.push_back(type.id() == LogicalTypeId::MAP ? "entries" : "item");
		travel.children.push_back(TravelAt(ListType::GetChildType(type), exact, column, depth + 1));
		break;
	case LogicalTypeId::ARRAY: {
		auto size = ArrayType::GetSize(type);
		travel = Make(type, Form::ARRAY, uint32_t(size), "+w:" + to_string(size));
		travel.names.push_back("item");
		travel.children.push_back(TravelAt(ArrayType::GetChildType(type), exact, column, depth + 1));
		break;
	}
	default:
		travel = Make(type, Form::STRUCT, 0, "+s");
		for (auto &child : StructType::GetChildTypes(type)) {
			travel.names.push_back(child.first);
			travel.children.push_back(TravelAt(child.second, exact, column, depth + 1));
		}
		break;
	}
	return travel;
}

Travel TravelOf(const LogicalType &type, bool exact, const string &column) {
	return TravelAt(type, exact, column, 1);
}

} // namespace openduck
