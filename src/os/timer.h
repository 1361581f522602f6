// timer.h - one thread that calls functions at given times.
//
// For timeouts and periodic work: callbacks must be short and must not block, for they delay each other. They run in
// order of time, on the timer thread, with no lock of the service held; they may schedule and cancel.
#ifndef OD_OS_TIMER_H
#define OD_OS_TIMER_H

#include "base/cdecl.h"
#include "base/error.h"

OD_BEGIN_C

#define OD_TIMERS_MAX 65536u // pending at once; OD_LIMIT beyond

struct od_timer_service;

OD_CHECKED od_code od_timer_service_start(struct od_timer_service **service, struct od_error *err);
// Waits for a running callback, drops the pending ones without calling them, frees the service. Not from a callback.
void od_timer_service_stop(struct od_timer_service *service); // NULL is fine

// Calls run(argument) once, when od_clock_ms() has reached at_ms (at once when it has). *id (may be NULL) is never 0
// and never used twice.
OD_CHECKED od_code od_timer_schedule(struct od_timer_service *service, uint64_t at_ms, void (*run)(void *argument),
                                     void *argument, uint64_t *id, struct od_error *err);
// True: the callback had not begun and will never run. False: it has run, is running right now, or id is unknown (0).
// Never waits, so it may be called under a lock that the callback takes.
bool od_timer_cancel(struct od_timer_service *service, uint64_t id);
// The same, and when the callback is running on the timer thread, waits for its end (unless called from it). After it
// returns, nothing of the callback's will be touched by it any more.
bool od_timer_cancel_wait(struct od_timer_service *service, uint64_t id);

OD_END_C

#endif
