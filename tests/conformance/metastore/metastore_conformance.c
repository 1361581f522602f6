// metastore_conformance.c - see metastore_conformance.h. Each test opens the store itself and makes databases of its own.
#include "conformance/metastore/metastore_conformance.h"

#include "base/alloc.h"
#include "os/random.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define LEASE_US (60ull * 1000000)

static const struct metastore_subject *subject;
static struct od_metastore *store;
static char unique[OD_RANDOM_ID_BYTES];
static const struct od_uuid zero;

static int store_open(void **state)
{
    (void)state;
    struct od_error err = {0};
    od_random_id(unique);
    if (subject->open(subject->context, &store, &err) == OD_OK)
        return 0;
    print_error("%s: %s\n", subject->name, err.message);
    return -1;
}

static int store_close(void **state)
{
    (void)state;
    od_metastore_close(store);
    return 0;
}

static void expect(od_code got, od_code wanted, const struct od_error *err)
{
    if (got != wanted)
        fail_msg("%s instead of %s: %s", od_code_name(got), od_code_name(wanted), err->message);
}

static struct od_uuid new_uuid(void)
{
    struct od_uuid uuid;
    od_random_bytes(&uuid, sizeof uuid);
    od_uuid_mark_random(&uuid);
    return uuid;
}

// A name of this test's; each call has its own place, good until four more.
static const char *name(const char *text)
{
    static char names[4][OD_META_NAME_BYTES];
    static unsigned next;
    char *out = names[next++ % 4];
    snprintf(out, sizeof names[0], "%s %s", unique, text);
    return out;
}

static struct od_meta_branch new_branch(uint64_t start_lsn)
{
    return (struct od_meta_branch){.branch = new_uuid(), .start_lsn = start_lsn, .tip_lsn = start_lsn};
}

static struct od_meta_branch create(const char *text)
{
    struct od_error err = {0};
    struct od_meta_branch branch = new_branch(0);
    expect(store->ops->database_create(store, name(text), &branch, &err), OD_OK, &err);
    return branch;
}

static const struct od_uuid place = {{0x7a}}, another_place = {{0x7b}};

static struct od_meta_branch acquire(const struct od_uuid *branch, const char *owner)
{
    struct od_error err = {0};
    struct od_meta_branch row = {0};
    expect(store->ops->epoch_acquire(store, branch, owner, &place, LEASE_US, true, &row, &err), OD_OK, &err);
    return row;
}

static struct od_meta_branch branch_now(const struct od_uuid *branch)
{
    struct od_error err = {0};
    struct od_meta_branch row = {0};
    expect(store->ops->branch_get(store, branch, &row, &err), OD_OK, &err);
    return row;
}

static struct od_meta_layer next_layer(const struct od_meta_branch *tip, uint64_t epoch, uint64_t bytes)
{
    struct od_meta_layer layer = {
        .layer = new_uuid(),
        .branch = tip->branch,
        .epoch = epoch,
        .parent = tip->tip_layer,
        .first_lsn = tip->tip_lsn,
        .end_lsn = tip->tip_lsn + bytes,
        .first_time_us = tip->tip_time_us + 1,
        .last_time_us = tip->tip_time_us + 10,
        .bytes = bytes + 4096,
    };
    char id[OD_UUID_TEXT_BYTES];
    od_uuid_format(&layer.layer, id);
    snprintf(layer.key, sizeof layer.key, "layers/%s", id);
    return layer;
}

static struct od_meta_layer publish(const struct od_uuid *branch, uint64_t bytes)
{
    struct od_error err = {0};
    struct od_meta_branch tip = branch_now(branch);
    struct od_meta_layer layer = next_layer(&tip, tip.epoch, bytes);
    expect(store->ops->layer_publish(store, &layer, &tip.tip_layer, &err), OD_OK, &err);
    return layer;
}

static struct od_meta_snapshot new_snapshot(const char *text, const struct od_meta_layer *layer)
{
    struct od_meta_snapshot snapshot = {
        .snapshot = new_uuid(),
        .position = {layer->branch, layer->epoch, layer->end_lsn},
        .layer = layer->layer,
        .time_us = layer->last_time_us,
    };
    snprintf(snapshot.name, sizeof snapshot.name, "%s", text);
    return snapshot;
}

// ---- databases

