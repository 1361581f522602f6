// admin.c - databases of a server: list, create (empty or from a DuckDB file), drop.
#include "base/alloc.h"
#include "client/core.h"
#include "os/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define ADMIN_TIMEOUT_MS 60000u
#define UPLOAD_PIECE_BYTES ((size_t)OD_MIB)

static void free_bytes(void *owner)
{
    od_free(owner);
}

od_code od_client_drop_database(struct od_client *client, const char *name, bool if_exists, bool *dropped,
                                struct od_error *err)
{
    Openduck__V1__DropDatabaseRequest request = OPENDUCK__V1__DROP_DATABASE_REQUEST__INIT;
    ProtobufCMessage *message;
    bool reached;
    request.name = (char *)(uintptr_t)name;
    request.if_exists = if_exists;
    od_code rc = od_client_call(client, OD_ADMIN_SERVICE "DropDatabase", &request.base,
                                &openduck__v1__drop_database_reply__descriptor, !if_exists, OD_ENDPOINT_ANY,
                                ADMIN_TIMEOUT_MS, client->link.closing, &message, &reached, err);
    if (rc != OD_OK && reached && rc == OD_DISCONNECTED) {
        rc = OD_OUTCOME_UNKNOWN;
        (void)od_wrap(err, rc, "whether database \"%s\" was dropped is not known", name);
        if (err)
            err->code = rc;
    }
    if (rc != OD_OK)
        return rc;
    if (dropped)
        *dropped = ((const Openduck__V1__DropDatabaseReply *)(const void *)message)->dropped;
    protobuf_c_message_free_unpacked(message, NULL);
    return OD_OK;
}

od_code od_client_list_databases(struct od_client *client, struct od_database_info **databases, size_t *count,
                                 struct od_error *err)
{
    Openduck__V1__ListDatabasesRequest request = OPENDUCK__V1__LIST_DATABASES_REQUEST__INIT;
    ProtobufCMessage *message;
    *databases = NULL;
    *count = 0;
    od_code rc = od_client_call(client, OD_ADMIN_SERVICE "ListDatabases", &request.base,
                                &openduck__v1__list_databases_reply__descriptor, false, OD_ENDPOINT_ANY,
                                ADMIN_TIMEOUT_MS, client->link.closing, &message, NULL, err);
    if (rc != OD_OK)
        return rc;
    const Openduck__V1__ListDatabasesReply *reply = (const Openduck__V1__ListDatabasesReply *)(const void *)message;
    struct od_database_info *list = od_calloc(reply->n_databases ? reply->n_databases : 1, sizeof *list);
    if (!list) {
        rc = od_fail(err, OD_NO_MEMORY, "no memory for a list of %zu databases", reply->n_databases);
        goto out;
    }
    for (size_t i = 0; i < reply->n_databases; i++) {
        const Openduck__V1__DatabaseInfo *info = reply->databases[i];
        snprintf(list[i].name, sizeof list[i].name, "%s", info->name);
        list[i].bytes = info->bytes;
        list[i].open = info->open;
        list[i].sessions = info->sessions;
    }
    *databases = list;
    *count = reply->n_databases;
out:
    protobuf_c_message_free_unpacked(message, NULL);
    return rc;
}

void od_client_free_databases(struct od_database_info *databases)
{
    od_free(databases);
}

static od_code send_piece(struct od_stream *stream, const Openduck__V1__CreateDatabaseRequest *request,
                          struct od_error *err)
{
    struct od_segment segment;
    od_code rc = od_message_pack(&request->base, &segment, err);
    if (rc != OD_OK)
        return rc;
    return od_stream_send(stream, &segment, 1, free_bytes, (void *)(uintptr_t)segment.data, err);
}

// The bytes of an open file, piece by piece. A file that another program writes meanwhile is not noticed: the server
// verifies what it gets.
static od_code send_file(struct od_stream *stream, int file, const char *path, struct od_error *err)
{
    uint8_t *piece = od_alloc(UPLOAD_PIECE_BYTES);
    od_code rc = OD_OK;
    if (!piece)
        return od_fail(err, OD_NO_MEMORY, "no memory to read %s", path);
    for (;;) {
        Openduck__V1__CreateDatabaseRequest request = OPENDUCK__V1__CREATE_DATABASE_REQUEST__INIT;
        ssize_t got = read(file, piece, UPLOAD_PIECE_BYTES);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            rc = od_fail_os(err, OD_IO, errno, "cannot read %s", path);
        if (got <= 0)
            break;
        request.data.data = piece;
        request.data.len = (size_t)got;
        rc = send_piece(stream, &request, err);
        if (rc != OD_OK)
            break;
    }
    od_free(piece);
    return rc;
}

