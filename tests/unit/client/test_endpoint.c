#include "client/endpoint.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

static struct od_endpoint_list list;

static void one_is(const char *address, const char *expected)
{
    struct od_error err = {0};
    if (od_endpoint_list_parse(address, &list, &err) != OD_OK)
        fail_msg("%s: %s", address, err.message);
    assert_int_equal(list.count, 1);
    assert_string_equal(list.text[0], expected);
}

static void forms_of_one_endpoint(void **state)
{
    (void)state;
    one_is("127.0.0.1:7878", "127.0.0.1:7878");
    one_is("host", "host:7878");
    one_is("host:1", "host:1");
    one_is("http://host:80", "host:80");
    one_is("http://host/", "host:7878");
    one_is("grpc://host:80", "host:80");
    one_is("https://host", "https://host:7878");
    one_is("grpcs://host:443", "https://host:443");
    one_is("[::1]", "[::1]:7878");
    one_is("[::1]:5", "[::1]:5");
    one_is("https://[fe80::1]:5", "https://[fe80::1]:5");
    one_is("unix:/run/openduck.sock", "unix:/run/openduck.sock");
    one_is("127.0.0.1%3A7878", "127.0.0.1:7878");
    one_is("http%3a%2f%2fhost", "host:7878");
    one_is("  host:65535\t", "host:65535");
}

static void several_keep_their_order(void **state)
{
    (void)state;
    assert_int_equal(od_endpoint_list_parse("a, https://b:1 ,[::1]:2,unix:/c", &list, NULL), OD_OK);
    assert_int_equal(list.count, 4);
    assert_string_equal(list.text[0], "a:7878");
    assert_string_equal(list.text[1], "https://b:1");
    assert_string_equal(list.text[2], "[::1]:2");
    assert_string_equal(list.text[3], "unix:/c");
}

static void what_is_wrong_is_named(void **state)
{
    static const struct {
        const char *address, *says;
    } wrong[] = {
        {"", "empty endpoint"},          {"a,", "empty endpoint"},      {"a,,b", "empty endpoint"},
        {":7878", "no host"},            {"https://", "no host"},       {"[]:1", "no host"},
        {"host:", "not a port"},         {"host:0", "not a port"},      {"host:65536", "not a port"},
        {"host:12x", "not a port"},      {"::1", "brackets"},           {"[::1", "[ADDRESS]:PORT"},
        {"[::1]x", "[ADDRESS]:PORT"},    {"host/path", "nothing after"}, {"user@host", "nothing after"},
        {"ftp://host", "nothing after"}, {"unix:relative", "absolute"}, {"ho st", "blanks"},
        {"ho%0ast", "blanks"},           {"ho%st", "hexadecimal"},      {"host%4", "hexadecimal"},
        {"a\"b", "nothing after"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct od_error err = {0};
        assert_int_equal(od_endpoint_list_parse(wrong[i].address, &list, &err), OD_INVALID);
        if (!strstr(err.message, wrong[i].says))
            fail_msg("\"%s\": \"%s\" does not say \"%s\"", wrong[i].address, err.message, wrong[i].says);
    }
}

static void there_are_bounds(void **state)
{
    char text[4096];
    struct od_error err = {0};
    (void)state;
    memset(text, 'a', sizeof text);
    text[sizeof text - 1] = '\0';
    assert_int_equal(od_endpoint_list_parse(text, &list, &err), OD_INVALID);
    assert_non_null(strstr(err.message, "longer"));
    assert_int_equal(od_endpoint_list_parse("1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16", &list, NULL), OD_OK);
    assert_int_equal(od_endpoint_list_parse("1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17", &list, &err), OD_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(forms_of_one_endpoint),
        cmocka_unit_test(several_keep_their_order),
        cmocka_unit_test(what_is_wrong_is_named),
        cmocka_unit_test(there_are_bounds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
