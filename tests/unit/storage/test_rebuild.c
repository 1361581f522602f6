// test_rebuild.c - metadata made from layers says what the lost one said; what an overtaken writer left is not taken for
// history, and a hole is not passed over.
#include "fixture.h"

#include "base/alloc.h"
#include "base/log.h"
#include "storage/rebuild.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static struct od_metastore *meta, *rebuilt;
static struct od_objstore *objects;
static struct model *model;
static uint32_t seed;
static unsigned problems;
static char problem_text[OD_ERROR_MESSAGE_BYTES];

static struct od_metastore *open_meta(const char *name)
{
    struct od_metastore *opened;
    assert_int_equal(od_metastore_sqlite_open(in_scratch(name), true, &opened, NULL), OD_OK);
    return opened;
}

static int set_up(void **state)
{
    od_log_set_level(OD_LOG_ERROR);
    if (scratch_make(state) != 0)
        return -1;
    seed = 4711;
    model = calloc(1, sizeof *model);
    meta = open_meta("meta.db");
    rebuilt = open_meta("rebuilt.db");
    assert_int_equal(od_objstore_directory_open(od_platform_real(), in_scratch("objects"), &objects, NULL), OD_OK);
    return 0;
}

static int tear_down(void **state)
{
    free(model);
    od_objstore_close(objects);
    od_metastore_close(meta);
    od_metastore_close(rebuilt);
    return scratch_remove(state);
}

// Opens the database, writes `layers` layers, closes it. written: NULL when nobody compares.
static void write_layers(struct od_metastore *metadata, const char *journals, const char *name, int layers,
                         struct model *written)
{
    struct od_store *store;
    struct od_volume *volume;
    uint64_t lsn;
    static uint8_t block[16384];
    assert_int_equal(open_store(in_scratch(journals), metadata, objects, &store, NULL), OD_OK);
    assert_int_equal(od_volume_open(store, name, true, &volume, NULL), OD_OK);
    for (int layer = 0; layer < layers; layer++) {
        for (int i = 0; i < 10 && written; i++)
            random_step(volume, written, &seed);
        block[0]++;
        if (!written)
            assert_int_equal(od_volume_write(volume, OD_VOLUME_DATABASE, 12288, block, sizeof block, NULL), OD_OK);
        assert_int_equal(od_volume_barrier(volume, NULL, &lsn, NULL), OD_OK);
        assert_int_equal(od_volume_roll(volume, NULL), OD_OK);
        assert_int_equal(od_volume_publish(volume, NULL), OD_OK);
    }
    od_volume_close(volume);
    od_store_close(store);
}

static struct od_meta_branch create(const char *name)
{
    struct od_store *store;
    struct od_meta_database database;
    struct od_meta_branch branch;
    assert_int_equal(open_store(in_scratch("journals"), meta, objects, &store, NULL), OD_OK);
    assert_int_equal(od_store_create(store, name, NULL), OD_OK);
    od_store_close(store);
    assert_int_equal(meta->ops->database_get(meta, name, &database, NULL), OD_OK);
    assert_int_equal(meta->ops->branch_get(meta, &database.branch, &branch, NULL), OD_OK);
    return branch;
}

static void note_problem(void *context, const char *key, const struct od_error *why)
{
    (void)context;
    problems++;
    assert_non_null(strstr(why->message, key));
    snprintf(problem_text, sizeof problem_text, "%s", why->message);
}

static od_code rebuild(bool partial, struct od_rebuild *summary, struct od_error *err)
{
    problems = 0;
    *summary =
        (struct od_rebuild){.objects = objects, .metadata = rebuilt, .partial = partial, .problem = note_problem};
    od_code rc = od_rebuild_run(summary, err);
    assert_int_equal(summary->problems, problems);
    return rc;
}

