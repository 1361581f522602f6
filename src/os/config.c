// config.c - reading the settings of a program; see config.h for the rules.
//
// Sources are applied from the weakest to the strongest, so the strongest simply comes last. Flags are looked at
// twice: first for --help and --config alone, because the file they name is weaker than the other flags.
#include "os/config.h"

#include "base/alloc.h"
#include "os/config_value.h"
#include "os/file.h"

#include <ctype.h>
#include <ini.h>
#include <stdio.h>
#include <string.h>

#define FILE_BYTES_MAX ((size_t)1024 * 1024)
#define FILE_LINE_MAX 190u // inih cuts longer lines without a word
#define NAME_BYTES 64u

// Copies of the texts handed out, in one list.
struct text {
    struct text *next;
    char bytes[];
};

struct reader {
    const struct od_config_program *program;
    void *values;
    struct od_config *config;
    bool *seen_in_file; // one a field
    struct od_error *err;
    od_code rc; // of the ini handler
};

static const struct od_config_field *find_field(const struct od_config_program *program, const char *name)
{
    for (size_t i = 0; i < program->field_count; i++)
        if (strcmp(program->fields[i].name, name) == 0)
            return &program->fields[i];
    return NULL;
}

static od_code fail_unknown(const struct od_config_program *program, const char *source, const char *prefix,
                            const char *name, struct od_error *err)
{
    const char *nearest = od_config_nearest(program->fields, program->field_count, name);
    if (nearest)
        return od_fail(err, OD_INVALID, "%s is unknown; did you mean %s%s?", source, prefix, nearest);
    return od_fail(err, OD_INVALID, "%s is unknown; %s --help lists what there is", source, program->name);
}

static od_code store(struct reader *reader, const struct od_config_field *field, const char *source, const char *text)
{
    void *place = (char *)reader->values + field->offset;
    uint64_t number;
    od_code rc = od_config_value_parse(field, source, text, &number, reader->err);
    if (rc != OD_OK)
        return rc;
    if (field->type == OD_CONFIG_BOOL) {
        *(bool *)place = number;
    } else if (field->type != OD_CONFIG_TEXT) {
        *(uint64_t *)place = number;
    } else {
        size_t bytes = strlen(text) + 1;
        struct text *copy = od_alloc(sizeof *copy + bytes);
        if (!copy)
            return od_fail(reader->err, OD_NO_MEMORY, "out of memory for the setting %s", field->name);
        memcpy(copy->bytes, text, bytes);
        copy->next = reader->config->texts;
        reader->config->texts = copy;
        *(const char **)place = copy->bytes;
    }
    return OD_OK;
}

// ---- defaults and environment

static od_code read_defaults(struct reader *reader)
{
    od_code rc = OD_OK;
    for (size_t i = 0; i < reader->program->field_count; i++) {
        const struct od_config_field *field = &reader->program->fields[i];
        void *place = (char *)reader->values + field->offset;
        if (field->default_text)
            OD_TRY(store(reader, field, field->name, field->default_text));
        else if (field->type == OD_CONFIG_TEXT)
            *(const char **)place = NULL;
        else if (field->type == OD_CONFIG_BOOL)
            *(bool *)place = false;
        else
            *(uint64_t *)place = 0;
    }
out:
    return rc;
}

static void environment_name(const char *name, char out[NAME_BYTES])
{
    snprintf(out, NAME_BYTES, "OPENDUCK_%s", name);
    for (char *at = out; *at; at++)
        *at = *at == '-' ? '_' : (char)toupper((unsigned char)*at);
}

static od_code read_environment(struct reader *reader)
{
    od_code rc = OD_OK;
    for (size_t i = 0; i < reader->program->field_count; i++) {
        char variable[NAME_BYTES];
        environment_name(reader->program->fields[i].name, variable);
        const char *value = od_environment(variable);
        if (value)
            OD_TRY(store(reader, &reader->program->fields[i], variable, value));
    }
out:
    return rc;
}

// ---- the file

static int take_pair(void *opaque, const char *section, const char *key, const char *value)
{
    struct reader *reader = opaque;
    if (reader->rc != OD_OK)
        return 1; // the first error is the one to report
    // A file may serve several programs: the sections of others are not ours to judge.
    if (section[0] && strcmp(section, reader->program->section) != 0)
        return 1;
    char name[NAME_BYTES];
    snprintf(name, sizeof name, "%s", key);
    for (char *at = name; *at; at++)
        if (*at == '_')
            *at = '-';
    const struct od_config_field *field = find_field(reader->program, name);
    if (!field) {
        reader->rc = fail_unknown(reader->program, key, "", name, reader->err);
        return 0;
    }
    bool *seen = &reader->seen_in_file[field - reader->program->fields];
    // inih reports an indented line as one more value of the key before it, so this catches those as well.
    if (*seen)
        reader->rc = od_fail(reader->err, OD_INVALID, "%s is set twice", key);
    else
        reader->rc = store(reader, field, key, value);
    *seen = true;
    return reader->rc == OD_OK;
}

