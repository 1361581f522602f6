// check_variant.cpp - is a row of a VARIANT's storage one that DuckDB may walk? (IsVariant of check.hpp)
//
// A VARIANT is four columns: keys (text), children (index of a key, index of a value), values (type, offset into data)
// and data. Values of nested types name ranges of children, children name values: the walk must end, so a value may
// hang in the tree only once, and not too deep. Anything else could loop or read outside.
#include "duck/check.hpp"

#include "duckdb/common/types/variant.hpp"

#include <cstring>

using namespace duckdb;

namespace openduck {

static const uint32_t NO_PARENT = UINT32_MAX;
static const uint32_t DEPTH_MAX = 1000; // DuckDB walks it by recursion

struct Cursor {
	const uint8_t *at;
	const uint8_t *end;

	bool Varint(uint32_t &value) {
		uint64_t result = 0;
		for (unsigned shift = 0; shift < 35; shift += 7) {
			if (at == end) {
				return false;
			}
			uint8_t byte = *at++;
			result |= uint64_t(byte & 0x7F) << shift;
			if (!(byte & 0x80)) {
				value = uint32_t(result);
				return result <= UINT32_MAX;
			}
		}
		return false;
	}
	bool Has(size_t bytes) const {
		return size_t(end - at) >= bytes;
	}
	template <class T, class CHECK>
	bool Checked(CHECK check) const {
		T value;
		if (!Has(sizeof value)) {
			return false;
		}
		memcpy(&value, at, sizeof value);
		return check(value);
	}
	bool Bytes(bool (*check)(const uint8_t *, size_t)) {
		uint32_t size;
		return Varint(size) && Has(size) && (!check || check(at, size));
	}
	bool Decimal() {
		uint32_t width, scale;
		if (!Varint(width) || !Varint(scale) || width < 1 || width > 38 || scale > width) {
			return false;
		}
		return Has(width <= 4 ? 2 : width <= 9 ? 4 : width <= 18 ? 8 : 16);
	}
};

static bool IsChildRange(Cursor &cursor, const VariantRow &row, bool object, uint32_t parent, uint32_t *parents) {
	uint32_t count, first;
	if (!cursor.Varint(count)) {
		return false;
	}
	if (count == 0) {
		return true;
	}
	if (!cursor.Varint(first) || uint64_t(first) + count > row.child_count) {
		return false;
	}
	for (uint32_t i = first; i < first + count; i++) {
		auto value = row.value_indexes[i];
		// The root (0) hangs nowhere, every other value once: so what hangs on the root is a tree.
		if (value == 0 || value >= row.value_count || parents[value] != NO_PARENT) {
			return false;
		}
		parents[value] = parent;
		bool has_key = row.KeyIsValid(i);
		if (has_key != object || (has_key && row.key_indexes[i] >= row.key_count)) {
			return false;
		}
	}
	return true;
}

static bool IsValue(const VariantRow &row, uint32_t index, uint32_t *parents) {
	if (row.offsets[index] > row.data_bytes) {
		return false;
	}
	Cursor cursor = {row.data + row.offsets[index], row.data + row.data_bytes};
	switch (static_cast<VariantLogicalType>(row.types[index])) {
	case VariantLogicalType::VARIANT_NULL:
		return index > 0; // else the row itself would be NULL
	case VariantLogicalType::BOOL_TRUE:
	case VariantLogicalType::BOOL_FALSE:
		return true;
	case VariantLogicalType::INT8:
	case VariantLogicalType::UINT8:
		return cursor.Has(1);
	case VariantLogicalType::INT16:
	case VariantLogicalType::UINT16:
		return cursor.Has(2);
	case VariantLogicalType::INT32:
	case VariantLogicalType::UINT32:
	case VariantLogicalType::FLOAT:
	case VariantLogicalType::DATE:
		return cursor.Has(4);
	case VariantLogicalType::INT64:
	case VariantLogicalType::UINT64:
	case VariantLogicalType::DOUBLE:
	case VariantLogicalType::TIMESTAMP_SEC:
	case VariantLogicalType::TIMESTAMP_MILIS:
	case VariantLogicalType::TIMESTAMP_MICROS:
	case VariantLogicalType::TIMESTAMP_NANOS:
	case VariantLogicalType::TIMESTAMP_MICROS_TZ:
		return cursor.Has(8);
	case VariantLogicalType::INT128:
	case VariantLogicalType::UINT128:
	case VariantLogicalType::UUID:
	case VariantLogicalType::INTERVAL:
		return cursor.Has(16);
	case VariantLogicalType::TIME_MICROS:
		return cursor.Checked<int64_t>(IsTime);
	case VariantLogicalType::TIME_NANOS:
		return cursor.Checked<int64_t>(IsTimeNs);
	case VariantLogicalType::TIME_MICROS_TZ:
		return cursor.Checked<uint64_t>(IsTimeTz);
	case VariantLogicalType::DECIMAL:
		return cursor.Decimal();
	case VariantLogicalType::VARCHAR:
		return cursor.Bytes(IsUtf8);
	case VariantLogicalType::BLOB:
		return cursor.Bytes(nullptr);
	case VariantLogicalType::BIGNUM:
		return cursor.Bytes(IsBignum);
	case VariantLogicalType::BITSTRING:
		return cursor.Bytes(IsBit);
	case VariantLogicalType::GEOMETRY:
		return cursor.Bytes(IsGeometry);
	case VariantLogicalType::OBJECT:
		return IsChildRange(cursor, row, true, index, parents);
	case VariantLogicalType::ARRAY:
		return IsChildRange(cursor, row, false, index, parents);
	default:
		return false;
	}
}

bool IsVariant(const VariantRow &row, std::vector<uint32_t> &parents) {
	if (row.value_count == 0) {
		return false;
	}
	parents.assign(row.value_count, NO_PARENT);
	for (uint32_t i = 0; i < row.value_count; i++) {
		if (!IsValue(row, i, parents.data())) {
			return false;
		}
	}
	for (uint32_t i = 0; i < row.value_count; i++) {
		uint32_t depth = 0;
		for (auto at = i; parents[at] != NO_PARENT; at = parents[at]) {
			if (++depth > DEPTH_MAX) {
				return false;
			}
		}
	}
	return true;
}

} // namespace openduck
