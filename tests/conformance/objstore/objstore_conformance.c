// objstore_conformance.c - see objstore_conformance.h. Each test opens the store itself and works below a folder of its own.
#include "conformance/objstore/objstore_conformance.h"

#include "base/alloc.h"
#include "os/random.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static const struct objstore_subject *subject;
static struct od_objstore *store;
static char folder[64];

static int store_open(void **state)
{
    (void)state;
    struct od_error err = {0};
    char id[OD_RANDOM_ID_BYTES];
    od_random_id(id);
    snprintf(folder, sizeof folder, "conformance/%s", id);
    if (subject->open(subject->context, &store, &err) == OD_OK)
        return 0;
    print_error("%s: %s\n", subject->name, err.message);
    return -1;
}

static int store_close(void **state)
{
    (void)state;
    od_objstore_close(store);
    return 0;
}

static void store_reopen(void)
{
    od_objstore_close(store);
    assert_int_equal(subject->open(subject->context, &store, NULL), OD_OK);
}

// FOLDER/NAME; each call has its own place, good until four more.
static const char *key(const char *name)
{
    static _Thread_local char keys[4][OD_OBJECT_KEY_BYTES];
    static _Thread_local unsigned next;
    char *out = keys[next++ % 4];
    snprintf(out, sizeof keys[0], "%s/%s", folder, name);
    return out;
}

static void expect(od_code got, od_code wanted, const struct od_error *err)
{
    if (got != wanted)
        fail_msg("%s instead of %s: %s", od_code_name(got), od_code_name(wanted), err->message);
}

static void put(const char *name, const void *data, size_t bytes)
{
    struct od_error err = {0};
    expect(od_objstore_put(store, key(name), data, bytes, &err), OD_OK, &err);
}

static void expect_content(const char *name, const void *data, size_t bytes)
{
    struct od_error err = {0};
    struct od_object *object = NULL;
    expect(od_objstore_open(store, key(name), &object, &err), OD_OK, &err);
    assert_int_equal(od_object_bytes(object), bytes);
    uint8_t *got = od_alloc(bytes);
    assert_non_null(got);
    expect(od_object_read(object, 0, got, bytes, &err), OD_OK, &err);
    assert_memory_equal(got, data, bytes);
    od_free(got);
    od_object_close(object);
}

static uint8_t *pattern(size_t bytes)
{
    uint8_t *data = od_alloc(bytes);
    assert_non_null(data);
    uint32_t x = 12345;
    for (size_t i = 0; i < bytes; i++) {
        x = x * 1664525u + 1013904223u;
        data[i] = (uint8_t)(x >> 24);
    }
    return data;
}

static void an_object_is_put_and_read(void **state)
{
    (void)state;
    put("a", "hello", 5);
    expect_content("a", "hello", 5);
    put("deep/er/b", "", 0);
    expect_content("deep/er/b", "", 0);
    store_reopen();
    expect_content("a", "hello", 5);
    expect_content("deep/er/b", "", 0);
}

static void a_key_is_put_once(void **state)
{
    (void)state;
    struct od_error err = {0};
    put("a", "first", 5);
    expect(od_objstore_put(store, key("a"), "second", 6, &err), OD_EXISTS, &err);
    assert_non_null(strstr(err.message, folder));
    expect(od_objstore_put(store, key("a"), "first", 5, &err), OD_EXISTS, &err);
    const char *path = subject->write_file(subject->context, "third", 5);
    expect(od_objstore_put_file(store, key("a"), path, &err), OD_EXISTS, &err);
    expect_content("a", "first", 5);
}

static void parts_are_put_one_after_the_other(void **state)
{
    (void)state;
    struct od_error err = {0};
    char one[] = "one", two[] = "", three[] = "three";
    struct iovec parts[] = {{one, 3}, {two, 0}, {three, 5}};
    expect(store->ops->put(store, key("parts"), parts, 3, &err), OD_OK, &err);
    expect_content("parts", "onethree", 8);
}

