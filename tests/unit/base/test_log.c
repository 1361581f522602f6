// test_log.c - one event, one line, whatever the text is.
#include "base/log.h"
#include "support/fault.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

// What is written to standard error between start_capture and end_capture.
static int saved, ends[2];

static void start_capture(void)
{
    assert_int_equal(pipe(ends), 0);
    saved = dup(STDERR_FILENO);
    dup2(ends[1], STDERR_FILENO);
}

static size_t end_capture(char *text, size_t bytes)
{
    dup2(saved, STDERR_FILENO);
    close(saved);
    close(ends[1]);
    size_t used = 0;
    for (ssize_t got; used < bytes - 1 && (got = read(ends[0], text + used, bytes - 1 - used)) > 0;)
        used += (size_t)got;
    close(ends[0]);
    text[used] = '\0';
    return used;
}

static void a_line_has_time_level_and_area(void **state)
{
    (void)state;
    char text[10000];
    start_capture();
    od_log(OD_LOG_WARN, "server", "query=%d failed", 7);
    end_capture(text, sizeof text);
    // Each digit of the time becomes 0, and the shape is left.
    size_t used = strcspn(text, "Z") + 1;
    for (size_t i = 0; i < used; i++)
        if (text[i] >= '0' && text[i] <= '9')
            text[i] = '0';
    assert_memory_equal(text, "0000-00-00T00:00:00.000Z", 24);
    assert_int_equal(used, 24);
    assert_string_equal(text + used, " warn server: query=7 failed\n");
}

static void levels_above_the_limit_are_silent(void **state)
{
    (void)state;
    char text[10000];
    start_capture();
    od_log(OD_LOG_DEBUG, "x", "hidden");
    od_log_set_level(OD_LOG_DEBUG);
    od_log(OD_LOG_DEBUG, "x", "shown");
    od_log_set_level(OD_LOG_ERROR);
    od_log(OD_LOG_INFO, "x", "hidden");
    od_log_set_level(OD_LOG_INFO);
    end_capture(text, sizeof text);
    assert_null(strstr(text, "hidden"));
    assert_non_null(strstr(text, "debug x: shown\n"));
}

static void a_message_stays_one_line(void **state)
{
    (void)state;
    char text[10000], longer[9000];
    memset(longer, 'y', sizeof longer - 1);
    longer[sizeof longer - 1] = '\0';
    start_capture();
    od_log(OD_LOG_ERROR, "x", "first\nsecond\tthird\r\n%s", longer);
    size_t bytes = end_capture(text, sizeof text);
    assert_int_equal(bytes, 4095); // cut
    assert_ptr_equal(strchr(text, '\n'), text + bytes - 1);
    assert_non_null(strstr(text, "first second third  yyy"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_line_has_time_level_and_area),
        cmocka_unit_test(levels_above_the_limit_are_silent),
        cmocka_unit_test(a_message_stays_one_line),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
