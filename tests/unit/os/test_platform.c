// test_platform.c - the real platform keeps what platform.h says, and every call of it may fail.
#include "os/platform.h"
#include "scratch.h"

#include <string.h>
#include <sys/resource.h>
#include <signal.h>

static const struct od_platform_ops *ops;
static struct od_platform *os;

static int set_up(void **state)
{
    os = od_platform_real();
    ops = os->ops;
    return scratch_make(state);
}

static struct od_disk_file *make(const char *name)
{
    struct od_disk_file *file = NULL;
    assert_int_equal(ops->open(os, in_scratch(name), OD_DISK_CREATE, &file, NULL), OD_OK);
    return file;
}

static void parts_are_written_one_after_the_other(void **state)
{
    (void)state;
    struct od_disk_file *file = make("a");
    char pieces[100][3], out[300], expected[300];
    struct iovec parts[100];
    for (int i = 0; i < 100; i++) {
        memset(pieces[i], 'a' + i % 26, 3);
        parts[i] = (struct iovec){pieces[i], i % 10 == 9 ? 0 : 3};
    }
    size_t bytes = 0;
    for (int i = 0; i < 100; i++) {
        memcpy(expected + bytes, pieces[i], parts[i].iov_len);
        bytes += parts[i].iov_len;
    }
    assert_int_equal(ops->write(file, 4096, parts, 100, NULL), OD_OK);
    assert_int_equal(ops->read(file, 4096, out, bytes, NULL), OD_OK);
    assert_memory_equal(out, expected, bytes);
    struct od_error err = {0};
    assert_int_equal(ops->read(file, 4096, out, bytes + 1, &err), OD_IO);
    assert_non_null(strstr(err.message, scratch));
    uint64_t size;
    assert_int_equal(ops->size(file, &size, NULL), OD_OK);
    assert_int_equal(size, 4096 + bytes);
    assert_int_equal(ops->truncate(file, 10, NULL), OD_OK);
    assert_int_equal(ops->allocate(file, 0, 100, NULL), OD_OK);
    assert_int_equal(ops->sync(file, NULL), OD_OK);
    assert_int_equal(ops->size(file, &size, NULL), OD_OK);
    assert_int_equal(size, 100);
    assert_int_equal(ops->read(file, 0, out, 100, NULL), OD_OK);
    for (int i = 0; i < 100; i++)
        assert_int_equal(out[i], 0);
    ops->close(file);
}

static void names_are_made_linked_and_moved(void **state)
{
    (void)state;
    struct od_disk_file *file = make("a"), *other;
    struct od_names names;
    ops->close(file);
    assert_int_equal(ops->open(os, in_scratch("a"), OD_DISK_CREATE, &other, NULL), OD_EXISTS);
    assert_int_equal(ops->open(os, in_scratch("b"), OD_DISK_READ, &other, NULL), OD_NOT_FOUND);
    assert_int_equal(ops->link(os, in_scratch("a"), in_scratch("b"), NULL), OD_OK);
    assert_int_equal(ops->link(os, in_scratch("a"), in_scratch("b"), NULL), OD_EXISTS);
    assert_int_equal(ops->rename(os, in_scratch("a"), in_scratch("c"), NULL), OD_OK);
    assert_int_equal(ops->remove(os, in_scratch("a"), NULL), OD_NOT_FOUND);
    assert_int_equal(ops->make_directory(os, in_scratch("d/e"), NULL), OD_OK);
    assert_int_equal(ops->make_directory(os, in_scratch("d/e"), NULL), OD_OK);
    assert_int_equal(ops->sync_directory(os, in_scratch("d"), NULL), OD_OK);
    assert_int_equal(ops->list(os, scratch, &names, NULL), OD_OK);
    assert_int_equal(names.count, 3);
    assert_string_equal(names.names[0], "b");
    od_names_release(&names);
    assert_true(ops->wall_us(os) > 1600000000000000ull);
    assert_true(ops->clock_us(os) <= ops->clock_us(os));
}

static void a_full_disk_is_a_limit(void **state)
{
    (void)state;
    struct od_disk_file *file = make("a");
    struct rlimit old, low;
    struct od_error err = {0};
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    low = old;
    low.rlim_cur = 4096;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &low), 0);
    struct iovec part = {(char[]){"x"}, 1};
    od_code rc = ops->write(file, 4096, &part, 1, &err);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    assert_int_equal(rc, OD_LIMIT);
    assert_non_null(strstr(err.message, "4096"));
    ops->close(file);
}

static void every_call_may_fail(void **state)
{
    (void)state;
    OD_FAULT_LOOP(fault)
    {
        struct od_error err = {0};
        od_code rc = OD_OK;
        struct od_disk_file *file = NULL;
        struct od_names names = {0};
        char out[2];
        uint64_t bytes;
        struct iovec parts[2] = {{(char[]){"a"}, 1}, {(char[]){"b"}, 1}};
        OD_TRY(ops->make_directory(os, in_scratch("d/e"), &err));
        OD_TRY(ops->open(os, in_scratch("d/a"), OD_DISK_CREATE, &file, &err));
        OD_TRY(ops->allocate(file, 0, 8192, &err));
        OD_TRY(ops->write(file, 0, parts, 2, &err));
        OD_TRY(ops->sync(file, &err));
        OD_TRY(ops->read(file, 0, out, 2, &err));
        OD_TRY(ops->truncate(file, 2, &err));
        OD_TRY(ops->size(file, &bytes, &err));
        assert_int_equal(bytes, 2);
        OD_TRY(ops->link(os, in_scratch("d/a"), in_scratch("d/b"), &err));
        OD_TRY(ops->rename(os, in_scratch("d/a"), in_scratch("d/c"), &err));
        OD_TRY(ops->sync_directory(os, in_scratch("d"), &err));
        OD_TRY(ops->list(os, in_scratch("d"), &names, &err));
        OD_TRY(ops->remove(os, in_scratch("d/c"), &err));
    out:
        od_fault_expect(&fault, rc, &err);
        od_fault_disarm();
        ops->close(file);
        od_names_release(&names);
        assert_int_equal(od_tree_remove(in_scratch("d"), NULL), OD_OK);
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, scratch_remove)
    const struct CMUnitTest tests[] = {
        TEST(parts_are_written_one_after_the_other),
        TEST(names_are_made_linked_and_moved),
        TEST(a_full_disk_is_a_limit),
        TEST(every_call_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
