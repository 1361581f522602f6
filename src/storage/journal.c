// journal.c - making, reserving, opening a journal file; see journal.h.
#include "storage/journal.h"
#include "storage/planted.h"

#include "base/alloc.h"
#include "base/limits.h"

#include <stdio.h>
#include <string.h>

#define RESERVE_STEP_MIN (256 * OD_KIB)
#define RESERVE_STEP_MAX (32 * OD_MIB)

static od_code new_journal(struct od_platform *platform, const char *directory, const char *name,
                           struct od_journal **out, struct od_error *err)
{
    struct od_journal *journal = od_calloc(1, sizeof *journal);
    if (!journal)
        return od_fail(err, OD_NO_MEMORY, "out of memory for a journal");
    journal->platform = platform;
    pthread_rwlock_init(&journal->place, NULL);
    journal->end_lsn = UINT64_MAX;
    int length = snprintf(journal->path, sizeof journal->path, "%s/%s", directory, name);
    if (length < 0 || (size_t)length >= sizeof journal->path) {
        od_journal_close(journal);
        return od_fail(err, OD_INVALID, "the path %.80s... is too long for a journal", directory);
    }
    *out = journal;
    return OD_OK;
}

void od_journal_close(struct od_journal *journal)
{
    if (!journal)
        return;
    if (journal->file)
        journal->platform->ops->close(journal->file);
    od_object_close(journal->object);
    pthread_rwlock_destroy(&journal->place);
    od_free(journal);
}

od_code od_journal_create(struct od_platform *platform, const char *directory, const struct od_uuid *layer,
                          uint64_t seal_bytes, struct od_journal **out, struct od_error *err)
{
    od_code rc = OD_OK;
    struct od_journal *journal = NULL;
    char name[OD_UUID_TEXT_BYTES + sizeof OD_JOURNAL_SUFFIX];
    od_uuid_format(layer, name);
    memcpy(name + OD_UUID_TEXT_BYTES - 1, OD_JOURNAL_SUFFIX, sizeof OD_JOURNAL_SUFFIX);
    OD_TRY(new_journal(platform, directory, name, &journal, err));
    journal->header.layer = *layer;
    journal->seed = od_record_seed(layer);
    journal->step = seal_bytes / 8 < RESERVE_STEP_MIN   ? RESERVE_STEP_MIN
                    : seal_bytes / 8 > RESERVE_STEP_MAX ? RESERVE_STEP_MAX
                                                        : seal_bytes / 8;
    OD_TRY(platform->ops->open(platform, journal->path, OD_DISK_CREATE, &journal->file, err));
    OD_TRY(od_journal_reserve(journal, OD_JOURNAL_HEADER_BYTES, err));
    OD_TRY(platform->ops->sync(journal->file, err));
    if (!OD_PLANT(NAME_NOT_SYNCED))
        OD_TRY(platform->ops->sync_directory(platform, directory, err));
    *out = journal;
    journal = NULL;
out:
    od_journal_close(journal);
    return rc;
}

od_code od_journal_begin(struct od_journal *journal, const struct od_journal_header *header, struct od_error *err)
{
    uint8_t block[OD_JOURNAL_HEADER_BYTES];
    od_journal_header_encode(header, block);
    od_code rc = od_journal_header_decode(block, journal->path, &journal->header, &journal->head_chain, err);
    if (rc != OD_OK)
        return rc;
    return journal->platform->ops->write(journal->file, 0, &(struct iovec){block, sizeof block}, 1, err);
}

static bool all_zeros(const uint8_t *data, size_t bytes)
{
    return data[0] == 0 && memcmp(data, data + 1, bytes - 1) == 0;
}

od_code od_journal_open(struct od_platform *platform, const char *directory, const char *name, bool *used,
                        struct od_journal **out, struct od_error *err)
{
    od_code rc = OD_OK;
    struct od_journal *journal = NULL;
    struct od_uuid layer;
    uint8_t block[OD_JOURNAL_HEADER_BYTES];
    char text[OD_UUID_TEXT_BYTES];
    OD_TRY(new_journal(platform, directory, name, &journal, err));
    if (strlen(name) != sizeof text - 1 + strlen(OD_JOURNAL_SUFFIX))
        OD_TRY(od_fail(err, OD_CORRUPT, "%s is not the name of a journal", journal->path));
    memcpy(text, name, sizeof text - 1);
    text[sizeof text - 1] = '\0';
    if (od_uuid_parse(text, &layer, NULL) != OD_OK)
        OD_TRY(od_fail(err, OD_CORRUPT, "%s is not the name of a journal", journal->path));
    journal->seed = od_record_seed(&layer);
    OD_TRY(platform->ops->open(platform, journal->path, OD_DISK_WRITE, &journal->file, err));
    OD_TRY(platform->ops->size(journal->file, &journal->reserved, err));
    *used = false;
    bool has_block = journal->reserved >= sizeof block;
    if (has_block)
        OD_TRY(platform->ops->read(journal->file, 0, block, sizeof block, err));
    if (has_block && !all_zeros(block, sizeof block)) {
        rc = od_journal_header_decode(block, journal->path, &journal->header, &journal->head_chain, err);
        if (rc == OD_UNSUPPORTED)
            goto out;
        *used = rc == OD_OK && od_uuid_equal(&journal->header.layer, &layer);
    }
    if (!*used)
        journal->header = (struct od_journal_header){.layer = layer};
    rc = *used ? OD_OK : od_journal_check_headless(journal, err);
    OD_TRY(rc);
    *out = journal;
    journal = NULL;
out:
    od_journal_close(journal);
    return rc;
}

