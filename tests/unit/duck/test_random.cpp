// test_random.cpp - properties over random nested types and values, and over damaged bytes.
//
// The seed is printed; OD_TEST_SEED=N repeats a run, OD_TEST_ROUNDS=N makes it longer.
//   P1  What the encoder sends, the decoder gives back bit by bit, whatever kinds of vectors it came in.
//   P2  A damaged batch or schema is refused, or gives vectors that can be walked: never a crash.
#include "support.hpp"

#include "duckdb/common/types/date.hpp"
#include "duckdb/common/types/uuid.hpp"

#include <cstdlib>
#include <random>

using namespace duckdb;
using namespace openduck;

static unique_ptr<DuckDB> db;
static unique_ptr<Connection> con;
static uint64_t seed;
static unsigned rounds = 60;

static int SetUp(void **) {
	db = make_uniq<DuckDB>(nullptr);
	con = make_uniq<Connection>(*db);
	con->BeginTransaction();
	auto text = getenv("OD_TEST_SEED");
	seed = text ? strtoull(text, nullptr, 10) : std::random_device()();
	text = getenv("OD_TEST_ROUNDS");
	rounds = text ? unsigned(strtoul(text, nullptr, 10)) : rounds;
	printf("OD_TEST_SEED=%llu\n", (unsigned long long)seed);
	return 0;
}

static int TearDown(void **) {
	con.reset();
	db.reset();
	return 0;
}

struct Random {
	std::mt19937_64 engine;
	unsigned null_percent;

	explicit Random(uint64_t round) : engine(seed * 1000003 + round), null_percent(Below(3) * 25) {
	}
	uint64_t Bits() {
		return engine();
	}
	idx_t Below(idx_t limit) {
		return idx_t(engine() % limit);
	}
	bool Percent(unsigned percent) {
		return Below(100) < percent;
	}

	string Text() {
		static const char *const parts[] = {"a", "Z", "ä", "漢", "🦆", " ", "'", "\"", "\\", "\n"};
		string text;
		for (auto n = Below(4) == 0 ? Below(40) : Below(8); n > 0; n--) {
			text += parts[Below(10)];
			if (Percent(2)) {
				text += '\0';
			}
		}
		return text;
	}
	string Bytes() {
		string bytes;
		for (auto n = Below(30); n > 0; n--) {
			bytes += char(Bits());
		}
		return bytes;
	}

	LogicalType Type(unsigned depth) {
		static const LogicalTypeId simple[] = {
		    LogicalTypeId::SQLNULL,      LogicalTypeId::BOOLEAN,      LogicalTypeId::TINYINT,      LogicalTypeId::SMALLINT,
		    LogicalTypeId::INTEGER,      LogicalTypeId::BIGINT,       LogicalTypeId::UTINYINT,     LogicalTypeId::USMALLINT,
		    LogicalTypeId::UINTEGER,     LogicalTypeId::UBIGINT,      LogicalTypeId::HUGEINT,      LogicalTypeId::UHUGEINT,
		    LogicalTypeId::FLOAT,        LogicalTypeId::DOUBLE,       LogicalTypeId::DATE,         LogicalTypeId::TIME,
		    LogicalTypeId::TIME_NS,      LogicalTypeId::TIME_TZ,      LogicalTypeId::TIMESTAMP,    LogicalTypeId::TIMESTAMP_SEC,
		    LogicalTypeId::TIMESTAMP_MS, LogicalTypeId::TIMESTAMP_NS, LogicalTypeId::TIMESTAMP_TZ, LogicalTypeId::INTERVAL,
		    LogicalTypeId::VARCHAR,      LogicalTypeId::BLOB,         LogicalTypeId::BIT,          LogicalTypeId::BIGNUM,
		    LogicalTypeId::UUID};
		auto pick = Below(depth < 3 ? 45 : 33);
		if (pick < 29) {
			return LogicalType(simple[pick]);
		}
		switch (pick) {
		case 29:
		case 30: {
			auto width = uint8_t(1 + Below(38));
			return LogicalType::DECIMAL(width, uint8_t(Below(width + 1u)));
		}
		case 31:
			return LogicalType::JSON();
		case 32:
			return Enum();
		case 33:
		case 34:
		case 35:
			return LogicalType::LIST(Type(depth + 1));
		case 36:
		case 37:
			return LogicalType::ARRAY(Type(depth + 1), 1 + Below(4));
		case 38:
		case 39:
			return LogicalType::MAP(KeyType(), Type(depth + 1));
		case 40:
		case 41:
			return LogicalType::UNION(Members(depth, "m"));
		default:
			return LogicalType::STRUCT(Members(depth, Percent(20) ? "" : "f"));
		}
	}
	LogicalType KeyType() {
		return Percent(50) ? LogicalType::VARCHAR : LogicalType::BIGINT;
	}
	LogicalType Enum() {
		auto size = Percent(20) ? 300 : 1 + Below(5);
		Vector values(LogicalType::VARCHAR, size);
		for (idx_t i = 0; i < size; i++) {
			FlatVector::GetData<string_t>(values)[i] = StringVector::AddString(values, to_string(i) + Text());
		}
		return LogicalType::ENUM(values, size);
	}
	child_list_t<LogicalType> Members(unsigned depth, const string &prefix) {
		child_list_t<LogicalType> members;
		for (auto n = 1 + Below(4); n > 0; n--) {
			members.emplace_back(prefix.empty() ? "" : prefix + to_string(n), Type(depth + 1));
		}
		return members;
	}

