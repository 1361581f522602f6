// Tests of src/server/trace.c.
#include "server/trace.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define TRACE "0af7651916cd43dd8448eb211c80319c"
#define SPAN "b7ad6b7169203331"

static const char *read_trace(const char *traceparent)
{
    static char out[OD_TRACE_ID_BYTES];
    memset(out, 'x', sizeof out);
    od_trace_id(traceparent, out);
    return out;
}

static void test_reads_the_trace(void **state)
{
    (void)state;
    assert_string_equal(read_trace("00-" TRACE "-" SPAN "-01"), TRACE);
    assert_string_equal(read_trace("cc-" TRACE "-" SPAN "-01-what later versions add"), TRACE);
}

static void test_ignores_what_is_none(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        "00",
        "00-",
        "00-" TRACE,
        "00-" TRACE "-",
        "00-" TRACE "-" SPAN,
        "ff-" TRACE "-" SPAN "-01",
        "0-" TRACE "-" SPAN "-01",
        "00-" TRACE "0-" SPAN "-01",
        "00-0AF7651916CD43DD8448EB211C80319C-" SPAN "-01",
        "00-00000000000000000000000000000000-" SPAN "-01",
        "00-" TRACE "-0000000000000000-01",
        "00-" TRACE "-b7ad6b716920333-01",
        "00_" TRACE "-" SPAN "-01",
    };
    assert_string_equal(read_trace(NULL), "");
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_string_equal(read_trace(bad[i]), "");
}

static void test_marks_an_error_once(void **state)
{
    (void)state;
    struct od_error error = {0};
    static const char before[] = "position\0"
                                 "7";
    (void)od_fail(&error, OD_SQL, "no such table");
    od_error_set_class(&error, "Catalog", before, sizeof before);
    od_trace_mark(TRACE, &error);
    uint32_t bytes = error.extra_bytes;
    assert_int_equal(bytes, sizeof before + sizeof "trace_id" + OD_TRACE_ID_BYTES);
    assert_memory_equal(error.extra, before, sizeof before);
    assert_string_equal(error.extra + sizeof before, "trace_id");
    assert_string_equal(error.extra + sizeof before + sizeof "trace_id", TRACE);
    od_trace_mark(TRACE, &error);
    assert_int_equal(error.extra_bytes, bytes);
}

static void test_leaves_what_has_no_room_or_no_trace(void **state)
{
    (void)state;
    struct od_error error = {0};
    (void)od_fail(&error, OD_SQL, "no such table");
    od_trace_mark("", &error);
    assert_int_equal(error.extra_bytes, 0);
    memset(error.extra, 'a', sizeof error.extra);
    error.extra[1] = '\0';
    error.extra[sizeof error.extra - 1] = '\0';
    error.extra_bytes = sizeof error.extra;
    od_trace_mark(TRACE, &error);
    assert_int_equal(error.extra_bytes, sizeof error.extra);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reads_the_trace),
        cmocka_unit_test(test_ignores_what_is_none),
        cmocka_unit_test(test_marks_an_error_once),
        cmocka_unit_test(test_leaves_what_has_no_room_or_no_trace),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
