// cmd_history.c - `openduck snapshot create | list | drop`, `clone`, `restore`, `export`, `fsck`: points in the history of a
// database, on a running server, in a data directory that no server holds, or in stores elsewhere.
#include "base/alloc.h"
#include "cli/command.h"
#include "cli/report.h"
#include "cli/where.h"
#include "engine/engine.h"
#include "storage/export.h"
#include "storage/fsck.h"
#include "storage/store.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

struct settings {
    struct od_connect_settings connect;
    const char *name;
    bool if_exists, json, no_progress;
};

// A command at work. `database` and `selector` are the first operand, DB[@SELECTOR]; selector NULL: none was given.
struct work {
    const struct settings *settings;
    struct od_where where;
    char *database;
    const char *selector;
    const char *second; // operand
    struct od_progress progress;
    int status;
};

// ---- snapshots

static void take_row(const struct od_meta_snapshot *row, struct od_snapshot_info *info)
{
    *info = (struct od_snapshot_info){.epoch = row->position.epoch,
                                      .lsn = row->position.lsn,
                                      .time_us = row->time_us,
                                      .created_us = row->created_us,
                                      .automatic = row->automatic};
    snprintf(info->name, sizeof info->name, "%s", row->name);
}

static void print_object(const char *database, const struct od_snapshot_info *info)
{
    char time[OD_TIME_BYTES], created[OD_TIME_BYTES];
    od_format_time(info->time_us, time);
    od_format_time(info->created_us, created);
    fputs("{\"database\":", stdout);
    od_print_json(stdout, database);
    fputs(",\"snapshot\":", stdout);
    od_print_json(stdout, info->name);
    printf(",\"epoch\":%" PRIu64 ",\"lsn\":%" PRIu64 ",\"time\":\"%s\",\"created\":\"%s\",\"automatic\":%s}",
           info->epoch, info->lsn, time, created, info->automatic ? "true" : "false");
}

static od_code snapshot_create(struct work *work, struct od_error *err)
{
    struct od_snapshot_info info = {0};
    struct od_meta_snapshot row;
    od_code rc;
    if (work->where.client) {
        rc = od_client_create_snapshot(work->where.client, work->database, work->settings->name, &info, err);
    } else {
        rc = od_host_snapshot_create(work->where.host, work->database, work->settings->name, &row, err);
        if (rc == OD_OK)
            take_row(&row, &info);
    }
    if (rc != OD_OK)
        return rc;
    char time[OD_TIME_BYTES];
    od_format_time(info.time_us, time);
    if (work->settings->json) {
        print_object(work->database, &info);
        putchar('\n');
    } else {
        printf("snapshot \"%s\" of \"%s\": position %" PRIu64 ", last commit at %s\n", info.name, work->database,
               info.lsn, time);
    }
    return OD_OK;
}

static od_code read_list(struct work *work, struct od_snapshot_info **infos, size_t *count, struct od_error *err)
{
    struct od_meta_snapshot *rows = NULL;
    if (work->where.client)
        return od_client_list_snapshots(work->where.client, work->database, infos, count, err);
    od_code rc = od_host_snapshot_list(work->where.host, work->database, &rows, count, err);
    if (rc != OD_OK)
        return rc;
    *infos = od_calloc(*count + 1, sizeof **infos);
    if (!*infos)
        rc = od_fail(err, OD_NO_MEMORY, "no memory for a list of %zu snapshots", *count);
    for (size_t i = 0; rc == OD_OK && i < *count; i++)
        take_row(&rows[i], &(*infos)[i]);
    od_free(rows);
    return rc;
}

static od_code snapshot_list(struct work *work, struct od_error *err)
{
    struct od_snapshot_info *infos = NULL;
    size_t count = 0;
    od_code rc = read_list(work, &infos, &count, err);
    if (rc == OD_OK && !work->settings->json)
        printf("%-40s %16s %-28s %s\n", "name", "position", "last commit", "automatic");
    for (size_t i = 0; rc == OD_OK && i < count; i++) {
        char time[OD_TIME_BYTES];
        od_format_time(infos[i].time_us, time);
        if (work->settings->json) {
            print_object(work->database, &infos[i]);
            putchar('\n');
        } else {
            printf("%-40s %16" PRIu64 " %-28s %s\n", infos[i].name, infos[i].lsn, time,
                   infos[i].automatic ? "yes" : "no");
        }
    }
    od_free(infos); // what od_client_free_snapshots does
    return rc;
}

