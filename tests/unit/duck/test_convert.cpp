// test_convert.cpp - every DuckDB type through encoder, message and decoder, exactly; limits; what cannot travel.
#include "support.hpp"

using namespace duckdb;
using namespace openduck;

static unique_ptr<DuckDB> db;
static unique_ptr<Connection> con;

static int SetUp(void **) {
	db = make_uniq<DuckDB>(nullptr);
	con = make_uniq<Connection>(*db);
	return 0;
}

static int TearDown(void **) {
	con.reset();
	db.reset();
	return 0;
}

//! Binding Arrow types looks into the catalog, which wants a transaction.
struct InTransaction {
	InTransaction() {
		con->BeginTransaction();
	}
	~InTransaction() {
		con->Rollback();
	}
};

static idx_t RoundTrip(const string &sql) {
	vector<LogicalType> types;
	vector<string> names;
	auto chunks = Chunks(*con, sql, types, names);
	InTransaction transaction;
	auto rows = WantSame(*con->context, types, names, chunks);
	return rows;
}

static void EveryTypeOfDuckdb(void **) {
	assert_int_equal(RoundTrip("SELECT * FROM test_all_types()"), 3);
}

static void Scalars(void **) {
	const char *expressions[] = {
	    "NULL",
	    "unnest([true, false, NULL])",
	    "unnest([-128, 127, NULL])::TINYINT",
	    "unnest(['-170141183460469231731687303715884105728', '170141183460469231731687303715884105727', NULL, '0', "
	    "'-1'])::HUGEINT",
	    "unnest(['340282366920938463463374607431768211455', '0', NULL])::UHUGEINT",
	    "unnest(['-999.9', '0.1', NULL])::DECIMAL(4,1)",
	    "unnest(['-99999.9999', '0.1', NULL])::DECIMAL(9,4)",
	    "unnest(['999999999999999999', '-1', NULL])::DECIMAL(18,0)",
	    "unnest(['0.99999999999999999999999999999999999999', '0', NULL])::DECIMAL(38,38)",
	    "unnest(['nan', 'inf', '-inf', '-0', '0', NULL, '1e-310'])::DOUBLE",
	    "unnest(['nan', 'inf', '-inf', '-0', '1e-42', NULL])::FLOAT",
	    "unnest(['', 'a', 'abcd', 'abcde', 'exactly12byt', 'thirteen byte', 'ä', '🦆🦆🦆🦆', NULL, 'a' || chr(0) || 'b'])",
	    "unnest(['', '\\x00\\xFF', '\\xC3', NULL, repeat('\\x80', 100)])::BLOB",
	    "unnest(['1', '0', '10101010', '010101010', NULL, repeat('10', 1000)])::BIT",
	    "unnest(['0', '-1', '255', '-256', NULL, '1' || repeat('0', 2000), '-' || repeat('9', 5000)])::BIGNUM",
	    "unnest(['00000000-0000-0000-0000-000000000000', 'ffffffff-ffff-ffff-ffff-ffffffffffff', NULL, "
	    "'80000000-0000-0000-8000-000000000001'])::UUID",
	    "unnest(['infinity', '-infinity', '0001-01-01', '5877642-06-25 (BC)', '5881580-07-10', NULL])::DATE",
	    "unnest(['00:00:00', '24:00:00', '23:59:59.999999', NULL])::TIME",
	    "unnest(['00:00:00', '24:00:00', '23:59:59.999999999', NULL])::TIME_NS",
	    "unnest(['00:00:00+15:59:59', '24:00:00-15:59:59', '12:00:00+00', NULL])::TIMETZ",
	    "unnest(['infinity', '-infinity', '1970-01-01', '290309-12-22 (BC) 00:00:00', NULL])::TIMESTAMP",
	    "unnest(['infinity', '-infinity', '2000-01-01 00:00:00.123456+00', NULL])::TIMESTAMPTZ",
	    "unnest(['infinity', '-infinity', '2000-01-01 00:00:00', NULL])::TIMESTAMP_S",
	    "unnest(['infinity', '-infinity', '2000-01-01 00:00:00.123', NULL])::TIMESTAMP_MS",
	    "unnest(['infinity', '-infinity', '2000-01-01 00:00:00.123456789', NULL])::TIMESTAMP_NS",
	    "unnest([to_microseconds(9223372036854775807), to_months(2147483647), to_days(-2147483648), NULL, "
	    "to_months(1) + to_days(31) + to_microseconds(-1)])",
	    "unnest(['a', '', 'ü', NULL])::ENUM('', 'a', 'ü')",
	    "'{\"a\": [1, null]}'::JSON",
	    "unnest(['abc', NULL]) COLLATE NOCASE",
	    "unnest(['POINT(1 2)', 'LINESTRING(0 0, 1 1)', 'POLYGON((0 0, 1 0, 1 1, 0 0))', NULL, 'MULTIPOINT(1 1, 2 2)', "
	    "'MULTIPOLYGON(((0 0, 1 0, 1 1, 0 0)))', 'GEOMETRYCOLLECTION(POINT(1 1), LINESTRING(0 0, 1 1))', 'POINT EMPTY', "
	    "'POINT ZM(1 2 3 4)', 'LINESTRING EMPTY', 'MULTILINESTRING Z((0 0 0, 1 1 1))'])::GEOMETRY",
	};
	for (auto expression : expressions) {
		assert_true(RoundTrip(string("SELECT ") + expression + " AS x") > 0);
	}
}

