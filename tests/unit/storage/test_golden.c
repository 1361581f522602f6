// test_golden.c - what each version of the formats wrote is read for ever: a journal as a crash left it, sealed layers, the
// descriptions, SQLite's rows. The files in golden/v1 and golden/v2 were made once, by `test_storage_golden --make DIRECTORY`,
// and are never made again: a later version gets a directory of its own beside them, and all stay readable.
//
// The history in them: `duck` writes (layer 1), gets the snapshot `first`, writes (layer 2), writes again and is killed
// (journal). `copy` begins as a clone of `first`, writes, and is closed (layer). `gone` is made and dropped.
#include "fixture.h"

#include "base/alloc.h"
#include "base/log.h"
#include "storage/bytes.h"
#include "storage/describe.h"
#include "storage/footer.h"
#include "storage/rebuild.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#define BLOCK 16384u
#define GRID 12288u

static struct od_metastore *meta;
static struct od_objstore *objects;
static struct od_store *store;
static struct model *model;
static const char *version; // the directory of the one that is looked at

// ---- the history, on a volume and on its model

static void put(struct od_volume *volume, enum od_volume_file file, uint64_t offset, size_t bytes, uint8_t mark)
{
    static uint8_t data[BLOCK];
    for (size_t i = 0; i < bytes; i++)
        data[i] = (uint8_t)(mark + i / 256);
    if (volume)
        assert_int_equal(od_volume_write(volume, file, offset, data, bytes, NULL), OD_OK);
    memcpy(model->files[file].bytes + offset, data, bytes);
    model->files[file].exists = true;
    if (offset + bytes > model->files[file].size)
        model->files[file].size = offset + bytes;
}

static void drop_file(enum od_volume_file file)
{
    memset(&model->files[file], 0, sizeof model->files[file]);
}

static void commit(struct od_volume *volume, const char *request, uint64_t rows)
{
    struct od_ledger_entry entry = {.changed_rows = rows};
    uint64_t lsn;
    if (!volume)
        return;
    snprintf(entry.request_id, sizeof entry.request_id, "%s", request);
    assert_int_equal(od_volume_barrier(volume, &entry, &lsn, NULL), OD_OK);
    assert_int_equal(od_volume_flush(volume, NULL), OD_OK);
}

static void write_layer_1(struct od_volume *volume)
{
    for (unsigned i = 0; i < 3; i++)
        put(volume, OD_VOLUME_DATABASE, 4096 * i, 4096, (uint8_t)(1 + i));
    put(volume, OD_VOLUME_DATABASE, GRID, BLOCK, 10);
    put(volume, OD_VOLUME_DATABASE, GRID + BLOCK, BLOCK, 20);
    put(volume, OD_VOLUME_WAL, 0, 100, 30);
    put(volume, OD_VOLUME_WAL, 100, 17, 31);
    commit(volume, "golden-1", 3);
}

static void write_layer_2(struct od_volume *volume)
{
    put(volume, OD_VOLUME_DATABASE, GRID + BLOCK, BLOCK, 40);
    if (volume)
        assert_int_equal(od_volume_trim(volume, OD_VOLUME_DATABASE, GRID, BLOCK, NULL), OD_OK);
    memset(model->files[OD_VOLUME_DATABASE].bytes + GRID, 0, BLOCK);
    put(volume, OD_VOLUME_WAL_CHECKPOINT, 0, 33, 50);
    put(volume, OD_VOLUME_WAL_RECOVERY, 0, 5, 51);
    if (volume) {
        assert_int_equal(od_volume_rename(volume, OD_VOLUME_WAL_CHECKPOINT, OD_VOLUME_WAL, NULL), OD_OK);
        assert_int_equal(od_volume_remove(volume, OD_VOLUME_WAL_RECOVERY, NULL), OD_OK);
        assert_int_equal(od_volume_create(volume, OD_VOLUME_WAL_CHECKPOINT, NULL), OD_OK);
        assert_int_equal(od_volume_truncate(volume, OD_VOLUME_WAL, 30, NULL), OD_OK);
    }
    model->files[OD_VOLUME_WAL] = model->files[OD_VOLUME_WAL_CHECKPOINT];
    memset(model->files[OD_VOLUME_WAL].bytes + 30, 0, 3);
    model->files[OD_VOLUME_WAL].size = 30;
    drop_file(OD_VOLUME_WAL_CHECKPOINT);
    drop_file(OD_VOLUME_WAL_RECOVERY);
    model->files[OD_VOLUME_WAL_CHECKPOINT].exists = true;
    commit(volume, "golden-2", UINT64_MAX);
}

