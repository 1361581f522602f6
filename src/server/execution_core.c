// execution_core.c - see execution_core.h, whose rules E1-E8 the comments name.
#include "server/execution_core.h"

#include "base/assert.h"

void od_execution_init(struct od_execution_core *core, const struct od_execution_times *times, bool resumable,
                       uint64_t deadline_ms, uint64_t now_ms)
{
    *core = (struct od_execution_core){
        .times = times,
        .resumable = resumable,
        .repeatable = resumable,
        .callers = resumable ? 1 : 0,
        .replied = !resumable,
        .opened = !resumable,
        .attached = !resumable,
        .reply_at = resumable ? now_ms + times->reply_delay_ms : OD_NEVER,
        .deadline = deadline_ms,
        .abandon_at = OD_NEVER,
        .ticket_at = OD_NEVER,
        .park_check_at = OD_NEVER,
        .park_until = OD_NEVER,
        .end_at = OD_NEVER,
        .unread_at = resumable ? OD_NEVER : now_ms + times->unread_ms,
        .stall_at = resumable ? OD_NEVER : now_ms + times->stall_ms,
    };
}

static unsigned stop(struct od_execution_core *core, enum od_stop reason)
{
    if (core->stop != OD_STOP_NONE && core->stop != OD_STOP_ABANDONED) // E5
        return 0;
    core->stop = reason;
    if (core->phase != OD_PHASE_WAITING)
        return OD_ACTION_INTERRUPT;
    core->phase = OD_PHASE_DONE;
    return OD_ACTION_DROP;
}

static unsigned abandon(struct od_execution_core *core)
{
    core->over = true;
    core->park_check_at = core->park_until = OD_NEVER;
    return core->phase != OD_PHASE_DONE ? stop(core, OD_STOP_ABANDONED) : 0;
}

// E2: the answer, if one was given, is taken back, because nobody has used it.
static unsigned abandon_unseen(struct od_execution_core *core)
{
    core->abandon_at = OD_NEVER;
    if (core->phase != OD_PHASE_RUNNING)
        return abandon(core);
    core->replied = false;
    core->ticket_at = OD_NEVER;
    return stop(core, OD_STOP_ABANDONED);
}

static unsigned stream_broken(struct od_execution_core *core, bool may_park, uint64_t now_ms)
{
    core->attached = false;
    core->end_at = core->unread_at = core->stall_at = OD_NEVER;
    if (!core->resumable || core->stop != OD_STOP_NONE)
        return abandon(core);
    if (core->phase == OD_PHASE_RUNNING && !core->handed) {
        core->abandon_at = now_ms + core->times->abandon_grace_ms;
        return 0;
    }
    if (!may_park)
        return abandon(core);
    core->park_until = now_ms + core->times->park_ms; // E3
    if (core->phase == OD_PHASE_RUNNING)
        core->park_check_at = now_ms + core->times->park_grace_ms;
    return 0;
}

// The client reads.
static void taken(struct od_execution_core *core, uint64_t now_ms)
{
    core->unread_at = now_ms + core->times->unread_ms;
    core->stall_at = core->phase == OD_PHASE_DONE ? OD_NEVER : now_ms + core->times->stall_ms;
}

static unsigned done(struct od_execution_core *core, bool nothing, uint64_t now_ms)
{
    core->phase = OD_PHASE_DONE;
    core->deadline = core->park_check_at = core->abandon_at = core->stall_at = OD_NEVER;
    if (core->stop != OD_STOP_ABANDONED || core->replied)
        return 0;
    if (nothing && core->callers > 0 && core->repeatable && !core->handed) { // E2
        core->phase = OD_PHASE_RUNNING;
        core->stop = OD_STOP_NONE;
        core->ready = core->collected = core->due = core->opened = false;
        core->reply_at = now_ms + core->times->reply_delay_ms;
        return OD_ACTION_RERUN;
    }
    if (core->callers == 0)
        core->over = true;
    return 0;
}

static unsigned cancel(struct od_execution_core *core, enum od_stop reason)
{
    // Rows that wait for their reader are given up too; before an answer the callers get theirs first.
    if (core->replied && !core->attached)
        core->over = true;
    return stop(core, reason);
}

static unsigned tick(struct od_execution_core *core, bool busy, uint64_t now_ms)
{
    unsigned actions = 0;
    if (now_ms >= core->reply_at) {
        core->reply_at = OD_NEVER;
        core->due = true;
    }
    if (now_ms >= core->deadline) {
        core->deadline = OD_NEVER;
        actions |= stop(core, OD_STOP_TIMEOUT);
    }
    if (now_ms >= core->abandon_at)
        actions |= abandon_unseen(core);
    if (now_ms >= core->ticket_at) { // E4
        core->ticket_at = OD_NEVER;
        actions |= abandon(core);
    }
    if (now_ms >= core->park_check_at) {
        core->park_check_at = OD_NEVER;
        if (busy)
            actions |= abandon(core);
    }
    if (now_ms >= core->park_until)
        actions |= abandon(core);
    if (now_ms >= core->end_at) {
        core->end_at = OD_NEVER;
        actions |= OD_ACTION_CLOSE_STREAM;
    }
    if (now_ms >= core->unread_at) {
        core->unread_at = OD_NEVER;
        actions |= stop(core, OD_STOP_UNREAD);
    }
    if (now_ms >= core->stall_at) { // E8
        core->stall_at = now_ms + core->times->stall_ms;
        if (core->phase == OD_PHASE_RUNNING)
            actions |= OD_ACTION_SPILL;
    }
    return actions;
}

