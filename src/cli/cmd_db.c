// cmd_db.c - `openduck db create | list | drop`: the databases of a running server, of a data directory that no server
// holds, or of stores elsewhere.
#include "base/alloc.h"
#include "cli/command.h"
#include "cli/report.h"
#include "cli/where.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

struct settings {
    struct od_connect_settings connect;
    const char *from, *durability, *failover;
    bool if_not_exists, if_exists, json;
};

static const struct od_config_field create_fields[] = {
    OD_CONNECT_FIELDS(offsetof(struct settings, connect)),
    {"from", OD_CONFIG_TEXT, offsetof(struct settings, from), NULL, "FILE", "Start with a copy of this DuckDB file.", 0,
     0},
    {"durability", OD_CONFIG_TEXT, offsetof(struct settings, durability), NULL, "LEVEL",
     "When a commit is acknowledged: local (on the server's disk) or remote (in the object store). The server's by default.",
     0, 0},
    {"failover", OD_CONFIG_TEXT, offsetof(struct settings, failover), NULL, "POLICY",
     "Who replaces a dead server: operator (--take-over) or allow-loss (any server). The server's by default.", 0, 0},
    {"if-not-exists", OD_CONFIG_BOOL, offsetof(struct settings, if_not_exists), NULL, NULL,
     "A database that is there already is fine.", 0, 0},
};

static const struct od_config_field list_fields[] = {
    OD_CONNECT_FIELDS(offsetof(struct settings, connect)),
    {"json", OD_CONFIG_BOOL, offsetof(struct settings, json), NULL, NULL, "One JSON object a line.", 0, 0},
};

static const struct od_config_field drop_fields[] = {
    OD_CONNECT_FIELDS(offsetof(struct settings, connect)),
    {"if-exists", OD_CONFIG_BOOL, offsetof(struct settings, if_exists), NULL, NULL, "A missing database is fine.", 0,
     0},
};

// ---- create

static od_code create(struct od_where *place, const struct settings *settings, const char *name, struct od_error *err)
{
    bool created = true;
    od_code rc;
    const struct od_database_options options = {.struct_bytes = sizeof options,
                                                .from_file = settings->from,
                                                .if_not_exists = settings->if_not_exists,
                                                .durability = settings->durability,
                                                .failover = settings->failover};
    uint64_t policy = 0;
    if (place->client) {
        rc = od_client_create_database_as(place->client, name, &options, err);
    } else {
        rc = od_host_policy_read(settings->durability, settings->failover, &policy, err);
        if (rc == OD_OK)
            rc = od_host_create_as(place->host, name, settings->from, policy, false, settings->if_not_exists, &created,
                                   err);
    }
    if (rc == OD_OK)
        printf("database \"%s\" is there\n", name);
    return rc;
}

// ---- list

static void print_row(const struct settings *settings, const char *name, uint64_t bytes, bool open, uint32_t sessions)
{
    if (!settings->json) {
        printf("%-32s %14" PRIu64 " %-5s %8" PRIu32 "\n", name, bytes, open ? "yes" : "no", sessions);
        return;
    }
    fputs("{\"name\":", stdout);
    od_print_json(stdout, name);
    printf(",\"bytes\":%" PRIu64 ",\"open\":%s,\"sessions\":%" PRIu32 "}\n", bytes, open ? "true" : "false", sessions);
}

static od_code list(struct od_where *place, const struct settings *settings, struct od_error *err)
{
    size_t count;
    if (!settings->json)
        printf("%-32s %14s %-5s %8s\n", "name", "bytes", "open", "sessions");
    if (place->client) {
        struct od_database_info *databases;
        od_code rc = od_client_list_databases(place->client, &databases, &count, err);
        for (size_t i = 0; rc == OD_OK && i < count; i++)
            print_row(settings, databases[i].name, databases[i].bytes, databases[i].open, databases[i].sessions);
        od_client_free_databases(databases);
        return rc;
    }
    struct od_database_entry *entries = NULL;
    od_code rc = od_host_list(place->host, &entries, &count, err);
    for (size_t i = 0; rc == OD_OK && i < count; i++)
        print_row(settings, entries[i].name, entries[i].bytes, entries[i].open, entries[i].sessions);
    od_free(entries);
    return rc;
}

