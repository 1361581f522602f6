// test_instance.c - opening and closing: names, files that cannot be opened, what survives a kill.
#include "engine_support.h"

#include "base/limits.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

extern char **environ;

static void test_catalog_names(void **state)
{
    (void)state;
    static const char *const names[][2] = {
        {"shop", "shop"},
        {"main", "main_db"},
        {"Temp", "Temp_db"},
        {"system", "system_db"},
        {"memory", "memory_db"},
        {"information_schema", "information_schema_db"},
        {"we\"ird name", "we\"ird name"},
        {"select", "select"},
    };
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        struct od_fixture fixture;
        struct od_engine_options options = {.name = names[i][0]};
        od_fixture_open(&fixture, &options);
        assert_string_equal(od_engine_catalog_name(fixture.engine), names[i][1]);
        assert_sql(&fixture, fixture.connection, "SELECT current_database(), current_schema()", ({
            static char expected[128];
            snprintf(expected, sizeof(expected), "%s|main", names[i][1]);
            expected;
        }));
        assert_sql(&fixture, fixture.connection, "CREATE TABLE t (i INTEGER)", "");
        assert_sql(&fixture, fixture.connection, "SELECT count(*) FROM main.t", "0");
        od_fixture_close(&fixture);
    }
}

static void test_reopen_keeps_rows(void **state)
{
    (void)state;
    struct od_fixture fixture;
    od_fixture_open(&fixture, NULL);
    assert_sql(&fixture, fixture.connection, "CREATE TABLE t AS SELECT range AS i FROM range(1000)", "1000");
    char before[OD_CATALOG_VERSION_BYTES], after[OD_CATALOG_VERSION_BYTES];
    od_engine_catalog_version(fixture.engine, before);
    od_fixture_reopen(&fixture, NULL);
    od_engine_catalog_version(fixture.engine, after);
    assert_string_not_equal(before, after);
    assert_sql(&fixture, fixture.connection, "SELECT count(*), sum(i) FROM t", "1000|499500");
    // The format of the newest 1.5 release, whatever the library's default.
    assert_sql_has(&fixture, fixture.connection, "SELECT tags FROM duckdb_databases() WHERE database_name = 'shop'",
                   "storage_version=v1.5");
    od_fixture_close(&fixture);
}

// Opens `path` and expects a failure with `code` whose message names the file.
static void expect_open_error(const char *path, const char *temp, od_code code)
{
    struct od_engine_options options = {.name = "shop", .path = path, .temp_directory = temp};
    struct od_engine *engine = NULL;
    struct od_error err = {0};
    od_code rc = od_engine_open(&options, &engine, &err);
    if (rc != code) {
        fail_msg("%s: %s instead of %s: %s", path, od_code_name(rc), od_code_name(code), err.message);
    }
    assert_int_equal(err.code, code);
    if (!strstr(err.message, path)) {
        fail_msg("the message does not name %s: %s", path, err.message);
    }
}

static void write_file(const char *path, const void *bytes, size_t count)
{
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, count, file), count);
    assert_int_equal(fclose(file), 0);
}

static void patch_file(const char *path, long offset, const void *bytes, size_t count)
{
    FILE *file = fopen(path, "r+b");
    assert_non_null(file);
    assert_int_equal(fseek(file, offset, SEEK_SET), 0);
    assert_int_equal(fwrite(bytes, 1, count, file), count);
    assert_int_equal(fclose(file), 0);
}

