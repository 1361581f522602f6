// server_internal.h - what server.c, call.c and health.c share.
#ifndef OD_RPC_SERVER_INTERNAL_H
#define OD_RPC_SERVER_INTERNAL_H

#include "rpc/auth.h"
#include "rpc/queue.h"
#include "rpc/server.h"

#include <grpc/grpc.h>

#include <pthread.h>
#include <stdatomic.h>

OD_BEGIN_C

// A call that has arrived, as gRPC describes it.
struct od_accept {
    struct od_tag tag;
    struct od_rpc_server *server;
    struct od_queue *queue;
    grpc_call *call;
    grpc_call_details details;
    grpc_metadata_array metadata;
};

// A call of Health/Watch; in the server's list while linked, under the server's lock.
struct od_health_watcher {
    struct od_health_watcher *previous, *next;
    struct od_rpc_server *server;
    struct od_call *call;
    bool known; // the service it asked for exists
    bool linked;
    int told; // the last status sent
};

enum { OD_HEALTH_METHODS = 2 };

struct od_rpc_server {
    grpc_server *core;
    unsigned queue_count;
    struct od_queue *queues;
    struct od_accept *accepts;
    const struct od_method *methods;
    size_t method_count;
    struct od_method health_methods[OD_HEALTH_METHODS];
    struct od_auth auth;
    bool certificates; // clients present them
    int port;
    atomic_bool serving;
    bool started; // all threads run, the port accepts
    bool stopped;

    pthread_mutex_t lock;
    pthread_cond_t changed;
    size_t call_count;   // calls gRPC still knows
    bool shutdown_begun; // no watcher is added any more
    bool shutdown_done;
    struct od_tag shutdown_tag;
    struct od_health_watcher *watchers;
    size_t watcher_count;
};

// arrival.c: takes the arrived call over.
void od_call_accept(struct od_accept *accept);
// server.c
void od_server_call_begun(struct od_rpc_server *server);
void od_server_call_ended(struct od_rpc_server *server);
// health.c
void od_health_init(struct od_rpc_server *server);
void od_health_changed(struct od_rpc_server *server); // tells the watchers
void od_health_stop(struct od_rpc_server *server);    // ends them

OD_END_C

#endif
