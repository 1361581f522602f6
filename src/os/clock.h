// clock.h - time. Deadlines and durations use the monotonic clock; the wall clock is for people and records only.
#ifndef OD_OS_CLOCK_H
#define OD_OS_CLOCK_H

#include "base/cdecl.h"

#include <stdint.h>

OD_BEGIN_C

uint64_t od_clock_us(void);      // monotonic
uint64_t od_clock_ms(void);      // the same in milliseconds, rounded down
uint64_t od_clock_wall_us(void); // since 1970, UTC

OD_END_C

#endif
