// budget.h - the inside of struct od_budget (batch_queue.h): what batch_queue.c needs of it.
//
// A member is anything that may be blocked by the budget. Lock order: a member's own lock, then the budget's lock;
// so od_budget_wake_blocked must be called with no member's lock held.
#ifndef OD_ARROW_BUDGET_H
#define OD_ARROW_BUDGET_H

#include "arrow/batch_queue.h"

struct od_budget_member {
    struct od_budget_member *previous, *next;
    bool listed;
    // Called under the budget's lock: takes a reference if the member is still alive.
    bool (*try_ref)(struct od_budget_member *member);
    // Called without locks: there may be room again. Drops the reference of try_ref.
    void (*room)(struct od_budget_member *member);
};

void od_budget_take(struct od_budget *budget, uint64_t bytes); // never refuses; may overshoot
void od_budget_give(struct od_budget *budget, uint64_t bytes);
uint64_t od_budget_guaranteed(const struct od_budget *budget);

// True when used - own >= limit; then the member is listed and will hear of room. `own`: bytes of the member that do
// not count for this question.
bool od_budget_blocks(struct od_budget *budget, uint64_t own, struct od_budget_member *member);
// Tells the listed members, one by one, as long as there is room.
void od_budget_wake_blocked(struct od_budget *budget);
void od_budget_leave(struct od_budget *budget, struct od_budget_member *member);

#endif
