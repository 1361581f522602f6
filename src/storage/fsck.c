// fsck.c - every byte of every layer; see fsck.h.
#include "storage/fsck_internal.h"

#include "base/alloc.h"
#include "storage/volume_internal.h"

#include <string.h>

void od_fsck_problem(void *context, const char *key, const struct od_error *why)
{
    struct od_fsck *fsck = ((struct od_fsck_work *)context)->fsck;
    fsck->problems++;
    if (fsck->problem)
        fsck->problem(fsck->context, key, why);
}

static void note_progress(void *context, uint64_t objects, uint64_t bytes)
{
    struct od_fsck *fsck = ((struct od_fsck_work *)context)->fsck;
    (void)bytes; // only the ends of the layers were read
    fsck->objects_seen = objects;
    if (fsck->progress)
        fsck->progress(fsck->context, objects, 0);
}

static od_code check_records(struct od_journal *layer, const struct od_footer *footer, struct od_error *err)
{
    struct od_journal_end end;
    od_code rc = od_journal_scan(layer, &end, err);
    if (rc != OD_OK)
        return rc;
    if (end.lsn < footer->end.lsn)
        return od_fail(err, OD_CORRUPT, "%s is damaged at or after offset %llu: a record there fails verification",
                       layer->path, (unsigned long long)od_journal_offset(layer, end.lsn));
    if (end.lsn != footer->end.lsn || end.chain != footer->end.chain || end.barriers != footer->end.barriers ||
        end.time_us != footer->end.time_us || end.first_time_us != footer->end.first_time_us)
        return od_fail(err, OD_CORRUPT, "%s: its records end otherwise than its footer says (offset %llu)", layer->path,
                       (unsigned long long)od_journal_offset(layer, end.lsn));
    return OD_OK;
}

// The bytes between the records and the footer: what it brings along, and leaves.
static od_code check_leaves(struct od_journal *layer, uint64_t at, const uint8_t *expected, size_t bytes,
                            struct od_error *err)
{
    od_code rc = OD_OK;
    uint8_t *found = od_alloc(bytes ? bytes : 1);
    if (!found)
        return od_fail(err, OD_NO_MEMORY, "out of memory for the leaves of %s", layer->path);
    if (bytes > 0)
        OD_TRY(od_journal_read(layer, at, found, bytes, err));
    for (size_t i = 0; i < bytes; i++)
        if (found[i] != expected[i])
            OD_TRY(od_fail(err, OD_CORRUPT, "%s: what lies behind the records is not what they give (offset %llu)",
                           layer->path, (unsigned long long)(at + i)));
out:
    od_free(found);
    return rc;
}

// The footer made again, with what it brings along or (as an older version did) without, and compared. Not its ledger: how
// far that goes back is a setting of the writer's.
static od_code check_footer_as(struct od_lineage *lineage, struct od_journal *layer, const struct od_footer *footer,
                               const struct od_buf *found, bool carried, struct od_error *err)
{
    od_code rc = OD_OK;
    struct od_footer made = {0};
    struct od_buf expected;
    uint64_t at = od_journal_offset(layer, footer->end.lsn);
    od_buf_init(&expected, (size_t)OD_FOOTER_BYTES_MAX);
    OD_TRY(od_layer_state(lineage, layer, footer->end.lsn, 0, &made, err));
    od_ledger_release(&made.ledger);
    made.version = footer->version;
    if (carried)
        OD_TRY(od_footer_carry(&made, lineage, layer->header.depth, at, &expected, err));
    if (footer->pruned_depth == footer->depth && footer->depth > 0)
        OD_TRY(od_footer_prune(&made, err));
    OD_TRY(od_footer_encode(&made, &layer->header, layer->head_chain, at + expected.bytes, &expected, err));
    if (expected.bytes < found->bytes ||
        memcmp(expected.data + (expected.bytes - found->bytes), found->data, found->bytes - OD_TRAILER_BYTES) != 0)
        OD_TRY(od_fail(err, OD_CORRUPT, "%s: the footer is not what its parent and the records give (offset %llu)",
                       layer->path, (unsigned long long)at));
    OD_TRY(check_leaves(layer, at, expected.data, expected.bytes - found->bytes, err));
out:
    od_buf_release(&expected);
    od_footer_release(&made);
    return rc;
}

