// toy_store.c - the smallest store that keeps the promises of store.h and volume.h: one stream of checksummed records in a
// file, published as objects. It proves the simulator: without a planted bug every history holds, with one some do not.
//
// Left out, and answered OD_UNSUPPORTED: clones, restoring, importing. Nothing here is meant to be fast.
#include "sim/toy_store.h"
#include "base/alloc.h"
#include "base/buf.h"
#include "base/assert.h"
#include "metastore/metastore.h"
#include "objstore/objstore.h"
#include "os/platform.h"
#include "sim/model.h"
#include "storage/store.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

unsigned toy_bug;

enum record_kind {
    RECORD_WRITE,
    RECORD_CREATE,
    RECORD_TRUNCATE,
    RECORD_REMOVE,
    RECORD_RENAME,
    RECORD_TRIM,
    RECORD_BARRIER
};

struct record {
    uint32_t checksum; // of the rest and of the payload, begun with the stream's position
    uint32_t bytes;    // of the payload
    uint64_t offset;   // of a write; the rest of a trim is in `length`
    uint64_t length;
    uint8_t kind, file, to, entry; // entry: the payload of a barrier is a ledger entry
    uint8_t unused[4];
};

struct od_store {
    struct od_store_options options;
};

struct waiting {
    uint64_t lsn;
    void (*done)(void *context, od_code rc);
    void *context;
};

struct od_volume {
    struct od_store *store;
    struct od_uuid place; // from the owner's name
    char name[OD_META_NAME_BYTES];
    struct od_meta_branch branch;
    struct model_state state;
    struct od_buf stream; // from base_lsn on
    uint64_t base_lsn, barrier_lsn, durable_lsn, tip_lsn;
    struct od_disk_file *journal;
    uint64_t written; // bytes of the stream that were written to the journal
    struct od_ledger_entry *entries;
    size_t entry_count;
    struct waiting *waiters;
    size_t waiter_count;
    bool frozen, poisoned, fenced;
    struct od_meta_layer pending; // a publication whose outcome is not known
    bool is_pending;
};

static uint32_t checksum_of(const struct record *record, const uint8_t *payload, uint64_t lsn)
{
    uint64_t sum = lsn * 0x9e3779b97f4a7c15u + 1;
    const uint8_t *head = (const uint8_t *)record;
    for (size_t i = sizeof record->checksum; i < sizeof *record; i++)
        sum = (sum ^ head[i]) * 0x100000001b3u;
    for (uint32_t i = 0; i < record->bytes; i++)
        sum = (sum ^ payload[i]) * 0x100000001b3u;
    return (uint32_t)(sum ^ (sum >> 32));
}

// ---- records

static void entry_add(struct od_volume *volume, const struct od_ledger_entry *entry)
{
    volume->entries = realloc(volume->entries, (volume->entry_count + 1) * sizeof *entry);
    od_assert(volume->entries);
    volume->entries[volume->entry_count++] = *entry;
}

static void apply(struct od_volume *volume, const struct record *record, const uint8_t *payload)
{
    struct model_state *state = &volume->state;
    switch (record->kind) {
    case RECORD_WRITE:
        model_write(state, record->file, record->offset, payload, record->bytes);
        break;
    case RECORD_CREATE:
        state->exists[record->file] = true;
        break;
    case RECORD_TRUNCATE:
        model_truncate(state, record->file, record->offset);
        break;
    case RECORD_REMOVE:
        model_remove(state, record->file);
        break;
    case RECORD_RENAME:
        model_rename(state, record->file, record->to);
        break;
    case RECORD_BARRIER:
        if (record->entry) {
            struct od_ledger_entry entry;
            memcpy(&entry, payload, sizeof entry);
            entry_add(volume, &entry);
        }
        break;
    default:
        break;
    }
}

// The end of the last whole barrier in the bytes, which begin at first_lsn; 0 when there is none.
static size_t last_barrier(const uint8_t *bytes, size_t count, uint64_t first_lsn)
{
    size_t at = 0, end = 0;
    struct record record;
    while (count - at >= sizeof record) {
        memcpy(&record, bytes + at, sizeof record);
        if (record.bytes > count - at - sizeof record ||
            record.checksum != checksum_of(&record, bytes + at + sizeof record, first_lsn + at) ||
            record.kind > RECORD_BARRIER || record.unused[0] != 0x77)
            break;
        at += sizeof record + record.bytes;
        if (record.kind == RECORD_BARRIER || toy_bug == TOY_BUG_NOT_A_BARRIER)
            end = at;
    }
    return end;
}