static void test_files_that_cannot_be_opened(void **state)
{
    (void)state;
    struct od_fixture fixture;
    od_fixture_open(&fixture, NULL);
    assert_sql(&fixture, fixture.connection, "CREATE TABLE t AS SELECT range AS i FROM range(100000)", "100000");
    assert_sql_has(&fixture, fixture.connection, "CHECKPOINT", "");
    od_connection_close(fixture.connection);
    od_engine_close(fixture.engine);

    char other[160];
    snprintf(other, sizeof(other), "%s/absent/shop.duckdb", fixture.directory);
    expect_open_error(other, fixture.temp, OD_IO);

    snprintf(other, sizeof(other), "%s/text.duckdb", fixture.directory);
    char text[8192];
    memset(text, 'x', sizeof(text));
    write_file(other, text, sizeof(text));
    expect_open_error(other, fixture.temp, OD_CORRUPT);
    write_file(other, text, 5);
    expect_open_error(other, fixture.temp, OD_CORRUPT);

    // Byte 8 "DUCK", byte 12 the version; each header is covered by the checksum before it.
    struct stat file;
    assert_int_equal(stat(fixture.path, &file), 0);
    char *copy = malloc((size_t)file.st_size);
    FILE *in = fopen(fixture.path, "rb");
    assert_int_equal(fread(copy, 1, (size_t)file.st_size, in), (size_t)file.st_size);
    fclose(in);
    const uint64_t newer = 999;
    memcpy(copy + 12, &newer, sizeof(newer));
    write_file(other, copy, (size_t)file.st_size);
    struct od_engine_options options = {.name = "shop", .path = other, .temp_directory = fixture.temp};
    struct od_engine *engine = NULL;
    struct od_error err = {0};
    od_code rc = od_engine_open(&options, &engine, &err);
    assert_true(rc == OD_UNSUPPORTED || rc == OD_CORRUPT); // DuckDB may look at the checksum first
    assert_non_null(strstr(err.message, other));
    free(copy);

    // A damaged header: both copies, so that neither can be used.
    patch_file(fixture.path, 4096 + 16, "damage", 6);
    patch_file(fixture.path, 8192 + 16, "damage", 6);
    expect_open_error(fixture.path, fixture.temp, OD_CORRUPT);

    fixture.connection = NULL;
    fixture.engine = NULL;
    od_fixture_close(&fixture);
}

static void test_one_instance_per_file(void **state)
{
    (void)state;
    struct od_fixture fixture;
    od_fixture_open(&fixture, NULL);
    expect_open_error(fixture.path, fixture.temp, OD_LOCKED);
    char other[160];
    snprintf(other, sizeof(other), "%s/./shop.duckdb", fixture.directory);
    expect_open_error(other, fixture.temp, OD_LOCKED);
    snprintf(other, sizeof(other), "%s/link", fixture.directory);
    assert_int_equal(symlink(fixture.path, other), 0);
    expect_open_error(other, fixture.temp, OD_LOCKED);
    od_fixture_reopen(&fixture, NULL); // closing gives it free
    // A temporary directory that cannot be made is named.
    snprintf(other, sizeof(other), "%s/below", fixture.path);
    struct od_engine_options options = {.name = "x", .path = "/tmp/openduck-never", .temp_directory = other};
    struct od_engine *engine;
    struct od_error err = {0};
    assert_int_equal(od_engine_open(&options, &engine, &err), OD_IO);
    assert_non_null(strstr(err.message, other));
    options.name = "";
    assert_int_equal(od_engine_open(&options, &engine, &err), OD_INVALID);
    od_fixture_close(&fixture);
}

// ---- other processes

// Runs this program again as `child MODE DIRECTORY`; its standard output can be read from *output.
static pid_t spawn_child(const char *mode, const char *directory, int *output)
{
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
    posix_spawn_file_actions_addclose(&actions, ends[0]);
    char words[4][96] = {"test", "child"};
    snprintf(words[2], sizeof(words[2]), "%s", mode);
    snprintf(words[3], sizeof(words[3]), "%s", directory);
    char *const arguments[] = {words[0], words[1], words[2], words[3], NULL};
    pid_t child;
    assert_int_equal(posix_spawn(&child, "/proc/self/exe", &actions, NULL, arguments, environ), 0);
    posix_spawn_file_actions_destroy(&actions);
    close(ends[1]);
    *output = ends[0];
    return child;
}

// Opens the database; "hold": waits to be killed; "commit": commits row after row, saying each number once it is done.
static int child(const char *mode, const char *directory)
{
    char path[160], temp[160];
    snprintf(path, sizeof(path), "%s/shop.duckdb", directory);
    snprintf(temp, sizeof(temp), "%s/temp", directory);
    struct od_fixture fixture = {0};
    fixture.budget = od_budget_new(OD_POOL_BYTES_DEFAULT, OD_POOL_BYTES_GUARANTEED);
    struct od_engine_options options = {
        .name = "shop", .path = path, .temp_directory = temp, .budget = fixture.budget, .threads = 2};
    struct od_error err = {0};
    if (od_engine_open(&options, &fixture.engine, &err) != OD_OK ||
        od_connection_open(fixture.engine, &fixture.connection, &err) != OD_OK) {
        return 1;
    }
    (void)!write(STDOUT_FILENO, "ready\n", 6);
    if (strcmp(mode, "hold") == 0) {
        pause();
        return 0;
    }
    free(od_sql_text(&fixture, fixture.connection, "CREATE TABLE t (i INTEGER PRIMARY KEY)"));
    bool full = strcmp(mode, "full") == 0;
    if (full) {
        // No file may grow beyond this, as if the disk were full.
        struct rlimit limit = {3u << 20, 3u << 20};
        signal(SIGXFSZ, SIG_IGN);
        setrlimit(RLIMIT_FSIZE, &limit);
    }
    for (int i = 0;; i++) {
        if (full && i == 10) {
            char *text =
                od_sql_text(&fixture, fixture.connection,
                            "CREATE TABLE big AS SELECT hash(range) AS h, repeat('x', 100) AS s FROM range(1000000)");
            fprintf(stderr, "full: %s\n", text);
            _exit(strncmp(text, "SQL IO: ", 8) == 0 || strncmp(text, "SQL FATAL", 9) == 0 ? 0 : 4);
        }
        char sql[64], line[32];
        snprintf(sql, sizeof(sql), "INSERT INTO t VALUES (%d)", i);
        char *text = od_sql_text(&fixture, fixture.connection, sql);
        bool done = strcmp(text, "1") == 0;
        free(text);
        if (!done) {
            return 2;
        }
        int bytes = snprintf(line, sizeof(line), "%d\n", i);
        if (write(STDOUT_FILENO, line, (size_t)bytes) != bytes) {
            return 3;
        }
    }
}

