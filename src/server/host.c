// host.c - see host.h.
//
// Invariants
//   H1  A name has at most one entry, and an entry's files are touched only by whoever brought it out of READY or ABSENT.
//   H2  uses > 0 only in READY; an engine is closed only with uses == 0.
//   H3  A file under databases/ is complete: it was made under tmp/, opened, closed and renamed.
//
// States of an entry: ABSENT ("main" before its first use, and after its drop) -> MAKING -> READY -> DROPPING -> gone (or
// ABSENT again).
// Locks: host->lock for the list, states and counts; database->opening around opening its engine (taken without the
// former); database->pool_lock around its idle connections. Nothing else is called with one held, except opening.
#include "server/host.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "base/limits.h"
#include "base/log.h"
#include "engine/engine.h"
#include "os/file.h"
#include "os/random.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SUFFIX ".duckdb"
#define MAIN "main"
#define IDLE_CONNECTIONS_MAX 32u
#define COPY_BYTES (1024u * 1024u)

enum state { ABSENT, MAKING, READY, DROPPING };

struct od_database {
    struct od_database *next;
    struct od_host *host;
    char name[OD_DATABASE_NAME_BYTES];
    char *path;
    enum state state;
    unsigned uses;
    atomic_int sessions;
    pthread_mutex_t opening;
    _Atomic(struct od_engine *) engine;
    pthread_mutex_t pool_lock;
    struct od_connection *idle[IDLE_CONNECTIONS_MAX];
    unsigned idle_count;
};

struct od_host {
    struct od_host_options options;
    char *directory, *databases, *temporary;
    struct od_lock_file lock_file;
    pthread_mutex_t lock;
    pthread_mutex_t making_main;
    struct od_database *first; // in order of name
    size_t count;
};

// ---- names and paths

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

static char *suffixed(const char *path, const char *suffix)
{
    size_t bytes = strlen(path) + strlen(suffix) + 1;
    char *text = od_alloc(bytes);
    if (text)
        snprintf(text, bytes, "%s%s", path, suffix);
    return text;
}

static char *database_path(const struct od_host *host, const char *name)
{
    char *file = suffixed(name, SUFFIX);
    char *path = file ? od_path_join(host->databases, file) : NULL;
    od_free(file);
    return path;
}

char *od_host_temporary(struct od_host *host)
{
    char name[OD_RANDOM_ID_BYTES + sizeof SUFFIX];
    char id[OD_RANDOM_ID_BYTES];
    od_random_id(id);
    snprintf(name, sizeof name, "%s%s", id, SUFFIX);
    return od_path_join(host->temporary, name);
}

// What is left under tmp/ is removed at the next start.
static void discard(const char *path)
{
    struct od_error err = {0};
    if (od_tree_remove(path, &err) != OD_OK)
        od_log(OD_LOG_WARN, "server", "%s", err.message);
}

// ---- entries

static void database_free(struct od_database *database)
{
    pthread_mutex_destroy(&database->opening);
    pthread_mutex_destroy(&database->pool_lock);
    od_free(database->path);
    od_free(database);
}

// Lock held.
static struct od_database *find(struct od_host *host, const char *name)
{
    struct od_database *database = host->first;
    while (database && strcmp(database->name, name) != 0)
        database = database->next;
    return database;
}

// Lock held.
static od_code add(struct od_host *host, const char *name, enum state state, struct od_database **out,
                   struct od_error *err)
{
    if (host->count >= OD_DATABASES_MAX)
        return od_fail(err, OD_LIMIT, "there are %zu databases, which is the most: drop one first", host->count);
    struct od_database *database = od_calloc(1, sizeof *database);
    char *path = database ? database_path(host, name) : NULL;
    if (!path) {
        od_free(database);
        return od_fail(err, OD_NO_MEMORY, "no memory for the database \"%s\"", name);
    }
    database->host = host;
    database->path = path;
    database->state = state;
    snprintf(database->name, sizeof database->name, "%s", name);
    pthread_mutex_init(&database->opening, NULL);
    pthread_mutex_init(&database->pool_lock, NULL);
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
        database->state = ABSENT;
        return;
    }
    struct od_database **at = &host->first;
    while (*at != database)
        at = &(*at)->next;
    *at = database->next;
    host->count--;
    database_free(database);
}

