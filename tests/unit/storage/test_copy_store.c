// test_copy_store.c - objects and rows arrive whole; a copy is begun again; what is there and differs is kept.
#include "storage/copy_store.h"

#include "metastore/metastore.h"
#include "objstore/objstore.h"
#include "os/platform.h"
#include "unit/os/scratch.h"

#include <string.h>

struct place {
    struct od_objstore *objects;
    struct od_metastore *metadata;
};

static struct place open_place(const char *objects, const char *metadata)
{
    struct place place;
    assert_int_equal(od_objstore_directory_open(od_platform_real(), in_scratch(objects), &place.objects, NULL), OD_OK);
    assert_int_equal(od_metastore_sqlite_open(in_scratch(metadata), true, &place.metadata, NULL), OD_OK);
    return place;
}

static void close_place(struct place *place)
{
    od_objstore_close(place->objects);
    od_metastore_close(place->metadata);
}

static void a_copy_has_all_objects_and_rows(void **state)
{
    (void)state;
    struct od_error err = {0};
    static uint8_t data[5u << 20];
    struct place from = open_place("a", "a.db"), to = open_place("b", "b.db"), third = open_place("b", "c.db");
    struct od_meta_branch branch = {.branch = {{1}}}, row;
    struct od_meta_layer layer = {.layer = {{2}}, .branch = branch.branch, .epoch = 1, .end_lsn = 10, .key = "l/2"};
    struct od_meta_snapshot snapshot = {
        .name = "s", .snapshot = {{3}}, .position = {branch.branch, 1, 10}, .layer = layer.layer};
    memset(data, 7, sizeof data);
    assert_int_equal(od_objstore_put(from.objects, "l/2", data, sizeof data, NULL), OD_OK);
    assert_int_equal(od_objstore_put(from.objects, "l/empty", NULL, 0, NULL), OD_OK);
    const struct od_metastore_ops *ops = from.metadata->ops;
    assert_int_equal(ops->database_create(from.metadata, "d", &branch, NULL), OD_OK);
    assert_int_equal(ops->epoch_acquire(from.metadata, &branch.branch, "w", &(struct od_uuid){{9}}, 1, true, &row, NULL), OD_OK);
    assert_int_equal(ops->layer_publish(from.metadata, &layer, &row.tip_layer, NULL), OD_OK);
    assert_int_equal(ops->snapshot_create(from.metadata, &snapshot, NULL), OD_OK);

    char scratch_file[256];
    snprintf(scratch_file, sizeof scratch_file, "%s", in_scratch("scratch"));
    struct od_store_copy copy = {.platform = od_platform_real(),
                                 .from_objects = from.objects,
                                 .to_objects = to.objects,
                                 .from_metadata = from.metadata,
                                 .to_metadata = to.metadata,
                                 .scratch = scratch_file};
    assert_int_equal(od_store_copy_run(&copy, &err), OD_OK);
    assert_int_equal(copy.objects, 2);
    assert_int_equal(copy.bytes, sizeof data);
    assert_int_equal(copy.databases + copy.branches + copy.layers + copy.snapshots, 4);
    struct od_meta_layer got;
    assert_int_equal(ops->layer_get(to.metadata, &layer.layer, &got, NULL), OD_OK);
    assert_true(od_meta_layer_same(&got, &layer));
    struct od_object *object;
    assert_int_equal(od_objstore_open(to.objects, "l/2", &object, NULL), OD_OK);
    assert_int_equal(od_object_bytes(object), sizeof data);
    od_object_close(object);

    assert_int_equal(od_store_copy_run(&copy, &err), OD_EXISTS); // metadata is there
    copy.to_metadata = third.metadata;
    assert_int_equal(od_store_copy_run(&copy, &err), OD_OK); // the objects are found
    assert_int_equal(copy.present, 2);
    assert_int_equal(copy.objects, 0);
    assert_int_equal(od_objstore_put(from.objects, "l/other", "x", 1, NULL), OD_OK);
    assert_int_equal(od_objstore_put(to.objects, "l/other", "y", 1, NULL), OD_OK);
    assert_int_equal(od_store_copy_run(&copy, &err), OD_EXISTS);
    assert_non_null(strstr(err.message, "l/other"));
    assert_false(od_file_exists(scratch_file));
    close_place(&from);
    close_place(&to);
    close_place(&third);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_copy_has_all_objects_and_rows, scratch_make, scratch_remove),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
