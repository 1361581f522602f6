// run_postgres.c - the metastore's suite on PostgreSQL servers that tests/integration/test_stores.py starts.
//
//   run_postgres suite ADDRESS EMPTY_ADDRESS        the suite; EMPTY_ADDRESS is a database without our schema
//   run_postgres lost-answer ADDRESS CUT_ADDRESS    CUT_ADDRESS loses the answers of calls that publish a layer
//   run_postgres refused ADDRESS CODE WORDS         opening fails with that code, and the message holds the words
//   run_postgres restart ADDRESS                    works; waits for a line on standard input; works again
#include "conformance/metastore/metastore_conformance.h"
#include "os/random.h"

#include <stdio.h>
#include <string.h>

static const char *const *addresses;

static od_code open_address(const char *address, struct od_metastore **store, struct od_error *err)
{
    od_code rc = od_metastore_postgres_migrate(address, err);
    return rc == OD_OK ? od_metastore_postgres_open(address, store, err) : rc;
}

static od_code open_shared(void *context, struct od_metastore **store, struct od_error *err)
{
    (void)context;
    return open_address(addresses[0], store, err);
}

static od_code open_empty(void *context, struct od_metastore **store, struct od_error *err)
{
    (void)context;
    return open_address(addresses[1], store, err);
}

static int failed(const char *what, od_code rc, const struct od_error *err)
{
    fprintf(stderr, "%s: %s: %s\n", what, od_code_name(rc), err->message);
    return 1;
}

static struct od_uuid new_uuid(void)
{
    struct od_uuid uuid;
    od_random_bytes(&uuid, sizeof uuid);
    od_uuid_mark_random(&uuid);
    return uuid;
}

static od_code new_database(struct od_metastore *store, struct od_meta_branch *branch, struct od_error *err)
{
    char name[OD_RANDOM_ID_BYTES];
    od_random_id(name);
    *branch = (struct od_meta_branch){.branch = new_uuid()};
    od_code rc = store->ops->database_create(store, name, branch, err);
    return rc == OD_OK ? store->ops->epoch_acquire(store, &branch->branch, "w", &branch->branch, 1000000, false, branch, err) : rc;
}

static int lost_answer(void)
{
    struct od_error err = {0};
    struct od_metastore *store, *cut;
    struct od_meta_branch branch;
    struct od_meta_layer got;
    od_code rc = open_address(addresses[0], &store, &err);
    if (rc == OD_OK)
        rc = new_database(store, &branch, &err);
    if (rc == OD_OK)
        rc = od_metastore_postgres_open(addresses[1], &cut, &err);
    if (rc != OD_OK)
        return failed("open", rc, &err);
    struct od_meta_layer layer = {.layer = new_uuid(), .branch = branch.branch, .epoch = 1, .end_lsn = 5, .key = "k"};
    rc = cut->ops->layer_publish(cut, &layer, &branch.tip_layer, &err);
    if (rc != OD_OUTCOME_UNKNOWN)
        return failed("publish without an answer", rc, &err);
    rc = store->ops->layer_get(store, &layer.layer, &got, &err);
    if (rc != OD_OK || !od_meta_layer_same(&got, &layer))
        return failed("it was applied", rc, &err);
    rc = store->ops->layer_publish(store, &layer, &branch.tip_layer, &err);
    if (rc != OD_OK)
        return failed("repeated", rc, &err);
    rc = cut->ops->layer_get(cut, &layer.layer, &got, &err); // a reading call finds a new connection by itself
    if (rc != OD_OK)
        return failed("read after the loss", rc, &err);
    od_metastore_close(cut);
    od_metastore_close(store);
    return 0;
}

static int refused(const char *code, const char *words)
{
    struct od_error err = {0};
    struct od_metastore *store;
    od_code rc = od_metastore_postgres_open(addresses[0], &store, &err);
    if (rc == OD_OK)
        od_metastore_close(store);
    return strcmp(od_code_name(rc), code) == 0 && strstr(err.message, words) ? 0 : failed("refused", rc, &err);
}

static int restart(void)
{
    struct od_error err = {0};
    struct od_metastore *store;
    struct od_meta_branch branch, after;
    char line[16];
    od_code rc = open_address(addresses[0], &store, &err);
    if (rc == OD_OK)
        rc = new_database(store, &branch, &err);
    if (rc != OD_OK)
        return failed("before", rc, &err);
    printf("ready\n");
    fflush(stdout);
    if (!fgets(line, sizeof line, stdin))
        return 1;
    struct od_meta_layer layer = {.layer = new_uuid(), .branch = branch.branch, .epoch = 1, .end_lsn = 5, .key = "k"};
    rc = store->ops->layer_publish(store, &layer, &branch.tip_layer, &err);
    if (rc == OD_OK)
        rc = store->ops->branch_get(store, &branch.branch, &after, &err);
    od_metastore_close(store);
    return rc == OD_OK && after.tip_lsn == 5 ? 0 : failed("after", rc, &err);
}

int main(int count, char **values)
{
    addresses = (const char *const *)(values + 2);
    const struct metastore_subject subject = {
        .name = "metastore postgres", .open = open_shared, .open_empty = open_empty, .threads = 16};
    if (count == 4 && strcmp(values[1], "suite") == 0)
        return metastore_conformance_run(&subject);
    if (count == 4 && strcmp(values[1], "lost-answer") == 0)
        return lost_answer();
    if (count == 5 && strcmp(values[1], "refused") == 0)
        return refused(values[3], values[4]);
    if (count == 3 && strcmp(values[1], "restart") == 0)
        return restart();
    fprintf(stderr, "see the head of run_postgres.c\n");
    return 2;
}
