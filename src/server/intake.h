// intake.h - uploads on the server's side: which call feeds which upload of the engine, and when one is given up.
//
// An intake outlives its call: a client whose connection broke opens it again and goes on where the server is. It is
// dropped some time after its end, when its client stays away, or when no statement wants its rows.
#ifndef OD_SERVER_INTAKE_H
#define OD_SERVER_INTAKE_H

#include "engine/engine.h"
#include "server/server_internal.h"

#include <stdatomic.h>

OD_BEGIN_C

#define OD_INTAKES_MAX 1024u

struct od_intake_call; // service_upload.c

struct od_intake {
    struct od_node node; // server's lock
    atomic_uint references;
    struct od_server *server;
    char *id, *identity;
    struct od_database *database; // a use
    struct od_upload *upload;
    pthread_mutex_t lock;
    struct od_intake_call *call; // that feeds it; NULL: none now
    bool ended;                  // finished or aborted
    uint64_t moved_ms;           // when something last came, or the call was lost
};

// Finds the caller's upload, or makes it. Blocks (executors): the database may have to be opened. Gives a reference.
OD_CHECKED od_code od_intake_open(struct od_server *server, const char *identity, const char *database, const char *id,
                                  const uint8_t *schema, size_t schema_bytes, struct od_intake **intake,
                                  struct od_error *err);
struct od_intake *od_intake_ref(struct od_intake *intake);
void od_intake_unref(struct od_intake *intake);
// The reading statement fails with the error; nothing more is taken. The lock must not be held.
void od_intake_abort(struct od_intake *intake, const struct od_error *failure);
// Aborts the caller's upload of that id in any database. False: there is none.
bool od_intake_cancel(struct od_server *server, const char *identity, const char *id);
// Drops what nobody comes for, or all.
void od_intake_sweep(struct od_server *server, uint64_t now_ms, bool all);

// service_upload.c: the call is told that its upload is over. The intake's lock is held.
void od_intake_call_fail(struct od_intake_call *call, const struct od_error *error);

OD_END_C

#endif