static void expect_same_branch(const struct od_uuid *uuid)
{
    struct od_meta_branch before, after;
    struct od_meta_layer *a, *b;
    size_t a_count, b_count;
    assert_int_equal(meta->ops->branch_get(meta, uuid, &before, NULL), OD_OK);
    assert_int_equal(rebuilt->ops->branch_get(rebuilt, uuid, &after, NULL), OD_OK);
    assert_true(od_meta_branch_same(&before, &after));
    assert_memory_equal(&before.tip_layer, &after.tip_layer, sizeof after.tip_layer);
    assert_int_equal(before.tip_lsn, after.tip_lsn);
    assert_int_equal(before.tip_time_us, after.tip_time_us);
    assert_true(after.epoch > before.epoch);
    assert_int_equal(meta->ops->layer_list(meta, uuid, &a, &a_count, NULL), OD_OK);
    assert_int_equal(rebuilt->ops->layer_list(rebuilt, uuid, &b, &b_count, NULL), OD_OK);
    assert_int_equal(a_count, b_count);
    for (size_t i = 0; i < a_count; i++) {
        assert_true(od_meta_layer_same(&a[i], &b[i]));
        assert_int_equal(a[i].bytes, b[i].bytes);
        assert_int_equal(a[i].last_time_us, b[i].last_time_us);
    }
    od_free(a);
    od_free(b);
}

static void rebuilt_metadata_says_the_same(void **state)
{
    (void)state;
    struct od_rebuild summary;
    struct od_error err = {0};
    struct od_meta_branch branch = create("d"), clone = {.branch = {{9}}}, empty;
    write_layers(meta, "journals", "d", 3, model);
    assert_int_equal(meta->ops->branch_get(meta, &branch.branch, &branch, NULL), OD_OK);
    clone.parent_branch = branch.branch;
    clone.parent_layer = branch.tip_layer;
    clone.start_lsn = clone.tip_lsn = branch.tip_lsn;
    assert_int_equal(meta->ops->database_create(meta, "clone", &clone, NULL), OD_OK);
    write_layers(meta, "journals", "clone", 2, NULL);
    write_layers(meta, "journals", "d", 2, model);
    empty = create("empty");

    if (rebuild(false, &summary, &err) != OD_OK)
        fail_msg("%s", err.message);
    assert_int_equal(summary.objects_seen, 9); // the clone has no description
    assert_int_equal(summary.layers, 7);
    assert_int_equal(summary.branches, 3);
    assert_int_equal(summary.databases, 3);
    assert_int_equal(summary.outside, 0);
    assert_true(summary.bytes > UINT64_C(7) * 4096);
    expect_same_branch(&branch.branch);
    expect_same_branch(&clone.branch);
    expect_same_branch(&empty.branch);
    struct od_meta_database *databases;
    size_t count;
    char recovered[64] = "recovered-";
    od_uuid_format(&clone.branch, recovered + strlen(recovered));
    assert_int_equal(rebuilt->ops->database_list(rebuilt, &databases, &count, NULL), OD_OK);
    assert_string_equal(databases[0].name, "d");
    assert_string_equal(databases[1].name, "empty");
    assert_string_equal(databases[2].name, recovered);
    od_free(databases);
    assert_int_equal(rebuild(false, &summary, &err), OD_EXISTS);

    struct od_store *store;
    struct od_volume *volume;
    assert_int_equal(open_store(in_scratch("journals"), rebuilt, objects, &store, NULL), OD_OK);
    assert_int_equal(od_volume_open(store, "d", false, &volume, NULL), OD_OK);
    expect_equal(volume, model);
    od_volume_close(volume);
    od_store_close(store);
}

static void expect_snapshots(const struct od_uuid *branch, size_t expected)
{
    struct od_meta_snapshot *a, *b;
    size_t a_count, b_count;
    assert_int_equal(meta->ops->snapshot_list(meta, branch, &a, &a_count, NULL), OD_OK);
    assert_int_equal(rebuilt->ops->snapshot_list(rebuilt, branch, &b, &b_count, NULL), OD_OK);
    assert_int_equal(a_count, expected);
    assert_int_equal(b_count, expected);
    for (size_t i = 0; i < expected; i++) {
        assert_true(od_meta_snapshot_same(&a[i], &b[i]));
        assert_int_equal(a[i].created_us, b[i].created_us);
    }
    od_free(a);
    od_free(b);
}

