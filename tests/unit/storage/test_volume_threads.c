// test_volume_threads.c - orders of events between threads that only a held write makes certain.
#include "fixture.h"

#include "base/log.h"
#include "os/thread.h"
#include "storage/volume_internal.h"

#include <errno.h>
#include <unistd.h>

static struct od_metastore *meta;
static struct od_objstore *objects;
static struct od_store *store;
static struct od_volume *volume;

// ---- a platform whose next writes can be held

static struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int wanted;   // so many of the next writes are held
    int held;     // are being held, or have been
    int released; // the first so many may go on
    struct od_platform_ops ops;
    struct od_platform platform;
} gate = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

static od_code gated_write(struct od_disk_file *file, uint64_t offset, const struct iovec *parts, unsigned count,
                           struct od_error *err)
{
    pthread_mutex_lock(&gate.lock);
    if (gate.held < gate.wanted) {
        int mine = gate.held++;
        pthread_cond_broadcast(&gate.changed);
        while (gate.released <= mine)
            pthread_cond_wait(&gate.changed, &gate.lock);
    }
    pthread_mutex_unlock(&gate.lock);
    return od_platform_real()->ops->write(file, offset, parts, count, err);
}

static void wait_until_held(int count)
{
    pthread_mutex_lock(&gate.lock);
    while (gate.held < count)
        pthread_cond_wait(&gate.changed, &gate.lock);
    pthread_mutex_unlock(&gate.lock);
}

static void set_gate(int *what, int value)
{
    pthread_mutex_lock(&gate.lock);
    *what = value;
    pthread_cond_broadcast(&gate.changed);
    pthread_mutex_unlock(&gate.lock);
}

static int set_up(void **state)
{
    od_log_set_level(OD_LOG_ERROR);
    if (scratch_make(state) != 0)
        return -1;
    gate.ops = *od_platform_real()->ops;
    gate.ops.write = gated_write;
    gate.platform.ops = &gate.ops;
    gate.wanted = gate.held = gate.released = 0;
    meta = fake_meta_open();
    assert_int_equal(od_objstore_directory_open(od_platform_real(), in_scratch("objects"), &objects, NULL), OD_OK);
    const struct od_store_options options = {.platform = &gate.platform,
                                             .metadata = meta,
                                             .objects = objects,
                                             .journal_directory = in_scratch("journals"),
                                             .owner = "test",
                                             .block_bytes = 16384};
    assert_int_equal(od_store_open(&options, &store, NULL), OD_OK);
    assert_int_equal(od_store_create(store, "d", NULL), OD_OK);
    assert_int_equal(od_volume_open(store, "d", false, &volume, NULL), OD_OK);
    return 0;
}

static int tear_down(void **state)
{
    od_volume_close(volume);
    od_store_close(store);
    od_objstore_close(objects);
    meta->ops->close(meta);
    return scratch_remove(state);
}

// ---- one call on a thread of its own

struct call {
    struct od_thread thread;
    od_code (*run)(struct od_error *err);
    od_code rc;
    struct od_error err;
};

static void run_call(void *argument)
{
    struct call *call = argument;
    call->rc = call->run(&call->err);
}

static void start(struct call *call, od_code (*run)(struct od_error *err))
{
    *call = (struct call){.run = run};
    assert_int_equal(od_thread_start(&call->thread, "test", run_call, call, NULL), OD_OK);
}

static void expect_ok(struct call *call)
{
    od_thread_join(&call->thread);
    if (call->rc != OD_OK)
        fail_msg("%s", call->err.message);
}

static od_code write_some(struct od_error *err)
{
    return od_volume_write(volume, OD_VOLUME_WAL, 0, "some", 4, err);
}

static od_code make_barrier(struct od_error *err)
{
    uint64_t lsn;
    return od_volume_barrier(volume, NULL, &lsn, err);
}

static od_code flush(struct od_error *err)
{
    return od_volume_flush(volume, err);
}

static od_code publish(struct od_error *err)
{
    return od_volume_publish(volume, err);
}

