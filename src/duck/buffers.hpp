// buffers.hpp - growing memory of the encoder, and the step that turns many buffers into one batch.
//
// Rules: memory comes from od_recycle_get, so capacities are multiples of 64 and padding always has room. Growing may
// move a buffer. A cleared buffer remembers how large it was, so that the next batch's begins at that size.
#ifndef OD_DUCK_BUFFERS_HPP
#define OD_DUCK_BUFFERS_HPP

#include "arrow/batch.h"
#include "arrow/ipc.h"
#include "duckdb.hpp"

#include <cstring>

namespace openduck {

class Buffer {
public:
	Buffer() = default;
	Buffer(const Buffer &) = delete;
	Buffer &operator=(const Buffer &) = delete;
	Buffer(Buffer &&other) noexcept
	    : memory(other.memory), capacity(other.capacity), size(other.size), hint(other.hint) {
		other.memory = nullptr;
		other.capacity = other.size = 0;
	}
	~Buffer() {
		od_recycle_put(memory, capacity);
	}

	//! Memory for at least `bytes` bytes; what was in it stays.
	uint8_t *Reserve(duckdb::idx_t bytes) {
		if (bytes > capacity) {
			Grow(bytes);
		}
		return memory;
	}
	uint8_t *Data() const {
		return memory;
	}
	duckdb::idx_t Size() const {
		return size;
	}
	duckdb::idx_t Capacity() const {
		return capacity;
	}
	//! What of it goes into the batch.
	void SetSize(duckdb::idx_t bytes) {
		size = hint = bytes;
	}
	//! Zeroes up to the next multiple of 64 and returns it.
	duckdb::idx_t Pad();
	//! Gives the memory away.
	uint8_t *Release() {
		auto result = memory;
		memory = nullptr;
		capacity = size = 0;
		return result;
	}
	void Clear() {
		size = 0;
	}

private:
	uint8_t *memory = nullptr;
	duckdb::idx_t capacity = 0;
	duckdb::idx_t size = 0;
	duckdb::idx_t hint = 0;

	void Grow(duckdb::idx_t bytes);
};

//! `count` (at most 64) bits of a bitmap, from bit `at` on.
inline uint64_t LoadBits(const uint64_t *words, duckdb::idx_t at, duckdb::idx_t count) {
	auto shift = at % 64;
	auto word = words[at / 64] >> shift;
	if (shift + count > 64) {
		word |= words[at / 64 + 1] << (64 - shift);
	}
	return count == 64 ? word : word & ((uint64_t(1) << count) - 1);
}

//! The lowest bits of `count` (at most 64) bytes. Bools are 0 or 1, but under a NULL there may be anything.
inline uint64_t PackBools(const uint8_t *values, duckdb::idx_t count) {
	uint64_t word = 0;
	duckdb::idx_t i = 0;
	for (; i + 8 <= count; i += 8) {
		uint64_t eight;
		memcpy(&eight, values + i, 8);
		word |= (((eight & 0x0101010101010101ull) * 0x0102040810204080ull) >> 56) << i;
	}
	for (; i < count; i++) {
		word |= uint64_t(values[i] & 1) << i;
	}
	return word;
}

//! Bits, appended in words. Invariant: bits behind the last one in its word are zero.
class BitBuffer {
public:
	void Append(uint64_t word, duckdb::idx_t count) {
		if (count < 64) {
			word &= (uint64_t(1) << count) - 1;
		}
		auto words = reinterpret_cast<uint64_t *>(bytes.Reserve((bits / 64 + 2) * 8)) + bits / 64;
		auto shift = bits % 64;
		if (shift == 0) {
			words[0] = word;
		} else {
			words[0] |= word << shift;
			words[1] = word >> (64 - shift);
		}
		bits += count;
	}
	void AppendOnes(duckdb::idx_t count) {
		for (; count > 64; count -= 64) {
			Append(~uint64_t(0), 64);
		}
		Append(~uint64_t(0), count);
	}
	bool Get(duckdb::idx_t at) const {
		return bytes.Data()[at / 8] >> (at % 8) & 1;
	}
	uint64_t Load(duckdb::idx_t at, duckdb::idx_t count) const {
		return LoadBits(reinterpret_cast<const uint64_t *>(bytes.Data()), at, count);
	}
	void Finish(duckdb::idx_t count) {
		bytes.SetSize((count + 7) / 8);
	}
	Buffer &Bytes() {
		return bytes;
	}
	void Clear() {
		bits = 0;
		bytes.Clear();
	}

private:
	Buffer bytes;
	duckdb::idx_t bits = 0;
};

//! One batch of these buffers, which give up their memory (a very small batch is copied into one segment instead).
struct od_batch *MakeBatch(duckdb::idx_t rows, const duckdb::vector<struct od_ipc_node> &nodes,
                           duckdb::vector<Buffer *> &buffers);

} // namespace openduck

#endif