od_code od_journal_read(struct od_journal *journal, uint64_t offset, void *out, size_t bytes, struct od_error *err)
{
    pthread_rwlock_rdlock(&journal->place);
    od_code rc = journal->file ? journal->platform->ops->read(journal->file, offset, out, bytes, err)
                               : od_object_read(journal->object, offset, out, bytes, err);
    pthread_rwlock_unlock(&journal->place);
    return rc;
}

od_code od_journal_size(struct od_journal *journal, uint64_t *bytes, struct od_error *err)
{
    od_code rc = OD_OK;
    pthread_rwlock_rdlock(&journal->place);
    if (journal->file)
        rc = journal->platform->ops->size(journal->file, bytes, err);
    else
        *bytes = od_object_bytes(journal->object);
    pthread_rwlock_unlock(&journal->place);
    return rc;
}

void od_journal_retire(struct od_journal *journal, struct od_object *object)
{
    pthread_rwlock_wrlock(&journal->place);
    struct od_disk_file *file = journal->file;
    journal->file = NULL;
    journal->object = object;
    pthread_rwlock_unlock(&journal->place);
    journal->platform->ops->close(file);
}

bool od_journal_is_name(const char *name)
{
    size_t bytes = strlen(name), suffix = strlen(OD_JOURNAL_SUFFIX);
    return bytes > suffix && strcmp(name + bytes - suffix, OD_JOURNAL_SUFFIX) == 0;
}

static od_code copy_bytes(struct od_journal *journal, struct od_disk_file *to, uint64_t bytes, struct od_error *err)
{
    od_code rc = OD_OK;
    const size_t step = 1 * OD_MIB;
    uint8_t *piece = od_alloc(step);
    if (!piece)
        OD_TRY(od_fail(err, OD_NO_MEMORY, "out of memory for reading %s", journal->path));
    for (uint64_t at = 0; at < bytes;) {
        size_t part = bytes - at < step ? (size_t)(bytes - at) : step;
        OD_TRY(od_journal_read(journal, at, piece, part, err));
        OD_TRY(journal->platform->ops->write(to, at, &(struct iovec){piece, part}, 1, err));
        at += part;
    }
out:
    od_free(piece);
    return rc;
}

od_code od_journal_renew(struct od_journal *journal, const char *directory, uint64_t bytes, struct od_error *err)
{
    od_code rc = OD_OK;
    const struct od_platform_ops *ops = journal->platform->ops;
    struct od_disk_file *made = NULL;
    char path[OD_JOURNAL_PATH_BYTES + 8];
    snprintf(path, sizeof path, "%s" OD_JOURNAL_NEW, journal->path);
    OD_TRY(ops->open(journal->platform, path, OD_DISK_CREATE, &made, err));
    OD_TRY(copy_bytes(journal, made, bytes, err));
    OD_TRY(ops->sync(made, err));
    OD_TRY(ops->rename(journal->platform, path, journal->path, err));
    OD_TRY(ops->sync_directory(journal->platform, directory, err));
    ops->close(journal->file);
    journal->file = made;
    journal->reserved = bytes;
    made = NULL;
out:
    if (made)
        ops->close(made);
    return rc;
}

od_code od_journal_reserve(struct od_journal *journal, uint64_t offset, struct od_error *err)
{
    if (offset <= journal->reserved)
        return OD_OK;
    // Near the end of a full disk a step may not fit where the record itself does.
    uint64_t bytes = offset - journal->reserved;
    uint64_t step = (bytes + journal->step - 1) / journal->step * journal->step;
    od_code rc = journal->platform->ops->allocate(journal->file, journal->reserved, step, err);
    if (rc == OD_LIMIT && step > bytes) {
        step = bytes;
        rc = journal->platform->ops->allocate(journal->file, journal->reserved, step, err);
    }
    if (rc == OD_OK)
        journal->reserved += step;
    return rc;
}
