// check.cpp - the predicates of check.hpp.
#include "duck/check.hpp"

#include "base/limits.h"

#include <cstring>

namespace openduck {

static uint64_t Load64(const uint8_t *bytes) {
	uint64_t word;
	memcpy(&word, bytes, sizeof word);
	return word;
}

static const uint64_t HIGH_BITS = 0x8080808080808080ull;

bool IsAscii(const uint8_t *bytes, size_t size) {
	size_t at = 0;
	// 64 bytes a turn, so that the compiler can keep the sum in vector registers.
	for (; at + 64 <= size; at += 64) {
		uint64_t seen = 0;
		for (size_t i = 0; i < 64; i += 8) {
			seen |= Load64(bytes + at + i);
		}
		if (seen & HIGH_BITS) {
			return false;
		}
	}
	uint8_t seen = 0;
	for (; at < size; at++) {
		seen |= bytes[at];
	}
	return !(seen & 0x80);
}

static bool IsContinuation(uint8_t byte) {
	return (byte & 0xC0) == 0x80;
}

bool IsUtf8(const uint8_t *bytes, size_t size) {
	size_t at = 0;
	while (at < size) {
		if (at + 8 <= size && !(Load64(bytes + at) & HIGH_BITS)) {
			at += 8;
			continue;
		}
		uint8_t first = bytes[at];
		size_t left = size - at;
		if (first < 0x80) {
			at++;
		} else if (first >= 0xC2 && first <= 0xDF) {
			if (left < 2 || !IsContinuation(bytes[at + 1])) {
				return false;
			}
			at += 2;
		} else if (first >= 0xE0 && first <= 0xEF) {
			if (left < 3 || !IsContinuation(bytes[at + 1]) || !IsContinuation(bytes[at + 2])) {
				return false;
			}
			if ((first == 0xE0 && bytes[at + 1] < 0xA0) || (first == 0xED && bytes[at + 1] >= 0xA0)) {
				return false;
			}
			at += 3;
		} else if (first >= 0xF0 && first <= 0xF4) {
			if (left < 4 || !IsContinuation(bytes[at + 1]) || !IsContinuation(bytes[at + 2]) ||
			    !IsContinuation(bytes[at + 3])) {
				return false;
			}
			if ((first == 0xF0 && bytes[at + 1] < 0x90) || (first == 0xF4 && bytes[at + 1] >= 0x90)) {
				return false;
			}
			at += 4;
		} else {
			return false;
		}
	}
	return true;
}

bool IsBit(const uint8_t *bytes, size_t size) {
	if (size < 2 || bytes[0] > 7) {
		return false;
	}
	auto padding = uint8_t(0xFF00 >> bytes[0]);
	return (bytes[1] & padding) == padding;
}

bool IsBignum(const uint8_t *bytes, size_t size) {
	if (size < 4) {
		return false;
	}
	bool negative = !(bytes[0] & 0x80);
	uint32_t header = uint32_t(bytes[0]) << 16 | uint32_t(bytes[1]) << 8 | bytes[2];
	uint32_t told = (negative ? ~header : header) & 0x7FFFFF;
	if (told != size - 3) {
		return false;
	}
	// No leading zero byte, and no negative zero.
	uint8_t top = negative ? uint8_t(~bytes[3]) : bytes[3];
	return top != 0 || (size == 4 && !negative);
}

// One geometry from *bytes; moves *bytes and *size behind it.
static bool SkipGeometry(const uint8_t *&bytes, size_t &size, unsigned depth) {
	auto skip = [&](uint64_t count) {
		if (count > size) {
			return false;
		}
		bytes += count;
		size -= count;
		return true;
	};
	auto read32 = [&](uint32_t &value) {
		if (size < 4) {
			return false;
		}
		memcpy(&value, bytes, 4);
		return skip(4);
	};
	uint32_t kind, count, points;
	if (depth > OD_NESTING_MAX || size < 5 || bytes[0] != 1 || !skip(1) || !read32(kind)) {
		return false;
	}
	uint32_t type = kind % 1000, dimensions = kind / 1000;
	if (type < 1 || type > 7 || dimensions > 3) {
		return false;
	}
	uint64_t point_bytes = 8 * (dimensions == 0 ? 2 : dimensions == 3 ? 4 : 3);
	if (type == 1) {
		return skip(point_bytes);
	}
	if (!read32(count)) {
		return false;
	}
	if (type == 2) {
		return skip(count * point_bytes);
	}
	for (uint32_t i = 0; i < count; i++) {
		if (type == 3) {
			if (!read32(points) || !skip(points * point_bytes)) {
				return false;
			}
		} else {
			// The parts of a multi-geometry have its dimensions and, but for collections, its single type.
			uint32_t part;
			if (size < 5) {
				return false;
			}
			memcpy(&part, bytes + 1, 4);
			if (part / 1000 != dimensions || (type != 7 && part % 1000 != type - 3) ||
			    !SkipGeometry(bytes, size, depth + 1)) {
				return false;
			}
		}
	}
	return true;
}

bool IsGeometry(const uint8_t *bytes, size_t size) {
	return SkipGeometry(bytes, size, 1) && size == 0;
}

bool IsTime(int64_t micros) {
	return micros >= 0 && micros <= 86400ll * 1000000;
}

bool IsTimeNs(int64_t nanos) {
	return nanos >= 0 && nanos <= 86400ll * 1000000000;
}

bool IsTimeTz(uint64_t bits) {
	// 40 bits of microseconds, then 24 bits that count down from the largest offset, 15:59:59.
	const uint64_t largest = 16 * 3600 - 1;
	return (bits >> 24) <= 86400ull * 1000000 && (bits & 0xFFFFFF) <= 2 * largest;
}

} // namespace openduck
