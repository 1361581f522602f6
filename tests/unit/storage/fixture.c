// fixture.c - see fixture.h.
#include "fixture.h"

#include "base/alloc.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

char scratch[64];

int scratch_make(void **state)
{
    (void)state;
    // In memory where that is possible: syncs are counted here, not waited for.
    snprintf(scratch, sizeof scratch, "%s/openduck-test-XXXXXX", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    return mkdtemp(scratch) ? 0 : -1;
}

int scratch_remove(void **state)
{
    (void)state;
    od_fault_disarm();
    return od_tree_remove(scratch, NULL) == OD_OK ? 0 : -1;
}

const char *in_scratch(const char *name)
{
    static char paths[4][256];
    static unsigned next;
    char *path = paths[next++ % 4];
    snprintf(path, sizeof paths[0], "%s/%s", scratch, name);
    return path;
}

// ---- metadata in memory: one database

struct fake_meta {
    struct od_metastore base;
    bool exists;
    struct od_meta_database database;
    struct od_meta_branch branch;
    struct od_meta_layer layers[256];
    size_t layer_count;
};

static void fake_close(struct od_metastore *store)
{
    od_free(store);
}

static od_code fake_create(struct od_metastore *store, const char *name, const struct od_meta_branch *branch,
                           struct od_error *err)
{
    struct fake_meta *meta = (struct fake_meta *)store;
    if (meta->exists)
        return od_fail(err, OD_EXISTS, "a database %s exists", name);
    meta->exists = true;
    snprintf(meta->database.name, sizeof meta->database.name, "%s", name);
    meta->database.branch = branch->branch;
    meta->branch = *branch;
    return OD_OK;
}

static od_code fake_get(struct od_metastore *store, const char *name, struct od_meta_database *row,
                        struct od_error *err)
{
    struct fake_meta *meta = (struct fake_meta *)store;
    if (!meta->exists || strcmp(meta->database.name, name) != 0)
        return od_fail(err, OD_NOT_FOUND, "no database %s", name);
    *row = meta->database;
    return OD_OK;
}

static od_code fake_list(struct od_metastore *store, struct od_meta_database **rows, size_t *count,
                         struct od_error *err)
{
    struct fake_meta *meta = (struct fake_meta *)store;
    *rows = od_calloc(1, sizeof **rows);
    if (!*rows)
        return od_fail(err, OD_NO_MEMORY, "out of memory");
    **rows = meta->database;
    *count = meta->exists;
    return OD_OK;
}

static od_code fake_drop(struct od_metastore *store, const char *name, struct od_error *err)
{
    struct fake_meta *meta = (struct fake_meta *)store;
    if (!meta->exists || strcmp(meta->database.name, name) != 0)
        return od_fail(err, OD_NOT_FOUND, "no database %s", name);
    meta->exists = false;
    return OD_OK;
}

static od_code fake_acquire(struct od_metastore *store, const struct od_uuid *branch, const char *owner,
                            const struct od_uuid *holder, uint64_t lease_us, bool force, struct od_meta_branch *row,
                            struct od_error *err)
{
    (void)branch, (void)owner, (void)holder, (void)lease_us, (void)force, (void)err;
    struct fake_meta *meta = (struct fake_meta *)store;
    meta->branch.epoch++;
    *row = meta->branch;
    return OD_OK;
}

static od_code fake_branch(struct od_metastore *store, const struct od_uuid *branch, struct od_meta_branch *row,
                           struct od_error *err)
{
    (void)branch, (void)err;
    *row = ((struct fake_meta *)store)->branch;
    return OD_OK;
}

static od_code fake_release(struct od_metastore *store, const struct od_uuid *branch, uint64_t epoch,
                            bool published, struct od_error *err)
{
    (void)store, (void)branch, (void)epoch, (void)published, (void)err;
    return OD_OK;
}

static od_code fake_layers(struct od_metastore *store, const struct od_uuid *branch, struct od_meta_layer **rows,
                           size_t *count, struct od_error *err)
{
    (void)branch;
    struct fake_meta *meta = (struct fake_meta *)store;
    *count = meta->layer_count;
    *rows = od_alloc(sizeof meta->layers);
    if (!*rows)
        return od_fail(err, OD_NO_MEMORY, "out of memory");
    memcpy(*rows, meta->layers, sizeof meta->layers);
    return OD_OK;
}

static od_code fake_publish(struct od_metastore *store, const struct od_meta_layer *layer,
                            const struct od_uuid *expected_tip, struct od_error *err)
{
    struct fake_meta *meta = (struct fake_meta *)store;
    if (od_fault_point())
        return od_fail(err, OD_IO, "the metadata cannot be written");
    if (layer->epoch != meta->branch.epoch)
        return od_fail(err, OD_FENCED, "epoch %llu is over", (unsigned long long)layer->epoch);
    if (!od_uuid_equal(expected_tip, &meta->branch.tip_layer))
        return od_fail(err, OD_STALE, "the tip is another");
    assert_true(meta->layer_count < 256);
    meta->layers[meta->layer_count++] = *layer;
    meta->branch.tip_layer = layer->layer;
    meta->branch.tip_lsn = layer->end_lsn;
    meta->branch.tip_time_us = layer->last_time_us;
    if (od_fault_point())
        return od_fail(err, OD_OUTCOME_UNKNOWN, "the answer was lost");
    return OD_OK;
}

static od_code fake_layer_get(struct od_metastore *store, const struct od_uuid *layer, struct od_meta_layer *row,
                              struct od_error *err)
{
    struct fake_meta *meta = (struct fake_meta *)store;
    for (size_t i = 0; i < meta->layer_count; i++)
        if (od_uuid_equal(&meta->layers[i].layer, layer)) {
            *row = meta->layers[i];
            return OD_OK;
        }
    return od_fail(err, OD_NOT_FOUND, "no such layer");
}

static od_code fake_renew(struct od_metastore *store, const struct od_uuid *branch, uint64_t epoch, uint64_t lease_us,
                          struct od_error *err)
{
    (void)branch, (void)lease_us;
    return epoch == ((struct fake_meta *)store)->branch.epoch ? OD_OK : od_fail(err, OD_FENCED, "another epoch");
}

struct od_metastore *fake_meta_copy(const struct od_metastore *meta)
{
    struct fake_meta *copy = od_alloc(sizeof *copy);
    assert_non_null(copy);
    memcpy(copy, meta, sizeof *copy);
    return &copy->base;
}

struct od_metastore *fake_meta_open(void)
{
    static const struct od_metastore_ops ops = {
        .kind = "fake",
        .close = fake_close,
        .database_create = fake_create,
        .database_get = fake_get,
        .database_list = fake_list,
        .database_drop = fake_drop,
        .branch_get = fake_branch,
        .epoch_acquire = fake_acquire,
        .lease_release = fake_release,
        .lease_renew = fake_renew,
        .layer_list = fake_layers,
        .layer_publish = fake_publish,
        .layer_get = fake_layer_get,
    };
    struct fake_meta *meta = od_calloc(1, sizeof *meta);
    assert_non_null(meta);
    meta->base.ops = &ops;
    return &meta->base;
}

void fake_meta_forget(struct od_metastore *store)
{
    struct fake_meta *meta = (struct fake_meta *)store;
    meta->layer_count = 0;
    meta->branch.tip_layer = (struct od_uuid){0};
    meta->branch.tip_lsn = meta->branch.start_lsn;
}

// ---- stores

uint32_t fixture_slack = 1;

od_code open_store(const char *directory, struct od_metastore *meta, struct od_objstore *objects,
                   struct od_store **store, struct od_error *err)
{
    struct od_store_options options = {
        .platform = od_platform_real(),
        .metadata = meta,
        .objects = objects,
        .journal_directory = directory,
        .owner = "test",
        .seal_bytes = 1 << 20,
        .block_bytes = 16384,
        .layers_slack = fixture_slack, // 1: lists of layers are looked at as soon as they may be
    };
    return od_store_open(&options, store, err);
}

static void copy_file(const char *from, const char *to)
{
    struct od_buf buf;
    od_buf_init(&buf, 256 << 20);
    assert_int_equal(od_file_read(from, &buf, NULL), OD_OK);
    // The reserved tail is zeros: a sparse file will do.
    size_t bytes = buf.bytes;
    while (bytes > 0 && buf.data[bytes - 1] == 0)
        bytes--;
    assert_int_equal(od_file_write(to, buf.data, bytes, 0600, NULL), OD_OK);
    assert_int_equal(truncate(to, (off_t)buf.bytes), 0);
    od_buf_release(&buf);
}

void copy_journals(const char *from, const char *to)
{
    struct od_names branches, files;
    assert_int_equal(od_tree_remove(to, NULL), OD_OK);
    assert_int_equal(od_directory_make(to, 0700, NULL), OD_OK);
    assert_int_equal(od_directory_list(from, &branches, NULL), OD_OK);
    for (size_t i = 0; i < branches.count; i++) {
        char source[512], target[512];
        snprintf(source, sizeof source, "%s/%s", from, branches.names[i]);
        snprintf(target, sizeof target, "%s/%s", to, branches.names[i]);
        if (strcmp(branches.names[i], "holder") == 0) {
            copy_file(source, target);
            continue;
        }
        assert_int_equal(od_directory_make(target, 0700, NULL), OD_OK);
        assert_int_equal(od_directory_list(source, &files, NULL), OD_OK);
        for (size_t j = 0; j < files.count; j++) {
            char *a = od_path_join(source, files.names[j]), *b = od_path_join(target, files.names[j]);
            copy_file(a, b);
            od_free(a);
            od_free(b);
        }
        od_names_release(&files);
    }
    od_names_release(&branches);
}

void link_objects(const char *from, const char *to)
{
    struct od_names names;
    char source[512], target[512];
    snprintf(source, sizeof source, "%s/layers", from);
    snprintf(target, sizeof target, "%s/layers", to);
    assert_int_equal(od_tree_remove(to, NULL), OD_OK);
    assert_int_equal(od_directory_make(target, 0700, NULL), OD_OK);
    if (od_directory_list(source, &names, NULL) != OD_OK)
        return; // none yet
    for (size_t i = 0; i < names.count; i++) {
        char *a = od_path_join(source, names.names[i]), *b = od_path_join(target, names.names[i]);
        assert_int_equal(link(a, b), 0);
        od_free(a);
        od_free(b);
    }
    od_names_release(&names);
}

void find_journal(const char *directory, char out[512])
{
    struct od_names branches, files;
    assert_int_equal(od_directory_list(directory, &branches, NULL), OD_OK);
    assert_int_equal(branches.count, 2); // and `holder`
    char path[512];
    snprintf(path, sizeof path, "%s/%s", directory, branches.names[strcmp(branches.names[0], "holder") == 0]);
    assert_int_equal(od_directory_list(path, &files, NULL), OD_OK);
    out[0] = '\0';
    for (size_t i = 0; i < files.count; i++) {
        char *file = od_path_join(path, files.names[i]);
        uint8_t byte = 0;
        FILE *stream = fopen(file, "rb");
        assert_non_null(stream);
        size_t got = fread(&byte, 1, 1, stream);
        fclose(stream);
        if (got == 1 && byte == 'O') {
            assert_int_equal(out[0], 0); // one only
            snprintf(out, 512, "%s", file);
        }
        od_free(file);
    }
    assert_int_not_equal(out[0], 0);
    od_names_release(&files);
    od_names_release(&branches);
}

// ---- the model

uint32_t next_random(uint32_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 17;
    *seed ^= *seed << 5;
    return *seed;
}

static void write_both(struct od_volume *volume, struct model *model, enum od_volume_file file, uint64_t offset,
                       size_t bytes, uint32_t *seed)
{
    static uint8_t data[MODEL_BYTES];
    if (offset + bytes > MODEL_BYTES)
        return;
    for (size_t i = 0; i < bytes; i++)
        data[i] = (uint8_t)next_random(seed);
    assert_int_equal(od_volume_write(volume, file, offset, data, bytes, NULL), OD_OK);
    memcpy(model->files[file].bytes + offset, data, bytes);
    if (offset + bytes > model->files[file].size)
        model->files[file].size = offset + bytes;
    model->files[file].exists = true;
}

void random_step(struct od_volume *volume, struct model *model, uint32_t *seed)
{
    uint32_t what = next_random(seed) % 16;
    enum od_volume_file file = next_random(seed) % 2 ? OD_VOLUME_DATABASE : 1 + next_random(seed) % 3;
    uint64_t size = model->files[file].size;
    if (what < 4) { // as DuckDB does
        if (file == OD_VOLUME_DATABASE)
            write_both(volume, model, file, 12288 + 16384 * (uint64_t)(next_random(seed) % 24), 16384, seed);
        else
            write_both(volume, model, file, size, 1 + next_random(seed) % 5000, seed);
    } else if (what < 6) {
        write_both(volume, model, OD_VOLUME_DATABASE, 4096 * (next_random(seed) % 3), 4096, seed);
    } else if (what < 10) { // as nobody does
        write_both(volume, model, file, next_random(seed) % (MODEL_BYTES / 2), next_random(seed) % 40000, seed);
    } else if (what < 12 && model->files[file].exists) {
        uint64_t bytes = next_random(seed) % (size + size / 4 + 1);
        assert_int_equal(od_volume_truncate(volume, file, bytes, NULL), OD_OK);
        if (bytes < size)
            memset(model->files[file].bytes + bytes, 0, (size_t)(size - bytes));
        model->files[file].size = bytes;
    } else if (what == 12 && file != OD_VOLUME_DATABASE && model->files[file].exists) {
        enum od_volume_file to = 1 + next_random(seed) % 3;
        assert_int_equal(od_volume_rename(volume, file, to, NULL), OD_OK);
        if (to != file) {
            model->files[to] = model->files[file];
            memset(&model->files[file], 0, sizeof model->files[file]);
        }
    } else if (what == 13 && model->files[file].exists) {
        assert_int_equal(od_volume_remove(volume, file, NULL), OD_OK);
        memset(&model->files[file], 0, sizeof model->files[file]);
    } else if (what == 14 && model->files[0].size >= 12288 + 3 * 16384) {
        assert_int_equal(od_volume_trim(volume, OD_VOLUME_DATABASE, 12288 + 16384, 2 * 16384, NULL), OD_OK);
        memset(model->files[0].bytes + 12288 + 16384, 0, 2 * 16384);
    } else if (what == 15) {
        assert_int_equal(od_volume_create(volume, file, NULL), OD_OK);
        model->files[file].exists = true;
    }
}

void expect_equal(struct od_volume *volume, const struct model *model)
{
    static uint8_t out[MODEL_BYTES];
    for (int i = 0; i < OD_VOLUME_FILES; i++) {
        assert_int_equal(od_volume_exists(volume, i), model->files[i].exists);
        assert_int_equal(od_volume_size(volume, i), model->files[i].size);
        size_t size = (size_t)model->files[i].size;
        assert_int_equal(od_volume_read(volume, i, 0, out, size, NULL), OD_OK);
        assert_memory_equal(out, model->files[i].bytes, size);
        if (size > 20000) { // a part again, verified by now
            assert_int_equal(od_volume_read(volume, i, 13000, out, 6000, NULL), OD_OK);
            assert_memory_equal(out, model->files[i].bytes + 13000, 6000);
        }
    }
}
