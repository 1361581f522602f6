// failure.cpp - exceptions to od_error and back, at the border between DuckDB's C++ and our C.
#include "engine/engine_internal.hpp"

#include "duckdb/common/error_data.hpp"

#include <cstdarg>

namespace openduck {

[[noreturn]] void Fail(od_code code, const char *format, ...) {
	EngineError failure;
	char message[OD_ERROR_MESSAGE_BYTES];
	va_list arguments;
	va_start(arguments, format);
	vsnprintf(message, sizeof(message), format, arguments);
	va_end(arguments);
	(void)od_fail(&failure.error, code, "%s", message);
	throw failure;
}

void Check(od_code code, const struct od_error &error) {
	if (code != OD_OK) {
		EngineError failure;
		failure.error = error;
		throw failure;
	}
}

od_code CurrentException(struct od_error *err) noexcept {
	struct od_error unused = {};
	struct od_error *out = err ? err : &unused;
	try {
		throw;
	} catch (const EngineError &failure) {
		*out = failure.error;
	} catch (const std::bad_alloc &) {
		(void)od_fail(out, OD_NO_MEMORY, "out of memory");
	} catch (const std::exception &ex) {
		try {
			ErrorFromDuck(duckdb::ErrorData(ex), out);
		} catch (...) {
			(void)od_fail(out, OD_NO_MEMORY, "out of memory while reporting an error");
		}
	} catch (...) {
		(void)od_fail(out, OD_INTERNAL, "an unknown exception");
	}
	return out->code;
}

} // namespace openduck
