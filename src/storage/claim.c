// claim.c - what keeps a branch whole although the metadata forgets: epochs are claimed among the objects, too, and layers that
// were put and have no row are found.
//
//   N1  The writer of epoch e puts the object epochs/BRANCH/E before anything else. So an epoch that is claimed already was
//       given by metadata that has been put back since: then there may be layers, snapshots and databases it knows nothing
//       of, and the branch is not opened before the metadata was made again from the objects.
//   N2  Beyond the tip, the history goes on in those layers that continue it and were written by the branch's holder: a crash
//       between an object and its row leaves one, metadata put back within an epoch any number. Who has given the branch back
//       has left none.
#include "storage/planted.h"
#include "storage/store_internal.h"

#include "base/alloc.h"
#include "base/log.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PREFIX_BYTES (sizeof OD_CLAIMS + OD_UUID_TEXT_BYTES)
#define KEY_BYTES (PREFIX_BYTES + 17u)
#define EPOCH_DIGITS 16

struct claims {
    uint64_t highest;
    uint64_t *epochs;
    size_t count, capacity;
};

bool od_claim_parse(const char *key, struct od_uuid *branch, uint64_t *epoch)
{
    char text[OD_UUID_TEXT_BYTES];
    const size_t at = sizeof OD_CLAIMS - 1, digits = at + OD_UUID_TEXT_BYTES; // with a '/'
    char *end;
    if (strlen(key) != digits + EPOCH_DIGITS || strncmp(key, OD_CLAIMS, at) != 0 || key[digits - 1] != '/')
        return false;
    memcpy(text, key + at, sizeof text - 1);
    text[sizeof text - 1] = '\0';
    *epoch = strtoull(key + digits, &end, 16);
    return !*end && od_uuid_parse(text, branch, NULL) == OD_OK;
}

static od_code note_claim(void *context, const char *key, uint64_t bytes, struct od_error *err)
{
    struct claims *claims = context;
    struct od_uuid branch;
    uint64_t epoch;
    (void)bytes;
    if (!od_claim_parse(key, &branch, &epoch))
        return OD_OK; // not ours
    if (claims->count == claims->capacity) {
        size_t capacity = claims->capacity ? 2 * claims->capacity : 8;
        uint64_t *grown = od_realloc(claims->epochs, capacity * sizeof *grown);
        if (!grown)
            return od_fail(err, OD_NO_MEMORY, "out of memory for a list of %zu epochs", capacity);
        claims->epochs = grown;
        claims->capacity = capacity;
    }
    claims->epochs[claims->count++] = epoch;
    if (epoch > claims->highest)
        claims->highest = epoch;
    return OD_OK;
}

static void claim_prefix(const struct od_uuid *branch, char prefix[PREFIX_BYTES])
{
    char text[OD_UUID_TEXT_BYTES];
    od_uuid_format(branch, text);
    snprintf(prefix, PREFIX_BYTES, OD_CLAIMS "%s/", text);
}

static void claim_key(const char *prefix, uint64_t epoch, char key[KEY_BYTES])
{
    snprintf(key, KEY_BYTES, "%s%016" PRIx64, prefix, epoch);
}

// After an unknown outcome: is it there, and by us?
static od_code check_put(struct od_objstore *objects, const char *key, const struct od_uuid *mine, struct od_error *err)
{
    struct od_object *object = NULL;
    struct od_uuid found = {0};
    od_code rc = od_objstore_open(objects, key, &object, err);
    if (rc == OD_NOT_FOUND)
        return od_fail(err, OD_UNAVAILABLE, "the object %s was not put; try again", key);
    if (rc == OD_OK && od_object_bytes(object) == sizeof found)
        rc = od_object_read(object, 0, &found, sizeof found, err);
    od_object_close(object);
    return rc == OD_OK && !od_uuid_equal(&found, mine) ? OD_EXISTS : rc;
}

static od_code too_old(const struct od_volume *volume, uint64_t epoch, struct od_error *err)
{
    return od_fail(err, OD_CORRUPT,
                   "the metadata is older than the objects: it gives \"%s\" epoch %" PRIu64 ", but epoch %" PRIu64
                   " was given before. Has a backup been put back? Nothing was changed; \"openduck rebuild --replace\" makes "
                   "the metadata again from the objects",
                   volume->name, volume->epoch, epoch);
}