	Value Some(const LogicalType &type, bool nullable = true) {
		if ((nullable && Percent(null_percent)) || type.id() == LogicalTypeId::SQLNULL) {
			return Value(type);
		}
		auto bits = int64_t(Percent(30) ? Bits() % 5 - 2 : Bits() >> Below(64));
		switch (type.id()) {
		case LogicalTypeId::BOOLEAN:
			return Value::BOOLEAN(bits & 1);
		case LogicalTypeId::FLOAT: {
			auto word = uint32_t(Bits());
			float value;
			memcpy(&value, &word, sizeof value);
			return Value::FLOAT(value);
		}
		case LogicalTypeId::DOUBLE: {
			double value;
			memcpy(&value, &bits, sizeof value);
			return Value::DOUBLE(value);
		}
		case LogicalTypeId::HUGEINT:
			return Value::HUGEINT(hugeint_t(bits, Bits()));
		case LogicalTypeId::UHUGEINT:
			return Value::UHUGEINT(uhugeint_t(uint64_t(bits), Bits()));
		case LogicalTypeId::UUID:
			return Value::UUID(hugeint_t(bits, Bits()));
		case LogicalTypeId::DECIMAL: {
			auto limit = Hugeint::POWERS_OF_TEN[DecimalType::GetWidth(type)];
			return Decimal(type, hugeint_t(bits, Bits()) % limit);
		}
		case LogicalTypeId::DATE:
			return Value::DATE(date_t(int32_t(bits % 100000000)));
		case LogicalTypeId::TIME:
			return Value::TIME(dtime_t(int64_t(Below(86400000001))));
		case LogicalTypeId::TIME_NS:
			return Value::TIME_NS(dtime_ns_t(int64_t(Below(86400000000001))));
		case LogicalTypeId::TIME_TZ:
			return Value::TIMETZ(dtime_tz_t(dtime_t(int64_t(Below(86400000001))), int32_t(Below(2 * 57599 + 1)) - 57599));
		case LogicalTypeId::TIMESTAMP:
			return Value::TIMESTAMP(timestamp_t(bits / 4));
		case LogicalTypeId::TIMESTAMP_SEC:
			return Value::TIMESTAMPSEC(timestamp_sec_t(bits / 10000000));
		case LogicalTypeId::TIMESTAMP_MS:
			return Value::TIMESTAMPMS(timestamp_ms_t(bits / 10000));
		case LogicalTypeId::TIMESTAMP_NS:
			return Value::TIMESTAMPNS(timestamp_ns_t(bits));
		case LogicalTypeId::TIMESTAMP_TZ:
			return Value::TIMESTAMPTZ(timestamp_tz_t(bits / 4));
		case LogicalTypeId::INTERVAL:
			return Value::INTERVAL(int32_t(Bits()), int32_t(bits), int64_t(Bits()));
		case LogicalTypeId::VARCHAR: {
			auto value = type.HasAlias() ? Value("{\"k\": " + to_string(bits) + "}") : Value(Text());
			value.Reinterpret(type);
			return value;
		}
		case LogicalTypeId::BLOB:
			return Value::BLOB_RAW(Bytes());
		case LogicalTypeId::BIT: {
			string digits = "1";
			for (auto n = Below(30); n > 0; n--) {
				digits += char('0' + Below(2));
			}
			return Value(digits).DefaultCastAs(LogicalType::BIT);
		}
		case LogicalTypeId::BIGNUM:
			return Value((Percent(50) ? "-1" : "1") + to_string(Bits()) + to_string(Bits())).DefaultCastAs(LogicalType::BIGNUM);
		case LogicalTypeId::ENUM:
			return Value::ENUM(Below(EnumType::GetSize(type)), type);
		case LogicalTypeId::LIST: {
			vector<Value> values;
			for (auto n = Below(4) == 0 ? Below(20) : Below(4); n > 0; n--) {
				values.push_back(Some(ListType::GetChildType(type)));
			}
			return Value::LIST(ListType::GetChildType(type), std::move(values));
		}
		case LogicalTypeId::ARRAY: {
			vector<Value> values;
			for (auto n = ArrayType::GetSize(type); n > 0; n--) {
				values.push_back(Some(ArrayType::GetChildType(type)));
			}
			return Value::ARRAY(ArrayType::GetChildType(type), std::move(values));
		}
		case LogicalTypeId::MAP: {
			vector<Value> keys, values;
			for (auto n = Below(4); n > 0; n--) {
				keys.push_back(MapType::KeyType(type).id() == LogicalTypeId::VARCHAR ? Value(to_string(n) + Text())
				                                                                     : Value::BIGINT(int64_t(n)));
				values.push_back(Some(MapType::ValueType(type)));
			}
			return Value::MAP(MapType::KeyType(type), MapType::ValueType(type), std::move(keys), std::move(values));
		}
		case LogicalTypeId::UNION: {
			auto members = UnionType::CopyMemberTypes(type);
			auto tag = Below(members.size());
			auto value = Some(members[tag].second);
			return Value::UNION(std::move(members), uint8_t(tag), std::move(value));
		}
		case LogicalTypeId::STRUCT: {
			vector<Value> values;
			for (auto &child : StructType::GetChildTypes(type)) {
				values.push_back(Some(child.second));
			}
			return Value::STRUCT(type, std::move(values));
		}
		default:
			return Integer(type, bits);
		}
	}
	static Value Integer(const LogicalType &type, int64_t bits) {
		switch (type.id()) {
		case LogicalTypeId::TINYINT:
			return Value::TINYINT(int8_t(bits));
		case LogicalTypeId::SMALLINT:
			return Value::SMALLINT(int16_t(bits));
		case LogicalTypeId::INTEGER:
			return Value::INTEGER(int32_t(bits));
		case LogicalTypeId::UTINYINT:
			return Value::UTINYINT(uint8_t(bits));
		case LogicalTypeId::USMALLINT:
			return Value::USMALLINT(uint16_t(bits));
		case LogicalTypeId::UINTEGER:
			return Value::UINTEGER(uint32_t(bits));
		case LogicalTypeId::UBIGINT:
			return Value::UBIGINT(uint64_t(bits));
		default:
			return Value::BIGINT(bits);
		}
	}
	static Value Decimal(const LogicalType &type, hugeint_t value) {
		auto width = DecimalType::GetWidth(type), scale = DecimalType::GetScale(type);
		switch (type.InternalType()) {
		case PhysicalType::INT16:
			return Value::DECIMAL(int16_t(value.lower), width, scale);
		case PhysicalType::INT32:
			return Value::DECIMAL(int32_t(value.lower), width, scale);
		case PhysicalType::INT64:
			return Value::DECIMAL(int64_t(value.lower), width, scale);
		default:
			return Value::DECIMAL(value, width, scale);
		}
	}