static void names_snapshots_and_clones_come_back(void **state)
{
    (void)state;
    struct od_rebuild summary;
    struct od_error err = {0};
    struct od_store *store;
    struct od_volume *volume;
    struct od_meta_snapshot snapshot;
    struct od_meta_database clone, *databases;
    size_t count;
    uint64_t lsn, within;
    char selector[32];
    static uint8_t block[16384] = {1};
    struct od_meta_branch old = create("d"), branch, never;
    write_layers(meta, "journals", "d", 1, NULL);
    assert_int_equal(meta->ops->database_drop(meta, "d", NULL), OD_OK);
    branch = create("d");
    never = create("never"); // and a second time, which is refused, but described
    assert_int_equal(open_store(in_scratch("journals"), meta, objects, &store, NULL), OD_OK);
    assert_int_equal(od_store_create(store, "never", NULL), OD_EXISTS);
    assert_int_equal(od_volume_open(store, "d", true, &volume, NULL), OD_OK);
    assert_int_equal(od_volume_write(volume, OD_VOLUME_DATABASE, 12288, block, sizeof block, NULL), OD_OK);
    assert_int_equal(od_volume_barrier(volume, NULL, &within, NULL), OD_OK);
    assert_int_equal(od_volume_write(volume, OD_VOLUME_DATABASE, 12288, block, sizeof block, NULL), OD_OK);
    assert_int_equal(od_volume_barrier(volume, NULL, &lsn, NULL), OD_OK);
    assert_int_equal(od_volume_flush(volume, NULL), OD_OK);
    assert_int_equal(od_store_snapshot_create(store, "d", "s", volume, &snapshot, NULL), OD_OK);
    assert_int_equal(od_volume_write(volume, OD_VOLUME_DATABASE, 12288, block, sizeof block, NULL), OD_OK);
    assert_int_equal(od_volume_barrier(volume, NULL, &lsn, NULL), OD_OK);
    assert_int_equal(od_volume_flush(volume, NULL), OD_OK);
    assert_int_equal(od_store_snapshot_create(store, "d", NULL, volume, &snapshot, NULL), OD_OK);
    assert_int_equal(od_store_snapshot_create(store, "d", "gone", volume, &snapshot, NULL), OD_OK);
    assert_int_equal(od_store_snapshot_drop(store, "d", "gone", NULL), OD_OK);
    snprintf(selector, sizeof selector, "%llu", (unsigned long long)within);
    assert_int_equal(od_store_clone(store, "d", selector, volume, "clone", &err), OD_OK);
    assert_int_equal(od_store_clone(store, "d", "s", volume, "unwritten", &err), OD_OK);
    od_volume_close(volume);
    od_store_close(store);
    write_layers(meta, "journals", "clone", 2, NULL);

    if (rebuild(false, &summary, &err) != OD_OK)
        fail_msg("%s", err.message);
    assert_int_equal(summary.snapshots, 2);
    expect_snapshots(&branch.branch, 2);
    expect_same_branch(&branch.branch);
    expect_same_branch(&never.branch);
    assert_int_equal(meta->ops->database_get(meta, "clone", &clone, NULL), OD_OK);
    expect_same_branch(&clone.branch);
    assert_int_equal(meta->ops->database_get(meta, "unwritten", &clone, NULL), OD_OK);
    expect_same_branch(&clone.branch);
    assert_int_equal(rebuilt->ops->database_get(rebuilt, "d", &clone, NULL), OD_OK);
    assert_memory_equal(&clone.branch, &branch.branch, sizeof branch.branch); // not the dropped one
    assert_int_equal(rebuilt->ops->database_list(rebuilt, &databases, &count, NULL), OD_OK);
    assert_int_equal(count, 6);
    char name[64] = "d-recovered-";
    od_uuid_format(&old.branch, name + strlen(name));
    assert_string_equal(databases[2].name, name);
    od_free(databases);
}

