// host.c - see host.h: which databases there are, who may use them when.
//
// Invariants
//   H1  A name has at most one entry, and an entry's database is touched only by whoever brought it out of READY or ABSENT.
//   H2  uses > 0 only in READY; an engine is closed only with uses == 0.
//   H3  A condemned database gets no new user before it has been closed and opened again.
//
// States of an entry: ABSENT ("main" before its first use, and after its drop) -> MAKING -> READY -> DROPPING -> gone (or
// ABSENT again).
// Locks: host->lock for the lists, states and counts; database->opening around opening and closing its engine (taken
// without the former); database->pool_lock around its idle connections. Nothing else is called with one held, except
// opening.
#include "server/host.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "base/limits.h"
#include "base/log.h"
#include "metastore/metastore.h"
#include "os/clock.h"
#include "os/file.h"
#include "server/host_internal.h"

#include <stdio.h>
#include <string.h>

#define MAIN "main"
#define VIEW_IDLE_MS 60000u

// ---- names

od_code od_database_name_check(const char *name, struct od_error *err)
{
    static const char rule[] = "a database name has 1 to 128 bytes: letters, digits, '_', '-', '.', and any character "
                               "beyond ASCII; it does not begin with '-' or '.'";
    size_t bytes = strlen(name);
    bool ok = bytes > 0 && bytes < OD_DATABASE_NAME_BYTES && name[0] != '-' && name[0] != '.';
    for (size_t i = 0; i < bytes && ok; i++) {
        unsigned char c = (unsigned char)name[i];
        ok = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-' ||
             c == '.' || c >= 0x80;
    }
    return ok ? OD_OK : od_fail(err, OD_INVALID, "\"%.200s\" cannot name a database: %s", name, rule);
}

// ---- entries

struct od_database *od_host_find(struct od_host *host, const char *name)
{
    struct od_database *database = host->first;
    while (database && strcmp(database->name, name) != 0)
        database = database->next;
    return database;
}

// Lock held.
static od_code add(struct od_host *host, const char *name, enum od_database_state state, struct od_database **out,
                   struct od_error *err)
{
    if (host->count >= OD_DATABASES_MAX)
        return od_fail(err, OD_LIMIT, "there are %zu databases, which is the most: drop one first", host->count);
    struct od_database *database = od_database_new(host, name);
    if (!database)
        return od_fail(err, OD_NO_MEMORY, "no memory for the database \"%s\"", name);
    database->state = state;
    struct od_database **at = &host->first;
    while (*at && strcmp((*at)->name, name) < 0)
        at = &(*at)->next;
    database->next = *at;
    *at = database;
    host->count++;
    *out = database;
    return OD_OK;
}

// Lock held. "main" stays as the promise of an empty database.
static void leave(struct od_database *database)
{
    struct od_host *host = database->host;
    if (strcmp(database->name, MAIN) == 0) {
        database->state = OD_DATABASE_ABSENT;
        return;
    }
    struct od_database **at = &host->first;
    while (*at != database)
        at = &(*at)->next;
    *at = database->next;
    host->count--;
    od_database_free(database);
}

od_code od_host_fail_unknown(struct od_host *host, const char *name, struct od_error *err)
{
    char known[512] = "";
    size_t bytes = 0;
    for (struct od_database *database = host->first; database && bytes < sizeof known - 1; database = database->next) {
        if (database->state == OD_DATABASE_MAKING)
            continue;
        int added = snprintf(known + bytes, sizeof known - bytes, "%s\"%s\"", bytes ? ", " : "", database->name);
        bytes += added > 0 ? (size_t)added : 0;
    }
    return od_fail(err, OD_NOT_FOUND, "there is no database \"%.200s\" on this server, only %s%s", name, known,
                   bytes >= sizeof known - 1 ? "..." : "");
}

static const char *busy_with(enum od_database_state state)
{
    return state == OD_DATABASE_MAKING      ? "being made"
           : state == OD_DATABASE_RESTORING ? "being restored"
                                            : "being dropped";
}

// ---- opening and closing the directory