static void replay(struct od_volume *volume, const uint8_t *bytes, size_t count)
{
    struct record record;
    for (size_t at = 0; at < count; at += sizeof record + record.bytes) {
        memcpy(&record, bytes + at, sizeof record);
        apply(volume, &record, bytes + at + sizeof record);
    }
}

static od_code usable(struct od_volume *volume, struct od_error *err)
{
    if (volume->frozen)
        return od_fail(err, OD_READ_ONLY, "%s: a snapshot", volume->name);
    if (volume->fenced)
        return od_fail(err, OD_FENCED, "%s: another writer has taken over", volume->name);
    if (volume->poisoned)
        return od_fail(err, OD_IO, "%s: the journal failed", volume->name);
    return OD_OK;
}

static od_code append(struct od_volume *volume, struct record record, const void *payload, struct od_error *err)
{
    od_code rc = usable(volume, err);
    if (rc != OD_OK)
        return rc;
    const uint64_t lsn = volume->base_lsn + volume->stream.bytes;
    record.unused[0] = 0x77;
    record.checksum = checksum_of(&record, payload, lsn);
    OD_TRY(od_buf_reserve(&volume->stream, sizeof record + record.bytes, err));
    OD_TRY(od_buf_append(&volume->stream, &record, sizeof record, err));
    OD_TRY(od_buf_append(&volume->stream, payload, record.bytes, err));
    apply(volume, &record, payload);
out:
    return rc;
}

// ---- files

bool od_volume_exists(struct od_volume *volume, enum od_volume_file file)
{
    return volume->state.exists[file];
}

uint64_t od_volume_size(struct od_volume *volume, enum od_volume_file file)
{
    return volume->state.files[file].size;
}

od_code od_volume_create(struct od_volume *volume, enum od_volume_file file, struct od_error *err)
{
    return append(volume, (struct record){.kind = RECORD_CREATE, .file = (uint8_t)file}, "", err);
}

od_code od_volume_read(struct od_volume *volume, enum od_volume_file file, uint64_t offset, void *out, size_t bytes,
                       struct od_error *err)
{
    return sim_bytes_read(&volume->state.files[file], offset, out, bytes)
               ? OD_OK
               : od_fail(err, OD_IO, "%s: beyond the end", volume->name);
}

od_code od_volume_write(struct od_volume *volume, enum od_volume_file file, uint64_t offset, const void *data,
                        size_t bytes, struct od_error *err)
{
    const struct record record = {
        .kind = RECORD_WRITE, .file = (uint8_t)file, .offset = offset, .bytes = (uint32_t)bytes};
    return append(volume, record, data, err);
}

od_code od_volume_truncate(struct od_volume *volume, enum od_volume_file file, uint64_t bytes, struct od_error *err)
{
    return append(volume, (struct record){.kind = RECORD_TRUNCATE, .file = (uint8_t)file, .offset = bytes}, "", err);
}

od_code od_volume_trim(struct od_volume *volume, enum od_volume_file file, uint64_t offset, uint64_t bytes,
                       struct od_error *err)
{
    const struct record record = {.kind = RECORD_TRIM, .file = (uint8_t)file, .offset = offset, .length = bytes};
    return append(volume, record, "", err);
}

od_code od_volume_remove(struct od_volume *volume, enum od_volume_file file, struct od_error *err)
{
    return append(volume, (struct record){.kind = RECORD_REMOVE, .file = (uint8_t)file}, "", err);
}

od_code od_volume_rename(struct od_volume *volume, enum od_volume_file from, enum od_volume_file to,
                         struct od_error *err)
{
    const struct record record = {.kind = RECORD_RENAME, .file = (uint8_t)from, .to = (uint8_t)to};
    return append(volume, record, "", err);
}

od_code od_volume_barrier(struct od_volume *volume, const struct od_ledger_entry *entry, uint64_t *lsn,
                          struct od_error *err)
{
    struct record record = {.kind = RECORD_BARRIER};
    struct od_ledger_entry own = {.changed_rows = 0};
    if (entry && toy_bug != TOY_BUG_LEDGER_APART) {
        own = *entry;
        record.entry = 1;
        record.bytes = sizeof own;
    }
    const od_code rc = append(volume, record, &own, err);
    if (rc == OD_OK) {
        *lsn = volume->barrier_lsn = volume->base_lsn + volume->stream.bytes;
        if (entry && toy_bug == TOY_BUG_LEDGER_APART)
            entry_add(volume, entry);
        if (toy_bug == TOY_BUG_EARLY_DURABLE)
            volume->durable_lsn = *lsn;
    }
    return rc;
}

