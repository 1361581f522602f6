// encode.cpp - DuckDB chunks -> the buffers of one Arrow record batch (BatchEncoder of convert.hpp).
//
// One Column per node of the Travel tree. A chunk is added in two steps. Prepare looks at a vector, finds out which
// rows of it are meant, writes offsets behind the rows that are there already and answers how many bytes would be
// added; it can be repeated for fewer rows. Commit copies. So a chunk too wide for one message is cut by rows before
// any byte of it is copied.
//
// Rules
//   E1  Buffers come from od_recycle_get and leave with the batch; Finish copies nothing but very small batches.
//   E2  A validity bitmap exists from the first NULL on. What a fixed-width column holds under a NULL is zero: stale
//       memory of another query never reaches a client.
//   E3  Under a NULL struct or array everything is NULL, whatever its child vectors say.
//   E4  A batch holds at most MESSAGE_BYTES of data, so int32 offsets and counts cannot overflow.
#include "duck/convert.hpp"

#include "base/limits.h"
#include "duck/buffers.hpp"
#include "duck/travel.hpp"
#include "duckdb/common/bswap.hpp"
#include "duckdb/common/vector_operations/vector_operations.hpp"

#include <cstring>

using namespace duckdb;

namespace openduck {

//! What one batch may hold: a message less its header.
static const idx_t MESSAGE_BYTES = OD_MESSAGE_BYTES_MAX - 2 * OD_MIB;
//! Where a batch is cut when rows are wide.
static const idx_t CUT_BYTES = 4 * OD_BATCH_BYTES_TARGET;
static const idx_t TOO_MANY = NumericLimits<idx_t>::Maximum() / 4;
//! In an index of rows: a row that is NULL.
static const uint32_t NO_ROW = NumericLimits<uint32_t>::Maximum();

//! Which rows of a vector are meant.
struct RowSet {
	const uint32_t *index; //! NULL: first, first + 1, ...
	idx_t first;
	idx_t count;
	idx_t universe; //! rows the vector has
	bool holes;     //! index has NO_ROW in it
};

class Column {
public:
	explicit Column(const Travel &travel_p) : travel(travel_p) {
		for (auto &child : travel.children) {
			children.emplace_back(child);
		}
	}

	idx_t Prepare(Vector &vector, const RowSet &wanted);
	void Commit();
	void Collect(vector<od_ipc_node> &nodes, vector<Buffer *> &buffers);
	void Clear();

private:
	const Travel &travel;
	vector<Column> children;
	idx_t rows = 0;
	BitBuffer validity;
	idx_t nulls = 0;
	Buffer data;  //! values, bits or offsets
	BitBuffer bits;
	Buffer heap;  //! bytes of strings

	// Between Prepare and Commit
	UnifiedVectorFormat format;
	unique_ptr<Vector> flat; //! a flattened or cast copy of the vector, where one is needed
	vector<uint32_t> index;
	RowSet taken = {};
	bool has_nulls = false;

	bool IsNull(idx_t row) const {
		return row == NO_ROW || !format.validity.RowIsValid(row);
	}
	void Resolve(Vector &vector, const RowSet &wanted);
	idx_t PrepareStrings();
	idx_t PrepareList(Vector &vector);
	idx_t PrepareArray(Vector &vector);
	idx_t PrepareStruct(Vector &vector);
	void CommitValidity();
	void CommitFixed();
	void CommitBits();
	void CommitNarrow();
	void CommitUuid();
	void CommitDecimal38();
	void CommitNano();
	void CommitStrings();
	void ZeroNulls(uint32_t width);

