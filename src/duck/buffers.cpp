// buffers.cpp - see buffers.hpp.
#include "duck/buffers.hpp"

#include "base/limits.h"
#include "duck/convert.hpp"

using namespace duckdb;

namespace openduck {

//! A batch up to this size becomes one segment: cheaper for a socket than many small ones.
static const idx_t SMALL_BATCH_BYTES = 16 * OD_KIB;

static idx_t Padded(idx_t bytes) {
	return (bytes + 63) / 64 * 64;
}

void Buffer::Grow(idx_t bytes) {
	size_t new_capacity;
	auto wanted = memory ? bytes : MaxValue<idx_t>(bytes, hint);
	auto grown = static_cast<uint8_t *>(od_recycle_get(wanted, &new_capacity));
	if (!grown) {
		throw OutOfMemoryException("Out of memory for %llu bytes of a result batch", (unsigned long long)wanted);
	}
	if (memory) {
		memcpy(grown, memory, capacity);
		od_recycle_put(memory, capacity);
	}
	memory = grown;
	capacity = new_capacity;
}

idx_t Buffer::Pad() {
	auto padded = Padded(size);
	if (padded > size) {
		memset(memory + size, 0, padded - size);
	}
	return padded;
}

//! Memory of one batch.
struct Owner {
	od_buf header;
	vector<std::pair<void *, size_t>> blocks;

	Owner() {
		od_buf_init(&header, OD_MESSAGE_BYTES_MAX);
	}
	~Owner() {
		for (auto &block : blocks) {
			od_recycle_put(block.first, block.second);
		}
		od_buf_release(&header);
	}
	static void Release(void *owner) {
		delete static_cast<Owner *>(owner);
	}
};

static od_batch *MakeSmall(idx_t rows, const od_buf &header, const vector<Buffer *> &buffers, idx_t bytes) {
	od_message_buffer message;
	od_error err = {};
	if (od_message_buffer_get(bytes, header.bytes, &message, &err) != OD_OK) {
		throw OutOfMemoryException("%s", err.message);
	}
	auto to = message.data;
	memcpy(to, header.data, header.bytes);
	to += header.bytes;
	for (auto buffer : buffers) {
		auto padded = buffer->Pad();
		if (padded) {
			memcpy(to, buffer->Data(), padded);
		}
		to += padded;
	}
	auto batch = od_batch_from_buffer(&message, rows);
	if (!batch) {
		od_message_buffer_put(&message);
		throw OutOfMemoryException("Out of memory for a result batch");
	}
	return batch;
}

od_batch *MakeBatch(idx_t rows, const vector<od_ipc_node> &nodes, vector<Buffer *> &buffers) {
	vector<od_ipc_buffer> ranges;
	ranges.reserve(buffers.size());
	idx_t body = 0;
	for (auto buffer : buffers) {
		ranges.push_back({int64_t(body), int64_t(buffer->Size())});
		body += Padded(buffer->Size());
	}
	auto owner = make_uniq<Owner>();
	od_error err = {};
	if (od_ipc_batch_header(int64_t(rows), nodes.data(), nodes.size(), ranges.data(), ranges.size(), int64_t(body),
	                        &owner->header, &err) != OD_OK) {
		ErrorToDuck(err).Throw();
	}
	if (owner->header.bytes + body <= SMALL_BATCH_BYTES) {
		return MakeSmall(rows, owner->header, buffers, owner->header.bytes + body);
	}
	vector<od_segment> segments;
	segments.reserve(buffers.size() + 1);
	owner->blocks.reserve(buffers.size());
	segments.push_back({owner->header.data, owner->header.bytes});
	size_t held = owner->header.capacity;
	for (auto buffer : buffers) {
		auto padded = buffer->Pad();
		if (!padded) {
			continue;
		}
		auto capacity = buffer->Capacity();
		auto memory = buffer->Release();
		owner->blocks.emplace_back(memory, capacity);
		segments.push_back({memory, padded});
		held += capacity;
	}
	auto batch = od_batch_new(segments.data(), segments.size(), rows, held, Owner::Release, owner.get());
	if (!batch) {
		throw OutOfMemoryException("Out of memory for a result batch");
	}
	owner.release();
	return batch;
}

} // namespace openduck