// Adds the names that are not known: at the beginning all, later what other machines have made.
static od_code load(struct od_host *host, struct od_error *err)
{
    struct od_metastore *metadata = host->place.metadata;
    struct od_meta_database *rows = NULL;
    struct od_database *database;
    size_t count = 0;
    od_code rc = metadata->ops->database_list(metadata, &rows, &count, err);
    pthread_mutex_lock(&host->lock);
    for (size_t i = 0; i < count && rc == OD_OK; i++) {
        if (!od_host_find(host, rows[i].name) && od_database_name_check(rows[i].name, NULL) == OD_OK)
            rc = add(host, rows[i].name, OD_DATABASE_READY, &database, err);
    }
    if (rc == OD_OK && !od_host_find(host, MAIN))
        rc = add(host, MAIN, OD_DATABASE_ABSENT, &database, err);
    pthread_mutex_unlock(&host->lock);
    od_free(rows);
    return rc;
}

od_code od_host_open(const struct od_host_options *options, struct od_host **host, struct od_error *err)
{
    od_code rc = OD_OK;
    struct od_host *h = od_calloc(1, sizeof *h);
    if (!h)
        return od_fail(err, OD_NO_MEMORY, "no memory for the data directory");
    h->options = *options;
    h->options.directory = h->options.metadata = h->options.objects = NULL;
    pthread_mutex_init(&h->lock, NULL);
    pthread_mutex_init(&h->making_main, NULL);
    const struct od_place_options place = {.directory = options->directory,
                                           .metadata = options->metadata,
                                           .objects = options->objects,
                                           .cache_bytes = options->cache_bytes,
                                           .history_ms = options->keep_history_ms,
                                           .unshipped_bytes = options->unshipped_bytes,
                                           .policy = options->policy};
    OD_TRY(od_place_open(&place, &h->place, err));
    rc = load(h, err);
    if (rc == OD_OK && options->collect_ms) {
        struct od_collect_policy policy = od_collect_policy_default();
        policy.dropped_us = options->keep_dropped_ms * 1000;
        policy.history_us = options->keep_history_ms * 1000;
        if (!h->place.shared) // all readers are this process's, which are known
            policy.reader_us = 0;
        rc = od_collector_start(h->place.store, &policy, options->collect_ms, &h->collector, err);
    }
    if (rc != OD_OK)
        rc = od_wrap(err, rc, "data directory %s", options->directory);
out:
    if (rc == OD_OK)
        *host = h;
    else
        od_host_close(h);
    return rc;
}

void od_host_close(struct od_host *host)
{
    if (!host)
        return;
    od_collector_stop(host->collector);
    od_views_close(host, NULL, UINT64_MAX);
    od_assert(host->view_count == 0);
    while (host->first) {
        struct od_database *database = host->first;
        od_assert(database->uses == 0);
        host->first = database->next;
        od_database_close(database);
        od_database_free(database);
    }
    od_place_close(&host->place);
    pthread_mutex_destroy(&host->lock);
    pthread_mutex_destroy(&host->making_main);
    od_free(host);
}

struct od_store *od_host_store(struct od_host *host)
{
    return host->place.store;
}

char *od_host_temporary(struct od_host *host)
{
    return od_place_temporary(&host->place, ".duckdb");
}

// Takes a use of an open database that nobody has used since; NULL: there is none.
static struct od_database *take_idle(struct od_host *host, uint64_t idle_before_ms)
{
    pthread_mutex_lock(&host->lock);
    struct od_database *database = host->first;
    while (database && !(database->state == OD_DATABASE_READY && database->uses == 0 && database->engine &&
                         database->idle_since_ms < idle_before_ms))
        database = database->next;
    if (database)
        database->uses++;
    pthread_mutex_unlock(&host->lock);
    return database;
}

void od_host_sweep(struct od_host *host, uint64_t now_ms)
{
    struct od_database *database;
    uint64_t idle_ms = host->options.database_idle_ms;
    od_views_close(host, NULL, now_ms > VIEW_IDLE_MS ? now_ms - VIEW_IDLE_MS : 0);
    while (idle_ms && now_ms > idle_ms && (database = take_idle(host, now_ms - idle_ms))) {
        od_database_close_if_alone(database);
        od_database_release(database);
    }
}

// ---- listing