static void NestedTypes(void **) {
	const char *queries[] = {
	    "SELECT unnest([[1, NULL], [], NULL, [3]])",
	    "SELECT unnest([[NULL], NULL, []])", // a list of NULLs
	    "SELECT unnest([[['a', NULL, repeat('long ', 9)], NULL, []], NULL, [[]]])",
	    "SELECT unnest([{'a': 1, 'b': 'x'}, NULL, {'a': NULL, 'b': NULL}])",
	    "SELECT unnest([row(1, [NULL, {'x': 1.5::DECIMAL(3,1)}]), NULL])",
	    "SELECT unnest([MAP {'a': [1], 'b': NULL}, MAP {}, NULL])",
	    "SELECT unnest([[1, NULL, 3]::INT[3], NULL, [NULL, NULL, NULL]::INT[3]])",
	    "SELECT unnest([[['a', 'b']::TEXT[2], NULL]::TEXT[2][2], NULL])",
	    "SELECT unnest([{'a': [true, NULL]::BOOL[2]}, NULL, {'a': NULL}])",
	    "SELECT unnest([union_value(num := 1)::UNION(num INT, str TEXT), union_value(str := 'two'), NULL, "
	    "union_value(num := NULL::INT)])",
	    "SELECT [union_value(num := i)::UNION(num INT, str TEXT[]), NULL] FROM range(5) t(i)",
	    "SELECT unnest([1::VARIANT, 'text'::VARIANT, NULL, [1, 'a', {'k': NULL}::VARIANT]::VARIANT, "
	    "{'a': 1.5::DECIMAL(10,2), 'b': [DATE '2000-01-01'], 'c': {'d': INTERVAL 1 MONTH}}::VARIANT, [NULL]::VARIANT, "
	    "[]::VARIANT, '101'::BIT::VARIANT, '12345678901234567890123'::BIGNUM::VARIANT, TIME '12:00'::VARIANT, "
	    "uuid()::VARIANT, true::VARIANT, 1e300::VARIANT, 'x'::BLOB::VARIANT])",
	    "SELECT {'v': i::VARIANT, 'w': [i::VARIANT, NULL]} FROM range(10) t(i)",
	    "SELECT unnest([['a', 'b']::ENUM('a', 'b')[], NULL])",
	    "SELECT MAP {uuid(): {'x': [INTERVAL 1 DAY, NULL]}}",
	    "SELECT CASE WHEN i % 3 = 0 THEN NULL ELSE {'a': CASE WHEN i % 2 = 0 THEN NULL ELSE [i, NULL] END, 'b': i} END "
	    "FROM range(10000) t(i)",
	};
	for (auto query : queries) {
		assert_true(RoundTrip(query) > 0);
	}
}