// ---- drop

static od_code drop(struct od_where *place, const struct settings *settings, const char *name, struct od_error *err)
{
    bool dropped = false;
    od_code rc = place->client ? od_client_drop_database(place->client, name, settings->if_exists, &dropped, err)
                               : od_host_drop(place->host, name, settings->if_exists, &dropped, err);
    if (rc == OD_OK)
        printf(dropped ? "database \"%s\" dropped\n" : "no database \"%s\"\n", name);
    return rc;
}

// ---- the command

enum verb { CREATE, LIST, DROP, VERB_COUNT };
static const struct {
    const char *name;
    struct od_config_program program;
} verbs[VERB_COUNT] = {
    [CREATE] = {"create",
                {.name = "openduck db create",
                 .section = "client",
                 .summary = "Creates a database, empty or from a DuckDB file." OD_WHERE_HELP,
                 .operands = "NAME",
                 .operands_max = 1,
                 .fields = create_fields,
                 .field_count = sizeof create_fields / sizeof create_fields[0]}},
    [LIST] = {"list",
              {.name = "openduck db list",
               .section = "client",
               .summary = "Lists the databases." OD_WHERE_HELP,
               .fields = list_fields,
               .field_count = sizeof list_fields / sizeof list_fields[0]}},
    [DROP] = {"drop",
              {.name = "openduck db drop",
               .section = "client",
               .summary = "Drops a database and its files. Refused while something uses it." OD_WHERE_HELP,
               .operands = "NAME",
               .operands_max = 1,
               .fields = drop_fields,
               .field_count = sizeof drop_fields / sizeof drop_fields[0]}},
};

static const char help[] = "usage: openduck db create NAME [--from FILE.duckdb] [--durability remote] [--if-not-exists]\n"
                           "       openduck db list [--json]\n"
                           "       openduck db drop NAME [--if-exists]\n\n"
                           "On a server (--endpoint, --token), a data directory (--data DIR), or stores elsewhere\n"
                           "(--metadata URL --objects URL).\n"
                           "`openduck db create --help` lists all flags.\n";

static int run(enum verb verb, int argc, char **argv)
{
    const struct od_config_program *program = &verbs[verb].program;
    struct settings settings;
    struct od_config config;
    struct od_where place = {0};
    struct od_error err = {0};
    struct od_where_flags flags;
    if (!od_where_take(program->name, &argc, argv, &flags))
        return OD_EXIT_USAGE;
    int status = od_command_read(program, argc, argv, &settings, &config);
    if (status >= 0)
        return status;
    const char *name = config.operand_count ? config.operands[0] : NULL;
    status = OD_EXIT_OK;
    if (!name && verb != LIST) {
        fprintf(stderr, "%s: the name of a database is missing\nTry `%s --help`.\n", program->name, program->name);
        od_config_release(&config);
        return OD_EXIT_USAGE;
    }
    od_code rc = od_where_open(&settings.connect, &flags, &place, &err);
    if (rc == OD_OK)
        rc = verb == CREATE ? create(&place, &settings, name, &err)
             : verb == LIST ? list(&place, &settings, &err)
                            : drop(&place, &settings, name, &err);
    if (rc != OD_OK)
        status = od_command_fail(&err);
    od_where_close(&place);
    od_config_release(&config);
    return status;
}

int od_command_db(int argc, char **argv)
{
    const char *name = argc > 1 ? argv[1] : "";
    for (int verb = 0; verb < VERB_COUNT; verb++)
        if (strcmp(name, verbs[verb].name) == 0)
            return run((enum verb)verb, argc - 1, argv + 1);
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0) {
        fputs(help, stdout);
        return OD_EXIT_OK;
    }
    if (name[0])
        fprintf(stderr, "openduck db: no command \"%s\"\n", name);
    fputs(help, stderr);
    return OD_EXIT_USAGE;
}
