// meter.h - what is known of a link and of results from having used them: its round trip and bandwidth, and how many rows
// texts gave. Estimates for the placement, nothing else: any of it may be wrong.
//
// The caller tells durations and sizes; nothing here looks at a clock. Not thread-safe: the caller locks.
#ifndef OD_PLAN_METER_H
#define OD_PLAN_METER_H

#include "base/cdecl.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

OD_BEGIN_C

// ---- a link

// Zero everything first. A field that is zero is not known yet.
struct od_link_meter {
    double round_trip_s;
    double bytes_per_s[2]; // by enum od_meter_way
};
enum od_meter_way { OD_METER_DOWN, OD_METER_UP };
// Transfers that are smaller say nothing about the bandwidth.
#define OD_METER_BYTES_MIN (UINT64_C(64) << 10)

// A request that was answered after `seconds`, the server's work included. The estimate follows the shortest: at once
// downwards, slowly upwards (one long statement does not matter), so that a link that has become slower is noticed too.
void od_link_meter_answered(struct od_link_meter *meter, double seconds);
// `bytes` that came (or went) within `seconds`, which tells nothing when it is less than a round trip. The estimate follows the fastest: half the way upwards, slowly downwards,
// because a transfer also waits for what makes its bytes, and for who takes them.
void od_link_meter_moved(struct od_link_meter *meter, enum od_meter_way way, uint64_t bytes, double seconds);

// ---- results

#define OD_OBSERVED_SLOTS 1024u // the most that is remembered; a newcomer takes the place of an older one

struct od_observed {
    struct {
        uint64_t key; // 0: free
        double rows;
    } slots[OD_OBSERVED_SLOTS];
};
// A key of bytes, never 0. Two texts with one key are possible, and then mislead an estimate.
uint64_t od_observed_key(const void *bytes, size_t count);
void od_observed_put(struct od_observed *observed, uint64_t key, double rows);
bool od_observed_get(const struct od_observed *observed, uint64_t key, double *rows);

OD_END_C

#endif