static void ManyRowsInManyBatches(void **) {
	assert_int_equal(RoundTrip("SELECT i, CASE WHEN i % 1000 = 7 THEN NULL ELSE i::VARCHAR || repeat('x', (i % 40)::INT) END, "
	                           "i % 2 = 0, CASE WHEN i > 60000 THEN i::DECIMAL(4,0) % 100 END, i::DOUBLE "
	                           "FROM range(9000) t(i) UNION ALL "
	                           "SELECT i, NULL, NULL, NULL, 'nan' FROM range(130000) t(i)"),
	                 139000);
}

static void NamesTypesAndAliases(void **) {
	con->Query("CREATE OR REPLACE TYPE mood AS ENUM ('sad', 'ok')");
	con->Query("CREATE OR REPLACE TYPE pair AS STRUCT(a INT, m mood)");
	RoundTrip("SELECT 'ok'::mood AS x, {'a': 1, 'm': 'sad'}::pair AS x, [1] AS \"a.b\", 2 AS \"ä \"\" 🦆\"");
	Vector many(LogicalType::VARCHAR, 100000);
	for (idx_t i = 0; i < 100000; i++) {
		FlatVector::GetData<string_t>(many)[i] = StringVector::AddString(many, "value " + to_string(i) + ":,");
	}
	vector<LogicalType> types = {LogicalType::ENUM(many, 100000), LogicalType::INTEGER}, back;
	vector<string> names = {"", ""}, names_back;
	SchemaPtr schema;
	SendSchema(types, names, true, schema);
	TypesFromSchema(schema.schema, back, names_back);
	assert_true(names == names_back);
	assert_true(back[0] == types[0] && EnumType::GetSize(back[0]) == 100000);
	types = {LogicalType::GEOMETRY("EPSG:4326")};
	names = {"g"};
	SchemaPtr geometry;
	SendSchema(types, names, true, geometry);
	TypesFromSchema(geometry.schema, back, names);
	assert_string_equal(back[0].ToString().c_str(), types[0].ToString().c_str());
}

static void WhatCannotTravelIsNamed(void **) {
	LogicalTypeId ids[] = {LogicalTypeId::ANY,     LogicalTypeId::UNKNOWN, LogicalTypeId::INVALID,
	                       LogicalTypeId::POINTER, LogicalTypeId::LAMBDA,  LogicalTypeId::TYPE,
	                       LogicalTypeId::TABLE,   LogicalTypeId::VALIDITY};
	for (auto id : ids) {
		auto error = ErrorOf([&] { SchemaMessage({LogicalType::LIST(LogicalType(id))}, {"my column"}, true); });
		WantError(error, "my column");
		WantError(error, "Not implemented");
	}
	auto deep = LogicalType(LogicalType::INTEGER);
	for (int i = 0; i < 70; i++) {
		deep = LogicalType::LIST(deep);
	}
	WantError(ErrorOf([&] { SchemaMessage({deep}, {"deep"}, true); }), "nested");
}

static void ZeroRowsAndZeroColumns(void **) {
	assert_int_equal(RoundTrip("SELECT 1 AS a, [NULL] AS b, {'x': 'y'} AS c WHERE false"), 0);
	vector<unique_ptr<DataChunk>> chunks;
	InTransaction transaction;
	assert_int_equal(WantSame(*con->context, {}, {}, chunks), 0);
}

// ---- vectors that are not flat

static vector<unique_ptr<DataChunk>> One(vector<LogicalType> &types) {
	vector<unique_ptr<DataChunk>> chunks;
	chunks.push_back(make_uniq<DataChunk>());
	chunks[0]->Initialize(Allocator::DefaultAllocator(), types);
	return chunks;
}

