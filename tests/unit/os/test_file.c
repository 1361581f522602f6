// test_file.c - files are replaced in one step, directories and locks do what they say, and every operation may fail.
#include "os/file.h"
#include "scratch.h"

#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static void expect_content(const char *path, const char *expected)
{
    struct od_buf buf;
    od_buf_init(&buf, 10000);
    assert_int_equal(od_file_read(path, &buf, NULL), OD_OK);
    assert_string_equal(od_buf_text(&buf), expected);
    od_buf_release(&buf);
}

static size_t count_entries(const char *path)
{
    struct od_names names;
    assert_int_equal(od_directory_list(path, &names, NULL), OD_OK);
    size_t count = names.count;
    od_names_release(&names);
    return count;
}

static void a_file_is_written_and_replaced(void **state)
{
    (void)state;
    const char *path = in_scratch("a");
    struct stat status;
    uint64_t bytes = 0;
    assert_false(od_file_exists(path));
    assert_int_equal(od_file_write(path, "first", 5, 0640, NULL), OD_OK);
    expect_content(path, "first");
    assert_int_equal(stat(path, &status), 0);
    assert_int_equal(status.st_mode & 0777 & ~0640, 0);
    assert_int_equal(od_file_write(path, "second one", 10, 0600, NULL), OD_OK);
    expect_content(path, "second one");
    assert_int_equal(od_file_size(path, &bytes, NULL), OD_OK);
    assert_int_equal(bytes, 10);
    assert_int_equal(count_entries(scratch), 1); // no temporary file stays
    assert_int_equal(od_file_rename(path, in_scratch("b"), NULL), OD_OK);
    assert_false(od_file_exists(path));
    assert_int_equal(od_file_remove(in_scratch("b"), NULL), OD_OK);
    assert_int_equal(od_file_remove(in_scratch("b"), NULL), OD_OK); // a missing one is fine
    assert_int_equal(od_file_write(path, NULL, 0, 0600, NULL), OD_OK);
    expect_content(path, "");
}

static void reading_stops_at_the_limit(void **state)
{
    (void)state;
    struct od_buf buf;
    struct od_error err = {0};
    write_text("a", "0123456789");
    od_buf_init(&buf, 10);
    assert_int_equal(od_file_read(in_scratch("a"), &buf, &err), OD_OK);
    assert_int_equal(buf.bytes, 10);
    od_buf_release(&buf);
    od_buf_init(&buf, 9);
    assert_int_equal(od_file_read(in_scratch("a"), &buf, &err), OD_LIMIT);
    assert_non_null(strstr(err.message, scratch));
    od_buf_release(&buf);
}

static void a_missing_path_says_which(void **state)
{
    (void)state;
    struct od_error err = {0};
    struct od_buf buf;
    struct od_names names;
    uint64_t bytes;
    od_buf_init(&buf, 10);
    const char *path = in_scratch("no/such");
    assert_int_equal(od_file_read(path, &buf, &err), OD_NOT_FOUND);
    assert_non_null(strstr(err.message, path));
    assert_int_equal(od_file_size(path, &bytes, &err), OD_NOT_FOUND);
    assert_int_equal(od_file_write(path, "x", 1, 0600, &err), OD_NOT_FOUND);
    assert_int_equal(od_directory_list(path, &names, &err), OD_NOT_FOUND);
    assert_int_equal(od_file_rename(path, in_scratch("x"), &err), OD_NOT_FOUND);
}

static void directories_are_made_with_their_parents(void **state)
{
    (void)state;
    struct od_error err = {0};
    const char *deep = in_scratch("one/two/three");
    assert_int_equal(od_directory_make(deep, 0700, NULL), OD_OK);
    assert_int_equal(od_directory_make(deep, 0700, NULL), OD_OK);
    assert_int_equal(od_directory_make(in_scratch("slash/at/end/"), 0700, NULL), OD_OK);
    assert_true(od_file_exists(in_scratch("slash/at/end")));
    write_text("file", "x");
    assert_int_not_equal(od_directory_make(in_scratch("file"), 0700, &err), OD_OK);
    assert_int_not_equal(od_directory_make(in_scratch("file/below"), 0700, &err), OD_OK);
}

