// literal.cpp - constants as SQL text of exactly their type and value; see expression.hpp.
//
// Not written, and why:
//   types with an alias, ENUMs with a name   the name may mean something else on the server, or nothing
//   VARCHAR with a collation                 collations travel as settings, not as types
//   STRUCT without names                     its type has no text
//   NaN with other bits than 'nan' reads to  text has one NaN
//   JSON, GEOMETRY, VARIANT, aggregate states, pointers
#include "expression.hpp"
#include "text.hpp"

#include <cmath>
#include <cstring>

namespace openduck
{

bool TypeHasText(const LogicalType &type)
{
    if (type.HasAlias()) {
        return false;
    }
    switch (type.id()) {
    case LogicalTypeId::VARCHAR:
        return StringType::GetCollation(type).empty();
    case LogicalTypeId::BOOLEAN:
    case LogicalTypeId::TINYINT:
    case LogicalTypeId::SMALLINT:
    case LogicalTypeId::INTEGER:
    case LogicalTypeId::BIGINT:
    case LogicalTypeId::HUGEINT:
    case LogicalTypeId::UTINYINT:
    case LogicalTypeId::USMALLINT:
    case LogicalTypeId::UINTEGER:
    case LogicalTypeId::UBIGINT:
    case LogicalTypeId::UHUGEINT:
    case LogicalTypeId::FLOAT:
    case LogicalTypeId::DOUBLE:
    case LogicalTypeId::DECIMAL:
    case LogicalTypeId::BLOB:
    case LogicalTypeId::BIT:
    case LogicalTypeId::UUID:
    case LogicalTypeId::DATE:
    case LogicalTypeId::TIME:
    case LogicalTypeId::TIME_NS:
    case LogicalTypeId::TIME_TZ:
    case LogicalTypeId::TIMESTAMP:
    case LogicalTypeId::TIMESTAMP_SEC:
    case LogicalTypeId::TIMESTAMP_MS:
    case LogicalTypeId::TIMESTAMP_NS:
    case LogicalTypeId::TIMESTAMP_TZ:
    case LogicalTypeId::INTERVAL:
    case LogicalTypeId::BIGNUM:
    case LogicalTypeId::ENUM:
        return true;
    case LogicalTypeId::LIST:
        return TypeHasText(ListType::GetChildType(type));
    case LogicalTypeId::ARRAY:
        return TypeHasText(ArrayType::GetChildType(type));
    case LogicalTypeId::MAP:
        return TypeHasText(MapType::KeyType(type)) && TypeHasText(MapType::ValueType(type));
    case LogicalTypeId::UNION:
        for (auto &member : UnionType::CopyMemberTypes(type)) {
            if (!TypeHasText(member.second)) {
                return false;
            }
        }
        return true;
    case LogicalTypeId::STRUCT:
        if (StructType::IsUnnamed(type)) {
            return false;
        }
        for (auto &child : StructType::GetChildTypes(type)) {
            if (!TypeHasText(child.second)) {
                return false;
            }
        }
        return true;
    default:
        return false;
    }
}

string SystemFunction(const string &name)
{
    return "system.main." + QuotedName(name);
}

static string HexBlob(const string &bytes)
{
    static const char digits[] = "0123456789ABCDEF";
    string out = "'";
    for (auto c : bytes) {
        auto byte = static_cast<uint8_t>(c);
        out += "\\x";
        out += digits[byte >> 4];
        out += digits[byte & 15];
    }
    return out + "'::BLOB";
}

//! A list of values of one type, as LIST of that type.
static bool WriteList(const vector<Value> &children, const LogicalType &child_type, string &out)
{
    out += SystemFunction("list_value") + "(";
    for (idx_t i = 0; i < children.size(); i++) {
        out += i ? ", " : "";
        if (!LiteralToSql(children[i], out)) {
            return false;
        }
    }
    out += ")::" + LogicalType::LIST(child_type).ToString();
    return true;
}

static bool WriteStruct(const Value &value, string &out)
{
    auto &fields = StructType::GetChildTypes(value.type());
    auto &children = StructValue::GetChildren(value);
    out += SystemFunction("struct_pack") + "(";
    for (idx_t i = 0; i < children.size(); i++) {
        out += (i ? ", " : "") + QuotedName(fields[i].first) + " := ";
        if (!LiteralToSql(children[i], out)) {
            return false;
        }
    }
    out += ")";
    return true;
}

static bool WriteMap(const Value &value, string &out)
{
    auto &type = value.type();
    vector<Value> keys, values;
    for (auto &entry : MapValue::GetChildren(value)) {
        auto &pair = StructValue::GetChildren(entry);
        keys.push_back(pair[0]);
        values.push_back(pair[1]);
    }
    out += SystemFunction("map") + "(";
    if (!WriteList(keys, MapType::KeyType(type), out)) {
        return false;
    }
    out += ", ";
    return WriteList(values, MapType::ValueType(type), out) && (out += ")", true);
}

//! Interval text would be normalised; the three parts are not.
static void WriteInterval(const interval_t &interval, string &out)
{
    auto plus = SystemFunction("+");
    out += plus + "(" + plus + "(" + SystemFunction("to_months") + "(" + std::to_string(interval.months) + "), " +
           SystemFunction("to_days") + "(" + std::to_string(interval.days) + ")), " +
           SystemFunction("to_microseconds") + "('" + std::to_string(interval.micros) + "'::BIGINT))";
}

template <class FLOATING, class BITS>
static bool IsOtherNan(FLOATING value, BITS standard)
{
    BITS bits;
    memcpy(&bits, &value, sizeof(bits));
    return std::isnan(value) && bits != standard;
}

static bool WriteLiteral(const Value &value, string &out)
{
    auto &type = value.type();
    if (!TypeHasText(type)) {
        return false;
    }
    if (value.IsNull()) {
        out += "NULL::" + type.ToString();
        return true;
    }
    switch (type.id()) {
    case LogicalTypeId::BOOLEAN:
        out += BooleanValue::Get(value) ? "true" : "false";
        return true;
    case LogicalTypeId::VARCHAR:
        out += "(" + TextLiteral(StringValue::Get(value)) + ")";
        return true;
    case LogicalTypeId::ENUM:
        out += TextLiteral(value.ToString()) + "::" + type.ToString();
        return true;
    case LogicalTypeId::BLOB:
        out += HexBlob(StringValue::Get(value));
        return true;
    case LogicalTypeId::FLOAT:
        if (IsOtherNan<float, uint32_t>(FloatValue::Get(value), 0x7fc00000U)) {
            return false;
        }
        break;
    case LogicalTypeId::DOUBLE:
        if (IsOtherNan<double, uint64_t>(DoubleValue::Get(value), 0x7ff8000000000000ULL)) {
            return false;
        }
        break;
    case LogicalTypeId::INTERVAL:
        WriteInterval(IntervalValue::Get(value), out);
        return true;
    case LogicalTypeId::LIST:
        return WriteList(ListValue::GetChildren(value), ListType::GetChildType(type), out);
    case LogicalTypeId::ARRAY:
        if (!WriteList(ArrayValue::GetChildren(value), ArrayType::GetChildType(type), out)) {
            return false;
        }
        out += "::" + type.ToString();
        return true;
    case LogicalTypeId::STRUCT:
        return WriteStruct(value, out);
    case LogicalTypeId::MAP:
        return WriteMap(value, out);
    case LogicalTypeId::UNION:
        out += SystemFunction("union_value") + "(" +
               QuotedName(UnionType::GetMemberName(type, UnionValue::GetTag(value))) + " := ";
        if (!LiteralToSql(UnionValue::GetValue(value), out)) {
            return false;
        }
        out += ")::" + type.ToString();
        return true;
    default:
        break;
    }
    // DuckDB's own text of these types reads back to the same value.
    out += TextLiteral(value.ToString()) + "::" + type.ToString();
    return true;
}

bool LiteralToSql(const Value &value, string &out)
{
    auto before = out.size();
    if (WriteLiteral(value, out)) {
        return true;
    }
    out.resize(before);
    return false;
}

} // namespace openduck