static void VectorsOfEveryKind(void **) {
	vector<LogicalType> types;
	vector<string> names;
	auto source = Chunks(*con,
	                     "SELECT CASE WHEN i % 5 = 0 THEN NULL ELSE i END AS a, CASE WHEN i % 7 = 0 THEN NULL ELSE 'value ' || i "
	                     "|| repeat('.', (i % 30)::INT) END AS b, i % 3 = 0 AS c, CASE WHEN i % 4 = 0 THEN NULL ELSE "
	                     "[i::VARCHAR, NULL, i || ' long enough for the heap'] END AS d, CASE WHEN i % 6 = 0 THEN NULL ELSE "
	                     "{'x': i, 'y': [i]} END AS e, [i, NULL]::BIGINT[2] AS f, (i % 90)::DECIMAL(3,1) AS g, "
	                     "MAP {i: uuid()} AS h, i::UTINYINT AS k, i::HUGEINT AS l, (i % 3)::VARIANT AS m "
	                     "FROM range(200) t(i)",
	                     types, names);
	InTransaction transaction;
	// Dictionaries, also of dictionaries, backwards and with repetitions.
	auto chunks = One(types);
	SelectionVector sel(STANDARD_VECTOR_SIZE);
	for (idx_t i = 0; i < 1500; i++) {
		sel.set_index(i, (199 * i + 17) % 200);
	}
	chunks[0]->Slice(*source[0], sel, 1500);
	assert_int_equal(WantSame(*con->context, types, names, chunks), 1500);
	SelectionVector backwards(STANDARD_VECTOR_SIZE);
	for (idx_t i = 0; i < 700; i++) {
		backwards.set_index(i, 1499 - i);
	}
	chunks[0]->Slice(backwards, 700);
	assert_int_equal(WantSame(*con->context, types, names, chunks), 700);
	// Constants, valid and NULL.
	for (idx_t row : {0, 1, 28}) {
		chunks = One(types);
		for (idx_t c = 0; c < types.size(); c++) {
			chunks[0]->data[c].Reference(source[0]->GetValue(c, row));
		}
		chunks[0]->SetCardinality(2048);
		assert_int_equal(WantSame(*con->context, types, names, chunks), 2048);
	}
	// A struct whose children are a sequence, a constant and a dictionary.
	vector<LogicalType> struct_types = {
	    LogicalType::STRUCT({{"s", LogicalType::BIGINT}, {"c", LogicalType::VARCHAR}, {"d", types[3]}})};
	chunks = One(struct_types);
	auto &entries = StructVector::GetEntries(chunks[0]->data[0]);
	entries[0]->Sequence(5, 3, 150);
	entries[1]->Reference(Value("a constant of more than twelve bytes"));
	entries[2]->Slice(source[0]->data[3], sel, 150);
	chunks[0]->SetCardinality(150);
	assert_int_equal(WantSame(*con->context, struct_types, {"s"}, chunks), 150);
	// Lists whose entries overlap, run backwards and leave gaps.
	vector<LogicalType> list_types = {LogicalType::LIST(LogicalType::VARCHAR)};
	chunks = One(list_types);
	auto &list = chunks[0]->data[0];
	ListVector::Reserve(list, 100);
	ListVector::SetListSize(list, 100);
	for (idx_t i = 0; i < 100; i++) {
		ListVector::GetEntry(list).SetValue(i, i % 9 == 0 ? Value() : Value("element number " + to_string(i)));
	}
	for (idx_t i = 0; i < 50; i++) {
		FlatVector::GetData<list_entry_t>(list)[i] = {90 - i, i % 10};
	}
	FlatVector::SetNull(list, 7, true);
	chunks[0]->SetCardinality(50);
	assert_int_equal(WantSame(*con->context, list_types, {"l"}, chunks), 50);
}

static void ChildrenOfNullAreNull(void **) {
	// A struct that is NULL while its children's masks say otherwise, with pointers that must not be followed.
	vector<LogicalType> types = {LogicalType::STRUCT({{"t", LogicalType::VARCHAR}, {"i", LogicalType::INTEGER}})};
	auto chunks = One(types);
	auto &vector = chunks[0]->data[0];
	auto &entries = StructVector::GetEntries(vector);
	for (idx_t i = 0; i < 100; i++) {
		FlatVector::GetData<int32_t>(*entries[1])[i] = 0x5ec7e7;
		uint64_t wild[2] = {1000, 16}; // length, pointer
		memcpy(static_cast<void *>(FlatVector::GetData<string_t>(*entries[0]) + i), wild, sizeof wild);
		FlatVector::Validity(vector).SetInvalid(i);
	}
	chunks[0]->SetCardinality(100);
	auto batches = Encode(types, true, chunks);
	assert_true(BytesOf(*batches[0]).find("\xe7\xc7\x5e") == string::npos);
	InTransaction transaction;
	assert_int_equal(WantSame(*con->context, types, {"s"}, chunks), 100);
}

