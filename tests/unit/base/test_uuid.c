#include "base/uuid.h"

#include "support/fault.h"

#include <string.h>

static void formats_and_parses(void **state)
{
    (void)state;
    struct od_uuid uuid, back;
    char text[OD_UUID_TEXT_BYTES];
    for (unsigned i = 0; i < OD_UUID_BYTES; i++)
        uuid.bytes[i] = (uint8_t)(i * 17);
    od_uuid_format(&uuid, text);
    assert_string_equal(text, "00112233-4455-6677-8899-aabbccddeeff");
    assert_int_equal(od_uuid_parse(text, &back, NULL), OD_OK);
    assert_true(od_uuid_equal(&uuid, &back));
    assert_false(od_uuid_is_zero(&back));
}

static void refuses_what_is_no_uuid(void **state)
{
    (void)state;
    static const char *const texts[] = {"",
                                        "0011",
                                        "00112233-4455-6677-8899-aabbccddeef",
                                        "00112233-4455-6677-8899-aabbccddeefff",
                                        "00112233-4455-6677-8899-AABBCCDDEEFF",
                                        "00112233445566778899aabbccddeeff",
                                        "0011223g-4455-6677-8899-aabbccddeeff"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct od_uuid uuid;
        struct od_error err = {0};
        assert_int_equal(od_uuid_parse(texts[i], &uuid, &err), OD_INVALID);
        assert_non_null(strstr(err.message, texts[i]));
    }
}

static void marks_random_ones(void **state)
{
    (void)state;
    struct od_uuid uuid;
    char text[OD_UUID_TEXT_BYTES];
    memset(uuid.bytes, 0xff, sizeof uuid.bytes);
    od_uuid_mark_random(&uuid);
    od_uuid_format(&uuid, text);
    assert_string_equal(text, "ffffffff-ffff-4fff-bfff-ffffffffffff");
    memset(uuid.bytes, 0, sizeof uuid.bytes);
    assert_true(od_uuid_is_zero(&uuid));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(formats_and_parses),
        cmocka_unit_test(refuses_what_is_no_uuid),
        cmocka_unit_test(marks_random_ones),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