od_code od_host_list(struct od_host *host, struct od_database_entry **entries, size_t *count, struct od_error *err)
{
    struct od_store_database *rows = NULL;
    size_t row_count = 0;
    od_code rc = host->place.shared ? load(host, err) : OD_OK;
    if (rc == OD_OK)
        rc = od_store_list(host->place.store, &rows, &row_count, err);
    if (rc != OD_OK)
        return rc;
    pthread_mutex_lock(&host->lock);
    struct od_database_entry *list = od_calloc(host->count + 1, sizeof *list);
    size_t n = 0, row = 0;
    for (struct od_database *database = host->first; database && list; database = database->next) {
        if (database->state == OD_DATABASE_MAKING || database->state == OD_DATABASE_DROPPING)
            continue;
        struct od_database_entry *entry = &list[n++];
        snprintf(entry->name, sizeof entry->name, "%s", database->name);
        while (row < row_count && strcmp(rows[row].name, database->name) < 0) // both are in order of name
            row++;
        if (row < row_count && strcmp(rows[row].name, database->name) == 0)
            entry->bytes = rows[row].bytes;
        entry->open = atomic_load(&database->engine) != NULL;
        entry->sessions = (uint32_t)atomic_load(&database->sessions);
    }
    pthread_mutex_unlock(&host->lock);
    od_free(rows);
    if (!list)
        return od_fail(err, OD_NO_MEMORY, "no memory to list the databases");
    *entries = list;
    *count = n;
    return OD_OK;
}

// ---- making

// Opens the file as it is, with the write-ahead log beside it if there is one, without changing it: what DuckDB does not open is
// not taken in.
static od_code check_file(struct od_host *host, const char *name, const char *file, struct od_error *err)
{
    od_code rc = OD_OK;
    struct od_engine *engine = NULL;
    char *spill = od_place_temporary(&host->place, ".spill");
    if (!spill)
        return od_fail(err, OD_NO_MEMORY, "no memory to open %s", file);
    if (!od_file_exists(file))
        OD_TRY(od_fail(err, OD_NOT_FOUND, "there is no file %s", file));
    struct od_engine_options options = od_host_engine_options(host, name, spill);
    options.path = file;
    options.read_only = true;
    OD_TRY(od_engine_open(&options, &engine, err));
    od_engine_close(engine);
out:
    od_place_discard(spill);
    od_free(spill);
    return rc;
}

struct making {
    const char *file;
    uint64_t policy;
};

static od_code make(struct od_host *host, const char *name, const void *context, struct od_error *err)
{
    const struct making *making = context;
    if (!making->file)
        return od_store_create_as(host->place.store, name, making->policy, err);
    od_code rc = check_file(host, name, making->file, err);
    return rc == OD_OK
               ? od_store_import_as(host->place.store, name, making->file, making->policy, NULL, NULL, err)
               : rc;
}

uint64_t od_host_policy(const struct od_host *host)
{
    return host->options.policy;
}

od_code od_host_policy_read(const char *durability, const char *failover, uint64_t *policy, struct od_error *err)
{
    const struct {
        const char *text, *flag, *off, *on;
        uint64_t bit;
    } all[] = {{durability, "durability", "local", "remote", OD_BRANCH_REMOTE},
               {failover, "failover", "operator", "allow-loss", OD_BRANCH_FAILOVER}};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        const char *text = all[i].text;
        if (!text)
            continue;
        bool on = strcmp(text, all[i].on) == 0;
        if (!on && strcmp(text, all[i].off) != 0)
            return od_fail(err, OD_INVALID, "%s is \"%s\" or \"%s\", not \"%.60s\"", all[i].flag, all[i].off, all[i].on,
                           text);
        *policy = on ? *policy | all[i].bit : *policy & ~all[i].bit;
    }
    return OD_OK;
}

