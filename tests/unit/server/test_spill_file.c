// test_spill_file.c - F1, F2: batches come back as they were, the space is counted, and every failing step is told.
#include "server/spill_file.h"

#include "base/limits.h"
#include "support/fault.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char directory[64];

static int make_directory(void **state)
{
    (void)state;
    snprintf(directory, sizeof directory, "/tmp/test_spill_file_XXXXXX");
    return mkdtemp(directory) ? 0 : -1;
}

// Nothing may be left in it.
static int remove_directory(void **state)
{
    (void)state;
    od_fault_disarm();
    return rmdir(directory);
}

static od_code open_file(struct od_spill_space *space, void **store, struct od_error *err)
{
    char path[96];
    snprintf(path, sizeof path, "%s/rows", directory);
    return od_spill_file_open(od_platform_real(), path, space, store, err);
}

static void no_release(void *owner)
{
    (void)owner;
}

// A batch of three segments, one of them empty, with `seed` in all bytes.
static struct od_batch *make(char *bytes, size_t count, char seed)
{
    memset(bytes, seed, count);
    struct od_segment segments[] = {{(uint8_t *)bytes, 8}, {NULL, 0}, {(uint8_t *)bytes + 8, count - 8}};
    return od_batch_new(segments, 3, (uint64_t)seed, count, no_release, NULL);
}

static void check(const struct od_batch *batch, size_t count, char seed)
{
    assert_int_equal(batch->rows, seed);
    assert_int_equal(batch->bytes, count);
    size_t at = 0;
    for (size_t i = 0; i < batch->segment_count; i++)
        for (size_t k = 0; k < batch->segments[i].bytes; k++, at++)
            assert_int_equal(batch->segments[i].data[k], seed);
    assert_int_equal(at, count);
}

static void batches_come_back(void **state)
{
    (void)state;
    enum { BATCHES = 20 };
    static char bytes[BATCHES][5000];
    struct od_spill_space space = {.limit_bytes = OD_MIB};
    uint64_t places[BATCHES];
    void *store;
    assert_int_equal(open_file(&space, &store, NULL), OD_OK);
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < BATCHES; i++) {
            struct od_batch *batch = make(bytes[i], (size_t)(100 + 200 * i), (char)(i + 1));
            assert_int_equal(od_spill_file_ops.write(store, batch, &places[i], NULL), OD_OK);
            od_batch_unref(batch);
        }
        assert_true(atomic_load(&space.used_bytes) > 0);
        for (int i = BATCHES - 1; i >= 0; i--) {
            struct od_batch *batch = NULL;
            assert_int_equal(
                od_spill_file_ops.read(store, places[i], (size_t)(100 + 200 * i), (uint64_t)(i + 1), &batch, NULL),
                OD_OK);
            check(batch, (size_t)(100 + 200 * i), (char)(i + 1));
            od_batch_unref(batch);
        }
        assert_int_equal(atomic_load(&space.used_bytes), 0); // F2
    }
    od_spill_file_ops.free(store);
}

static void files_share_the_space(void **state)
{
    (void)state;
    char bytes[600];
    struct od_spill_space space = {.limit_bytes = 1000};
    struct od_error err = {0};
    void *first, *second;
    uint64_t place;
    struct od_batch *batch = make(bytes, sizeof bytes, 1);
    assert_int_equal(open_file(&space, &first, NULL), OD_OK);
    assert_int_equal(open_file(&space, &second, NULL), OD_OK); // the name is free again
    assert_int_equal(od_spill_file_ops.write(first, batch, &place, NULL), OD_OK);
    assert_int_equal(od_spill_file_ops.write(second, batch, &place, &err), OD_LIMIT); // F1
    assert_non_null(strstr(err.message, "--temp-limit"));
    assert_int_equal(atomic_load(&space.used_bytes), 600);
    od_spill_file_ops.free(first); // unread rows go with it
    assert_int_equal(od_spill_file_ops.write(second, batch, &place, NULL), OD_OK);
    od_spill_file_ops.free(second);
    assert_int_equal(atomic_load(&space.used_bytes), 0);
    od_batch_unref(batch);
}

static void every_step_may_fail(void **state)
{
    (void)state;
    char bytes[600], path[96];
    snprintf(path, sizeof path, "%s/rows", directory);
    OD_FAULT_LOOP(fault)
    {
        struct od_spill_space space = {.limit_bytes = OD_MIB};
        struct od_error err = {0};
        struct od_batch *batch = NULL, *back = NULL;
        void *store = NULL;
        uint64_t place;
        od_code rc = open_file(&space, &store, &err);
        if (rc == OD_OK && !(batch = make(bytes, sizeof bytes, 1)))
            rc = od_fail(&err, OD_NO_MEMORY, "no batch");
        if (rc == OD_OK)
            rc = od_spill_file_ops.write(store, batch, &place, &err);
        if (rc == OD_OK)
            rc = od_spill_file_ops.read(store, place, sizeof bytes, 1, &back, &err);
        od_fault_expect(&fault, rc, &err);
        if (rc == OD_OK)
            check(back, sizeof bytes, 1);
        od_batch_unref(batch);
        od_batch_unref(back);
        if (store)
            od_spill_file_ops.free(store);
        assert_int_equal(atomic_load(&space.used_bytes), 0);
        (void)unlink(path); // when removing the name is what failed
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(batches_come_back, make_directory, remove_directory),
        cmocka_unit_test_setup_teardown(files_share_the_space, make_directory, remove_directory),
        cmocka_unit_test_setup_teardown(every_step_may_fail, make_directory, remove_directory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
