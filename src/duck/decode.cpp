// decode.cpp - one received batch -> DuckDB vectors (BatchDecoder of convert.hpp).
//
// The bytes are a peer's. od_ipc_decode_batch has made the structure safe (lengths, offsets, children); Load checks
// the values that DuckDB would trust (check.hpp), once a batch; Read then only points, copies and shifts bits.
//
// Rules
//   R1  Fixed-width columns are used where they lie; strings point into the batch. Each vector that does so holds
//       the batch (BatchHold).
//   R2  Under a NULL struct or array the children are NULL too, whatever the peer says.
//   R3  Read resets the chunk, so its vectors are flat; what a vector's type is not made for is never written into it.
//   R4  A plain schema is DuckDB's own Arrow conversion; its text is checked after it.
#include "duck/convert.hpp"

#include "base/limits.h"
#include "duck/check.hpp"
#include "duck/travel.hpp"
#include "duckdb/common/bswap.hpp"
#include "duckdb/function/table/arrow.hpp"

#include <cstring>

using namespace duckdb;

namespace openduck {

//! Keeps a decoded batch alive; vectors hold it as auxiliary data.
class BatchHold : public VectorBuffer {
public:
	explicit BatchHold(ArrowArray array_p) : VectorBuffer(VectorBufferType::OPAQUE_BUFFER), array(array_p) {
	}
	~BatchHold() override {
		array.release(&array);
	}
	ArrowArray array;
};

[[noreturn]] static void Corrupt(const string &column, const char *what) {
	throw IOException("The batch received is corrupt: column \"%s\" has %s", column, what);
}

// ---- bits

//! `count` (at most 64) bits from bit `at` of a bitmap of `total` bits: nothing behind its last byte is read.
static uint64_t ReadBits(const uint8_t *bitmap, idx_t at, idx_t count, idx_t total) {
	idx_t byte = at / 8, shift = at % 8, end = (total + 7) / 8;
	uint64_t word = 0;
	uint8_t last = 0;
	if (byte + 9 <= end) {
		memcpy(&word, bitmap + byte, 8);
		last = bitmap[byte + 8];
	} else {
		memcpy(&word, bitmap + byte, MinValue<idx_t>(8, end - byte));
	}
	word >>= shift;
	if (shift + count > 64) {
		word |= uint64_t(last) << (64 - shift);
	}
	return count == 64 ? word : word & ((uint64_t(1) << count) - 1);
}

static const uint8_t *Bitmap(const ArrowArray &array) {
	return array.null_count != 0 && array.n_buffers > 0 ? static_cast<const uint8_t *>(array.buffers[0]) : nullptr;
}

static bool IsValid(const uint8_t *bitmap, idx_t row) {
	return !bitmap || (bitmap[row / 8] >> (row % 8) & 1);
}

template <class T>
static const T *Values(const ArrowArray &array, idx_t buffer) {
	auto values = static_cast<const T *>(array.buffers[buffer]);
	// od_ipc_decode_batch aligns to 8, which is enough for every type DuckDB reads.
	if (reinterpret_cast<uintptr_t>(values) % MinValue<idx_t>(alignof(T), 8) != 0) {
		throw IOException("The batch received is corrupt: a buffer is not aligned");
	}
	return values;
}

// ---- checking what DuckDB would trust

template <class T>
static bool AllBelow(const ArrowArray &array, idx_t limit) {
	auto codes = Values<T>(array, 1);
	T largest = 0;
	for (int64_t i = 0; i < array.length; i++) {
		largest = MaxValue<T>(largest, codes[i]);
	}
	if (idx_t(largest) < limit) {
		return true;
	}
	auto bitmap = Bitmap(array);
	for (int64_t i = 0; i < array.length; i++) {
		if (idx_t(codes[i]) >= limit && IsValid(bitmap, idx_t(i))) {
			return false;
		}
	}
	return true;
}

template <class T, class CHECK>
static bool AllGood(const ArrowArray &array, CHECK check) {
	auto values = Values<T>(array, 1);
	bool good = true;
	for (int64_t i = 0; i < array.length; i++) {
		good &= check(values[i]);
	}
	return good;
}

static bool CodesAreGood(const Travel &travel, const ArrowArray &array) {
	auto size = EnumType::GetSize(travel.type);
	switch (travel.width) {
	case 1:
		return AllBelow<uint8_t>(array, size);
	case 2:
		return AllBelow<uint16_t>(array, size);
	default:
		return AllBelow<uint32_t>(array, size);
	}
}

//! Valid text at all strings of the column: the whole heap is, and no string begins inside a character.
static bool TextIsGood(const ArrowArray &array) {
	if (array.length == 0) {
		return true;
	}
	auto offsets = Values<int32_t>(array, 1);
	auto heap = static_cast<const uint8_t *>(array.buffers[2]);
	auto begin = offsets[0], end = offsets[array.length];
	auto size = size_t(end - begin);
	if (IsAscii(heap + begin, size)) {
		return true;
	}
	if (!IsUtf8(heap + begin, size)) {
		return false;
	}
	for (int64_t i = 0; i < array.length; i++) {
		if (offsets[i] < end && (heap[offsets[i]] & 0xC0) == 0x80) {
			return false;
		}
	}
	return true;
}

static bool BytesAreGood(const ArrowArray &array, bool (*check)(const uint8_t *, size_t)) {
	auto offsets = Values<int32_t>(array, 1);
	auto heap = static_cast<const uint8_t *>(array.buffers[2]);
	auto bitmap = Bitmap(array);
	for (int64_t i = 0; i < array.length; i++) {
		if (IsValid(bitmap, idx_t(i)) && !check(heap + offsets[i], size_t(offsets[i + 1] - offsets[i]))) {
			return false;
		}
	}
	return true;
}

static bool VariantsAreGood(const ArrowArray &array) {
	auto &keys = *array.children[0], &children = *array.children[1], &values = *array.children[2],
	     &data = *array.children[3];
	auto &pairs = *children.children[0], &entries = *values.children[0];
	auto &key_indexes = *pairs.children[0], &value_indexes = *pairs.children[1];
	auto key_at = Values<int32_t>(keys, 1), child_at = Values<int32_t>(children, 1), value_at = Values<int32_t>(values, 1),
	     data_at = Values<int32_t>(data, 1);
	auto bitmap = Bitmap(array);
	const ArrowArray *never_null[] = {&keys, &children, &values, &data};
	// Below the lists nothing is NULL but the keys of array elements.
	for (auto array_in : {&pairs, &entries, &value_indexes, entries.children[0], entries.children[1], keys.children[0]}) {
		if (Bitmap(*array_in)) {
			for (int64_t i = 0; i < array_in->length; i++) {
				if (!IsValid(Bitmap(*array_in), idx_t(i))) {
					return false;
				}
			}
		}
	}
	std::vector<uint32_t> scratch;
	for (int64_t i = 0; i < array.length; i++) {
		if (!IsValid(bitmap, idx_t(i))) {
			continue;
		}
		for (auto part : never_null) {
			if (!IsValid(Bitmap(*part), idx_t(i))) {
				return false;
			}
		}
		VariantRow row;
		row.key_count = uint32_t(key_at[i + 1] - key_at[i]);
		row.child_count = uint32_t(child_at[i + 1] - child_at[i]);
		row.value_count = uint32_t(value_at[i + 1] - value_at[i]);
		row.key_validity = Bitmap(key_indexes);
		row.first_child = size_t(child_at[i]);
		row.key_indexes = Values<uint32_t>(key_indexes, 1) + child_at[i];
		row.value_indexes = Values<uint32_t>(value_indexes, 1) + child_at[i];
		row.types = Values<uint8_t>(*entries.children[0], 1) + value_at[i];
		row.offsets = Values<uint32_t>(*entries.children[1], 1) + value_at[i];
		row.data = Values<uint8_t>(data, 2) + data_at[i];
		row.data_bytes = size_t(data_at[i + 1] - data_at[i]);
		if (!IsVariant(row, scratch)) {
			return false;
		}
	}
	return true;
}

static bool TagsAreGood(const Travel &travel, const ArrowArray &array) {
	auto &tags = *array.children[0];
	auto members = UnionType::GetMemberCount(travel.type);
	auto values = Values<uint8_t>(tags, 1);
	for (int64_t i = 0; i < array.length; i++) {
		bool null = !IsValid(Bitmap(tags), idx_t(i));
		if (null ? IsValid(Bitmap(array), idx_t(i)) : values[i] >= members) {
			return false;
		}
	}
	return true;
}

static void CheckColumn(const Travel &travel, const ArrowArray &array, const string &column) {
	switch (travel.type.id()) {
	case LogicalTypeId::ENUM:
		if (!CodesAreGood(travel, array)) {
			Corrupt(column, "an ENUM code beyond its values");
		}
		break;
	case LogicalTypeId::TIME:
		if (!AllGood<int64_t>(array, IsTime)) {
			Corrupt(column, "a TIME beyond 24 hours");
		}
		break;
	case LogicalTypeId::TIME_NS:
		if (!AllGood<int64_t>(array, IsTimeNs)) {
			Corrupt(column, "a TIME_NS beyond 24 hours");
		}
		break;
	case LogicalTypeId::TIME_TZ:
		if (!AllGood<uint64_t>(array, IsTimeTz)) {
			Corrupt(column, "a TIME WITH TIME ZONE out of range");
		}
		break;
	case LogicalTypeId::DECIMAL:
		if (travel.form == Form::NARROW && !AllGood<int32_t>(array, [](int32_t value) { return value == int16_t(value); })) {
			Corrupt(column, "a DECIMAL with more digits than its type");
		}
		break;
	case LogicalTypeId::CHAR:
	case LogicalTypeId::VARCHAR:
		if (!TextIsGood(array)) {
			Corrupt(column, "text that is not UTF-8");
		}
		break;
	case LogicalTypeId::BIT:
		if (!BytesAreGood(array, IsBit)) {
			Corrupt(column, "a malformed BIT");
		}
		break;
	case LogicalTypeId::BIGNUM:
		if (!BytesAreGood(array, IsBignum)) {
			Corrupt(column, "a malformed BIGNUM");
		}
		break;
	case LogicalTypeId::GEOMETRY:
		if (!BytesAreGood(array, IsGeometry)) {
			Corrupt(column, "a malformed GEOMETRY");
		}
		break;
	case LogicalTypeId::UNION:
		if (!TagsAreGood(travel, array)) {
			Corrupt(column, "a UNION tag beyond its members");
		}
		break;
	case LogicalTypeId::VARIANT:
		if (!VariantsAreGood(array)) {
			Corrupt(column, "a malformed VARIANT");
		}
		break;
	default:
		break;
	}
	for (idx_t i = 0; i < travel.children.size(); i++) {
		CheckColumn(travel.children[i], *array.children[i], column);
	}
}

// ---- reading

typedef buffer_ptr<VectorBuffer> Hold;

//! Rows [first, first + count) of an array into a vector. parent: validity of the vector it is a child of, or NULL.
static void ReadColumn(const Travel &travel, const ArrowArray &array, idx_t first, idx_t count, const validity_t *parent,
                       const Hold &hold, Vector &out);

static void ReadValidity(const ArrowArray &array, idx_t first, idx_t count, const validity_t *parent, Vector &out) {
	auto bitmap = Bitmap(array);
	if ((!bitmap && !parent) || count == 0) {
		return;
	}
	auto &mask = FlatVector::Validity(out);
	uint64_t all = ~uint64_t(0);
	mask.Initialize(MaxValue<idx_t>(count, STANDARD_VECTOR_SIZE));
	auto words = mask.GetData();
	for (idx_t at = 0; at < count; at += 64) {
		auto n = MinValue<idx_t>(64, count - at);
		auto padding = n == 64 ? 0 : ~uint64_t(0) << n;
		auto word = bitmap ? ReadBits(bitmap, first + at, n, idx_t(array.length)) | padding : ~uint64_t(0);
		if (parent) {
			word &= parent[at / 64] | padding;
		}
		words[at / 64] = word;
		all &= word;
	}
	if (all == ~uint64_t(0)) {
		mask.Reset(MaxValue<idx_t>(count, STANDARD_VECTOR_SIZE));
	}
}

static void ReadBools(const ArrowArray &array, idx_t first, idx_t count, Vector &out) {
	auto bitmap = static_cast<const uint8_t *>(array.buffers[1]);
	auto to = FlatVector::GetData<uint8_t>(out);
	for (idx_t at = 0; at < count; at += 64) {
		auto n = MinValue<idx_t>(64, count - at);
		auto word = ReadBits(bitmap, first + at, n, idx_t(array.length));
		for (idx_t i = 0; i < n; i++) {
			to[at + i] = uint8_t(word >> i & 1);
		}
	}
}

//! Masks for the first four and the next eight bytes of a string of 0 to 12 bytes.
struct InlineMasks {
	uint64_t prefix[string_t::INLINE_LENGTH + 1];
	uint64_t rest[string_t::INLINE_LENGTH + 1];
};
static constexpr InlineMasks MakeInlineMasks() {
	InlineMasks masks = {};
	for (unsigned size = 0; size <= string_t::INLINE_LENGTH; size++) {
		masks.prefix[size] = size >= 4 ? 0xFFFFFFFFull : (uint64_t(1) << (8 * size)) - 1;
		masks.rest[size] = size <= 4 ? 0 : size >= 12 ? ~uint64_t(0) : (uint64_t(1) << (8 * (size - 4))) - 1;
	}
	return masks;
}
static constexpr InlineMasks INLINE_MASKS = MakeInlineMasks();

static void ReadStrings(const ArrowArray &array, idx_t first, idx_t count, const Hold &hold, Vector &out) {
	static_assert(sizeof(string_t) == 16 && string_t::PREFIX_LENGTH == 4, "string_t is four, four and eight bytes");
	auto to = FlatVector::GetData<string_t>(out);
	auto offsets = Values<int32_t>(array, 1) + first;
	auto heap = static_cast<const char *>(array.buffers[2]);
	if (array.length == 0) {
		return;
	}
	// Strings that begin at least 12 bytes before the end of the heap are read in two words, whatever their length.
	auto readable = int64_t(Values<int32_t>(array, 1)[array.length]) - 12;
	for (idx_t i = 0; i < count; i++) {
		auto size = uint32_t(offsets[i + 1] - offsets[i]);
		auto text = heap + offsets[i];
		if (offsets[i] > readable) {
			to[i] = string_t(text, size);
			continue;
		}
		uint32_t prefix;
		uint64_t rest;
		memcpy(&prefix, text, 4);
		memcpy(&rest, text + 4, 8);
		uint64_t low = prefix;
		if (size <= string_t::INLINE_LENGTH) {
			low &= INLINE_MASKS.prefix[size];
			rest &= INLINE_MASKS.rest[size];
		} else {
			rest = reinterpret_cast<uint64_t>(text);
		}
		uint64_t words[2] = {low << 32 | size, rest};
		memcpy(static_cast<void *>(to + i), words, sizeof words);
	}
	StringVector::AddBuffer(out, hold);
}

static void ReadUuids(const ArrowArray &array, idx_t first, idx_t count, Vector &out) {
	auto from = Values<uint64_t>(array, 1) + 2 * first;
	auto to = FlatVector::GetData<hugeint_t>(out);
	for (idx_t i = 0; i < count; i++) {
		to[i].upper = int64_t(BSwap(from[2 * i]) ^ (uint64_t(1) << 63));
		to[i].lower = BSwap(from[2 * i + 1]);
	}
}

static void ReadLists(const Travel &travel, const ArrowArray &array, idx_t first, idx_t count, const Hold &hold,
                      Vector &out) {
	auto offsets = Values<int32_t>(array, 1) + first;
	auto to = FlatVector::GetData<list_entry_t>(out);
	idx_t begin = count ? idx_t(offsets[0]) : 0, values = count ? idx_t(offsets[count]) - begin : 0;
	for (idx_t i = 0; i < count; i++) {
		to[i].offset = idx_t(offsets[i]) - begin;
		to[i].length = idx_t(offsets[i + 1] - offsets[i]);
	}
	ListVector::Reserve(out, values);
	ListVector::SetListSize(out, values);
	ReadColumn(travel.children[0], *array.children[0], begin, values, nullptr, hold, ListVector::GetEntry(out));
}

//! Validity of a parent's children, `size` to a row.
static vector<validity_t> Repeat(const ValidityMask &mask, idx_t count, idx_t size) {
	vector<validity_t> words((count * size + 63) / 64, ~validity_t(0));
	for (idx_t i = 0; i < count; i++) {
		if (!mask.RowIsValid(i)) {
			for (idx_t bit = i * size; bit < (i + 1) * size; bit++) {
				words[bit / 64] &= ~(validity_t(1) << (bit % 64));
			}
		}
	}
	return words;
}

static void ReadColumn(const Travel &travel, const ArrowArray &array, idx_t first, idx_t count, const validity_t *parent,
                       const Hold &hold, Vector &out) {
	if (travel.form == Form::NOTHING) {
		FlatVector::Validity(out).Initialize(MaxValue<idx_t>(count, STANDARD_VECTOR_SIZE));
		FlatVector::Validity(out).SetAllInvalid(count);
		return;
	}
	ReadValidity(array, first, count, parent, out);
	switch (travel.form) {
	case Form::FIXED: {
		auto values = Values<uint64_t>(array, 1);
		FlatVector::SetData(out, const_cast<data_ptr_t>(reinterpret_cast<const_data_ptr_t>(values) + first * travel.width));
		out.SetAuxiliary(hold);
		break;
	}
	case Form::BITS:
		ReadBools(array, first, count, out);
		break;
	case Form::NARROW: {
		auto from = Values<int32_t>(array, 1) + first;
		auto to = FlatVector::GetData<int16_t>(out);
		for (idx_t i = 0; i < count; i++) {
			to[i] = int16_t(from[i]);
		}
		break;
	}
	case Form::UUID:
		ReadUuids(array, first, count, out);
		break;
	case Form::STRING:
		ReadStrings(array, first, count, hold, out);
		break;
	case Form::LIST:
		ReadLists(travel, array, first, count, hold, out);
		break;
	case Form::ARRAY: {
		auto size = idx_t(travel.width);
		auto &mask = FlatVector::Validity(out);
		vector<validity_t> repeated;
		if (!mask.AllValid()) {
			repeated = Repeat(mask, count, size);
		}
		ReadColumn(travel.children[0], *array.children[0], first * size, count * size,
		           repeated.empty() ? nullptr : repeated.data(), hold, ArrayVector::GetEntry(out));
		break;
	}
	case Form::STRUCT: {
		auto &mask = FlatVector::Validity(out);
		auto &entries = StructVector::GetEntries(out);
		for (idx_t i = 0; i < entries.size(); i++) {
			ReadColumn(travel.children[i], *array.children[i], first, count, mask.AllValid() ? nullptr : mask.GetData(), hold,
			           *entries[i]);
		}
		break;
	}
	default:
		throw InternalException("BatchDecoder: a form that only plain schemas have");
	}
}

// ---- plain Arrow: what DuckDB's conversion took over unchecked

static bool VectorIsGood(Vector &vector, idx_t count) {
	auto &type = vector.GetType();
	UnifiedVectorFormat format;
	auto each = [&](auto sample, auto check) {
		typedef decltype(sample) T;
		vector.ToUnifiedFormat(count, format);
		auto values = UnifiedVectorFormat::GetData<T>(format);
		for (idx_t i = 0; i < count; i++) {
			auto row = format.sel->get_index(i);
			if (format.validity.RowIsValid(row) && !check(values[row])) {
				return false;
			}
		}
		return true;
	};
	auto bytes_are = [](bool (*check)(const uint8_t *, size_t)) {
		return [check](const string_t &text) {
			return check(reinterpret_cast<const uint8_t *>(text.GetData()), text.GetSize());
		};
	};
	switch (type.id()) {
	case LogicalTypeId::VARCHAR:
		return each(string_t(), bytes_are(IsUtf8));
	case LogicalTypeId::BIT:
		return each(string_t(), bytes_are(IsBit));
	case LogicalTypeId::BIGNUM:
		return each(string_t(), bytes_are(IsBignum));
	case LogicalTypeId::GEOMETRY:
		return each(string_t(), bytes_are(IsGeometry));
	case LogicalTypeId::TIME:
		return each(int64_t(), IsTime);
	case LogicalTypeId::TIME_NS:
		return each(int64_t(), IsTimeNs);
	case LogicalTypeId::TIME_TZ:
		return each(int64_t(), [](int64_t bits) { return IsTimeTz(uint64_t(bits)); });
	default:
		break;
	}
	switch (type.InternalType()) {
	case PhysicalType::LIST:
		vector.Flatten(count);
		return VectorIsGood(ListVector::GetEntry(vector), ListVector::GetListSize(vector));
	case PhysicalType::ARRAY:
		vector.Flatten(count);
		return VectorIsGood(ArrayVector::GetEntry(vector), count * ArrayType::GetSize(type));
	case PhysicalType::STRUCT:
		vector.Flatten(count);
		for (auto &entry : StructVector::GetEntries(vector)) {
			if (!VectorIsGood(*entry, count)) {
				return false;
			}
		}
		return true;
	default:
		return true;
	}
}

// ---- the decoder

struct BatchDecoder::Impl {
	vector<LogicalType> types;
	vector<string> names;
	od_ipc_decoder *decoder = nullptr;
	idx_t rows = 0;
	idx_t at = 0;
	// exact
	bool exact = false;
	vector<Travel> travels;
	shared_ptr<BatchHold> hold;
	// plain
	ArrowTableSchema table;
	unique_ptr<ArrowScanLocalState> scan;