od_code od_branch_claim(struct od_volume *volume, struct od_error *err)
{
    od_code rc = OD_OK;
    struct od_objstore *objects = volume->store->options.objects;
    struct claims claims = {0};
    struct od_uuid mine;
    char prefix[PREFIX_BYTES], key[KEY_BYTES];
    if (OD_PLANT(EPOCH_USED_AGAIN))
        return OD_OK;
    claim_prefix(&volume->branch.branch, prefix);
    OD_TRY(od_objstore_list(objects, prefix, note_claim, &claims, err));
    if (claims.highest >= volume->epoch)
        OD_TRY(too_old(volume, claims.highest, err));
    volume->platform->ops->random(volume->platform, mine.bytes, sizeof mine.bytes);
    claim_key(prefix, volume->epoch, key);
    rc = od_objstore_put(objects, key, &mine, sizeof mine, err);
    if (rc == OD_OUTCOME_UNKNOWN)
        rc = check_put(objects, key, &mine, err);
    if (rc == OD_EXISTS)
        rc = too_old(volume, volume->epoch, err);
    OD_TRY(rc);
    // The newest says all.
    for (size_t i = 0; i < claims.count; i++) {
        claim_key(prefix, claims.epochs[i], key);
        od_code ignored = od_objstore_remove(objects, key, NULL);
        (void)ignored;
    }
out:
    od_free(claims.epochs);
    return rc;
}

void od_branch_unclaim(struct od_store *store, const struct od_uuid *branch)
{
    struct claims claims = {0};
    char prefix[PREFIX_BYTES], key[KEY_BYTES];
    claim_prefix(branch, prefix);
    od_code rc = od_objstore_list(store->options.objects, prefix, note_claim, &claims, NULL);
    for (size_t i = 0; i < claims.count && rc == OD_OK; i++) {
        claim_key(prefix, claims.epochs[i], key);
        rc = od_objstore_remove(store->options.objects, key, NULL);
    }
    od_free(claims.epochs);
}

// ---- layers beyond the tip

void od_layer_uuid(struct od_platform *platform, const struct od_uuid *branch, struct od_uuid *layer)
{
    platform->ops->random(platform, layer->bytes, sizeof layer->bytes);
    memcpy(layer->bytes, branch->bytes, OD_LAYER_BRANCH_BYTES);
    od_uuid_mark_random(layer);
}

struct search {
    const struct od_volume *volume;
    struct od_meta_layer *known;
    size_t known_count;
    struct od_uuid *found;
    size_t count, capacity;
};

static int by_layer(const void *a, const void *b)
{
    const struct od_meta_layer *left = a, *right = b;
    return memcmp(&left->layer, &right->layer, sizeof left->layer);
}

static od_code note_layer(void *context, const char *key, uint64_t bytes, struct od_error *err)
{
    struct search *search = context;
    struct od_meta_layer row = {0};
    (void)bytes;
    if (od_uuid_parse(key + strlen("layers/"), &row.layer, NULL) != OD_OK ||
        (search->known_count && bsearch(&row, search->known, search->known_count, sizeof row, by_layer)))
        return OD_OK;
    if (search->count == search->capacity) {
        size_t capacity = search->capacity ? 2 * search->capacity : 8;
        struct od_uuid *grown = od_realloc(search->found, capacity * sizeof *grown);
        if (!grown)
            return od_fail(err, OD_NO_MEMORY, "out of memory for a list of %zu layers", capacity);
        search->found = grown;
        search->capacity = capacity;
    }
    search->found[search->count++] = row.layer;
    return OD_OK;
}

