// engine_support.cpp - see engine_support.h. Decodes with the project's own decoder in an instance of DuckDB of its own.
#include "engine_support.h"

#include "duckdb.hpp"

#include "arrow/ipc.h"
#include "duck/convert.hpp"

#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <sys/stat.h>
#include <unistd.h>

namespace {

void Require(bool ok, const char *what, const char *why) {
	if (!ok) {
		fprintf(stderr, "test support: %s: %s\n", what, why);
		abort();
	}
}

//! Decodes results; apart from the engines under test.
struct Decoding {
	duckdb::DuckDB db{nullptr};
	duckdb::Connection connection{db};
};

Decoding &Other() {
	static auto other = std::make_unique<Decoding>();
	return *other;
}

//! The receiver's form of a batch.
struct od_batch *Received(const struct od_batch *batch) {
	std::string bytes;
	for (size_t i = 0; i < batch->segment_count; i++) {
		bytes.append(reinterpret_cast<const char *>(batch->segments[i].data), batch->segments[i].bytes);
	}
	struct od_error err = {};
	size_t body = 0;
	uint64_t rows = 0;
	Require(od_ipc_check(reinterpret_cast<const uint8_t *>(bytes.data()), bytes.size(), OD_IPC_BATCH, &body, &rows,
	                     &err) == OD_OK,
	        "batch", err.message);
	Require(rows == batch->rows, "batch", "row count differs from its message");
	struct od_message_buffer buffer;
	Require(od_message_buffer_get(bytes.size(), body, &buffer, &err) == OD_OK, "buffer", err.message);
	memcpy(buffer.data, bytes.data(), bytes.size());
	auto received = od_batch_from_buffer(&buffer, rows);
	Require(received, "batch", "no memory");
	return received;
}

std::string ErrorText(const struct od_error &err) {
	return std::string(od_code_name(err.code)) + " " + err.error_class + ": " + err.message;
}

void Print(std::string &text, openduck::BatchDecoder &decoder, struct od_batch *batch) {
	auto received = Received(batch);
	decoder.Load(received);
	while (decoder.Remaining() > 0) {
		duckdb::DataChunk chunk;
		chunk.Initialize(duckdb::Allocator::DefaultAllocator(), decoder.Types());
		decoder.Read(chunk);
		for (duckdb::idx_t row = 0; row < chunk.size(); row++) {
			for (duckdb::idx_t column = 0; column < chunk.ColumnCount(); column++) {
				text += (column ? "|" : "") + chunk.GetValue(column, row).ToString();
			}
			text += "\n";
		}
	}
	od_batch_unref(received);
}

std::string Collect(struct od_result *result) {
	std::string text;
	std::unique_ptr<openduck::BatchDecoder> decoder;
	struct ArrowSchema schema = {};
	for (;;) {
		struct od_batch *batch = nullptr;
		struct od_error err = {};
		auto pop = od_result_wait(result, 100, &batch, &err);
		if (pop == OD_POP_EMPTY) {
			if (od_result_needs_pump(result)) {
				od_result_pump(result);
			}
			continue;
		}
		if (pop == OD_POP_FAILED) {
			text = ErrorText(err);
			break;
		}
		if (pop == OD_POP_END) {
			break;
		}
		if (!decoder) {
			struct od_result_info info;
			Require(od_result_ready(result, &info), "result", "a batch before the schema");
			Require(od_ipc_decode_schema(info.schema, info.schema_bytes, &schema, &err) == OD_OK, "schema",
			        err.message);
			decoder = std::make_unique<openduck::BatchDecoder>(*Other().connection.context, schema);
		}
		Print(text, *decoder, batch);
		od_batch_unref(batch);
	}
	if (schema.release) {
		schema.release(&schema);
	}
	if (!text.empty() && text.back() == '\n') {
		text.pop_back();
	}
	return text;
}

void *RunThread(void *argument) {
	auto &running = *static_cast<struct od_running *>(argument);
	running.rc = od_connection_run(running.connection, &running.statement, running.result, &running.err);
	return nullptr;
}

void Open(struct od_fixture *fixture, const struct od_engine_options *options) {
	struct od_engine_options all = {};
	if (options) {
		all = *options;
	}
	if (!all.name) {
		all.name = "shop";
	}
	if (!all.threads) {
		all.threads = 2;
	}
	all.path = fixture->path;
	all.temp_directory = fixture->temp;
	all.budget = fixture->budget;
	struct od_error err = {};
	Require(od_engine_open(&all, &fixture->engine, &err) == OD_OK, "open", err.message);
	Require(od_connection_open(fixture->engine, &fixture->connection, &err) == OD_OK, "connection", err.message);
}

} // namespace

void od_fixture_open(struct od_fixture *fixture, const struct od_engine_options *options) {
	(void)Other(); // made once: sanitizers then see no leak per test
	memset(fixture, 0, sizeof(*fixture));
	snprintf(fixture->directory, sizeof(fixture->directory), "/tmp/od-engine-XXXXXX");
	Require(mkdtemp(fixture->directory), "mkdtemp", fixture->directory);
	snprintf(fixture->path, sizeof(fixture->path), "%s/shop.duckdb", fixture->directory);
	snprintf(fixture->temp, sizeof(fixture->temp), "%s/temp", fixture->directory);
	fixture->budget = od_budget_new(512ull << 20, 2ull << 20);
	Open(fixture, options);
}

