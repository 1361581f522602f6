// history.c - snapshots, clones and restores of a server's databases: one round trip each.
#include "base/alloc.h"
#include "client/core.h"

#include <stdio.h>
#include <string.h>

#define HISTORY_TIMEOUT_MS 600000u // a restore waits for the publishing of what is not published yet

static void take_info(const Openduck__V1__SnapshotInfo *from, struct od_snapshot_info *to)
{
    if (!from || !to)
        return;
    snprintf(to->name, sizeof to->name, "%s", from->name);
    to->epoch = from->epoch;
    to->lsn = from->lsn;
    to->time_us = from->time_us;
    to->created_us = from->created_us;
    to->automatic = from->automatic;
}

// `what`: of a call that must not be repeated, for the message when its outcome is not known; NULL: it only reads.
static od_code call(struct od_client *client, const char *method, const ProtobufCMessage *request,
                    const ProtobufCMessageDescriptor *type, const char *what, ProtobufCMessage **reply,
                    struct od_error *err)
{
    bool reached = false;
    od_code rc = od_client_call(client, method, request, type, what != NULL, OD_ENDPOINT_ANY, HISTORY_TIMEOUT_MS,
                                client->link.closing, reply, &reached, err);
    if (what && rc == OD_DISCONNECTED && reached) {
        rc = OD_OUTCOME_UNKNOWN;
        (void)od_wrap(err, rc, "whether %s is not known", what);
        if (err)
            err->code = rc;
    }
    return rc;
}

od_code od_client_create_snapshot(struct od_client *client, const char *database, const char *name,
                                  struct od_snapshot_info *snapshot, struct od_error *err)
{
    Openduck__V1__CreateSnapshotRequest request = OPENDUCK__V1__CREATE_SNAPSHOT_REQUEST__INIT;
    ProtobufCMessage *message;
    request.database = (char *)(uintptr_t)database;
    if (name)
        request.name = (char *)(uintptr_t)name;
    od_code rc = call(client, OD_ADMIN_SERVICE "CreateSnapshot", &request.base,
                      &openduck__v1__create_snapshot_reply__descriptor, "the snapshot was made", &message, err);
    if (rc != OD_OK)
        return rc;
    take_info(((const Openduck__V1__CreateSnapshotReply *)(const void *)message)->snapshot, snapshot);
    protobuf_c_message_free_unpacked(message, NULL);
    return OD_OK;
}

od_code od_client_list_snapshots(struct od_client *client, const char *database, struct od_snapshot_info **snapshots,
                                 size_t *count, struct od_error *err)
{
    Openduck__V1__ListSnapshotsRequest request = OPENDUCK__V1__LIST_SNAPSHOTS_REQUEST__INIT;
    ProtobufCMessage *message;
    request.database = (char *)(uintptr_t)database;
    *snapshots = NULL;
    *count = 0;
    od_code rc = call(client, OD_ADMIN_SERVICE "ListSnapshots", &request.base,
                      &openduck__v1__list_snapshots_reply__descriptor, NULL, &message, err);
    if (rc != OD_OK)
        return rc;
    const Openduck__V1__ListSnapshotsReply *reply = (const Openduck__V1__ListSnapshotsReply *)(const void *)message;
    struct od_snapshot_info *list = od_calloc(reply->n_snapshots ? reply->n_snapshots : 1, sizeof *list);
    if (!list) {
        rc = od_fail(err, OD_NO_MEMORY, "no memory for a list of %zu snapshots", reply->n_snapshots);
    } else {
        for (size_t i = 0; i < reply->n_snapshots; i++)
            take_info(reply->snapshots[i], &list[i]);
        *snapshots = list;
        *count = reply->n_snapshots;
    }
    protobuf_c_message_free_unpacked(message, NULL);
    return rc;
}

void od_client_free_snapshots(struct od_snapshot_info *snapshots)
{
    od_free(snapshots);
}

od_code od_client_drop_snapshot(struct od_client *client, const char *database, const char *name, bool if_exists,
                                bool *dropped, struct od_error *err)
{
    Openduck__V1__DropSnapshotRequest request = OPENDUCK__V1__DROP_SNAPSHOT_REQUEST__INIT;
    ProtobufCMessage *message;
    request.database = (char *)(uintptr_t)database;
    request.name = (char *)(uintptr_t)name;
    request.if_exists = if_exists;
    od_code rc =
        call(client, OD_ADMIN_SERVICE "DropSnapshot", &request.base, &openduck__v1__drop_snapshot_reply__descriptor,
             if_exists ? NULL : "the snapshot was dropped", &message, err);
    if (rc != OD_OK)
        return rc;
    if (dropped)
        *dropped = ((const Openduck__V1__DropSnapshotReply *)(const void *)message)->dropped;
    protobuf_c_message_free_unpacked(message, NULL);
    return OD_OK;
}

od_code od_client_clone_database(struct od_client *client, const char *database, const char *selector,
                                 const char *new_name, struct od_error *err)
{
    Openduck__V1__CloneDatabaseRequest request = OPENDUCK__V1__CLONE_DATABASE_REQUEST__INIT;
    ProtobufCMessage *message;
    request.database = (char *)(uintptr_t)database;
    if (selector)
        request.selector = (char *)(uintptr_t)selector;
    request.new_name = (char *)(uintptr_t)new_name;
    od_code rc = call(client, OD_ADMIN_SERVICE "CloneDatabase", &request.base,
                      &openduck__v1__clone_database_reply__descriptor, "the clone was made", &message, err);
    if (rc == OD_OK)
        protobuf_c_message_free_unpacked(message, NULL);
    return rc;
}

od_code od_client_restore_database(struct od_client *client, const char *database, const char *selector,
                                   struct od_snapshot_info *before, struct od_error *err)
{
    Openduck__V1__RestoreDatabaseRequest request = OPENDUCK__V1__RESTORE_DATABASE_REQUEST__INIT;
    ProtobufCMessage *message;
    request.database = (char *)(uintptr_t)database;
    request.selector = (char *)(uintptr_t)selector;
    od_code rc = call(client, OD_ADMIN_SERVICE "RestoreDatabase", &request.base,
                      &openduck__v1__restore_database_reply__descriptor, "the database was restored", &message, err);
    if (rc != OD_OK)
        return rc;
    take_info(((const Openduck__V1__RestoreDatabaseReply *)(const void *)message)->before, before);
    protobuf_c_message_free_unpacked(message, NULL);
    return OD_OK;
}
