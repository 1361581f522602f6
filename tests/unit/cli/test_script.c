// What a person types: scripts split into statements, flags taken out of argv, names of formats.
#include "cli/connect.h"
#include "cli/render.h"
#include "cli/script.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

static void splits_into(const char *text, const char *const *expected, size_t count)
{
    struct od_script script;
    struct od_error err = {0};
    assert_int_equal(od_script_split(text, strlen(text), &script, &err), OD_OK);
    assert_int_equal(script.count, count);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(script.statements[i].bytes, strlen(expected[i]));
        assert_memory_equal(script.statements[i].text, expected[i], script.statements[i].bytes);
    }
    od_script_release(&script);
}

static void scripts_are_split_where_duckdb_would(void **state)
{
    (void)state;
    splits_into("SELECT 1", (const char *[]){"SELECT 1"}, 1);
    splits_into("SELECT 1;", (const char *[]){"SELECT 1"}, 1);
    splits_into(" SELECT ';' ;\n;; SELECT 2 ", (const char *[]){"SELECT ';'", "SELECT 2"}, 2);
    splits_into("CREATE TABLE t (a INT); INSERT INTO t VALUES (1)",
                (const char *[]){"CREATE TABLE t (a INT)", "INSERT INTO t VALUES (1)"}, 2);
    splits_into("SELECT $$a;b$$; FROM t", (const char *[]){"SELECT $$a;b$$", "FROM t"}, 2);
}

static void nothing_is_no_statement(void **state)
{
    (void)state;
    splits_into("", NULL, 0);
    splits_into(" ; ; ", NULL, 0);
}

static void what_does_not_parse_stays_whole(void **state)
{
    (void)state;
    splits_into("SELECT 1; SELEC 2", (const char *[]){"SELECT 1; SELEC 2"}, 1);
}

static void parameters_are_two_messages(void **state)
{
    struct od_buf out;
    struct od_error err = {0};
    (void)state;
    od_buf_init(&out, 1 << 20);
    assert_int_equal(od_script_parameters((const char *[]){"42", "name='x'", "[1, 2]", "NULL"}, 4, &out, &err), OD_OK);
    assert_true(out.bytes > 64);
    assert_memory_equal(out.data, "\xff\xff\xff\xff", 4);
    od_buf_release(&out);
}

#define T(text) ((char[]){text})

static void flags_are_taken_out(void **state)
{
    char *argv[] = {T("sql"), T("-d"), T("one"), T("--param=a"), T("SELECT"), T("--param"), T("b"), T("--"), T("-d"), NULL};
    int argc = 9;
    const char *value = NULL;
    (void)state;
    assert_true(od_flag_take(&argc, argv, "--database", "-d", &value));
    assert_string_equal(value, "one");
    assert_true(od_flag_take(&argc, argv, "--param", NULL, &value));
    assert_string_equal(value, "a");
    assert_true(od_flag_take(&argc, argv, "--param", NULL, &value));
    assert_string_equal(value, "b");
    value = NULL;
    assert_true(od_flag_take(&argc, argv, "--database", "-d", &value)); // after -- it is an operand
    assert_null(value);
    assert_int_equal(argc, 4);
    assert_string_equal(argv[1], "SELECT");
    char *lacking[] = {T("sql"), T("--param"), NULL};
    argc = 2;
    assert_false(od_flag_take(&argc, lacking, "--param", NULL, &value));
}

static void formats_have_names(void **state)
{
    enum od_format format;
    struct od_error err = {0};
    (void)state;
    assert_int_equal(od_format_parse("jsonl", &format, &err), OD_OK);
    assert_int_equal(format, OD_FORMAT_JSON_LINES);
    assert_int_equal(od_format_parse("html", &format, &err), OD_INVALID);
    assert_non_null(strstr(err.message, "parquet"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scripts_are_split_where_duckdb_would),
        cmocka_unit_test(nothing_is_no_statement),
        cmocka_unit_test(what_does_not_parse_stays_whole),
        cmocka_unit_test(parameters_are_two_messages),
        cmocka_unit_test(flags_are_taken_out),
        cmocka_unit_test(formats_have_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
