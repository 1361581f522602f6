// database.c - one open database: its volume, the engine on it, idle connections. See host_internal.h.
#include "base/alloc.h"
#include "base/assert.h"
#include "base/log.h"
#include "server/host_internal.h"

#include <stdio.h>
#include <string.h>

struct od_database *od_database_new(struct od_host *host, const char *name)
{
    struct od_database *database = od_calloc(1, sizeof *database);
    if (!database)
        return NULL;
    database->host = host;
    snprintf(database->name, sizeof database->name, "%s", name);
    pthread_mutex_init(&database->opening, NULL);
    pthread_mutex_init(&database->pool_lock, NULL);
    return database;
}

void od_database_free(struct od_database *database)
{
    pthread_mutex_destroy(&database->opening);
    pthread_mutex_destroy(&database->pool_lock);
    od_free(database);
}

struct od_engine_options od_host_engine_options(struct od_host *host, const char *name, const char *spill)
{
    return (struct od_engine_options){
        .name = name,
        .temp_directory = spill,
        .memory_limit_bytes = host->options.memory_limit_bytes,
        .threads = host->options.threads,
        .temp_bytes_max = host->options.temp_bytes_max,
        .external_access = host->options.external_access,
        .budget = host->options.budget,
    };
}

static od_code open_volume(struct od_database *database, struct od_error *err)
{
    const struct od_host *host = database->host;
    struct od_store *store = host->place.store;
    return database->of ? od_volume_open_at(store, database->name, &database->position, &database->volume, err)
                        : od_volume_open(store, database->name, host->options.take_over, &database->volume, err);
}

static od_code open_engine(struct od_database *database, struct od_error *err)
{
    od_code rc = OD_OK;
    struct od_engine *engine = NULL;
    char *spill = od_place_temporary(&database->host->place, ".spill");
    if (!spill)
        return od_fail(err, OD_NO_MEMORY, "no memory to open a database");
    OD_TRY(open_volume(database, err));
    struct od_engine_options options = od_host_engine_options(database->host, database->name, spill);
    options.volume = database->volume;
    options.read_only = database->of != NULL;
    OD_TRY(od_engine_open(&options, &engine, err));
    atomic_store(&database->engine, engine);
    od_log(OD_LOG_INFO, "server", "opened database \"%s\"%s", database->name, database->of ? " at a snapshot" : "");
out:
    if (rc != OD_OK) {
        od_volume_close(database->volume);
        database->volume = NULL;
    }
    od_free(spill);
    return rc;
}

// Pool and condemned engine belong together: the engine that is gone took no connections since.
static void close_engine(struct od_database *database, struct od_engine *engine)
{
    for (unsigned i = 0; i < database->idle_count; i++)
        od_connection_close(database->idle[i]);
    database->idle_count = 0;
    if (engine)
        od_engine_close(engine);
    od_volume_close(database->volume);
    database->volume = NULL;
}

od_code od_database_open(struct od_database *database, struct od_error *err)
{
    od_code rc = OD_OK;
    pthread_mutex_lock(&database->opening);
    if (database->condemned_engine) {
        close_engine(database, database->condemned_engine);
        database->condemned_engine = NULL;
    }
    if (!atomic_load(&database->engine))
        rc = open_engine(database, err);
    pthread_mutex_unlock(&database->opening);
    return rc;
}

void od_database_close_if_alone(struct od_database *database)
{
    struct od_engine *engine = NULL;
    pthread_mutex_lock(&database->opening);
    pthread_mutex_lock(&database->host->lock);
    if (database->uses == 1)
        engine = atomic_exchange(&database->engine, NULL);
    pthread_mutex_unlock(&database->host->lock);
    if (engine) {
        close_engine(database, engine);
        od_log(OD_LOG_INFO, "server", "closed database \"%s\", which nobody used", database->name);
    }
    pthread_mutex_unlock(&database->opening);
}

void od_database_close(struct od_database *database)
{
    struct od_engine *engine = atomic_exchange(&database->engine, NULL);
    close_engine(database, engine ? engine : database->condemned_engine);
    database->condemned_engine = NULL;
}

// ---- use

void od_database_retain(struct od_database *database)
{
    pthread_mutex_lock(&database->host->lock);
    od_assert(database->uses > 0);
    database->uses++;
    if (database->of)
        database->of->uses++;
    pthread_mutex_unlock(&database->host->lock);
}

struct od_engine *od_database_engine(const struct od_database *database)
{
    return atomic_load(&database->engine);
}

struct od_store *od_database_store(const struct od_database *database)
{
    return database->host->place.store;
}

struct od_volume *od_database_volume(const struct od_database *database)
{
    return database->volume;
}

const char *od_database_name(const struct od_database *database)
{
    return database->name;
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
        if (database->idle_count < OD_IDLE_CONNECTIONS_MAX) {
            database->idle[database->idle_count++] = connection;
            connection = NULL;
        }
        pthread_mutex_unlock(&database->pool_lock);
    }
    od_connection_close(connection);
}
