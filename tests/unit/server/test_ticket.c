// Tests of src/server/ticket.c.
#include "server/ticket.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define NOW 1000000u

static struct od_secret secret;
static struct od_key execution;
static uint8_t ticket[OD_TICKET_BYTES];

static int setup(void **state)
{
    (void)state;
    od_secret_make(&secret);
    memset(&execution, 7, sizeof execution);
    od_ticket_sign(&secret, &execution, 3, "token:1", NOW + 500, ticket);
    return 0;
}

static od_code check(size_t bytes, uint32_t partition, const char *identity, uint64_t now)
{
    struct od_key found;
    struct od_error err = {0};
    od_code rc = od_ticket_check(&secret, ticket, bytes, partition, identity, now, &found, &err);
    if (rc == OD_OK)
        assert_memory_equal(&found, &execution, sizeof found);
    else
        assert_true(err.message[0] != '\0');
    return rc;
}

static void test_good_many_times(void **state)
{
    (void)state;
    for (int i = 0; i < 3; i++)
        assert_int_equal(check(sizeof ticket, 3, "token:1", NOW), OD_OK);
    assert_int_equal(check(sizeof ticket, 3, "token:1", NOW + 499), OD_OK);
}

static void test_bound_to_what_it_is_for(void **state)
{
    (void)state;
    assert_int_equal(check(sizeof ticket, 3, "token:2", NOW), OD_TICKET_INVALID);
    assert_int_equal(check(sizeof ticket, 3, "", NOW), OD_TICKET_INVALID);
    assert_int_equal(check(sizeof ticket, 2, "token:1", NOW), OD_TICKET_INVALID);
    assert_int_equal(check(sizeof ticket, 3, "token:1", NOW + 500), OD_TICKET_INVALID);
    od_secret_make(&secret); // another server process
    assert_int_equal(check(sizeof ticket, 3, "token:1", NOW), OD_TICKET_INVALID);
}

static void test_every_bit_counts(void **state)
{
    (void)state;
    for (size_t bit = 0; bit < 8 * sizeof ticket; bit++) {
        ticket[bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_int_equal(check(sizeof ticket, 3, "token:1", NOW), OD_TICKET_INVALID);
        ticket[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    for (size_t bytes = 0; bytes < sizeof ticket; bytes++)
        assert_int_equal(check(bytes, 3, "token:1", NOW), OD_TICKET_INVALID);
    assert_int_equal(check(sizeof ticket, 3, "token:1", NOW), OD_OK);
}

static void test_digest(void **state)
{
    (void)state;
    struct od_key a = od_digest(&secret, (const char *const[]){"ab", "c"}, 2);
    struct od_key same = od_digest(&secret, (const char *const[]){"ab", "c"}, 2);
    struct od_key moved = od_digest(&secret, (const char *const[]){"a", "bc"}, 2);
    struct od_key longer = od_digest(&secret, (const char *const[]){"ab", "c", ""}, 3);
    assert_memory_equal(&a, &same, sizeof a);
    assert_memory_not_equal(&a, &moved, sizeof a);
    assert_memory_not_equal(&a, &longer, sizeof a);
}

// It is in the ledgers of databases, so it is the same for ever: HMAC-SHA256 as any other library computes it.
static void test_digest_for_ever(void **state)
{
    (void)state;
    static const struct od_secret fixed = {"openduck request ledger"};
    char text[OD_KEY_TEXT_BYTES];
    struct od_key key = od_digest(&fixed, (const char *const[]){"anonymous", "0123"}, 2);
    od_key_text(&key, text);
    assert_string_equal(text, "87d3d81ee0e61d6a78c400ef1f909b8f");
}

static void test_key_text(void **state)
{
    (void)state;
    char text[OD_KEY_TEXT_BYTES];
    struct od_key key = od_digest(&secret, (const char *const[]){"x"}, 1), back;
    od_key_text(&key, text);
    assert_int_equal(strlen(text), 32);
    assert_true(od_key_parse(text, &back));
    assert_memory_equal(&key, &back, sizeof key);
    assert_false(od_key_parse("", &back));
    assert_false(od_key_parse("0123456789abcdef0123456789abcde", &back));
    assert_false(od_key_parse("0123456789abcdef0123456789abcdeg", &back));
    assert_false(od_key_parse("0123456789ABCDEF0123456789abcdef", &back));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_good_many_times, setup),
        cmocka_unit_test_setup(test_bound_to_what_it_is_for, setup),
        cmocka_unit_test_setup(test_every_bit_counts, setup),
        cmocka_unit_test_setup(test_digest, setup),
        cmocka_unit_test(test_digest_for_ever),
        cmocka_unit_test_setup(test_key_text, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
