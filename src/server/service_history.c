// service_history.c - AdminService: snapshots, clones, restores. Each touches files or metadata, so they run on executors.
// Exports and checks, whose answers are streams, are in service_copy.c.
#include "base/alloc.h"
#include "server/service.h"
#include "storage/store.h"

#include <string.h>

// One call and the work that is being done for it. The job holds a reference.
struct history_call {
    atomic_uint references;
    struct od_server *server;
    struct od_call *call; // a reference
    struct od_job job;
    ProtobufCMessage *message;                                    // the request
    od_code (*run)(struct history_call *h, struct od_error *err); // answers, or fails
};

static void unref(struct history_call *h)
{
    if (atomic_fetch_sub_explicit(&h->references, 1, memory_order_acq_rel) != 1)
        return;
    if (h->message)
        protobuf_c_message_free_unpacked(h->message, NULL);
    od_call_unref(h->call);
    od_free(h);
}

static void history_start(struct od_call *call, void *service)
{
    struct history_call *h = od_calloc(1, sizeof *h);
    if (!h) {
        struct od_error err = {0};
        (void)od_fail(&err, OD_NO_MEMORY, "no memory for a call");
        od_call_fail(call, &err);
        return;
    }
    atomic_init(&h->references, 1);
    h->server = service;
    h->call = od_call_ref(call);
    od_call_set_context(call, h);
}

static void history_closed(struct od_call *call, bool cancelled)
{
    struct history_call *h = od_call_context(call);
    (void)cancelled;
    if (h)
        unref(h);
}

static void run_job(struct od_job *job)
{
    struct history_call *h = od_container(job, struct history_call, job);
    struct od_error err = {0};
    if (h->run(h, &err) != OD_OK)
        od_call_fail(h->call, &err);
    unref(h);
}

static const uint32_t TEXTS[] = {1, 2, 0}, CLONE_TEXTS[] = {1, 2, 3, 0};

static void receive(struct od_call *call, const ProtobufCMessageDescriptor *type, const uint32_t *texts,
                    const uint8_t *data, size_t bytes, od_code (*run)(struct history_call *h, struct od_error *err))
{
    struct history_call *h = od_call_context(call);
    struct od_error err = {0};
    if (!h)
        return;
    od_code rc = od_check_texts(data, bytes, texts, &err);
    if (rc == OD_OK)
        rc = od_message_unpack(type, data, bytes, &h->message, &err);
    if (rc != OD_OK) {
        od_call_fail(call, &err);
        return;
    }
    h->run = run;
    h->job.run = run_job;
    atomic_fetch_add_explicit(&h->references, 1, memory_order_relaxed);
    od_workers_submit(h->server->executors, &h->job);
}

static const char *or_null(const char *text)
{
    return text && text[0] ? text : NULL;
}

static void fill_info(const struct od_meta_snapshot *row, Openduck__V1__SnapshotInfo *info)
{
    openduck__v1__snapshot_info__init(info);
    info->name = (char *)(uintptr_t)row->name;
    info->epoch = row->position.epoch;
    info->lsn = row->position.lsn;
    info->time_us = row->time_us;
    info->created_us = row->created_us;
    info->automatic = row->automatic;
}

// ---- snapshots

static od_code create_run(struct history_call *h, struct od_error *err)
{
    const Openduck__V1__CreateSnapshotRequest *request = (const Openduck__V1__CreateSnapshotRequest *)h->message;
    Openduck__V1__CreateSnapshotReply reply = OPENDUCK__V1__CREATE_SNAPSHOT_REPLY__INIT;
    Openduck__V1__SnapshotInfo info;
    struct od_meta_snapshot row;
    od_code rc = od_host_snapshot_create(h->server->host, request->database, or_null(request->name), &row, err);
    if (rc != OD_OK)
        return rc;
    fill_info(&row, &info);
    reply.snapshot = &info;
    od_send_message(h->call, &reply.base, true, NULL);
    return OD_OK;
}

static void create_message(struct od_call *call, const uint8_t *data, size_t bytes)
{
    receive(call, &openduck__v1__create_snapshot_request__descriptor, TEXTS, data, bytes, create_run);
}