static void damaged_descriptions_are_reported(void **state)
{
    (void)state;
    static const char *const keys[] = {"branches/00000000-0000-4000-8000-000000000001",
                                       "snapshots/00000000-0000-4000-8000-000000000002"};
    static const uint8_t junk[600] = {1};
    struct od_rebuild summary;
    struct od_error err = {0};
    create("d");
    for (size_t bytes = 0; bytes <= sizeof junk; bytes += 300)
        for (size_t i = 0; i < 2; i++) {
            assert_int_equal(od_objstore_put(objects, keys[i], junk, bytes, NULL), OD_OK);
            assert_int_equal(rebuild(false, &summary, &err), OD_CORRUPT);
            assert_int_equal(problems, 1);
            assert_non_null(strstr(err.message, keys[i]));
            assert_int_equal(od_objstore_remove(objects, keys[i], NULL), OD_OK);
        }
    assert_int_equal(rebuild(false, &summary, &err), OD_OK);
    assert_int_equal(summary.databases, 1);
}

static void copy_meta(const char *to)
{
    struct od_buf buf;
    od_buf_init(&buf, 16 << 20);
    od_metastore_close(meta); // so that the file has everything
    assert_int_equal(od_file_read(in_scratch("meta.db"), &buf, NULL), OD_OK);
    assert_int_equal(od_file_write(in_scratch(to), buf.data, buf.bytes, 0600, NULL), OD_OK);
    od_buf_release(&buf);
    meta = open_meta("meta.db");
}

static void an_overtaken_writer_is_not_history(void **state)
{
    (void)state;
    struct od_rebuild summary;
    struct od_error err = {0};
    struct od_meta_branch branch = create("d");
    write_layers(meta, "journals", "d", 1, model);
    copy_meta("other.db");
    struct od_metastore *other = open_meta("other.db");
    write_layers(other, "other-journals", "d", 2, NULL); // more than the others will have
    od_metastore_close(other);
    // The same epoch is given twice. The objects know, and the second writer is refused; in older ones there is no claim.
    struct od_store *store;
    struct od_volume *volume;
    copy_meta("third.db");
    struct od_metastore *third = open_meta("third.db");
    assert_int_equal(open_store(in_scratch("journals"), third, objects, &store, NULL), OD_OK);
    assert_int_equal(od_volume_open(store, "d", true, &volume, &err), OD_CORRUPT);
    assert_non_null(strstr(err.message, "the metadata is older than the objects"));
    od_store_close(store);
    od_metastore_close(third);
    char id[OD_UUID_TEXT_BYTES], claim[80];
    od_uuid_format(&branch.branch, id);
    snprintf(claim, sizeof claim, "epochs/%s/0000000000000002", id);
    assert_int_equal(od_objstore_remove(objects, claim, NULL), OD_OK);
    write_layers(meta, "journals", "d", 1, model);
    assert_int_equal(rebuild(false, &summary, &err), OD_CORRUPT); // both are of epoch 2
    assert_non_null(strstr(err.message, "different histories"));
    assert_int_equal(rebuild(true, &summary, &err), OD_OK);
    assert_int_equal(summary.branches, 0);

    write_layers(meta, "journals", "d", 1, model);
    if (rebuild(false, &summary, &err) != OD_OK)
        fail_msg("%s", err.message);
    assert_int_equal(summary.layers, 3);
    assert_int_equal(summary.outside, 2);
    expect_same_branch(&branch.branch);
}

// The object of the branch's layer number `index` anew, with a byte changed `from_end` before its end; 0: gone.
static void damage(const struct od_uuid *branch, size_t index, size_t from_end)
{
    struct od_meta_layer *rows;
    size_t count;
    char path[700];
    struct od_buf buf;
    od_buf_init(&buf, 64 << 20);
    assert_int_equal(meta->ops->layer_list(meta, branch, &rows, &count, NULL), OD_OK);
    assert_true(index < count);
    snprintf(path, sizeof path, "%s/%s", in_scratch("objects"), rows[index].key);
    assert_int_equal(od_file_read(path, &buf, NULL), OD_OK);
    assert_int_equal(od_file_remove(path, NULL), OD_OK);
    if (from_end) {
        buf.data[buf.bytes - from_end] ^= 1;
        assert_int_equal(od_file_write(path, buf.data, buf.bytes, 0600, NULL), OD_OK);
    }
    od_buf_release(&buf);
    od_free(rows);
}