static od_code fail_unknown(struct od_host *host, const char *name, struct od_error *err)
{
    char known[512] = "";
    size_t bytes = 0;
    for (struct od_database *database = host->first; database && bytes < sizeof known - 1; database = database->next) {
        int added = snprintf(known + bytes, sizeof known - bytes, "%s\"%s\"", bytes ? ", " : "", database->name);
        bytes += added > 0 ? (size_t)added : 0;
    }
    return od_fail(err, OD_NOT_FOUND, "there is no database \"%.200s\" on this server, only %s%s", name, known,
                   bytes >= sizeof known - 1 ? "..." : "");
}

static const char *busy_with(enum state state)
{
    return state == MAKING ? "being made" : "being dropped";
}

// ---- opening and closing the directory

static od_code load(struct od_host *host, struct od_error *err)
{
    struct od_names names = {0};
    struct od_database *database;
    od_code rc = od_directory_list(host->databases, &names, err);
    for (size_t i = 0; i < names.count && rc == OD_OK; i++) {
        char *name = names.names[i];
        size_t bytes = strlen(name);
        if (bytes <= strlen(SUFFIX) || strcmp(name + bytes - strlen(SUFFIX), SUFFIX) != 0)
            continue;
        name[bytes - strlen(SUFFIX)] = '\0';
        if (od_database_name_check(name, NULL) == OD_OK)
            rc = add(host, name, READY, &database, err);
        else
            od_log(OD_LOG_WARN, "server", "%s/%s%s is not a database's name and is left alone", host->databases, name,
                   SUFFIX);
    }
    od_names_release(&names);
    if (rc == OD_OK && !find(host, MAIN))
        rc = add(host, MAIN, ABSENT, &database, err);
    return rc;
}

od_code od_host_open(const struct od_host_options *options, struct od_host **host, struct od_error *err)
{
    od_code rc = OD_OK;
    char *lock_path = NULL;
    struct od_host *h = od_calloc(1, sizeof *h);
    if (!h)
        return od_fail(err, OD_NO_MEMORY, "no memory for the data directory");
    h->options = *options;
    pthread_mutex_init(&h->lock, NULL);
    pthread_mutex_init(&h->making_main, NULL);
    h->directory = od_strdup(options->directory);
    h->databases = od_path_join(options->directory, "databases");
    h->temporary = od_path_join(options->directory, "tmp");
    lock_path = od_path_join(options->directory, "lock");
    if (!h->directory || !h->databases || !h->temporary || !lock_path)
        OD_TRY(od_fail(err, OD_NO_MEMORY, "no memory for the data directory"));
    h->options.directory = h->directory;
    OD_TRY(od_directory_make(h->directory, 0700, err));
    OD_TRY(od_lock_file_acquire(&h->lock_file, lock_path, err));
    OD_TRY(od_tree_remove(h->temporary, err));
    OD_TRY(od_directory_make(h->temporary, 0700, err));
    OD_TRY(od_directory_make(h->databases, 0700, err));
    OD_TRY(load(h, err));
out:
    od_free(lock_path);
    if (rc == OD_OK) {
        *host = h;
        return rc;
    }
    rc = od_wrap(err, rc, "data directory %s", options->directory);
    od_host_close(h);
    return rc;
}

static void close_engine(struct od_database *database)
{
    for (unsigned i = 0; i < database->idle_count; i++)
        od_connection_close(database->idle[i]);
    database->idle_count = 0;
    struct od_engine *engine = atomic_exchange(&database->engine, NULL);
    if (engine)
        od_engine_close(engine);
}

void od_host_close(struct od_host *host)
{
    if (!host)
        return;
    while (host->first) {
        struct od_database *database = host->first;
        od_assert(database->uses == 0);
        host->first = database->next;
        close_engine(database);
        database_free(database);
    }
    if (host->lock_file.held)
        discard(host->temporary);
    od_lock_file_release(&host->lock_file);
    pthread_mutex_destroy(&host->lock);
    pthread_mutex_destroy(&host->making_main);
    od_free(host->directory);
    od_free(host->databases);
    od_free(host->temporary);
    od_free(host);
}