static void entries_are_listed_in_order(void **state)
{
    (void)state;
    struct od_names names;
    for (int i = 0; i < 40; i++) {
        char name[16];
        snprintf(name, sizeof name, "n%02d", (i * 7) % 40);
        write_text(name, "");
    }
    assert_int_equal(od_directory_list(scratch, &names, NULL), OD_OK);
    assert_int_equal(names.count, 40);
    for (int i = 0; i < 40; i++) {
        char name[16];
        snprintf(name, sizeof name, "n%02d", i);
        assert_string_equal(names.names[i], name);
    }
    od_names_release(&names);
}

static void a_tree_is_removed_but_not_what_links_point_to(void **state)
{
    (void)state;
    assert_int_equal(od_directory_make(in_scratch("tree/a/b"), 0700, NULL), OD_OK);
    write_text("tree/a/b/c", "x");
    write_text("kept", "x");
    assert_int_equal(symlink(in_scratch("kept"), in_scratch("tree/link")), 0);
    assert_int_equal(symlink(scratch, in_scratch("tree/a/up")), 0);
    assert_int_equal(od_tree_remove(in_scratch("tree"), NULL), OD_OK);
    assert_false(od_file_exists(in_scratch("tree")));
    expect_content(in_scratch("kept"), "x");
    assert_int_equal(od_tree_remove(in_scratch("tree"), NULL), OD_OK); // a missing one is fine
}

