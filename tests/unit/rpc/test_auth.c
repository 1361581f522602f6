// test_auth.c - which tokens are right, and that identities do not give them away.
#include "rpc/auth.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

static bool token_ok(const struct od_auth *auth, const char *token)
{
    return od_auth_token_ok(auth, token, strlen(token));
}

static bool header_ok(const struct od_auth *auth, const char *header)
{
    return od_auth_header_ok(auth, header, strlen(header));
}

static void test_tokens(void **state)
{
    (void)state;
    struct od_auth auth;
    assert_int_equal(od_auth_init(&auth, "s3cret", NULL), OD_OK);
    assert_true(token_ok(&auth, "s3cret"));
    const char *wrong[] = {"", "s3cre", "s3cret ", "S3cret", "s3crets3cret", "x3cret"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        assert_false(token_ok(&auth, wrong[i]));
    assert_true(header_ok(&auth, "Bearer s3cret"));
    assert_true(header_ok(&auth, "bearer s3cret"));
    const char *wrong_headers[] = {"", "Bearer", "Bearer ", "Bearer  s3cret", "Basic s3cret", "s3cret", "Bearers3cret"};
    for (size_t i = 0; i < sizeof wrong_headers / sizeof wrong_headers[0]; i++)
        assert_false(header_ok(&auth, wrong_headers[i]));
    od_auth_release(&auth);
}

static void test_without_token(void **state)
{
    (void)state;
    struct od_auth auth;
    assert_int_equal(od_auth_init(&auth, NULL, NULL), OD_OK);
    assert_true(token_ok(&auth, "anything"));
    assert_true(header_ok(&auth, ""));
    od_auth_release(&auth);
    assert_int_equal(od_auth_init(&auth, "", NULL), OD_INVALID);
}

static void test_identity(void **state)
{
    (void)state;
    struct od_auth one, two, none;
    assert_int_equal(od_auth_init(&one, "12345678", NULL), OD_OK);
    assert_int_equal(od_auth_init(&two, "another", NULL), OD_OK);
    assert_int_equal(od_auth_init(&none, NULL, NULL), OD_OK);
    assert_string_equal(one.identity, two.identity); // a new token is still the same caller
    assert_null(strstr(one.identity, "12345678"));
    assert_string_equal(none.identity, "");
    od_auth_release(&one);
    od_auth_release(&two);
    od_auth_release(&none);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tokens),
        cmocka_unit_test(test_without_token),
        cmocka_unit_test(test_identity),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