static od_code snapshot_drop(struct work *work, struct od_error *err)
{
    bool dropped = false, if_exists = work->settings->if_exists;
    od_code rc =
        work->where.client
            ? od_client_drop_snapshot(work->where.client, work->database, work->second, if_exists, &dropped, err)
            : od_host_snapshot_drop(work->where.host, work->database, work->second, if_exists, &dropped, err);
    if (rc != OD_OK)
        return rc;
    if (work->settings->json) {
        fputs("{\"database\":", stdout);
        od_print_json(stdout, work->database);
        fputs(",\"snapshot\":", stdout);
        od_print_json(stdout, work->second);
        printf(",\"dropped\":%s}\n", dropped ? "true" : "false");
    } else {
        printf(dropped ? "snapshot \"%s\" dropped\n" : "no snapshot \"%s\"\n", work->second);
    }
    return OD_OK;
}

// ---- clone, restore

static void print_origin(const struct work *work)
{
    od_print_json(stdout, work->database);
    fputs(",\"selector\":", stdout);
    od_print_json(stdout, work->selector);
}

static od_code clone(struct work *work, struct od_error *err)
{
    od_code rc = work->where.client
                     ? od_client_clone_database(work->where.client, work->database, work->selector, work->second, err)
                     : od_host_clone(work->where.host, work->database, work->selector, work->second, err);
    if (rc != OD_OK)
        return rc;
    if (work->settings->json) {
        fputs("{\"database\":", stdout);
        od_print_json(stdout, work->second);
        fputs(",\"from\":", stdout);
        print_origin(work);
        fputs("}\n", stdout);
    } else {
        printf("database \"%s\" is \"%s\" %s%s\n", work->second, work->database,
               work->selector ? "as at " : "as it is now", work->selector ? work->selector : "");
    }
    return OD_OK;
}

static od_code restore(struct work *work, struct od_error *err)
{
    struct od_snapshot_info before = {0};
    struct od_meta_snapshot row;
    od_code rc;
    if (work->where.client) {
        rc = od_client_restore_database(work->where.client, work->database, work->selector, &before, err);
    } else {
        rc = od_host_restore(work->where.host, work->database, work->selector, &row, err);
        if (rc == OD_OK)
            take_row(&row, &before);
    }
    if (rc != OD_OK)
        return rc;
    if (work->settings->json) {
        fputs("{\"database\":", stdout);
        print_origin(work);
        fputs(",\"before\":", stdout);
        print_object(work->database, &before);
        fputs("}\n", stdout);
    } else {
        printf("\"%s\" goes on from %s; what it was is the snapshot \"%s\"\n", work->database, work->selector,
               before.name);
    }
    return OD_OK;
}

// ---- export

static void draw_bytes(void *context, uint64_t done, uint64_t total)
{
    struct work *work = context;
    char left[OD_SIZE_BYTES], right[OD_SIZE_BYTES];
    od_format_size(done, left);
    od_format_size(total, right);
    od_progress_draw(&work->progress, "%s of %s", left, right);
}

static od_code export_offline(struct work *work, struct od_export_summary *summary, struct od_error *err)
{
    struct od_database *database = NULL;
    struct od_volume *volume = NULL;
    od_code rc = od_host_open_at(work->where.host, work->database, work->selector, &database, &volume, err);
    if (rc != OD_OK)
        return rc;
    struct od_export request = {.volume = volume, .path = work->second, .progress = draw_bytes, .context = work};
    rc = od_export_run(&request, err);
    *summary = (struct od_export_summary){.files = request.files, .bytes = request.bytes};
    od_volume_close(volume);
    od_database_release(database);
    return rc;
}