static void write_journal(struct od_volume *volume)
{
    put(volume, OD_VOLUME_DATABASE, 4096, 4096, 60);
    put(volume, OD_VOLUME_WAL, 30, 700, 61);
    commit(volume, "golden-4", 0);
}

static void write_copy(struct od_volume *volume)
{
    put(volume, OD_VOLUME_DATABASE, GRID + 2 * BLOCK, BLOCK, 70);
    commit(volume, "golden-3", 1);
}

// ---- making them

static void copy_tree(const char *from, const char *to)
{
    struct od_names names;
    assert_int_equal(od_directory_make(to, 0700, NULL), OD_OK);
    assert_int_equal(od_directory_list(from, &names, NULL), OD_OK);
    for (size_t i = 0; i < names.count; i++) {
        struct stat what;
        struct od_buf buf;
        char *a = od_path_join(from, names.names[i]), *b = od_path_join(to, names.names[i]);
        assert_int_equal(stat(a, &what), 0);
        if (S_ISDIR(what.st_mode)) {
            copy_tree(a, b);
        } else {
            od_buf_init(&buf, 64 << 20);
            assert_int_equal(od_file_read(a, &buf, NULL), OD_OK);
            while (buf.bytes > 16384 && buf.data[buf.bytes - 4097] == 0 && strstr(a, ".journal"))
                buf.bytes--; // most of the space reserved for what was never written
            assert_int_equal(od_file_write(b, buf.data, buf.bytes, 0644, NULL), OD_OK);
            od_buf_release(&buf);
        }
        od_free(a);
        od_free(b);
    }
    od_names_release(&names);
}

static void open_all(void)
{
    assert_int_equal(od_metastore_sqlite_open(in_scratch("golden/metadata.sqlite"), true, &meta, NULL), OD_OK);
    assert_int_equal(od_objstore_directory_open(od_platform_real(), in_scratch("golden/objects"), &objects, NULL),
                     OD_OK);
    assert_int_equal(open_store(in_scratch("golden/journals"), meta, objects, &store, NULL), OD_OK);
}

static void close_all(void)
{
    od_store_close(store);
    od_objstore_close(objects);
    od_metastore_close(meta);
}

static void make(const char *directory)
{
    struct od_volume *duck, *copy;
    struct od_meta_snapshot snapshot;
    char path[512];
    assert_int_equal(od_directory_make(in_scratch("golden"), 0700, NULL), OD_OK);
    open_all();
    assert_int_equal(od_store_create(store, "duck", NULL), OD_OK);
    assert_int_equal(od_volume_open(store, "duck", false, &duck, NULL), OD_OK);
    write_layer_1(duck);
    assert_int_equal(od_store_snapshot_create(store, "duck", "first", duck, &snapshot, NULL), OD_OK);
    write_layer_2(duck);
    assert_int_equal(od_volume_roll(duck, NULL), OD_OK);
    assert_int_equal(od_volume_publish(duck, NULL), OD_OK);
    assert_int_equal(od_store_clone(store, "duck", "first", duck, "copy", NULL), OD_OK);
    assert_int_equal(od_volume_open(store, "copy", false, &copy, NULL), OD_OK);
    write_copy(copy);
    od_volume_close(copy);
    assert_int_equal(od_store_create(store, "gone", NULL), OD_OK);
    assert_int_equal(od_store_drop(store, "gone", NULL), OD_OK);
    struct od_condemned what = {.layer = {{1}}, .branch = {{2}}, .not_before_us = 3, .depth = 4};
    uint8_t mark[OD_DESCRIPTION_BYTES_MAX];
    char key[OD_DESCRIPTION_KEY_BYTES];
    od_condemned_key(&what.layer, key);
    assert_int_equal(od_objstore_put(objects, key, mark, od_condemned_encode(&what, mark), NULL), OD_OK);
    write_journal(duck);
    copy_tree(in_scratch("golden"), directory); // duck is killed here
    od_volume_close(duck);
    close_all();
    // What SQLite keeps beside its file goes into it.
    snprintf(path, sizeof path, "%s/metadata.sqlite", directory);
    assert_int_equal(od_metastore_sqlite_open(path, false, &meta, NULL), OD_OK);
    od_metastore_close(meta);
}

// ---- reading them

static int set_up(void **state)
{
    od_log_set_level(OD_LOG_ERROR);
    if (scratch_make(state) != 0)
        return -1;
    model = calloc(1, sizeof *model);
    copy_tree(version, in_scratch("golden"));
    open_all();
    return model ? 0 : -1;
}

static int tear_down(void **state)
{
    close_all();
    free(model);
    return scratch_remove(state);
}