// ---- durability

uint64_t od_volume_barrier_lsn(struct od_volume *volume)
{
    return volume->barrier_lsn;
}

uint64_t od_volume_durable_lsn(struct od_volume *volume)
{
    return volume->durable_lsn;
}

uint64_t od_volume_epoch(struct od_volume *volume)
{
    return volume->branch.epoch;
}

od_code od_volume_wait_durable(struct od_volume *volume, uint64_t lsn, struct od_error *err)
{
    if (volume->durable_lsn >= lsn)
        return OD_OK;
    return od_fail(err, OD_OUTCOME_UNKNOWN, "%s: not durable", volume->name);
}

void od_volume_when_durable(struct od_volume *volume, uint64_t lsn, void (*done)(void *context, od_code rc),
                            void *context)
{
    if (volume->durable_lsn >= lsn) {
        done(context, OD_OK);
        return;
    }
    volume->waiters = realloc(volume->waiters, (volume->waiter_count + 1) * sizeof *volume->waiters);
    od_assert(volume->waiters);
    volume->waiters[volume->waiter_count++] = (struct waiting){lsn, done, context};
}

static void wake(struct od_volume *volume)
{
    for (size_t i = 0; i < volume->waiter_count; i++) {
        const struct waiting *waiting = &volume->waiters[i];
        waiting->done(waiting->context, volume->durable_lsn >= waiting->lsn ? OD_OK : OD_OUTCOME_UNKNOWN);
    }
    volume->waiter_count = 0;
}

od_code od_volume_health(struct od_volume *volume, struct od_error *err)
{
    return volume->frozen ? OD_OK : usable(volume, err);
}

bool od_volume_ledger_find(struct od_volume *volume, const char *request_id, struct od_ledger_entry *entry)
{
    for (size_t i = 0; i < volume->entry_count; i++) {
        if (strcmp(volume->entries[i].request_id, request_id) == 0) {
            *entry = volume->entries[i];
            return true;
        }
    }
    return false;
}

od_code od_volume_flush(struct od_volume *volume, struct od_error *err)
{
    const struct od_platform_ops *ops = volume->store->options.platform->ops;
    od_code rc = usable(volume, err);
    if (rc == OD_OK && volume->durable_lsn < volume->barrier_lsn) {
        const struct iovec part = {volume->stream.data + volume->written, volume->stream.bytes - volume->written};
        rc = ops->write(volume->journal, volume->written, &part, 1, err);
        if (rc == OD_OK && toy_bug != TOY_BUG_NO_SYNC)
            rc = ops->sync(volume->journal, err);
        if (rc == OD_OK || (toy_bug == TOY_BUG_IGNORED_SYNC && rc == OD_IO)) {
            rc = OD_OK;
            volume->written = volume->stream.bytes;
            volume->durable_lsn = volume->barrier_lsn;
        } else {
            volume->poisoned = true;
        }
    }
    wake(volume);
    return rc;
}

od_code od_volume_roll(struct od_volume *volume, struct od_error *err)
{
    return od_volume_flush(volume, err);
}

// Puts what lies between the tip and the last durable barrier as one object, and moves the tip to it.
od_code od_volume_publish(struct od_volume *volume, struct od_error *err)
{
    const struct od_store_options *options = &volume->store->options;
    od_code rc = usable(volume, err);
    if (rc != OD_OK || volume->durable_lsn <= volume->tip_lsn)
        return rc;
    struct od_meta_layer *layer = &volume->pending;
    if (!volume->is_pending) {
        *layer = (struct od_meta_layer){.branch = volume->branch.branch, .epoch = volume->branch.epoch};
        options->platform->ops->random(options->platform, layer->layer.bytes, sizeof layer->layer.bytes);
        layer->parent = volume->branch.tip_layer;
        layer->first_lsn = volume->tip_lsn;
        layer->end_lsn = volume->durable_lsn;
        layer->bytes = layer->end_lsn - layer->first_lsn;
        char text[OD_UUID_TEXT_BYTES];
        od_uuid_format(&layer->layer, text);
        snprintf(layer->key, sizeof layer->key, "layers/%s", text);
    }
    volume->is_pending = true;
    const struct iovec part = {volume->stream.data + (layer->first_lsn - volume->base_lsn), layer->bytes};
    rc = options->objects->ops->put(options->objects, layer->key, &part, 1, err);
    if (rc == OD_EXISTS)
        rc = OD_OK; // an earlier try, whose answer was lost
    if (rc == OD_OK || (rc == OD_OUTCOME_UNKNOWN && toy_bug == TOY_BUG_TRUSTING_PUT))
        rc = options->metadata->ops->layer_publish(options->metadata, layer, &layer->parent, err);
    if (rc == OD_FENCED || rc == OD_STALE)
        volume->fenced = true;
    if (rc == OD_OK) {
        volume->tip_lsn = layer->end_lsn;
        volume->branch.tip_layer = layer->layer;
        volume->is_pending = false;
    }
    return rc;
}