	int32_t *Offsets(idx_t more) {
		auto offsets = reinterpret_cast<int32_t *>(data.Reserve((rows + more + 1) * sizeof(int32_t)));
		if (rows == 0) {
			offsets[0] = 0;
		}
		return offsets;
	}
	//! Calls body with something that maps 0..count to rows of the vector.
	template <class BODY>
	void EachRow(BODY body) {
		if (taken.index) {
			auto rows_of = taken.index;
			body([rows_of](idx_t i) { return idx_t(rows_of[i]); });
		} else {
			auto first = taken.first;
			body([first](idx_t i) { return first + i; });
		}
	}
};

// ---- prepare

//! DuckDB's scans give masks to vectors that have no NULL.
static bool AllOnes(const validity_t *mask, idx_t first, idx_t count) {
	for (idx_t at = 0; at < count; at += 64) {
		auto n = MinValue<idx_t>(64, count - at);
		if (LoadBits(mask, first + at, n) != ~validity_t(0) >> (64 - n)) {
			return false;
		}
	}
	return true;
}

//! Fills format, taken and has_nulls. `taken` speaks of rows of format.data.
void Column::Resolve(Vector &vector, const RowSet &wanted) {
	vector.ToUnifiedFormat(wanted.universe, format);
	taken = wanted;
	if (format.sel->IsSet()) {
		auto sel = format.sel->data();
		if (!wanted.index) {
			taken.index = sel + wanted.first;
		} else {
			index.resize(wanted.count);
			for (idx_t i = 0; i < wanted.count; i++) {
				auto row = wanted.index[i];
				index[i] = row == NO_ROW ? NO_ROW : sel[row];
			}
			taken.index = index.data();
		}
		taken.first = 0;
	}
	has_nulls = taken.holes || !format.validity.AllValid();
	if (has_nulls && !taken.index) {
		has_nulls = !AllOnes(format.validity.GetData(), taken.first, taken.count);
	}
}

idx_t Column::Prepare(Vector &vector, const RowSet &wanted) {
	switch (travel.form) {
	case Form::NOTHING:
		taken = wanted;
		return wanted.count;
	case Form::TEXT: {
		flat = make_uniq<Vector>(LogicalType::VARCHAR, MaxValue<idx_t>(wanted.universe, STANDARD_VECTOR_SIZE));
		VectorOperations::DefaultCast(vector, *flat, wanted.universe, true);
		Resolve(*flat, wanted);
		return PrepareStrings();
	}
	case Form::LIST:
	case Form::ARRAY:
	case Form::STRUCT: {
		auto nested = &vector;
		if (vector.GetVectorType() != VectorType::FLAT_VECTOR) {
			// Rare, and DuckDB knows best how to take such a vector apart.
			flat = make_uniq<Vector>(vector);
			flat->Flatten(wanted.universe);
			nested = flat.get();
		}
		Resolve(*nested, wanted);
		switch (travel.form) {
		case Form::LIST:
			return PrepareList(*nested);
		case Form::ARRAY:
			return PrepareArray(*nested);
		default:
			return PrepareStruct(*nested);
		}
	}
	case Form::STRING:
		Resolve(vector, wanted);
		return PrepareStrings();
	case Form::BITS:
		Resolve(vector, wanted);
		return (wanted.count + 7) / 8;
	default:
		Resolve(vector, wanted);
		return wanted.count * travel.width;
	}
}

idx_t Column::PrepareStrings() {
	auto strings = reinterpret_cast<const string_t *>(format.data);
	auto offsets = Offsets(taken.count) + rows;
	auto count = taken.count;
	idx_t begin = uint32_t(offsets[0]), end = begin;
	EachRow([&](auto row_of) {
		if (has_nulls) {
			for (idx_t i = 0; i < count; i++) {
				auto row = row_of(i);
				end += IsNull(row) ? 0 : strings[row].GetSize();
				offsets[i + 1] = int32_t(end);
			}
		} else {
			for (idx_t i = 0; i < count; i++) {
				end += strings[row_of(i)].GetSize();
				offsets[i + 1] = int32_t(end);
			}
		}
	});
	return end - begin + count * sizeof(int32_t);
}

idx_t Column::PrepareList(Vector &vector) {
	auto entries = reinterpret_cast<const list_entry_t *>(format.data);
	auto offsets = Offsets(taken.count) + rows;
	auto count = taken.count;
	idx_t begin = uint32_t(offsets[0]), values = 0, next = 0, first = 0;
	bool consecutive = true;
	EachRow([&](auto row_of) {
		for (idx_t i = 0; i < count; i++) {
			auto row = row_of(i);
			if (!IsNull(row) && entries[row].length > 0) {
				auto &entry = entries[row];
				if (values == 0) {
					first = next = entry.offset;
				}
				consecutive = consecutive && entry.offset == next;
				next = entry.offset + entry.length;
				values += entry.length;
			}
			offsets[i + 1] = int32_t(begin + values);
		}
	});
	auto own_bytes = count * sizeof(int32_t);
	if (values > MESSAGE_BYTES) {
		return TOO_MANY;
	}
	RowSet wanted = {nullptr, first, values, ListVector::GetListSize(vector), false};
	if (!consecutive) {
		if (values > CUT_BYTES && count > 1) {
			return TOO_MANY; // no need for an index of what will be cut
		}
		index.clear();
		index.reserve(values);
		// `index` may be what taken.index points to only when the vector is not flat, and nested vectors are flat.
		EachRow([&](auto row_of) {
			for (idx_t i = 0; i < count; i++) {
				auto row = row_of(i);
				if (!IsNull(row)) {
					for (idx_t k = 0; k < entries[row].length; k++) {
						index.push_back(uint32_t(entries[row].offset + k));
					}
				}
			}
		});
		wanted.index = index.data();
		wanted.first = 0;
	}
	return own_bytes + children[0].Prepare(ListVector::GetEntry(vector), wanted);
}

idx_t Column::PrepareArray(Vector &vector) {
	idx_t size = travel.width, count = taken.count;
	if (count * size > MESSAGE_BYTES) {
		return TOO_MANY;
	}
	RowSet wanted = {nullptr, taken.first * size, count * size, taken.universe * size, false};
	if (taken.index || has_nulls) {
		index.clear();
		index.reserve(count * size);
		EachRow([&](auto row_of) {
			for (idx_t i = 0; i < count; i++) {
				auto row = row_of(i);
				bool null = IsNull(row);
				wanted.holes = wanted.holes || null;
				for (idx_t k = 0; k < size; k++) {
					index.push_back(null ? NO_ROW : uint32_t(row * size + k));
				}
			}
		});
		wanted.index = index.data();
		wanted.first = 0;
	}
	return children[0].Prepare(ArrayVector::GetEntry(vector), wanted);
}

idx_t Column::PrepareStruct(Vector &vector) {
	auto wanted = taken;
	if (has_nulls) {
		index.resize(taken.count);
		EachRow([&](auto row_of) {
			for (idx_t i = 0; i < taken.count; i++) {
				auto row = row_of(i);
				index[i] = IsNull(row) ? NO_ROW : uint32_t(row);
			}
		});
		wanted.index = index.data();
		wanted.first = 0;
		wanted.holes = true;
	}
	auto &entries = StructVector::GetEntries(vector);
	idx_t bytes = 0;
	for (idx_t i = 0; i < children.size(); i++) {
		bytes += children[i].Prepare(*entries[i], wanted);
		if (bytes >= TOO_MANY) {
			return TOO_MANY;
		}
	}
	return bytes;
}

// ---- commit

void Column::CommitValidity() {
	if (!has_nulls) {
		if (nulls) {
			validity.AppendOnes(taken.count);
		}
		return;
	}
	// The words are appended to a bitmap that may begin with rows before the first NULL.
	idx_t null_count = 0, count = taken.count;
	auto mask = format.validity.GetData();
	for (idx_t at = 0; at < count; at += 64) {
		auto n = MinValue<idx_t>(64, count - at);
		uint64_t word = 0;
		if (taken.holes) {
			for (idx_t i = 0; i < n; i++) {
				word |= uint64_t(!IsNull(taken.index[at + i])) << i;
			}
		} else if (taken.index) {
			auto rows_of = taken.index + at;
			for (idx_t i = 0; i < n; i++) {
				word |= (mask[rows_of[i] / 64] >> (rows_of[i] % 64) & 1) << i;
			}
		} else {
			word = LoadBits(mask, taken.first + at, n);
		}
		auto zeros = n - idx_t(__builtin_popcountll(word));
		if (zeros && !nulls && !null_count) {
			validity.AppendOnes(rows + at);
		}
		null_count += zeros;
		if (nulls || null_count) {
			validity.Append(word, n);
		}
	}
	nulls += null_count;
	has_nulls = null_count > 0;
}

template <class T>
static void Gather(uint8_t *to, const uint8_t *from, const uint32_t *index, idx_t count) {
	auto target = reinterpret_cast<T *>(to);
	auto source = reinterpret_cast<const T *>(from);
	for (idx_t i = 0; i < count; i++) {
		target[i] = source[index[i]];
	}
}

template <class T>
static void GatherHoles(uint8_t *to, const uint8_t *from, const uint32_t *index, idx_t count) {
	auto target = reinterpret_cast<T *>(to);
	auto source = reinterpret_cast<const T *>(from);
	for (idx_t i = 0; i < count; i++) {
		target[i] = index[i] == NO_ROW ? T() : source[index[i]];
	}
}

template <class T>
static void Gather(uint8_t *to, const uint8_t *from, const RowSet &taken) {
	if (taken.holes) {
		GatherHoles<T>(to, from, taken.index, taken.count);
	} else {
		Gather<T>(to, from, taken.index, taken.count);
	}
}

void Column::ZeroNulls(uint32_t width) {
	if (!has_nulls) {
		return;
	}
	auto values = data.Data();
	for (idx_t i = 0; i < taken.count; i++) {
		if (!validity.Get(rows + i)) {
			memset(values + (rows + i) * width, 0, width);
		}
	}
}

void Column::CommitFixed() {
	auto width = travel.width;
	auto to = data.Reserve((rows + taken.count) * width) + rows * width;
	if (!taken.index) {
		memcpy(to, format.data + taken.first * width, taken.count * width);
	} else {
		switch (width) {
		case 1:
			Gather<uint8_t>(to, format.data, taken);
			break;
		case 2:
			Gather<uint16_t>(to, format.data, taken);
			break;
		case 4:
			Gather<uint32_t>(to, format.data, taken);
			break;
		case 8:
			Gather<uint64_t>(to, format.data, taken);
			break;
		default:
			Gather<hugeint_t>(to, format.data, taken);
			break;
		}
	}
	ZeroNulls(width);
}

void Column::CommitBits() {
	auto values = format.data;
	for (idx_t at = 0; at < taken.count; at += 64) {
		auto n = MinValue<idx_t>(64, taken.count - at);
		uint64_t word = 0;
		if (taken.index) {
			for (idx_t i = 0; i < n; i++) {
				auto row = taken.index[at + i];
				word |= uint64_t(row != NO_ROW && values[row]) << i;
			}
		} else {
			word = PackBools(values + taken.first + at, n);
		}
		if (has_nulls) {
			word &= validity.Load(rows + at, n);
		}
		bits.Append(word, n);
	}
}

void Column::CommitNarrow() {
	auto from = reinterpret_cast<const int16_t *>(format.data);
	auto to = reinterpret_cast<int32_t *>(data.Reserve((rows + taken.count) * sizeof(int32_t))) + rows;
	EachRow([&](auto row_of) {
		for (idx_t i = 0; i < taken.count; i++) {
			auto row = row_of(i);
			to[i] = row == NO_ROW ? 0 : from[row];
		}
	});
	ZeroNulls(sizeof(int32_t));
}

void Column::CommitUuid() {
	auto from = reinterpret_cast<const hugeint_t *>(format.data);
	auto to = reinterpret_cast<uint64_t *>(data.Reserve((rows + taken.count) * 16)) + rows * 2;
	EachRow([&](auto row_of) {
		for (idx_t i = 0; i < taken.count; i++) {
			auto row = row_of(i);
			if (row == NO_ROW) {
				continue; // ZeroNulls
			}
			to[2 * i] = BSwap(uint64_t(from[row].upper) ^ (uint64_t(1) << 63));
			to[2 * i + 1] = BSwap(from[row].lower);
		}
	});
	ZeroNulls(16);
}

void Column::CommitDecimal38() {
	CommitFixed();
	// 10^38 as (upper, lower)
	const uint64_t upper = 0x4B3B4CA85A86C47Aull, lower = 0x098A224000000000ull;
	bool is_signed = travel.type.id() == LogicalTypeId::HUGEINT;
	auto values = reinterpret_cast<const uint64_t *>(data.Data()) + rows * 2;
	for (idx_t i = 0; i < taken.count; i++) {
		auto low = values[2 * i], high = values[2 * i + 1];
		if (is_signed && (high >> 63)) {
			low = ~low + 1;
			high = ~high + (low == 0);
		}
		if (high > upper || (high == upper && low >= lower)) {
			throw OutOfRangeException("A %s value with more than 38 digits does not fit the Arrow type decimal128(38, 0); "
			                          "cast it to VARCHAR or DOUBLE",
			                          travel.type.ToString());
		}
	}
}

void Column::CommitNano() {
	auto from = reinterpret_cast<const interval_t *>(format.data);
	struct MonthDayNano {
		int32_t months;
		int32_t days;
		int64_t nanos;
	};
	auto to = reinterpret_cast<MonthDayNano *>(data.Reserve((rows + taken.count) * sizeof(MonthDayNano))) + rows;
	EachRow([&](auto row_of) {
		for (idx_t i = 0; i < taken.count; i++) {
			auto row = row_of(i);
			to[i] = MonthDayNano();
			if (IsNull(row)) {
				continue;
			}
			to[i].months = from[row].months;
			to[i].days = from[row].days;
			if (__builtin_mul_overflow(from[row].micros, int64_t(1000), &to[i].nanos)) {
				throw OutOfRangeException("The INTERVAL %s does not fit the Arrow type month_day_nano; cast it to VARCHAR",
				                          Interval::ToString(from[row]));
			}
		}
	});
}

void Column::CommitStrings() {
	auto strings = reinterpret_cast<const string_t *>(format.data);
	auto offsets = reinterpret_cast<const int32_t *>(data.Data()) + rows;
	auto count = taken.count;
	auto begin = idx_t(offsets[0]), end = idx_t(offsets[count]);
	// Short strings are copied as all their 12 inlined bytes: room for what the last one writes too much.
	auto to = heap.Reserve(end + 16) + begin;
	bool skip_nulls = has_nulls;
	EachRow([&](auto row_of) {
		for (idx_t i = 0; i < count; i++) {
			auto size = uint32_t(offsets[i + 1] - offsets[i]);
			if (skip_nulls && size == 0) {
				continue; // perhaps no string at all
			}
			auto &text = strings[row_of(i)];
			if (size <= string_t::INLINE_LENGTH) {
				memcpy(to, text.GetPrefix(), string_t::INLINE_LENGTH);
			} else {
				memcpy(to, text.GetPointer(), size);
			}
			to += size;
		}
	});
}

void Column::Commit() {
	if (taken.count == 0) {
		return; // nor have the children any rows
	}
	if (travel.form == Form::NOTHING) {
		rows += taken.count;
		nulls = rows;
		return;
	}
	CommitValidity();
	switch (travel.form) {
	case Form::FIXED:
		CommitFixed();
		break;
	case Form::BITS:
		CommitBits();
		break;
	case Form::NARROW:
		CommitNarrow();
		break;
	case Form::UUID:
		CommitUuid();
		break;
	case Form::DECIMAL_38:
		CommitDecimal38();
		break;
	case Form::NANO:
		CommitNano();
		break;
	case Form::STRING:
	case Form::TEXT:
		CommitStrings();
		break;
	default:
		for (auto &child : children) {
			child.Commit();
		}
		break;
	}
	rows += taken.count;
	flat.reset();
}

// ---- finish

void Column::Collect(vector<od_ipc_node> &nodes, vector<Buffer *> &buffers) {
	nodes.push_back({int64_t(rows), int64_t(nulls)});
	if (travel.form == Form::NOTHING) {
		return;
	}
	validity.Finish(nulls ? rows : 0);
	buffers.push_back(&validity.Bytes());
	switch (travel.form) {
	case Form::BITS:
		bits.Finish(rows);
		buffers.push_back(&bits.Bytes());
		break;
	case Form::STRING:
	case Form::TEXT: {
		auto offsets = Offsets(0);
		data.SetSize((rows + 1) * sizeof(int32_t));
		buffers.push_back(&data);
		heap.SetSize(idx_t(offsets[rows]));
		buffers.push_back(&heap);
		break;
	}
	case Form::LIST:
		Offsets(0);
		data.SetSize((rows + 1) * sizeof(int32_t));
		buffers.push_back(&data);
		break;
	case Form::ARRAY:
	case Form::STRUCT:
		break;
	default:
		data.SetSize(rows * travel.width);
		buffers.push_back(&data);
		break;
	}
	for (auto &child : children) {
		child.Collect(nodes, buffers);
	}
}

void Column::Clear() {
	rows = 0;
	nulls = 0;
	validity.Clear();
	bits.Clear();
	data.Clear();
	heap.Clear();
	for (auto &child : children) {
		child.Clear();
	}
}

// ---- the encoder

struct BatchEncoder::Impl {
	vector<Travel> travels;
	vector<Column> columns;
	idx_t rows = 0;
	idx_t bytes = 0;
	vector<od_ipc_node> nodes;
	vector<Buffer *> buffers;
	enum od_ipc_codec codec = OD_IPC_PLAIN;
};

BatchEncoder::BatchEncoder(const vector<LogicalType> &types, bool exact, enum od_ipc_codec codec)
    : impl(make_uniq<Impl>()) {
	impl->codec = codec;
	for (idx_t i = 0; i < types.size(); i++) {
		impl->travels.push_back(TravelOf(types[i], exact, "#" + to_string(i + 1)));
	}
	impl->columns.reserve(types.size());
	for (auto &travel : impl->travels) {
		impl->columns.emplace_back(travel);
	}
}

BatchEncoder::~BatchEncoder() = default;

idx_t BatchEncoder::Rows() const {
	return impl->rows;
}

idx_t BatchEncoder::Bytes() const {
	return impl->bytes;
}

bool BatchEncoder::Full() const {
	return impl->bytes >= OD_BATCH_BYTES_TARGET || impl->rows >= OD_BATCH_ROWS_MAX;
}

idx_t BatchEncoder::Append(DataChunk &chunk, idx_t from) {
	auto &columns = impl->columns;
	auto count = MinValue<idx_t>(chunk.size() - from, OD_BATCH_ROWS_MAX - MinValue<idx_t>(impl->rows, OD_BATCH_ROWS_MAX));
	while (count > 0) {
		idx_t bytes = 0;
		RowSet wanted = {nullptr, from, count, chunk.size(), false};
		for (idx_t i = 0; i < columns.size() && bytes < TOO_MANY; i++) {
			bytes += columns[i].Prepare(chunk.data[i], wanted);
		}
		if (impl->bytes + bytes <= CUT_BYTES || (count == 1 && impl->rows == 0 && bytes <= MESSAGE_BYTES)) {
			for (auto &column : columns) {
				column.Commit();
			}
			impl->rows += count;
			impl->bytes += bytes;
			return count;
		}
		if (count == 1) {
			if (impl->rows > 0) {
				return 0;
			}
			throw OutOfRangeException("A row is larger than %llu MiB, the most that one message can carry",
			                          (unsigned long long)(MESSAGE_BYTES / OD_MIB));
		}
		count /= 2;
	}
	return 0;
}

od_batch *BatchEncoder::Finish() {
	impl->nodes.clear();
	impl->buffers.clear();
	for (auto &column : impl->columns) {
		column.Collect(impl->nodes, impl->buffers);
	}
	auto batch = MakeBatch(impl->rows, impl->nodes, impl->buffers);
	for (auto &column : impl->columns) {
		column.Clear();
	}
	impl->rows = 0;
	impl->bytes = 0;
	if (impl->codec == OD_IPC_PLAIN) {
		return batch;
	}
	struct od_batch *compressed = nullptr;
	struct od_error err = {};
	auto rc = od_ipc_compress_batch(batch, impl->codec, &compressed, &err);
	od_batch_unref(batch);
	if (rc != OD_OK) {
		throw OutOfMemoryException("%s", err.message);
	}
	return compressed;
}

} // namespace openduck