static void expect_entry(struct od_volume *volume, const char *request, bool there, uint64_t rows)
{
    struct od_ledger_entry entry;
    assert_int_equal(od_volume_ledger_find(volume, request, &entry), there);
    if (there)
        assert_int_equal(entry.changed_rows, rows);
}

static void a_killed_database_opens_as_it_was(void **state)
{
    (void)state;
    struct od_volume *duck;
    assert_int_equal(od_volume_open(store, "duck", true, &duck, NULL), OD_OK);
    write_layer_1(NULL);
    drop_file(OD_VOLUME_WAL);
    write_layer_2(NULL);
    write_journal(NULL);
    expect_equal(duck, model);
    expect_entry(duck, "golden-1", true, 3);
    expect_entry(duck, "golden-2", true, UINT64_MAX);
    expect_entry(duck, "golden-3", false, 0);
    expect_entry(duck, "golden-4", true, 0);
    od_volume_close(duck);
}

static void a_snapshot_and_a_clone_are_what_they_were(void **state)
{
    (void)state;
    struct od_position first;
    struct od_volume *volume;
    assert_int_equal(od_store_resolve(store, "duck", "first", NULL, &first, NULL), OD_OK);
    assert_int_equal(od_volume_open_at(store, "duck", &first, &volume, NULL), OD_OK);
    write_layer_1(NULL);
    expect_equal(volume, model);
    od_volume_close(volume);
    assert_int_equal(od_volume_open(store, "copy", true, &volume, NULL), OD_OK);
    write_copy(NULL);
    expect_equal(volume, model);
    expect_entry(volume, "golden-1", false, 0);
    expect_entry(volume, "golden-3", true, 1);
    od_volume_close(volume);
}

static void expect_same_branch(struct od_metastore *other, const struct od_meta_database *database)
{
    struct od_meta_branch a, b;
    struct od_meta_layer *mine, *theirs;
    size_t count, found;
    assert_int_equal(meta->ops->branch_get(meta, &database->branch, &a, NULL), OD_OK);
    assert_int_equal(other->ops->branch_get(other, &database->branch, &b, NULL), OD_OK);
    assert_true(od_meta_branch_same(&a, &b) && od_uuid_equal(&a.tip_layer, &b.tip_layer));
    assert_true(a.tip_lsn == b.tip_lsn && a.tip_time_us == b.tip_time_us && a.epoch > 0);
    assert_int_equal(meta->ops->layer_list(meta, &a.branch, &mine, &count, NULL), OD_OK);
    assert_int_equal(other->ops->layer_list(other, &a.branch, &theirs, &found, NULL), OD_OK);
    assert_int_equal(count, found);
    for (size_t i = 0; i < count; i++)
        assert_true(od_meta_layer_same(&mine[i], &theirs[i]));
    od_free(mine);
    od_free(theirs);
}

// The rows against what the objects say.
static void the_rows_are_read(void **state)
{
    (void)state;
    struct od_metastore *rebuilt;
    struct od_meta_database *databases;
    struct od_meta_snapshot *snapshots, *again;
    size_t count, found;
    assert_int_equal(od_metastore_sqlite_open(in_scratch("rebuilt"), true, &rebuilt, NULL), OD_OK);
    struct od_rebuild rebuild = {.objects = objects, .metadata = rebuilt};
    assert_int_equal(od_rebuild_run(&rebuild, NULL), OD_OK);
    assert_true(rebuild.databases == 2 && rebuild.branches == 3);
    assert_int_equal(meta->ops->database_list(meta, &databases, &count, NULL), OD_OK);
    assert_int_equal(count, 2);
    assert_string_equal(databases[0].name, "copy");
    assert_string_equal(databases[1].name, "duck");
    expect_same_branch(rebuilt, &databases[0]);
    expect_same_branch(rebuilt, &databases[1]);
    assert_int_equal(meta->ops->snapshot_list(meta, &databases[1].branch, &snapshots, &count, NULL), OD_OK);
    assert_int_equal(rebuilt->ops->snapshot_list(rebuilt, &databases[1].branch, &again, &found, NULL), OD_OK);
    assert_true(count == 1 && found == 1 && od_meta_snapshot_same(&snapshots[0], &again[0]));
    assert_string_equal(snapshots[0].name, "first");
    assert_false(snapshots[0].automatic);
    od_free(snapshots);
    od_free(again);
    od_free(databases);
    od_metastore_close(rebuilt);
}

static od_code read_object(const char *key, struct od_buf *buf)
{
    char path[256];
    snprintf(path, sizeof path, "golden/objects/%s", key);
    return od_file_read(in_scratch(path), buf, NULL);
}