static od_code export_online(struct work *work, struct od_export_summary *summary, struct od_error *err)
{
    const struct od_export_request request = {.struct_bytes = sizeof request,
                                              .database = work->database,
                                              .selector = work->selector,
                                              .file = work->second,
                                              .progress = draw_bytes,
                                              .context = work};
    return od_client_export_database(work->where.client, &request, summary, err);
}

// What is in the WAL goes into the database file: opening and closing it does that.
static void fold(struct work *work, struct od_export_summary *summary)
{
    struct od_engine *engine = NULL;
    struct od_error err = {0};
    char spill[4096];
    if (snprintf(spill, sizeof spill, "%s.spill", work->second) >= (int)sizeof spill)
        return;
    const struct od_engine_options options = {.name = "export", .path = work->second, .temp_directory = spill};
    if (od_engine_open(&options, &engine, &err) != OD_OK) {
        fprintf(stderr, "openduck: the export is complete, in %" PRIu64 " files: %s\n", summary->files, err.message);
        return;
    }
    od_engine_close(engine);
    (void)remove(spill);
    FILE *file = fopen(work->second, "rb");
    if (file && fseek(file, 0, SEEK_END) == 0) {
        summary->files = 1;
        summary->bytes = (uint64_t)ftell(file);
    }
    if (file)
        (void)fclose(file);
}

static od_code export(struct work *work, struct od_error *err)
{
    struct od_export_summary summary = {0};
    od_code rc = work->where.client ? export_online(work, &summary, err) : export_offline(work, &summary, err);
    od_progress_end(&work->progress);
    if (rc != OD_OK)
        return rc;
    if (summary.files > 1)
        fold(work, &summary);
    if (work->settings->json) {
        fputs("{\"database\":", stdout);
        print_origin(work);
        fputs(",\"file\":", stdout);
        od_print_json(stdout, work->second);
        printf(",\"files\":%" PRIu64 ",\"bytes\":%" PRIu64 "}\n", summary.files, summary.bytes);
    } else {
        char size[OD_SIZE_BYTES];
        od_format_size(summary.bytes, size);
        printf("\"%s\"%s%s is in %s (%s)\n", work->database, work->selector ? " at " : "",
               work->selector ? work->selector : "", work->second, size);
    }
    return OD_OK;
}

// ---- fsck

static void draw_check(void *context, uint64_t objects, uint64_t bytes)
{
    struct work *work = context;
    char size[OD_SIZE_BYTES];
    od_format_size(bytes, size);
    od_progress_draw(&work->progress, "%" PRIu64 " objects, %s read", objects, size);
}

static void print_problem(void *context, const char *key, const struct od_error *why)
{
    struct work *work = context;
    od_progress_end(&work->progress);
    od_print_problem(work->settings->json, key, why);
}

static od_code check_offline(struct work *work, struct od_check_summary *summary, struct od_error *err)
{
    struct od_fsck fsck = {.problem = print_problem, .progress = draw_check, .context = work};
    od_code rc = od_host_check(work->where.host, work->database, &fsck, err);
    *summary = (struct od_check_summary){.objects = fsck.objects_seen,
                                         .layers = fsck.layers,
                                         .bytes = fsck.bytes,
                                         .rows = fsck.rows,
                                         .unreferenced = fsck.unreferenced,
                                         .problems = fsck.problems};
    return rc;
}

