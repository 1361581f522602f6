// test_config.c - each source of a setting, which one wins, and what each mistake is told.
#include "os/config.h"
#include "scratch.h"

#include <string.h>

struct values {
    const char *listen;
    const char *token;
    uint64_t threads;
    uint64_t memory_limit;
    uint64_t idle_timeout;
    bool external_access;
};

static const struct od_config_field fields[] = {
    {"listen", OD_CONFIG_TEXT, offsetof(struct values, listen), "127.0.0.1:7878", "HOST:PORT", "Where to listen.", 0,
     0},
    {"token", OD_CONFIG_TEXT, offsetof(struct values, token), NULL, "TEXT", "What clients must present.", 0, 0},
    {"threads", OD_CONFIG_INTEGER, offsetof(struct values, threads), "4", "N", "Threads.", 1, 64},
    {"memory-limit", OD_CONFIG_BYTES, offsetof(struct values, memory_limit), NULL, "BYTES", "Memory.", 0, 0},
    {"idle-timeout", OD_CONFIG_DURATION, offsetof(struct values, idle_timeout), "10m", "TIME", "Idle time.", 0, 0},
    {"external-access", OD_CONFIG_BOOL, offsetof(struct values, external_access), "false", NULL, "Files.", 0, 0},
};

static const struct od_config_program program = {.name = "openduck serve",
                                                 .section = "server",
                                                 .summary = "Serves databases.",
                                                 .operands = "[DIRECTORY]",
                                                 .operands_max = 1,
                                                 .fields = fields,
                                                 .field_count = sizeof fields / sizeof *fields};

