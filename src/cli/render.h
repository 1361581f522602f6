// render.h - a result's batches as text or a file: table, CSV, JSON, JSON lines, Parquet, Arrow.
//
// Values become text by DuckDB itself (an in-process instance reads the batches as a table function), so what is printed
// is what DuckDB would print. Everything but the table streams: nothing of the result is held beyond a few batches.
#ifndef OD_CLI_RENDER_H
#define OD_CLI_RENDER_H

#include "arrow/batch_queue.h"
#include "base/error.h"

OD_BEGIN_C

enum od_format {
    OD_FORMAT_TABLE,
    OD_FORMAT_CSV,
    OD_FORMAT_JSON,       // one array
    OD_FORMAT_JSON_LINES, // one object a line
    OD_FORMAT_PARQUET,
    OD_FORMAT_ARROW, // an Arrow IPC stream
    OD_FORMAT_COUNT
};

// "table", "csv", ...; OD_INVALID names the formats there are.
OD_CHECKED od_code od_format_parse(const char *name, enum od_format *format, struct od_error *err);

struct od_render_options {
    enum od_format format;
    const char *output; // file; NULL: standard output
    const uint8_t *schema; // IPC schema message, openduck-encoded or plain
    size_t schema_bytes;
    uint64_t rows_max; // table: at most this many are fetched; 0: 1000
};

// Gives the next batch (a reference): OD_POP_BATCH, OD_POP_END, or OD_POP_FAILED with err filled. May wait.
typedef enum od_pop (*od_next_batch_fn)(void *context, struct od_batch **batch, struct od_error *err);

// Reads to the end (the table: to rows_max) and writes. Blocking.
OD_CHECKED od_code od_render(const struct od_render_options *options, od_next_batch_fn next, void *context,
                             struct od_error *err);

OD_END_C

#endif
