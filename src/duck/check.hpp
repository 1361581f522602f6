// check.hpp - are these bytes of a peer values that DuckDB may hold? DuckDB trusts its vectors: a TIME of 900 hours, a
// BIGNUM without a header or text that is not UTF-8 makes it read or write outside its buffers.
//
// Every function answers for one value or one buffer and touches nothing else.
#ifndef OD_DUCK_CHECK_HPP
#define OD_DUCK_CHECK_HPP

#include <cstddef>
#include <cstdint>
#include <vector>

namespace openduck {

//! No byte above 127: every cut of it is valid UTF-8.
bool IsAscii(const uint8_t *bytes, size_t size);
//! As DuckDB wants it: no surrogates, nothing overlong, nothing above U+10FFFF; NUL is allowed.
bool IsUtf8(const uint8_t *bytes, size_t size);
//! Padding byte, then at least one byte of bits whose padding is all ones.
bool IsBit(const uint8_t *bytes, size_t size);
//! Three header bytes that tell the length and sign, then at least one byte.
bool IsBignum(const uint8_t *bytes, size_t size);
//! Little-endian WKB of the seven types with 2 to 4 dimensions, complete, with nothing behind it.
bool IsGeometry(const uint8_t *bytes, size_t size);
bool IsTime(int64_t micros);
bool IsTimeNs(int64_t nanos);
bool IsTimeTz(uint64_t bits);

//! One row of a VARIANT's storage; the pointers are to the row's first key, child and value.
struct VariantRow {
	uint32_t key_count;
	uint32_t child_count;
	uint32_t value_count;
	const uint8_t *key_validity;  //! of the key indexes; NULL: all valid
	size_t first_child;           //! bit of child 0 in key_validity
	const uint32_t *key_indexes;
	const uint32_t *value_indexes;
	const uint8_t *types;
	const uint32_t *offsets;
	const uint8_t *data;
	size_t data_bytes;

	bool KeyIsValid(uint32_t child) const {
		auto bit = first_child + child;
		return !key_validity || (key_validity[bit / 8] >> (bit % 8) & 1);
	}
};
//! `parents` is scratch memory.
bool IsVariant(const VariantRow &row, std::vector<uint32_t> &parents);

} // namespace openduck

#endif
