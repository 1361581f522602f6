// test_result.c - od_result alone: how rows, ends and errors pass from producer to consumer. No DuckDB.
#include "engine/result.h"

#include "base/alloc.h"
#include "support/fault.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

enum { BATCH_BYTES = 1 << 20 };

// A source of `left` batches of one row and BATCH_BYTES each.
struct source {
    unsigned left;
    bool fails;
    atomic_bool *freed;
};

static void release_bytes(void *bytes)
{
    od_free(bytes);
}

static enum od_fill source_fill(void *self, struct od_batch_queue *queue, struct od_waker room, struct od_error *err)
{
    struct source *source = self;
    while (source->left > 0) {
        if (od_batch_queue_full(queue, 0, room)) {
            return OD_FILL_FULL;
        }
        uint8_t *bytes = od_alloc(8);
        struct od_batch *batch = NULL;
        if (bytes) {
            struct od_segment segment = {bytes, 8};
            memset(bytes, 0, 8);
            batch = od_batch_new(&segment, 1, 1, BATCH_BYTES, release_bytes, bytes);
        }
        if (!batch) {
            od_free(bytes);
            (void)od_fail(err, OD_NO_MEMORY, "no memory for a batch");
            return OD_FILL_FAILED;
        }
        od_batch_queue_push(queue, 0, batch);
        source->left--;
    }
    if (source->fails) {
        (void)od_fail(err, OD_IO, "the source broke");
        return OD_FILL_FAILED;
    }
    return OD_FILL_END;
}

static void source_free(void *self)
{
    struct source *source = self;
    *source->freed = true;
    od_free(source);
}

static const struct od_result_source type = {source_fill, source_free};

static struct source *source_new(unsigned batches, bool fails, atomic_bool *freed)
{
    struct source *source = od_alloc(sizeof(*source));
    if (source) {
        *freed = false;
        *source = (struct source){batches, fails, freed};
    }
    return source;
}

static const struct od_result_info info = {.kind = OD_RESULT_ROWS,
                                           .statement = "SELECT",
                                           .read_only = true,
                                           .schema = (const uint8_t *)"schema",
                                           .schema_bytes = 6,
                                           .catalog_version = "x.1"};

static struct od_result *new_result(struct od_waker on_event)
{
    struct od_result *result;
    assert_int_equal(od_result_new(NULL, on_event, &result, NULL), OD_OK);
    return result;
}

static unsigned drain(struct od_result *result, enum od_pop *end, struct od_error *err)
{
    unsigned batches = 0;
    for (;;) {
        struct od_batch *batch;
        *end = od_result_wait(result, 1000, &batch, err);
        if (*end == OD_POP_BATCH) {
            batches++;
            od_batch_unref(batch);
        } else if (*end == OD_POP_EMPTY && od_result_needs_pump(result)) {
            od_result_pump(result);
        } else {
            return batches;
        }
    }
}

static const struct od_waker none = {NULL, NULL};

static void test_without_rows(void **state)
{
    (void)state;
    struct od_result *result = new_result(none);
    struct od_result_info got;
    struct od_batch *batch;
    assert_false(od_result_ready(result, &got));
    assert_int_equal(od_result_pop(result, &batch, NULL), OD_POP_EMPTY);
    assert_int_equal(od_result_wait(result, 1, &batch, NULL), OD_POP_EMPTY);
    assert_int_equal(od_result_describe(result, &info, NULL), OD_OK);
    assert_false(od_result_ready(result, &got)); // not before the end
    od_result_finish(result, NULL);
    assert_true(od_result_ready(result, &got));
    assert_string_equal(got.statement, "SELECT");
    assert_string_equal(got.catalog_version, "x.1");
    assert_memory_equal(got.schema, "schema", 6);
    assert_int_equal(od_result_pop(result, &batch, NULL), OD_POP_END);
    assert_int_equal(od_result_sendable_bytes(result), 0);
    od_result_unref(result);
}

static void test_first_end_counts(void **state)
{
    (void)state;
    struct od_result *result = new_result(none);
    struct od_error failure = {0}, later = {0}, err = {0};
    (void)od_fail(&failure, OD_SQL, "first");
    (void)od_fail(&later, OD_IO, "second");
    struct od_batch *batch;
    od_result_finish(result, &failure);
    od_result_finish(result, &later);
    od_result_finish(result, NULL);
    assert_int_equal(od_result_pop(result, &batch, &err), OD_POP_FAILED);
    assert_string_equal(err.message, "first");
    assert_int_equal(od_result_wait(result, 0, &batch, NULL), OD_POP_FAILED); // err is optional
    od_result_unref(result);
}

static void test_spool(void **state)
{
    (void)state;
    for (unsigned batches = 0; batches < 40; batches += 13) {
        for (int fails = 0; fails < 2; fails++) {
            atomic_bool freed;
            struct od_result *result = new_result(none);
            assert_int_equal(od_result_describe(result, &info, NULL), OD_OK);
            assert_int_equal(od_result_spool(result, &type, source_new(batches, fails, &freed), NULL), OD_OK);
            // What fits is there at once; the rest waits for room.
            assert_int_equal(freed, batches < 8);
            assert_false(od_result_needs_pump(result));
            od_result_finish(result, NULL);
            enum od_pop end;
            struct od_error err = {0};
            unsigned got = drain(result, &end, &err);
            assert_int_equal(end, fails ? OD_POP_FAILED : OD_POP_END);
            if (fails) {
                assert_string_equal(err.message, "the source broke");
            } else {
                assert_int_equal(got, batches);
            }
            assert_true(freed);
            od_result_unref(result);
        }
    }
}

