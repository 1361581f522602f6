// test_batch.c - batches keep their memory until the last reference, and recycled memory is aligned and bounded.
#include "arrow/batch.h"
#include "base/limits.h"
#include "support/fault.h"

#include <pthread.h>
#include <stdint.h>
#include <string.h>

static int released;

static void release(void *owner)
{
    released += *(int *)owner;
}

static void the_last_reference_releases_the_owner(void **state)
{
    (void)state;
    static const uint8_t bytes[5] = "abcde";
    struct od_segment segments[] = {{bytes, 2}, {bytes + 2, 3}};
    int owner = 1;
    released = 0;
    struct od_batch *batch = od_batch_new(segments, 2, 7, 4096, release, &owner);
    segments[0] = segments[1]; // the table was copied
    assert_int_equal(batch->bytes, 5);
    assert_int_equal(batch->rows, 7);
    assert_int_equal(batch->held_bytes, 4096);
    assert_int_equal(batch->segment_count, 2);
    assert_memory_equal(batch->segments[0].data, "ab", 2);
    assert_ptr_equal(od_batch_ref(batch), batch);
    od_batch_unref(batch);
    assert_int_equal(released, 0);
    od_batch_unref(batch);
    assert_int_equal(released, 1);
    od_batch_unref(NULL);
}

static void a_failed_batch_leaves_the_owner(void **state)
{
    (void)state;
    int owner = 1;
    released = 0;
    od_fault_arm(0, false);
    assert_null(od_batch_new(NULL, 0, 0, 0, release, &owner));
    od_fault_disarm();
    assert_int_equal(released, 0);
}

static void message_bodies_are_aligned(void **state)
{
    (void)state;
    const size_t header_bytes[] = {0, 8, 64, 200, 1000, 4096};
    for (size_t i = 0; i < sizeof header_bytes / sizeof *header_bytes; i++) {
        struct od_message_buffer buffer;
        size_t bytes = header_bytes[i] + 5000;
        assert_int_equal(od_message_buffer_get(bytes, header_bytes[i], &buffer, NULL), OD_OK);
        assert_int_equal((uintptr_t)(buffer.data + header_bytes[i]) % 64, 0);
        memset(buffer.data, 7, bytes);
        uint8_t *data = buffer.data;
        struct od_batch *batch = od_batch_from_buffer(&buffer, 3);
        assert_null(buffer.memory); // taken
        assert_ptr_equal(batch->segments[0].data, data);
        assert_int_equal(batch->bytes, bytes);
        assert_true(batch->held_bytes >= bytes);
        od_batch_unref(batch);
        od_message_buffer_put(&buffer); // nothing to do
    }
    struct od_message_buffer buffer;
    struct od_error err = {0};
    assert_int_equal(od_message_buffer_get(10, 11, &buffer, &err), OD_INVALID);
    assert_int_equal(od_message_buffer_get(SIZE_MAX, 8, &buffer, &err), OD_NO_MEMORY);
}

static void buffers_survive_every_fault(void **state)
{
    (void)state;
    OD_FAULT_LOOP(fault)
    {
        struct od_error err = {0};
        struct od_message_buffer buffer = {0};
        od_code rc = od_message_buffer_get(10000, 64, &buffer, &err);
        struct od_batch *batch = NULL;
        if (rc == OD_OK) {
            batch = od_batch_from_buffer(&buffer, 1);
            if (!batch) {
                assert_non_null(buffer.memory); // still the caller's
                rc = od_fail(&err, OD_NO_MEMORY, "no batch");
            }
        }
        od_fault_expect(&fault, rc, &err);
        od_batch_unref(batch);
        od_message_buffer_put(&buffer);
    }
}

static void recycled_memory_comes_in_powers_of_two(void **state)
{
    (void)state;
    const struct {
        size_t asked, capacity;
    } sizes[] = {{0, 4096},
                 {1, 4096},
                 {4096, 4096},
                 {4097, 8192},
                 {1 << 20, 1 << 20},
                 {(1 << 20) + 1, 2 << 20},
                 {64 * OD_MIB, 64 * OD_MIB},
                 {64 * OD_MIB + 1, 64 * OD_MIB + 64}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        size_t capacity = 0;
        void *memory = od_recycle_get(sizes[i].asked, &capacity);
        assert_non_null(memory);
        assert_int_equal(capacity, sizes[i].capacity);
        assert_int_equal((uintptr_t)memory % 64, 0);
        od_recycle_put(memory, capacity);
    }
    size_t capacity;
    void *first = od_recycle_get(5000, &capacity);
    od_recycle_put(first, capacity);
    void *second = od_recycle_get(8000, &capacity);
    assert_ptr_equal(first, second); // the same size class: used again
    od_recycle_put(second, capacity);
    od_recycle_put(NULL, 0);
}

static void *ref_and_unref(void *argument)
{
    for (int i = 0; i < 2000; i++)
        od_batch_unref(od_batch_ref(argument));
    return NULL;
}

static void references_count_across_threads(void **state)
{
    (void)state;
    int owner = 1;
    released = 0;
    struct od_batch *batch = od_batch_new(NULL, 0, 0, 0, release, &owner);
    pthread_t threads[4];
    for (int i = 0; i < 4; i++)
        pthread_create(&threads[i], NULL, ref_and_unref, batch);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(released, 0);
    od_batch_unref(batch);
    assert_int_equal(released, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_last_reference_releases_the_owner),
        cmocka_unit_test(a_failed_batch_leaves_the_owner),
        cmocka_unit_test(message_bodies_are_aligned),
        cmocka_unit_test(buffers_survive_every_fault),
        cmocka_unit_test(recycled_memory_comes_in_powers_of_two),
        cmocka_unit_test(references_count_across_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
