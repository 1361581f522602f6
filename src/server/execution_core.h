// execution_core.h - the life of one execution as a state machine: events and time in, actions out. No I/O, no locks.
//
// Three things go on at once: the statement (phase), the Execute calls that wait for an answer (callers, replied), and
// the stream that fetches the rest (attached). The rules:
//
//   E1  Execute is answered at the first of: the statement is done, the inline limit is reached, reply_delay has passed
//       (but never before the schema is known).
//   E2  Nobody waits any more before anything was handed out: after abandon_grace the statement is interrupted. If the
//       request comes again meanwhile and the statement had no effect, it runs again.
//   E3  A stream breaks after something was handed out: the execution is parked for park_ms, provided that within
//       park_grace it uses no processor (it is done, or its queue is full); else it is interrupted.
//   E4  A ticket that nobody presents within ticket_open cancels the execution.
//   E5  What stops a statement first is the reason told to the client, except that being abandoned yields to any other.
//   E6  An execution is forgotten once, when its stream or answer got through, or nobody may come for it any more; never
//       while its statement runs (so that a request sent again finds it), nor while a caller waits or a stream is
//       attached.
//   E7  A statement that ended well is answered so, whatever was asked of it meanwhile: the outcome is the truth.
//   E8  A stream that takes nothing for stall_ms while its statement runs: the statement's rows are spilled, so that its
//       transaction can end.
#ifndef OD_SERVER_EXECUTION_CORE_H
#define OD_SERVER_EXECUTION_CORE_H

#include "base/cdecl.h"
#include <stdbool.h>
#include <stdint.h>

OD_BEGIN_C

#define OD_NEVER UINT64_MAX

enum od_phase { OD_PHASE_WAITING, OD_PHASE_RUNNING, OD_PHASE_DONE };

enum od_stop {
    OD_STOP_NONE,
    OD_STOP_ABANDONED, // the client is gone
    OD_STOP_TIMEOUT,   // the statement's deadline
    OD_STOP_UNREAD,    // the client has not read for too long
    OD_STOP_CANCELLED,
    OD_STOP_SHUTDOWN,
};

struct od_execution_times {
    uint64_t reply_delay_ms, abandon_grace_ms, ticket_open_ms, park_grace_ms, park_ms, end_grace_ms, unread_ms,
        stall_ms;
};

struct od_execution_core {
    const struct od_execution_times *times;
    enum od_phase phase;
    enum od_stop stop;
    bool resumable;  // Execute and Stream; false: one call that carries everything
    bool repeatable; // may run again after it was interrupted without effect
    bool ready;      // the schema is known
    bool collected;  // as much as an answer may carry is there
    bool due;        // reply_delay has passed
    bool replied;
    bool opened;   // a stream has come for it
    bool attached; // a stream is there
    bool handed;   // a batch was given out
    bool over; // nobody may come for it any more
    bool forgotten;
    unsigned callers;
    uint64_t reply_at, deadline, abandon_at, ticket_at, park_check_at, park_until, end_at, unread_at, stall_at;
};

enum od_execution_event {
    OD_EVENT_BEGIN,         // an executor is about to run it
    OD_EVENT_READY,         // the schema is known
    OD_EVENT_COLLECTED,     // inline limit reached
    OD_EVENT_DONE,          // the statement ended, with or without an error
    OD_EVENT_DONE_NOTHING,  // the statement ended by an interrupt and had no effect
    OD_EVENT_CALLER_JOINED, // one more Execute waits for the answer
    OD_EVENT_CALLER_LEFT,   // one that waited is gone
    OD_EVENT_REPLY_LOST,    // the call that carried the answer broke
    OD_EVENT_REPLIED,       // the answer went out with everything in it
    OD_EVENT_REPLIED_PART,  // the answer went out with tickets
    OD_EVENT_HANDED,        // a batch was given out
    OD_EVENT_PROGRESS,      // the client takes what is sent
    OD_EVENT_STREAM_OPENED,
    OD_EVENT_STREAM_BROKEN,      // and it may be parked
    OD_EVENT_STREAM_BROKEN_FULL, // but too many are parked
    OD_EVENT_STREAM_CLOSED,      // ended by us, and delivered
    OD_EVENT_END_SENT,
    OD_EVENT_ACKNOWLEDGED, // the end was sent, and every batch has arrived
    OD_EVENT_CANCEL,
    OD_EVENT_SHUTDOWN,
    OD_EVENT_TICK,      // time has passed
    OD_EVENT_TICK_BUSY, // the same, and the statement is using the processor
};

enum od_execution_action {
    OD_ACTION_REPLY = 1,         // answer all callers (tell with REPLIED or REPLIED_PART), keep a write's answer
    OD_ACTION_DROP = 2,          // it will never begin: take it out of the queues
    OD_ACTION_INTERRUPT = 4,     // stop the statement, and the flow of its rows
    OD_ACTION_RERUN = 8,         // run the statement again, from the start
    OD_ACTION_CLOSE_STREAM = 16, // end the stream's call
    OD_ACTION_FORGET = 32,       // release everything
    OD_ACTION_SPILL = 64,        // let the statement go on without its reader
};

// An execution with one caller (resumable), or with its one stream attached. deadline_ms: OD_NEVER for none.
void od_execution_init(struct od_execution_core *core, const struct od_execution_times *times, bool resumable,
                       uint64_t deadline_ms, uint64_t now_ms);
unsigned od_execution_step(struct od_execution_core *core, enum od_execution_event event, uint64_t now_ms);
// When the next tick is due.
uint64_t od_execution_next_ms(const struct od_execution_core *core);

OD_END_C

#endif