	~Impl() {
		od_ipc_decoder_free(decoder);
	}
	void ReadPlain(DataChunk &out, const vector<idx_t> &columns);
};

BatchDecoder::BatchDecoder(ClientContext &context, const ArrowSchema &schema) : impl(make_uniq<Impl>()) {
	od_error err = {};
	if (od_ipc_decoder_new(&schema, &impl->decoder, &err) != OD_OK) {
		ErrorToDuck(err).Throw();
	}
	impl->exact = SchemaIsExact(schema);
	if (impl->exact) {
		TypesFromSchema(schema, impl->types, impl->names);
		for (idx_t i = 0; i < impl->types.size(); i++) {
			impl->travels.push_back(TravelOf(impl->types[i], true, impl->names[i]));
		}
	} else {
		ArrowTableFunction::PopulateArrowTableSchema(context, impl->table, schema);
		impl->types = impl->table.GetTypes();
		impl->names = impl->table.GetNames();
		impl->scan = make_uniq<ArrowScanLocalState>(make_uniq<ArrowArrayWrapper>(), context);
	}
}

BatchDecoder::~BatchDecoder() = default;

const vector<LogicalType> &BatchDecoder::Types() const {
	return impl->types;
}

void BatchDecoder::Load(od_batch *batch) {
	impl->rows = impl->at = 0;
	impl->hold.reset();
	ArrowArray array;
	od_error err = {};
	if (od_ipc_decode_batch(impl->decoder, batch, &array, &err) != OD_OK) {
		ErrorToDuck(err).Throw();
	}
	auto rows = idx_t(array.length);
	if (impl->exact) {
		auto hold = make_shared_ptr<BatchHold>(array);
		for (idx_t i = 0; i < impl->travels.size(); i++) {
			CheckColumn(impl->travels[i], *hold->array.children[i], impl->names[i]);
		}
		impl->hold = std::move(hold);
	} else {
		auto chunk = make_shared_ptr<ArrowArrayWrapper>();
		chunk->arrow_array = array;
		impl->scan->Reset();
		impl->scan->chunk = std::move(chunk);
	}
	impl->rows = rows;
}

idx_t BatchDecoder::Remaining() const {
	return impl->rows - impl->at;
}

//! False for DuckDB's empty virtual column, which a count(*) asks for: a BOOLEAN at whose values nobody looks.
static bool IsWanted(const LogicalType &type, const LogicalType &out) {
	if (type.InternalType() == out.InternalType() && (!type.IsNested() || type == out)) {
		return true;
	}
	if (out.id() != LogicalTypeId::BOOLEAN) {
		throw InternalException("BatchDecoder: %s cannot be read as %s", type.ToString(), out.ToString());
	}
	return false;
}

void BatchDecoder::Impl::ReadPlain(DataChunk &out, const vector<idx_t> &columns) {
	scan->column_ids.clear();
	for (idx_t i = 0; i < out.ColumnCount(); i++) {
		auto column = columns.empty() ? i : columns[i];
		bool wanted = IsWanted(types[column], out.data[i].GetType());
		scan->column_ids.push_back(wanted ? column : COLUMN_IDENTIFIER_ROW_ID); // which is left alone
	}
	scan->chunk_offset = at;
	ArrowTableFunction::ArrowToDuckDB(*scan, table.GetColumns(), out, false);
	for (idx_t i = 0; i < out.ColumnCount(); i++) {
		if (scan->column_ids[i] == COLUMN_IDENTIFIER_ROW_ID) {
			out.data[i].Reference(Value::BOOLEAN(false));
		} else if (!VectorIsGood(out.data[i], out.size())) {
			Corrupt(names[columns.empty() ? i : columns[i]], "a value out of its type's range, or text that is not UTF-8");
		}
	}
}

void BatchDecoder::Read(DataChunk &out, const vector<idx_t> &columns) {
	auto count = MinValue<idx_t>(STANDARD_VECTOR_SIZE, Remaining());
	out.Reset();
	out.SetCardinality(count);
	if (count == 0) {
		return;
	}
	if (impl->exact) {
		Hold hold = impl->hold;
		for (idx_t i = 0; i < out.ColumnCount(); i++) {
			auto column = columns.empty() ? i : columns[i];
			if (!IsWanted(impl->types[column], out.data[i].GetType())) {
				out.data[i].Reference(Value::BOOLEAN(false));
				continue;
			}
			ReadColumn(impl->travels[column], *impl->hold->array.children[column], impl->at, count, nullptr, hold,
			           out.data[i]);
		}
	} else {
		impl->ReadPlain(out, columns);
	}
	impl->at += count;
	if (Remaining() == 0) {
		impl->hold.reset(); // the vectors hold what they need
	}
}

} // namespace openduck