static void damage_is_not_passed_over(void **state)
{
    (void)state;
    static const size_t where[] = {1, 64, 65, 0}; // trailer, footer, and gone
    fixture_slack = 64; // so that the layer is needed
    for (size_t i = 0; i < sizeof where / sizeof *where; i++) {
        struct od_rebuild summary;
        struct od_error err = {0};
        struct od_meta_branch one = create("one"), two = create("two"), row;
        write_layers(meta, "journals", "one", 3, NULL);
        write_layers(meta, "journals", "two", 2, NULL);
        damage(&one.branch, 1, where[i]);
        assert_int_equal(rebuild(false, &summary, &err), OD_CORRUPT);
        assert_true(problems >= 1);
        assert_int_equal(rebuild(true, &summary, &err), OD_OK);
        assert_int_equal(summary.layers, 2);
        assert_non_null(strstr(problem_text, "missing or damaged"));
        expect_same_branch(&two.branch);
        assert_int_equal(rebuilt->ops->branch_get(rebuilt, &one.branch, &row, NULL), OD_NOT_FOUND);
        assert_int_equal(tear_down(NULL), 0);
        assert_int_equal(set_up(NULL), 0);
    }
    fixture_slack = 1;
}

static void a_damaged_tip_and_foreign_objects_are_reported(void **state)
{
    (void)state;
    struct od_rebuild summary;
    struct od_error err = {0};
    struct od_meta_branch branch = create("d"), row;
    write_layers(meta, "journals", "d", 3, NULL);
    assert_int_equal(od_objstore_put(objects, "layers/other", "x", 1, NULL), OD_OK);
    assert_int_equal(od_objstore_put(objects, "elsewhere/other", "x", 1, NULL), OD_OK);
    assert_int_equal(rebuild(false, &summary, &err), OD_CORRUPT);
    assert_int_equal(problems, 1);
    assert_non_null(strstr(err.message, "layers/other"));
    damage(&branch.branch, 2, 30);
    assert_int_equal(rebuild(false, &summary, &err), OD_CORRUPT);
    assert_int_equal(problems, 2);
    assert_int_equal(rebuild(true, &summary, &err), OD_OK);
    assert_int_equal(summary.layers, 2);
    assert_int_equal(rebuilt->ops->branch_get(rebuilt, &branch.branch, &row, NULL), OD_OK);
}

static void drop(const char *name)
{
    struct od_store *store;
    assert_int_equal(open_store(in_scratch("journals"), meta, objects, &store, NULL), OD_OK);
    assert_int_equal(od_store_drop(store, name, NULL), OD_OK);
    od_store_close(store);
}

// What was dropped stays dropped, with all that may still be needed of it; its name is another's.
static void a_dropped_database_does_not_come_back(void **state)
{
    (void)state;
    struct od_rebuild summary;
    struct od_error err = {0};
    struct od_store *store;
    struct od_meta_snapshot snapshot;
    struct od_meta_database row;
    struct od_meta_branch after, old = create("d"), empty = create("empty"), again;
    write_layers(meta, "journals", "d", 3, NULL);
    assert_int_equal(open_store(in_scratch("journals"), meta, objects, &store, NULL), OD_OK);
    assert_int_equal(od_store_snapshot_create(store, "d", "kept", NULL, &snapshot, NULL), OD_OK);
    assert_int_equal(od_store_clone(store, "d", "kept", NULL, "clone", NULL), OD_OK);
    od_store_close(store);
    drop("d");
    drop("empty");
    again = create("d");
    if (rebuild(false, &summary, &err) != OD_OK)
        fail_msg("%s", err.message);
    assert_true(summary.databases == 2 && summary.branches == 4 && summary.layers == 3 && summary.snapshots == 1);
    assert_int_equal(rebuilt->ops->database_get(rebuilt, "d", &row, NULL), OD_OK);
    assert_true(od_uuid_equal(&row.branch, &again.branch));
    assert_int_equal(rebuilt->ops->database_get(rebuilt, "clone", &row, NULL), OD_OK);
    expect_same_branch(&old.branch);
    expect_snapshots(&old.branch, 1);
    assert_int_equal(meta->ops->branch_get(meta, &old.branch, &old, NULL), OD_OK);
    assert_int_equal(rebuilt->ops->branch_get(rebuilt, &old.branch, &after, NULL), OD_OK);
    assert_int_equal(after.dropped_us, old.dropped_us);
    assert_int_equal(rebuilt->ops->branch_get(rebuilt, &empty.branch, &after, NULL), OD_OK);
    assert_true(after.dropped_us > 0);
}

