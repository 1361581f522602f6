// survey.c - see survey.h.
#include "storage/survey.h"

#include "base/alloc.h"
#include "storage/footer.h"

#include <stdlib.h>
#include <string.h>

#define PREFIX "layers/"

// Damage of one object, not of the store or of this process.
static bool is_problem(od_code code)
{
    return code == OD_CORRUPT || code == OD_UNSUPPORTED || code == OD_NOT_FOUND;
}

static od_code read_layer(struct od_survey *survey, const char *key, struct od_survey_layer *row, struct od_error *err)
{
    od_code rc = OD_OK;
    struct od_journal *layer = NULL;
    struct od_footer footer = {0};
    struct od_uuid uuid;
    if (od_uuid_parse(key + strlen(PREFIX), &uuid, NULL) != OD_OK)
        return od_fail(err, OD_CORRUPT, "%s does not have the name of a layer", key);
    OD_TRY(od_layer_open(survey->objects, &uuid, &layer, err));
    OD_TRY(od_footer_read(layer, 0, &footer, err));
    if (footer.depth > 0 && !od_uuid_equal(&footer.lineage[footer.depth - 1], &layer->header.parent))
        OD_TRY(od_fail(err, OD_CORRUPT, "%s: header block and footer name different parents (offset 48)", key));
    *row = (struct od_survey_layer){layer->header, footer.end, od_object_bytes(layer->object)};
out:
    od_footer_release(&footer);
    od_journal_close(layer);
    return rc;
}

static od_code visit(void *context, const char *key, uint64_t bytes, struct od_error *err)
{
    struct od_survey *survey = context;
    struct od_error why = {0};
    if (survey->count == survey->capacity) {
        size_t capacity = survey->capacity ? 2 * survey->capacity : 64;
        struct od_survey_layer *grown = od_realloc(survey->layers, capacity * sizeof *grown);
        if (!grown)
            return od_fail(err, OD_NO_MEMORY, "out of memory for a list of %zu layers", capacity);
        survey->layers = grown;
        survey->capacity = capacity;
    }
    od_code rc = read_layer(survey, key, &survey->layers[survey->count], &why);
    if (rc == OD_OK) {
        survey->count++;
    } else if (is_problem(rc)) {
        survey->problem(survey->context, key, &why);
    } else {
        if (err)
            *err = why;
        return rc;
    }
    survey->objects_seen++;
    survey->bytes_seen += bytes;
    if (survey->progress)
        survey->progress(survey->context, survey->objects_seen, survey->bytes_seen);
    return OD_OK;
}

static int by_uuid(const void *a, const void *b)
{
    const struct od_survey_layer *left = a, *right = b;
    return memcmp(&left->header.layer, &right->header.layer, sizeof left->header.layer);
}

od_code od_survey_run(struct od_survey *survey, struct od_error *err)
{
    od_code rc = od_objstore_list(survey->objects, PREFIX, visit, survey, err);
    if (rc == OD_OK && survey->count > 1)
        qsort(survey->layers, survey->count, sizeof *survey->layers, by_uuid);
    return rc;
}

void od_survey_release(struct od_survey *survey)
{
    od_free(survey->layers);
}

const struct od_survey_layer *od_survey_find(const struct od_survey *survey, const struct od_uuid *layer)
{
    struct od_survey_layer key = {.header.layer = *layer};
    return survey->count ? bsearch(&key, survey->layers, survey->count, sizeof key, by_uuid) : NULL;
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
