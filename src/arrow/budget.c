// budget.c - one count of bytes for many queues, and the list of those that wait for it to fall.
//
// Asking and listing happen under one lock, so a member that was told "blocked" never misses the bytes given back
// afterwards. The count may pass the limit by one batch per producer: producers ask before they encode.
#include "arrow/budget.h"

#include "base/alloc.h"
#include "base/assert.h"

#include <pthread.h>
#include <stdatomic.h>

struct od_budget {
    pthread_mutex_t lock;
    uint64_t limit;
    uint64_t guaranteed;
    atomic_uint_least64_t used; // written under the lock, read anywhere
    struct od_budget_member *first, *last;
};

struct od_budget *od_budget_new(uint64_t limit_bytes, uint64_t guaranteed_bytes)
{
    struct od_budget *budget = od_calloc(1, sizeof *budget);
    if (!budget)
        return NULL;
    pthread_mutex_init(&budget->lock, NULL);
    budget->limit = limit_bytes;
    budget->guaranteed = guaranteed_bytes ? guaranteed_bytes : 1; // 0 would let an empty queue be blocked for ever
    return budget;
}

void od_budget_free(struct od_budget *budget)
{
    if (!budget)
        return;
    od_assert(!budget->first && atomic_load(&budget->used) == 0);
    pthread_mutex_destroy(&budget->lock);
    od_free(budget);
}

uint64_t od_budget_used(const struct od_budget *budget)
{
    return atomic_load(&budget->used);
}

uint64_t od_budget_guaranteed(const struct od_budget *budget)
{
    return budget->guaranteed;
}

void od_budget_take(struct od_budget *budget, uint64_t bytes)
{
    pthread_mutex_lock(&budget->lock);
    atomic_fetch_add(&budget->used, bytes);
    pthread_mutex_unlock(&budget->lock);
}

void od_budget_give(struct od_budget *budget, uint64_t bytes)
{
    pthread_mutex_lock(&budget->lock);
    uint64_t before = atomic_fetch_sub(&budget->used, bytes);
    pthread_mutex_unlock(&budget->lock);
    od_assert(before >= bytes);
}

static void unlist(struct od_budget *budget, struct od_budget_member *member)
{
    *(member->previous ? &member->previous->next : &budget->first) = member->next;
    *(member->next ? &member->next->previous : &budget->last) = member->previous;
    member->previous = member->next = NULL;
    member->listed = false;
}

bool od_budget_blocks(struct od_budget *budget, uint64_t own, struct od_budget_member *member)
{
    pthread_mutex_lock(&budget->lock);
    uint64_t used = atomic_load(&budget->used);
    od_assert(own <= used);
    bool blocked = used - own >= budget->limit;
    if (blocked && !member->listed) {
        member->previous = budget->last;
        member->next = NULL;
        *(budget->last ? &budget->last->next : &budget->first) = member;
        budget->last = member;
        member->listed = true;
    }
    pthread_mutex_unlock(&budget->lock);
    return blocked;
}

void od_budget_wake_blocked(struct od_budget *budget)
{
    // Members go in order of arrival and one at a time: a member that stays blocked puts itself back, which it does
    // only when there is no room, and that ends the loop.
    for (;;) {
        pthread_mutex_lock(&budget->lock);
        struct od_budget_member *member = NULL;
        while (budget->first && atomic_load(&budget->used) < budget->limit) {
            member = budget->first;
            unlist(budget, member);
            if (member->try_ref(member))
                break;
            member = NULL; // it is on its way out
        }
        pthread_mutex_unlock(&budget->lock);
        if (!member)
            return;
        member->room(member);
    }
}

void od_budget_leave(struct od_budget *budget, struct od_budget_member *member)
{
    pthread_mutex_lock(&budget->lock);
    if (member->listed)
        unlist(budget, member);
    pthread_mutex_unlock(&budget->lock);
}
