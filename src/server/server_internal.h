// server_internal.h - the struct behind server.h: what the parts of the server share.
//
// Locks, in the order in which they may be taken: an execution's lock, then the server's, then any lock of a module below.
// Nobody takes an execution's lock while holding the server's. Engine calls that may wait (run, open, close, pump) are
// made with no lock of ours held; wakers given to the engine take none but the one of their signal.
#ifndef OD_SERVER_SERVER_INTERNAL_H
#define OD_SERVER_SERVER_INTERNAL_H

#include "arrow/batch_queue.h"
#include "os/random.h"
#include "os/thread.h"
#include "os/timer.h"
#include "rpc/server.h"
#include "server/admission.h"
#include "server/execution_core.h"
#include "server/host.h"
#include "server/reply_cache.h"
#include "server/server.h"
#include "server/spill_file.h"
#include "server/ticket.h"
#include "server/workers.h"

OD_BEGIN_C

struct od_execution;
struct od_signal;

#define OD_LOST_SESSIONS_REMEMBERED 1024u
#define OD_EXECUTION_METHODS 8u
#define OD_ADMIN_METHODS 4u
#define OD_HISTORY_METHODS 5u
#define OD_COPY_METHODS 2u
#define OD_METHODS (OD_EXECUTION_METHODS + OD_ADMIN_METHODS + OD_HISTORY_METHODS + OD_COPY_METHODS)

// Why a session is gone, for the message to who asks for it.
struct od_lost_session {
    struct od_key key;
    const char *reason; // static text
};

struct od_server {
    struct od_server_options options;
    struct od_execution_times times;
    char incarnation[OD_RANDOM_ID_BYTES];
    struct od_secret secret;
    uint64_t started_ms;
    struct od_host *host;
    struct od_budget *budget;
    struct od_spill_space spill_space;
    struct od_workers *executors; // run statements, open databases: may block
    struct od_workers *helpers;   // move batches: never wait for a client
    struct od_timer_service *timers;
    struct od_rpc_server *rpc;
    struct od_method methods[OD_METHODS];
    struct od_job tick_job, sweep_job, snapshot_job;

    pthread_mutex_t lock;
    pthread_cond_t changed; // an execution was forgotten, a session has ended, hurry
    struct od_table executions; // by id
    struct od_table requests;   // by identity and request id
    struct od_table sessions;   // by identity, database and session id
    struct od_table uploads;    // by database and upload id
    struct od_table groups;     // by identity, database and group id
    struct od_execution *first_live;
    unsigned live, parked;
    struct od_reply_cache replies;
    struct od_admission admission;
    struct od_lost_session lost[OD_LOST_SESSIONS_REMEMBERED];
    unsigned lost_next;
    struct od_signal *signals, *free_signals; // all of them; those not in use
    unsigned sessions_closing; // ended, connection not closed yet
    bool draining; // no new work
    bool hurry;
    bool stopped;
    bool ticking;        // executions are being watched
    uint64_t quiet_since_ms; // while ticking: since when there has been none
};

// There is an execution to watch. The server's lock is held.
void od_server_wake_ticker(struct od_server *server);

// The RPC methods (service_execution.c, service_stream.c, service_upload.c, service_admin.c, service_history.c,
// service_copy.c).
void od_service_execution_methods(struct od_server *server, struct od_method *methods);
void od_service_admin_methods(struct od_server *server, struct od_method *methods);
void od_service_history_methods(struct od_server *server, struct od_method *methods);
void od_service_copy_methods(struct od_server *server, struct od_method *methods);

OD_END_C

#endif