// What is sent is one file: rows in a write-ahead log beside it would be left behind.
static od_code check_no_log(const char *file, struct od_error *err)
{
    uint64_t bytes = 0;
    char log[4096];
    int length = snprintf(log, sizeof log, "%s.wal", file);
    od_code rc = length < (int)sizeof log ? od_file_size(log, &bytes, NULL) : OD_NOT_FOUND;
    if (rc != OD_OK || bytes == 0)
        return OD_OK; // what is wrong with the file itself is found when it is opened
    return od_fail(err, OD_INVALID,
                   "%s has a write-ahead log beside it (%llu bytes), which is not sent along: open it with DuckDB, run "
                   "CHECKPOINT, close it, and try again; or make the database with --data DIR, which takes it along",
                   file, (unsigned long long)bytes);
}

od_code od_client_create_database(struct od_client *client, const char *name, const char *from_file,
                                  bool if_not_exists, struct od_error *err)
{
    const struct od_database_options options = {
        .struct_bytes = sizeof options, .from_file = from_file, .if_not_exists = if_not_exists};
    return od_client_create_database_as(client, name, &options, err);
}

od_code od_client_create_database_as(struct od_client *client, const char *name,
                                     const struct od_database_options *options, struct od_error *err)
{
    struct od_database_options all = {0};
    if (options->struct_bytes < sizeof(size_t) || options->struct_bytes > 4096)
        return od_fail(err, OD_INVALID,
                       "od_database_options.struct_bytes is %zu: set it to sizeof(struct od_database_options)",
                       options->struct_bytes);
    memcpy(&all, options, options->struct_bytes < sizeof all ? options->struct_bytes : sizeof all);
    const char *from_file = all.from_file;
    od_code rc;
    int file = -1;
    struct od_stream *stream = NULL;
    struct od_received reply = {0};
    bool end = false, local = true;
    struct od_error answer;
    Openduck__V1__CreateDatabaseRequest request = OPENDUCK__V1__CREATE_DATABASE_REQUEST__INIT;

    if (from_file) {
        od_code log = check_no_log(from_file, err);
        if (log != OD_OK)
            return log;
        file = open(from_file, O_RDONLY | O_CLOEXEC);
        if (file < 0)
            return od_fail_os(err, errno == ENOENT ? OD_NOT_FOUND : OD_IO, errno, "cannot open %s", from_file);
    }
    // A round trip that may be repeated finds the endpoint that works; the file is then sent once.
    struct od_error ping;
    rc = od_client_ping(client, NULL, 0, &ping);
    if (rc != OD_OK) {
        if (err)
            *err = ping;
        goto out;
    }
    OD_TRY(od_stream_open(client->link.endpoints[od_link_current(&client->link)].channel,
                          OD_ADMIN_SERVICE "CreateDatabase", 0, client->link.closing, &stream, err));
    request.name = (char *)(uintptr_t)name;
    request.if_not_exists = all.if_not_exists;
    if (all.durability)
        request.durability = (char *)(uintptr_t)all.durability;
    if (all.failover)
        request.failover = (char *)(uintptr_t)all.failover;
    rc = send_piece(stream, &request, err);
    if (rc == OD_OK && file >= 0)
        rc = send_file(stream, file, from_file, err);
    local = rc == OD_IO || rc == OD_NO_MEMORY;
    if (local && rc != OD_OK)
        goto out;
    if (rc == OD_OK)
        rc = od_stream_half_close(stream, err);
    // When the server has refused it, sending fails first; the reason is in the answer.
    rc = od_stream_receive(stream, 0, NULL, &reply, &end, &answer);
    if (rc != OD_OK && err)
        *err = answer;
    if (rc == OD_OK && end)
        rc = od_fail(err, OD_CORRUPT, "the server ended the call without an answer");
out:
    od_received_release(&reply);
    if (stream)
        od_stream_close(stream);
    if (file >= 0)
        (void)close(file);
    return rc;
}
