// session_core.h - the rules of a session: which statement number may come, and when the session ends by itself. Pure.
//
//   S1  Statements have rising numbers, the first is 1. A higher one than the last runs (numbers may be left out: a
//       request that was given up may never have arrived); the last one again is the same request sent again; a lower
//       one is late and must not run any more.
//   S2  A statement that was turned away before it began leaves its number free (od_session_withdraw).
//   S3  A session ends after idle_ms without a statement, and after transaction_idle_ms inside a transaction.
#ifndef OD_SERVER_SESSION_CORE_H
#define OD_SERVER_SESSION_CORE_H

#include "base/cdecl.h"
#include <stdbool.h>
#include <stdint.h>

OD_BEGIN_C

struct od_session_core {
    uint64_t last;        // highest number accepted; 0: none
    uint64_t before_last; // the one before it
    unsigned pending;     // accepted and not finished
    bool in_transaction;
    uint64_t used_ms;     // when the last statement came or ended
};

enum od_session_answer {
    OD_SESSION_RUNS,    // a new statement
    OD_SESSION_REPEATS, // the last one again
    OD_SESSION_STRAYS,  // too late, or the first is not 1
};
enum od_session_answer od_session_accept(struct od_session_core *core, uint64_t sequence, uint64_t now_ms);
// Statement `sequence` was accepted and will not run. False: a later one was accepted, so the session is lost.
bool od_session_withdraw(struct od_session_core *core, uint64_t sequence);
void od_session_finished(struct od_session_core *core, bool in_transaction, uint64_t now_ms);

enum od_session_end { OD_SESSION_LIVES, OD_SESSION_IDLE, OD_SESSION_TRANSACTION_IDLE };
enum od_session_end od_session_check(const struct od_session_core *core, uint64_t idle_ms,
                                     uint64_t transaction_idle_ms, uint64_t now_ms);

OD_END_C

#endif