static void NothingLeaksUnderNull(void **) {
	vector<LogicalType> types = {LogicalType::INTEGER};
	auto chunks = One(types);
	for (idx_t i = 0; i < 100; i++) {
		FlatVector::GetData<int32_t>(chunks[0]->data[0])[i] = 0x5ec7e7;
	}
	FlatVector::Validity(chunks[0]->data[0]).SetAllInvalid(100);
	chunks[0]->SetCardinality(100);
	auto batches = Encode(types, true, chunks);
	assert_true(BytesOf(*batches[0]).find("\xe7\xc7\x5e") == string::npos);
}

// ---- sizes

static void WideRowsAreCut(void **) {
	// 2048 rows of 40 kB: no batch may come near the size of a message.
	vector<LogicalType> types;
	vector<string> names;
	auto chunks = Chunks(*con,
	                     "SELECT i, repeat(chr((65 + i % 26)::INT), 40000) AS t, [repeat('y', (i % 5000)::INT)] AS l "
	                     "FROM range(600) t(i)",
	                     types, names);
	for (auto &batch : Encode(types, true, chunks)) {
		assert_true(batch->bytes <= 5 * 1024 * 1024);
	}
	InTransaction transaction;
	assert_int_equal(WantSame(*con->context, types, names, chunks), 600);
	chunks = Chunks(*con, "SELECT repeat('x', 10000000) UNION ALL SELECT 'small'", types, names);
	assert_int_equal(Encode(types, true, chunks).size(), 2);
	chunks = Chunks(*con, "SELECT repeat('x', 70000000)", types, names);
	WantError(ErrorOf([&] { Encode(types, true, chunks); }), "larger than");
	types = {LogicalType::LIST(LogicalType::SQLNULL)}; // values without bytes are limited too
	chunks = One(types);
	ListVector::SetListSize(chunks[0]->data[0], 70000000);
	FlatVector::GetData<list_entry_t>(chunks[0]->data[0])[0] = {0, 70000000};
	chunks[0]->SetCardinality(1);
	WantError(ErrorOf([&] { Encode(types, true, chunks); }), "larger than");
}

static void BatchesStopAtTheRowLimit(void **) {
	vector<LogicalType> types;
	vector<string> names;
	auto chunks = Chunks(*con, "SELECT true FROM range(300000)", types, names);
	auto batches = Encode(types, true, chunks);
	assert_int_equal(batches.size(), 3);
	assert_int_equal(batches[0]->rows, 122880);
}

// ---- the plain form

static string PlainValue(const string &sql) {
	vector<LogicalType> types;
	vector<string> names;
	auto chunks = Chunks(*con, sql, types, names);
	SchemaPtr schema;
	SendSchema(types, names, false, schema);
	assert_false(SchemaIsExact(schema.schema));
	InTransaction transaction;
	string result;
	{
		BatchDecoder decoder(*con->context, schema.schema);
		DataChunk out;
		out.Initialize(Allocator::DefaultAllocator(), decoder.Types());
		for (auto &batch : Encode(types, false, chunks)) {
			decoder.Load(Sent(*batch).get());
			while (decoder.Remaining()) {
				out.Reset();
				decoder.Read(out);
				for (idx_t i = 0; i < out.size(); i++) {
					result += out.GetValue(0, i).ToString() + ";";
				}
			}
		}
		result = decoder.Types()[0].ToString() + ":" + result;
	}
	return result;
}