od_code od_volume_maintain(struct od_volume *volume, struct od_error *err)
{
    const od_code rc = od_volume_roll(volume, err);
    return rc == OD_OK ? od_volume_publish(volume, err) : rc;
}

// ---- opening

static od_code replay_layers(struct od_volume *volume, const struct od_uuid *tip, uint64_t until, struct od_error *err)
{
    const struct od_store_options *options = &volume->store->options;
    struct od_meta_layer *layers = NULL;
    struct od_object *object = NULL;
    uint8_t *bytes = NULL;
    size_t count = 0;
    od_code rc = options->metadata->ops->layer_list(options->metadata, &volume->branch.branch, &layers, &count, err);
    (void)tip;
    for (size_t i = 0; rc == OD_OK && i < count && layers[i].first_lsn < until; i++) {
        const uint64_t end = layers[i].end_lsn < until ? layers[i].end_lsn : until;
        bytes = malloc(layers[i].bytes + 1);
        od_assert(bytes);
        OD_TRY(options->objects->ops->open(options->objects, layers[i].key, &object, err));
        OD_TRY(options->objects->ops->object_read(object, 0, bytes, layers[i].bytes, err));
        replay(volume, bytes, end - layers[i].first_lsn);
        options->objects->ops->object_close(object);
        object = NULL;
        free(bytes);
        bytes = NULL;
    }
out:
    if (object)
        options->objects->ops->object_close(object);
    free(bytes);
    od_free(layers);
    return rc;
}

static void journal_path(const struct od_volume *volume, uint64_t epoch, uint64_t base, char out[256])
{
    char text[OD_UUID_TEXT_BYTES];
    od_uuid_format(&volume->branch.branch, text);
    snprintf(out, 256, "%s/%s.%016llx.%016llx", volume->store->options.journal_directory, text,
             (unsigned long long)epoch, (unsigned long long)base);
}

// What an earlier opening on this machine left after the tip: its last barrier becomes ours.
static od_code recover_journal(struct od_volume *volume, const char *path, uint64_t base, struct od_error *err)
{
    const struct od_platform_ops *ops = volume->store->options.platform->ops;
    struct od_disk_file *file = NULL;
    uint8_t *bytes = NULL;
    uint64_t size = 0;
    od_code rc = ops->open(volume->store->options.platform, path, OD_DISK_READ, &file, err);
    if (rc != OD_OK)
        return rc;
    OD_TRY(ops->size(file, &size, err));
    bytes = malloc(size + 1);
    od_assert(bytes);
    OD_TRY(ops->read(file, 0, bytes, size, err));
    const size_t end = last_barrier(bytes, size, base);
    if (base <= volume->tip_lsn && base + end > volume->tip_lsn) {
        const size_t from = (size_t)(volume->tip_lsn - base);
        replay(volume, bytes + from, end - from);
        OD_TRY(od_buf_append(&volume->stream, bytes + from, end - from, err));
        volume->barrier_lsn = base + end;
    }
out:
    free(bytes);
    ops->close(file);
    return rc;
}

// The newest journal of this branch here; *base is where it begins. Others are older, or were left by a failed opening.
// forget: all of them are removed, durably.
static od_code newest_journal(struct od_volume *volume, bool forget, char path[256], uint64_t *base,
                              struct od_error *err)
{
    struct od_platform *platform = volume->store->options.platform;
    const char *directory = volume->store->options.journal_directory;
    char text[OD_UUID_TEXT_BYTES];
    struct od_names names = {0};
    od_code rc;
    OD_TRY(platform->ops->list(platform, directory, &names, err));
    od_uuid_format(&volume->branch.branch, text);
    path[0] = '\0';
    for (size_t i = 0; i < names.count; i++) {
        const size_t bytes = strlen(text);
        if (strncmp(names.names[i], text, bytes) != 0 || (strstr(names.names[i], ".new") && !forget))
            continue;
        snprintf(path, 256, "%s/%s", directory, names.names[i]);
        *base = strtoull(names.names[i] + bytes + 18, NULL, 16);
        if (forget)
            OD_TRY(platform->ops->remove(platform, path, err));
    }
    if (forget) {
        path[0] = '\0';
        OD_TRY(platform->ops->sync_directory(platform, directory, err));
    }
out:
    od_names_release(&names);
    return rc;
}

