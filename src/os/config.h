// config.h - settings of a program from one table: flags, environment, file, defaults.
//
// Precedence: flag > environment > file > default. A setting named "memory-limit" is the flag --memory-limit VALUE or
// --memory-limit=VALUE, the environment variable OPENDUCK_MEMORY_LIMIT (unset and empty mean the same), and in the
// file the key memory-limit or memory_limit, before any section or in the section of the program. The file is named by
// --config FILE or OPENDUCK_CONFIG. A boolean flag needs no value; --no-NAME turns it off. `--` ends the flags.
//
// Values: integers; bytes with an optional K, M, G or T (powers of 1024; "MB" and "MiB" mean "M"); durations in
// milliseconds or with ms, s, m, h, d; booleans true/false, yes/no, on/off, 1/0.
// Errors (OD_INVALID) say where the value came from, and for an unknown name which known one is nearest.
#ifndef OD_OS_CONFIG_H
#define OD_OS_CONFIG_H

#include "base/buf.h"
#include "base/cdecl.h"
#include "base/error.h"

OD_BEGIN_C

enum od_config_type {
    OD_CONFIG_TEXT,     // const char *; NULL when there is no default
    OD_CONFIG_INTEGER,  // uint64_t
    OD_CONFIG_BYTES,    // uint64_t
    OD_CONFIG_DURATION, // uint64_t, milliseconds
    OD_CONFIG_BOOL,     // bool
};

// One setting. `offset` is where its value goes in the struct that od_config_read fills.
struct od_config_field {
    const char *name;
    enum od_config_type type;
    size_t offset;
    const char *default_text; // NULL: NULL, 0, false
    const char *value_name;   // for the help text: "FILE", "HOST:PORT"
    const char *help;         // one sentence
    uint64_t minimum;         // numbers only
    uint64_t maximum;         // 0: no ceiling
};

struct od_config_program {
    const char *name;     // "openduck serve"
    const char *section;  // of the file: "server"; NULL: this program reads no file
    const char *summary;  // one or two sentences for the help text
    const char *operands; // "ENDPOINT"; for the usage line; NULL: none
    size_t operands_max;
    const struct od_config_field *fields;
    size_t field_count;
};

struct od_config {
    bool help_wanted;            // -h or --help: nothing else was read
    const char *const *operands; // point into argv
    size_t operand_count;
    void *texts; // private
};

// argv[0] is skipped. `values` is filled from the table; its texts live until od_config_release.
OD_CHECKED od_code od_config_read(const struct od_config_program *program, int argc, const char *const *argv,
                                  void *values, struct od_config *config, struct od_error *err);
void od_config_release(struct od_config *config);
// Appends usage and one entry a setting, with default and environment variable.
OD_CHECKED od_code od_config_help(const struct od_config_program *program, struct od_buf *out, struct od_error *err);

OD_END_C

#endif
