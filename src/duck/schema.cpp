// schema.cpp - DuckDB types <-> Arrow schema with "openduck.*" metadata (convert.hpp).
//
// Reading a schema is reading bytes of a peer: a type is rebuilt from its metadata, then the Arrow formats that this
// type travels as are computed and compared with what the schema says, node by node. What passes is exactly what
// SchemaFromTypes could have written, so encoder, decoder and schema agree on the buffers by construction.
#include "duck/convert.hpp"

#include "base/limits.h"
#include "duck/check.hpp"
#include "duck/travel.hpp"
#include "duckdb/common/arrow/arrow.hpp"
#include "duckdb/common/extra_type_info.hpp"
#include "duckdb/common/types/geometry_crs.hpp"

#include <cstring>

using namespace duckdb;

namespace openduck {

static const char KEY_TYPE[] = "openduck.type";
static const char KEY_ALIAS[] = "openduck.alias";
static const char KEY_ENUM[] = "openduck.enum";
static const char KEY_COLLATION[] = "openduck.collation";
static const char KEY_CRS[] = "openduck.crs";
static const char KEY_ENCODING[] = "openduck.encoding";
static const char ENCODING[] = "1";

typedef vector<std::pair<string, string>> Metadata;

// ---- Arrow's metadata: int32 count, then for each pair int32 length and bytes of key and value.

static void AppendInt(string &out, size_t value) {
	int32_t number = NumericCast<int32_t>(value);
	out.append(reinterpret_cast<const char *>(&number), sizeof number);
}

static string WriteMetadata(const Metadata &pairs) {
	string out;
	if (pairs.empty()) {
		return out;
	}
	AppendInt(out, pairs.size());
	for (auto &pair : pairs) {
		AppendInt(out, pair.first.size());
		out += pair.first;
		AppendInt(out, pair.second.size());
		out += pair.second;
	}
	return out;
}

// The bytes come from od_ipc_decode_schema or from another Arrow implementation in this process, which made them
// from lengths it had checked; lengths below zero are refused all the same.
static Metadata ReadMetadata(const char *bytes) {
	Metadata pairs;
	if (!bytes) {
		return pairs;
	}
	auto read = [&]() {
		int32_t number;
		memcpy(&number, bytes, sizeof number);
		bytes += sizeof number;
		if (number < 0) {
			throw InvalidInputException("The Arrow schema's metadata has a negative length");
		}
		return number;
	};
	auto count = read();
	for (int32_t i = 0; i < count; i++) {
		auto key_bytes = read();
		string key(bytes, idx_t(key_bytes));
		bytes += key_bytes;
		auto value_bytes = read();
		pairs.emplace_back(std::move(key), string(bytes, idx_t(value_bytes)));
		bytes += value_bytes;
	}
	return pairs;
}

static const string *Find(const Metadata &pairs, const char *key) {
	for (auto &pair : pairs) {
		if (pair.first == key) {
			return &pair.second;
		}
	}
	return nullptr;
}

// ---- writing

// Everything an ArrowSchema node points to.
struct SchemaNode {
	string format, name, metadata;
	vector<ArrowSchema> children;
	vector<ArrowSchema *> pointers;
};

static void ReleaseSchema(ArrowSchema *schema) {
	auto node = static_cast<SchemaNode *>(schema->private_data);
	for (auto &child : node->children) {
		if (child.release) {
			child.release(&child);
		}
	}
	schema->release = nullptr;
	delete node;
}

static void FillSchema(ArrowSchema &schema, unique_ptr<SchemaNode> node, bool nullable) {
	memset(&schema, 0, sizeof schema);
	schema.format = node->format.c_str();
	schema.name = node->name.c_str();
	schema.metadata = node->metadata.empty() ? nullptr : node->metadata.data();
	schema.flags = nullable ? ARROW_FLAG_NULLABLE : 0;
	for (auto &child : node->children) {
		node->pointers.push_back(&child);
	}
	schema.n_children = int64_t(node->children.size());
	schema.children = node->pointers.empty() ? nullptr : node->pointers.data();
	schema.private_data = node.release();
	schema.release = ReleaseSchema;
}

// Children that exist when an exception passes must be released: they are owned by a node that is not yet owned.
struct NodeGuard {
	unique_ptr<SchemaNode> node = make_uniq<SchemaNode>();
	~NodeGuard() {
		if (node) {
			for (auto &child : node->children) {
				if (child.release) {
					child.release(&child);
				}
			}
		}
	}
};

//! Metadata cannot hold NUL characters (its encoder stops there): "\0" stands for one, and "\\" for a backslash.
static string Escaped(const string &text) {
	string out;
	for (auto c : text) {
		if (c == '\0' || c == '\\') {
			out += '\\';
		}
		out += c == '\0' ? '0' : c;
	}
	return out;
}

static string Unescaped(const string &text) {
	string out;
	for (idx_t i = 0; i < text.size(); i++) {
		bool escape = text[i] == '\\' && ++i < text.size();
		out += escape && text[i] == '0' ? '\0' : i < text.size() ? text[i] : '\\';
	}
	return out;
}

static string WriteEnum(const LogicalType &type) {
	auto &values = EnumType::GetValuesInsertOrder(type);
	auto count = EnumType::GetSize(type);
	auto strings = FlatVector::GetData<string_t>(values);
	string out;
	for (idx_t i = 0; i < count; i++) {
		auto value = Escaped(strings[i].GetString());
		out += to_string(value.size()) + ":" + value + ",";
	}
	return out;
}

static Metadata TypeMetadata(const Travel &travel, bool exact) {
	auto &type = travel.type;
	Metadata pairs;
	if (exact) {
		pairs.emplace_back(KEY_TYPE, TypeIdName(type.id()));
		if (type.HasAlias()) {
			pairs.emplace_back(KEY_ALIAS, type.GetAlias());
		}
		if (type.id() == LogicalTypeId::ENUM) {
			pairs.emplace_back(KEY_ENUM, WriteEnum(type));
		}
		if (type.id() == LogicalTypeId::VARCHAR && !StringType::GetCollation(type).empty()) {
			pairs.emplace_back(KEY_COLLATION, StringType::GetCollation(type));
		}
		if (type.id() == LogicalTypeId::GEOMETRY && GeoType::HasCRS(type)) {
			pairs.emplace_back(KEY_CRS, GeoType::GetCRS(type).GetDefinition());
		}
	}
	if (!travel.extension.empty()) {
		pairs.emplace_back("ARROW:extension:name", travel.extension);
		pairs.emplace_back("ARROW:extension:metadata", travel.extension_metadata);
	}
	return pairs;
}

static void WriteField(const Travel &travel, const string &name, bool exact, bool nullable, ArrowSchema &out) {
	if (name.find('\0') != string::npos) {
		throw NotImplementedException("The name of a column or field has a NUL character, which cannot be sent: \"%s\"",
		                              Escaped(name));
	}
	NodeGuard guard;
	auto &node = *guard.node;
	node.format = travel.format;
	node.name = name;
	node.metadata = WriteMetadata(TypeMetadata(travel, exact));
	node.children.resize(travel.children.size());
	bool is_map = travel.type.id() == LogicalTypeId::MAP;
	for (idx_t i = 0; i < travel.children.size(); i++) {
		WriteField(travel.children[i], travel.names[i], exact, !is_map, node.children[i]);
	}
	if (is_map) {
		node.children[0].children[0]->flags = 0; // keys are never NULL
	}
	FillSchema(out, std::move(guard.node), nullable);
}

void SchemaFromTypes(const vector<LogicalType> &types, const vector<string> &names, bool exact, ArrowSchema *out) {
	if (types.size() != names.size()) {
		throw InternalException("SchemaFromTypes: %llu types and %llu names", (unsigned long long)types.size(),
		                        (unsigned long long)names.size());
	}
	NodeGuard guard;
	auto &node = *guard.node;
	node.format = "+s";
	if (exact) {
		node.metadata = WriteMetadata({{KEY_ENCODING, ENCODING}});
	}
	node.children.resize(types.size());
	for (idx_t i = 0; i < types.size(); i++) {
		WriteField(TravelOf(types[i], exact, names[i]), names[i], exact, true, node.children[i]);
	}
	FillSchema(*out, std::move(guard.node), false);
}

string SchemaMessage(const vector<LogicalType> &types, const vector<string> &names, bool exact) {
	ArrowSchema schema;
	SchemaFromTypes(types, names, exact, &schema);
	od_buf message;
	od_buf_init(&message, OD_MESSAGE_BYTES_MAX);
	od_error err = {};
	auto rc = od_ipc_encode_schema(&schema, &message, &err);
	schema.release(&schema);
	if (rc != OD_OK) {
		od_buf_release(&message);
		ErrorToDuck(err).Throw();
	}
	string result(reinterpret_cast<const char *>(message.data), message.bytes);
	od_buf_release(&message);
	return result;
}

// ---- reading

bool SchemaIsExact(const ArrowSchema &schema) {
	auto pairs = ReadMetadata(schema.metadata);
	auto encoding = Find(pairs, KEY_ENCODING);
	return encoding && *encoding == ENCODING;
}

static void WantUtf8(const string &text, const char *what) {
	if (!IsUtf8(reinterpret_cast<const uint8_t *>(text.data()), text.size())) {
		throw InvalidInputException("The server's schema has a %s that is not UTF-8", what);
	}
}

static idx_t ReadNumber(const string &text, idx_t &at, idx_t largest, const char *what) {
	idx_t number = 0, begin = at;
	while (at < text.size() && text[at] >= '0' && text[at] <= '9' && number <= largest) {
		number = number * 10 + idx_t(text[at++] - '0');
	}
	if (at == begin || number > largest) {
		throw InvalidInputException("The server's schema has a wrong %s", what);
	}
	return number;
}

static LogicalType ReadEnum(const string &text) {
	vector<string> values;
	for (idx_t at = 0; at < text.size();) {
		auto size = ReadNumber(text, at, text.size(), "ENUM value");
		if (at >= text.size() || text[at] != ':' || size >= text.size() - at - 1 || text[at + 1 + size] != ',') {
			throw InvalidInputException("The server's schema has a wrong ENUM value");
		}
		values.push_back(Unescaped(text.substr(at + 1, size)));
		WantUtf8(values.back(), "ENUM value");
		at += size + 2;
	}
	Vector ordered(LogicalType::VARCHAR, MaxValue<idx_t>(values.size(), 1));
	auto data = FlatVector::GetData<string_t>(ordered);
	for (idx_t i = 0; i < values.size(); i++) {
		data[i] = StringVector::AddStringOrBlob(ordered, values[i]);
	}
	return LogicalType::ENUM(ordered, values.size());
}

static LogicalType ReadType(const ArrowSchema &schema, idx_t depth);

static LogicalType ReadChild(const ArrowSchema &schema, int64_t index, idx_t depth) {
	if (index >= schema.n_children) {
		throw InvalidInputException("The server's schema has a nested field without its children");
	}
	return ReadType(*schema.children[index], depth + 1);
}

static child_list_t<LogicalType> ReadMembers(const ArrowSchema &schema, int64_t first, idx_t depth) {
	child_list_t<LogicalType> members;
	for (int64_t i = first; i < schema.n_children; i++) {
		string name = schema.children[i]->name ? schema.children[i]->name : "";
		WantUtf8(name, "field name");
		members.emplace_back(std::move(name), ReadChild(schema, i, depth));
	}
	if (members.empty()) {
		throw InvalidInputException("The server's schema has a nested field without its children");
	}
	return members;
}

static LogicalType ReadBareType(const ArrowSchema &schema, LogicalTypeId id, const Metadata &pairs, idx_t depth) {
	string format = schema.format ? schema.format : "";
	switch (id) {
	case LogicalTypeId::DECIMAL: {
		idx_t at = 2;
		auto width = ReadNumber(format, at, DecimalType::MaxWidth(), "DECIMAL width");
		auto scale = ReadNumber(format, ++at, width, "DECIMAL scale");
		if (width == 0) {
			throw InvalidInputException("The server's schema has a wrong DECIMAL width");
		}
		return LogicalType::DECIMAL(uint8_t(width), uint8_t(scale));
	}
	case LogicalTypeId::VARCHAR: {
		auto collation = Find(pairs, KEY_COLLATION);
		if (collation) {
			WantUtf8(*collation, "collation");
			return LogicalType::VARCHAR_COLLATION(*collation);
		}
		return LogicalType::VARCHAR;
	}
	case LogicalTypeId::GEOMETRY: {
		auto crs = Find(pairs, KEY_CRS);
		if (crs) {
			WantUtf8(*crs, "coordinate system");
			return LogicalType::GEOMETRY(*crs);
		}
		return LogicalType::GEOMETRY();
	}
	case LogicalTypeId::ENUM: {
		auto values = Find(pairs, KEY_ENUM);
		if (!values) {
			throw InvalidInputException("The server's schema has an ENUM without its values");
		}
		return ReadEnum(*values);
	}
	case LogicalTypeId::LIST:
		return LogicalType::LIST(ReadChild(schema, 0, depth));
	case LogicalTypeId::ARRAY: {
		idx_t at = 3;
		auto size = ReadNumber(format, at, ArrayType::MAX_ARRAY_SIZE, "ARRAY size");
		if (size == 0) {
			throw InvalidInputException("The server's schema has a wrong ARRAY size");
		}
		return LogicalType::ARRAY(ReadChild(schema, 0, depth), size);
	}
	case LogicalTypeId::MAP: {
		if (schema.n_children != 1) {
			throw InvalidInputException("The server's schema has a MAP without its entries");
		}
		auto &entries = *schema.children[0];
		auto key = ReadChild(entries, 0, depth + 1);
		return LogicalType::MAP(std::move(key), ReadChild(entries, 1, depth + 1));
	}
	case LogicalTypeId::STRUCT:
		return LogicalType::STRUCT(ReadMembers(schema, 0, depth));
	case LogicalTypeId::UNION: {
		auto members = ReadMembers(schema, 1, depth);
		if (members.size() > UnionType::MAX_UNION_MEMBERS) {
			throw InvalidInputException("The server's schema has a UNION of too many members");
		}
		return LogicalType::UNION(std::move(members));
	}
	case LogicalTypeId::VARIANT:
		return LogicalType::VARIANT();
	default:
		return LogicalType(id);
	}
}

static LogicalType ReadType(const ArrowSchema &schema, idx_t depth) {
	if (depth > OD_NESTING_MAX + 2) {
		throw InvalidInputException("The server's schema is nested too deeply");
	}
	auto pairs = ReadMetadata(schema.metadata);
	auto name = Find(pairs, KEY_TYPE);
	auto id = name ? TypeIdFromName(*name) : LogicalTypeId::INVALID;
	if (id == LogicalTypeId::INVALID) {
		throw InvalidInputException("The server's schema names the type \"%s\", which this version does not know",
		                            name ? StringUtil::Replace(*name, string("\0", 1), " ") : string());
	}
	auto type = ReadBareType(schema, id, pairs, depth);
	auto alias = Find(pairs, KEY_ALIAS);
	if (alias && !alias->empty()) {
		WantUtf8(*alias, "type name");
		type.SetAlias(*alias);
	}
	return type;
}

static void WantShape(const ArrowSchema &schema, const Travel &travel, const string &column) {
	bool same = schema.format && travel.format == schema.format &&
	            schema.n_children == int64_t(travel.children.size()) && !schema.dictionary;
	if (!same) {
		throw InvalidInputException("The server's schema gives column \"%s\" the Arrow format \"%s\", but %s travels "
		                            "as \"%s\"",
		                            column, schema.format ? schema.format : "", travel.type.ToString(),
		                            travel.format);
	}
	for (idx_t i = 0; i < travel.children.size(); i++) {
		WantShape(*schema.children[i], travel.children[i], column);
	}
}

void TypesFromSchema(const ArrowSchema &schema, vector<LogicalType> &types, vector<string> &names) {
	types.clear();
	names.clear();
	if (!schema.format || strcmp(schema.format, "+s") != 0 || uint64_t(schema.n_children) > OD_COLUMNS_MAX) {
		throw InvalidInputException("The server's schema is not a list of at most %llu columns",
		                            (unsigned long long)OD_COLUMNS_MAX);
	}
	for (int64_t i = 0; i < schema.n_children; i++) {
		auto &field = *schema.children[i];
		string name = field.name ? field.name : "";
		WantUtf8(name, "column name");
		auto type = ReadType(field, 1);
		WantShape(field, TravelOf(type, true, name), name);
		types.push_back(std::move(type));
		names.push_back(std::move(name));
	}
}

} // namespace openduck