void od_fixture_reopen(struct od_fixture *fixture, const struct od_engine_options *options) {
	od_connection_close(fixture->connection);
	od_engine_close(fixture->engine);
	Open(fixture, options);
}

void od_fixture_close(struct od_fixture *fixture) {
	od_connection_close(fixture->connection);
	od_engine_close(fixture->engine);
	Require(od_budget_used(fixture->budget) == 0, "budget", "bytes are still counted at the end");
	od_budget_free(fixture->budget);
	auto command = std::string("rm -rf ") + fixture->directory;
	Require(system(command.c_str()) == 0, "rm", fixture->directory);
}

void od_running_start(struct od_running *running, struct od_fixture *fixture, struct od_connection *connection,
                      const struct od_statement *statement) {
	memset(running, 0, sizeof(*running));
	running->connection = connection;
	running->statement = *statement;
	struct od_error err = {};
	Require(od_result_new(fixture->budget, {nullptr, nullptr}, &running->result, &err) == OD_OK, "result", err.message);
	Require(pthread_create(&running->thread, nullptr, RunThread, running) == 0, "thread", "pthread_create");
}

void od_running_join(struct od_running *running) {
	pthread_join(running->thread, nullptr);
	od_result_unref(running->result);
}

od_code od_run_outcome(struct od_fixture *fixture, struct od_connection *connection,
                       const struct od_statement *statement, char **text_out) {
	struct od_running running;
	od_running_start(&running, fixture, connection, statement);
	auto text = Collect(running.result);
	od_running_join(&running);
	if (running.rc != OD_OK) {
		Require(text == ErrorText(running.err), "outcome and result differ", text.c_str());
	}
	*text_out = strdup(text.c_str());
	return running.rc;
}

char *od_run_text(struct od_fixture *fixture, struct od_connection *connection, const struct od_statement *statement) {
	char *text;
	(void)od_run_outcome(fixture, connection, statement, &text);
	return text;
}

char *od_sql_text(struct od_fixture *fixture, struct od_connection *connection, const char *sql) {
	struct od_statement statement = {};
	statement.sql = sql;
	statement.sql_bytes = strlen(sql);
	statement.exact_types = true;
	return od_run_text(fixture, connection, &statement);
}

enum od_pop od_drain(struct od_result *result, uint64_t *rows, uint64_t *batches, struct od_error *err) {
	for (;;) {
		struct od_batch *batch = nullptr;
		auto pop = od_result_wait(result, 100, &batch, err);
		if (pop == OD_POP_EMPTY) {
			if (od_result_needs_pump(result)) {
				od_result_pump(result);
			}
			continue;
		}
		if (pop != OD_POP_BATCH) {
			return pop;
		}
		*rows += batch->rows;
		*batches += 1;
		od_batch_unref(batch);
	}
}

void od_make_parameters(const char *expressions, uint8_t **bytes, size_t *count) {
	struct od_sample sample;
	od_sample_make(&sample, (std::string("SELECT ") + expressions).c_str(), 1);
	Require(sample.batch_count == 1, "parameters", "not one batch");
	auto batch = sample.batches[0];
	*count = sample.schema_bytes + batch->bytes;
	*bytes = static_cast<uint8_t *>(malloc(*count));
	memcpy(*bytes, sample.schema, sample.schema_bytes);
	memcpy(*bytes + sample.schema_bytes, batch->segments[0].data, batch->bytes);
	od_sample_release(&sample);
}

void od_sample_make(struct od_sample *sample, const char *sql, size_t rows_per_batch) {
	memset(sample, 0, sizeof(*sample));
	auto result = Other().connection.Query(sql);
	Require(!result->HasError(), "sample", result->GetError().c_str());
	auto names = result->names;
	for (auto &name : names) {
		if (name.find('(') != std::string::npos || name.find('\'') != std::string::npos) {
			name = ""; // made from the expression
		}
	}
	auto schema = openduck::SchemaMessage(result->types, names, true);
	sample->schema_bytes = schema.size();
	sample->schema = static_cast<uint8_t *>(malloc(schema.size()));
	memcpy(sample->schema, schema.data(), schema.size());
	openduck::BatchEncoder encoder(result->types, true);
	auto flush = [&] {
		if (encoder.Rows() == 0) {
			return;
		}
		Require(sample->batch_count < 64, "sample", "too many batches");
		auto batch = encoder.Finish();
		sample->rows += batch->rows;
		sample->batches[sample->batch_count++] = Received(batch);
		od_batch_unref(batch);
	};
	while (auto chunk = result->Fetch()) {
		for (duckdb::idx_t at = 0; at < chunk->size(); at += rows_per_batch) {
			auto count = std::min<duckdb::idx_t>(rows_per_batch, chunk->size() - at);
			duckdb::SelectionVector rows(at, count);
			duckdb::DataChunk piece;
			piece.InitializeEmpty(result->types);
			piece.Slice(*chunk, rows, count);
			Require(encoder.Append(piece) == count, "sample", "a batch is too large");
			if (encoder.Rows() >= rows_per_batch) {
				flush();
			}
		}
	}
	flush();
}

void od_sample_release(struct od_sample *sample) {
	for (size_t i = 0; i < sample->batch_count; i++) {
		od_batch_unref(sample->batches[i]);
	}
	free(sample->schema);
}
