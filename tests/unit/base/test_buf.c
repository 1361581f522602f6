// test_buf.c - buffers grow up to their limit, never past it, and an error changes nothing.
#include "base/buf.h"
#include "support/fault.h"

#include <string.h>

static void appended_bytes_stay_in_order(void **state)
{
    (void)state;
    struct od_buf buf;
    od_buf_init(&buf, 10000);
    for (int i = 0; i < 100; i++)
        assert_int_equal(od_buf_printf(&buf, NULL, "%d,", i), OD_OK);
    assert_int_equal(od_buf_append_text(&buf, "end", NULL), OD_OK);
    assert_int_equal(buf.bytes, 10 * 2 + 90 * 3 + 3);
    assert_memory_equal(buf.data, "0,1,2,", 6);
    assert_string_equal(od_buf_text(&buf) + buf.bytes - 6, "99,end");
    od_buf_clear(&buf);
    assert_int_equal(buf.bytes, 0);
    assert_true(buf.capacity > 0);
    od_buf_release(&buf);
    assert_null(buf.data);
}

static void the_limit_holds_to_the_byte(void **state)
{
    (void)state;
    // 100 is below the first growth step, 1000 is no power of two, 0 admits nothing.
    const size_t limits[] = {0, 1, 100, 256, 1000};
    for (size_t i = 0; i < sizeof limits / sizeof *limits; i++) {
        struct od_buf buf;
        struct od_error err = {0};
        od_buf_init(&buf, limits[i]);
        for (size_t n = 0; n < limits[i]; n++)
            assert_int_equal(od_buf_append(&buf, "x", 1, NULL), OD_OK);
        assert_int_equal(od_buf_append(&buf, "x", 1, &err), OD_LIMIT);
        assert_int_equal(buf.bytes, limits[i]);
        assert_true(buf.capacity <= limits[i]);
        assert_null(od_buf_text(&buf)); // no room for the NUL
        assert_int_equal(od_buf_reserve(&buf, SIZE_MAX, &err), OD_LIMIT);
        od_buf_release(&buf);
    }
}

static void text_can_be_taken(void **state)
{
    (void)state;
    struct od_buf buf;
    od_buf_init(&buf, 1000);
    assert_int_equal(od_buf_append_text(&buf, "abc", NULL), OD_OK);
    char *text = od_buf_take_text(&buf);
    assert_string_equal(text, "abc");
    assert_int_equal(buf.bytes, 0);
    assert_null(buf.data);
    assert_int_equal(od_buf_append_text(&buf, "again", NULL), OD_OK); // still usable, with its limit
    assert_int_equal(buf.limit, 1000);
    od_free(text);
    od_buf_release(&buf);
}

static void an_error_leaves_the_buffer_as_it_was(void **state)
{
    (void)state;
    OD_FAULT_LOOP(fault)
    {
        struct od_error err = {0};
        struct od_buf buf;
        od_buf_init(&buf, 100000);
        od_code rc = OD_OK;
        size_t bytes = 0;
        for (int i = 0; rc == OD_OK && i < 500; i++) {
            bytes = buf.bytes;
            rc = od_buf_append(&buf, "0123456789", 10, &err);
        }
        od_fault_expect(&fault, rc, &err);
        if (rc != OD_OK)
            assert_int_equal(buf.bytes, bytes);
        for (size_t i = 0; i < buf.bytes; i++)
            assert_int_equal(buf.data[i], '0' + i % 10);
        od_buf_release(&buf);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(appended_bytes_stay_in_order),
        cmocka_unit_test(the_limit_holds_to_the_byte),
        cmocka_unit_test(text_can_be_taken),
        cmocka_unit_test(an_error_leaves_the_buffer_as_it_was),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