// Several read at once; what they find is in order all the same, and so are the problems.
static void helpers_find_the_same(void **state)
{
    (void)state;
    struct od_rebuild alone, helped = {.objects = objects, .metadata = rebuilt, .helpers = 7, .problem = note_problem};
    struct od_error err = {0}, helped_err = {0};
    struct od_meta_branch branch = create("d");
    write_layers(meta, "journals", "d", 40, NULL);
    assert_int_equal(od_objstore_put(objects, "layers/other", "x", 1, NULL), OD_OK);
    assert_int_equal(od_objstore_put(objects, "dropped/other", "x", 1, NULL), OD_OK);
    assert_int_equal(rebuild(false, &alone, &err), OD_CORRUPT);
    assert_int_equal(od_rebuild_run(&helped, &helped_err), OD_CORRUPT);
    assert_string_equal(err.message, helped_err.message);
    assert_true(helped.problems == 2 && helped.objects_seen == alone.objects_seen && helped.bytes == alone.bytes);
    helped.partial = true;
    assert_int_equal(od_rebuild_run(&helped, &helped_err), OD_OK);
    assert_int_equal(helped.layers, 40);
    expect_same_branch(&branch.branch);
}

// ---- faults, with metadata that takes everything

static unsigned restored;

static od_code none_listed(struct od_metastore *store, struct od_meta_branch **rows, size_t *count,
                           struct od_error *err)
{
    (void)store, (void)err;
    *rows = NULL;
    *count = 0;
    return OD_OK;
}

static od_code take_all(struct od_metastore *store, const struct od_meta_database *databases, size_t database_count,
                        const struct od_meta_branch *branches, size_t branch_count, const struct od_meta_layer *layers,
                        size_t layer_count, const struct od_meta_snapshot *snapshots, size_t snapshot_count,
                        struct od_error *err)
{
    (void)store, (void)databases, (void)branches, (void)layers, (void)snapshots, (void)err;
    assert_int_equal(snapshot_count, 1);
    assert_int_equal(database_count, 1);
    assert_int_equal(branch_count, 1);
    assert_int_equal(layer_count, 2);
    restored++;
    return OD_OK;
}

static void every_step_may_fail(void **state)
{
    (void)state;
    static const struct od_metastore_ops ops = {.kind = "test", .branch_list = none_listed, .restore = take_all};
    struct od_metastore target = {&ops};
    struct od_store *store;
    struct od_meta_snapshot snapshot;
    create("d");
    write_layers(meta, "journals", "d", 2, NULL);
    assert_int_equal(open_store(in_scratch("journals"), meta, objects, &store, NULL), OD_OK);
    assert_int_equal(od_store_snapshot_create(store, "d", "s", NULL, &snapshot, NULL), OD_OK);
    od_store_close(store);
    OD_FAULT_LOOP(fault)
    {
        struct od_error err = {0};
        struct od_rebuild summary = {.objects = objects, .metadata = &target};
        restored = 0;
        od_code rc = od_rebuild_run(&summary, &err);
        od_fault_expect(&fault, rc, &err);
        od_fault_end(&fault);
        assert_int_equal(restored, rc == OD_OK);
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(rebuilt_metadata_says_the_same),
        TEST(names_snapshots_and_clones_come_back),
        TEST(damaged_descriptions_are_reported),
        TEST(an_overtaken_writer_is_not_history),
        TEST(damage_is_not_passed_over),
        TEST(a_damaged_tip_and_foreign_objects_are_reported),
        TEST(a_dropped_database_does_not_come_back),
        TEST(helpers_find_the_same),
        TEST(every_step_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
