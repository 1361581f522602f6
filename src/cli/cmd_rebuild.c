// cmd_rebuild.c - `openduck rebuild`: the metadata of a data directory or of stores elsewhere, from the objects alone.
#include "cli/command.h"
#include "cli/report.h"
#include "cli/where.h"
#include "server/place_rebuild.h"
#include "storage/rebuild.h"

#include <inttypes.h>
#include <stddef.h>
#include <string.h>

struct settings {
    bool replace, partial, json, no_progress;
};

struct work {
    const struct settings *settings;
    struct od_progress progress;
};

static const struct od_config_field fields[] = {
    {"replace", OD_CONFIG_BOOL, offsetof(struct settings, replace), NULL, NULL,
     "Make it again although there is some; that is kept under another name.", 0, 0},
    {"partial", OD_CONFIG_BOOL, offsetof(struct settings, partial), NULL, NULL,
     "Go on without what is missing or damaged: histories may end earlier, databases may be left out.", 0, 0},
    {"json", OD_CONFIG_BOOL, offsetof(struct settings, json), NULL, NULL, "JSON objects, one a line.", 0, 0},
    {"no-progress", OD_CONFIG_BOOL, offsetof(struct settings, no_progress), NULL, NULL,
     "No progress line on the terminal.", 0, 0},
};

static const struct od_config_program program = {
    .name = "openduck rebuild",
    .section = "client",
    .summary = "Makes metadata again from objects: of a data directory (--data DIR), which no server may hold, or in "
               "PostgreSQL (--metadata URL --objects URL).",
    .fields = fields,
    .field_count = sizeof fields / sizeof fields[0],
};

static void draw(void *context, uint64_t objects, uint64_t bytes)
{
    struct work *work = context;
    (void)bytes; // only the ends of the layers are read
    od_progress_draw(&work->progress, "%" PRIu64 " objects read", objects);
}

static void print_problem(void *context, const char *key, const struct od_error *why)
{
    struct work *work = context;
    od_progress_end(&work->progress);
    od_print_problem(work->settings->json, key, why);
}

static void print_summary(const struct settings *settings, const struct od_rebuild *rebuild, const char *kept)
{
    if (settings->json) {
        printf("{\"databases\":%" PRIu64 ",\"branches\":%" PRIu64 ",\"layers\":%" PRIu64 ",\"snapshots\":%" PRIu64
               ",\"outside\":%" PRIu64 ",\"problems\":%" PRIu64 ",\"kept\":",
               rebuild->databases, rebuild->branches, rebuild->layers, rebuild->snapshots, rebuild->outside,
               rebuild->problems);
        od_print_json(stdout, kept[0] ? kept : NULL);
        fputs("}\n", stdout);
        return;
    }
    printf("%" PRIu64 " databases, %" PRIu64 " snapshots, %" PRIu64 " layers of %" PRIu64 " objects\n",
           rebuild->databases, rebuild->snapshots, rebuild->layers, rebuild->objects_seen);
    if (rebuild->outside)
        printf("%" PRIu64 " layers belong to nothing (an overtaken writer leaves such)\n", rebuild->outside);
    if (rebuild->problems)
        printf("%" PRIu64 " problems: what they concern is left out\n", rebuild->problems);
    if (kept[0])
        printf("the old metadata is %s\n", kept);
}

static od_code rebuild_place(const struct od_where_flags *flags, const struct settings *settings,
                             struct od_rebuild *rebuild, struct od_error *err)
{
    struct od_place_rebuild request = {.directory = flags->data, .replace = settings->replace, .rebuild = rebuild};
    struct work *work = rebuild->context;
    od_code rc = od_place_rebuild(&request, err);
    od_progress_end(&work->progress);
    if (rc == OD_OK)
        print_summary(settings, rebuild, request.kept);
    return rc;
}

static od_code rebuild_stores(const struct od_where_flags *flags, const struct settings *settings,
                              struct od_rebuild *rebuild, struct od_error *err)
{
    struct od_stores_rebuild request = {.metadata = flags->metadata,
                                        .objects = flags->objects,
                                        .replace = settings->replace,
                                        .rebuild = rebuild};
    struct work *work = rebuild->context;
    od_code rc = od_stores_rebuild(&request, err);
    od_progress_end(&work->progress);
    if (rc == OD_OK)
        print_summary(settings, rebuild, request.kept);
    return rc;
}

int od_command_rebuild(int argc, char **argv)
{
    struct settings settings;
    struct od_config config;
    struct od_error err = {0};
    struct od_where_flags flags;
    if (!od_where_take(program.name, &argc, argv, &flags))
        return OD_EXIT_USAGE;
    int status = od_command_read(&program, argc, argv, &settings, &config);
    if (status >= 0)
        return status;
    status = OD_EXIT_OK;
    bool stores = flags.metadata && flags.objects;
    if (flags.data ? flags.metadata || flags.objects : !stores) {
        fprintf(stderr,
                "%s: --data DIR is needed, or --metadata URL and --objects URL: metadata is made where the objects are\n"
                "Try `%s --help`.\n",
                program.name, program.name);
        status = OD_EXIT_USAGE;
    } else {
        struct work work = {.settings = &settings};
        struct od_rebuild rebuild = {
            .partial = settings.partial, .progress = draw, .problem = print_problem, .context = &work};
        od_progress_begin(&work.progress, !settings.no_progress);
        od_code rc = stores ? rebuild_stores(&flags, &settings, &rebuild, &err)
                            : rebuild_place(&flags, &settings, &rebuild, &err);
        if (rc != OD_OK)
            status = od_command_fail(&err);
    }
    od_config_release(&config);
    return status;
}
