// survey.c - see survey.h.
#include "storage/survey.h"

#include "base/alloc.h"
#include "os/thread.h"
#include "storage/footer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool od_survey_is_problem(od_code code)
{
    return code == OD_CORRUPT || code == OD_UNSUPPORTED || code == OD_NOT_FOUND;
}

static od_code read_layer(struct od_survey *survey, const char *key, uint64_t bytes, const struct od_uuid *uuid,
                          void *out, struct od_error *err)
{
    od_code rc = OD_OK;
    struct od_survey_layer *row = out;
    struct od_object *object = NULL;
    struct od_journal_header header;
    struct od_footer footer = {0};
    OD_TRY(od_objstore_open_listed(survey->objects, key, bytes, &object, err));
    OD_TRY(od_footer_read_object(object, key, 0, &header, &footer, err));
    if (!od_uuid_equal(&header.layer, uuid))
        OD_TRY(od_fail(err, OD_CORRUPT, "%s holds another layer (offset 16)", key));
    const struct od_layer_ref *last = footer.below_count ? &footer.below[footer.below_count - 1] : NULL;
    if (last && last->depth + 1 == header.depth && !od_uuid_equal(&last->layer, &header.parent))
        OD_TRY(od_fail(err, OD_CORRUPT, "%s: header block and footer name different parents (offset 48)", key));
    *row = (struct od_survey_layer){header, footer.end, od_object_bytes(object), footer.below_count};
out:
    od_footer_release(&footer);
    od_object_close(object);
    return rc;
}

static od_code read_description(struct od_survey *survey, const char *key, uint64_t size,
                                uint8_t out[OD_DESCRIPTION_BYTES_MAX], struct od_error *err)
{
    struct od_object *object;
    if (size > OD_DESCRIPTION_BYTES_MAX)
        return od_fail(err, OD_CORRUPT, "%s is not a description of OpenDuck (offset %u)", key,
                       OD_DESCRIPTION_BYTES_MAX);
    od_code rc = od_objstore_open_listed(survey->objects, key, size, &object, err);
    if (rc != OD_OK)
        return rc;
    rc = od_object_read(object, 0, out, (size_t)size, err);
    od_object_close(object);
    return rc;
}

static od_code check_uuid(const char *key, const struct od_uuid *expected, const struct od_uuid *found,
                          struct od_error *err)
{
    return od_uuid_equal(expected, found) ? OD_OK
                                          : od_fail(err, OD_CORRUPT, "%s describes something else (offset 16)", key);
}

static od_code read_branch(struct od_survey *survey, const char *key, uint64_t bytes, const struct od_uuid *uuid,
                           void *out, struct od_error *err)
{
    uint8_t data[OD_DESCRIPTION_BYTES_MAX];
    od_code rc = read_description(survey, key, bytes, data, err);
    if (rc == OD_OK)
        rc = od_branch_decode(data, (size_t)bytes, key, out, err);
    return rc == OD_OK ? check_uuid(key, uuid, &((struct od_branch_description *)out)->branch, err) : rc;
}

static od_code read_snapshot(struct od_survey *survey, const char *key, uint64_t bytes, const struct od_uuid *uuid,
                             void *out, struct od_error *err)
{
    uint8_t data[OD_DESCRIPTION_BYTES_MAX];
    od_code rc = read_description(survey, key, bytes, data, err);
    if (rc == OD_OK)
        rc = od_snapshot_decode(data, (size_t)bytes, key, out, err);
    return rc == OD_OK ? check_uuid(key, uuid, &((struct od_meta_snapshot *)out)->snapshot, err) : rc;
}

static od_code read_drop(struct od_survey *survey, const char *key, uint64_t bytes, const struct od_uuid *uuid,
                         void *out, struct od_error *err)
{
    uint8_t data[OD_DESCRIPTION_BYTES_MAX];
    od_code rc = read_description(survey, key, bytes, data, err);
    if (rc == OD_OK)
        rc = od_drop_decode(data, (size_t)bytes, key, out, err);
    return rc == OD_OK ? check_uuid(key, uuid, &((struct od_drop_description *)out)->branch, err) : rc;
}

// ---- one kind of object after the other: listed, then read by several at once, then looked through in order

struct entry {
    char key[OD_DESCRIPTION_KEY_BYTES];
    uint64_t bytes;
    struct od_error *why; // NULL: its row was read
};

struct kind {
    const char *prefix;
    struct od_survey_list *list;
    size_t row_bytes;
    od_code (*read)(struct od_survey *survey, const char *key, uint64_t bytes, const struct od_uuid *uuid, void *out,
                    struct od_error *err);
};

struct work {
    struct od_survey *survey;
    const struct kind *kind;
    struct entry *entries; // one row of the list for each
    size_t count, capacity, next;
    pthread_mutex_t lock;
    od_code rc; // of the store: it ends the survey
    struct od_error failure;
};