static void a_file_is_put(void **state)
{
    (void)state;
    struct od_error err = {0};
    size_t bytes = subject->large ? subject->large : 1u << 20;
    uint8_t *data = pattern(bytes);
    const char *path = subject->write_file(subject->context, data, bytes);
    expect(od_objstore_put_file(store, key("file"), path, &err), OD_OK, &err);
    expect_content("file", data, bytes);
    store_reopen();
    expect_content("file", data, bytes);
    od_free(data);
    expect(od_objstore_put_file(store, key("none"), "/no/such/file", &err), OD_NOT_FOUND, &err);
}

static void any_range_is_read_and_nothing_beyond(void **state)
{
    (void)state;
    struct od_error err = {0};
    const size_t bytes = 300000;
    uint8_t *data = pattern(bytes), *got = od_alloc(bytes);
    assert_non_null(got);
    struct od_object *object;
    put("ranges", data, bytes);
    expect(od_objstore_open(store, key("ranges"), &object, &err), OD_OK, &err);
    const struct {
        size_t offset, bytes;
    } ranges[] = {{0, 1}, {0, 300000}, {299999, 1}, {4096, 4096}, {1, 299998}, {150000, 0}, {300000, 0}};
    for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++) {
        expect(od_object_read(object, ranges[i].offset, got, ranges[i].bytes, &err), OD_OK, &err);
        assert_memory_equal(got, data + ranges[i].offset, ranges[i].bytes);
    }
    expect(od_object_read(object, 299999, got, 2, &err), OD_IO, &err);
    expect(od_object_read(object, 300001, got, 0, &err), OD_IO, &err);
    expect(od_object_read(object, UINT64_MAX, got, 2, &err), OD_IO, &err);
    od_object_close(object);
    od_free(data);
    od_free(got);
}

static void a_missing_object_is_named(void **state)
{
    (void)state;
    struct od_error err = {0};
    struct od_object *object;
    expect(od_objstore_open(store, key("none"), &object, &err), OD_NOT_FOUND, &err);
    assert_non_null(strstr(err.message, key("none")));
    expect(od_objstore_remove(store, key("none"), &err), OD_OK, &err);
    expect(od_objstore_remove(store, key("no/folder/either"), &err), OD_OK, &err);
}

// A listing has told its size: it is read as any other.
static void a_listed_object_is_read_without_asking(void **state)
{
    (void)state;
    struct od_error err = {0};
    struct od_object *object;
    char got[5] = "";
    expect(od_objstore_put(store, key("listed"), "abcdef", 6, &err), OD_OK, &err);
    expect(od_objstore_open_listed(store, key("listed"), 6, &object, &err), OD_OK, &err);
    assert_int_equal(od_object_bytes(object), 6);
    expect(od_object_read(object, 2, got, 4, &err), OD_OK, &err);
    assert_string_equal(got, "cdef");
    expect(od_object_read(object, 3, got, 4, &err), OD_IO, &err);
    od_object_close(object);
    expect(od_objstore_open_listed(store, "a//b", 6, &object, &err), OD_INVALID, &err);
}

static void a_removed_object_is_gone(void **state)
{
    (void)state;
    struct od_error err = {0};
    struct od_object *object;
    put("gone", "x", 1);
    expect(od_objstore_remove(store, key("gone"), &err), OD_OK, &err);
    expect(od_objstore_open(store, key("gone"), &object, &err), OD_NOT_FOUND, &err);
}

static void keys_follow_the_rules(void **state)
{
    (void)state;
    struct od_error err = {0};
    char part[300], whole[600];
    memset(part, 'a', sizeof part);
    part[256] = '\0';
    memset(whole, 'a', sizeof whole);
    for (size_t i = 99; i < sizeof whole; i += 100)
        whole[i] = '/';
    whole[513] = '\0';
    const char *wrong[] = {"",      "/", "/a",  "a/",   "a//b",     ".",  "..", "a/../b",
                           "a/./b", "A", "a b", "a\nb", "\xc3\xa4", part, whole};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        expect(od_objstore_put(store, wrong[i], "x", 1, &err), OD_INVALID, &err);
        expect(od_objstore_remove(store, wrong[i], &err), OD_INVALID, &err);
    }
    whole[512] = '\0';
    assert_int_equal(od_object_key_check(whole, NULL), OD_OK);
    const char *right[] = {"a.b", "...", "a_b-c.d/0", ".hidden"};
    for (size_t i = 0; i < sizeof right / sizeof *right; i++) {
        put(right[i], "x", 1);
        expect_content(right[i], "x", 1);
    }
    part[200] = '\0';
    put(part, "x", 1);
    expect_content(part, "x", 1);
}