static od_code check_lines(const char *path, const char *text, size_t bytes, struct od_error *err)
{
    if (memchr(text, '\0', bytes))
        return od_fail(err, OD_INVALID, "%s: not a text file", path);
    unsigned line = 1;
    for (const char *at = text; *at; line++) {
        size_t length = strcspn(at, "\n");
        if (length > FILE_LINE_MAX)
            return od_fail(err, OD_INVALID, "%s:%u: the line is longer than %u characters", path, line, FILE_LINE_MAX);
        at += length + (at[length] == '\n');
    }
    return OD_OK;
}

static od_code read_config_file(struct reader *reader, const char *path)
{
    od_code rc = OD_OK;
    struct od_buf content;
    od_buf_init(&content, FILE_BYTES_MAX);
    reader->seen_in_file = od_calloc(reader->program->field_count, sizeof *reader->seen_in_file);
    if (!reader->seen_in_file)
        OD_TRY(od_fail(reader->err, OD_NO_MEMORY, "out of memory for the settings"));
    OD_TRY(od_file_read(path, &content, reader->err));
    const char *text = od_buf_text(&content);
    if (!text)
        OD_TRY(od_fail(reader->err, OD_NO_MEMORY, "out of memory for the settings"));
    OD_TRY(check_lines(path, text, content.bytes, reader->err));
    int line = ini_parse_string(text, take_pair, reader);
    if (reader->rc != OD_OK)
        OD_TRY(line > 0 ? od_wrap(reader->err, reader->rc, "%s:%d", path, line) : reader->rc);
    if (line > 0)
        OD_TRY(od_fail(reader->err, OD_INVALID, "%s:%d: expected NAME = VALUE or [SECTION]", path, line));
    if (line < 0)
        OD_TRY(od_fail(reader->err, OD_NO_MEMORY, "out of memory for the settings"));
out:
    od_free(reader->seen_in_file);
    reader->seen_in_file = NULL;
    od_buf_release(&content);
    return rc;
}

// ---- flags

// One argument taken apart: --NAME, --NAME=VALUE, --no-NAME.
struct flag {
    char name[NAME_BYTES];
    const char *value; // after "="; NULL: none
};

static struct flag split_flag(const char *argument)
{
    struct flag flag;
    const char *name = argument + 2;
    size_t bytes = strcspn(name, "=");
    flag.value = name[bytes] == '=' ? name + bytes + 1 : NULL;
    snprintf(flag.name, sizeof flag.name, "%.*s", (int)(bytes < sizeof flag.name ? bytes : sizeof flag.name), name);
    return flag;
}

struct flags {
    int argc;
    const char *const *argv;
    const char *config_path; // --config, found by the first pass
    bool store;              // second pass
};

static od_code take_flag(struct reader *reader, struct flags *flags, int *at)
{
    const char *argument = flags->argv[*at];
    struct flag flag = split_flag(argument);
    bool reads_file = reader->program->section && strcmp(flag.name, "config") == 0;
    const struct od_config_field *field = find_field(reader->program, flag.name);
    const char *value = flag.value;
    if (!field && !flag.value && strncmp(flag.name, "no-", 3) == 0) {
        field = find_field(reader->program, flag.name + 3);
        if (field && field->type != OD_CONFIG_BOOL)
            return od_fail(reader->err, OD_INVALID, "%s: --%s needs a value and cannot be turned off", argument,
                           field->name);
        value = "false";
    }
    char source[NAME_BYTES + 2];
    snprintf(source, sizeof source, "--%s", flag.name);
    if (!field && !reads_file)
        return fail_unknown(reader->program, source, "--", flag.name, reader->err);
    if (!value && field && field->type == OD_CONFIG_BOOL)
        value = "true";
    if (!value) {
        if (*at + 1 >= flags->argc)
            return od_fail(reader->err, OD_INVALID, "%s needs a value", source);
        value = flags->argv[++*at];
    }
    if (reads_file)
        flags->config_path = value;
    else if (flags->store)
        return store(reader, field, source, value);
    return OD_OK;
}

