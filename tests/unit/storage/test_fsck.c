// test_fsck.c - whole stores have no problems; a changed bit anywhere in a layer is one, and so is a row or object that
// has lost the other.
#include "fixture.h"

#include "base/alloc.h"
#include "base/log.h"
#include "storage/fsck.h"

#include <stdio.h>
#include <stdlib.h>

static struct od_metastore *meta;
static struct od_objstore *objects;
static unsigned problems;
static char problem_key[OD_OBJECT_KEY_BYTES]; // of the first

static int set_up(void **state)
{
    od_log_set_level(OD_LOG_ERROR);
    if (scratch_make(state) != 0)
        return -1;
    assert_int_equal(od_metastore_sqlite_open(in_scratch("meta.db"), true, &meta, NULL), OD_OK);
    assert_int_equal(od_objstore_directory_open(od_platform_real(), in_scratch("objects"), &objects, NULL), OD_OK);
    return 0;
}

static int tear_down(void **state)
{
    od_objstore_close(objects);
    od_metastore_close(meta);
    return scratch_remove(state);
}

// A database of some layers, a snapshot in each, and a clone that begins within one.
static void write_all(int layers, bool clone)
{
    struct od_store *store;
    struct od_volume *volume;
    struct od_meta_snapshot snapshot;
    struct model *model = calloc(1, sizeof *model);
    uint64_t lsn = 0, within = 0;
    uint32_t seed = 77;
    char selector[32];
    assert_int_equal(open_store(in_scratch("journals"), meta, objects, &store, NULL), OD_OK);
    assert_int_equal(od_store_create(store, "d", NULL), OD_OK);
    assert_int_equal(od_volume_open(store, "d", false, &volume, NULL), OD_OK);
    for (int layer = 0; layer < layers; layer++) {
        for (int i = 0; i < 12; i++) {
            random_step(volume, model, &seed);
            if (i == 5)
                assert_int_equal(od_volume_barrier(volume, NULL, &within, NULL), OD_OK);
        }
        assert_int_equal(od_volume_barrier(volume, NULL, &lsn, NULL), OD_OK);
        assert_int_equal(od_volume_flush(volume, NULL), OD_OK);
        assert_int_equal(od_store_snapshot_create(store, "d", NULL, volume, &snapshot, NULL), OD_OK);
    }
    snprintf(selector, sizeof selector, "%llu", (unsigned long long)within);
    if (clone)
        assert_int_equal(od_store_clone(store, "d", selector, volume, "clone", NULL), OD_OK);
    od_volume_close(volume);
    if (clone) {
        assert_int_equal(od_volume_open(store, "clone", false, &volume, NULL), OD_OK);
        assert_int_equal(od_volume_write(volume, OD_VOLUME_WAL, 0, "abc", 3, NULL), OD_OK);
        assert_int_equal(od_volume_barrier(volume, NULL, &lsn, NULL), OD_OK);
        od_volume_close(volume);
    }
    od_store_close(store);
    free(model);
}

static void note_problem(void *context, const char *key, const struct od_error *why)
{
    (void)context;
    if (problems++ == 0)
        snprintf(problem_key, sizeof problem_key, "%s", key);
    assert_int_not_equal(why->code, OD_OK);
    assert_non_null(strstr(why->message, key));
}

static struct od_fsck check(void)
{
    struct od_error err = {0};
    struct od_fsck fsck = {
        .platform = od_platform_real(), .objects = objects, .metadata = meta, .problem = note_problem};
    problems = 0;
    if (od_fsck_run(&fsck, &err) != OD_OK)
        fail_msg("%s", err.message);
    assert_int_equal(fsck.problems, problems);
    return fsck;
}

static void a_whole_store_has_no_problems(void **state)
{
    (void)state;
    write_all(5, true);
    struct od_fsck fsck = check();
    assert_int_equal(fsck.problems, 0);
    assert_int_equal(fsck.layers, 6);
    assert_int_equal(fsck.objects_seen, 6 + 2 + 5);
    assert_int_equal(fsck.rows, 6 + 2 + 5);
    assert_int_equal(fsck.unreferenced, 0);
}

static bool stop(void *context)
{
    return --*(int *)context < 0;
}