static void PlainArrow(void **) {
	const char *cases[][2] = {
	    {"SELECT unnest([1, NULL])::HUGEINT", "DECIMAL(38,0):1;NULL;"},
	    {"SELECT unnest(['a', NULL])::ENUM('b', 'a')", "VARCHAR:a;NULL;"},
	    {"SELECT unnest([INTERVAL '1 month 2 days 3 seconds', NULL])", "INTERVAL:1 month 2 days 00:00:03;NULL;"},
	    {"SELECT unnest(['12:00:00+02', NULL])::TIMETZ", "VARCHAR:12:00:00+02;NULL;"},
	    {"SELECT unnest(['101', NULL])::BIT", "VARCHAR:101;NULL;"},
	    {"SELECT unnest(['123456789012345678901234567890', NULL])::BIGNUM", "VARCHAR:123456789012345678901234567890;NULL;"},
	    {"SELECT unnest(['80000000-0000-0000-8000-000000000001', NULL])::UUID",
	     "UUID:80000000-0000-0000-8000-000000000001;NULL;"},
	    {"SELECT {'a': 1}::VARIANT", "VARCHAR:{'a': 1};"},
	    {"SELECT unnest([{'e': 'a'::ENUM('a'), 'l': [1::HUGEINT]}, NULL])", "STRUCT(e VARCHAR, l DECIMAL(38,0)[]):{'e': a, 'l': [1]};NULL;"},
	    {"SELECT unnest(['1.5', NULL])::DECIMAL(4,1)", "DECIMAL(4,1):1.5;NULL;"},
	    {"SELECT MAP {'k': [1, NULL]}", "MAP(VARCHAR, INTEGER[]):{k=[1, NULL]};"},
	    {"SELECT unnest([[1, 2]::INT[2], NULL])", "INTEGER[2]:[1, 2];NULL;"},
	    {"SELECT '[1]'::JSON", "JSON:[1];"},
	    {"SELECT TIMESTAMPTZ '2000-01-01 00:00:00+00'", "TIMESTAMP WITH TIME ZONE:2000-01-01 00:00:00+00;"},
	};
	for (auto &pair : cases) {
		assert_string_equal(PlainValue(pair[0]).c_str(), pair[1]);
	}
	WantError(ErrorOf([] { PlainValue("SELECT 170141183460469231731687303715884105727::HUGEINT"); }), "38 digits");
	WantError(ErrorOf([] { PlainValue("SELECT [to_microseconds(9223372036854775807)]"); }), "month_day_nano");
	PlainValue("SELECT (repeat('9', 38))::HUGEINT");
	PlainValue("SELECT ('-' || repeat('9', 38))::HUGEINT");
}

static void ColumnsInAnyOrder(void **) {
	vector<LogicalType> types;
	vector<string> names;
	auto chunks = Chunks(*con, "SELECT i AS a, i::VARCHAR AS b FROM range(5000) t(i)", types, names);
	InTransaction transaction;
	for (bool exact : {true, false}) {
		SchemaPtr schema;
		SendSchema(types, names, exact, schema);
		BatchDecoder decoder(*con->context, schema.schema);
		DataChunk out;
		out.Initialize(Allocator::DefaultAllocator(), {types[1], types[0], types[1]});
		idx_t rows = 0;
		for (auto &batch : Encode(types, exact, chunks)) {
			decoder.Load(Sent(*batch).get());
			while (decoder.Remaining()) {
				out.Reset();
				decoder.Read(out, {1, 0, 1});
				for (idx_t i = 0; i < out.size(); i++, rows++) {
					assert_true(out.GetValue(0, i) == Value(to_string(rows)));
					assert_true(out.GetValue(1, i) == Value::BIGINT(int64_t(rows)));
					assert_true(out.GetValue(2, i) == Value(to_string(rows)));
				}
			}
		}
		assert_int_equal(rows, 5000);
	}
}

static void TheEmptyVirtualColumn(void **) {
	vector<LogicalType> types;
	vector<string> names;
	auto chunks = Chunks(*con, "SELECT 'text that does not fit a BOOLEAN' || i AS a FROM range(3000) t(i)", types, names);
	InTransaction transaction;
	for (bool exact : {true, false}) {
		SchemaPtr schema;
		SendSchema(types, names, exact, schema);
		BatchDecoder decoder(*con->context, schema.schema);
		auto batches = Encode(types, exact, chunks);
		decoder.Load(Sent(*batches[0]).get());
		DataChunk out;
		out.Initialize(Allocator::DefaultAllocator(), {LogicalType::BOOLEAN, LogicalType::VARCHAR});
		decoder.Read(out, {0, 0});
		decoder.Read(out, {0, 0}); // without a reset between
		assert_true(out.size() == 952 && out.GetValue(0, 951) == Value::BOOLEAN(false));
		assert_true(out.GetValue(1, 951) == Value("text that does not fit a BOOLEAN2999"));
		decoder.Load(Sent(*batches[0]).get());
		out.Destroy();
		out.Initialize(Allocator::DefaultAllocator(), {LogicalType::BIGINT});
		WantError(ErrorOf([&] { decoder.Read(out); }), "cannot be read as BIGINT");
	}
}

