// script.h - SQL text as a person types it: several statements, and parameter values. DuckDB's own parser reads both.
#ifndef OD_CLI_SCRIPT_H
#define OD_CLI_SCRIPT_H

#include "base/buf.h"
#include "base/error.h"

OD_BEGIN_C

struct od_script_statement {
    const char *text; // inside the script's own copy; not terminated
    size_t bytes;
};

struct od_script {
    struct od_script_statement *statements;
    size_t count;
    char *text;
};

// Text that does not parse is one statement: the server says what is wrong with it.
OD_CHECKED od_code od_script_split(const char *text, size_t bytes, struct od_script *script, struct od_error *err);
void od_script_release(struct od_script *script);

// VALUE or NAME=VALUE: a value that is an SQL literal (42, 'text', DATE '2026-01-31', [1, 2], NULL, ...) has its type,
// anything else is text. Appends the two Arrow messages a request wants.
OD_CHECKED od_code od_script_parameters(const char *const *values, size_t count, struct od_buf *out,
                                        struct od_error *err);

OD_END_C

#endif