	//! A chunk of these types; its vectors may be flat, constant, or dictionaries.
	unique_ptr<DataChunk> Chunk(const vector<LogicalType> &types) {
		auto chunk = make_uniq<DataChunk>();
		chunk->Initialize(Allocator::DefaultAllocator(), types);
		idx_t source_rows = 1 + Below(Percent(20) ? 300 : 40), rows = 1 + Below(Percent(10) ? 2048 : 100);
		for (idx_t c = 0; c < types.size(); c++) {
			auto &out = chunk->data[c];
			auto kind = Below(4);
			if (kind == 0) {
				out.Reference(Some(types[c]));
				continue;
			}
			Vector source(types[c]);
			auto flat_rows = kind == 1 ? source_rows : rows;
			for (idx_t i = 0; i < flat_rows; i++) {
				source.SetValue(i, Some(types[c]));
			}
			if (kind == 1) {
				SelectionVector sel(rows);
				for (idx_t i = 0; i < rows; i++) {
					sel.set_index(i, Below(source_rows));
				}
				out.Slice(source, sel, rows);
			} else {
				out.Reference(source);
			}
		}
		chunk->SetCardinality(rows);
		return chunk;
	}
	vector<LogicalType> Types() {
		vector<LogicalType> types;
		for (auto n = 1 + Below(5); n > 0; n--) {
			types.push_back(Type(0));
		}
		return types;
	}
};

static vector<string> Names(idx_t count) {
	vector<string> names;
	for (idx_t i = 0; i < count; i++) {
		names.push_back("column " + to_string(i));
	}
	return names;
}

static void ValuesSurvive(void **) {
	for (unsigned round = 0; round < rounds; round++) {
		Random random(round);
		auto types = random.Types();
		vector<unique_ptr<DataChunk>> chunks;
		idx_t rows = 0;
		for (auto n = 1 + random.Below(6); n > 0; n--) {
			chunks.push_back(random.Chunk(types));
			rows += chunks.back()->size();
		}
		assert_int_equal(WantSame(*con->context, types, Names(types.size()), chunks), rows);
	}
}

