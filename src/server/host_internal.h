// host_internal.h - private: what host.c (names), database.c (one open database) and view.c (databases at a snapshot) share.
#ifndef OD_SERVER_HOST_INTERNAL_H
#define OD_SERVER_HOST_INTERNAL_H

#include "engine/engine.h"
#include "server/host.h"
#include "server/collector.h"
#include "server/place.h"
#include "storage/store.h"

#include <pthread.h>
#include <stdatomic.h>

OD_BEGIN_C

#define OD_IDLE_CONNECTIONS_MAX 32u

enum od_database_state {
    OD_DATABASE_ABSENT,
    OD_DATABASE_MAKING,
    OD_DATABASE_READY,
    OD_DATABASE_DROPPING,
    OD_DATABASE_RESTORING
};

struct od_database {
    struct od_database *next;
    struct od_host *host;
    char name[OD_DATABASE_NAME_BYTES];

    // ---- the host's lock
    enum od_database_state state;
    unsigned uses;
    bool condemned;                     // nobody new comes in; opened again when nobody is left
    struct od_engine *condemned_engine; // closed before the next opening
    // Of a view: the database whose past it is (each use of the view is one of it, too), and which moment.
    struct od_database *of;
    struct od_position position;
    uint64_t idle_since_ms;

    atomic_int sessions;
    pthread_mutex_t opening;
    struct od_volume *volume; // under `opening`; open as long as there is an engine
    _Atomic(struct od_engine *) engine;
    pthread_mutex_t pool_lock;
    struct od_connection *idle[OD_IDLE_CONNECTIONS_MAX];
    unsigned idle_count;
};

struct od_host {
    struct od_host_options options;
    struct od_place place;
    struct od_collector *collector;
    pthread_mutex_t lock;
    pthread_mutex_t making_main;
    struct od_database *first; // in order of name
    size_t count;
    struct od_database *views;
    size_t view_count;
};

// ---- host.c
// By name; NULL: there is none. Lock held.
struct od_database *od_host_find(struct od_host *host, const char *name);
// OD_NOT_FOUND with what there is. Lock held.
od_code od_host_fail_unknown(struct od_host *host, const char *name, struct od_error *err);
// A database that make_it makes, in the state MAKING meanwhile. As od_host_create.
typedef od_code (*od_host_make_fn)(struct od_host *host, const char *name, const void *context, struct od_error *err);
OD_CHECKED od_code od_host_make(struct od_host *host, const char *name, bool if_not_exists, od_host_make_fn make_it,
                                const void *context, bool *created, struct od_error *err);
// Takes one that nobody uses out of use: DROPPING or RESTORING. OD_BUSY when it is in use; OD_LOCKED, which nobody tries
// again by himself, when a restore meets sessions.
OD_CHECKED od_code od_host_claim(struct od_host *host, const char *name, enum od_database_state state,
                                 struct od_database **claimed, struct od_error *err);

// ---- database.c
struct od_database *od_database_new(struct od_host *host, const char *name); // NULL: out of memory
void od_database_free(struct od_database *database);
// Opens volume and engine, if they are not open. The caller holds a use.
OD_CHECKED od_code od_database_open(struct od_database *database, struct od_error *err);
// Closes it if the caller's use is the only one; whoever comes meanwhile waits and opens it again.
void od_database_close_if_alone(struct od_database *database);
// Closes pool, engine and volume. Nobody uses it.
void od_database_close(struct od_database *database);
// The options of every engine of this host; `spill` is borrowed.
struct od_engine_options od_host_engine_options(struct od_host *host, const char *name, const char *spill);

// ---- view.c
// A view of an acquired database, whose use becomes the view's. On failure the use stays the caller's.
OD_CHECKED od_code od_view_acquire(struct od_database *database, const char *selector, struct od_database **view,
                                   struct od_error *err);
// Closes the views of `of` (NULL: of all) that nobody uses and, with idle_before_ms, that were left by then. No lock held.
void od_views_close(struct od_host *host, const struct od_database *of, uint64_t idle_before_ms);

OD_END_C

#endif
