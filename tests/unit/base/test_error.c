// test_error.c - errors are filled completely, cut cleanly, and their codes map as the table says.
#include "base/error.h"
#include "support/fault.h"

#include <errno.h>
#include <string.h>

static void a_failure_fills_everything(void **state)
{
    (void)state;
    struct od_error err;
    memset(&err, 0x55, sizeof err);
    assert_int_equal(od_fail(&err, OD_BUSY, "queue of %d", 3), OD_BUSY);
    assert_int_equal(err.code, OD_BUSY);
    assert_true(err.retryable);
    assert_string_equal(err.message, "queue of 3");
    assert_string_equal(err.error_class, "");
    assert_int_equal(err.extra_bytes, 0);
    assert_int_equal(od_fail(NULL, OD_IO, "nobody listens"), OD_IO);
}

static void a_message_reads_from_the_outside_in(void **state)
{
    (void)state;
    struct od_error err = {0};
    (void)od_fail_os(&err, OD_IO, ENOSPC, "cannot write %s", "a.db");
    assert_string_equal(err.message, "cannot write a.db: No space left on device");
    assert_int_equal(od_wrap(&err, OD_IO, "seal layer %d", 4), OD_IO);
    assert_string_equal(err.message, "seal layer 4: cannot write a.db: No space left on device");
    assert_int_equal(od_wrap(NULL, OD_SQL, "context"), OD_SQL);
}

static void a_long_message_is_cut_with_dots(void **state)
{
    (void)state;
    struct od_error err = {0};
    char text[OD_ERROR_MESSAGE_BYTES * 2];
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    (void)od_fail(&err, OD_SQL, "%s", text);
    assert_int_equal(strlen(err.message), OD_ERROR_MESSAGE_BYTES - 1);
    assert_string_equal(err.message + OD_ERROR_MESSAGE_BYTES - 4, "...");
    (void)od_wrap(&err, OD_SQL, "context");
    assert_memory_equal(err.message, "context: xxx", 12);
    assert_string_equal(err.message + OD_ERROR_MESSAGE_BYTES - 4, "...");
    (void)od_wrap(&err, OD_SQL, "%s", text);
    assert_string_equal(err.message + OD_ERROR_MESSAGE_BYTES - 4, "...");
    (void)od_fail_os(&err, OD_IO, EIO, "%s", text);
    assert_string_equal(err.message + OD_ERROR_MESSAGE_BYTES - 4, "...");
}

static void a_cut_does_not_split_a_character(void **state)
{
    (void)state;
    for (int shift = 0; shift < 4; shift++) {
        struct od_error err = {0};
        char text[OD_ERROR_MESSAGE_BYTES * 2] = "xxxx";
        for (size_t i = (size_t)shift; i + 4 < sizeof text; i += 4)
            memcpy(text + i, "\xF0\x9F\xA6\x86", 5); // a character of four bytes
        (void)od_fail(&err, OD_SQL, "%s", text);
        size_t length = strlen(err.message);
        assert_string_equal(err.message + length - 3, "...");
        assert_int_equal((length - 3 - (size_t)shift) % 4, 0);
        assert_true(length >= OD_ERROR_MESSAGE_BYTES - 4);
    }
}

static void extra_information_is_kept_pair_by_pair(void **state)
{
    (void)state;
    struct od_error err = {0};
    (void)od_fail(&err, OD_SQL, "no such table");
    od_error_set_class(&err, "Catalog",
                       "name\0t\0position\0"
                       "7\0",
                       18);
    assert_string_equal(err.error_class, "Catalog");
    assert_int_equal(err.extra_bytes, 18);
    assert_memory_equal(err.extra,
                        "name\0t\0position\0"
                        "7\0",
                        18);

    od_error_set_class(&err, "Catalog", "name\0t\0posi", 11); // the second pair has no end
    assert_int_equal(err.extra_bytes, 7);
    od_error_set_class(&err, "Catalog", "name\0", 5); // no value
    assert_int_equal(err.extra_bytes, 0);
    od_error_set_class(&err, "a class name that is longer than the field for it", NULL, 0);
    assert_int_equal(strlen(err.error_class), sizeof err.error_class - 1);

    char long_pair[OD_ERROR_EXTRA_BYTES + 10];
    memset(long_pair, 'v', sizeof long_pair);
    memcpy(long_pair, "big", 4);
    long_pair[OD_ERROR_EXTRA_BYTES + 3] = '\0';
    memcpy(long_pair + OD_ERROR_EXTRA_BYTES + 4, "k\0v", 4);
    od_error_set_class(&err, "", long_pair, OD_ERROR_EXTRA_BYTES + 8);
    assert_int_equal(err.extra_bytes, 4); // what does not fit is dropped, what does is kept
    assert_memory_equal(err.extra, "k\0v", 4);
}

static void codes_have_names_and_statuses(void **state)
{
    (void)state;
    for (int code = 0; code < OD_CODE_COUNT; code++) {
        assert_int_equal(od_code_from_name(od_code_name((od_code)code)), code);
        int grpc = od_code_grpc((od_code)code);
        assert_in_range(grpc, 0, 16);
        assert_int_equal(grpc == 0, code == OD_OK);
    }
    assert_string_equal(od_code_name((od_code)999), "INTERNAL");
    assert_int_equal(od_code_from_name("NO_SUCH_CODE"), OD_INTERNAL);
    assert_int_equal(od_code_from_name(NULL), OD_INTERNAL);
    assert_int_equal(od_code_grpc((od_code)999), 13);
    assert_false(od_code_retryable((od_code)999));
    for (int grpc = 1; grpc <= 20; grpc++)
        assert_int_not_equal(od_code_from_grpc(grpc), OD_OK);
    assert_int_equal(od_code_from_grpc(0), OD_OK);
    assert_int_equal(od_code_from_grpc(14), OD_UNAVAILABLE);
    assert_int_equal(od_code_from_grpc(99), OD_INTERNAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_failure_fills_everything),
        cmocka_unit_test(a_message_reads_from_the_outside_in),
        cmocka_unit_test(a_long_message_is_cut_with_dots),
        cmocka_unit_test(a_cut_does_not_split_a_character),
        cmocka_unit_test(extra_information_is_kept_pair_by_pair),
        cmocka_unit_test(codes_have_names_and_statuses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
