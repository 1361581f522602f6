// test_sqlite.c - the SQLite backend: the suite of all backends, what it refuses, and every file operation failing.
#include "conformance/metastore/metastore_conformance.h"
#include "os/random.h"
#include "unit/os/scratch.h"

#include <sqlite3.h>
#include <string.h>
#include <unistd.h>

static const struct od_uuid branch_holder = {{0x7a}};

static od_code open_shared(void *context, struct od_metastore **store, struct od_error *err)
{
    (void)context;
    return od_metastore_sqlite_open(in_scratch("meta.db"), true, store, err);
}

static od_code open_empty(void *context, struct od_metastore **store, struct od_error *err)
{
    (void)context;
    static unsigned next;
    char name[32];
    snprintf(name, sizeof name, "empty%u.db", next++);
    return od_metastore_sqlite_open(in_scratch(name), true, store, err);
}

static void execute(const char *name, const char *sql)
{
    sqlite3 *connection;
    assert_int_equal(sqlite3_open(in_scratch(name), &connection), SQLITE_OK);
    assert_int_equal(sqlite3_exec(connection, sql, NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_close(connection), SQLITE_OK);
}

static void a_missing_file_is_made_only_when_asked(void **state)
{
    (void)state;
    struct od_error err = {0};
    struct od_metastore *store;
    assert_int_equal(od_metastore_sqlite_open(in_scratch("m"), false, &store, &err), OD_NOT_FOUND);
    assert_non_null(strstr(err.message, in_scratch("m")));
    assert_false(od_file_exists(in_scratch("m")));
    assert_int_equal(od_metastore_sqlite_open(in_scratch("m"), true, &store, &err), OD_OK);
    od_metastore_close(store);
    assert_int_equal(od_metastore_sqlite_open(in_scratch("m"), false, &store, &err), OD_OK);
    od_metastore_close(store);
    assert_int_equal(od_metastore_sqlite_open(in_scratch("no/such/m"), true, &store, &err), OD_NOT_FOUND);
}

static void files_that_are_not_ours_are_refused_untouched(void **state)
{
    (void)state;
    struct od_error err = {0};
    struct od_metastore *store;
    struct od_buf before, after;
    write_text("text",
               "This is a text of somebody, long enough that SQLite reads a header from it. It has no more to say "
               "than that, and it must be there unchanged afterwards.");
    assert_int_equal(od_metastore_sqlite_open(in_scratch("text"), true, &store, &err), OD_CORRUPT);
    assert_non_null(strstr(err.message, "rebuild"));

    execute("foreign", "CREATE TABLE t(a)");
    od_buf_init(&before, 1u << 20);
    od_buf_init(&after, 1u << 20);
    assert_int_equal(od_file_read(in_scratch("foreign"), &before, NULL), OD_OK);
    assert_int_equal(od_metastore_sqlite_open(in_scratch("foreign"), true, &store, &err), OD_UNSUPPORTED);
    assert_non_null(strstr(err.message, "another program"));
    assert_int_equal(od_file_read(in_scratch("foreign"), &after, NULL), OD_OK);
    assert_int_equal(before.bytes, after.bytes);
    assert_memory_equal(before.data, after.data, before.bytes);
    od_buf_release(&before);
    od_buf_release(&after);

    assert_int_equal(od_metastore_sqlite_open(in_scratch("m"), true, &store, &err), OD_OK);
    od_metastore_close(store);
    execute("m", "PRAGMA user_version=7");
    assert_int_equal(od_metastore_sqlite_open(in_scratch("m"), true, &store, &err), OD_UNSUPPORTED);
    assert_non_null(strstr(err.message, "version 7"));
}

static void an_older_file_is_brought_to_this_version(void **state)
{
    (void)state;
    struct od_error err = {0};
    struct od_metastore *store;
    struct od_meta_branch branch = {.branch = {{1}}}, row;
    assert_int_equal(od_metastore_sqlite_open(in_scratch("m"), true, &store, &err), OD_OK);
    assert_int_equal(store->ops->database_create(store, "a", &branch, &err), OD_OK);
    od_metastore_close(store);
    for (int round = 0; round < 3; round++) {
        if (round < 2) // as version 2 made it, then as version 1
            execute("m", "ALTER TABLE branch DROP COLUMN policy; DROP TABLE cluster; PRAGMA user_version=2");
        if (round == 1)
            execute("m", "ALTER TABLE branch DROP COLUMN holder; ALTER TABLE branch DROP COLUMN held_since;"
                         "PRAGMA user_version=1");
        assert_int_equal(od_metastore_sqlite_open(in_scratch("m"), false, &store, &err), OD_OK);
        assert_int_equal(store->ops->branch_get(store, &branch.branch, &row, &err), OD_OK);
        assert_true(od_uuid_is_zero(&row.holder));
        assert_int_equal(row.held_since, 0);
        assert_int_equal(row.policy, 0);
        od_metastore_close(store);
    }
}

static void a_damaged_file_is_an_error(void **state)
{
    (void)state;
    struct od_error err = {0};
    struct od_metastore *store;
    struct od_meta_database *rows;
    size_t count;
    struct od_buf content;
    assert_int_equal(od_metastore_sqlite_open(in_scratch("m"), true, &store, &err), OD_OK);
    od_metastore_close(store);
    od_buf_init(&content, 1u << 20);
    assert_int_equal(od_file_read(in_scratch("m"), &content, NULL), OD_OK);
    memset(content.data + 100, 0xa5, content.bytes - 100);
    assert_int_equal(od_file_write(in_scratch("m"), content.data, content.bytes, 0600, NULL), OD_OK);
    od_buf_release(&content);
    od_code rc = od_metastore_sqlite_open(in_scratch("m"), true, &store, &err);
    if (rc == OD_OK) {
        rc = store->ops->database_list(store, &rows, &count, &err);
        od_metastore_close(store);
    }
    assert_int_equal(rc, OD_CORRUPT);
    assert_non_null(strstr(err.message, in_scratch("m")));
}

// ---- a file system of SQLite whose operations pass od_fault_point

static sqlite3_vfs *stock;
static int injected = SQLITE_IOERR;

struct faulty_file {
    sqlite3_file base;
    sqlite3_file *real; // right behind
};

static sqlite3_file *real_of(sqlite3_file *file)
{
    return ((struct faulty_file *)file)->real;
}

#define FAULTY(call) (od_fault_point() ? injected : (call))

static int faulty_close(sqlite3_file *file)
{
    return real_of(file)->pMethods ? real_of(file)->pMethods->xClose(real_of(file)) : SQLITE_OK;
}

static int faulty_read(sqlite3_file *file, void *out, int bytes, sqlite3_int64 offset)
{
    return FAULTY(real_of(file)->pMethods->xRead(real_of(file), out, bytes, offset));
}

static int faulty_write(sqlite3_file *file, const void *data, int bytes, sqlite3_int64 offset)
{
    return FAULTY(real_of(file)->pMethods->xWrite(real_of(file), data, bytes, offset));
}

static int faulty_truncate(sqlite3_file *file, sqlite3_int64 bytes)
{
    return FAULTY(real_of(file)->pMethods->xTruncate(real_of(file), bytes));
}

static int faulty_sync(sqlite3_file *file, int flags)
{
    return FAULTY(real_of(file)->pMethods->xSync(real_of(file), flags));
}

static int faulty_size(sqlite3_file *file, sqlite3_int64 *bytes)
{
    return FAULTY(real_of(file)->pMethods->xFileSize(real_of(file), bytes));
}

static int faulty_lock(sqlite3_file *file, int level)
{
    return real_of(file)->pMethods->xLock(real_of(file), level);
}

static int faulty_unlock(sqlite3_file *file, int level)
{
    return real_of(file)->pMethods->xUnlock(real_of(file), level);
}

static int faulty_reserved(sqlite3_file *file, int *out)
{
    return real_of(file)->pMethods->xCheckReservedLock(real_of(file), out);
}

static int faulty_control(sqlite3_file *file, int what, void *argument)
{
    return real_of(file)->pMethods->xFileControl(real_of(file), what, argument);
}

static int faulty_sector(sqlite3_file *file)
{
    return real_of(file)->pMethods->xSectorSize(real_of(file));
}

static int faulty_characteristics(sqlite3_file *file)
{
    return real_of(file)->pMethods->xDeviceCharacteristics(real_of(file));
}

static int faulty_shm_map(sqlite3_file *file, int region, int bytes, int extend, void volatile **out)
{
    return real_of(file)->pMethods->xShmMap(real_of(file), region, bytes, extend, out);
}

static int faulty_shm_lock(sqlite3_file *file, int offset, int n, int flags)
{
    return real_of(file)->pMethods->xShmLock(real_of(file), offset, n, flags);
}

static void faulty_shm_barrier(sqlite3_file *file)
{
    real_of(file)->pMethods->xShmBarrier(real_of(file));
}

static int faulty_shm_unmap(sqlite3_file *file, int remove)
{
    return real_of(file)->pMethods->xShmUnmap(real_of(file), remove);
}

static int faulty_open(sqlite3_vfs *vfs, sqlite3_filename name, sqlite3_file *file, int flags, int *out_flags)
{
    static const sqlite3_io_methods methods = {2,
                                               faulty_close,
                                               faulty_read,
                                               faulty_write,
                                               faulty_truncate,
                                               faulty_sync,
                                               faulty_size,
                                               faulty_lock,
                                               faulty_unlock,
                                               faulty_reserved,
                                               faulty_control,
                                               faulty_sector,
                                               faulty_characteristics,
                                               faulty_shm_map,
                                               faulty_shm_lock,
                                               faulty_shm_barrier,
                                               faulty_shm_unmap,
                                               NULL,
                                               NULL};
    (void)vfs;
    struct faulty_file *mine = (struct faulty_file *)file;
    mine->real = (sqlite3_file *)(mine + 1);
    file->pMethods = NULL;
    int status = FAULTY(stock->xOpen(stock, name, mine->real, flags, out_flags));
    if (status == SQLITE_OK)
        file->pMethods = &methods;
    return status;
}

static void use_faulty_files(bool on)
{
    static sqlite3_vfs faulty;
    if (!stock) {
        stock = sqlite3_vfs_find(NULL);
        faulty = *stock;
        faulty.zName = "faulty";
        faulty.szOsFile += (int)sizeof(struct faulty_file);
        faulty.xOpen = faulty_open;
    }
    assert_int_equal(sqlite3_vfs_register(on ? &faulty : stock, 1), SQLITE_OK);
}

static struct od_meta_branch faulty_branch(unsigned n)
{
    struct od_meta_branch branch = {0};
    memcpy(branch.branch.bytes, &n, sizeof n);
    branch.branch.bytes[15] = 1;
    return branch;
}

// Whatever file operation fails: the call says so, and afterwards it happened whole (only if it was not a plain failure)
// or not at all.
static void run_with_faults(int status, od_code expected)
{
    unsigned run = 0;
    uint64_t points = 0;
    injected = status;
    use_faulty_files(true);
    OD_FAULT_LOOP(fault)
    {
        struct od_error err = {0};
        struct od_metastore *store = NULL;
        struct od_meta_branch branch = faulty_branch(run), row;
        char file[32];
        snprintf(file, sizeof file, "f%u.db", run++);
        const char *path = in_scratch(file);
        od_code opened = od_metastore_sqlite_open(path, true, &store, &err);
        od_code made = opened;
        if (opened == OD_OK)
            made = store->ops->database_create(store, "d", &branch, &err);
        od_code acquired = made;
        if (made == OD_OK)
            acquired =
                store->ops->epoch_acquire(store, &branch.branch, "me", &branch_holder, 1000000, false, &row, &err);
        bool was_injected = od_fault_injected(&fault);
        od_fault_end(&fault);
        points = fault.points;
        if (acquired != OD_OK) {
            assert_true(was_injected);
            if (acquired != expected && acquired != OD_OUTCOME_UNKNOWN && acquired != OD_NO_MEMORY &&
                acquired != OD_IO && acquired != OD_LIMIT)
                fail_msg("%s: %s", od_code_name(acquired), err.message);
        }
        od_metastore_close(store);
        od_code rc = od_metastore_sqlite_open(path, true, &store, &err);
        if (rc != OD_OK)
            fail_msg("run %u does not open again: %s", run, err.message);
        rc = store->ops->branch_get(store, &branch.branch, &row, &err);
        if (made == OD_OK)
            assert_int_equal(rc, OD_OK);
        else if (made != OD_OUTCOME_UNKNOWN)
            assert_int_equal(rc, OD_NOT_FOUND);
        if (rc == OD_OK) {
            struct od_meta_database database;
            assert_int_equal(store->ops->database_get(store, "d", &database, &err), OD_OK);
            if (acquired == OD_OK)
                assert_int_equal(row.epoch, 1);
            else if (acquired != OD_OUTCOME_UNKNOWN)
                assert_int_equal(row.epoch, 0);
        }
        od_metastore_close(store);
        assert_int_equal(od_file_remove(path, NULL), OD_OK);
    }
    assert_true(points > 20);
    od_fault_disarm();
    use_faulty_files(false);
}

static void every_file_operation_may_fail(void **state)
{
    (void)state;
    run_with_faults(SQLITE_IOERR, OD_IO);
}

static void the_disk_may_be_full(void **state)
{
    (void)state;
    run_with_faults(SQLITE_FULL, OD_LIMIT);
}

// Two connections, as two processes would have.
static void another_writer_is_waited_for(void **state)
{
    (void)state;
    struct od_error err = {0};
    struct od_metastore *one, *two;
    struct od_meta_branch a = faulty_branch(1), b = faulty_branch(2), row;
    assert_int_equal(od_metastore_sqlite_open(in_scratch("m"), true, &one, NULL), OD_OK);
    assert_int_equal(od_metastore_sqlite_open(in_scratch("m"), true, &two, NULL), OD_OK);
    assert_int_equal(one->ops->database_create(one, "a", &a, &err), OD_OK);
    assert_int_equal(two->ops->database_create(two, "b", &b, &err), OD_OK);
    assert_int_equal(two->ops->epoch_acquire(two, &a.branch, "two", &branch_holder, 1000000, false, &row, &err), OD_OK);
    assert_int_equal(one->ops->epoch_acquire(one, &a.branch, "one", &(struct od_uuid){{1}}, 1000000, false, &row, &err),
                     OD_LOCKED);
    od_metastore_close(one);
    od_metastore_close(two);
}

int main(void)
{
#define SQLITE_TEST(name) cmocka_unit_test_setup_teardown(name, scratch_make, scratch_remove)
    const struct CMUnitTest tests[] = {
        SQLITE_TEST(a_missing_file_is_made_only_when_asked),
        SQLITE_TEST(files_that_are_not_ours_are_refused_untouched),
        SQLITE_TEST(an_older_file_is_brought_to_this_version),
        SQLITE_TEST(a_damaged_file_is_an_error),
        SQLITE_TEST(every_file_operation_may_fail),
        SQLITE_TEST(the_disk_may_be_full),
        SQLITE_TEST(another_writer_is_waited_for),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    if (scratch_make(NULL) != 0)
        return 1;
    const struct metastore_subject subject = {
        .name = "metastore sqlite", .open = open_shared, .open_empty = open_empty, .threads = 16};
    failed += metastore_conformance_run(&subject);
    return failed + (scratch_remove(NULL) != 0);
}