// ---- errors

static void Errors(void **) {
	const char *queries[][2] = {{"SELECT * FROM nowhere", "Catalog"},
	                            {"SELECT nothing", "Binder"},
	                            {"SELEC 1", "Parser"},
	                            {"SELECT 'x'::INT", "Conversion"}};
	for (auto &query : queries) {
		auto result = con->Query(query[0]);
		od_error err = {};
		ErrorFromDuck(result->GetErrorObject(), &err);
		assert_int_equal(err.code, OD_SQL);
		assert_string_equal(err.error_class, query[1]);
		assert_null(strstr(err.message, " Error: "));
		auto back = ErrorToDuck(err);
		assert_true(back.Type() == result->GetErrorObject().Type());
		assert_string_equal(back.RawMessage().c_str(), result->GetErrorObject().RawMessage().c_str());
		assert_string_equal(back.Message().c_str(), result->GetError().c_str());
	}
	auto missing = con->Query("SELECT * FROM nowhere");
	od_error err = {};
	ErrorFromDuck(missing->GetErrorObject(), &err);
	assert_string_equal(ErrorToDuck(err).ExtraInfo().at("name").c_str(), "nowhere");

	ErrorFromDuck(ErrorData(InterruptException()), &err);
	assert_int_equal(err.code, OD_CANCELLED);
	assert_true(ErrorToDuck(err).Type() == ExceptionType::INTERRUPT);
	ErrorFromDuck(ErrorData(OutOfMemoryException("no more")), &err);
	assert_int_equal(err.code, OD_SQL);
	assert_true(ErrorToDuck(err).Type() == ExceptionType::OUT_OF_MEMORY);
	ErrorFromDuck(ErrorData(ExceptionType::CONSTRAINT, string(10000, 'x')), &err);
	assert_int_equal(strlen(err.message), OD_ERROR_MESSAGE_BYTES - 1);
	// A server's internal error is no damage of this process.
	ErrorFromDuck(ErrorData(ExceptionType::FATAL, "it broke"), &err);
	assert_true(ErrorToDuck(err).Type() == ExceptionType::IO);
	WantError(ErrorToDuck(err).Message(), "it broke");
	// What a hostile server may say.
	memset(&err, 'x', sizeof err);
	err.code = OD_UNAVAILABLE;
	err.extra_bytes = UINT32_MAX;
	assert_true(ErrorToDuck(err).Type() == ExceptionType::IO);
	err = {};
	static const char extra[] = "position\0not a number\0stack_trace_pointers\0x\0half";
	memcpy(err.extra, extra, sizeof extra - 1);
	err.extra_bytes = sizeof extra - 1;
	assert_true(ErrorToDuck(err).ExtraInfo().empty());
}

int main() {
	const CMUnitTest tests[] = {
	    cmocka_unit_test(EveryTypeOfDuckdb),
	    cmocka_unit_test(Scalars),
	    cmocka_unit_test(NestedTypes),
	    cmocka_unit_test(ManyRowsInManyBatches),
	    cmocka_unit_test(NamesTypesAndAliases),
	    cmocka_unit_test(WhatCannotTravelIsNamed),
	    cmocka_unit_test(ZeroRowsAndZeroColumns),
	    cmocka_unit_test(VectorsOfEveryKind),
	    cmocka_unit_test(ChildrenOfNullAreNull),
	    cmocka_unit_test(NothingLeaksUnderNull),
	    cmocka_unit_test(WideRowsAreCut),
	    cmocka_unit_test(BatchesStopAtTheRowLimit),
	    cmocka_unit_test(PlainArrow),
	    cmocka_unit_test(ColumnsInAnyOrder),
	    cmocka_unit_test(TheEmptyVirtualColumn),
	    cmocka_unit_test(Errors),
	};
	return cmocka_run_group_tests_name("convert", tests, SetUp, TearDown);
}