static od_code note(void *context, const char *key, uint64_t bytes, struct od_error *err)
{
    struct work *work = context;
    if (work->count == work->capacity) {
        size_t capacity = work->capacity ? 2 * work->capacity : 64;
        struct entry *grown = od_realloc(work->entries, capacity * sizeof *grown);
        if (!grown)
            return od_fail(err, OD_NO_MEMORY, "out of memory for a list of %zu objects", capacity);
        work->entries = grown;
        work->capacity = capacity;
    }
    struct entry *entry = &work->entries[work->count++];
    *entry = (struct entry){.bytes = bytes};
    snprintf(entry->key, sizeof entry->key, "%s", key); // a longer one is cut off, and is not ours
    return OD_OK;
}

static od_code read_entry(struct work *work, size_t index, struct od_error *why)
{
    const struct kind *kind = work->kind;
    const char *key = work->entries[index].key;
    struct od_uuid uuid;
    if (od_uuid_parse(key + strlen(kind->prefix), &uuid, NULL) != OD_OK)
        return od_fail(why, OD_CORRUPT, "%s does not end in a uuid", key);
    return kind->read(work->survey, key, work->entries[index].bytes, &uuid,
                      (uint8_t *)kind->list->rows + index * kind->row_bytes, why);
}

// What one thread does, until there is nothing left or the store fails.
static void read_entries(void *argument)
{
    struct work *work = argument;
    struct od_survey *survey = work->survey;
    pthread_mutex_lock(&work->lock);
    while (work->next < work->count && work->rc == OD_OK) {
        size_t index = work->next++;
        struct od_error why = {0};
        struct entry *entry = &work->entries[index];
        pthread_mutex_unlock(&work->lock);
        od_code rc = read_entry(work, index, &why);
        if (od_survey_is_problem(rc)) {
            entry->why = od_alloc(sizeof why);
            if (entry->why)
                *entry->why = why;
            rc =
                entry->why ? OD_OK : od_fail(&why, OD_NO_MEMORY, "out of memory for what is wrong with %s", entry->key);
        }
        pthread_mutex_lock(&work->lock);
        if (rc != OD_OK && work->rc == OD_OK) {
            work->rc = rc;
            work->failure = why;
        }
        survey->objects_seen++;
        survey->bytes_seen += entry->bytes;
        if (survey->progress)
            survey->progress(survey->context, survey->objects_seen, survey->bytes_seen);
    }
    pthread_mutex_unlock(&work->lock);
}

static void run_helpers(struct work *work)
{
    struct od_thread threads[OD_SURVEY_HELPERS_MAX] = {0};
    unsigned helpers = work->survey->helpers < OD_SURVEY_HELPERS_MAX ? work->survey->helpers : OD_SURVEY_HELPERS_MAX;
    for (unsigned i = 0; i < helpers && i + 1 < work->count; i++)
        if (od_thread_start(&threads[i], "od-survey", read_entries, work, NULL) != OD_OK)
            break; // the others do it
    read_entries(work);
    for (unsigned i = 0; i < helpers; i++)
        od_thread_join(&threads[i]);
}

// Reports problems, and closes the gaps they leave.
static void look_through(struct work *work)
{
    struct od_survey_list *list = work->kind->list;
    size_t bytes = work->kind->row_bytes;
    for (size_t i = 0; i < work->count; i++) {
        struct entry *entry = &work->entries[i];
        if (entry->why)
            work->survey->problem(work->survey->context, entry->key, entry->why);
        else if (list->count++ != i)
            memcpy((uint8_t *)list->rows + (list->count - 1) * bytes, (uint8_t *)list->rows + i * bytes, bytes);
    }
}

static od_code survey_kind(struct od_survey *survey, const struct kind *kind, struct od_error *err)
{
    od_code rc = OD_OK;
    struct work work = {.survey = survey, .kind = kind};
    pthread_mutex_init(&work.lock, NULL);
    OD_TRY(od_objstore_list(survey->objects, kind->prefix, note, &work, err)); // in order of key, so of uuid
    if (work.count == 0)
        goto out;
    kind->list->rows = od_calloc(work.count, kind->row_bytes);
    if (!kind->list->rows)
        OD_TRY(od_fail(err, OD_NO_MEMORY, "out of memory for a list of %zu objects", work.count));
    run_helpers(&work);
    rc = work.rc;
    if (rc == OD_OK)
        look_through(&work);
    else if (err)
        *err = work.failure;
out:
    for (size_t i = 0; i < work.count; i++)
        od_free(work.entries[i].why);
    od_free(work.entries);
    pthread_mutex_destroy(&work.lock);
    return rc;
}