// ---- listing

static uint64_t size_of(const char *path, const char *suffix)
{
    uint64_t bytes = 0;
    char *file = suffixed(path, suffix);
    if (file && od_file_size(file, &bytes, NULL) != OD_OK)
        bytes = 0;
    od_free(file);
    return bytes;
}

od_code od_host_list(struct od_host *host, struct od_database_entry **entries, size_t *count, struct od_error *err)
{
    pthread_mutex_lock(&host->lock);
    struct od_database_entry *list = od_calloc(host->count + 1, sizeof *list);
    size_t n = 0;
    for (struct od_database *database = host->first; database && list; database = database->next) {
        if (database->state == MAKING || database->state == DROPPING)
            continue;
        struct od_database_entry *entry = &list[n++];
        snprintf(entry->name, sizeof entry->name, "%s", database->name);
        entry->bytes = size_of(database->path, "") + size_of(database->path, ".wal");
        entry->open = atomic_load(&database->engine) != NULL;
        entry->sessions = (uint32_t)atomic_load(&database->sessions);
    }
    pthread_mutex_unlock(&host->lock);
    if (!list)
        return od_fail(err, OD_NO_MEMORY, "no memory to list the databases");
    *entries = list;
    *count = n;
    return OD_OK;
}

// ---- making

static od_code write_all(int descriptor, const uint8_t *data, size_t bytes, const char *path, struct od_error *err)
{
    while (bytes > 0) {
        ssize_t written = write(descriptor, data, bytes);
        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0)
            return od_fail_os(err, OD_IO, errno, "cannot write %s", path);
        data += written;
        bytes -= (size_t)written;
    }
    return OD_OK;
}

static od_code copy_file(const char *from, const char *to, struct od_error *err)
{
    od_code rc = OD_OK;
    int source = -1, target = -1;
    uint8_t *bytes = od_alloc(COPY_BYTES);
    if (!bytes)
        return od_fail(err, OD_NO_MEMORY, "no memory to copy %s", from);
    source = open(from, O_RDONLY | O_CLOEXEC);
    if (source < 0)
        OD_TRY(od_fail_os(err, errno == ENOENT ? OD_NOT_FOUND : OD_IO, errno, "cannot open %s", from));
    target = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (target < 0)
        OD_TRY(od_fail_os(err, OD_IO, errno, "cannot make %s", to));
    for (;;) {
        ssize_t got = read(source, bytes, COPY_BYTES);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            OD_TRY(od_fail_os(err, OD_IO, errno, "cannot read %s", from));
        if (got == 0)
            break;
        OD_TRY(write_all(target, bytes, (size_t)got, to, err));
    }
out:
    if (source >= 0)
        close(source);
    if (target >= 0)
        close(target);
    od_free(bytes);
    return rc;
}

// Rows in a write-ahead log beside the file would be left behind.
static od_code check_no_log(const char *file, struct od_error *err)
{
    uint64_t bytes = size_of(file, ".wal");
    if (bytes == 0)
        return OD_OK;
    return od_fail(err, OD_INVALID,
                   "%s has a write-ahead log beside it (%s.wal, %" PRIu64 " bytes): open it with DuckDB, run CHECKPOINT, "
                   "close it, and try again",
                   file, file, bytes);
}

static od_code sync_file(const char *path, struct od_error *err)
{
    int descriptor = open(path, O_RDONLY | O_CLOEXEC);
    if (descriptor < 0)
        return od_fail_os(err, OD_IO, errno, "cannot open %s", path);
    od_code rc = fsync(descriptor) == 0 ? OD_OK : od_fail_os(err, OD_IO, errno, "cannot write %s", path);
    close(descriptor);
    return rc;
}

static struct od_engine_options engine_options(struct od_host *host, const char *name, const char *path,
                                               const char *temporary)
{
    return (struct od_engine_options){
        .name = name,
        .path = path,
        .temp_directory = temporary,
        .memory_limit_bytes = host->options.memory_limit_bytes,
        .threads = host->options.threads,
        .temp_bytes_max = host->options.temp_bytes_max,
        .external_access = host->options.external_access,
        .budget = host->options.budget,
    };
}

