// admission.c - see admission.h.
#include "server/admission.h"

#include "base/assert.h"

static void unlink_slot(struct od_admission *admission, struct od_slot *slot)
{
    *(slot->previous ? &slot->previous->next : &admission->first) = slot->next;
    *(slot->next ? &slot->next->previous : &admission->last) = slot->previous;
    slot->previous = slot->next = NULL;
    admission->waiting--;
}

enum od_slot_state od_admission_enter(struct od_admission *admission, struct od_slot *slot, uint64_t now_ms)
{
    od_assert(slot->state == OD_SLOT_OUT);
    slot->since_ms = now_ms;
    // Nobody overtakes those who wait.
    if (admission->running < admission->running_max && !admission->first) {
        admission->running++;
        slot->state = OD_SLOT_RUNNING;
    } else if (admission->waiting < admission->waiting_max) {
        slot->previous = admission->last;
        *(admission->last ? &admission->last->next : &admission->first) = slot;
        admission->last = slot;
        admission->waiting++;
        slot->state = OD_SLOT_WAITING;
    }
    return slot->state;
}

void od_admission_leave(struct od_admission *admission, struct od_slot *slot)
{
    if (slot->state == OD_SLOT_WAITING)
        unlink_slot(admission, slot);
    else if (slot->state == OD_SLOT_RUNNING)
        admission->running--;
    else if (slot->state == OD_SLOT_PAUSED)
        admission->paused--;
    slot->state = OD_SLOT_OUT;
}

struct od_slot *od_admission_next(struct od_admission *admission)
{
    struct od_slot *slot = admission->first;
    if (!slot || admission->running >= admission->running_max)
        return NULL;
    unlink_slot(admission, slot);
    admission->running++;
    slot->state = OD_SLOT_RUNNING;
    return slot;
}

struct od_slot *od_admission_expired(struct od_admission *admission, uint64_t now_ms)
{
    struct od_slot *slot = admission->first;
    if (!slot || now_ms - slot->since_ms < admission->wait_ms_max)
        return NULL;
    unlink_slot(admission, slot);
    slot->state = OD_SLOT_OUT;
    return slot;
}

bool od_admission_pause(struct od_admission *admission, struct od_slot *slot)
{
    if (slot->state != OD_SLOT_RUNNING || admission->paused >= admission->paused_max)
        return false;
    admission->running--;
    admission->paused++;
    slot->state = OD_SLOT_PAUSED;
    return true;
}

void od_admission_resume(struct od_admission *admission, struct od_slot *slot)
{
    if (slot->state != OD_SLOT_PAUSED)
        return;
    admission->paused--;
    admission->running++;
    slot->state = OD_SLOT_RUNNING;
}