static od_code start_journal(struct od_volume *volume, const char *old, struct od_error *err)
{
    struct od_platform *platform = volume->store->options.platform;
    char path[256], made[280];
    od_code rc;
    journal_path(volume, volume->branch.epoch, volume->base_lsn, path);
    snprintf(made, sizeof made, "%s.new", path);
    OD_TRY(platform->ops->open(platform, made, OD_DISK_CREATE, &volume->journal, err));
    const struct iovec part = {volume->stream.data, volume->stream.bytes};
    OD_TRY(platform->ops->write(volume->journal, 0, &part, 1, err));
    OD_TRY(platform->ops->sync(volume->journal, err));
    OD_TRY(platform->ops->rename(platform, made, path, err));
    if (toy_bug != TOY_BUG_NO_DIRECTORY_SYNC)
        OD_TRY(platform->ops->sync_directory(platform, volume->store->options.journal_directory, err));
    volume->written = volume->stream.bytes;
    volume->durable_lsn = volume->barrier_lsn;
    if (old[0])
        (void)platform->ops->remove(platform, old, NULL); // it is older: the next opening passes it by
out:
    return rc;
}

static od_code volume_new(struct od_store *store, const char *name, struct od_volume **out, struct od_error *err)
{
    const struct od_store_options *options = &store->options;
    struct od_volume *volume = calloc(1, sizeof *volume);
    struct od_meta_database row;
    od_assert(volume);
    volume->store = store;
    snprintf(volume->name, sizeof volume->name, "%s", name);
    od_buf_init(&volume->stream, 256u * 1024 * 1024);
    *out = volume;
    memcpy(volume->place.bytes, options->owner, strnlen(options->owner, sizeof volume->place.bytes));
    od_code rc = options->metadata->ops->database_get(options->metadata, name, &row, err);
    if (rc == OD_OK)
        rc = options->metadata->ops->branch_get(options->metadata, &row.branch, &volume->branch, err);
    return rc;
}

static void volume_free(struct od_volume *volume)
{
    if (volume->journal)
        volume->store->options.platform->ops->close(volume->journal);
    od_buf_release(&volume->stream);
    model_state_release(&volume->state);
    free(volume->entries);
    free(volume->waiters);
    free(volume);
}

od_code od_volume_open(struct od_store *store, const char *name, bool force, struct od_volume **out,
                       struct od_error *err)
{
    const struct od_store_options *options = &store->options;
    struct od_volume *volume;
    char old[256] = "";
    uint64_t old_base = 0;
    od_code rc = volume_new(store, name, &volume, err);
    if (rc != OD_OK)
        goto out;
    const bool mine = strcmp(volume->branch.owner, options->owner) == 0 || toy_bug == TOY_BUG_STALE_JOURNAL;
    const struct od_uuid branch = volume->branch.branch;
    // Another machine wrote since: what is here can never go on, and is removed before the epoch says that it is ours.
    if (!mine)
        OD_TRY(newest_journal(volume, true, old, &old_base, err));
    if (toy_bug != TOY_BUG_NO_EPOCH || volume->branch.epoch == 0)
        OD_TRY(options->metadata->ops->epoch_acquire(options->metadata, &branch, options->owner, &volume->place, 1000000,
                                                     force, &volume->branch, err));
    volume->base_lsn = volume->barrier_lsn = volume->tip_lsn = volume->branch.tip_lsn;
    OD_TRY(replay_layers(volume, &volume->branch.tip_layer, UINT64_MAX, err));
    if (mine)
        OD_TRY(newest_journal(volume, false, old, &old_base, err));
    if (old[0])
        OD_TRY(recover_journal(volume, old, old_base, err));
    OD_TRY(start_journal(volume, old, err));
out:
    if (rc != OD_OK) {
        volume_free(volume);
        return rc;
    }
    *out = volume;
    return OD_OK;
}

