// report.h - what commands print: JSON, times, sizes, and a line of progress on the terminal.
#ifndef OD_CLI_REPORT_H
#define OD_CLI_REPORT_H

#include "base/error.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

// A JSON string with its quotes; NULL: null.
void od_print_json(FILE *file, const char *text);
// Of a check or a rebuild: one line on standard output.
void od_print_problem(bool json, const char *key, const struct od_error *why);
// ISO 8601 in UTC, with microseconds.
#define OD_TIME_BYTES 40u
void od_format_time(uint64_t us, char out[OD_TIME_BYTES]);
// "12.3 MiB"
#define OD_SIZE_BYTES 32u
void od_format_size(uint64_t bytes, char out[OD_SIZE_BYTES]);

// The line of progress on standard error, redrawn five times a second; nothing when that is no terminal.
struct od_progress {
    bool wanted, drawn;
    uint64_t drawn_ms;
};
void od_progress_begin(struct od_progress *progress, bool wanted);
void od_progress_draw(struct od_progress *progress, const char *format, ...) __attribute__((format(printf, 2, 3)));
void od_progress_end(struct od_progress *progress); // also before anything else is printed

#endif
