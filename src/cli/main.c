// main.c - the `openduck` program: a table of commands.
#include "cli/command.h"

#include <stdio.h>
#include <string.h>

static const struct command {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *help;
} commands[] = {
    {"serve", od_command_serve, "run a server"},
    {"sql", od_command_sql, "run SQL on a server"},
    {"db", od_command_db, "create, list and drop databases"},
    {"snapshot", od_command_snapshot, "create, list and drop snapshots of a database"},
    {"clone", od_command_clone, "make a database that begins as another is, or was"},
    {"restore", od_command_restore, "let a database go on from an earlier point"},
    {"export", od_command_export, "write a database to a plain DuckDB file"},
    {"fsck", od_command_fsck, "check every byte of what is stored"},
    {"rebuild", od_command_rebuild, "make the metadata again from the stored objects"},
    {"migrate", od_command_migrate, "make or renew the tables of a metadata store"},
    {"copy-store", od_command_copy_store, "copy all databases to other stores"},
    {"ping", od_command_ping, "ask whether a server answers"},
};

#define COMMAND_COUNT (sizeof commands / sizeof commands[0])

static void print_help(FILE *file)
{
    fprintf(file, "openduck %s - a distributed DuckDB\n\nusage: openduck COMMAND [FLAGS]\n\ncommands:\n", OD_VERSION);
    for (size_t i = 0; i < COMMAND_COUNT; i++)
        fprintf(file, "  %-10s %s\n", commands[i].name, commands[i].help);
    fprintf(file, "\n`openduck COMMAND --help` lists a command's flags. Each flag is also an environment variable\n"
                  "(OPENDUCK_NAME).\n");
}

int od_command_fail(const struct od_error *err)
{
    fprintf(stderr, "openduck: %s%s%s\n", err->error_class, err->error_class[0] ? " Error: " : "", err->message);
    switch ((int)err->code) {
    case OD_INVALID:
        return OD_EXIT_USAGE;
    case OD_UNAVAILABLE:
    case OD_DISCONNECTED:
        return OD_EXIT_UNREACHABLE;
    case OD_UNAUTHENTICATED:
    case OD_FORBIDDEN:
        return OD_EXIT_REFUSED;
    default:
        return OD_EXIT_FAILED;
    }
}

int od_command_read(const struct od_config_program *program, int argc, char **argv, void *values,
                    struct od_config *config)
{
    struct od_error err = {0};
    if (od_config_read(program, argc, (const char *const *)argv, values, config, &err) != OD_OK) {
        fprintf(stderr, "%s: %s\nTry `%s --help`.\n", program->name, err.message, program->name);
        return OD_EXIT_USAGE;
    }
    if (!config->help_wanted)
        return -1;
    struct od_buf help;
    od_buf_init(&help, 1u << 20);
    int status = OD_EXIT_OK;
    if (od_config_help(program, &help, &err) != OD_OK)
        status = od_command_fail(&err);
    else
        fwrite(help.data, 1, help.bytes, stdout);
    od_buf_release(&help);
    od_config_release(config);
    return status;
}

int main(int argc, char **argv)
{
    const char *name = argc > 1 ? argv[1] : "";
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0 || strcmp(name, "help") == 0) {
        print_help(stdout);
        return OD_EXIT_OK;
    }
    if (strcmp(name, "--version") == 0 || strcmp(name, "version") == 0) {
        printf("openduck %s\n", OD_VERSION);
        return OD_EXIT_OK;
    }
    for (size_t i = 0; i < COMMAND_COUNT; i++)
        if (strcmp(name, commands[i].name) == 0)
            return commands[i].run(argc - 1, argv + 1);
    if (name[0])
        fprintf(stderr, "openduck: no command \"%s\"\n\n", name);
    print_help(stderr);
    return OD_EXIT_USAGE;
}