static void a_database_is_made_found_and_dropped(void **state)
{
    (void)state;
    struct od_error err = {0};
    struct od_meta_database database;
    struct od_meta_branch branch = create("a"), other = new_branch(0), row;
    uint64_t now = 0;
    expect(store->ops->now(store, &now, &err), OD_OK, &err);
    expect(store->ops->database_get(store, name("a"), &database, &err), OD_OK, &err);
    assert_string_equal(database.name, name("a"));
    assert_true(od_uuid_equal(&database.branch, &branch.branch));
    assert_in_range(database.created_us, now - 3600000000ull, now + 3600000000ull);
    row = branch_now(&branch.branch);
    assert_true(od_meta_branch_same(&row, &branch));
    assert_int_equal(row.epoch, 0);
    assert_int_equal(row.dropped_us, 0);

    expect(store->ops->database_create(store, name("a"), &branch, &err), OD_OK, &err); // repeated
    expect(store->ops->database_create(store, name("a"), &other, &err), OD_EXISTS, &err);
    expect(store->ops->database_create(store, name("b"), &branch, &err), OD_EXISTS, &err);
    expect(store->ops->branch_get(store, &other.branch, &row, &err), OD_NOT_FOUND, &err); // all or nothing
    expect(store->ops->database_get(store, name("b"), &database, &err), OD_NOT_FOUND, &err);
    assert_non_null(strstr(err.message, name("b")));

    expect(store->ops->database_drop(store, name("a"), &err), OD_OK, &err);
    expect(store->ops->database_get(store, name("a"), &database, &err), OD_NOT_FOUND, &err);
    expect(store->ops->database_drop(store, name("a"), &err), OD_NOT_FOUND, &err);
    assert_true(branch_now(&branch.branch).dropped_us > 0);
    expect(store->ops->epoch_acquire(store, &branch.branch, "w", &place, LEASE_US, false, &row, &err), OD_NOT_FOUND, &err);
    expect(store->ops->database_create(store, name("a"), &other, &err), OD_OK, &err); // the name is free
}

static void names_are_any_text_without_control_characters(void **state)
{
    (void)state;
    struct od_error err = {0};
    struct od_meta_branch branch = new_branch(0);
    struct od_meta_database database;
    char longest[OD_META_NAME_BYTES + 10];
    create("'; DROP TABLE branch; -- \\ \" % _");
    create("\xc3\xa4\xe2\x82\xac");
    expect(store->ops->database_get(store, name("\xc3\xa4\xe2\x82\xac"), &database, &err), OD_OK, &err);
    assert_string_equal(database.name, name("\xc3\xa4\xe2\x82\xac"));
    expect(store->ops->database_create(store, "", &branch, &err), OD_INVALID, &err);
    expect(store->ops->database_create(store, "a\nb", &branch, &err), OD_INVALID, &err);
    snprintf(longest, sizeof longest, "%-256s", unique);
    expect(store->ops->database_create(store, longest, &branch, &err), OD_OK, &err);
    expect(store->ops->database_get(store, longest, &database, &err), OD_OK, &err);
    assert_string_equal(database.name, longest);
    branch = new_branch(0);
    snprintf(longest, sizeof longest, "%-257s", unique);
    expect(store->ops->database_create(store, longest, &branch, &err), OD_INVALID, &err);
}

static void lists_are_complete_and_in_order(void **state)
{
    (void)state;
    struct od_error err = {0};
    struct od_meta_database *rows = NULL;
    struct od_meta_branch *branches = NULL;
    struct od_meta_branch made[5];
    static const char *const names[] = {"B", "a", "a b", "a-", "\xc3\xa4"}; // by byte value
    size_t count = 0, mine = 0;
    for (int i = 4; i >= 0; i--)
        made[i] = create(names[i]);
    expect(store->ops->database_drop(store, name("B"), &err), OD_OK, &err);
    expect(store->ops->database_list(store, &rows, &count, &err), OD_OK, &err);
    for (size_t i = 0; i < count; i++) {
        if (strncmp(rows[i].name, unique, strlen(unique)) != 0)
            continue;
        assert_string_equal(rows[i].name, name(names[++mine]));
        assert_true(od_uuid_equal(&rows[i].branch, &made[mine].branch));
    }
    assert_int_equal(mine, 4);
    od_free(rows);
    expect(store->ops->branch_list(store, &branches, &count, &err), OD_OK, &err);
    mine = 0;
    for (size_t i = 0; i < count; i++)
        for (int k = 0; k < 5; k++)
            mine += od_uuid_equal(&branches[i].branch, &made[k].branch);
    assert_int_equal(mine, 5);
    od_free(branches);
}