static unsigned apply(struct od_execution_core *core, enum od_execution_event event, uint64_t now_ms)
{
    switch (event) {
    case OD_EVENT_BEGIN:
        if (core->phase == OD_PHASE_WAITING)
            core->phase = OD_PHASE_RUNNING;
        return 0;
    case OD_EVENT_READY:
        core->ready = true;
        return 0;
    case OD_EVENT_COLLECTED:
        core->collected = true;
        return 0;
    case OD_EVENT_DONE:
        return done(core, false, now_ms);
    case OD_EVENT_DONE_NOTHING:
        return done(core, true, now_ms);
    case OD_EVENT_CALLER_JOINED:
        core->callers++;
        if (!core->replied) {
            core->abandon_at = OD_NEVER;
            core->over = false;
        }
        return 0;
    case OD_EVENT_CALLER_LEFT:
        od_assert(core->callers > 0);
        if (--core->callers == 0 && !core->replied && core->phase != OD_PHASE_DONE)
            core->abandon_at = now_ms + core->times->abandon_grace_ms;
        return 0;
    case OD_EVENT_REPLY_LOST:
        if (!core->opened && core->ticket_at > now_ms + core->times->end_grace_ms)
            core->ticket_at = now_ms + core->times->end_grace_ms;
        return 0;
    case OD_EVENT_REPLIED:
        core->callers = 0;
        core->over = true;
        return 0;
    case OD_EVENT_REPLIED_PART:
        core->callers = 0;
        if (!core->over)
            core->ticket_at = now_ms + core->times->ticket_open_ms;
        return 0;
    case OD_EVENT_HANDED:
        core->handed = true;
        return 0;
    case OD_EVENT_PROGRESS:
        if (core->attached)
            taken(core, now_ms);
        return 0;
    case OD_EVENT_STREAM_OPENED:
        core->opened = core->attached = true;
        core->ticket_at = core->abandon_at = core->park_check_at = core->park_until = core->end_at = OD_NEVER;
        taken(core, now_ms);
        return 0;
    case OD_EVENT_STREAM_BROKEN:
        return stream_broken(core, true, now_ms);
    case OD_EVENT_STREAM_BROKEN_FULL:
        return stream_broken(core, false, now_ms);
    case OD_EVENT_STREAM_CLOSED:
        core->attached = false;
        core->end_at = core->unread_at = core->stall_at = OD_NEVER;
        return abandon(core); // nothing is left to stop when it ended well
    case OD_EVENT_END_SENT:
        core->end_at = now_ms + core->times->end_grace_ms;
        core->unread_at = OD_NEVER;
        return 0;
    case OD_EVENT_ACKNOWLEDGED:
        core->end_at = OD_NEVER;
        return core->attached ? OD_ACTION_CLOSE_STREAM : 0;
    case OD_EVENT_CANCEL:
        return cancel(core, OD_STOP_CANCELLED);
    case OD_EVENT_SHUTDOWN:
        return cancel(core, OD_STOP_SHUTDOWN);
    case OD_EVENT_TICK:
        return tick(core, false, now_ms);
    case OD_EVENT_TICK_BUSY:
        return tick(core, true, now_ms);
    }
    return 0;
}

unsigned od_execution_step(struct od_execution_core *core, enum od_execution_event event, uint64_t now_ms)
{
    unsigned actions = apply(core, event, now_ms);
    bool answer = core->phase == OD_PHASE_DONE ||
                  (core->ready && core->callers > 0 && core->stop == OD_STOP_NONE &&
                   (core->collected || core->due)); // E1
    if (!core->replied && answer) {
        core->replied = true;
        core->reply_at = OD_NEVER;
        actions |= OD_ACTION_REPLY;
    }
    bool forget = core->over && core->phase != OD_PHASE_RUNNING && core->callers == 0 && !core->attached;
    // An answer that is still to be made comes first; REPLIED brings us here again.
    if (forget && !core->forgotten && !(actions & OD_ACTION_REPLY)) { // E6
        core->forgotten = true;
        actions |= OD_ACTION_FORGET;
    }
    return actions;
}

uint64_t od_execution_next_ms(const struct od_execution_core *core)
{
    const uint64_t times[] = {
        core->reply_at,   core->deadline, core->abandon_at, core->ticket_at, core->park_check_at,
        core->park_until, core->end_at,   core->unread_at, core->stall_at,
    };
    uint64_t next = OD_NEVER;
    for (unsigned i = 0; i < sizeof times / sizeof *times; i++)
        if (times[i] < next)
            next = times[i];
    return next;
}