// Makes database's file: everything happens under tmp/ until the rename.
static od_code make(struct od_database *database, const char *file, bool consume, struct od_error *err)
{
    struct od_host *host = database->host;
    od_code rc = OD_OK;
    struct od_engine *engine = NULL;
    char *path = consume ? od_strdup(file) : od_host_temporary(host);
    char *spill = path ? suffixed(path, ".spill") : NULL;
    if (!path || !spill)
        OD_TRY(od_fail(err, OD_NO_MEMORY, "no memory to make a database"));
    if (file && !consume) {
        OD_TRY(check_no_log(file, err));
        OD_TRY(copy_file(file, path, err));
    }
    struct od_engine_options options = engine_options(host, database->name, path, spill);
    OD_TRY(od_engine_open(&options, &engine, err));
    od_engine_close(engine);
    OD_TRY(check_no_log(path, err));
    OD_TRY(sync_file(path, err));
    OD_TRY(od_file_rename(path, database->path, err));
out:
    if (path && (rc != OD_OK || consume))
        discard(path);
    if (spill)
        discard(spill);
    od_free(path);
    od_free(spill);
    return rc;
}

od_code od_host_create(struct od_host *host, const char *name, const char *file, bool consume, bool if_not_exists,
                       bool *created, struct od_error *err)
{
    od_code rc = OD_OK;
    struct od_database *database = NULL;
    bool made = false;
    OD_TRY(od_database_name_check(name, err));
    pthread_mutex_lock(&host->lock);
    database = find(host, name);
    if (!database)
        rc = add(host, name, MAKING, &database, err);
    else if (database->state == ABSENT)
        database->state = MAKING;
    else if (database->state != READY)
        rc = od_fail(err, OD_BUSY, "the database \"%s\" is %s; try again", name, busy_with(database->state));
    else if (if_not_exists)
        database = NULL;
    else
        rc = od_fail(err, OD_EXISTS, "the database \"%s\" exists already", name);
    pthread_mutex_unlock(&host->lock);
    if (rc != OD_OK || !database)
        goto out;
    rc = make(database, file, consume, err);
    made = rc == OD_OK;
    pthread_mutex_lock(&host->lock);
    if (made)
        database->state = READY;
    else
        leave(database);
    pthread_mutex_unlock(&host->lock);
out:
    if (consume && !made)
        discard(file);
    if (created)
        *created = made;
    return rc;
}

od_code od_host_drop(struct od_host *host, const char *name, bool if_exists, bool *dropped, struct od_error *err)
{
    od_code rc = OD_OK;
    *dropped = false;
    pthread_mutex_lock(&host->lock);
    struct od_database *database = find(host, name);
    if (!database || database->state == ABSENT) {
        if (!if_exists && !database)
            rc = fail_unknown(host, name, err);
        else if (!if_exists)
            rc = od_fail(err, OD_NOT_FOUND, "the database \"%s\" is empty and has no file yet", name);
        database = NULL;
    } else if (database->state != READY) {
        rc = od_fail(err, OD_BUSY, "the database \"%s\" is %s; try again", name, busy_with(database->state));
    } else if (database->uses > 0) {
        rc = od_fail(err, OD_BUSY,
                     "the database \"%s\" is in use (%d sessions, %u uses in all): close its sessions and try again",
                     name, atomic_load(&database->sessions), database->uses);
    } else {
        database->state = DROPPING;
    }
    pthread_mutex_unlock(&host->lock);
    if (rc != OD_OK || !database)
        return rc;

    close_engine(database);
    char *log = suffixed(database->path, ".wal");
    // The database's file last: as long as it is there the database is.
    rc = log ? od_file_remove(log, err) : od_fail(err, OD_NO_MEMORY, "no memory to drop a database");
    if (rc == OD_OK)
        rc = od_file_remove(database->path, err);
    od_free(log);
    pthread_mutex_lock(&host->lock);
    if (rc == OD_OK)
        leave(database);
    else
        database->state = READY;
    pthread_mutex_unlock(&host->lock);
    *dropped = rc == OD_OK;
    return rc;
}