static void a_name_is_pointed_to_a_new_branch(void **state)
{
    (void)state;
    struct od_error err = {0};
    struct od_meta_database database;
    struct od_meta_branch old = create("a"), taken = create("b"), third = new_branch(0);
    acquire(&old.branch, "w");
    struct od_meta_layer layer = publish(&old.branch, 1000);
    struct od_meta_branch next = new_branch(500);
    next.parent_branch = old.branch;
    next.parent_layer = layer.layer;
    expect(store->ops->database_point(store, name("a"), &old.branch, &next, &err), OD_OK, &err);
    expect(store->ops->database_get(store, name("a"), &database, &err), OD_OK, &err);
    assert_true(od_uuid_equal(&database.branch, &next.branch));
    assert_true(branch_now(&old.branch).dropped_us > 0);
    struct od_meta_branch row = branch_now(&next.branch);
    assert_true(od_meta_branch_same(&row, &next));
    assert_int_equal(row.tip_lsn, 500);
    expect(store->ops->database_point(store, name("a"), &old.branch, &next, &err), OD_OK, &err); // repeated
    expect(store->ops->database_point(store, name("a"), &old.branch, &third, &err), OD_STALE, &err);
    expect(store->ops->database_point(store, name("a"), &next.branch, &taken, &err), OD_EXISTS, &err);
    expect(store->ops->database_point(store, name("c"), &next.branch, &third, &err), OD_NOT_FOUND, &err);
    expect(store->ops->branch_get(store, &third.branch, &row, &err), OD_NOT_FOUND, &err);
}

// ---- epochs, leases, layers

static void epochs_rise_and_a_lease_keeps_others_out(void **state)
{
    (void)state;
    struct od_error err = {0};
    struct od_meta_branch branch = create("a"), row;
    uint64_t now;
    expect(store->ops->epoch_acquire(store, &branch.branch, "one", &place, LEASE_US, false, &row, &err), OD_OK, &err);
    assert_int_equal(row.epoch, 1);
    assert_string_equal(row.owner, "one");
    expect(store->ops->now(store, &now, &err), OD_OK, &err);
    assert_in_range(row.lease_until_us, now + LEASE_US / 2, now + LEASE_US);
    expect(store->ops->epoch_acquire(store, &branch.branch, "two", &another_place, LEASE_US, false, &row, &err), OD_LOCKED, &err);
    assert_non_null(strstr(err.message, "one"));
    assert_non_null(strstr(err.message, "lease"));
    expect(store->ops->epoch_acquire(store, &branch.branch, "one", &place, LEASE_US, false, &row, &err), OD_OK, &err);
    assert_int_equal(row.epoch, 2);
    expect(store->ops->epoch_acquire(store, &branch.branch, "two", &another_place, LEASE_US, true, &row, &err), OD_OK, &err);
    assert_int_equal(row.epoch, 3);
    expect(store->ops->lease_renew(store, &branch.branch, 2, LEASE_US, &err), OD_FENCED, &err);
    assert_non_null(strstr(err.message, "two"));
    expect(store->ops->lease_release(store, &branch.branch, 2, false, &err), OD_FENCED, &err);
    expect(store->ops->lease_renew(store, &branch.branch, 3, 2 * LEASE_US, &err), OD_OK, &err);
    assert_true(branch_now(&branch.branch).lease_until_us > now + LEASE_US * 3 / 2);
    expect(store->ops->lease_release(store, &branch.branch, 3, false, &err), OD_OK, &err);
    expect(store->ops->epoch_acquire(store, &branch.branch, "one", &another_place, 1, false, &row, &err), OD_OK, &err);
    assert_int_equal(row.epoch, 4);
    struct od_uuid none = new_uuid();
    expect(store->ops->epoch_acquire(store, &none, "one", &place, LEASE_US, false, &row, &err), OD_NOT_FOUND, &err);
    expect(store->ops->lease_renew(store, &none, 1, LEASE_US, &err), OD_NOT_FOUND, &err);
}

