// admission.h - who may run now, who waits, who is turned away. Pure: the server's lock guards it, time comes as an
// argument.
//
// A statement that waits for its client to read does not count as running, or a few slow readers would keep everybody
// out: it becomes `paused` and gives its place up; when the client reads on it takes a place at once, even beyond the
// limit. The number of paused ones is bounded too, because each occupies a thread.
//
//   OUT -> RUNNING | WAITING | turned away
//   WAITING -> RUNNING (od_admission_next) | OUT (leave, expired)
//   RUNNING <-> PAUSED ;  both -> OUT (leave)
#ifndef OD_SERVER_ADMISSION_H
#define OD_SERVER_ADMISSION_H

#include "base/cdecl.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

OD_BEGIN_C

enum od_slot_state { OD_SLOT_OUT, OD_SLOT_WAITING, OD_SLOT_RUNNING, OD_SLOT_PAUSED };

// One statement's place; zero-initialise.
struct od_slot {
    struct od_slot *previous, *next;
    enum od_slot_state state;
    uint64_t since_ms;
};

struct od_admission {
    unsigned running_max, waiting_max, paused_max;
    uint64_t wait_ms_max;
    unsigned running, waiting, paused;
    struct od_slot *first, *last; // waiting, oldest first
};

// RUNNING or WAITING; OUT: turned away, the queue is full.
enum od_slot_state od_admission_enter(struct od_admission *admission, struct od_slot *slot, uint64_t now_ms);
void od_admission_leave(struct od_admission *admission, struct od_slot *slot); // from any state
// Takes the oldest waiting one that may run now: it is RUNNING. Ask again until NULL, after each leave and pause.
struct od_slot *od_admission_next(struct od_admission *admission);
// Takes one that has waited too long: it is OUT. Ask again until NULL.
struct od_slot *od_admission_expired(struct od_admission *admission, uint64_t now_ms);
bool od_admission_pause(struct od_admission *admission, struct od_slot *slot); // false: too many are
void od_admission_resume(struct od_admission *admission, struct od_slot *slot);

OD_END_C

#endif
