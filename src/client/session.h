// session.h - the inside of struct od_session.
//
//   E1  Statements of a session are sent one after another, each with a number of its own; a number is used again only
//       when the server is known not to have taken it.
//   E2  Once the outcome of a statement is not known, or the server says so, the session is lost: every later
//       statement fails with OD_SESSION_LOST, until the caller closes it and opens another.
#ifndef OD_CLIENT_SESSION_H
#define OD_CLIENT_SESSION_H

#include "client/core.h"
#include "os/random.h"

struct od_session {
    atomic_uint references; // the caller's, and those of its statements' queries
    struct od_client *client;
    pthread_mutex_t lock; // held while a statement is being sent and answered
    char *database;
    char id[OD_RANDOM_ID_BYTES];
    uint64_t sequence; // of the last statement the server may have taken
    size_t endpoint;   // where the session lives, once it was used
    bool lost;
    char why[512]; // it was lost
    atomic_bool in_transaction;
};

// Before a statement: takes the lock; the number to use. OD_SESSION_LOST (and no lock) when it is lost.
OD_CHECKED od_code od_session_enter(struct od_session *session, uint64_t *sequence, struct od_error *err);
// After it: what the answer or the error means for the session. Releases the lock. in_transaction: as answered; after an
// error, whether the statement may have begun one.
void od_session_leave(struct od_session *session, size_t endpoint, od_code rc, bool reached, bool in_transaction,
                      const struct od_error *err);

// A statement that was answered before its end has ended: what it left behind counts, unless a later one was sent.
void od_session_ended(struct od_session *session, uint64_t sequence, bool in_transaction);
struct od_session *od_session_ref(struct od_session *session);
void od_session_unref(struct od_session *session);

#endif