static void another_place_takes_over_by_force_only(void **state)
{
    (void)state;
    struct od_error err = {0};
    struct od_meta_branch branch = create("a"), row;
    const struct od_uuid *b = &branch.branch;
    expect(store->ops->epoch_acquire(store, b, "one", &place, LEASE_US, false, &row, &err), OD_OK, &err);
    assert_true(od_uuid_equal(&row.holder, &place));
    assert_int_equal(row.held_since, 0);
    expect(store->ops->lease_release(store, b, 1, false, &err), OD_OK, &err);
    expect(store->ops->epoch_acquire(store, b, "two", &another_place, LEASE_US, false, &row, &err), OD_LOCKED, &err);
    assert_non_null(strstr(err.message, "one"));
    assert_non_null(strstr(err.message, "another place"));
    expect(store->ops->epoch_acquire(store, b, "two", &place, LEASE_US, false, &row, &err), OD_OK, &err);
    assert_int_equal(row.held_since, 0); // the same place goes on with what it has
    expect(store->ops->epoch_acquire(store, b, "one", &another_place, LEASE_US, true, &row, &err), OD_OK, &err);
    assert_int_equal(row.epoch, 3);
    assert_int_equal(row.held_since, 3);
    assert_true(od_uuid_equal(&row.holder, &another_place));
    expect(store->ops->lease_release(store, b, 2, true, &err), OD_FENCED, &err);
    assert_int_equal(branch_now(b).held_since, 3);
    // All of it is in layers: any place may go on, and no older journal counts.
    expect(store->ops->lease_release(store, b, 3, true, &err), OD_OK, &err);
    row = branch_now(b);
    assert_true(od_uuid_is_zero(&row.holder));
    assert_int_equal(row.held_since, 4);
    expect(store->ops->epoch_acquire(store, b, "two", &place, LEASE_US, false, &row, &err), OD_OK, &err);
    assert_int_equal(row.epoch, 4);
    assert_int_equal(row.held_since, 4);
    assert_true(od_uuid_equal(&row.holder, &place));
    row = branch_now(b);
    assert_int_equal(row.held_since, 4);
    assert_true(od_uuid_equal(&row.holder, &place));
}

static void a_policy_frees_a_branch_when_its_lease_has_ended(void **state)
{
    (void)state;
    const uint64_t policies[] = {OD_BRANCH_REMOTE, OD_BRANCH_FAILOVER};
    const char *const names[] = {"remote", "failover"};
    for (int i = 0; i < 2; i++) {
        struct od_error err = {0};
        struct od_meta_branch branch = {.policy = policies[i]}, row;
        branch.branch.bytes[0] = (uint8_t)(200 + i);
        const struct od_uuid *b = &branch.branch;
        expect(store->ops->database_create(store, names[i], &branch, &err), OD_OK, &err);
        assert_int_equal(branch_now(b).policy, policies[i]);
        expect(store->ops->epoch_acquire(store, b, "one", &place, LEASE_US, false, &row, &err), OD_OK, &err);
        assert_int_equal(row.policy, policies[i]);
        expect(store->ops->epoch_acquire(store, b, "two", &another_place, LEASE_US, false, &row, &err), OD_LOCKED, &err);
        expect(store->ops->lease_release(store, b, 1, false, &err), OD_OK, &err); // as if it had ended
        expect(store->ops->epoch_acquire(store, b, "two", &another_place, LEASE_US, false, &row, &err), OD_OK, &err);
        assert_int_equal(row.held_since, 2);
        expect(store->ops->lease_renew(store, b, 1, LEASE_US, &err), OD_FENCED, &err);
    }
}

static void a_cluster_is_told_its_name_once(void **state)
{
    (void)state;
    struct od_error err = {0};
    struct od_uuid first = {{1}}, second = {{2}};
    expect(store->ops->identify(store, &first, &err), OD_OK, &err);
    assert_int_equal(first.bytes[0], 1);
    expect(store->ops->identify(store, &second, &err), OD_OK, &err);
    assert_int_equal(second.bytes[0], 1);
}

