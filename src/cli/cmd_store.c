// cmd_store.c - `openduck migrate` and `openduck copy-store`: the stores under the databases.
#include "base/alloc.h"
#include "cli/command.h"
#include "metastore/metastore.h"
#include "objstore/objstore.h"
#include "os/file.h"
#include "os/platform.h"
#include "os/random.h"
#include "server/backends.h"
#include "server/place.h"
#include "storage/copy_store.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

// ---- migrate

struct migrate_settings {
    const char *metadata;
};

static const struct od_config_field migrate_fields[] = {
    {"metadata", OD_CONFIG_TEXT, offsetof(struct migrate_settings, metadata), NULL, "URL",
     "Metadata store: postgres://USER@HOST/DATABASE.", 0, 0},
};

static const struct od_config_program migrate_program = {
    .name = "openduck migrate",
    .section = "server",
    .summary = "Makes the tables of a metadata store, or brings those of an older version to this one.",
    .fields = migrate_fields,
    .field_count = sizeof migrate_fields / sizeof migrate_fields[0],
};

int od_command_migrate(int argc, char **argv)
{
    struct migrate_settings settings = {0};
    struct od_config config = {0};
    struct od_error err = {0};
    int status = od_command_read(&migrate_program, argc, argv, &settings, &config);
    if (status >= 0)
        return status;
    od_code rc = settings.metadata ? od_metadata_migrate(settings.metadata, &err)
                                   : od_fail(&err, OD_INVALID, "which metadata store? Give --metadata URL");
    if (rc == OD_OK)
        printf("the metadata store is of this version\n");
    status = rc == OD_OK ? OD_EXIT_OK : od_command_fail(&err);
    od_config_release(&config);
    return status;
}

// ---- copy-store

struct copy_settings {
    const char *from, *from_metadata, *from_objects;
    const char *to, *to_metadata, *to_objects;
    bool json;
};

static const struct od_config_field copy_fields[] = {
    {"from", OD_CONFIG_TEXT, offsetof(struct copy_settings, from), NULL, "DIR",
     "Data directory to copy from; a server may be using it.", 0, 0},
    {"from-metadata", OD_CONFIG_TEXT, offsetof(struct copy_settings, from_metadata), NULL, "URL",
     "Metadata store to copy from.", 0, 0},
    {"from-objects", OD_CONFIG_TEXT, offsetof(struct copy_settings, from_objects), NULL, "URL",
     "Object store to copy from.", 0, 0},
    {"to", OD_CONFIG_TEXT, offsetof(struct copy_settings, to), NULL, "DIR", "New data directory.", 0, 0},
    {"to-metadata", OD_CONFIG_TEXT, offsetof(struct copy_settings, to_metadata), NULL, "URL",
     "Metadata store to copy to, without databases; migrated first.", 0, 0},
    {"to-objects", OD_CONFIG_TEXT, offsetof(struct copy_settings, to_objects), NULL, "URL", "Object store to copy to.", 0,
     0},
    {"json", OD_CONFIG_BOOL, offsetof(struct copy_settings, json), NULL, NULL, "The summary as one JSON object.", 0, 0},
};

static const struct od_config_program copy_program = {
    .name = "openduck copy-store",
    .section = "server",
    .summary = "Copies all databases to other stores: what is published when it begins. An interrupted copy is begun again.",
    .fields = copy_fields,
    .field_count = sizeof copy_fields / sizeof copy_fields[0],
};

// A pair of stores that is read or filled.
struct pair {
    struct od_place place; // of a new data directory
    struct od_objstore *objects;
    struct od_metastore *metadata;
};

static void pair_close(struct pair *pair)
{
    if (!pair->place.store) {
        od_metastore_close(pair->metadata);
        od_objstore_close(pair->objects);
    }
    od_place_close(&pair->place);
}

static od_code check_pair(const char *which, const char *directory, const char *metadata, const char *objects,
                          struct od_error *err)
{
    if (directory ? !metadata && !objects : metadata && objects)
        return OD_OK;
    return od_fail(err, OD_INVALID, "give --%s DIR, or --%s-metadata and --%s-objects", which, which, which);
}