od_code od_volume_open_at(struct od_store *store, const char *name, const struct od_position *position,
                          struct od_volume **out, struct od_error *err)
{
    struct od_volume *volume;
    od_code rc = volume_new(store, name, &volume, err);
    if (rc == OD_OK && position->lsn > volume->branch.tip_lsn)
        rc = od_fail(err, OD_NOT_FOUND, "%s: LSN %llu is not published", name, (unsigned long long)position->lsn);
    if (rc == OD_OK)
        rc = replay_layers(volume, &volume->branch.tip_layer, position->lsn, err);
    if (rc != OD_OK) {
        volume_free(volume);
        return rc;
    }
    volume->frozen = true;
    *out = volume;
    return OD_OK;
}

void od_volume_close(struct od_volume *volume)
{
    if (!volume)
        return;
    if (!volume->frozen)
        (void)!od_volume_maintain(volume, NULL);
    volume_free(volume);
}

// ---- the store

od_code od_store_open(const struct od_store_options *options, struct od_store **out, struct od_error *err)
{
    struct od_store *store = calloc(1, sizeof *store);
    od_assert(store);
    store->options = *options;
    const od_code rc = options->platform->ops->make_directory(options->platform, options->journal_directory, err);
    if (rc == OD_OK)
        *out = store;
    else
        free(store);
    return rc;
}

void od_store_close(struct od_store *store)
{
    free(store);
}

od_code od_store_create(struct od_store *store, const char *name, struct od_error *err)
{
    struct od_meta_branch branch = {.epoch = 0};
    store->options.platform->ops->random(store->options.platform, branch.branch.bytes, sizeof branch.branch.bytes);
    return store->options.metadata->ops->database_create(store->options.metadata, name, &branch, err);
}

od_code od_store_resolve(struct od_store *store, const char *name, const char *selector, struct od_volume *writer,
                         struct od_position *position, struct od_error *err)
{
    const struct od_store_options *options = &store->options;
    struct od_volume *volume;
    struct od_meta_snapshot *rows = NULL;
    size_t count = 0;
    (void)writer;
    od_code rc = volume_new(store, name, &volume, err);
    if (rc == OD_OK && selector[0] >= '0' && selector[0] <= '9') {
        *position = (struct od_position){.branch = volume->branch.branch, .lsn = strtoull(selector, NULL, 10)};
    } else if (rc == OD_OK) {
        rc = options->metadata->ops->snapshot_list(options->metadata, &volume->branch.branch, &rows, &count, err);
        size_t i = 0;
        while (i < count && strcmp(rows[i].name, selector) != 0)
            i++;
        if (rc == OD_OK && i < count)
            *position = rows[i].position;
        else if (rc == OD_OK)
            rc = od_fail(err, OD_NOT_FOUND, "%s: no snapshot %s", name, selector);
    }
    od_free(rows);
    volume_free(volume);
    return rc;
}

od_code od_store_snapshot_create(struct od_store *store, const char *database, const char *name,
                                 struct od_volume *writer, struct od_meta_snapshot *snapshot, struct od_error *err)
{
    const struct od_store_options *options = &store->options;
    od_code rc;
    (void)database;
    OD_TRY(od_volume_maintain(writer, err));
    if (writer->tip_lsn < writer->barrier_lsn && toy_bug != TOY_BUG_UNPUBLISHED_SNAPSHOT)
        OD_TRY(od_volume_publish(writer, err)); // the first was an earlier, shorter one
    *snapshot = (struct od_meta_snapshot){.layer = writer->branch.tip_layer};
    snapshot->position = (struct od_position){writer->branch.branch, writer->branch.epoch, writer->barrier_lsn};
    snprintf(snapshot->name, sizeof snapshot->name, "%s", name);
    options->platform->ops->random(options->platform, snapshot->snapshot.bytes, sizeof snapshot->snapshot.bytes);
    OD_TRY(options->metadata->ops->snapshot_create(options->metadata, snapshot, err));
out:
    return rc;
}

od_code od_store_snapshot_drop(struct od_store *store, const char *database, const char *name, struct od_error *err)
{
    struct od_volume *volume;
    od_code rc = volume_new(store, database, &volume, err);
    if (rc == OD_OK)
        rc = store->options.metadata->ops->snapshot_drop(store->options.metadata, &volume->branch.branch, name, err);
    volume_free(volume);
    return rc;
}

od_code od_store_clone(struct od_store *store, const char *database, const char *selector, struct od_volume *writer,
                       const char *new_name, struct od_error *err)
{
    (void)store, (void)database, (void)selector, (void)writer;
    return od_fail(err, OD_UNSUPPORTED, "%s: the toy makes no clones", new_name);
}