// A consumer that goes: the source is freed, and a waker that is still out does no harm.
static void test_spool_given_up(void **state)
{
    (void)state;
    for (int stop = 0; stop < 3; stop++) {
        atomic_bool freed;
        struct od_result *result = new_result(none);
        if (stop == 2) {
            od_result_stop(result); // before there are rows
        }
        assert_int_equal(od_result_describe(result, &info, NULL), OD_OK);
        assert_int_equal(od_result_spool(result, &type, source_new(100, false, &freed), NULL), OD_OK);
        assert_int_equal(freed, stop == 2);
        if (stop == 1) {
            od_result_stop(result);
            assert_true(freed);
            assert_false(od_result_needs_pump(result));
        }
        od_result_finish(result, NULL);
        od_result_unref(result);
        assert_true(freed);
    }
}

static void test_stream(void **state)
{
    (void)state;
    struct od_result *result = new_result(none);
    struct od_batch_queue *queue;
    struct od_result_info got;
    assert_int_equal(od_result_describe(result, &info, NULL), OD_OK);
    assert_int_equal(od_result_stream(result, false, &queue, NULL), OD_OK);
    assert_true(od_result_ready(result, &got));
    static const uint8_t byte = 0;
    struct od_segment segment = {&byte, 1};
    uint8_t *owner = od_alloc(1);
    od_batch_queue_push(queue, 0, od_batch_new(&segment, 1, 1, 1, release_bytes, owner));
    struct od_batch *batch;
    assert_int_equal(od_result_pop(result, &batch, NULL), OD_POP_BATCH);
    od_batch_unref(batch);
    assert_int_equal(od_result_pop(result, &batch, NULL), OD_POP_EMPTY); // no end before it is said
    od_result_set_catalog_version(result, "x.2");
    od_result_finish(result, NULL);
    assert_int_equal(od_result_pop(result, &batch, NULL), OD_POP_END);
    assert_true(od_result_ready(result, &got));
    assert_string_equal(got.catalog_version, "x.2");
    od_result_unref(result);
}

struct both_ends {
    struct od_result *result;
    atomic_uint events;
};

static void on_event(void *argument)
{
    atomic_fetch_add(&((struct both_ends *)argument)->events, 1);
}

static void *produce(void *argument)
{
    struct both_ends *both = argument;
    static atomic_bool freed;
    struct od_error err = {0};
    atomic_store(&freed, false);
    if (od_result_describe(both->result, &info, &err) == OD_OK &&
        od_result_spool(both->result, &type, source_new(200, false, &freed), &err) == OD_OK) {
        od_result_finish(both->result, NULL);
    }
    while (!freed) {
        sched_yield();
    }
    return NULL;
}

static void test_two_threads(void **state)
{
    (void)state;
    for (int round = 0; round < 20; round++) {
        struct both_ends both = {0};
        both.result = new_result((struct od_waker){on_event, &both});
        pthread_t thread;
        assert_int_equal(pthread_create(&thread, NULL, produce, &both), 0);
        enum od_pop end;
        unsigned batches;
        struct od_error err = {0};
        do {
            batches = drain(both.result, &end, &err);
        } while (end == OD_POP_EMPTY);
        assert_int_equal(end, OD_POP_END);
        assert_int_equal(batches, 200);
        pthread_join(thread, NULL);
        assert_true(atomic_load(&both.events) > 0);
        od_result_unref(both.result);
    }
}

static void test_faults(void **state)
{
    (void)state;
    OD_FAULT_LOOP(fault)
    {
        struct od_result *result = NULL;
        struct od_error err = {0};
        atomic_bool freed = true;
        od_code rc = od_result_new(NULL, none, &result, &err);
        if (rc == OD_OK) {
            rc = od_result_describe(result, &info, &err);
            if (rc == OD_OK) {
                struct source *source = source_new(3, false, &freed);
                rc = source ? od_result_spool(result, &type, source, &err) : od_fail(&err, OD_NO_MEMORY, "no source");
            }
            od_result_finish(result, rc == OD_OK ? NULL : &err);
            struct od_batch *batch;
            enum od_pop pop;
            unsigned batches = 0;
            while ((pop = od_result_pop(result, &batch, &err)) == OD_POP_BATCH) {
                od_batch_unref(batch);
                batches++;
            }
            if (pop == OD_POP_FAILED) {
                rc = err.code;
            } else {
                assert_int_equal(pop, OD_POP_END);
                assert_int_equal(batches, 3); // an incomplete result never ends well
            }
            od_result_unref(result);
            assert_true(freed);
        }
        od_fault_expect(&fault, rc, &err);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_without_rows), cmocka_unit_test(test_first_end_counts),
        cmocka_unit_test(test_spool),        cmocka_unit_test(test_spool_given_up),
        cmocka_unit_test(test_stream),       cmocka_unit_test(test_two_threads),
        cmocka_unit_test(test_faults),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
