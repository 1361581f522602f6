// fault.h - makes every fallible step of a piece of code fail once, by machine.
//
//     OD_FAULT_LOOP(fault) {
//         struct od_error err = {0};
//         od_code rc = od_thing_open(&thing, &err);
//         od_fault_expect(&fault, rc, &err);     // first run: OD_OK; later runs: OD_OK or a typed, worded error
//         if (rc == OD_OK)
//             od_thing_close(thing);
//     }
//
// The body runs once without a fault, to count the fault points it passes (every od_alloc, every operation of
// src/os), and then twice for each point: once with that point alone failing, once with it and all later ones.
// Leaks and bad accesses are found by the sanitizers. The body must leave by its end, never by break or return.
#ifndef OD_TESTS_SUPPORT_FAULT_H
#define OD_TESTS_SUPPORT_FAULT_H

#include "base/alloc.h"
#include "base/error.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

struct od_fault_loop {
    uint64_t run;       // 0: no fault; then 2n + 1 (transient) and 2n + 2 (persistent) for point n
    uint64_t points;    // passed by run 0
    uint64_t succeeded; // runs with a fault that ended well all the same
    bool started;
    bool ended; // this run by od_fault_end
};

static inline bool od_fault_loop_next(struct od_fault_loop *loop)
{
    const uint64_t points_max = 5000; // a body that passes more is too large for a loop
    if (!loop->started) {
        loop->started = true;
        od_fault_start_counting();
        return true;
    }
    if (loop->run == 0) {
        if (!loop->ended)
            loop->points = od_fault_count();
        if (loop->points > points_max)
            fail_msg("the body passes %llu fault points", (unsigned long long)loop->points);
    }
    od_fault_disarm();
    if (loop->run >= 2 * loop->points)
        return false;
    loop->run++;
    loop->ended = false;
    od_fault_arm((loop->run - 1) / 2, loop->run % 2 == 0);
    return true;
}

// Is a fault injected in this run?
static inline bool od_fault_injected(const struct od_fault_loop *loop)
{
    return loop->run > 0;
}

// No faults from here to the end of the body: for checks that follow.
static inline void od_fault_end(struct od_fault_loop *loop)
{
    if (loop->run == 0)
        loop->points = od_fault_count();
    od_fault_disarm();
    loop->ended = true;
}

// What a fallible call may answer: OD_OK, or under a fault OD_NO_MEMORY or OD_IO with a message.
static inline void od_fault_expect(struct od_fault_loop *loop, od_code rc, const struct od_error *err)
{
    if (rc == OD_OK) {
        loop->succeeded += od_fault_injected(loop);
        return;
    }
    od_fault_disarm(); // cmocka's reporting must not fail too
    if (!od_fault_injected(loop))
        fail_msg("failed without a fault: %s", err ? err->message : od_code_name(rc));
    if (rc != OD_NO_MEMORY && rc != OD_IO)
        fail_msg("point %llu: %s instead of OD_NO_MEMORY or OD_IO", (unsigned long long)((loop->run - 1) / 2),
                 od_code_name(rc));
    if (err && (err->code != rc || err->message[0] == '\0'))
        fail_msg("point %llu: %s returned with an error that is not filled", (unsigned long long)((loop->run - 1) / 2),
                 od_code_name(rc));
}

#define OD_FAULT_LOOP(name) for (struct od_fault_loop name = {0}; od_fault_loop_next(&(name));)

#endif
