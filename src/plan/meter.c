// meter.c - see meter.h.
#include "plan/meter.h"

#define TOWARDS_BETTER 0.5
#define TOWARDS_WORSE 0.05
#define SLOWER_AT_MOST 2

void od_link_meter_answered(struct od_link_meter *meter, double seconds)
{
    if (!(seconds > 0)) // also what is not a number
        return;
    if (meter->round_trip_s == 0 || seconds < meter->round_trip_s)
        meter->round_trip_s = seconds;
    else {
        double most = meter->round_trip_s * SLOWER_AT_MOST; // what is longer yet was the statement
        meter->round_trip_s += ((seconds < most ? seconds : most) - meter->round_trip_s) * TOWARDS_WORSE;
    }
}

void od_link_meter_moved(struct od_link_meter *meter, enum od_meter_way way, uint64_t bytes, double seconds)
{
    if (bytes < OD_METER_BYTES_MIN || !(seconds > 0) || seconds < meter->round_trip_s)
        return;
    double *known = &meter->bytes_per_s[way], seen = (double)bytes / seconds;
    if (*known == 0)
        *known = seen;
    else
        *known += (seen - *known) * (seen > *known ? TOWARDS_BETTER : TOWARDS_WORSE);
}

uint64_t od_observed_key(const void *bytes, size_t count)
{
    const unsigned char *at = bytes;
    uint64_t hash = UINT64_C(14695981039346656037); // FNV-1a
    for (size_t i = 0; i < count; i++)
        hash = (hash ^ at[i]) * UINT64_C(1099511628211);
    return hash ? hash : 1;
}

void od_observed_put(struct od_observed *observed, uint64_t key, double rows)
{
    observed->slots[key % OD_OBSERVED_SLOTS].key = key;
    observed->slots[key % OD_OBSERVED_SLOTS].rows = rows;
}

bool od_observed_get(const struct od_observed *observed, uint64_t key, double *rows)
{
    if (observed->slots[key % OD_OBSERVED_SLOTS].key != key)
        return false;
    *rows = observed->slots[key % OD_OBSERVED_SLOTS].rows;
    return true;
}