static void paths_are_joined(void **state)
{
    (void)state;
    const struct {
        const char *directory, *name, *joined;
    } cases[] = {{"a", "b", "a/b"}, {"a/", "b", "a/b"}, {"/", "b", "/b"}, {"", "b", "b"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *path = od_path_join(cases[i].directory, cases[i].name);
        assert_string_equal(path, cases[i].joined);
        od_free(path);
    }
}

static void a_lock_names_its_holder(void **state)
{
    (void)state;
    const char *path = in_scratch("lock");
    struct od_lock_file mine, other = {0};
    struct od_error err = {0};
    char holder[40];
    assert_int_equal(od_lock_file_acquire(&mine, path, NULL), OD_OK);
    assert_int_equal(od_lock_file_acquire(&other, path, &err), OD_LOCKED);
    snprintf(holder, sizeof holder, "process %ld", (long)getpid());
    assert_non_null(strstr(err.message, holder));
    assert_non_null(strstr(err.message, path));
    od_lock_file_release(&other); // harmless
    od_lock_file_release(&mine);
    assert_int_equal(od_lock_file_acquire(&other, path, NULL), OD_OK);
    od_lock_file_release(&other);
    od_lock_file_release(&other);
}

static void a_lock_dies_with_its_process(void **state)
{
    (void)state;
    const char *path = in_scratch("lock");
    struct od_lock_file lock;
    struct od_error err = {0};
    int ready[2], go[2];
    assert_int_equal(pipe(ready), 0);
    assert_int_equal(pipe(go), 0);
    pid_t child = fork();
    if (child == 0) {
        char byte = od_lock_file_acquire(&lock, path, NULL) == OD_OK;
        byte = write(ready[1], &byte, 1) == 1 && read(go[0], &byte, 1) == 1;
        _exit(0); // without releasing
    }
    char byte = 0;
    assert_int_equal(read(ready[0], &byte, 1), 1);
    assert_int_equal(byte, 1);
    assert_int_equal(od_lock_file_acquire(&lock, path, &err), OD_LOCKED);
    assert_int_equal(write(go[1], &byte, 1), 1);
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(od_lock_file_acquire(&lock, path, NULL), OD_OK);
    od_lock_file_release(&lock);
    for (int i = 0; i < 2; i++) {
        close(ready[i]);
        close(go[i]);
    }
}

static void every_operation_may_fail(void **state)
{
    (void)state;
    OD_FAULT_LOOP(fault)
    {
        struct od_error err = {0};
        od_code rc = OD_OK;
        struct od_buf buf;
        struct od_names names = {0};
        struct od_lock_file lock = {0};
        uint64_t bytes;
        od_buf_init(&buf, 1000);
        OD_TRY(od_directory_make(in_scratch("d/e"), 0700, &err));
        OD_TRY(od_lock_file_acquire(&lock, in_scratch("d/lock"), &err));
        OD_TRY(od_file_write(in_scratch("d/e/f"), "old", 3, 0600, &err));
        OD_TRY(od_file_write(in_scratch("d/e/f"), "newer", 5, 0600, &err));
        OD_TRY(od_file_size(in_scratch("d/e/f"), &bytes, &err));
        OD_TRY(od_file_read(in_scratch("d/e/f"), &buf, &err));
        assert_memory_equal(buf.data, "newer", 5);
        OD_TRY(od_file_rename(in_scratch("d/e/f"), in_scratch("d/e/g"), &err));
        OD_TRY(od_directory_list(in_scratch("d/e"), &names, &err));
        OD_TRY(od_file_remove(in_scratch("d/e/g"), &err));
        OD_TRY(od_tree_remove(in_scratch("d"), &err));
    out:
        od_fault_expect(&fault, rc, &err);
        od_fault_disarm();
        od_lock_file_release(&lock);
        od_names_release(&names);
        od_buf_release(&buf);
        assert_int_equal(od_tree_remove(in_scratch("d"), NULL), OD_OK);
        assert_int_equal(count_entries(scratch), 0);
    }
}

static void a_failed_write_leaves_the_old_content(void **state)
{
    (void)state;
    write_text("a", "old");
    OD_FAULT_LOOP(fault)
    {
        struct od_error err = {0};
        od_code rc = od_file_write(in_scratch("a"), "new", 3, 0600, &err);
        od_fault_expect(&fault, rc, &err);
        od_fault_disarm();
        struct od_buf buf;
        od_buf_init(&buf, 100);
        assert_int_equal(od_file_read(in_scratch("a"), &buf, NULL), OD_OK);
        const char *content = od_buf_text(&buf);
        assert_true(strcmp(content, "new") == 0 || (rc != OD_OK && strcmp(content, "old") == 0));
        od_buf_release(&buf);
        assert_int_equal(count_entries(scratch), 1); // and no temporary file
        write_text("a", "old");
    }
}

static void the_environment_is_read(void **state)
{
    (void)state;
    assert_int_equal(setenv("OPENDUCK_TEST_VARIABLE", "value", 1), 0);
    assert_string_equal(od_environment("OPENDUCK_TEST_VARIABLE"), "value");
    assert_int_equal(setenv("OPENDUCK_TEST_VARIABLE", "", 1), 0);
    assert_null(od_environment("OPENDUCK_TEST_VARIABLE"));
    assert_int_equal(unsetenv("OPENDUCK_TEST_VARIABLE"), 0);
    assert_null(od_environment("OPENDUCK_TEST_VARIABLE"));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, scratch_make, scratch_remove)
    const struct CMUnitTest tests[] = {
        TEST(a_file_is_written_and_replaced),
        TEST(reading_stops_at_the_limit),
        TEST(a_missing_path_says_which),
        TEST(directories_are_made_with_their_parents),
        TEST(entries_are_listed_in_order),
        TEST(a_tree_is_removed_but_not_what_links_point_to),
        TEST(paths_are_joined),
        TEST(a_lock_names_its_holder),
        TEST(a_lock_dies_with_its_process),
        TEST(every_operation_may_fail),
        TEST(a_failed_write_leaves_the_old_content),
        TEST(the_environment_is_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
