// test_file_set.c - the files of a set are there all together, or none of them.
#include "os/file_set.h"
#include "scratch.h"
#include "support/fault.h"

#include <stdio.h>
#include <string.h>

static const char *name(const char *suffix)
{
    static char paths[4][512];
    static unsigned next;
    char *path = paths[next++ % 4];
    snprintf(path, sizeof paths[0], "%s/out/t%s", scratch, suffix);
    return path;
}

static size_t files_there(void)
{
    struct od_names names;
    char out[512];
    snprintf(out, sizeof out, "%s/out", scratch);
    assert_int_equal(od_directory_list(out, &names, NULL), OD_OK);
    size_t count = names.count;
    od_names_release(&names);
    return count;
}

static void empty_out(void)
{
    char out[512];
    snprintf(out, sizeof out, "%s/out", scratch);
    assert_int_equal(od_tree_remove(out, NULL), OD_OK);
    assert_int_equal(od_directory_make(out, 0700, NULL), OD_OK);
}

static void expect_content(const char *path, const char *text)
{
    struct od_buf buf;
    od_buf_init(&buf, 4096);
    assert_int_equal(od_file_read(path, &buf, NULL), OD_OK);
    assert_int_equal(buf.bytes, strlen(text));
    assert_memory_equal(buf.data, text, buf.bytes);
    od_buf_release(&buf);
}

static od_code write_set(struct od_file_set *set, struct od_error *err)
{
    od_code rc = OD_OK;
    OD_TRY(od_file_set_begin(set, name(""), err));
    OD_TRY(od_file_set_append(set, "one", 3, err));
    OD_TRY(od_file_set_append(set, " two", 4, err));
    OD_TRY(od_file_set_begin(set, name(".wal"), err));
    OD_TRY(od_file_set_append(set, "", 0, err));
    OD_TRY(od_file_set_finish(set, err));
out:
    return rc;
}

static void files_appear_together(void **state)
{
    (void)state;
    struct od_file_set set;
    empty_out();
    od_file_set_init(&set, od_platform_real());
    assert_int_equal(od_file_set_begin(&set, name(""), NULL), OD_OK);
    assert_int_equal(od_file_set_append(&set, "x", 1, NULL), OD_OK);
    assert_false(od_file_exists(name("")));
    assert_int_equal(files_there(), 1);
    od_file_set_release(&set, false);
    assert_int_equal(files_there(), 0);
    assert_int_equal(od_file_write(name(".wal.partial"), "of a crash", 10, 0600, NULL), OD_OK);
    assert_int_equal(write_set(&set, NULL), OD_OK);
    od_file_set_release(&set, true);
    expect_content(name(""), "one two");
    expect_content(name(".wal"), "");
    assert_int_equal(files_there(), 2);
}

static void nothing_is_overwritten(void **state)
{
    (void)state;
    struct od_file_set set;
    struct od_error err;
    empty_out();
    assert_int_equal(od_file_write(name(".wal"), "mine", 4, 0600, NULL), OD_OK);
    od_file_set_init(&set, od_platform_real());
    assert_int_equal(write_set(&set, &err), OD_EXISTS);
    assert_non_null(strstr(err.message, "t.wal"));
    od_file_set_release(&set, false);
    expect_content(name(".wal"), "mine");
    assert_int_equal(files_there(), 1);
    assert_int_equal(od_file_set_expect_free(&set, name(".wal"), NULL), OD_EXISTS);
    assert_int_equal(od_file_set_expect_free(&set, name(""), NULL), OD_OK);
}

static void every_step_may_fail(void **state)
{
    (void)state;
    OD_FAULT_LOOP(fault)
    {
        struct od_file_set set;
        struct od_error err = {0};
        od_fault_disarm();
        empty_out();
        if (fault.run == 0)
            od_fault_start_counting();
        else
            od_fault_arm((fault.run - 1) / 2, fault.run % 2 == 0);
        od_file_set_init(&set, od_platform_real());
        od_code rc = write_set(&set, &err);
        od_file_set_release(&set, rc == OD_OK);
        od_fault_expect(&fault, rc, &err);
        od_fault_end(&fault);
        if (rc == OD_OK)
            assert_int_equal(files_there(), 2);
        else if (fault.run % 2) // else removing fails too
            assert_int_equal(files_there(), 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(files_appear_together),
        cmocka_unit_test(nothing_is_overwritten),
        cmocka_unit_test(every_step_may_fail),
    };
    return cmocka_run_group_tests(tests, scratch_make, scratch_remove);
}