// Of a database only what it is made of is read in full: the clone has one layer on the other's five.
static void one_database_may_be_checked(void **state)
{
    (void)state;
    static const char *const names[] = {"d", "clone"};
    uint64_t layers[2];
    int left = 1000;
    write_all(5, true);
    for (int i = 0; i < 2; i++) {
        struct od_meta_database row;
        struct od_fsck fsck = {
            .platform = od_platform_real(), .objects = objects, .metadata = meta, .stop = stop, .context = &left};
        assert_int_equal(meta->ops->database_get(meta, names[i], &row, NULL), OD_OK);
        fsck.branch = row.branch;
        assert_int_equal(od_fsck_run(&fsck, NULL), OD_OK);
        assert_int_equal(fsck.problems, 0);
        assert_int_equal(fsck.objects_seen, 6 + 2 + 5);
        layers[i] = fsck.layers;
    }
    assert_int_equal(layers[0], 5);
    assert_int_equal(layers[1], 6);
    struct od_fsck fsck = {.platform = od_platform_real(), .objects = objects, .stop = stop, .context = &left};
    left = 2;
    assert_int_equal(od_fsck_run(&fsck, NULL), OD_CANCELLED);
    assert_int_equal(fsck.layers, 2);
}

static struct od_meta_layer layer_at(size_t index)
{
    struct od_meta_database database;
    struct od_meta_layer *rows, row;
    size_t count;
    assert_int_equal(meta->ops->database_get(meta, "d", &database, NULL), OD_OK);
    assert_int_equal(meta->ops->layer_list(meta, &database.branch, &rows, &count, NULL), OD_OK);
    assert_true(index < count);
    row = rows[index];
    od_free(rows);
    return row;
}

static void every_changed_bit_is_found(void **state)
{
    (void)state;
    write_all(2, false);
    struct od_meta_layer row = layer_at(1);
    char path[700];
    struct od_buf buf;
    od_buf_init(&buf, 64 << 20);
    snprintf(path, sizeof path, "%s/%s", in_scratch("objects"), row.key);
    assert_int_equal(od_file_read(path, &buf, NULL), OD_OK);
    uint32_t seed = 5, missed = 0;
    for (int round = 0; round < 60; round++) {
        size_t from_end = next_random(&seed) % (round % 2 ? buf.bytes : 20000); // leaves and footer oftener
        size_t at = buf.bytes - 1 - (from_end < buf.bytes ? from_end : 0);
        buf.data[at] ^= 0x40;
        assert_int_equal(od_file_remove(path, NULL), OD_OK);
        assert_int_equal(od_file_write(path, buf.data, buf.bytes, 0600, NULL), OD_OK);
        check();
        buf.data[at] ^= 0x40;
        missed += problems == 0;
        if (problems == 0 && buf.data[at] != 0)
            fail_msg("a change at offset %zu of %zu was not found", at, buf.bytes);
        if (problems > 0)
            assert_string_equal(problem_key, row.key);
    }
    assert_true(missed <= 2); // what pads payloads to multiples of 16 belongs to nothing
    od_buf_release(&buf);
}

static void what_lost_the_other_is_reported(void **state)
{
    (void)state;
    write_all(3, true);
    struct od_meta_layer row = layer_at(1);
    struct od_object *object;
    uint8_t *data = malloc((size_t)row.bytes);
    assert_int_equal(od_objstore_open(objects, row.key, &object, NULL), OD_OK);
    assert_int_equal(od_object_read(object, 0, data, (size_t)row.bytes, NULL), OD_OK);
    od_object_close(object);
    assert_int_equal(od_objstore_remove(objects, row.key, NULL), OD_OK);
    check();
    assert_true(problems >= 2); // its row, the layer above it
    assert_int_equal(od_objstore_put(objects, row.key, data, (size_t)row.bytes, NULL), OD_OK);
    check();
    assert_int_equal(problems, 0);
    free(data);

    char key[80] = "branches/";
    od_uuid_format(&row.branch, key + strlen(key));
    assert_int_equal(od_objstore_remove(objects, key, NULL), OD_OK);
    check();
    assert_int_equal(problems, 1);
    assert_string_equal(problem_key, key);

    od_metastore_close(meta);
    assert_int_equal(od_metastore_sqlite_open(in_scratch("other.db"), true, &meta, NULL), OD_OK);
    struct od_fsck fsck = check(); // objects that no row names are whole all the same
    assert_int_equal(problems, 0);
    assert_int_equal(fsck.unreferenced, 4);
}

static void every_step_may_fail(void **state)
{
    (void)state;
    write_all(1, false);
    OD_FAULT_LOOP(fault)
    {
        struct od_error err = {0};
        struct od_fsck fsck = {.platform = od_platform_real(),
                               .objects = objects}; // faults of the metadata have tests of their own
        od_code rc = od_fsck_run(&fsck, &err);
        od_fault_expect(&fault, rc, &err);
        od_fault_end(&fault);
        assert_int_equal(fsck.problems, 0); // a disk that fails is no damage
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(a_whole_store_has_no_problems),   TEST(one_database_may_be_checked), TEST(every_changed_bit_is_found),
        TEST(what_lost_the_other_is_reported), TEST(every_step_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
