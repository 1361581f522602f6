// collector.h - a thread that has the store collect, now and then, what nobody needs any more (storage/collect.h).
#ifndef OD_SERVER_COLLECTOR_H
#define OD_SERVER_COLLECTOR_H

#include "storage/collect.h"

OD_BEGIN_C

struct od_collector;

// The first time after `interval_ms`, and again so long after each end. `store` is borrowed.
OD_CHECKED od_code od_collector_start(struct od_store *store, const struct od_collect_policy *policy,
                                      uint64_t interval_ms, struct od_collector **collector, struct od_error *err);
void od_collector_stop(struct od_collector *collector); // waits for a pass that is under way; NULL is fine

OD_END_C

#endif
