// where.c - see where.h.
#include "cli/where.h"

#include "base/alloc.h"
#include "base/limits.h"
#include "base/log.h"
#include "os/config.h"
#include "os/file.h"
#include "os/random.h"

#include <stdio.h>
#include <string.h>

#define SCRATCH_CACHE_BYTES (256 * OD_MIB)

bool od_where_take(const char *program, int *argc, char **argv, struct od_where_flags *flags)
{
    const struct {
        const char *name, **value, *what;
    } all[] = {{"--data", &flags->data, "a directory"},
               {"--metadata", &flags->metadata, "an address"},
               {"--objects", &flags->objects, "an address"}};
    *flags = (struct od_where_flags){0};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (!od_flag_take(argc, argv, all[i].name, NULL, all[i].value)) {
            fprintf(stderr, "%s: %s needs %s\n", program, all[i].name, all[i].what);
            return false;
        }
    return true;
}

static od_code make_scratch(char **out, struct od_error *err)
{
    char id[OD_RANDOM_ID_BYTES], name[OD_RANDOM_ID_BYTES + 16];
    const char *folder = od_environment("TMPDIR");
    od_random_id(id);
    snprintf(name, sizeof name, "openduck-%s", id);
    *out = od_path_join(folder ? folder : "/tmp", name);
    return *out ? OD_OK : od_fail(err, OD_NO_MEMORY, "no memory for a path");
}

od_code od_where_open(const struct od_connect_settings *connect, const struct od_where_flags *flags,
                      struct od_where *where, struct od_error *err)
{
    od_code rc = OD_OK;
    *where = (struct od_where){0};
    if (!flags->data && !flags->metadata && !flags->objects)
        return od_connect(connect, &where->client, err);
    if (!flags->data)
        rc = make_scratch(&where->scratch, err);
    if (rc != OD_OK)
        return rc;
    const struct od_host_options options = {.directory = flags->data ? flags->data : where->scratch,
                                            .metadata = flags->metadata,
                                            .objects = flags->objects,
                                            .cache_bytes = flags->data ? 0 : SCRATCH_CACHE_BYTES};
    rc = od_host_open(&options, &where->host, err);
    if (rc == OD_LOCKED && err) {
        size_t used = strlen(err->message);
        snprintf(err->message + used, sizeof err->message - used, "; ask that server instead: --endpoint HOST:PORT");
    }
    return rc;
}

void od_where_close(struct od_where *where)
{
    struct od_error err;
    od_host_close(where->host);
    od_client_close(where->client);
    if (where->scratch && od_tree_remove(where->scratch, &err) != OD_OK)
        od_log(OD_LOG_WARN, "openduck", "%s", err.message);
    od_free(where->scratch);
    *where = (struct od_where){0};
}