// ---- use

bool od_host_knows(struct od_host *host, const char *name)
{
    pthread_mutex_lock(&host->lock);
    bool known = find(host, name) != NULL;
    pthread_mutex_unlock(&host->lock);
    return known;
}

static od_code open_engine(struct od_database *database, struct od_error *err)
{
    struct od_host *host = database->host;
    od_code rc = OD_OK;
    pthread_mutex_lock(&database->opening);
    if (!atomic_load(&database->engine)) {
        char *name = suffixed(database->name, ".spill");
        char *spill = name ? od_path_join(host->temporary, name) : NULL;
        struct od_engine *engine = NULL;
        struct od_engine_options options = engine_options(host, database->name, database->path, spill);
        rc = spill ? od_engine_open(&options, &engine, err)
                   : od_fail(err, OD_NO_MEMORY, "no memory to open a database");
        od_free(name);
        od_free(spill);
        if (rc == OD_OK) {
            atomic_store(&database->engine, engine);
            od_log(OD_LOG_INFO, "server", "opened database \"%s\"", database->name);
        }
    }
    pthread_mutex_unlock(&database->opening);
    return rc;
}

// Several may ask for "main" at once before it is made: one makes it, the others wait for it here.
static od_code make_main(struct od_host *host, struct od_error *err)
{
    pthread_mutex_lock(&host->making_main);
    od_code rc = od_host_create(host, MAIN, NULL, false, true, NULL, err);
    pthread_mutex_unlock(&host->making_main);
    return rc;
}

od_code od_database_acquire(struct od_host *host, const char *name, struct od_database **database,
                            struct od_error *err)
{
    od_code rc = OD_OK;
    pthread_mutex_lock(&host->lock);
    struct od_database *d = find(host, name);
    if (d && (d->state == ABSENT || (d->state == MAKING && strcmp(name, MAIN) == 0))) {
        pthread_mutex_unlock(&host->lock);
        rc = make_main(host, err);
        if (rc != OD_OK)
            return rc;
        pthread_mutex_lock(&host->lock);
        d = find(host, name);
    }
    if (!d)
        rc = fail_unknown(host, name, err);
    else if (d->state != READY)
        rc = od_fail(err, OD_BUSY, "the database \"%s\" is %s; try again", name, busy_with(d->state));
    else
        d->uses++;
    pthread_mutex_unlock(&host->lock);
    if (rc != OD_OK)
        return rc;
    if (!atomic_load(&d->engine))
        rc = open_engine(d, err);
    if (rc != OD_OK)
        od_database_release(d);
    else
        *database = d;
    return rc;
}

void od_database_retain(struct od_database *database)
{
    pthread_mutex_lock(&database->host->lock);
    od_assert(database->uses > 0);
    database->uses++;
    pthread_mutex_unlock(&database->host->lock);
}

void od_database_release(struct od_database *database)
{
    if (!database)
        return;
    pthread_mutex_lock(&database->host->lock);
    od_assert(database->uses > 0);
    database->uses--;
    pthread_mutex_unlock(&database->host->lock);
}

struct od_engine *od_database_engine(const struct od_database *database)
{
    return atomic_load(&database->engine);
}

void od_database_count_session(struct od_database *database, int change)
{
    atomic_fetch_add(&database->sessions, change);
}

od_code od_database_connect(struct od_database *database, struct od_connection **connection, struct od_error *err)
{
    pthread_mutex_lock(&database->pool_lock);
    *connection = database->idle_count ? database->idle[--database->idle_count] : NULL;
    pthread_mutex_unlock(&database->pool_lock);
    return *connection ? OD_OK : od_connection_open(od_database_engine(database), connection, err);
}

void od_database_disconnect(struct od_database *database, struct od_connection *connection)
{
    if (!connection)
        return;
    if (!od_connection_has_state(connection)) {
        pthread_mutex_lock(&database->pool_lock);
        if (database->idle_count < IDLE_CONNECTIONS_MAX) {
            database->idle[database->idle_count++] = connection;
            connection = NULL;
        }
        pthread_mutex_unlock(&database->pool_lock);
    }
    od_connection_close(connection);
}
