// group.c - see group.h.
//
// States of a group: FORMING (its first member begins the transactions) -> READY -> gone, some time after it was formed,
// when the seats that are left are given up. A group that failed to form is gone at once; its members get the error.
// A full group stays until then, so that one member too many is refused: it would see another snapshot, which is a
// wrong answer. For the same reason a request that has had its seat gets no second one.
// The group holds one use of the database for its free seats.
#include "server/group.h"

#include "base/alloc.h"
#include "engine/engine.h"
#include "os/clock.h"

#include <string.h>

#define SEAT_MS 10000u

enum state { FORMING, READY, FAILED };

struct group {
    struct od_node node;
    enum state state;
    uint32_t size, taken;
    unsigned members; // executors that look at it
    uint64_t until_ms;
    struct od_database *database; // in use while seats are free
    struct od_error failure;
    struct seat {
        struct od_connection *connection;
        struct od_key request; // who took it
    } seats[];
};

// Lock held.
static void drop_if_unused(struct od_server *server, struct group *group, uint64_t now_ms)
{
    if (group->members > 0 || group->state == FORMING)
        return;
    if (group->state == READY && now_ms < group->until_ms)
        return;
    od_table_remove(&server->groups, &group->node);
    od_free(group);
}

static od_code form(struct od_database *database, struct group *group, struct od_error *err)
{
    od_code rc = OD_OK;
    struct od_connection *connections[OD_GROUP_SIZE_MAX];
    uint32_t opened = 0;
    while (opened < group->size && rc == OD_OK) {
        rc = od_database_connect(database, &connections[opened], err);
        opened += rc == OD_OK;
    }
    if (rc == OD_OK)
        rc = od_connection_begin_snapshot(connections, group->size, err);
    while (rc != OD_OK && opened > 0)
        od_database_disconnect(database, connections[--opened]);
    for (uint32_t i = 0; i < opened; i++)
        group->seats[i].connection = connections[i];
    return rc;
}

static od_code take(struct group *group, const struct od_key *request, struct od_connection **connection,
                    struct od_error *err)
{
    if (group->state == FAILED) {
        *err = group->failure;
        return err->code;
    }
    for (uint32_t i = 0; i < group->taken; i++)
        if (memcmp(&group->seats[i].request, request, sizeof *request) == 0)
            return od_fail(err, OD_DISCONNECTED,
                           "the statement's snapshot ended with its broken connection: begin all statements of the group "
                           "again");
    if (group->taken == group->size)
        return od_fail(err, OD_INVALID, "all %u statements of the snapshot group have come already", group->size);
    group->seats[group->taken].request = *request;
    *connection = group->seats[group->taken++].connection;
    if (group->taken == group->size)
        od_database_release(group->database);
    return OD_OK;
}

od_code od_group_take(struct od_server *server, const struct od_group_member *member,
                      struct od_connection **connection, struct od_error *err)
{
    uint32_t size = member->size;
    if (size == 0 || size > OD_GROUP_SIZE_MAX)
        return od_fail(err, OD_INVALID, "a snapshot group has 1 to %u statements, not %u", OD_GROUP_SIZE_MAX, size);
    struct od_key key =
        od_digest(&server->secret, (const char *const[]){"group", member->identity, member->database_name, member->id}, 4);
    struct od_error failure = {0};
    od_code rc = OD_OK;
    pthread_mutex_lock(&server->lock);
    struct od_node *node = od_table_find(&server->groups, &key);
    struct group *group = node ? od_container(node, struct group, node) : NULL;
    bool first = !group;
    if (first) {
        if (server->groups.count >= OD_GROUPS_MAX)
            rc = od_fail(&failure, OD_BUSY, "%zu snapshot groups are open, which is the most; try again",
                         server->groups.count);
        else
            group = od_calloc(1, sizeof *group + size * sizeof(struct seat));
        if (rc == OD_OK && (!group || od_table_put(&server->groups, &group->node, &key, NULL) != OD_OK)) {
            od_free(group);
            rc = od_fail(&failure, OD_NO_MEMORY, "no memory for a snapshot group");
        }
        if (rc == OD_OK) {
            group->size = size;
            group->members = 1;
            group->database = member->database;
            pthread_mutex_unlock(&server->lock);
            rc = form(member->database, group, &failure);
            pthread_mutex_lock(&server->lock);
            group->state = rc == OD_OK ? READY : FAILED;
            group->failure = failure;
            group->until_ms = od_clock_ms() + SEAT_MS;
            if (rc == OD_OK)
                od_database_retain(group->database);
            pthread_cond_broadcast(&server->changed);
        }
    } else if (group->size != size) {
        rc = od_fail(&failure, OD_INVALID, "the snapshot group has %u statements, not %u", group->size, size);
        group = NULL;
    } else {
        group->members++;
        while (group->state == FORMING)
            pthread_cond_wait(&server->changed, &server->lock);
    }
    if (group) {
        rc = take(group, member->request, connection, &failure);
        group->members--;
        drop_if_unused(server, group, od_clock_ms());
    }
    pthread_mutex_unlock(&server->lock);
    if (rc != OD_OK && err)
        *err = failure;
    return rc;
}

// Lock held. Takes the free seats of one group out; *database then has a use that the caller gives up.
static uint32_t empty(struct group *group, struct od_connection *seats[OD_GROUP_SIZE_MAX],
                      struct od_database **database)
{
    uint32_t count = 0;
    *database = group->taken < group->size ? group->database : NULL;
    while (group->taken < group->size)
        seats[count++] = group->seats[group->taken++].connection;
    return count;
}

void od_group_sweep(struct od_server *server, uint64_t now_ms, bool all)
{
    pthread_mutex_lock(&server->lock);
    struct od_node *node = od_table_next(&server->groups, NULL);
    while (node) {
        struct group *group = od_container(node, struct group, node);
        node = od_table_next(&server->groups, node);
        if (group->members > 0 || group->state != READY || (!all && now_ms < group->until_ms))
            continue;
        struct od_connection *seats[OD_GROUP_SIZE_MAX];
        struct od_database *database;
        uint32_t count = empty(group, seats, &database);
        group->until_ms = 0;
        drop_if_unused(server, group, now_ms);
        if (!database)
            continue;
        pthread_mutex_unlock(&server->lock);
        for (uint32_t i = 0; i < count; i++) {
            od_connection_end_snapshot(seats[i]);
            od_database_disconnect(database, seats[i]);
        }
        od_database_release(database);
        pthread_mutex_lock(&server->lock);
        node = od_table_next(&server->groups, NULL); // the lock was given up
    }
    pthread_mutex_unlock(&server->lock);
}