static void wait_for_ready(int output)
{
    char text[6];
    for (size_t got = 0; got < sizeof(text);) {
        ssize_t n = read(output, text + got, sizeof(text) - got);
        assert_true(n > 0);
        got += (size_t)n;
    }
}

static void test_locked_by_another_process(void **state)
{
    (void)state;
    struct od_fixture fixture;
    od_fixture_open(&fixture, NULL);
    od_connection_close(fixture.connection);
    od_engine_close(fixture.engine);
    int output;
    pid_t holder = spawn_child("hold", fixture.directory, &output);
    wait_for_ready(output);
    expect_open_error(fixture.path, fixture.temp, OD_LOCKED);
    kill(holder, SIGKILL);
    waitpid(holder, NULL, 0);
    close(output);
    fixture.connection = NULL;
    fixture.engine = NULL;
    od_fixture_close(&fixture);
}

// Whatever was acknowledged before SIGKILL is there afterwards.
static void test_kill_loses_nothing(void **state)
{
    (void)state;
    struct od_fixture fixture;
    od_fixture_open(&fixture, NULL);
    od_connection_close(fixture.connection);
    od_engine_close(fixture.engine);
    int output;
    pid_t writer = spawn_child("commit", fixture.directory, &output);
    wait_for_ready(output);
    FILE *lines = fdopen(output, "r");
    char line[32];
    int last = -1;
    while (last < 60 && fgets(line, sizeof(line), lines)) {
        last = atoi(line);
    }
    kill(writer, SIGKILL);
    while (fgets(line, sizeof(line), lines)) {
        last = atoi(line); // acknowledged before the signal came
    }
    waitpid(writer, NULL, 0);
    fclose(lines);
    assert_true(last >= 60);

    fixture.connection = NULL;
    fixture.engine = NULL;
    od_fixture_reopen(&fixture, NULL);
    char sql[96];
    snprintf(sql, sizeof(sql), "SELECT count(*) FROM t WHERE i <= %d", last);
    char expected[32];
    snprintf(expected, sizeof(expected), "%d", last + 1);
    assert_sql(&fixture, fixture.connection, sql, expected);
    od_fixture_close(&fixture);
}

// A full disk is an error with words; what was acknowledged before is there afterwards.
static void test_full_disk(void **state)
{
    (void)state;
    struct od_fixture fixture;
    od_fixture_open(&fixture, NULL);
    od_connection_close(fixture.connection);
    od_engine_close(fixture.engine);
    int output, status;
    pid_t writer = spawn_child("full", fixture.directory, &output);
    wait_for_ready(output);
    assert_int_equal(waitpid(writer, &status, 0), writer);
    close(output);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    fixture.connection = NULL;
    fixture.engine = NULL;
    od_fixture_reopen(&fixture, NULL);
    assert_sql(&fixture, fixture.connection, "SELECT count(*), max(i) FROM t", "10|9");
    assert_sql_has(&fixture, fixture.connection, "FROM big", "Catalog");
    od_fixture_close(&fixture);
}

int main(int argc, char **argv)
{
    if (argc == 4 && strcmp(argv[1], "child") == 0) {
        return child(argv[2], argv[3]);
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_catalog_names),
        cmocka_unit_test(test_reopen_keeps_rows),
        cmocka_unit_test(test_files_that_cannot_be_opened),
        cmocka_unit_test(test_one_instance_per_file),
        cmocka_unit_test(test_full_disk),
        cmocka_unit_test(test_locked_by_another_process),
        cmocka_unit_test(test_kill_loses_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
