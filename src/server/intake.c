// intake.c - see intake.h.
#include "server/intake.h"

#include "base/alloc.h"
#include "base/limits.h"
#include "os/clock.h"

#include <string.h>

#define RESUME_MS OD_PARK_MS // a client whose connection broke has this long
#define UNCLAIMED_MS 60000u  // and a statement that wants the rows this long
#define ENDED_MS 10000u      // the end is remembered, in case its acknowledgement was lost

static void intake_free(struct od_intake *intake)
{
    od_upload_unref(intake->upload);
    od_database_release(intake->database);
    pthread_mutex_destroy(&intake->lock);
    od_free(intake->id);
    od_free(intake->identity);
    od_free(intake);
}

struct od_intake *od_intake_ref(struct od_intake *intake)
{
    atomic_fetch_add_explicit(&intake->references, 1, memory_order_relaxed);
    return intake;
}

void od_intake_unref(struct od_intake *intake)
{
    if (intake && atomic_fetch_sub_explicit(&intake->references, 1, memory_order_acq_rel) == 1)
        intake_free(intake);
}

static od_code make(struct od_server *server, const char *identity, const char *database, const char *id,
                    const uint8_t *schema, size_t schema_bytes, struct od_intake **intake, struct od_error *err)
{
    od_code rc = OD_OK;
    struct od_intake *made = od_calloc(1, sizeof *made);
    if (!made)
        return od_fail(err, OD_NO_MEMORY, "no memory for an upload");
    atomic_init(&made->references, 1);
    pthread_mutex_init(&made->lock, NULL);
    made->server = server;
    made->moved_ms = od_clock_ms();
    made->id = od_strdup(id);
    made->identity = od_strdup(identity);
    if (!made->id || !made->identity)
        OD_TRY(od_fail(err, OD_NO_MEMORY, "no memory for an upload"));
    OD_TRY(od_database_acquire(server->host, database, NULL, &made->database, err));
    OD_TRY(od_upload_open(od_database_engine(made->database), id, schema, schema_bytes, &made->upload, err));
out:
    if (rc == OD_OK)
        *intake = made;
    else
        od_intake_unref(made);
    return rc;
}

// Server's lock held. A reference, or NULL.
static struct od_intake *find(struct od_server *server, const struct od_key *key)
{
    struct od_node *node = od_table_find(&server->uploads, key);
    return node ? od_intake_ref(od_container(node, struct od_intake, node)) : NULL;
}

od_code od_intake_open(struct od_server *server, const char *identity, const char *database, const char *id,
                       const uint8_t *schema, size_t schema_bytes, struct od_intake **intake, struct od_error *err)
{
    struct od_key key = od_digest(&server->secret, (const char *const[]){"upload", database, id}, 3);
    struct od_intake *made = NULL, *there;
    pthread_mutex_lock(&server->lock);
    there = find(server, &key);
    size_t count = server->uploads.count;
    pthread_mutex_unlock(&server->lock);
    if (!there) {
        if (count >= OD_INTAKES_MAX)
            return od_fail(err, OD_LIMIT, "%zu uploads are open, which is the most", count);
        // Of two that open the same id at once, the engine lets one win; the other finds it below.
        od_code rc = make(server, identity, database, id, schema, schema_bytes, &made, err);
        if (rc != OD_OK && rc != OD_EXISTS)
            return rc;
        pthread_mutex_lock(&server->lock);
        there = find(server, &key);
        if (!there && made) {
            rc = od_table_put(&server->uploads, &made->node, &key, err);
            there = rc == OD_OK ? od_intake_ref(made) : NULL;
        }
        pthread_mutex_unlock(&server->lock);
        if (!there) {
            if (made) {
                od_upload_close(od_database_engine(made->database), id);
                od_intake_unref(made);
            }
            return rc;
        }
    }
    if (strcmp(there->identity, identity) != 0) {
        od_intake_unref(there);
        return od_fail(err, OD_EXISTS, "the upload id \"%.100s\" is taken by another client", id);
    }
    *intake = there;
    return OD_OK;
}

void od_intake_abort(struct od_intake *intake, const struct od_error *failure)
{
    pthread_mutex_lock(&intake->lock);
    bool first = !intake->ended;
    intake->ended = true;
    intake->moved_ms = od_clock_ms();
    if (first && intake->call)
        od_intake_call_fail(intake->call, failure);
    pthread_mutex_unlock(&intake->lock);
    if (first)
        od_upload_abort(intake->upload, failure);
}

bool od_intake_cancel(struct od_server *server, const char *identity, const char *id)
{
    struct od_intake *intake = NULL;
    pthread_mutex_lock(&server->lock);
    for (struct od_node *node = NULL; !intake && (node = od_table_next(&server->uploads, node));) {
        struct od_intake *one = od_container(node, struct od_intake, node);
        if (strcmp(one->id, id) == 0 && strcmp(one->identity, identity) == 0)
            intake = od_intake_ref(one);
    }
    pthread_mutex_unlock(&server->lock);
    if (!intake)
        return false;
    struct od_error cancelled = {0};
    (void)od_fail(&cancelled, OD_CANCELLED, "the upload was cancelled by its client");
    od_intake_abort(intake, &cancelled);
    od_intake_unref(intake);
    return true;
}

// Why it is to be dropped now; NULL: it stays.
static const char *dropped_because(struct od_intake *intake, uint64_t now_ms)
{
    const char *why = NULL;
    pthread_mutex_lock(&intake->lock);
    uint64_t still = now_ms > intake->moved_ms ? now_ms - intake->moved_ms : 0;
    if (intake->ended && still >= ENDED_MS && (od_upload_claimed(intake->upload) || still >= UNCLAIMED_MS))
        why = "it has ended";
    else if (!intake->ended && !intake->call && still >= RESUME_MS)
        why = "the connection of its client broke, and nobody resumed it in time";
    else if (!intake->ended && !od_upload_claimed(intake->upload) && still >= UNCLAIMED_MS)
        why = "no statement read it in time";
    pthread_mutex_unlock(&intake->lock);
    return why;
}

void od_intake_sweep(struct od_server *server, uint64_t now_ms, bool all)
{
    pthread_mutex_lock(&server->lock);
    struct od_node *node = od_table_next(&server->uploads, NULL);
    while (node) {
        struct od_intake *intake = od_container(node, struct od_intake, node);
        node = od_table_next(&server->uploads, node);
        const char *why = all ? "the server is stopping" : dropped_because(intake, now_ms);
        if (!why)
            continue;
        od_table_remove(&server->uploads, &intake->node);
        pthread_mutex_unlock(&server->lock);
        struct od_error failure = {0};
        (void)od_fail(&failure, OD_DISCONNECTED, "the upload \"%s\" was dropped: %s", intake->id, why);
        od_intake_abort(intake, &failure); // does nothing to one that ended
        od_upload_close(od_database_engine(intake->database), intake->id);
        od_intake_unref(intake);
        pthread_mutex_lock(&server->lock);
        node = od_table_next(&server->uploads, NULL); // the lock was given up
    }
    pthread_mutex_unlock(&server->lock);
}