static od_code list_run(struct history_call *h, struct od_error *err)
{
    const Openduck__V1__ListSnapshotsRequest *request = (const Openduck__V1__ListSnapshotsRequest *)h->message;
    Openduck__V1__ListSnapshotsReply reply = OPENDUCK__V1__LIST_SNAPSHOTS_REPLY__INIT;
    Openduck__V1__SnapshotInfo *infos = NULL, **pointers = NULL;
    struct od_meta_snapshot *rows = NULL;
    size_t count = 0;
    od_code rc = OD_OK;
    OD_TRY(od_host_snapshot_list(h->server->host, request->database, &rows, &count, err));
    infos = od_calloc(count + 1, sizeof *infos);
    pointers = od_calloc(count + 1, sizeof *pointers);
    if (!infos || !pointers)
        OD_TRY(od_fail(err, OD_NO_MEMORY, "no memory to list %zu snapshots", count));
    for (size_t i = 0; i < count; i++) {
        fill_info(&rows[i], &infos[i]);
        pointers[i] = &infos[i];
    }
    reply.snapshots = pointers;
    reply.n_snapshots = count;
    od_send_message(h->call, &reply.base, true, NULL);
out:
    od_free(rows);
    od_free(infos);
    od_free(pointers);
    return rc;
}

static void list_message(struct od_call *call, const uint8_t *data, size_t bytes)
{
    receive(call, &openduck__v1__list_snapshots_request__descriptor, TEXTS, data, bytes, list_run);
}

static od_code drop_run(struct history_call *h, struct od_error *err)
{
    const Openduck__V1__DropSnapshotRequest *request = (const Openduck__V1__DropSnapshotRequest *)h->message;
    Openduck__V1__DropSnapshotReply reply = OPENDUCK__V1__DROP_SNAPSHOT_REPLY__INIT;
    bool dropped = false;
    od_code rc =
        od_host_snapshot_drop(h->server->host, request->database, request->name, request->if_exists, &dropped, err);
    if (rc != OD_OK)
        return rc;
    reply.dropped = dropped;
    od_send_message(h->call, &reply.base, true, NULL);
    return OD_OK;
}

static void drop_message(struct od_call *call, const uint8_t *data, size_t bytes)
{
    receive(call, &openduck__v1__drop_snapshot_request__descriptor, TEXTS, data, bytes, drop_run);
}

// ---- clones, restores

static od_code clone_run(struct history_call *h, struct od_error *err)
{
    const Openduck__V1__CloneDatabaseRequest *request = (const Openduck__V1__CloneDatabaseRequest *)h->message;
    Openduck__V1__CloneDatabaseReply reply = OPENDUCK__V1__CLONE_DATABASE_REPLY__INIT;
    od_code rc = od_host_clone(h->server->host, request->database, or_null(request->selector), request->new_name, err);
    if (rc == OD_OK)
        od_send_message(h->call, &reply.base, true, NULL);
    return rc;
}

static void clone_message(struct od_call *call, const uint8_t *data, size_t bytes)
{
    receive(call, &openduck__v1__clone_database_request__descriptor, CLONE_TEXTS, data, bytes, clone_run);
}

static od_code restore_run(struct history_call *h, struct od_error *err)
{
    const Openduck__V1__RestoreDatabaseRequest *request = (const Openduck__V1__RestoreDatabaseRequest *)h->message;
    Openduck__V1__RestoreDatabaseReply reply = OPENDUCK__V1__RESTORE_DATABASE_REPLY__INIT;
    Openduck__V1__SnapshotInfo info;
    struct od_meta_snapshot before;
    od_code rc = od_host_restore(h->server->host, request->database, request->selector, &before, err);
    if (rc != OD_OK)
        return rc;
    fill_info(&before, &info);
    reply.before = &info;
    od_send_message(h->call, &reply.base, true, NULL);
    return OD_OK;
}

static void restore_message(struct od_call *call, const uint8_t *data, size_t bytes)
{
    receive(call, &openduck__v1__restore_database_request__descriptor, TEXTS, data, bytes, restore_run);
}

void od_service_history_methods(struct od_server *server, struct od_method *methods)
{
    static const struct {
        const char *name;
        void (*message)(struct od_call *call, const uint8_t *data, size_t bytes);
    } all[OD_HISTORY_METHODS] = {
        {OD_ADMIN_SERVICE "CreateSnapshot", create_message},   {OD_ADMIN_SERVICE "ListSnapshots", list_message},
        {OD_ADMIN_SERVICE "DropSnapshot", drop_message},       {OD_ADMIN_SERVICE "CloneDatabase", clone_message},
        {OD_ADMIN_SERVICE "RestoreDatabase", restore_message},
    };
    for (size_t i = 0; i < OD_HISTORY_METHODS; i++)
        methods[i] = (struct od_method){.name = all[i].name,
                                        .start = history_start,
                                        .message = all[i].message,
                                        .closed = history_closed,
                                        .service = server};
}