//! Reads everything of every value: a bad pointer would be followed.
static void Walk(BatchDecoder &decoder, od_batch *batch) {
	decoder.Load(batch);
	DataChunk out;
	out.Initialize(Allocator::DefaultAllocator(), decoder.Types());
	while (decoder.Remaining()) {
		out.Reset();
		decoder.Read(out);
		Vector text(LogicalType::VARCHAR);
		for (auto &column : out.data) {
			try {
				VectorOperations::DefaultCast(column, text, out.size(), true);
			} catch (const Exception &) {
				// A value without a text, as a date far away, is not what this is about.
			}
			Vector hashes(LogicalType::HASH);
			VectorOperations::Hash(column, hashes, out.size());
		}
	}
}

static void DamagedBatches(void **) {
	for (unsigned round = 0; round < rounds; round++) {
		Random random(round + 1000000);
		auto types = random.Types();
		vector<unique_ptr<DataChunk>> chunks;
		if (round % 4 == 0) {
			types = {LogicalType::VARIANT(), LogicalType::GEOMETRY()};
			auto sql = "SELECT v, g FROM (SELECT unnest([1::VARIANT, 'text'::VARIANT, NULL, [1::VARIANT, 'a'::VARIANT, [2.5]::VARIANT]::VARIANT, "
			           "{'a': 1.5::DECIMAL(10,2), 'b': ['x'], 'c': {'d': INTERVAL 1 MONTH}}::VARIANT, TIME '12:00'::VARIANT, "
			           "'101'::BIT::VARIANT, '123456789012345678901'::BIGNUM::VARIANT]) AS v, "
			           "unnest(['POINT(1 2)', 'POLYGON((0 0, 1 0, 1 1, 0 0))', NULL, 'MULTIPOINT(1 1, 2 2)', "
			           "'GEOMETRYCOLLECTION(POINT(1 1), LINESTRING(0 0, 1 1))', 'POINT EMPTY', 'POINT Z(1 2 3)', NULL])::GEOMETRY "
			           "AS g)";
			vector<string> names;
			chunks = Chunks(*con, sql, types, names);
		} else {
			chunks.push_back(random.Chunk(types));
		}
		SchemaPtr schema;
		SendSchema(types, Names(types.size()), true, schema);
		BatchDecoder decoder(*con->context, schema.schema);
		for (auto &batch : Encode(types, true, chunks)) {
			auto good = BytesOf(*batch);
			size_t body;
			uint64_t rows;
			assert_int_equal(od_ipc_check(reinterpret_cast<const uint8_t *>(good.data()), good.size(), OD_IPC_BATCH, &body,
			                              &rows, nullptr),
			                 OD_OK);
			for (unsigned i = 0; i < 100; i++) {
				auto bytes = good;
				for (auto n = 1 + random.Below(3); n > 0; n--) {
					// Mostly the body: the header is od_ipc_check's business, and has its own tests.
					auto at = random.Percent(90) && bytes.size() > body ? body + random.Below(bytes.size() - body)
					                                                    : random.Below(bytes.size());
					bytes[at] = random.Percent(50) ? char(bytes[at] ^ (1 << random.Below(8))) : char(random.Bits());
				}
				try {
					Walk(decoder, Received(bytes, rows, body).get());
				} catch (const Exception &) {
				}
			}
			Walk(decoder, Received(good, rows, body).get());
		}
	}
}

static void DamagedSchemas(void **) {
	for (unsigned round = 0; round < rounds; round++) {
		Random random(round + 2000000);
		auto types = random.Types();
		auto good = SchemaMessage(types, Names(types.size()), true);
		for (unsigned i = 0; i < 200; i++) {
			auto bytes = good;
			for (auto n = 1 + random.Below(3); n > 0; n--) {
				auto at = random.Below(bytes.size());
				bytes[at] = random.Percent(30) ? "0123456789,:-"[random.Below(13)] : char(random.Bits());
			}
			SchemaPtr schema;
			if (od_ipc_decode_schema(reinterpret_cast<const uint8_t *>(bytes.data()), bytes.size(), &schema.schema, nullptr) !=
			    OD_OK) {
				schema.schema.release = nullptr;
				continue;
			}
			vector<LogicalType> back;
			vector<string> names;
			try {
				TypesFromSchema(schema.schema, back, names);
				for (auto &type : back) {
					assert_false(type.ToString().empty());
				}
			} catch (const Exception &) {
			}
		}
	}
}

int main() {
	const CMUnitTest tests[] = {
	    cmocka_unit_test(ValuesSurvive),
	    cmocka_unit_test(DamagedBatches),
	    cmocka_unit_test(DamagedSchemas),
	};
	return cmocka_run_group_tests_name("duck_random", tests, SetUp, TearDown);
}
