// test_directory.c - the directory backend: the suite of all backends, what it leaves on disk, and every step failing.
#include "conformance/objstore/objstore_conformance.h"
#include "os/platform.h"
#include "unit/os/scratch.h"

#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static od_code open_in_scratch(void *context, struct od_objstore **store, struct od_error *err)
{
    (void)context;
    return od_objstore_directory_open(od_platform_real(), in_scratch("objects"), store, err);
}

static const char *write_in_scratch(void *context, const void *data, size_t bytes)
{
    (void)context;
    const char *path = in_scratch("file");
    assert_int_equal(od_file_remove(path, NULL), OD_OK);
    assert_int_equal(od_file_write(path, data, bytes, 0600, NULL), OD_OK);
    return path;
}

static size_t count_entries(const char *path)
{
    struct od_names names;
    assert_int_equal(od_directory_list(path, &names, NULL), OD_OK);
    size_t count = names.count;
    od_names_release(&names);
    return count;
}

static void a_file_on_the_same_disk_is_linked(void **state)
{
    (void)state;
    struct od_objstore *store;
    struct stat a, b;
    assert_int_equal(open_in_scratch(NULL, &store, NULL), OD_OK);
    const char *path = write_in_scratch(NULL, "x", 1);
    assert_int_equal(od_objstore_put_file(store, "k/linked", path, NULL), OD_OK);
    assert_int_equal(stat(path, &a), 0);
    assert_int_equal(stat(in_scratch("objects/k/linked"), &b), 0);
    assert_int_equal(a.st_ino, b.st_ino);
    od_objstore_close(store);
}

static void a_file_on_another_disk_is_copied(void **state)
{
    (void)state;
    struct od_objstore *store;
    struct stat there, here;
    char path[] = "/dev/shm/openduck-test-XXXXXX", got[5];
    int descriptor = mkstemp(path);
    if (descriptor < 0 || stat(scratch, &here) != 0 || fstat(descriptor, &there) != 0 || here.st_dev == there.st_dev)
        skip();
    assert_int_equal(write(descriptor, "other", 5), 5);
    close(descriptor);
    assert_int_equal(open_in_scratch(NULL, &store, NULL), OD_OK);
    assert_int_equal(od_objstore_put_file(store, "copied", path, NULL), OD_OK);
    unlink(path);
    struct od_object *object;
    assert_int_equal(od_objstore_open(store, "copied", &object, NULL), OD_OK);
    assert_int_equal(od_object_read(object, 0, got, 5, NULL), OD_OK);
    assert_memory_equal(got, "other", 5);
    od_object_close(object);
    assert_int_equal(count_entries(in_scratch("objects/TEMP")), 0);
    od_objstore_close(store);
}

static void unfinished_content_goes_after_a_day(void **state)
{
    (void)state;
    struct od_objstore *store;
    char young[64], path[96];
    assert_int_equal(open_in_scratch(NULL, &store, NULL), OD_OK);
    od_objstore_close(store);
    write_text("objects/TEMP/1000-ab", "old");
    snprintf(young, sizeof young, "objects/TEMP/%llu-ab",
             (unsigned long long)od_platform_real()->ops->wall_us(od_platform_real()));
    write_text(young, "young");
    write_text("objects/TEMP/foreign", "kept");
    assert_int_equal(open_in_scratch(NULL, &store, NULL), OD_OK);
    assert_false(od_file_exists(in_scratch("objects/TEMP/1000-ab")));
    snprintf(path, sizeof path, "%s", young);
    assert_true(od_file_exists(in_scratch(path)));
    assert_true(od_file_exists(in_scratch("objects/TEMP/foreign")));
    od_objstore_close(store);
}

static od_code count_entry(void *context, const char *key, uint64_t bytes, struct od_error *err)
{
    (void)key;
    (void)bytes;
    (void)err;
    ++*(unsigned *)context;
    return OD_OK;
}

static void what_is_no_object_is_not_listed(void **state)
{
    (void)state;
    struct od_objstore *store;
    unsigned count = 0;
    assert_int_equal(open_in_scratch(NULL, &store, NULL), OD_OK);
    write_text("objects/TEMP/5-ab", "half");
    write_text("objects/README.TXT", "not ours");
    assert_int_equal(od_objstore_put(store, "one", "x", 1, NULL), OD_OK);
    assert_int_equal(od_objstore_list(store, "", count_entry, &count, NULL), OD_OK);
    assert_int_equal(count, 1);
    od_objstore_close(store);
}

// Whatever step fails: no half object, and what was said to be there is there.
static void every_step_may_fail(void **state)
{
    (void)state;
    unsigned run = 0;
    uint64_t points = 0;
    OD_FAULT_LOOP(fault)
    {
        struct od_error err = {0};
        struct od_objstore *store = NULL;
        struct od_object *object = NULL;
        char directory[32], got[4], text[] = "whole";
        unsigned listed = 0;
        snprintf(directory, sizeof directory, "f%u", run++);
        od_code rc = od_objstore_directory_open(od_platform_real(), in_scratch(directory), &store, &err);
        if (rc == OD_OK)
            rc = od_objstore_put(store, "a/b", text, 4, &err);
        bool was_put = rc == OD_OK;
        if (rc == OD_OK)
            rc = od_objstore_open(store, "a/b", &object, &err);
        if (rc == OD_OK)
            rc = od_object_read(object, 0, got, 4, &err);
        od_object_close(object);
        if (rc == OD_OK)
            rc = od_objstore_list(store, "", count_entry, &listed, &err);
        if (rc == OD_OK)
            rc = od_objstore_remove(store, "c", &err);
        od_fault_end(&fault);
        if (rc == OD_OUTCOME_UNKNOWN && od_fault_injected(&fault))
            rc = err.code = OD_IO;
        od_fault_expect(&fault, rc, &err);
        od_objstore_close(store);
        if (rc == OD_OK) {
            assert_memory_equal(got, "whol", 4);
            assert_int_equal(listed, 1);
        }
        char path[64];
        uint64_t bytes = 0;
        snprintf(path, sizeof path, "%s/a/b", directory);
        if (od_file_exists(in_scratch(path))) {
            assert_int_equal(od_file_size(in_scratch(path), &bytes, NULL), OD_OK);
            assert_int_equal(bytes, 4);
        } else {
            assert_false(was_put);
        }
        assert_int_equal(od_tree_remove(in_scratch(directory), NULL), OD_OK);
        points = fault.points;
    }
    assert_true(points > 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_file_on_the_same_disk_is_linked, scratch_make, scratch_remove),
        cmocka_unit_test_setup_teardown(a_file_on_another_disk_is_copied, scratch_make, scratch_remove),
        cmocka_unit_test_setup_teardown(unfinished_content_goes_after_a_day, scratch_make, scratch_remove),
        cmocka_unit_test_setup_teardown(what_is_no_object_is_not_listed, scratch_make, scratch_remove),
        cmocka_unit_test_setup_teardown(every_step_may_fail, scratch_make, scratch_remove),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    if (scratch_make(NULL) != 0)
        return 1;
    const struct objstore_subject subject = {
        .name = "objstore directory", .open = open_in_scratch, .write_file = write_in_scratch, .threads = 16};
    failed += objstore_conformance_run(&subject);
    return failed + (scratch_remove(NULL) != 0);
}