// A flush waits for the records before it. Meanwhile another record comes, and the journal is closed behind that: it has
// not been waited for, so the journal is not durable yet, and must not be sealed.
static void a_journal_closed_during_a_flush_is_not_durable_by_it(void **state)
{
    (void)state;
    struct call writer, flusher, committer, publisher;
    gate.wanted = 2;
    start(&writer, write_some);
    wait_until_held(1);
    start(&flusher, flush);
    while (pthread_mutex_trylock(&volume->flush_lock) != EBUSY) {
        pthread_mutex_unlock(&volume->flush_lock);
        usleep(1000);
    }
    usleep(100000); // it waits for the writer now; were it later, nothing would be tested
    start(&committer, make_barrier);
    wait_until_held(2);
    assert_int_equal(od_volume_roll(volume, NULL), OD_OK);
    set_gate(&gate.released, 1);
    expect_ok(&writer);
    expect_ok(&flusher);
    start(&publisher, publish);
    usleep(100000); // time to go wrong
    set_gate(&gate.released, 2);
    expect_ok(&committer);
    expect_ok(&publisher);
    char out[4];
    assert_int_equal(od_volume_read(volume, OD_VOLUME_WAL, 0, out, 4, NULL), OD_OK);
    assert_memory_equal(out, "some", 4);
}

static od_code roll(struct od_error *err)
{
    return od_volume_roll(volume, err);
}

// A snapshot and the sealing thread may both want the journal closed. The second finds the next one empty, and leaves it.
static void rolls_that_meet_close_one_journal(void **state)
{
    (void)state;
    struct od_error err;
    uint64_t lsn;
    for (int i = 0; i < 100; i++) {
        struct call one, other;
        assert_int_equal(write_some(NULL), OD_OK);
        assert_int_equal(od_volume_barrier(volume, NULL, &lsn, NULL), OD_OK);
        start(&one, roll);
        start(&other, roll);
        expect_ok(&one);
        expect_ok(&other);
        if (od_volume_publish(volume, &err) != OD_OK)
            fail_msg("round %d: %s", i, err.message);
    }
    struct od_volume_stats stats;
    od_volume_stats_read(volume, &stats);
    assert_int_equal(stats.layers, 100);
}

static void open_with_threads(void)
{
    od_volume_close(volume);
    od_store_close(store);
    meta->ops->close(meta);
    assert_int_equal(od_metastore_sqlite_open(in_scratch("meta.db"), true, &meta, NULL), OD_OK);
    const struct od_store_options options = {.platform = &gate.platform,
                                             .metadata = meta,
                                             .objects = objects,
                                             .journal_directory = in_scratch("journals"),
                                             .owner = "test",
                                             .threads = true,
                                             .block_bytes = 16384};
    assert_int_equal(od_store_open(&options, &store, NULL), OD_OK);
    assert_int_equal(od_store_create(store, "d", NULL), OD_OK);
    assert_int_equal(od_volume_open(store, "d", false, &volume, NULL), OD_OK);
}

static struct od_meta_snapshot made;

static od_code make_snapshot(struct od_error *err)
{
    return od_store_snapshot_create(store, "d", "s", volume, &made, err);
}

// A bulk load writes blocks and has no barrier; nothing has to be waited for. A commit that is on its way has.
static void a_snapshot_does_not_wait_for_a_load(void **state)
{
    (void)state;
    static uint8_t block[16384];
    struct call call;
    uint64_t lsn;
    open_with_threads();
    assert_int_equal(write_some(NULL), OD_OK);
    assert_int_equal(od_volume_barrier(volume, NULL, &lsn, NULL), OD_OK);
    for (int i = 0; i < 20; i++)
        assert_int_equal(od_volume_write(volume, OD_VOLUME_DATABASE, 12288 + 16384 * i, block, sizeof block, NULL), OD_OK);
    assert_int_equal(make_snapshot(NULL), OD_OK);
    assert_int_equal(made.position.lsn, lsn);
    struct od_volume *frozen;
    assert_int_equal(od_volume_open_at(store, "d", &made.position, &frozen, NULL), OD_OK);
    assert_false(od_volume_exists(frozen, OD_VOLUME_DATABASE));
    od_volume_close(frozen);
    assert_int_equal(od_store_snapshot_drop(store, "d", "s", NULL), OD_OK);
    assert_int_equal(od_volume_barrier(volume, NULL, &lsn, NULL), OD_OK);
    assert_int_equal(write_some(NULL), OD_OK);
    start(&call, make_snapshot);
    usleep(50000); // it waits, or has not begun
    assert_int_equal(make_barrier(NULL), OD_OK);
    expect_ok(&call);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_journal_closed_during_a_flush_is_not_durable_by_it, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_snapshot_does_not_wait_for_a_load, set_up, tear_down),
        cmocka_unit_test_setup_teardown(rolls_that_meet_close_one_journal, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