static void a_layer_goes_on_top_of_the_expected_tip(void **state)
{
    (void)state;
    struct od_error err = {0};
    struct od_meta_branch branch = create("a"), tip;
    struct od_meta_layer first, got, *rows = NULL;
    size_t count = 0;
    acquire(&branch.branch, "w");
    tip = branch_now(&branch.branch);
    first = next_layer(&tip, 1, 1000);
    expect(store->ops->layer_publish(store, &first, &zero, &err), OD_OK, &err);
    expect(store->ops->layer_publish(store, &first, &zero, &err), OD_OK, &err); // repeated
    tip = branch_now(&branch.branch);
    assert_true(od_uuid_equal(&tip.tip_layer, &first.layer));
    assert_int_equal(tip.tip_lsn, 1000);
    assert_int_equal(tip.tip_time_us, first.last_time_us);
    struct od_meta_layer changed = first;
    changed.bytes++;
    expect(store->ops->layer_publish(store, &changed, &zero, &err), OD_EXISTS, &err);
    struct od_meta_layer second = next_layer(&tip, 1, 500);
    expect(store->ops->layer_publish(store, &second, &zero, &err), OD_STALE, &err);
    expect(store->ops->layer_get(store, &second.layer, &got, &err), OD_NOT_FOUND, &err);
    expect(store->ops->layer_publish(store, &second, &first.layer, &err), OD_OK, &err);
    expect(store->ops->layer_publish(store, &first, &zero, &err), OD_OK, &err); // also later
    struct od_meta_layer back = next_layer(&tip, 1, 0);
    back.end_lsn = back.first_lsn = 10;
    expect(store->ops->layer_publish(store, &back, &second.layer, &err), OD_INVALID, &err);
    expect(store->ops->layer_get(store, &first.layer, &got, &err), OD_OK, &err);
    assert_true(od_meta_layer_same(&got, &first));
    expect(store->ops->layer_list(store, &branch.branch, &rows, &count, &err), OD_OK, &err);
    assert_int_equal(count, 2);
    assert_true(od_meta_layer_same(&rows[0], &first));
    assert_true(od_meta_layer_same(&rows[1], &second));
    od_free(rows);
    struct od_meta_layer lost = next_layer(&tip, 1, 1);
    lost.branch = new_uuid();
    expect(store->ops->layer_publish(store, &lost, &zero, &err), OD_NOT_FOUND, &err);
}

static void a_lower_epoch_adds_nothing(void **state)
{
    (void)state;
    struct od_error err = {0};
    struct od_meta_branch branch = create("a"), tip;
    acquire(&branch.branch, "one");
    struct od_meta_layer first = publish(&branch.branch, 100);
    tip = branch_now(&branch.branch);
    struct od_meta_layer late = next_layer(&tip, 1, 100), early = next_layer(&tip, 3, 100);
    struct od_meta_branch taken = acquire(&branch.branch, "two");
    assert_int_equal(taken.epoch_start_lsn, 100);
    expect(store->ops->layer_publish(store, &late, &first.layer, &err), OD_FENCED, &err);
    expect(store->ops->layer_publish(store, &early, &first.layer, &err), OD_FENCED, &err);
    expect(store->ops->layer_publish(store, &first, &zero, &err), OD_OK, &err); // applied before: still so
    publish(&branch.branch, 100);
    assert_int_equal(branch_now(&branch.branch).tip_lsn, 200);
    tip = branch_now(&branch.branch);
    expect(store->ops->database_drop(store, name("a"), &err), OD_OK, &err);
    struct od_meta_layer after = next_layer(&tip, 2, 1);
    expect(store->ops->layer_publish(store, &after, &tip.tip_layer, &err), OD_FENCED, &err);
}

static void a_layer_in_use_is_not_forgotten(void **state)
{
    (void)state;
    struct od_error err = {0};
    struct od_meta_branch branch = create("a"), clone = new_branch(20);
    struct od_meta_layer layers[4], got;
    acquire(&branch.branch, "w");
    for (int i = 0; i < 4; i++)
        layers[i] = publish(&branch.branch, 10);
    struct od_meta_snapshot snapshot = new_snapshot("s", &layers[0]);
    expect(store->ops->snapshot_create(store, &snapshot, &err), OD_OK, &err);
    clone.parent_branch = branch.branch;
    clone.parent_layer = layers[1].layer;
    expect(store->ops->database_create(store, name("clone"), &clone, &err), OD_OK, &err);
    for (int i = 0; i < 4; i++) {
        struct od_uuid both[2] = {layers[2].layer, layers[i].layer};
        if (i == 2)
            continue;
        expect(store->ops->layer_forget(store, both, 2, &err), OD_STALE, &err);
        expect(store->ops->layer_get(store, &layers[2].layer, &got, &err), OD_OK, &err); // all or none
    }
    expect(store->ops->snapshot_drop(store, &branch.branch, "s", &err), OD_OK, &err);
    expect(store->ops->database_drop(store, name("clone"), &err), OD_OK, &err);
    struct od_uuid three[3] = {layers[0].layer, layers[1].layer, layers[2].layer};
    expect(store->ops->layer_forget(store, three, 3, &err), OD_OK, &err);
    expect(store->ops->layer_forget(store, three, 3, &err), OD_OK, &err);
    for (int i = 0; i < 3; i++)
        expect(store->ops->layer_get(store, &layers[i].layer, &got, &err), OD_NOT_FOUND, &err);
    struct od_meta_branch late = clone;
    late.branch = new_uuid();
    expect(store->ops->database_create(store, name("late"), &late, &err), OD_NOT_FOUND, &err);
    snapshot.snapshot = new_uuid();
    expect(store->ops->snapshot_create(store, &snapshot, &err), OD_NOT_FOUND, &err);
}

