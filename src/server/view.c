// view.c - databases at a snapshot: one frozen volume with an engine on it for each position that somebody reads. It stays
// open for a while after its last use, because people look at the same moment again and again.
//
// A view's uses are uses of its database too, so that it is not dropped under them.
#include "base/alloc.h"
#include "base/log.h"
#include "os/clock.h"
#include "server/host_internal.h"

#include <string.h>

#define VIEWS_MAX 32u

static bool is_at(const struct od_database *view, const struct od_database *database,
                  const struct od_position *position)
{
    return view->of == database && !view->condemned && view->position.lsn == position->lsn &&
           view->position.epoch == position->epoch && od_uuid_equal(&view->position.branch, &position->branch);
}

// Lock held.
static od_code find_or_add(struct od_database *database, const struct od_position *position, struct od_database **out,
                           struct od_error *err)
{
    struct od_host *host = database->host;
    struct od_database *view = host->views;
    while (view && !is_at(view, database, position))
        view = view->next;
    if (!view) {
        if (host->view_count >= VIEWS_MAX)
            return od_fail(err, OD_BUSY, "%zu snapshots are open, which is the most; try again", host->view_count);
        view = od_database_new(host, database->name);
        if (!view)
            return od_fail(err, OD_NO_MEMORY, "no memory for a snapshot");
        view->state = OD_DATABASE_READY;
        view->of = database;
        view->position = *position;
        view->next = host->views;
        host->views = view;
        host->view_count++;
    }
    view->uses++;
    *out = view;
    return OD_OK;
}

od_code od_view_acquire(struct od_database *database, const char *selector, struct od_database **view,
                        struct od_error *err)
{
    struct od_host *host = database->host;
    struct od_position position;
    struct od_database *found = NULL;
    od_code rc = od_store_resolve(host->place.store, database->name, selector, database->volume, &position, err);
    if (rc != OD_OK)
        return rc;
    if (host->view_count >= VIEWS_MAX) // a hint: the lock decides below
        od_views_close(host, NULL, UINT64_MAX);
    pthread_mutex_lock(&host->lock);
    rc = find_or_add(database, &position, &found, err);
    pthread_mutex_unlock(&host->lock);
    if (rc != OD_OK)
        return rc;
    rc = od_database_open(found, err);
    if (rc == OD_OK) {
        *view = found;
        return OD_OK;
    }
    pthread_mutex_lock(&host->lock);
    found->uses--;
    found->condemned = true; // whoever comes next begins anew
    pthread_mutex_unlock(&host->lock);
    od_views_close(host, database, 0);
    return rc;
}

void od_views_close(struct od_host *host, const struct od_database *of, uint64_t idle_before_ms)
{
    struct od_database *closing = NULL;
    pthread_mutex_lock(&host->lock);
    for (struct od_database **at = &host->views; *at;) {
        struct od_database *view = *at;
        bool idle = view->uses == 0 && (!of || view->of == of);
        if (idle && (view->condemned || view->idle_since_ms < idle_before_ms)) {
            *at = view->next;
            host->view_count--;
            view->next = closing;
            closing = view;
        } else {
            at = &view->next;
        }
    }
    pthread_mutex_unlock(&host->lock);
    while (closing) {
        struct od_database *view = closing;
        closing = view->next;
        od_database_close(view);
        od_database_free(view);
    }
}
