// render.cpp - see render.h. A file format is DuckDB's COPY over the table function openduck_result(); standard output is
// reached through a pipe, because COPY would open /dev/stdout anew and overwrite what earlier statements wrote there.
#include "cli/render.h"

#include "duck/batch_scan.hpp"
#include "duck/convert.hpp"
#include "duckdb.hpp"
#include "duckdb/catalog/catalog.hpp"
#include "duckdb/common/box_renderer.hpp"
#include "duckdb/function/table_function.hpp"
#include "duckdb/parser/keyword_helper.hpp"
#include "duckdb/parser/parsed_data/create_table_function_info.hpp"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <thread>
#include <unistd.h>

namespace {

using namespace duckdb; // NOLINT: written in DuckDB's vocabulary

constexpr uint64_t TABLE_ROWS_DEFAULT = 1000;

class CallbackSource : public openduck::BatchSource {
public:
	CallbackSource(od_next_batch_fn next, void *context) : next(next), context(context) {
	}
	//! The callback may wait, so it is never empty and the waker is not needed.
	enum od_pop Next(struct od_batch **batch, struct od_waker, struct od_error *err) override {
		return next(context, batch, err);
	}

private:
	od_next_batch_fn next;
	void *context;
};

//! The one result this process renders at a time.
struct ResultInfo : public TableFunctionInfo {
	od_next_batch_fn next = nullptr;
	void *context = nullptr;
	ArrowSchema schema;