static od_code check(struct work *work, struct od_error *err)
{
    struct od_check_summary summary = {0};
    const struct od_check_request request = {.struct_bytes = sizeof request,
                                             .database = work->database,
                                             .progress = draw_check,
                                             .problem = print_problem,
                                             .context = work};
    od_code rc = work->where.client ? od_client_check_store(work->where.client, &request, &summary, err)
                                    : check_offline(work, &summary, err);
    od_progress_end(&work->progress);
    if (rc != OD_OK)
        return rc;
    if (summary.problems > 0)
        work->status = OD_EXIT_FAILED;
    if (work->settings->json) {
        printf("{\"objects\":%" PRIu64 ",\"layers\":%" PRIu64 ",\"bytes\":%" PRIu64 ",\"rows\":%" PRIu64
               ",\"unreferenced\":%" PRIu64 ",\"problems\":%" PRIu64 "}\n",
               summary.objects, summary.layers, summary.bytes, summary.rows, summary.unreferenced, summary.problems);
        return OD_OK;
    }
    char size[OD_SIZE_BYTES];
    od_format_size(summary.bytes, size);
    printf("%" PRIu64 " objects, %" PRIu64 " layers read (%s), %" PRIu64 " rows: ", summary.objects, summary.layers,
           size, summary.rows);
    if (summary.problems)
        printf("%" PRIu64 " problems\n", summary.problems);
    else
        puts("no problem");
    if (summary.unreferenced)
        printf("%" PRIu64 " layers belong to nothing (a crash between two steps leaves such)\n", summary.unreferenced);
    return OD_OK;
}

// ---- the commands

static const struct od_config_field fields[] = {
    OD_CONNECT_FIELDS(offsetof(struct settings, connect)),
    {"json", OD_CONFIG_BOOL, offsetof(struct settings, json), NULL, NULL, "JSON objects, one a line.", 0, 0},
    {"no-progress", OD_CONFIG_BOOL, offsetof(struct settings, no_progress), NULL, NULL,
     "No progress line on the terminal.", 0, 0},
    // Of `snapshot create` and `snapshot drop` only.
    {"name", OD_CONFIG_TEXT, offsetof(struct settings, name), NULL, "NAME",
     "Name of the snapshot; its time by default.", 0, 0},
    {"if-exists", OD_CONFIG_BOOL, offsetof(struct settings, if_exists), NULL, NULL, "A missing snapshot is fine.", 0,
     0},
};
#define COMMON_FIELDS (sizeof fields / sizeof fields[0] - 2)
#define WITH_NAME (COMMON_FIELDS + 1)
#define WITH_IF_EXISTS (COMMON_FIELDS + 2)

#define DATA OD_WHERE_HELP
#define SELECTOR " SELECTOR is a snapshot's name, a position, or a time (UTC when it has no zone)."

struct verb {
    struct od_config_program program;
    size_t operands_min;
    bool selects, selector_needed; // is the first operand DB@SELECTOR?
    od_code (*run)(struct work *work, struct od_error *err);
    const char *missing;
};

static const struct verb snapshot_verbs[] = {
    {{"openduck snapshot create", "client",
      "Makes a snapshot: a name for what the database is now. No data is copied." DATA, "DB", 1, fields, WITH_NAME},
     1,
     false,
     false,
     snapshot_create,
     "the name of a database is missing"},
    {{"openduck snapshot list", "client", "Lists the snapshots of a database." DATA, "DB", 1, fields, COMMON_FIELDS},
     1,
     false,
     false,
     snapshot_list,
     "the name of a database is missing"},
    {{"openduck snapshot drop", "client", "Drops a snapshot; the database stays as it is." DATA, "DB NAME", 2, fields,
      WITH_IF_EXISTS},
     2,
     false,
     false,
     snapshot_drop,
     "the names of a database and of a snapshot are needed"},
};

static const struct verb clone_verb = {
    {"openduck clone", "client",
     "Makes a database that begins as another is now, or was. No data is copied; neither changes the other." SELECTOR
         DATA,
     "DB[@SELECTOR] NEW", 2, fields, COMMON_FIELDS},
    2,
    true,
    false,
    clone,
    "the names of a database and of the new one are needed"};

static const struct verb restore_verb = {{"openduck restore", "client",
                                          "Lets a database go on from an earlier point of itself; what it was stays as "
                                          "a snapshot. Nothing may use it." SELECTOR DATA,
                                          "DB@SELECTOR", 1, fields, COMMON_FIELDS},
                                         1,
                                         true,
                                         true,
                                         restore,
                                         "what to restore is missing: DB@SELECTOR"};

static const struct verb export_verb = {
    {"openduck export", "client", "Writes a database, as it is now or was, to a plain DuckDB file." SELECTOR DATA,
     "DB[@SELECTOR] FILE", 2, fields, COMMON_FIELDS},
    2,
    true,
    false,
    export,
    "a database and a file are needed"};