static void snapshots_are_named_positions(void **state)
{
    (void)state;
    struct od_error err = {0};
    struct od_meta_branch branch = create("a"), other = create("b");
    struct od_meta_snapshot *rows = NULL;
    size_t count = 0;
    acquire(&branch.branch, "w");
    acquire(&other.branch, "w");
    struct od_meta_layer one = publish(&branch.branch, 10), two = publish(&branch.branch, 10);
    struct od_meta_layer elsewhere = publish(&other.branch, 10);
    struct od_meta_snapshot late = new_snapshot("a late one", &two), early = new_snapshot("z early", &one);
    early.automatic = true;
    struct od_meta_snapshot same_name = new_snapshot("z early", &elsewhere);
    expect(store->ops->snapshot_create(store, &late, &err), OD_OK, &err);
    expect(store->ops->snapshot_create(store, &early, &err), OD_OK, &err);
    expect(store->ops->snapshot_create(store, &early, &err), OD_OK, &err); // repeated
    expect(store->ops->snapshot_create(store, &same_name, &err), OD_OK, &err);
    struct od_meta_snapshot taken = new_snapshot("a late one", &one);
    expect(store->ops->snapshot_create(store, &taken, &err), OD_EXISTS, &err);
    expect(store->ops->snapshot_list(store, &branch.branch, &rows, &count, &err), OD_OK, &err);
    assert_int_equal(count, 2);
    assert_true(od_meta_snapshot_same(&rows[0], &early));
    assert_true(od_meta_snapshot_same(&rows[1], &late));
    assert_true(rows[0].created_us > 0);
    od_free(rows);
    expect(store->ops->snapshot_drop(store, &branch.branch, "z early", &err), OD_OK, &err);
    expect(store->ops->snapshot_drop(store, &branch.branch, "z early", &err), OD_NOT_FOUND, &err);
    assert_non_null(strstr(err.message, "z early"));
    expect(store->ops->snapshot_list(store, &branch.branch, &rows, &count, &err), OD_OK, &err);
    assert_int_equal(count, 1);
    od_free(rows);
    expect(store->ops->snapshot_list(store, &other.branch, &rows, &count, &err), OD_OK, &err);
    assert_int_equal(count, 1);
    od_free(rows);
    struct od_uuid none = new_uuid();
    expect(store->ops->snapshot_list(store, &none, &rows, &count, &err), OD_OK, &err);
    assert_int_equal(count, 0);
    od_free(rows);
}

static void what_was_written_is_there_after_reopening(void **state)
{
    (void)state;
    struct od_error err = {0};
    struct od_meta_branch branch = create("a");
    acquire(&branch.branch, "w");
    struct od_meta_layer layer = publish(&branch.branch, 10), got;
    struct od_meta_branch before = branch_now(&branch.branch), after;
    od_metastore_close(store);
    assert_int_equal(subject->open(subject->context, &store, NULL), OD_OK);
    after = branch_now(&branch.branch);
    assert_true(od_meta_branch_same(&before, &after));
    assert_int_equal(before.epoch, after.epoch);
    assert_int_equal(before.lease_until_us, after.lease_until_us);
    assert_int_equal(before.tip_lsn, after.tip_lsn);
    assert_string_equal(before.owner, after.owner);
    expect(store->ops->layer_get(store, &layer.layer, &got, &err), OD_OK, &err);
    assert_true(od_meta_layer_same(&got, &layer));
}