od_code od_survey_run(struct od_survey *survey, struct od_error *err)
{
    const struct kind kinds[] = {
        {"layers/", &survey->layers, sizeof(struct od_survey_layer), read_layer},
        {"branches/", &survey->branches, sizeof(struct od_branch_description), read_branch},
        {"snapshots/", &survey->snapshots, sizeof(struct od_meta_snapshot), read_snapshot},
        {"dropped/", &survey->drops, sizeof(struct od_drop_description), read_drop},
    };
    od_code rc = OD_OK;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds && rc == OD_OK; i++)
        rc = survey_kind(survey, &kinds[i], err);
    return rc;
}

void od_survey_release(struct od_survey *survey)
{
    od_free(survey->layers.rows);
    od_free(survey->branches.rows);
    od_free(survey->snapshots.rows);
    od_free(survey->drops.rows);
}

static int by_uuid(const void *a, const void *b)
{
    const struct od_survey_layer *left = a, *right = b;
    return memcmp(&left->header.layer, &right->header.layer, sizeof left->header.layer);
}

const struct od_survey_layer *od_survey_find(const struct od_survey *survey, const struct od_uuid *layer)
{
    struct od_survey_layer key = {.header.layer = *layer};
    return survey->layers.count ? bsearch(&key, survey->layers.rows, survey->layers.count, sizeof key, by_uuid) : NULL;
}

static od_code missing(const struct od_survey_layer *layer, const struct od_uuid *other, struct od_error *err)
{
    char key[OD_LAYER_KEY_BYTES], below[OD_LAYER_KEY_BYTES];
    od_layer_key(&layer->header.layer, key);
    od_layer_key(other, below);
    return od_fail(err, OD_CORRUPT, "%s stands on %s, which is missing or damaged", key, below);
}

static od_code see_listed(const struct od_survey *survey, const struct od_survey_layer *layer,
                          void (*seen)(void *context, const struct od_survey_layer *layer), void *context,
                          struct od_error *err)
{
    od_code rc = OD_OK;
    char key[OD_LAYER_KEY_BYTES];
    struct od_object *object = NULL;
    struct od_journal_header header;
    struct od_footer footer = {0};
    od_layer_key(&layer->header.layer, key);
    OD_TRY(od_objstore_open_listed(survey->objects, key, layer->bytes, &object, err));
    OD_TRY(od_footer_read_object(object, key, 0, &header, &footer, err));
    for (uint32_t i = 0; i < footer.below_count && rc == OD_OK; i++) {
        const struct od_survey_layer *below = od_survey_find(survey, &footer.below[i].layer);
        if (!below)
            rc = missing(layer, &footer.below[i].layer, err);
        else if (seen)
            seen(context, below);
    }
out:
    od_footer_release(&footer);
    od_object_close(object);
    return rc;
}

od_code od_survey_state(const struct od_survey *survey, const struct od_survey_layer *layer, uint64_t lsn,
                        void (*seen)(void *context, const struct od_survey_layer *layer), void *context,
                        struct od_error *err)
{
    for (;;) {
        if (seen)
            seen(context, layer);
        od_code rc = see_listed(survey, layer, seen, context, err);
        if (rc != OD_OK || lsn >= layer->end.lsn || od_uuid_is_zero(&layer->header.parent))
            return rc;
        const struct od_survey_layer *parent = od_survey_find(survey, &layer->header.parent);
        if (!parent)
            return missing(layer, &layer->header.parent, err);
        lsn = layer->header.first_lsn;
        layer = parent;
    }
}

od_code od_survey_parent(const struct od_survey *survey, const struct od_survey_layer *layer,
                         const struct od_survey_layer **out, struct od_error *err)
{
    const struct od_journal_header *header = &layer->header;
    char key[OD_LAYER_KEY_BYTES], below[OD_LAYER_KEY_BYTES];
    od_layer_key(&header->layer, key);
    od_layer_key(&header->parent, below);
    *out = NULL;
    if (od_uuid_is_zero(&header->parent)) {
        if (header->depth != 0)
            return od_fail(err, OD_CORRUPT, "%s has depth %u and no parent (offset 12)", key, header->depth);
        return OD_OK;
    }
    const struct od_survey_layer *parent = od_survey_find(survey, &header->parent);
    if (!parent)
        return od_fail(err, OD_CORRUPT, "%s continues %s, which is missing or damaged (offset 48)", key, below);
    // A clone may begin within its parent.
    bool same_branch = od_uuid_equal(&parent->header.branch, &header->branch);
    bool at_end = header->first_lsn == parent->end.lsn;
    bool within = header->first_lsn >= parent->header.first_lsn && header->first_lsn < parent->end.lsn;
    if (header->depth != parent->header.depth + 1 || header->block_bytes != parent->header.block_bytes ||
        (at_end && header->parent_chain != parent->end.chain) || (!at_end && (same_branch || !within)) ||
        (same_branch && header->epoch < parent->header.epoch))
        return od_fail(err, OD_CORRUPT, "%s does not continue %s where that ends, at position %llu (offset 72)", key,
                       below, (unsigned long long)parent->end.lsn);
    *out = parent;
    return OD_OK;
}