static od_code read_flags(struct reader *reader, struct flags *flags)
{
    od_code rc = OD_OK;
    const char **operands = NULL;
    size_t operand_count = 0;
    bool only_operands = false;
    if (flags->store && flags->argc > 1) {
        operands = od_calloc((size_t)flags->argc, sizeof *operands);
        if (!operands)
            return od_fail(reader->err, OD_NO_MEMORY, "out of memory for the arguments");
    }
    for (int at = 1; at < flags->argc; at++) {
        const char *argument = flags->argv[at];
        if (!only_operands && strcmp(argument, "--") == 0) {
            only_operands = true;
        } else if (!only_operands && (strcmp(argument, "-h") == 0 || strcmp(argument, "--help") == 0)) {
            reader->config->help_wanted = true;
        } else if (!only_operands && strncmp(argument, "--", 2) == 0) {
            OD_TRY(take_flag(reader, flags, &at));
        } else if (!only_operands && argument[0] == '-' && argument[1] != '\0') {
            OD_TRY(od_fail(reader->err, OD_INVALID, "%s is unknown; flags begin with --", argument));
        } else if (operand_count == reader->program->operands_max) {
            OD_TRY(od_fail(reader->err, OD_INVALID, "unexpected argument '%s'; usage: %s [FLAGS]%s%s", argument,
                           reader->program->name, reader->program->operands ? " " : "",
                           reader->program->operands ? reader->program->operands : ""));
        } else {
            if (operands)
                operands[operand_count] = argument;
            operand_count++;
        }
    }
    if (flags->store) {
        reader->config->operands = operands;
        reader->config->operand_count = operand_count;
        operands = NULL;
    }
out:
    od_free(operands);
    return rc;
}

// ---- the whole

od_code od_config_read(const struct od_config_program *program, int argc, const char *const *argv, void *values,
                       struct od_config *config, struct od_error *err)
{
    od_code rc = OD_OK;
    *config = (struct od_config){0};
    struct reader reader = {.program = program, .values = values, .config = config, .err = err};
    struct flags flags = {.argc = argc, .argv = argv};
    OD_TRY(read_defaults(&reader));
    rc = read_flags(&reader, &flags);
    if (config->help_wanted) {
        // Whoever asks for help gets it, whatever else is wrong with the line.
        rc = OD_OK;
        goto out;
    }
    if (rc != OD_OK)
        goto out;
    if (program->section) {
        const char *path = flags.config_path ? flags.config_path : od_environment("OPENDUCK_CONFIG");
        if (path)
            OD_TRY(read_config_file(&reader, path));
    }
    OD_TRY(read_environment(&reader));
    flags.store = true;
    OD_TRY(read_flags(&reader, &flags));
out:
    if (rc != OD_OK)
        od_config_release(config);
    return rc;
}

void od_config_release(struct od_config *config)
{
    for (struct text *text = config->texts, *next; text; text = next) {
        next = text->next;
        od_free(text);
    }
    od_free((void *)(uintptr_t)config->operands);
    *config = (struct od_config){0};
}

od_code od_config_help(const struct od_config_program *program, struct od_buf *out, struct od_error *err)
{
    od_code rc = OD_OK;
    OD_TRY(od_buf_printf(out, err, "Usage: %s [FLAGS]%s%s\n\n%s\n\nFlags:\n", program->name,
                         program->operands ? " " : "", program->operands ? program->operands : "", program->summary));
    if (program->section)
        OD_TRY(od_buf_printf(out, err,
                             "  --config FILE\n      Settings file: lines NAME = VALUE, before any section or in [%s]."
                             " (environment: OPENDUCK_CONFIG)\n",
                             program->section));
    for (size_t i = 0; i < program->field_count; i++) {
        const struct od_config_field *field = &program->fields[i];
        char variable[NAME_BYTES];
        environment_name(field->name, variable);
        const char *value_name = field->value_name ? field->value_name : "VALUE";
        if (field->type == OD_CONFIG_BOOL)
            OD_TRY(od_buf_printf(out, err, "  --%s, --no-%s\n", field->name, field->name));
        else
            OD_TRY(od_buf_printf(out, err, "  --%s %s\n", field->name, value_name));
        OD_TRY(od_buf_printf(out, err, "      %s (", field->help));
        if (field->default_text)
            OD_TRY(od_buf_printf(out, err, "default: %s; ", field->default_text));
        OD_TRY(od_buf_printf(out, err, "environment: %s)\n", variable));
    }
    OD_TRY(od_buf_append_text(out, "  --help\n      Shows this text.\n", err));
out:
    return rc;
}