static od_code check_footer(struct od_lineage *lineage, struct od_journal *layer, struct od_footer *footer,
                            struct od_error *err)
{
    od_code rc = OD_OK;
    struct od_error why = {0};
    struct od_buf found;
    od_buf_init(&found, (size_t)OD_FOOTER_BYTES_MAX);
    od_ledger_release(&footer->ledger);
    // `footer` has its leaves stored: encoding it gives what is behind them.
    OD_TRY(od_footer_encode(footer, &layer->header, layer->head_chain, 0, &found, err));
    rc = check_footer_as(lineage, layer, footer, &found, true, &why);
    if (rc == OD_CORRUPT && check_footer_as(lineage, layer, footer, &found, false, NULL) == OD_OK)
        rc = OD_OK;
    if (rc != OD_OK && err)
        *err = why;
out:
    od_buf_release(&found);
    return rc;
}

static bool is_newest(const struct od_fsck_work *work, const struct od_survey_layer *row)
{
    const struct od_survey_layer *layers = od_survey_layers(&work->survey);
    for (size_t i = 0; i < work->survey.layers.count; i++)
        if (od_uuid_equal(&layers[i].header.branch, &row->header.branch) &&
            (layers[i].header.epoch > row->header.epoch ||
             (layers[i].header.epoch == row->header.epoch && layers[i].header.depth > row->header.depth)))
            return false;
    return true;
}

// Does somebody name it, so that the state at its end must be whole? (Of others, parts may have been collected.)
static bool is_named(const struct od_fsck_work *work, const struct od_survey_layer *row)
{
    const struct od_uuid *layer = &row->header.layer;
    const struct od_branch_description *branches = work->survey.branches.rows;
    const struct od_meta_snapshot *snapshots = work->survey.snapshots.rows;
    const struct od_fsck_rows *rows = &work->rows;
    if (work->fsck->metadata) {
        for (size_t i = 0; i < rows->branch_count; i++)
            if (!rows->branches[i].dropped_us && (od_uuid_equal(&rows->branches[i].tip_layer, layer) ||
                                                  od_uuid_equal(&rows->branches[i].parent_layer, layer)))
                return true;
        for (size_t i = 0; i < rows->snapshot_count; i++)
            if (od_uuid_equal(&rows->snapshots[i].layer, layer))
                return true;
        return false;
    }
    for (size_t i = 0; i < work->survey.branches.count; i++)
        if (od_uuid_equal(&branches[i].parent_layer, layer))
            return true;
    for (size_t i = 0; i < work->survey.snapshots.count; i++)
        if (od_uuid_equal(&snapshots[i].layer, layer))
            return true;
    return is_newest(work, row);
}

static od_code check_layer(struct od_fsck_work *work, const struct od_survey_layer *row, struct od_error *err)
{
    od_code rc = OD_OK;
    const struct od_survey_layer *parent;
    struct od_journal *layer = NULL;
    struct od_footer footer = {0};
    struct od_lineage lineage;
    od_lineage_init(&lineage, work->fsck->platform, work->fsck->objects);
    OD_TRY(od_layer_open(work->fsck->objects, &row->header.layer, &layer, err));
    OD_TRY(od_footer_read(layer, 0, &footer, err));
    OD_TRY(check_records(layer, &footer, err));
    rc = od_survey_state(&work->survey, row, row->header.first_lsn, NULL, NULL, err); // with its parent's
    if (rc == OD_CORRUPT) {
        rc = is_named(work, row) ? od_survey_state(&work->survey, row, UINT64_MAX, NULL, NULL, err) : OD_OK;
        goto out; // what its footer says cannot be made again
    }
    OD_TRY(rc);
    OD_TRY(od_survey_parent(&work->survey, row, &parent, err));
    OD_TRY(od_lineage_merge(&lineage, footer.below, footer.below_count, err));
    OD_TRY(od_lineage_reserve(&lineage, 1, err));
    struct od_journal *added = layer;
    layer = NULL;
    od_lineage_add(&lineage, footer.depth, &row->header.layer, added);
    OD_TRY(check_footer(&lineage, added, &footer, err));
out:
    od_footer_release(&footer);
    od_journal_close(layer);
    od_lineage_release(&lineage);
    return rc;
}