od_code od_host_make(struct od_host *host, const char *name, bool if_not_exists, od_host_make_fn make_it,
                     const void *context, bool *created, struct od_error *err)
{
    struct od_database *database = NULL;
    od_code rc = od_database_name_check(name, err);
    if (created)
        *created = false;
    if (rc != OD_OK)
        return rc;
    pthread_mutex_lock(&host->lock);
    database = od_host_find(host, name);
    if (!database)
        rc = add(host, name, OD_DATABASE_MAKING, &database, err);
    else if (database->state == OD_DATABASE_ABSENT)
        database->state = OD_DATABASE_MAKING;
    else if (database->state != OD_DATABASE_READY)
        rc = od_fail(err, OD_BUSY, "the database \"%s\" is %s; try again", name, busy_with(database->state));
    else if (if_not_exists)
        database = NULL;
    else
        rc = od_fail(err, OD_EXISTS, "the database \"%s\" exists already", name);
    pthread_mutex_unlock(&host->lock);
    if (rc != OD_OK || !database)
        return rc;
    rc = make_it(host, name, context, err);
    bool made = rc == OD_OK, there = made || rc == OD_EXISTS; // another machine may have been faster
    if (rc == OD_EXISTS && if_not_exists)
        rc = OD_OK;
    pthread_mutex_lock(&host->lock);
    if (there)
        database->state = OD_DATABASE_READY;
    else
        leave(database);
    pthread_mutex_unlock(&host->lock);
    if (created)
        *created = made;
    return rc;
}

od_code od_host_create(struct od_host *host, const char *name, const char *file, bool consume, bool if_not_exists,
                       bool *created, struct od_error *err)
{
    return od_host_create_as(host, name, file, host->options.policy, consume, if_not_exists, created, err);
}

od_code od_host_create_as(struct od_host *host, const char *name, const char *file, uint64_t policy, bool consume,
                          bool if_not_exists, bool *created, struct od_error *err)
{
    const struct making making = {file, policy};
    od_code rc = od_host_make(host, name, if_not_exists, make, &making, created, err);
    if (consume)
        od_place_discard(file);
    return rc;
}

od_code od_host_claim(struct od_host *host, const char *name, enum od_database_state state,
                      struct od_database **claimed, struct od_error *err)
{
    od_code rc = OD_OK;
    pthread_mutex_lock(&host->lock);
    struct od_database *database = od_host_find(host, name);
    if (!database)
        rc = od_host_fail_unknown(host, name, err);
    else if (database->state == OD_DATABASE_ABSENT)
        rc = od_fail(err, OD_NOT_FOUND, "the database \"%s\" is empty and has no file yet", name);
    else if (database->state != OD_DATABASE_READY)
        rc = od_fail(err, OD_BUSY, "the database \"%s\" is %s; try again", name, busy_with(database->state));
    else if (database->uses > 0)
        rc = od_fail(err, state == OD_DATABASE_RESTORING && atomic_load(&database->sessions) > 0 ? OD_LOCKED : OD_BUSY,
                     "the database \"%s\" is in use (%d sessions, %u uses in all): close its sessions and try again",
                     name, atomic_load(&database->sessions), database->uses);
    else
        database->state = state;
    pthread_mutex_unlock(&host->lock);
    *claimed = database;
    return rc;
}

// Stores that others use too: who writes the database would be fenced in the middle of its work.
static od_code check_not_written(struct od_host *host, const char *name, struct od_error *err)
{
    struct od_metastore *metadata = host->place.metadata;
    struct od_meta_database row;
    struct od_meta_branch branch;
    uint64_t now_us;
    od_code rc = OD_OK;
    if (!host->place.shared)
        return OD_OK;
    OD_TRY(metadata->ops->database_get(metadata, name, &row, err));
    OD_TRY(metadata->ops->branch_get(metadata, &row.branch, &branch, err));
    OD_TRY(metadata->ops->now(metadata, &now_us, err));
    if (branch.lease_until_us > now_us)
        rc = od_fail(err, OD_LOCKED, "%s is writing the database \"%s\"; drop it there, or when that has stopped",
                     branch.owner, name);
out:
    return rc;
}

od_code od_host_drop(struct od_host *host, const char *name, bool if_exists, bool *dropped, struct od_error *err)
{
    struct od_database *database = NULL;
    struct od_error why = {0};
    *dropped = false;
    od_code rc = od_host_claim(host, name, OD_DATABASE_DROPPING, &database, &why);
    if (rc == OD_NOT_FOUND && if_exists)
        return OD_OK;
    if (rc != OD_OK && err)
        *err = why;
    if (rc != OD_OK)
        return rc;
    od_views_close(host, database, UINT64_MAX);
    od_database_close(database);
    rc = check_not_written(host, name, err);
    if (rc == OD_OK)
        rc = od_store_drop(host->place.store, name, err);
    pthread_mutex_lock(&host->lock);
    if (rc == OD_OK)
        leave(database);
    else
        database->state = OD_DATABASE_READY;
    pthread_mutex_unlock(&host->lock);
    *dropped = rc == OD_OK;
    return rc;
}

