// error.cpp - DuckDB's errors <-> struct od_error. The class ("Constraint"), the raw message and the extra information
// cross; the prefix "Constraint Error: " is made by whoever shows it.
#include "base/error.h"

#include "duck/convert.hpp"

#include <cstring>

using namespace duckdb;

namespace openduck {

void ErrorFromDuck(const ErrorData &error, od_error *err) {
	if (error.Type() == ExceptionType::INTERRUPT) {
		od_fail(err, OD_CANCELLED, "The statement was interrupted");
		od_error_set_class(err, "INTERRUPT", nullptr, 0);
		return;
	}
	od_fail(err, OD_SQL, "%s", error.RawMessage().c_str());
	string extra;
	for (auto &pair : error.ExtraInfo()) {
		// Names and values are text without NUL characters, but for what a user wrote into a query.
		extra += pair.first.c_str();
		extra += '\0';
		extra += pair.second.c_str();
		extra += '\0';
	}
	od_error_set_class(err, Exception::ExceptionTypeToString(error.Type()).c_str(), extra.data(), extra.size());
}

static unordered_map<string, string> ExtraInfo(const od_error &err) {
	unordered_map<string, string> result;
	auto at = err.extra, end = err.extra + MinValue<uint32_t>(err.extra_bytes, OD_ERROR_EXTRA_BYTES);
	auto next = [&](string &text) {
		auto stop = static_cast<const char *>(memchr(at, 0, size_t(end - at)));
		if (!stop) {
			return false;
		}
		text.assign(at, stop);
		at = stop + 1;
		return true;
	};
	string name, value;
	while (at < end && next(name) && next(value)) {
		// Positions in the server's text and its stack mean nothing here, and DuckDB trusts them to be numbers.
		if (name != "position" && name.compare(0, 11, "stack_trace") != 0) {
			result[name] = value;
		}
	}
	return result;
}

// ErrorData has no constructor with extra information but that from an exception.
struct ExtraException : public Exception {
	ExtraException(ExceptionType type, const string &message, const unordered_map<string, string> &extra)
	    : Exception(extra, type, message) {
	}
};

static ExceptionType TypeOf(const od_error &err) {
	string name(err.error_class, strnlen(err.error_class, sizeof err.error_class));
	auto type = name.empty() ? ExceptionType::INVALID : Exception::StringToExceptionType(name);
	switch (type) {
	case ExceptionType::INVALID:
		break;
	case ExceptionType::INTERNAL:
	case ExceptionType::FATAL:
		// These would make this process think that its own DuckDB is damaged.
		return ExceptionType::IO;
	default:
		return type;
	}
	switch (err.code) {
	case OD_CANCELLED:
		return ExceptionType::INTERRUPT;
	case OD_NO_MEMORY:
		return ExceptionType::OUT_OF_MEMORY;
	case OD_UNSUPPORTED:
		return ExceptionType::NOT_IMPLEMENTED;
	case OD_INVALID:
	case OD_READ_ONLY:
		return ExceptionType::INVALID_INPUT;
	case OD_UNAUTHENTICATED:
	case OD_FORBIDDEN:
		return ExceptionType::PERMISSION;
	default:
		return ExceptionType::IO;
	}
}

ErrorData ErrorToDuck(const od_error &err) {
	string message(err.message, strnlen(err.message, sizeof err.message));
	auto extra = ExtraInfo(err);
	if (!strncmp(err.error_class, "INTERNAL", sizeof err.error_class) ||
	    !strncmp(err.error_class, "FATAL", sizeof err.error_class)) {
		message = "The server reports: " + string(err.error_class) + " Error: " + message;
	}
	auto type = TypeOf(err);
	if (type == ExceptionType::INTERRUPT) {
		return ErrorData(InterruptException());
	}
	if (extra.empty()) {
		return ErrorData(type, message);
	}
	return ErrorData(ExtraException(type, message, extra));
}

} // namespace openduck