// The layer and those below it. A missing one is found when the layer above it is checked.
static void want_from(const struct od_fsck_work *work, const struct od_survey_layer *layer, bool *wanted)
{
    const struct od_survey_layer *layers = od_survey_layers(&work->survey);
    while (layer && !wanted[layer - layers]) {
        wanted[layer - layers] = true;
        layer = od_survey_find(&work->survey, &layer->header.parent);
    }
}

struct wanting {
    const struct od_fsck_work *work;
    bool *wanted;
};

static void want(void *context, const struct od_survey_layer *layer)
{
    struct wanting *wanting = context;
    wanting->wanted[layer - od_survey_layers(&wanting->work->survey)] = true;
}

// Which layers are read in full.
static od_code choose(const struct od_fsck_work *work, bool **wanted, struct od_error *err)
{
    od_code rc = OD_OK;
    const struct od_survey_layer *layers = od_survey_layers(&work->survey);
    const struct od_uuid *branch = &work->fsck->branch;
    size_t count = work->survey.layers.count;
    bool all = od_uuid_is_zero(branch);
    *wanted = od_calloc(count ? count : 1, sizeof **wanted);
    if (!*wanted)
        return od_fail(err, OD_NO_MEMORY, "out of memory for a list of %zu layers", count);
    struct wanting wanting = {work, *wanted};
    for (size_t i = 0; i < count; i++) {
        if (!all && !od_uuid_equal(&layers[i].header.branch, branch))
            continue;
        want_from(work, &layers[i], *wanted);
        if (!all) // what it names may be a clone's origin's; what is missing is found when it is checked
            rc = od_survey_state(&work->survey, &layers[i], UINT64_MAX, want, &wanting, err);
        if (rc != OD_OK && rc != OD_CORRUPT)
            return rc;
    }
    for (size_t i = 0; i < work->rows.branch_count && !all; i++) // one without layers of its own
        if (od_uuid_equal(&work->rows.branches[i].branch, branch))
            want_from(work, od_survey_find(&work->survey, &work->rows.branches[i].parent_layer), *wanted);
    return OD_OK;
}

static od_code check_layers(struct od_fsck_work *work, struct od_error *err)
{
    od_code rc = OD_OK;
    struct od_fsck *fsck = work->fsck;
    const struct od_survey_layer *layers = od_survey_layers(&work->survey);
    bool *wanted = NULL;
    OD_TRY(choose(work, &wanted, err));
    for (size_t i = 0; i < work->survey.layers.count; i++) {
        struct od_error why = {0};
        char key[OD_LAYER_KEY_BYTES];
        if (!wanted[i])
            continue;
        if (fsck->stop && fsck->stop(fsck->context))
            OD_TRY(od_fail(err, OD_CANCELLED, "the check was cancelled"));
        od_layer_key(&layers[i].header.layer, key);
        rc = check_layer(work, &layers[i], &why);
        if (od_survey_is_problem(rc)) {
            if (!strstr(why.message, key)) // a layer below it
                (void)od_wrap(&why, rc, "%s stands on", key);
            od_fsck_problem(work, key, &why);
        } else if (rc != OD_OK) {
            if (err)
                *err = why;
            goto out;
        }
        rc = OD_OK;
        fsck->layers++;
        fsck->bytes += layers[i].bytes;
        if (fsck->progress)
            fsck->progress(fsck->context, fsck->objects_seen, fsck->bytes);
    }
out:
    od_free(wanted);
    return rc;
}

od_code od_fsck_run(struct od_fsck *fsck, struct od_error *err)
{
    od_code rc = OD_OK;
    struct od_fsck_work work = {.fsck = fsck};
    work.survey = (struct od_survey){.objects = fsck->objects,
                                     .helpers = fsck->helpers,
                                     .problem = od_fsck_problem,
                                     .progress = note_progress,
                                     .context = &work};
    fsck->objects_seen = fsck->layers = fsck->bytes = fsck->rows = fsck->unreferenced = fsck->problems = 0;
    if (fsck->metadata)
        OD_TRY(od_fsck_read_rows(&work, err));
    OD_TRY(od_survey_run(&work.survey, err));
    OD_TRY(check_layers(&work, err));
    if (fsck->metadata)
        od_fsck_check_rows(&work);
out:
    od_fsck_rows_release(&work.rows);
    od_survey_release(&work.survey);
    return rc;
}