struct seen {
    char keys[64][OD_OBJECT_KEY_BYTES];
    uint64_t bytes[64];
    size_t count, stop_at;
};

static od_code see(void *context, const char *name, uint64_t bytes, struct od_error *err)
{
    struct seen *seen = context;
    if (seen->count == seen->stop_at)
        return od_fail(err, OD_CANCELLED, "enough");
    snprintf(seen->keys[seen->count], sizeof seen->keys[0], "%s", name);
    seen->bytes[seen->count++] = bytes;
    return OD_OK;
}

static void objects_are_listed_in_order_of_their_keys(void **state)
{
    (void)state;
    struct od_error err = {0};
    static struct seen seen;
    // '-' and '.' come before '/', digits after it.
    static const char *const names[] = {"l/a-b", "l/a.b", "l/a/b", "l/a/c/d", "l/a0", "l/b", "m"};
    static const int order[] = {4, 2, 6, 0, 3, 5, 1};
    for (size_t i = 0; i < 7; i++)
        put(names[order[i]], "0123456", (size_t)order[i]);
    seen = (struct seen){.stop_at = 64};
    expect(od_objstore_list(store, folder, see, &seen, &err), OD_OK, &err);
    assert_int_equal(seen.count, 7);
    for (size_t i = 0; i < 7; i++) {
        assert_string_equal(seen.keys[i], key(names[i]));
        assert_int_equal(seen.bytes[i], i);
    }
    const struct {
        const char *prefix;
        size_t first, count;
    } prefixes[] = {{"l/", 0, 6}, {"l/a", 0, 5}, {"l/a/", 2, 2}, {"l/a/c", 3, 1},
                    {"m", 6, 1},  {"n", 0, 0},   {"l/a0x", 0, 0}};
    for (size_t p = 0; p < sizeof prefixes / sizeof *prefixes; p++) {
        seen = (struct seen){.stop_at = 64};
        expect(od_objstore_list(store, key(prefixes[p].prefix), see, &seen, &err), OD_OK, &err);
        assert_int_equal(seen.count, prefixes[p].count);
        for (size_t i = 0; i < seen.count; i++)
            assert_string_equal(seen.keys[i], key(names[prefixes[p].first + i]));
    }
    seen = (struct seen){.stop_at = 3};
    expect(od_objstore_list(store, folder, see, &seen, &err), OD_CANCELLED, &err);
    assert_int_equal(seen.count, 3);
}

static void many_objects_may_be_open(void **state)
{
    (void)state;
    struct od_error err = {0};
    enum { OBJECTS = 600, FILES = 20 };
    static struct od_object *objects[OBJECTS];
    for (int i = 0; i < FILES; i++) {
        char name[16];
        snprintf(name, sizeof name, "many/%d", i);
        put(name, &i, sizeof i);
    }
    for (int i = 0; i < OBJECTS; i++) {
        char name[16];
        snprintf(name, sizeof name, "many/%d", i % FILES);
        expect(od_objstore_open(store, key(name), &objects[i], &err), OD_OK, &err);
    }
    for (int i = 0; i < OBJECTS; i += 7) {
        int got = -1;
        expect(od_object_read(objects[i], 0, &got, sizeof got, &err), OD_OK, &err);
        assert_int_equal(got, i % FILES);
    }
    for (int i = 0; i < OBJECTS; i++)
        od_object_close(objects[i]);
}

// ---- races

static pthread_barrier_t together;
static struct od_object *shared;
static struct racer {
    pthread_t thread;
    unsigned id;
    od_code rc;
    struct od_error err;
} racers[64];

