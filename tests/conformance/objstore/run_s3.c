// run_s3.c - the object store's suite on S3 servers that tests/integration/test_stores.py starts.
//
//   run_s3 suite                    the suite
//   run_s3 put KEY                  puts one object of 1000 bytes
//   run_s3 large MIB                puts and reads a file of so many MiB
//   run_s3 refused CODE WORDS       opening fails with that code, and the message holds the words
//
// The bucket comes from S3_ENDPOINT, S3_BUCKET, S3_KEY, S3_SECRET; S3_DEADLINE_MS and S3_PREFIX may be set.
#include "conformance/objstore/objstore_conformance.h"
#include "os/platform.h"
#include "os/random.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static od_code open_bucket(void *context, struct od_objstore **store, struct od_error *err)
{
    (void)context;
    const char *deadline = od_environment("S3_DEADLINE_MS");
    const struct od_s3_options options = {.platform = od_platform_real(),
                                          .endpoint = od_environment("S3_ENDPOINT"),
                                          .bucket = od_environment("S3_BUCKET"),
                                          .prefix = od_environment("S3_PREFIX"),
                                          .access_key = od_environment("S3_KEY"),
                                          .secret_key = od_environment("S3_SECRET"),
                                          .path_style = true,
                                          .deadline_ms = deadline ? (unsigned)strtoul(deadline, NULL, 10) : 20000};
    return od_objstore_s3_open(&options, store, err);
}

static char path[64];

static const char *write_file(void *context, const void *data, size_t bytes)
{
    (void)context;
    if (!path[0]) {
        char id[OD_RANDOM_ID_BYTES];
        od_random_id(id);
        snprintf(path, sizeof path, "/tmp/openduck-%s", id);
    }
    if (od_file_write(path, data, bytes, 0600, NULL) != OD_OK)
        abort();
    return path;
}

static int failed(const char *what, od_code rc, const struct od_error *err)
{
    fprintf(stderr, "%s: %s: %s\n", what, od_code_name(rc), err->message);
    return 1;
}

static int put(const char *key)
{
    struct od_error err = {0};
    struct od_objstore *store;
    char data[1000] = "x";
    od_code rc = open_bucket(NULL, &store, &err);
    if (rc != OD_OK)
        return failed("open", rc, &err);
    rc = od_objstore_put(store, key, data, sizeof data, &err);
    printf("%s\n", od_code_name(rc));
    od_objstore_close(store);
    return 0;
}

static int large(size_t mib)
{
    struct od_error err = {0};
    struct od_objstore *store;
    struct od_object *object;
    size_t bytes = (mib << 20) + 12345;
    uint32_t *data = calloc(1, bytes + 4), *got = calloc(1, bytes + 4);
    for (size_t i = 0; data && i <= bytes / 4; i++)
        data[i] = (uint32_t)i * 2654435761u;
    od_code rc = open_bucket(NULL, &store, &err);
    if (rc != OD_OK || !data || !got)
        return failed("open", rc, &err);
    char key[64], id[OD_RANDOM_ID_BYTES];
    od_random_id(id);
    snprintf(key, sizeof key, "large/%s", id);
    rc = od_objstore_put_file(store, key, write_file(NULL, data, bytes), &err);
    if (rc == OD_OK)
        rc = od_objstore_open(store, key, &object, &err);
    if (rc == OD_OK) {
        rc = od_object_read(object, 0, got, od_object_bytes(object), &err);
        od_object_close(object);
    }
    if (rc == OD_OK && memcmp(data, got, bytes) != 0)
        rc = OD_CORRUPT;
    if (rc == OD_OK && od_objstore_put_file(store, key, path, &err) != OD_EXISTS)
        rc = OD_INTERNAL;
    free(data);
    free(got);
    od_objstore_close(store);
    return rc == OD_OK ? 0 : failed("large", rc, &err);
}

static int refused(const char *code, const char *words)
{
    struct od_error err = {0};
    struct od_objstore *store;
    od_code rc = open_bucket(NULL, &store, &err);
    if (rc == OD_OK)
        od_objstore_close(store);
    return strcmp(od_code_name(rc), code) == 0 && strstr(err.message, words) ? 0 : failed("refused", rc, &err);
}

int main(int count, char **values)
{
    const struct objstore_subject subject = {
        .name = "objstore s3", .open = open_bucket, .write_file = write_file, .threads = 16, .rounds = 5};
    int status = 2;
    if (count == 2 && strcmp(values[1], "suite") == 0)
        status = objstore_conformance_run(&subject);
    else if (count == 3 && strcmp(values[1], "put") == 0)
        status = put(values[2]);
    else if (count == 3 && strcmp(values[1], "large") == 0)
        status = large(strtoul(values[2], NULL, 10));
    else if (count == 4 && strcmp(values[1], "refused") == 0)
        status = refused(values[2], values[3]);
    else
        fprintf(stderr, "see the head of run_s3.c\n");
    if (path[0] && od_file_remove(path, NULL) != OD_OK)
        status = 1;
    return status;
}
