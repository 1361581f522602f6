// session_core.c - see session_core.h.
#include "server/session_core.h"

#include "base/assert.h"

enum od_session_answer od_session_accept(struct od_session_core *core, uint64_t sequence, uint64_t now_ms)
{
    if (core->last == 0 ? sequence == 1 : sequence > core->last) {
        core->before_last = core->last;
        core->last = sequence;
        core->pending++;
        core->used_ms = now_ms;
        return OD_SESSION_RUNS;
    }
    if (sequence == core->last && sequence != 0) {
        core->used_ms = now_ms;
        return OD_SESSION_REPEATS;
    }
    return OD_SESSION_STRAYS;
}

bool od_session_withdraw(struct od_session_core *core, uint64_t sequence)
{
    od_assert(core->pending > 0);
    core->pending--;
    if (core->last != sequence)
        return false;
    core->last = core->before_last;
    return true;
}

void od_session_finished(struct od_session_core *core, bool in_transaction, uint64_t now_ms)
{
    od_assert(core->pending > 0);
    core->pending--;
    core->in_transaction = in_transaction;
    core->used_ms = now_ms;
}

enum od_session_end od_session_check(const struct od_session_core *core, uint64_t idle_ms,
                                     uint64_t transaction_idle_ms, uint64_t now_ms)
{
    if (core->pending > 0 || now_ms < core->used_ms)
        return OD_SESSION_LIVES;
    uint64_t idle = now_ms - core->used_ms;
    if (core->in_transaction && idle >= transaction_idle_ms)
        return OD_SESSION_TRANSACTION_IDLE;
    return idle >= idle_ms ? OD_SESSION_IDLE : OD_SESSION_LIVES;
}
