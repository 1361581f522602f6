// session.c - see session.h.
#include "client/session.h"

#include "base/alloc.h"

#include <stdio.h>
#include <string.h>

#define CLOSE_TIMEOUT_MS 3000u

od_code od_session_open(struct od_client *client, const char *database, struct od_session **session,
                        struct od_error *err)
{
    struct od_session *made = od_calloc(1, sizeof *made);
    char *name = od_strdup(database ? database : "main");
    *session = NULL;
    if (!made || !name) {
        od_free(made);
        od_free(name);
        return od_fail(err, OD_NO_MEMORY, "no memory for a session");
    }
    atomic_init(&made->references, 1);
    pthread_mutex_init(&made->lock, NULL);
    made->client = client;
    made->database = name;
    made->endpoint = OD_ENDPOINT_ANY;
    atomic_init(&made->in_transaction, false);
    od_random_id(made->id);
    *session = made;
    return OD_OK;
}

void od_session_close(struct od_session *session)
{
    if (!session)
        return;
    if (session->sequence) {
        Openduck__V1__CloseSessionRequest request = OPENDUCK__V1__CLOSE_SESSION_REQUEST__INIT;
        ProtobufCMessage *reply;
        request.database = session->database;
        request.session_id = session->id;
        // A server that is not there has no session either; one that does not answer lets it run into its timeout.
        if (od_client_call(session->client, OD_SERVICE "CloseSession", &request.base,
                           &openduck__v1__close_session_reply__descriptor, true, session->endpoint, CLOSE_TIMEOUT_MS,
                           session->client->link.closing, &reply, NULL, NULL) == OD_OK)
            protobuf_c_message_free_unpacked(reply, NULL);
    }
    od_session_unref(session);
}

struct od_session *od_session_ref(struct od_session *session)
{
    atomic_fetch_add(&session->references, 1);
    return session;
}

void od_session_unref(struct od_session *session)
{
    if (atomic_fetch_sub(&session->references, 1) > 1)
        return;
    pthread_mutex_destroy(&session->lock);
    od_free(session->database);
    od_free(session);
}

void od_session_ended(struct od_session *session, uint64_t sequence, bool in_transaction)
{
    pthread_mutex_lock(&session->lock);
    if (session->sequence == sequence && !session->lost)
        atomic_store(&session->in_transaction, in_transaction);
    pthread_mutex_unlock(&session->lock);
}

bool od_session_in_transaction(const struct od_session *session)
{
    return atomic_load(&session->in_transaction);
}

od_code od_session_enter(struct od_session *session, uint64_t *sequence, struct od_error *err)
{
    pthread_mutex_lock(&session->lock);
    if (session->lost) {
        od_code rc = od_fail(err, OD_SESSION_LOST,
                             "the session is lost (%s): close it and open another; its transaction was rolled back and "
                             "its temporary objects are gone", session->why);
        pthread_mutex_unlock(&session->lock);
        return rc;
    }
    *sequence = session->sequence + 1;
    return OD_OK;
}

void od_session_leave(struct od_session *session, size_t endpoint, od_code rc, bool reached, bool in_transaction,
                      const struct od_error *err)
{
    // Turned away at the door: the number was not taken. (The server also accepts gaps.)
    bool turned_away = !reached && (rc == OD_UNAVAILABLE || rc == OD_BUSY || rc == OD_UNAUTHENTICATED);
    if (rc == OD_OK) {
        session->sequence++;
        atomic_store(&session->in_transaction, in_transaction);
    } else if (rc == OD_SESSION_LOST || rc == OD_OUTCOME_UNKNOWN || rc == OD_DISCONNECTED) {
        session->lost = true;
        session->sequence++;
        atomic_store(&session->in_transaction, false);
        snprintf(session->why, sizeof session->why, "%.500s", err ? err->message : od_code_name(rc));
    } else if (!turned_away) {
        // Whether a refused first statement opened the session is not known, unless only a statement that was run fails
        // like this: begin again under another name.
        bool ran = rc == OD_SQL || rc == OD_CATALOG_STALE || rc == OD_READ_ONLY;
        if (session->sequence == 0 && !ran) {
            od_random_id(session->id);
        } else {
            session->sequence++;
            if (in_transaction)
                atomic_store(&session->in_transaction, true);
        }
    }
    if (session->sequence)
        session->endpoint = endpoint;
    pthread_mutex_unlock(&session->lock);
}