// A server may be using the directory: what is published does not change.
static od_code open_from(const struct copy_settings *settings, struct pair *pair, struct od_error *err)
{
    od_code rc = OD_OK;
    char *metadata = settings->from ? od_path_join(settings->from, "metadata.sqlite") : NULL;
    char *objects = settings->from ? od_path_join(settings->from, "objects") : NULL;
    OD_TRY(check_pair("from", settings->from, settings->from_metadata, settings->from_objects, err));
    if (settings->from && (!metadata || !objects))
        OD_TRY(od_fail(err, OD_NO_MEMORY, "no memory for a path"));
    OD_TRY(od_metadata_open(metadata ? metadata : settings->from_metadata, false, &pair->metadata, err));
    OD_TRY(od_objects_open(objects ? objects : settings->from_objects, &pair->objects, err));
out:
    od_free(metadata);
    od_free(objects);
    return rc;
}

static od_code open_to(const struct copy_settings *settings, struct pair *pair, struct od_error *err)
{
    od_code rc = OD_OK;
    OD_TRY(check_pair("to", settings->to, settings->to_metadata, settings->to_objects, err));
    if (settings->to) {
        const struct od_place_options options = {.directory = settings->to};
        OD_TRY(od_place_open(&options, &pair->place, err));
        pair->metadata = pair->place.metadata;
        pair->objects = pair->place.objects;
    } else {
        OD_TRY(od_metadata_migrate(settings->to_metadata, err));
        OD_TRY(od_metadata_open(settings->to_metadata, true, &pair->metadata, err));
        OD_TRY(od_objects_open(settings->to_objects, &pair->objects, err));
    }
out:
    return rc;
}

static void show_progress(void *context, uint64_t objects, uint64_t bytes)
{
    (void)context;
    fprintf(stderr, "\r%" PRIu64 " objects, %" PRIu64 " MiB ", objects, bytes >> 20);
}

static void print_summary(const struct od_store_copy *copy, bool json)
{
    printf(json ? "{\"databases\":%" PRIu64 ",\"branches\":%" PRIu64 ",\"layers\":%" PRIu64 ",\"snapshots\":%" PRIu64
                  ",\"objects\":%" PRIu64 ",\"bytes\":%" PRIu64 ",\"present\":%" PRIu64 "}\n"
                : "%" PRIu64 " databases (%" PRIu64 " branches, %" PRIu64 " layers, %" PRIu64 " snapshots): copied %" PRIu64
                  " objects, %" PRIu64 " bytes; %" PRIu64 " were there already\n",
           copy->databases, copy->branches, copy->layers, copy->snapshots, copy->objects, copy->bytes, copy->present);
}

static char *scratch_file(void)
{
    char id[OD_RANDOM_ID_BYTES], name[OD_RANDOM_ID_BYTES + 16];
    const char *folder = od_environment("TMPDIR");
    od_random_id(id);
    snprintf(name, sizeof name, "openduck-%s", id);
    return od_path_join(folder ? folder : "/tmp", name);
}

static od_code copy_store(const struct copy_settings *settings, struct od_error *err)
{
    od_code rc = OD_OK;
    struct pair from = {0}, to = {0};
    char *scratch = scratch_file();
    bool terminal = isatty(STDERR_FILENO);
    if (!scratch)
        OD_TRY(od_fail(err, OD_NO_MEMORY, "no memory for a path"));
    OD_TRY(open_from(settings, &from, err));
    OD_TRY(open_to(settings, &to, err));
    struct od_store_copy copy = {
        .platform = od_platform_real(),
        .from_objects = from.objects,
        .from_metadata = from.metadata,
        .to_objects = to.objects,
        .to_metadata = to.metadata,
        .scratch = scratch,
        .progress = terminal ? show_progress : NULL,
    };
    rc = od_store_copy_run(&copy, err);
    if (terminal)
        fputc('\n', stderr);
    if (rc == OD_OK)
        print_summary(&copy, settings->json);
out:
    pair_close(&from);
    pair_close(&to);
    od_free(scratch);
    return rc;
}

int od_command_copy_store(int argc, char **argv)
{
    struct copy_settings settings = {0};
    struct od_config config = {0};
    struct od_error err = {0};
    int status = od_command_read(&copy_program, argc, argv, &settings, &config);
    if (status >= 0)
        return status;
    status = copy_store(&settings, &err) == OD_OK ? OD_EXIT_OK : od_command_fail(&err);
    od_config_release(&config);
    return status;
}