static void a_whole_state_is_restored_into_an_empty_store(void **state)
{
    (void)state;
    struct od_error err = {0};
    if (!subject->open_empty)
        skip();
    od_metastore_close(store);
    store = NULL;
    expect(subject->open_empty(subject->context, &store, &err), OD_OK, &err);
    struct od_meta_branch branches[2] = {new_branch(0), new_branch(7)};
    branches[0].epoch = 5;
    branches[0].epoch_start_lsn = 3;
    branches[0].dropped_us = 99;
    snprintf(branches[0].owner, sizeof branches[0].owner, "who");
    struct od_meta_layer layers[2] = {next_layer(&branches[0], 4, 10), next_layer(&branches[1], 1, 10)};
    branches[0].tip_layer = layers[0].layer;
    branches[0].tip_lsn = 10;
    struct od_meta_database database = {.branch = branches[1].branch, .created_us = 12};
    snprintf(database.name, sizeof database.name, "restored");
    struct od_meta_snapshot snapshot = new_snapshot("s", &layers[0]);
    snapshot.created_us = 77;
    expect(store->ops->restore(store, &database, 1, branches, 2, layers, 2, &snapshot, 1, &err), OD_OK, &err);
    expect(store->ops->restore(store, &database, 1, branches, 2, layers, 2, &snapshot, 1, &err), OD_EXISTS, &err);
    struct od_meta_branch row = branch_now(&branches[0].branch);
    assert_true(od_meta_branch_same(&row, &branches[0]));
    assert_int_equal(row.epoch, 5);
    assert_int_equal(row.epoch_start_lsn, 3);
    assert_int_equal(row.dropped_us, 99);
    assert_int_equal(row.tip_lsn, 10);
    assert_string_equal(row.owner, "who");
    struct od_meta_database got;
    expect(store->ops->database_get(store, "restored", &got, &err), OD_OK, &err);
    assert_int_equal(got.created_us, 12);
    struct od_meta_snapshot *rows;
    size_t count;
    expect(store->ops->snapshot_list(store, &branches[0].branch, &rows, &count, &err), OD_OK, &err);
    assert_int_equal(count, 1);
    assert_int_equal(rows[0].created_us, 77);
    od_free(rows);
}

// ---- races

static pthread_barrier_t together;
static struct od_uuid raced;
static atomic_uint published;
static struct racer {
    pthread_t thread;
    unsigned id;
    uint64_t epochs[8];
    char failed[256];
} racers[64];

static void race(void *(*run)(void *))
{
    pthread_barrier_init(&together, NULL, subject->threads);
    for (unsigned i = 0; i < subject->threads; i++) {
        racers[i] = (struct racer){.id = i};
        assert_int_equal(pthread_create(&racers[i].thread, NULL, run, &racers[i]), 0);
    }
    for (unsigned i = 0; i < subject->threads; i++)
        pthread_join(racers[i].thread, NULL);
    pthread_barrier_destroy(&together);
    for (unsigned i = 0; i < subject->threads; i++)
        assert_string_equal(racers[i].failed, "");
}

static void *race_writer(void *opaque)
{
    struct racer *racer = opaque;
    struct od_error err = {0};
    char owner[32];
    snprintf(owner, sizeof owner, "writer %u", racer->id);
    pthread_barrier_wait(&together);
    for (int turn = 0; turn < 4; turn++) {
        struct od_meta_branch tip;
        od_code rc = store->ops->epoch_acquire(store, &raced, owner, &place, LEASE_US, true, &tip, &err);
        racer->epochs[turn] = rc == OD_OK ? tip.epoch : 0;
        for (int i = 0; rc == OD_OK && i < 3; i++) {
            struct od_meta_layer layer = next_layer(&tip, tip.epoch, 10);
            rc = store->ops->layer_publish(store, &layer, &tip.tip_layer, &err);
            if (rc == OD_OK) {
                atomic_fetch_add(&published, 1);
                tip.tip_layer = layer.layer;
                tip.tip_lsn = layer.end_lsn;
                rc = store->ops->layer_publish(store, &layer, &layer.parent, &err); // repeated
            }
        }
        if (rc != OD_OK && rc != OD_FENCED)
            snprintf(racer->failed, sizeof racer->failed, "%s: %.200s", od_code_name(rc), err.message);
    }
    return NULL;
}