// Is it the next one? Then *row is what it gets, as od_volume_publish would make it.
static od_code read_next(const struct search *search, const struct od_meta_branch *before, const struct od_uuid *layer,
                         struct od_meta_layer *row, uint64_t *epoch, bool *is, struct od_error *err)
{
    od_code rc = OD_OK;
    const struct od_meta_branch *branch = &search->volume->branch;
    bool own = !od_uuid_is_zero(&branch->tip_layer);
    const struct od_uuid *tip = own ? &branch->tip_layer : &branch->parent_layer;
    uint64_t end = own ? branch->tip_lsn : branch->start_lsn;
    struct od_footer footer = {0};
    struct od_journal *journal = NULL;
    *is = false;
    rc = od_layer_open(search->volume->store->options.objects, layer, &journal, err);
    if (rc == OD_NOT_FOUND) // removed meanwhile
        return OD_OK;
    OD_TRY(rc);
    const struct od_journal_header *header = &journal->header;
    *epoch = header->epoch;
    if (!od_uuid_equal(&header->branch, &branch->branch) || !od_uuid_equal(&header->parent, tip) ||
        header->first_lsn != end || header->epoch < before->held_since || header->epoch > before->epoch)
        goto out;
    OD_TRY(od_footer_read(journal, search->volume->ledger.window_us, &footer, err));
    *row = (struct od_meta_layer){
        .layer = *layer,
        .branch = branch->branch,
        .epoch = search->volume->epoch,
        .parent = header->parent,
        .first_lsn = header->first_lsn,
        .end_lsn = footer.end.lsn,
        .first_time_us = footer.end.first_time_us,
        .last_time_us = footer.end.time_us,
    };
    OD_TRY(od_journal_size(journal, &row->bytes, err));
    od_layer_key(layer, row->key);
    *is = true;
out:
    od_footer_release(&footer);
    od_journal_close(journal);
    return rc;
}

// Of several, those of the newest epoch count: one epoch is one writer, and one writer has one history.
static od_code find_next(const struct search *search, const struct od_meta_branch *before, struct od_meta_layer *next,
                         bool *found, struct od_error *err)
{
    od_code rc = OD_OK;
    uint64_t newest = 0;
    *found = false;
    for (size_t i = 0; i < search->count; i++) {
        struct od_meta_layer row;
        uint64_t epoch;
        bool is;
        OD_TRY(read_next(search, before, &search->found[i], &row, &epoch, &is, err));
        if (!is || (*found && epoch < newest))
            continue;
        if (*found && epoch == newest)
            OD_TRY(od_fail(err, OD_CORRUPT, "%s and %s both continue \"%s\"", next->key, row.key, search->volume->name));
        *next = row;
        newest = epoch;
        *found = true;
    }
out:
    return rc;
}

static od_code publish_found(struct od_volume *volume, const struct od_meta_layer *row, struct od_error *err)
{
    struct od_metastore *meta = volume->store->options.metadata;
    od_code rc = meta->ops->layer_publish(meta, row, &volume->branch.tip_layer, err);
    if (rc != OD_OK)
        return rc;
    volume->branch.tip_layer = row->layer;
    volume->branch.tip_lsn = row->end_lsn;
    volume->branch.tip_time_us = row->last_time_us;
    od_log(OD_LOG_WARN, "storage", "%s goes on with %s (position %" PRIu64 "), which the metadata did not know",
           volume->name, row->key, row->end_lsn);
    return OD_OK;
}

od_code od_branch_roll_forward(struct od_volume *volume, const struct od_meta_branch *before, struct od_error *err)
{
    od_code rc = OD_OK;
    struct od_metastore *meta = volume->store->options.metadata;
    struct search search = {.volume = volume};
    struct od_meta_layer next;
    char text[OD_UUID_TEXT_BYTES], prefix[OD_LAYER_KEY_BYTES];
    bool found = true;
    if (od_uuid_is_zero(&before->holder))
        return OD_OK;
    od_uuid_format(&volume->branch.branch, text);
    snprintf(prefix, sizeof prefix, "layers/%.13s", text); // OD_LAYER_BRANCH_BYTES of it
    OD_TRY(meta->ops->layer_list(meta, &volume->branch.branch, &search.known, &search.known_count, err));
    if (search.known_count > 1)
        qsort(search.known, search.known_count, sizeof *search.known, by_layer);
    OD_TRY(od_objstore_list(volume->store->options.objects, prefix, note_layer, &search, err));
    while (found) {
        OD_TRY(find_next(&search, before, &next, &found, err));
        if (found)
            OD_TRY(publish_found(volume, &next, err));
    }
out:
    od_free(search.known);
    od_free(search.found);
    return rc;
}
