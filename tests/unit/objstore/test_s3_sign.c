// test_s3_sign.c - the signature of a published example (GET of an object's first ten bytes), and encoding.
#include "objstore/s3_internal.h"
#include "support/fault.h"

#include <string.h>

static void the_published_example_is_signed_as_published(void **state)
{
    (void)state;
    static const char empty[] = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    const struct s3_header headers[] = {{"host", "examplebucket.s3.amazonaws.com"},
                                        {"range", "bytes=0-9"},
                                        {"x-amz-content-sha256", empty},
                                        {"x-amz-date", "20130524T000000Z"}};
    char hash[OD_S3_HASH_BYTES];
    od_s3_hash(NULL, 0, hash);
    assert_string_equal(hash, empty);
    OD_FAULT_LOOP(fault)
    {
        struct od_error err = {0};
        struct od_buf out;
        od_buf_init(&out, 4096);
        od_code rc = od_s3_sign(&out, "AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "us-east-1",
                                "20130524T000000Z", "GET", "/test.txt", "", headers, 4, empty, &err);
        od_fault_expect(&fault, rc, &err);
        od_fault_end(&fault);
        if (rc == OD_OK)
            assert_non_null(
                strstr(od_buf_text(&out), "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"));
        od_buf_release(&out);
    }
}

static void texts_are_encoded_byte_by_byte(void **state)
{
    (void)state;
    struct od_buf out;
    od_buf_init(&out, 4096);
    assert_int_equal(od_s3_encode(&out, "a/b =+~\xc3\xa4", true, NULL), OD_OK);
    assert_string_equal(od_buf_text(&out), "a/b%20%3D%2B~%C3%A4");
    od_buf_clear(&out);
    assert_int_equal(od_s3_encode(&out, "a/b", false, NULL), OD_OK);
    assert_string_equal(od_buf_text(&out), "a%2Fb");
    od_buf_release(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_published_example_is_signed_as_published),
        cmocka_unit_test(texts_are_encoded_byte_by_byte),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
