// group.h - statements that see one snapshot: the first to arrive begins the transactions of all of them, on as many
// connections; each later one takes the next.
//
// Seats that nobody takes within a while are given up. Called on executors with no lock held: beginning may wait for
// the engine, and later members wait for the first.
#ifndef OD_SERVER_GROUP_H
#define OD_SERVER_GROUP_H

#include "server/server_internal.h"

OD_BEGIN_C

#define OD_GROUP_SIZE_MAX 64u
#define OD_GROUPS_MAX 256u

struct od_connection;

struct od_group_member {
    const char *identity;
    struct od_database *database;
    const char *database_name;
    const char *id; // of the group
    uint32_t size;  // all members must name the same
    const struct od_key *request;
};

// A connection inside the group's snapshot. The caller ends it with od_connection_end_snapshot and gives it back to the
// database.
OD_CHECKED od_code od_group_take(struct od_server *server, const struct od_group_member *member,
                                 struct od_connection **connection, struct od_error *err);
// Gives up seats that were not taken in time, or all.
void od_group_sweep(struct od_server *server, uint64_t now_ms, bool all);

OD_END_C

#endif