static int by_number(const void *a, const void *b)
{
    const uint64_t *x = a, *y = b;
    return *x < *y ? -1 : *x > *y;
}

// After any number of writers that took the branch from each other: every epoch was given once, the layers are one chain
// without a gap, and their epochs never fall.
static void writers_that_race_leave_one_chain(void **state)
{
    (void)state;
    struct od_error err = {0};
    if (!subject->threads)
        skip();
    raced = create("raced").branch;
    atomic_store(&published, 0);
    race(race_writer);
    uint64_t epochs[64 * 4];
    unsigned given = 0;
    for (unsigned i = 0; i < subject->threads; i++)
        for (int turn = 0; turn < 4; turn++)
            epochs[given++] = racers[i].epochs[turn];
    qsort(epochs, given, sizeof *epochs, by_number);
    for (unsigned i = 0; i < given; i++)
        assert_int_equal(epochs[i], i + 1);
    struct od_meta_layer *rows;
    size_t count;
    expect(store->ops->layer_list(store, &raced, &rows, &count, &err), OD_OK, &err);
    assert_int_equal(count, atomic_load(&published));
    struct od_uuid below = zero;
    uint64_t lsn = 0, epoch = 0;
    for (size_t i = 0; i < count; i++) {
        assert_true(od_uuid_equal(&rows[i].parent, &below));
        assert_int_equal(rows[i].first_lsn, lsn);
        assert_true(rows[i].epoch >= epoch);
        below = rows[i].layer;
        lsn = rows[i].end_lsn;
        epoch = rows[i].epoch;
    }
    struct od_meta_branch tip = branch_now(&raced);
    assert_true(od_uuid_equal(&tip.tip_layer, &below));
    assert_int_equal(tip.tip_lsn, lsn);
    od_free(rows);
}

static void *race_name(void *opaque)
{
    struct racer *racer = opaque;
    struct od_error err = {0};
    struct od_meta_branch branch = new_branch(0);
    char taken[OD_META_NAME_BYTES];
    snprintf(taken, sizeof taken, "%s taken", unique);
    pthread_barrier_wait(&together);
    od_code rc = store->ops->database_create(store, taken, &branch, &err);
    if (rc == OD_OK)
        atomic_fetch_add(&published, 1);
    else if (rc != OD_EXISTS)
        snprintf(racer->failed, sizeof racer->failed, "%s: %.200s", od_code_name(rc), err.message);
    return NULL;
}

static void of_many_creations_of_one_name_one_wins(void **state)
{
    (void)state;
    if (!subject->threads)
        skip();
    for (int round = 0; round < 5; round++) {
        od_random_id(unique);
        atomic_store(&published, 0);
        race(race_name);
        assert_int_equal(atomic_load(&published), 1);
    }
}

int metastore_conformance_run(const struct metastore_subject *which)
{
    subject = which;
#define METASTORE_TEST(name) cmocka_unit_test_setup_teardown(name, store_open, store_close)
    const struct CMUnitTest tests[] = {
        METASTORE_TEST(a_database_is_made_found_and_dropped),
        METASTORE_TEST(names_are_any_text_without_control_characters),
        METASTORE_TEST(lists_are_complete_and_in_order),
        METASTORE_TEST(a_name_is_pointed_to_a_new_branch),
        METASTORE_TEST(epochs_rise_and_a_lease_keeps_others_out),
        METASTORE_TEST(another_place_takes_over_by_force_only),
        METASTORE_TEST(a_policy_frees_a_branch_when_its_lease_has_ended),
        METASTORE_TEST(a_cluster_is_told_its_name_once),
        METASTORE_TEST(a_layer_goes_on_top_of_the_expected_tip),
        METASTORE_TEST(a_lower_epoch_adds_nothing),
        METASTORE_TEST(a_layer_in_use_is_not_forgotten),
        METASTORE_TEST(snapshots_are_named_positions),
        METASTORE_TEST(what_was_written_is_there_after_reopening),
        METASTORE_TEST(a_whole_state_is_restored_into_an_empty_store),
        METASTORE_TEST(writers_that_race_leave_one_chain),
        METASTORE_TEST(of_many_creations_of_one_name_one_wins),
    };
    return cmocka_run_group_tests_name(which->name, tests, NULL, NULL);
}
