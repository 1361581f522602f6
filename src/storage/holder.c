// holder.c - what one journal directory is: its uuid, and the journals in it that are no part of a history any more.
//
// The uuid is what the metadata calls the holder of a branch (rule M6): it is made once, and stays with the directory.
// When another place took over, this one's journals of before are superseded: the commits in them that are in no layer are
// lost to the database, and were given up by whoever forced the takeover. Which journals those are is read, not guessed:
// their header blocks have the epoch, and the branch's row has held_since. They are moved to BRANCH/superseded, where no
// opening looks, for the operator; the newest OD_SUPERSEDED_KEPT of a branch stay.
#include "storage/store_internal.h"

#include "base/alloc.h"
#include "base/log.h"

#include <stdio.h>
#include <string.h>

#define HOLDER_FILE "holder"
#define SUPERSEDED "superseded"
#define TEXT_BYTES (OD_UUID_TEXT_BYTES - 1)

static od_code read_holder(struct od_platform *platform, const char *path, struct od_uuid *holder, struct od_error *err)
{
    od_code rc = OD_OK;
    struct od_disk_file *file = NULL;
    char text[OD_UUID_TEXT_BYTES] = "";
    uint64_t bytes;
    OD_TRY(platform->ops->open(platform, path, OD_DISK_READ, &file, err));
    OD_TRY(platform->ops->size(file, &bytes, err));
    if (bytes == TEXT_BYTES)
        OD_TRY(platform->ops->read(file, 0, text, TEXT_BYTES, err));
    if (bytes != TEXT_BYTES || od_uuid_parse(text, holder, NULL) != OD_OK || od_uuid_is_zero(holder))
        OD_TRY(od_fail(err, OD_CORRUPT,
                       "%s does not hold the uuid of this journal directory. Without it nobody can tell whether the "
                       "journals here are the newest; restore it from a copy (the metadata's rows of branches name it)",
                       path));
out:
    if (file)
        platform->ops->close(file);
    return rc;
}

// Durable under its name, or not there.
static od_code make_holder(struct od_platform *platform, const char *directory, const char *path,
                           struct od_uuid *holder, struct od_error *err)
{
    od_code rc = OD_OK;
    struct od_disk_file *file = NULL;
    char text[OD_UUID_TEXT_BYTES], made[OD_JOURNAL_PATH_BYTES + 8];
    snprintf(made, sizeof made, "%s.new", path);
    platform->ops->random(platform, holder->bytes, sizeof holder->bytes);
    od_uuid_mark_random(holder);
    od_uuid_format(holder, text);
    rc = platform->ops->remove(platform, made, err); // of a try that a crash cut off
    if (rc != OD_OK && rc != OD_NOT_FOUND)
        goto out;
    OD_TRY(platform->ops->open(platform, made, OD_DISK_CREATE, &file, err));
    OD_TRY(platform->ops->write(file, 0, &(struct iovec){text, TEXT_BYTES}, 1, err));
    OD_TRY(platform->ops->sync(file, err));
    OD_TRY(platform->ops->rename(platform, made, path, err));
    OD_TRY(platform->ops->sync_directory(platform, directory, err));
out:
    if (file)
        platform->ops->close(file);
    return rc;
}

od_code od_store_holder(struct od_store *store, struct od_uuid *holder, struct od_error *err)
{
    od_code rc = OD_OK;
    char path[OD_JOURNAL_PATH_BYTES];
    const char *directory = store->options.journal_directory;
    pthread_mutex_lock(&store->lock);
    if (od_uuid_is_zero(&store->holder)) {
        int length = snprintf(path, sizeof path, "%s/" HOLDER_FILE, directory);
        if (length < 0 || (size_t)length >= sizeof path)
            OD_TRY(od_fail(err, OD_INVALID, "the journal directory's path %.80s... is too long", directory));
        struct od_uuid found;
        rc = read_holder(store->options.platform, path, &found, err);
        if (rc == OD_OK) // the sync of its name may have failed, or never have come, when it was made
            rc = store->options.platform->ops->sync_directory(store->options.platform, directory, err);
        else if (rc == OD_NOT_FOUND)
            rc = make_holder(store->options.platform, directory, path, &found, err);
        OD_TRY(rc);
        store->holder = found;
    }
    *holder = store->holder;
out:
    pthread_mutex_unlock(&store->lock);
    return rc;
}

// Names begin with the epoch, so the first ones are the oldest.
static od_code bound(struct od_platform *platform, const char *directory, struct od_error *err)
{
    od_code rc = OD_OK;
    struct od_names names = {0};
    char path[OD_JOURNAL_PATH_BYTES + 300];
    OD_TRY(platform->ops->list(platform, directory, &names, err));
    for (size_t i = 0; i + OD_SUPERSEDED_KEPT < names.count; i++) {
        snprintf(path, sizeof path, "%s/%s", directory, names.names[i]);
        OD_TRY(platform->ops->remove(platform, path, err));
        od_log(OD_LOG_WARN, "storage", "%s is removed: %u newer superseded journals are kept", path,
               OD_SUPERSEDED_KEPT);
    }
out:
    od_names_release(&names);
    return rc;
}

static void tell(const struct od_volume *volume, struct od_journal *journal, const struct od_journal_end *end,
                 od_code scanned, const struct od_error *why, const char *path)
{
    od_log(OD_LOG_WARN, "storage",
           "%s was taken over by another place after epoch %llu. What was committed here meanwhile is no part of it: "
           "%llu barriers, positions %llu to %llu, the last at %llu us%s%s; kept as %s",
           volume->name, (unsigned long long)journal->header.epoch, (unsigned long long)end->barriers,
           (unsigned long long)journal->header.first_lsn, (unsigned long long)end->lsn,
           (unsigned long long)end->time_us,
           scanned == OD_OK ? "" : "; damaged: ", scanned == OD_OK ? "" : why->message, path);
}

od_code od_superseded_keep(struct od_volume *volume, struct od_journal *journal, struct od_error *err)
{
    od_code rc = OD_OK;
    struct od_platform *platform = volume->platform;
    char directory[OD_JOURNAL_PATH_BYTES + 16], path[OD_JOURNAL_PATH_BYTES + 128], layer[OD_UUID_TEXT_BYTES];
    struct od_journal_end end = {0};
    struct od_error damage = {0};
    od_code scanned = od_journal_scan(journal, &end, &damage);
    if (scanned == OD_OK && end.barriers == 0)
        return OD_OK; // nothing was committed in it
    if (scanned != OD_OK && scanned != OD_CORRUPT)
        OD_TRY(od_fail(err, scanned, "%s", damage.message));
    snprintf(directory, sizeof directory, "%s/" SUPERSEDED, volume->directory);
    od_uuid_format(&journal->header.layer, layer);
    snprintf(path, sizeof path, "%s/%020llu-%s" OD_JOURNAL_SUFFIX, directory, (unsigned long long)journal->header.epoch,
             layer);
    OD_TRY(platform->ops->make_directory(platform, directory, err));
    rc = platform->ops->link(platform, journal->path, path, err);
    if (rc != OD_OK && rc != OD_EXISTS) // EXISTS: a crash came before the old name was gone
        goto out;
    OD_TRY(platform->ops->sync_directory(platform, directory, err));
    tell(volume, journal, &end, scanned, &damage, path);
    OD_TRY(bound(platform, directory, err));
out:
    return rc;
}