// ---- use

bool od_host_knows(struct od_host *host, const char *name)
{
    pthread_mutex_lock(&host->lock);
    bool known = od_host_find(host, name) != NULL;
    pthread_mutex_unlock(&host->lock);
    return known;
}

// Several may ask for "main" at once before it is made: one makes it, the others wait for it here.
static od_code make_main(struct od_host *host, struct od_error *err)
{
    pthread_mutex_lock(&host->making_main);
    od_code rc = od_host_create(host, MAIN, NULL, false, true, NULL, err);
    pthread_mutex_unlock(&host->making_main);
    return rc;
}

// Lock held. One more use of a database that is there.
static od_code enter(struct od_database *database, struct od_error *err)
{
    if (database->state != OD_DATABASE_READY)
        return od_fail(err, OD_BUSY, "the database \"%s\" is %s; try again", database->name,
                       busy_with(database->state));
    if (database->condemned && database->uses > 0)
        return od_fail(err, OD_UNAVAILABLE, "the database \"%s\" is being reopened after its storage failed; try again",
                       database->name);
    if (database->condemned) {
        database->condemned = false;
        database->condemned_engine = atomic_exchange(&database->engine, NULL);
    }
    database->uses++;
    return OD_OK;
}

static od_code acquire_newest(struct od_host *host, const char *name, struct od_database **database,
                              struct od_error *err)
{
    od_code rc = OD_OK;
    pthread_mutex_lock(&host->lock);
    struct od_database *d = od_host_find(host, name);
    if (!d && host->place.shared) {
        pthread_mutex_unlock(&host->lock);
        rc = load(host, err);
        if (rc != OD_OK)
            return rc;
        pthread_mutex_lock(&host->lock);
        d = od_host_find(host, name);
    }
    if (d && (d->state == OD_DATABASE_ABSENT || (d->state == OD_DATABASE_MAKING && strcmp(name, MAIN) == 0))) {
        pthread_mutex_unlock(&host->lock);
        rc = make_main(host, err);
        if (rc != OD_OK)
            return rc;
        pthread_mutex_lock(&host->lock);
        d = od_host_find(host, name);
    }
    rc = d ? enter(d, err) : od_host_fail_unknown(host, name, err);
    pthread_mutex_unlock(&host->lock);
    if (rc != OD_OK)
        return rc;
    if (!atomic_load(&d->engine))
        rc = od_database_open(d, err);
    if (rc != OD_OK)
        od_database_release(d);
    else
        *database = d;
    return rc;
}

od_code od_database_acquire(struct od_host *host, const char *name, const char *snapshot, struct od_database **database,
                            struct od_error *err)
{
    struct od_database *newest = NULL;
    od_code rc = acquire_newest(host, name, &newest, err);
    if (rc != OD_OK || !snapshot || !snapshot[0]) {
        *database = newest;
        return rc;
    }
    rc = od_view_acquire(newest, snapshot, database, err);
    if (rc != OD_OK)
        od_database_release(newest);
    return rc;
}

void od_database_release(struct od_database *database)
{
    if (!database)
        return;
    struct od_host *host = database->host;
    pthread_mutex_lock(&host->lock);
    od_assert(database->uses > 0);
    if (database->of)
        database->of->uses--;
    if (--database->uses == 0)
        database->idle_since_ms = od_clock_ms();
    pthread_mutex_unlock(&host->lock);
}

bool od_database_condemn_if_broken(struct od_database *database)
{
    struct od_error reason = {0};
    struct od_engine *engine = od_database_engine(database);
    if (!engine || od_engine_health(engine, &reason) == OD_OK)
        return false;
    pthread_mutex_lock(&database->host->lock);
    bool first = !database->condemned && database->engine == engine;
    if (first)
        database->condemned = true;
    pthread_mutex_unlock(&database->host->lock);
    if (first)
        od_log(OD_LOG_ERROR, "server", "%s; it is opened again when its sessions have ended", reason.message);
    return first;
}
