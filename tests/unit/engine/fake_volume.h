// fake_volume.h - a volume in memory that stands in for src/storage, with the failures a test asks for. What is durable is
// a copy of all files and of the ledger at a barrier.
#ifndef OD_TESTS_UNIT_ENGINE_FAKE_VOLUME_H
#define OD_TESTS_UNIT_ENGINE_FAKE_VOLUME_H

#include "storage/volume.h"

OD_BEGIN_C

struct od_volume *od_fake_volume_new(void);
void od_fake_volume_free(struct od_volume *volume);
// The process died: a new volume with what was durable.
struct od_volume *od_fake_volume_crash(struct od_volume *volume);
// While held, barriers do not become durable.
void od_fake_volume_hold(struct od_volume *volume, bool hold);
// Waits until n threads wait for a barrier to become durable.
void od_fake_volume_await_waiters(struct od_volume *volume, unsigned n);
// From now on nothing becomes durable, waiters get OD_OUTCOME_UNKNOWN, changes fail.
void od_fake_volume_poison(struct od_volume *volume);
// The disk is full: changes fail with OD_LIMIT until it is not.
void od_fake_volume_fill(struct od_volume *volume, bool full);
unsigned od_fake_volume_ledger_count(struct od_volume *volume);
uint64_t od_fake_volume_barriers(struct od_volume *volume);

OD_END_C

#endif