#define READ(values, config, err, ...)                                                                                 \
    od_config_read(&program, (int)(sizeof((const char *[]){"openduck", ##__VA_ARGS__}) / sizeof(char *)),              \
                   (const char *const[]){"openduck", ##__VA_ARGS__}, values, config, err)

static int set_up(void **state)
{
    unsetenv("OPENDUCK_CONFIG");
    for (size_t i = 0; i < program.field_count; i++) {
        unsetenv("OPENDUCK_LISTEN");
        unsetenv("OPENDUCK_TOKEN");
        unsetenv("OPENDUCK_THREADS");
        unsetenv("OPENDUCK_MEMORY_LIMIT");
        unsetenv("OPENDUCK_EXTERNAL_ACCESS");
    }
    return scratch_make(state);
}

static void defaults_apply(void **state)
{
    (void)state;
    struct values values;
    struct od_config config;
    assert_int_equal(READ(&values, &config, NULL), OD_OK);
    assert_string_equal(values.listen, "127.0.0.1:7878");
    assert_null(values.token);
    assert_int_equal(values.threads, 4);
    assert_int_equal(values.memory_limit, 0);
    assert_int_equal(values.idle_timeout, 600000);
    assert_false(values.external_access);
    assert_int_equal(config.operand_count, 0);
    od_config_release(&config);
}

static void flags_have_several_forms(void **state)
{
    (void)state;
    struct values values;
    struct od_config config;
    assert_int_equal(READ(&values, &config, NULL, "--listen=[::1]:0", "dir", "--memory-limit", "2GiB", "--threads=64",
                          "--external-access", "--idle-timeout=1500ms", "--token="),
                     OD_OK);
    assert_string_equal(values.listen, "[::1]:0");
    assert_string_equal(values.token, "");
    assert_int_equal(values.memory_limit, 2ull << 30);
    assert_int_equal(values.threads, 64);
    assert_int_equal(values.idle_timeout, 1500);
    assert_true(values.external_access);
    assert_int_equal(config.operand_count, 1);
    assert_string_equal(config.operands[0], "dir");
    od_config_release(&config);
    assert_int_equal(READ(&values, &config, NULL, "--external-access=yes", "--no-external-access", "--", "--dir"),
                     OD_OK);
    assert_false(values.external_access); // the last one counts
    assert_string_equal(config.operands[0], "--dir");
    od_config_release(&config);
}

static void a_stronger_source_wins(void **state)
{
    (void)state;
    struct values values;
    struct od_config config;
    write_text("c.ini", "listen = file:1\nthreads = 11\n; a comment\n[server]\ntoken = file token\nmemory_limit = 1M\n"
                        "[client]\nwhatever = 1\n");
    setenv("OPENDUCK_LISTEN", "environment:1", 1);
    setenv("OPENDUCK_THREADS", "12", 1);
    assert_int_equal(READ(&values, &config, NULL, "--threads=13", "--config", in_scratch("c.ini")), OD_OK);
    assert_string_equal(values.listen, "environment:1");
    assert_int_equal(values.threads, 13);
    assert_string_equal(values.token, "file token");
    assert_int_equal(values.memory_limit, 1 << 20);
    assert_int_equal(values.idle_timeout, 600000);
    od_config_release(&config);
    setenv("OPENDUCK_CONFIG", in_scratch("c.ini"), 1);
    setenv("OPENDUCK_LISTEN", "", 1); // empty is unset
    assert_int_equal(READ(&values, &config, NULL), OD_OK);
    assert_string_equal(values.listen, "file:1");
    assert_int_equal(values.threads, 12);
    od_config_release(&config);
}

static void units_are_understood(void **state)
{
    (void)state;
    const struct {
        const char *flag;
        uint64_t value;
        bool duration;
    } cases[] = {{"--memory-limit=0", 0, false},           {"--memory-limit=7", 7, false},
                 {"--memory-limit=7b", 7, false},          {"--memory-limit=3k", 3 << 10, false},
                 {"--memory-limit=3KB", 3 << 10, false},   {"--memory-limit=5MiB", 5 << 20, false},
                 {"--memory-limit=1T", 1ull << 40, false}, {"--idle-timeout=5", 5, true},
                 {"--idle-timeout=5s", 5000, true},        {"--idle-timeout=2m", 120000, true},
                 {"--idle-timeout=1h", 3600000, true},     {"--idle-timeout=1d", 86400000, true}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct values values;
        struct od_config config;
        assert_int_equal(READ(&values, &config, NULL, cases[i].flag), OD_OK);
        assert_int_equal(cases[i].duration ? values.idle_timeout : values.memory_limit, cases[i].value);
        od_config_release(&config);
    }
}

static void a_mistake_says_where_and_what(void **state)
{
    (void)state;
    const struct {
        const char *flag, *message;
    } cases[] = {
        {"--thread=1", "--thread is unknown; did you mean --threads?"},
        {"--memory=1", "--memory is unknown; did you mean --memory-limit?"},
        {"--memory_limit=1", "--memory_limit is unknown; did you mean --memory-limit?"},
        {"--zzzzzzzz=1", "--zzzzzzzz is unknown; openduck serve --help lists what there is"},
        {"--threads=0", "--threads: 0 is below the minimum of 1"},
        {"--threads=65", "--threads: 65 is above the maximum of 64"},
        {"--threads=-1", "--threads: '-1' is not a whole number"},
        {"--threads=4x", "--threads: '4x' is not a whole number"},
        {"--threads=", "--threads: '' is not a whole number"},
        {"--threads=99999999999999999999", "--threads: 99999999999999999999 is too large"},
        {"--memory-limit=99999999999999T", "--memory-limit: 99999999999999T is too large"},
        {"--memory-limit=1Q", "--memory-limit: '1Q' is not a number of bytes (examples: 4096, 512M, 8GiB)"},
        {"--idle-timeout=1y", "--idle-timeout: '1y' is not a duration (examples: 500ms, 30s, 10m, 1h)"},
        {"--external-access=maybe", "--external-access: 'maybe' is neither true nor false"},
        {"--listen", "--listen needs a value"},
        {"--no-listen", "--no-listen: --listen needs a value and cannot be turned off"},
        {"-x", "-x is unknown; flags begin with --"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct values values;
        struct od_config config;
        struct od_error err = {0};
        assert_int_equal(READ(&values, &config, &err, cases[i].flag), OD_INVALID);
        assert_string_equal(err.message, cases[i].message);
    }
    struct values values;
    struct od_config config;
    struct od_error err = {0};
    assert_int_equal(READ(&values, &config, &err, "one", "two"), OD_INVALID);
    assert_string_equal(err.message, "unexpected argument 'two'; usage: openduck serve [FLAGS] [DIRECTORY]");
    setenv("OPENDUCK_THREADS", "many", 1);
    assert_int_equal(READ(&values, &config, &err), OD_INVALID);
    assert_string_equal(err.message, "OPENDUCK_THREADS: 'many' is not a whole number");
}

static void a_mistake_in_the_file_says_the_line(void **state)
{
    (void)state;
    char long_line[400];
    memset(long_line, 'x', sizeof long_line - 1);
    memcpy(long_line, "\nlisten = ", 10);
    long_line[sizeof long_line - 1] = '\0';
    const struct {
        const char *text, *message;
    } cases[] = {
        {"\n\nthread = 1\n", ":3: thread is unknown; did you mean threads?"},
        {"threads = 1\n[server]\nthreads = 2\n", ":3: threads is set twice"},
        {"threads = 1\n  2\n", ":2: threads is set twice"},
        {"listen\n", ":1: expected NAME = VALUE or [SECTION]"},
        {"[server\n", ":1: expected NAME = VALUE or [SECTION]"},
        {"memory-limit = lots\n", ":1: memory-limit: 'lots' is not a number of bytes (examples: 4096, 512M, 8GiB)"},
        {long_line, ":2: the line is longer than 190 characters"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct values values;
        struct od_config config;
        struct od_error err = {0};
        char expected[400];
        write_text("c.ini", cases[i].text);
        snprintf(expected, sizeof expected, "%s%s", in_scratch("c.ini"), cases[i].message);
        assert_int_equal(READ(&values, &config, &err, "--config", in_scratch("c.ini")), OD_INVALID);
        assert_string_equal(err.message, expected);
    }
    struct values values;
    struct od_config config;
    struct od_error err = {0};
    assert_int_equal(READ(&values, &config, &err, "--config=/no/such/file"), OD_NOT_FOUND);
}

static void help_is_generated_and_wins(void **state)
{
    (void)state;
    struct values values;
    struct od_config config;
    struct od_buf out;
    od_buf_init(&out, 100000);
    assert_int_equal(READ(&values, &config, NULL, "--help", "--no-such-flag"), OD_OK);
    assert_true(config.help_wanted);
    od_config_release(&config);
    assert_int_equal(od_config_help(&program, &out, NULL), OD_OK);
    const char *text = od_buf_text(&out);
    assert_non_null(strstr(text, "Usage: openduck serve [FLAGS] [DIRECTORY]\n\nServes databases.\n"));
    assert_non_null(strstr(text, "  --idle-timeout TIME\n      Idle time. (default: 10m; environment: "
                                 "OPENDUCK_IDLE_TIMEOUT)\n"));
    assert_non_null(strstr(text, "  --external-access, --no-external-access\n"));
    assert_non_null(strstr(text, "[server]"));
    od_buf_release(&out);
}

static void every_step_may_fail(void **state)
{
    (void)state;
    write_text("c.ini", "listen = file:1\n[server]\ntoken = t\n");
    setenv("OPENDUCK_TOKEN", "from the environment", 1);
    OD_FAULT_LOOP(fault)
    {
        struct values values;
        struct od_config config;
        struct od_error err = {0};
        od_code rc = READ(&values, &config, &err, "--config", in_scratch("c.ini"), "--threads=2", "operand");
        od_fault_expect(&fault, rc, &err);
        if (rc == OD_OK) {
            assert_string_equal(values.token, "from the environment");
            od_config_release(&config);
        }
    }
    unsetenv("OPENDUCK_TOKEN");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, scratch_remove)
    const struct CMUnitTest tests[] = {
        TEST(defaults_apply),
        TEST(flags_have_several_forms),
        TEST(a_stronger_source_wins),
        TEST(units_are_understood),
        TEST(a_mistake_says_where_and_what),
        TEST(a_mistake_in_the_file_says_the_line),
        TEST(help_is_generated_and_wins),
        TEST(every_step_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