	ResultInfo() {
		memset(&schema, 0, sizeof schema);
	}
	~ResultInfo() override {
		if (schema.release) {
			schema.release(&schema);
		}
	}
};

struct ResultBind : public TableFunctionData {
	optional_ptr<ResultInfo> info; // lives as long as the function is registered
};

struct ResultGlobal : public GlobalTableFunctionState {
	unique_ptr<openduck::BatchScanGlobal> scan;
};

struct ResultLocal : public LocalTableFunctionState {
	unique_ptr<openduck::BatchScanGlobal::Local> local;
};

unique_ptr<FunctionData> Bind(ClientContext &context, TableFunctionBindInput &input, vector<LogicalType> &types,
                              vector<string> &names) {
	auto bind = make_uniq<ResultBind>();
	bind->info = &input.info->Cast<ResultInfo>();
	auto &schema = bind->info->schema;
	types = openduck::BatchDecoder(context, schema).Types();
	for (int64_t i = 0; i < schema.n_children; i++) {
		names.emplace_back(schema.children[i]->name ? schema.children[i]->name : "");
	}
	return std::move(bind);
}

unique_ptr<GlobalTableFunctionState> InitGlobal(ClientContext &, TableFunctionInitInput &input) {
	auto &info = *input.bind_data->Cast<ResultBind>().info;
	auto global = make_uniq<ResultGlobal>();
	global->scan = make_uniq<openduck::BatchScanGlobal>(make_uniq<CallbackSource>(info.next, info.context),
	                                                    vector<idx_t>());
	return std::move(global);
}

unique_ptr<LocalTableFunctionState> InitLocal(ExecutionContext &context, TableFunctionInitInput &input,
                                              GlobalTableFunctionState *global) {
	auto local = make_uniq<ResultLocal>();
	local->local = global->Cast<ResultGlobal>().scan->MakeLocal(context.client,
	                                                            input.bind_data->Cast<ResultBind>().info->schema);
	return std::move(local);
}

void Scan(ClientContext &context, TableFunctionInput &input, DataChunk &out) {
	auto &scan = *input.global_state->Cast<ResultGlobal>().scan;
	scan.Scan(context, *input.local_state->Cast<ResultLocal>().local, input, out);
}

void RegisterResult(Connection &con, shared_ptr<ResultInfo> info) {
	TableFunction function("openduck_result", {}, Scan, Bind, InitGlobal, InitLocal);
	function.function_info = std::move(info);
	CreateTableFunctionInfo create(std::move(function));
	create.internal = true;
	con.BeginTransaction();
	Catalog::GetSystemCatalog(*con.context).CreateTableFunction(*con.context, create);
	con.Commit();
}

void Check(QueryResult &result) {
	if (result.HasError()) {
		result.GetErrorObject().Throw();
	}
}

void RenderTable(Connection &con, const od_render_options &options) {
	auto rows_max = options.rows_max ? options.rows_max : TABLE_ROWS_DEFAULT;
	auto result = con.Query("FROM openduck_result() LIMIT " + to_string(rows_max));
	Check(*result);
	BoxRendererConfig config;
	config.max_rows = rows_max;
	config.limit = rows_max;
	config.max_width = isatty(STDOUT_FILENO) ? 0 : NumericCast<idx_t>(1) << 20;
	BoxRenderer renderer(config);
	auto text = renderer.ToString(*con.context, result->names, result->Collection());
	auto file = options.output ? fopen(options.output, "we") : stdout;
	if (!file) {
		throw IOException("cannot write %s: %s", options.output, strerror(errno));
	}
	bool written = fwrite(text.data(), 1, text.size(), file) == text.size() && fflush(file) == 0;
	if (options.output) {
		written = fclose(file) == 0 && written;
	}
	if (!written) {
		throw IOException("cannot write the result: %s", strerror(errno));
	}
}

string CopyOptions(enum od_format format) {
	switch (format) {
	case OD_FORMAT_JSON:
		return "FORMAT json, ARRAY true";
	case OD_FORMAT_JSON_LINES:
		return "FORMAT json, ARRAY false";
	case OD_FORMAT_PARQUET:
		return "FORMAT parquet";
	default:
		return "FORMAT csv, HEADER true";
	}
}

void Copy(Connection &con, enum od_format format, const string &path) {
	auto result = con.Query("COPY (FROM openduck_result()) TO " + KeywordHelper::WriteQuoted(path, '\'') + " (" +
	                        CopyOptions(format) + ", USE_TMP_FILE false)");
	Check(*result);
}

bool WriteAll(int file, const char *data, size_t bytes) {
	while (bytes) {
		auto written = write(file, data, bytes);
		if (written < 0 && errno == EINTR) {
			continue;
		}
		if (written <= 0) {
			return false;
		}
		data += written;
		bytes -= size_t(written);
	}
	return true;
}

void CopyToStandardOutput(Connection &con, enum od_format format) {
	int ends[2];
	if (pipe2(ends, O_CLOEXEC)) {
		throw IOException("cannot make a pipe: %s", strerror(errno));
	}
	int failure = 0;
	std::thread pump([&] {
		char buffer[65536];
		ssize_t got;
		while ((got = read(ends[0], buffer, sizeof buffer)) > 0 || (got < 0 && errno == EINTR)) {
			if (got > 0 && !failure && !WriteAll(STDOUT_FILENO, buffer, size_t(got))) {
				failure = errno; // read on, so that COPY does not hang
			}
		}
	});
	ErrorData error;
	try {
		Copy(con, format, "/dev/fd/" + to_string(ends[1]));
	} catch (std::exception &problem) {
		error = ErrorData(problem);
	}
	close(ends[1]);
	pump.join();
	close(ends[0]);
	if (error.HasError()) {
		error.Throw();
	}
	if (failure) {
		throw IOException("cannot write to standard output: %s", strerror(failure));
	}
}

//! The batches are Arrow messages already.
void RenderArrow(const od_render_options &options, od_next_batch_fn next, void *context) {
	int file = options.output ? open(options.output, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666) : STDOUT_FILENO;
	if (file < 0) {
		throw IOException("cannot write %s: %s", options.output, strerror(errno));
	}
	bool written = WriteAll(file, reinterpret_cast<const char *>(options.schema), options.schema_bytes);
	struct od_error err;
	memset(&err, 0, sizeof err);
	enum od_pop pop = OD_POP_END;
	while (written) {
		struct od_batch *batch = nullptr;
		pop = next(context, &batch, &err);
		if (pop != OD_POP_BATCH) {
			break;
		}
		for (size_t i = 0; i < batch->segment_count && written; i++) {
			auto &segment = batch->segments[i];
			written = WriteAll(file, reinterpret_cast<const char *>(segment.data), segment.bytes);
		}
		od_batch_unref(batch);
	}
	written = written && WriteAll(file, reinterpret_cast<const char *>(od_ipc_end_of_stream), 8);
	auto failure = errno;
	if (options.output && close(file) != 0) {
		written = false;
		failure = errno;
	}
	if (pop == OD_POP_FAILED) {
		openduck::ErrorToDuck(err).Throw();
	}
	if (!written) {
		throw IOException("cannot write the result: %s", strerror(failure));
	}
}

void Render(const od_render_options &options, od_next_batch_fn next, void *context) {
	if (options.format == OD_FORMAT_ARROW) {
		RenderArrow(options, next, context);
		return;
	}
	auto info = make_shared_ptr<ResultInfo>();
	info->next = next;
	info->context = context;
	struct od_error err;
	memset(&err, 0, sizeof err);
	if (od_ipc_decode_schema(options.schema, options.schema_bytes, &info->schema, &err) != OD_OK) {
		openduck::ErrorToDuck(err).Throw();
	}
	DuckDB database(nullptr);
	Connection con(database);
	RegisterResult(con, std::move(info));
	if (options.format == OD_FORMAT_TABLE) {
		RenderTable(con, options);
	} else if (options.output) {
		Copy(con, options.format, options.output);
	} else {
		CopyToStandardOutput(con, options.format);
	}
}

} // namespace

extern "C" od_code od_format_parse(const char *name, enum od_format *format, struct od_error *err) {
	static const char *const names[OD_FORMAT_COUNT] = {"table", "csv", "json", "jsonl", "parquet", "arrow"};
	for (int i = 0; i < OD_FORMAT_COUNT; i++) {
		if (strcmp(name, names[i]) == 0) {
			*format = static_cast<enum od_format>(i);
			return OD_OK;
		}
	}
	return od_fail(err, OD_INVALID, "no format \"%s\"; there are table, csv, json, jsonl, parquet, arrow", name);
}

extern "C" od_code od_render(const struct od_render_options *options, od_next_batch_fn next, void *context,
                             struct od_error *err) {
	try {
		Render(*options, next, context);
		return OD_OK;
	} catch (std::exception &problem) {
		struct od_error failure;
		memset(&failure, 0, sizeof failure);
		openduck::ErrorFromDuck(ErrorData(problem), &failure);
		if (err) {
			*err = failure;
		}
		return failure.code;
	}
}