static const struct verb fsck_verb = {{"openduck fsck", "client",
                                       "Reads every byte of the stored layers and checks it, and the metadata against "
                                       "it; changes nothing. With DB, the layers "
                                       "of that database." DATA,
                                       "[DB]", 1, fields, COMMON_FIELDS},
                                      0,
                                      false,
                                      false,
                                      check,
                                      NULL};

// DB[@SELECTOR]
static od_code take_operands(const struct verb *verb, const struct od_config *config, struct work *work,
                             struct od_error *err)
{
    if (config->operand_count < verb->operands_min)
        return od_fail(err, OD_INVALID, "%s", verb->missing);
    if (config->operand_count > 0) {
        work->database = od_strdup(config->operands[0]);
        if (!work->database)
            return od_fail(err, OD_NO_MEMORY, "no memory for a name");
    }
    if (config->operand_count > 1)
        work->second = config->operands[1];
    char *at = work->database && verb->selects ? strchr(work->database, '@') : NULL;
    if (at) {
        *at = '\0';
        work->selector = at + 1;
    }
    if ((at && !at[1]) || (verb->selector_needed && !at))
        return od_fail(err, OD_INVALID, "a snapshot, position or time has to follow: DB@SELECTOR");
    return OD_OK;
}

static int run(const struct verb *verb, int argc, char **argv)
{
    const struct od_config_program *program = &verb->program;
    struct settings settings;
    struct od_config config;
    struct od_error err = {0};
    struct od_where_flags flags;
    if (!od_where_take(program->name, &argc, argv, &flags))
        return OD_EXIT_USAGE;
    int status = od_command_read(program, argc, argv, &settings, &config);
    if (status >= 0)
        return status;
    struct work work = {.settings = &settings};
    od_code rc = take_operands(verb, &config, &work, &err);
    if (rc == OD_INVALID) {
        fprintf(stderr, "%s: %s\nTry `%s --help`.\n", program->name, err.message, program->name);
        work.status = OD_EXIT_USAGE;
    } else {
        if (rc == OD_OK)
            rc = od_where_open(&settings.connect, &flags, &work.where, &err);
        od_progress_begin(&work.progress, !settings.no_progress);
        if (rc == OD_OK)
            rc = verb->run(&work, &err);
        od_progress_end(&work.progress);
        if (rc != OD_OK)
            work.status = od_command_fail(&err);
    }
    od_where_close(&work.where);
    od_free(work.database);
    od_config_release(&config);
    return work.status;
}

int od_command_snapshot(int argc, char **argv)
{
    static const char help[] = "usage: openduck snapshot create DB [--name NAME]\n"
                               "       openduck snapshot list DB [--json]\n"
                               "       openduck snapshot drop DB NAME [--if-exists]\n\n"
                               "On a server (--endpoint, --token), a data directory (--data DIR), or stores elsewhere\n"
                               "(--metadata URL --objects URL).\n"
                               "`openduck snapshot create --help` lists all flags.\n";
    static const char *const names[] = {"create", "list", "drop"};
    const char *name = argc > 1 ? argv[1] : "";
    for (int i = 0; i < 3; i++)
        if (strcmp(name, names[i]) == 0)
            return run(&snapshot_verbs[i], argc - 1, argv + 1);
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0) {
        fputs(help, stdout);
        return OD_EXIT_OK;
    }
    if (name[0])
        fprintf(stderr, "openduck snapshot: no command \"%s\"\n", name);
    fputs(help, stderr);
    return OD_EXIT_USAGE;
}

int od_command_clone(int argc, char **argv)
{
    return run(&clone_verb, argc, argv);
}

int od_command_restore(int argc, char **argv)
{
    return run(&restore_verb, argc, argv);
}

int od_command_export(int argc, char **argv)
{
    return run(&export_verb, argc, argv);
}

int od_command_fsck(int argc, char **argv)
{
    return run(&fsck_verb, argc, argv);
}
