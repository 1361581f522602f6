// service_admin.c - AdminService: list, create and drop databases, what the server is. All but the last touch files, so
// they run on executors.
#include "base/alloc.h"
#include "base/limits.h"
#include "base/log.h"
#include "engine/engine.h"
#include "os/clock.h"
#include "os/file.h"
#include "server/service.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

// One call and the work that is being done for it. A job on its way holds a reference.
struct admin_call {
    atomic_uint references;
    struct od_server *server;
    struct od_call *call; // a reference
    struct od_job job;
    ProtobufCMessage *message; // the one being worked on
    // CreateDatabase; touched by one callback or one job at a time
    char *name;
    uint64_t policy;
    bool if_not_exists, named;
    char *path; // where the bytes go; NULL: none came
    int file;   // -1: not open
};

static void admin_unref(struct admin_call *a)
{
    if (atomic_fetch_sub_explicit(&a->references, 1, memory_order_acq_rel) != 1)
        return;
    if (a->message)
        protobuf_c_message_free_unpacked(a->message, NULL);
    if (a->file >= 0)
        close(a->file);
    struct od_error err = {0};
    if (a->path && od_file_remove(a->path, &err) != OD_OK)
        od_log(OD_LOG_WARN, "server", "%s", err.message);
    od_free(a->path);
    od_free(a->name);
    od_call_unref(a->call);
    od_free(a);
}

static void admin_start(struct od_call *call, void *service)
{
    struct admin_call *a = od_calloc(1, sizeof *a);
    if (!a) {
        struct od_error err = {0};
        (void)od_fail(&err, OD_NO_MEMORY, "no memory for a call");
        od_call_fail(call, &err);
        return;
    }
    atomic_init(&a->references, 1);
    a->server = service;
    a->call = od_call_ref(call);
    a->file = -1;
    od_call_set_context(call, a);
}

static void admin_closed(struct od_call *call, bool cancelled)
{
    struct admin_call *a = od_call_context(call);
    (void)cancelled;
    if (a)
        admin_unref(a);
}

static void submit(struct admin_call *a, void (*run)(struct od_job *job))
{
    atomic_fetch_add_explicit(&a->references, 1, memory_order_relaxed);
    a->job.run = run;
    od_workers_submit(a->server->executors, &a->job);
}

// Unpacks a message and hands it to `run`.
static void receive(struct od_call *call, const ProtobufCMessageDescriptor *type, const uint8_t *data, size_t bytes,
                    void (*run)(struct od_job *job))
{
    struct admin_call *a = od_call_context(call);
    struct od_error err = {0};
    if (!a)
        return;
    if (od_message_unpack(type, data, bytes, &a->message, &err) != OD_OK)
        od_call_fail(call, &err);
    else
        submit(a, run);
}

// ---- ListDatabases

static void fill_info(const struct od_database_entry *entry, Openduck__V1__DatabaseInfo *info)
{
    openduck__v1__database_info__init(info);
    info->name = (char *)(uintptr_t)entry->name;
    info->bytes = entry->bytes;
    info->open = entry->open;
    info->sessions = entry->sessions;
}

static void list_run(struct od_job *job)
{
    struct admin_call *a = od_container(job, struct admin_call, job);
    struct od_error err = {0};
    struct od_database_entry *entries = NULL;
    Openduck__V1__DatabaseInfo *infos = NULL, **pointers = NULL;
    Openduck__V1__ListDatabasesReply reply = OPENDUCK__V1__LIST_DATABASES_REPLY__INIT;
    size_t count;
    od_code rc = OD_OK;
    OD_TRY(od_host_list(a->server->host, &entries, &count, &err));
    infos = od_calloc(count + 1, sizeof *infos);
    pointers = od_calloc(count + 1, sizeof *pointers);
    if (!infos || !pointers)
        OD_TRY(od_fail(&err, OD_NO_MEMORY, "no memory to list the databases"));
    for (size_t i = 0; i < count; i++) {
        fill_info(&entries[i], &infos[i]);
        pointers[i] = &infos[i];
    }
    reply.databases = pointers;
    reply.n_databases = count;
    od_send_message(a->call, &reply.base, true, NULL);
out:
    if (rc != OD_OK)
        od_call_fail(a->call, &err);
    od_free(entries);
    od_free(infos);
    od_free(pointers);
    admin_unref(a);
}

static void list_message(struct od_call *call, const uint8_t *data, size_t bytes)
{
    receive(call, &openduck__v1__list_databases_request__descriptor, data, bytes, list_run);
}

// ---- CreateDatabase

static od_code append(struct admin_call *a, const uint8_t *data, size_t bytes, struct od_error *err)
{
    if (!a->path) {
        a->path = od_host_temporary(a->server->host);
        if (!a->path)
            return od_fail(err, OD_NO_MEMORY, "no memory for a file name");
        a->file = open(a->path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        if (a->file < 0)
            return od_fail_os(err, OD_IO, errno, "cannot make %s", a->path);
    }
    while (bytes > 0) {
        ssize_t written = write(a->file, data, bytes);
        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0)
            return od_fail_os(err, OD_IO, errno, "cannot write %s", a->path);
        data += written;
        bytes -= (size_t)written;
    }
    return OD_OK;
}

static od_code take_name(struct admin_call *a, const Openduck__V1__CreateDatabaseRequest *request,
                         struct od_error *err)
{
    if (a->named)
        return OD_OK;
    a->named = true;
    a->if_not_exists = request->if_not_exists;
    a->policy = od_host_policy(a->server->host);
    od_code rc = od_host_policy_read(request->durability[0] ? request->durability : NULL,
                                     request->failover[0] ? request->failover : NULL, &a->policy, err);
    if (rc != OD_OK)
        return rc;
    a->name = od_strdup(request->name);
    if (!a->name)
        return od_fail(err, OD_NO_MEMORY, "no memory for a name");
    return od_database_name_check(a->name, err);
}