static void *race_put(void *opaque)
{
    struct racer *racer = opaque;
    char text[20000];
    memset(text, 'a' + (int)racer->id, sizeof text);
    pthread_barrier_wait(&together);
    racer->rc = od_objstore_put(store, key("race"), text, sizeof text - racer->id, &racer->err);
    return NULL;
}

static void race(void *(*run)(void *))
{
    pthread_barrier_init(&together, NULL, subject->threads);
    for (unsigned i = 0; i < subject->threads; i++) {
        racers[i].id = i;
        assert_int_equal(pthread_create(&racers[i].thread, NULL, run, &racers[i]), 0);
    }
    for (unsigned i = 0; i < subject->threads; i++)
        pthread_join(racers[i].thread, NULL);
    pthread_barrier_destroy(&together);
}

static void of_many_puts_of_one_key_one_wins(void **state)
{
    (void)state;
    if (!subject->threads)
        skip();
    for (unsigned round = 0; round < (subject->rounds ? subject->rounds : 20); round++) {
        char id[OD_RANDOM_ID_BYTES], text[20000];
        od_random_id(id);
        snprintf(folder, sizeof folder, "conformance/%s", id);
        race(race_put);
        int winner = -1;
        for (unsigned i = 0; i < subject->threads; i++) {
            if (racers[i].rc == OD_OK) {
                assert_int_equal(winner, -1);
                winner = (int)i;
            } else {
                expect(racers[i].rc, OD_EXISTS, &racers[i].err);
            }
        }
        assert_int_not_equal(winner, -1);
        memset(text, 'a' + winner, sizeof text);
        expect_content("race", text, sizeof text - (size_t)winner);
    }
}

static void *race_read(void *opaque)
{
    struct racer *racer = opaque;
    uint32_t got[64];
    pthread_barrier_wait(&together);
    for (unsigned i = 0; i < 50 && racer->rc == OD_OK; i++) {
        uint32_t first = (racer->id * 131 + i * 17) % 9000;
        racer->rc = od_object_read(shared, first * sizeof *got, got, sizeof got, &racer->err);
        for (uint32_t k = 0; k < 64 && racer->rc == OD_OK; k++)
            if (got[k] != first + k)
                racer->rc = OD_CORRUPT;
    }
    return NULL;
}

static void one_object_is_read_by_many(void **state)
{
    (void)state;
    struct od_error err = {0};
    static uint32_t numbers[10000];
    if (!subject->threads)
        skip();
    for (uint32_t i = 0; i < 10000; i++)
        numbers[i] = i;
    put("shared", numbers, sizeof numbers);
    expect(od_objstore_open(store, key("shared"), &shared, &err), OD_OK, &err);
    for (unsigned i = 0; i < subject->threads; i++)
        racers[i].rc = OD_OK;
    race(race_read);
    for (unsigned i = 0; i < subject->threads; i++)
        expect(racers[i].rc, OD_OK, &racers[i].err);
    od_object_close(shared);
}

int objstore_conformance_run(const struct objstore_subject *which)
{
    subject = which;
#define OBJSTORE_TEST(name) cmocka_unit_test_setup_teardown(name, store_open, store_close)
    const struct CMUnitTest tests[] = {
        OBJSTORE_TEST(an_object_is_put_and_read),
        OBJSTORE_TEST(a_key_is_put_once),
        OBJSTORE_TEST(parts_are_put_one_after_the_other),
        OBJSTORE_TEST(a_file_is_put),
        OBJSTORE_TEST(any_range_is_read_and_nothing_beyond),
        OBJSTORE_TEST(a_missing_object_is_named),
        OBJSTORE_TEST(a_listed_object_is_read_without_asking),
        OBJSTORE_TEST(a_removed_object_is_gone),
        OBJSTORE_TEST(keys_follow_the_rules),
        OBJSTORE_TEST(objects_are_listed_in_order_of_their_keys),
        OBJSTORE_TEST(many_objects_may_be_open),
        OBJSTORE_TEST(of_many_puts_of_one_key_one_wins),
        OBJSTORE_TEST(one_object_is_read_by_many),
    };
    return cmocka_run_group_tests_name(which->name, tests, NULL, NULL);
}
