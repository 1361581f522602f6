// crew.c - see crew.h.
//
// States of a member: WORKING (has a job) -> IDLE (in the idle list, waiting for one) -> WORKING ...
// -> ENDED (in the ended list, to be joined by the next caller).
// Every member is in `members`; joining takes it out.
#include "client/crew.h"

#include "base/alloc.h"
#include "os/thread.h"

struct member {
    struct od_thread thread;
    struct od_crew *crew;
    struct member *next;      // in crew->members
    struct member *next_idle; // in crew->idle
    pthread_cond_t woken;
    void (*run)(void *argument); // NULL while idle
    void *argument;
    bool ended;
};

struct od_crew {
    pthread_mutex_t lock;
    struct member *members;
    struct member *idle; // the one that worked last comes first: its caches are warm
    unsigned idle_count;
    bool stopping;
};

static void member_main(void *opaque)
{
    struct member *member = opaque;
    struct od_crew *crew = member->crew;
    pthread_mutex_lock(&crew->lock);
    for (;;) {
        while (member->run) {
            pthread_mutex_unlock(&crew->lock);
            member->run(member->argument);
            pthread_mutex_lock(&crew->lock);
            member->run = NULL;
        }
        if (crew->stopping || crew->idle_count >= OD_CREW_IDLE_MAX)
            break;
        member->next_idle = crew->idle;
        crew->idle = member;
        crew->idle_count++;
        while (!member->run && !crew->stopping)
            pthread_cond_wait(&member->woken, &crew->lock);
        if (!member->run)
            break;
    }
    member->ended = true;
    pthread_mutex_unlock(&crew->lock);
}

od_code od_crew_new(struct od_crew **crew, struct od_error *err)
{
    *crew = od_calloc(1, sizeof **crew);
    if (!*crew)
        return od_fail(err, OD_NO_MEMORY, "no memory for the client's threads");
    pthread_mutex_init(&(*crew)->lock, NULL);
    return OD_OK;
}

// Takes one ended member out; NULL: none.
static struct member *take_ended(struct od_crew *crew)
{
    for (struct member **at = &crew->members; *at; at = &(*at)->next)
        if ((*at)->ended) {
            struct member *member = *at;
            *at = member->next;
            return member;
        }
    return NULL;
}

static void member_free(struct member *member)
{
    od_thread_join(&member->thread);
    pthread_cond_destroy(&member->woken);
    od_free(member);
}

od_code od_crew_run(struct od_crew *crew, void (*run)(void *argument), void *argument, struct od_error *err)
{
    pthread_mutex_lock(&crew->lock);
    struct member *member = crew->idle;
    if (member) {
        crew->idle = member->next_idle;
        crew->idle_count--;
        member->run = run;
        member->argument = argument;
        pthread_cond_signal(&member->woken);
        pthread_mutex_unlock(&crew->lock);
        return OD_OK;
    }
    struct member *ended = take_ended(crew);
    pthread_mutex_unlock(&crew->lock);
    if (ended)
        member_free(ended);

    member = od_calloc(1, sizeof *member);
    if (!member)
        return od_fail(err, OD_NO_MEMORY, "no memory for a client thread");
    od_cond_init(&member->woken);
    member->crew = crew;
    member->run = run;
    member->argument = argument;
    // Listed and started under the lock, so that nobody meets a member whose thread is not set yet.
    pthread_mutex_lock(&crew->lock);
    od_code rc = od_thread_start(&member->thread, "openduck-client", member_main, member, err);
    if (rc == OD_OK) {
        member->next = crew->members;
        crew->members = member;
    }
    pthread_mutex_unlock(&crew->lock);
    if (rc != OD_OK) {
        pthread_cond_destroy(&member->woken);
        od_free(member);
    }
    return rc;
}

void od_crew_free(struct od_crew *crew)
{
    if (!crew)
        return;
    pthread_mutex_lock(&crew->lock);
    crew->stopping = true;
    for (struct member *member = crew->idle; member; member = member->next_idle)
        pthread_cond_signal(&member->woken);
    pthread_mutex_unlock(&crew->lock);
    // Jobs may start jobs until they end, so the list is read again after each join.
    for (;;) {
        pthread_mutex_lock(&crew->lock);
        struct member *member = crew->members;
        if (member)
            crew->members = member->next;
        pthread_mutex_unlock(&crew->lock);
        if (!member)
            break;
        member_free(member);
    }
    pthread_mutex_destroy(&crew->lock);
    od_free(crew);
}
