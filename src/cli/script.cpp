// script.cpp - see script.h. Only parsing happens here, and the folding of literals in an empty in-memory database that
// may not touch files.
#include "cli/script.h"

#include "base/alloc.h"
#include "duck/convert.hpp"
#include "duckdb.hpp"
#include "duckdb/parser/expression/cast_expression.hpp"
#include "duckdb/parser/expression/constant_expression.hpp"
#include "duckdb/parser/expression/function_expression.hpp"
#include "duckdb/parser/parser.hpp"
#include "duckdb/parser/sql_statement.hpp"

#include <cstring>

namespace {

using namespace duckdb; // NOLINT: written in DuckDB's vocabulary

//! The statements' texts; what does not parse is one.
vector<string> Split(const string &text) {
	vector<string> pieces;
	try {
		Parser parser;
		parser.ParseQuery(text);
		for (auto &statement : parser.statements) {
			pieces.push_back(statement->query);
		}
	} catch (std::exception &) {
		return {text};
	}
	return pieces;
}

string Trim(const string &text) {
	static const char *const blanks = " \t\r\n;";
	auto begin = text.find_first_not_of(blanks);
	return begin == string::npos ? string() : text.substr(begin, text.find_last_not_of(blanks) - begin + 1);
}

od_code SplitInto(const string &text, struct od_script *script, struct od_error *err) {
	auto pieces = Split(text);
	string all;
	for (auto &piece : pieces) {
		piece = Trim(piece);
		all += piece;
	}
	script->text = od_strndup(all.data(), all.size());
	script->statements = static_cast<od_script_statement *>(od_calloc(pieces.size() + 1, sizeof(od_script_statement)));
	if (!script->text || !script->statements) {
		od_script_release(script);
		return od_fail(err, OD_NO_MEMORY, "no memory for a script of %zu bytes", text.size());
	}
	auto at = script->text;
	for (auto &piece : pieces) {
		if (!piece.empty()) {
			script->statements[script->count++] = {at, piece.size()};
			at += piece.size();
		}
	}
	return OD_OK;
}

// ---- parameters

bool IsLiteral(const ParsedExpression &expression, unsigned depth = 0) {
	if (depth > 32) {
		return false;
	}
	switch (expression.GetExpressionClass()) {
	case ExpressionClass::CONSTANT:
		return true;
	case ExpressionClass::CAST:
		return IsLiteral(*expression.Cast<CastExpression>().child, depth + 1);
	case ExpressionClass::FUNCTION: {
		auto &function = expression.Cast<FunctionExpression>();
		auto &name = function.function_name;
		bool sign = (name == "-" || name == "+") && function.children.size() == 1;
		if (!sign && name != "list_value" && name != "struct_pack" && name != "map" && name != "row") {
			return false;
		}
		for (auto &child : function.children) {
			if (!IsLiteral(*child, depth + 1)) {
				return false;
			}
		}
		return true;
	}
	default:
		return false;
	}
}

Value ParseValue(Connection &con, const string &text) {
	try {
		auto expressions = Parser::ParseExpressionList(text);
		if (expressions.size() == 1 && IsLiteral(*expressions[0])) {
			if (expressions[0]->GetExpressionClass() == ExpressionClass::CONSTANT &&
			    expressions[0]->Cast<ConstantExpression>().value.IsNull()) {
				return Value(LogicalType::SQLNULL); // a query's column would be INTEGER
			}
			auto result = con.Query("SELECT " + text);
			if (!result->HasError() && result->RowCount() == 1) {
				return result->GetValue(0, 0);
			}
		}
	} catch (std::exception &) { // not SQL: it is text
	}
	return Value(text);
}

//! Splits NAME=VALUE; without a name the parameter's number is its name.
string NameOf(string &text, idx_t number) {
	idx_t end = 0;
	while (end < text.size() && (isalnum(static_cast<unsigned char>(text[end])) || text[end] == '_')) {
		end++;
	}
	if (end == 0 || end == text.size() || text[end] != '=' || isdigit(static_cast<unsigned char>(text[0]))) {
		return to_string(number);
	}
	auto name = text.substr(0, end);
	text = text.substr(end + 1);
	return name;
}

void EncodeParameters(const char *const *values, size_t count, struct od_buf *out) {
	DBConfig config;
	config.SetOptionByName("enable_external_access", Value::BOOLEAN(false));
	DuckDB database(nullptr, &config);
	Connection con(database);
	vector<LogicalType> types;
	vector<string> names;
	vector<Value> row;
	for (size_t i = 0; i < count; i++) {
		string text(values[i]);
		names.push_back(NameOf(text, i + 1));
		row.push_back(ParseValue(con, text));
		types.push_back(row.back().type());
	}
	auto schema = openduck::SchemaMessage(types, names, true);
	DataChunk chunk;
	chunk.Initialize(Allocator::DefaultAllocator(), types);
	for (idx_t i = 0; i < row.size(); i++) {
		chunk.SetValue(i, 0, row[i]);
	}
	chunk.SetCardinality(1);
	openduck::BatchEncoder encoder(types, true);
	if (encoder.Append(chunk) != 1) {
		throw InvalidInputException("the parameters are too large for one message");
	}
	auto batch = encoder.Finish();
	struct od_error err;
	od_code rc = od_buf_append(out, schema.data(), schema.size(), &err);
	for (idx_t i = 0; rc == OD_OK && i < batch->segment_count; i++) {
		rc = od_buf_append(out, batch->segments[i].data, batch->segments[i].bytes, &err);
	}
	od_batch_unref(batch);
	if (rc != OD_OK) {
		throw OutOfMemoryException("parameters: %s", err.message);
	}
}

} // namespace

extern "C" void od_script_release(struct od_script *script) {
	od_free(script->statements);
	od_free(script->text);
	*script = od_script {};
}

extern "C" od_code od_script_split(const char *text, size_t bytes, struct od_script *script, struct od_error *err) {
	*script = od_script {};
	try {
		return SplitInto(string(bytes ? text : "", bytes), script, err);
	} catch (std::bad_alloc &) {
		od_script_release(script);
		return od_fail(err, OD_NO_MEMORY, "no memory for a script of %zu bytes", bytes);
	}
}

extern "C" od_code od_script_parameters(const char *const *values, size_t count, struct od_buf *out,
                                        struct od_error *err) {
	try {
		EncodeParameters(values, count, out);
		return OD_OK;
	} catch (std::exception &problem) {
		struct od_error failure;
		memset(&failure, 0, sizeof failure);
		openduck::ErrorFromDuck(ErrorData(problem), &failure);
		return od_fail(err, OD_INVALID, "parameters: %s", failure.message);
	}
}