static void create_part_run(struct od_job *job)
{
    struct admin_call *a = od_container(job, struct admin_call, job);
    const Openduck__V1__CreateDatabaseRequest *request = (const Openduck__V1__CreateDatabaseRequest *)a->message;
    struct od_error err = {0};
    od_code rc = OD_OK;
    OD_TRY(take_name(a, request, &err));
    if (request->data.len)
        OD_TRY(append(a, request->data.data, request->data.len, &err));
    protobuf_c_message_free_unpacked(a->message, NULL);
    a->message = NULL;
    od_call_read_next(a->call);
out:
    if (rc != OD_OK)
        od_call_fail(a->call, &err);
    admin_unref(a);
}

static void create_message(struct od_call *call, const uint8_t *data, size_t bytes)
{
    receive(call, &openduck__v1__create_database_request__descriptor, data, bytes, create_part_run);
}

static od_code find_entry(struct admin_call *a, Openduck__V1__DatabaseInfo *info, struct od_database_entry **entries,
                          struct od_error *err)
{
    size_t count;
    od_code rc = od_host_list(a->server->host, entries, &count, err);
    for (size_t i = 0; rc == OD_OK && i < count; i++)
        if (strcmp((*entries)[i].name, a->name) == 0)
            fill_info(&(*entries)[i], info);
    return rc;
}

static void create_run(struct od_job *job)
{
    struct admin_call *a = od_container(job, struct admin_call, job);
    struct od_error err = {0};
    struct od_database_entry *entries = NULL;
    Openduck__V1__CreateDatabaseReply reply = OPENDUCK__V1__CREATE_DATABASE_REPLY__INIT;
    Openduck__V1__DatabaseInfo info = OPENDUCK__V1__DATABASE_INFO__INIT;
    od_code rc = OD_OK;
    if (!a->named)
        OD_TRY(od_fail(&err, OD_INVALID, "the first message names the database"));
    if (a->file >= 0)
        close(a->file);
    a->file = -1;
    rc = od_host_create_as(a->server->host, a->name, a->path, a->policy, a->path != NULL, a->if_not_exists, NULL, &err);
    od_free(a->path); // taken
    a->path = NULL;
    OD_TRY(rc);
    OD_TRY(find_entry(a, &info, &entries, &err));
    reply.database = &info;
    od_send_message(a->call, &reply.base, true, NULL);
out:
    if (rc != OD_OK)
        od_call_fail(a->call, &err);
    od_free(entries);
    admin_unref(a);
}

static void create_half_closed(struct od_call *call)
{
    struct admin_call *a = od_call_context(call);
    if (a)
        submit(a, create_run);
}

// ---- DropDatabase

static void drop_run(struct od_job *job)
{
    struct admin_call *a = od_container(job, struct admin_call, job);
    const Openduck__V1__DropDatabaseRequest *request = (const Openduck__V1__DropDatabaseRequest *)a->message;
    struct od_error err = {0};
    Openduck__V1__DropDatabaseReply reply = OPENDUCK__V1__DROP_DATABASE_REPLY__INIT;
    bool dropped;
    if (od_host_drop(a->server->host, request->name, request->if_exists, &dropped, &err) == OD_OK) {
        reply.dropped = dropped;
        od_send_message(a->call, &reply.base, true, NULL);
    } else {
        od_call_fail(a->call, &err);
    }
    admin_unref(a);
}

static void drop_message(struct od_call *call, const uint8_t *data, size_t bytes)
{
    receive(call, &openduck__v1__drop_database_request__descriptor, data, bytes, drop_run);
}

// ---- ServerInfo

static void info_message(struct od_call *call, const uint8_t *data, size_t bytes)
{
    struct od_server *server = od_call_server(call);
    Openduck__V1__ServerInfoReply reply = OPENDUCK__V1__SERVER_INFO_REPLY__INIT;
    (void)data;
    (void)bytes;
    if (!server)
        return;
    reply.version = (char *)(uintptr_t)OD_VERSION;
    reply.duckdb_version = (char *)(uintptr_t)od_engine_duckdb_version();
    reply.incarnation = server->incarnation;
    reply.uptime_s = (od_clock_ms() - server->started_ms) / 1000;
    pthread_mutex_lock(&server->lock);
    reply.running = server->admission.running + server->admission.paused;
    reply.queued = server->admission.waiting;
    reply.sessions = (uint32_t)server->sessions.count;
    pthread_mutex_unlock(&server->lock);
    od_send_message(call, &reply.base, true, NULL);
}

void od_service_admin_methods(struct od_server *server, struct od_method *methods)
{
    const struct od_method all[OD_ADMIN_METHODS] = {
        {.name = OD_ADMIN_SERVICE "ListDatabases",
         .start = admin_start,
         .message = list_message,
         .closed = admin_closed},
        {.name = OD_ADMIN_SERVICE "CreateDatabase",
         .start = admin_start,
         .message = create_message,
         .half_closed = create_half_closed,
         .closed = admin_closed},
        {.name = OD_ADMIN_SERVICE "DropDatabase",
         .start = admin_start,
         .message = drop_message,
         .closed = admin_closed},
        {.name = OD_ADMIN_SERVICE "ServerInfo",
         .start = od_call_state_start,
         .message = info_message,
         .closed = od_call_state_closed},
    };
    memcpy(methods, all, sizeof all);
    for (size_t i = 0; i < OD_ADMIN_METHODS; i++)
        methods[i].service = server;
}