static od_code reencode_layer(void *context, const char *key, uint64_t bytes, struct od_error *err)
{
    struct od_uuid uuid;
    struct od_journal *layer;
    struct od_footer footer;
    struct od_trailer trailer;
    struct od_buf all, again;
    uint8_t block[OD_JOURNAL_HEADER_BYTES];
    od_buf_init(&all, 64 << 20);
    od_buf_init(&again, 64 << 20);
    assert_int_equal(od_uuid_parse(key + 7, &uuid, NULL), OD_OK);
    assert_int_equal(od_layer_open(objects, &uuid, &layer, err), OD_OK);
    assert_int_equal(od_footer_read(layer, INT64_MAX, &footer, err), OD_OK);
    assert_int_equal(read_object(key, &all), OD_OK);
    od_journal_header_encode(&layer->header, block);
    assert_memory_equal(block, all.data, sizeof block);
    const uint8_t *end = all.data + all.bytes - OD_TRAILER_BYTES;
    assert_int_equal(od_trailer_decode(end, bytes, key, &trailer, err), OD_OK);
    assert_int_equal(od_footer_encode(&footer, &layer->header, layer->head_chain, trailer.footer_offset, &again, err),
                     OD_OK);
    assert_int_equal(again.bytes, all.bytes - trailer.footer_offset);
    assert_memory_equal(again.data, all.data + trailer.footer_offset, again.bytes);
    od_buf_release(&all);
    od_buf_release(&again);
    od_footer_release(&footer);
    od_journal_close(layer);
    ++*(unsigned *)context;
    return OD_OK;
}

static od_code reencode_description(void *context, const char *key, uint64_t bytes, struct od_error *err)
{
    uint8_t again[OD_DESCRIPTION_BYTES_MAX];
    struct od_branch_description branch;
    struct od_meta_snapshot snapshot;
    struct od_drop_description drop;
    struct od_condemned what;
    struct od_buf all;
    size_t length;
    od_buf_init(&all, OD_DESCRIPTION_BYTES_MAX);
    assert_int_equal(read_object(key, &all), OD_OK);
    if (key[0] == 'b') {
        assert_int_equal(od_branch_decode(all.data, all.bytes, key, &branch, err), OD_OK);
        length = od_branch_encode(&branch, again);
    } else if (key[0] == 'c') {
        assert_int_equal(od_condemned_decode(all.data, all.bytes, key, &what, err), OD_OK);
        assert_true(what.not_before_us == 3 && what.depth == 4);
        length = od_condemned_encode(&what, again);
    } else if (key[0] == 'd') {
        assert_int_equal(od_drop_decode(all.data, all.bytes, key, &drop, err), OD_OK);
        assert_string_equal(drop.name, "gone");
        length = od_drop_encode(&drop, again);
    } else {
        assert_int_equal(od_snapshot_decode(all.data, all.bytes, key, &snapshot, err), OD_OK);
        length = od_snapshot_encode(&snapshot, again);
    }
    assert_int_equal(length, bytes);
    assert_memory_equal(again, all.data, length);
    od_buf_release(&all);
    ++*(unsigned *)context;
    return OD_OK;
}

static void its_bytes_are_written_again(void **state)
{
    (void)state;
    unsigned layers = 0, branches = 0, snapshots = 0, drops = 0;
    assert_int_equal(od_objstore_list(objects, "layers/", reencode_layer, &layers, NULL), OD_OK);
    assert_int_equal(od_objstore_list(objects, "branches/", reencode_description, &branches, NULL), OD_OK);
    assert_int_equal(od_objstore_list(objects, "snapshots/", reencode_description, &snapshots, NULL), OD_OK);
    assert_int_equal(od_objstore_list(objects, "condemned/", reencode_description, &drops, NULL), OD_OK);
    assert_int_equal(od_objstore_list(objects, "dropped/", reencode_description, &drops, NULL), OD_OK);
    assert_true(layers == 3 && branches == 3 && snapshots == 1 && drops == 2);
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "--make") == 0) {
        model = calloc(1, sizeof *model);
        if (!model || scratch_make(NULL) != 0)
            return 1;
        make(argv[2]);
        free(model);
        return scratch_remove(NULL) != 0;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_killed_database_opens_as_it_was, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_snapshot_and_a_clone_are_what_they_were, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_rows_are_read, set_up, tear_down),
        cmocka_unit_test_setup_teardown(its_bytes_are_written_again, set_up, tear_down),
    };
    static const char *const versions[] = {OD_GOLDEN "/v1", OD_GOLDEN "/v2"};
    int failed = 0;
    for (unsigned i = 0; i < sizeof versions / sizeof *versions; i++) {
        version = versions[i];
        failed += cmocka_run_group_tests_name(version, tests, NULL, NULL);
    }
    return failed;
}
