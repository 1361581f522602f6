// tally.h - the account of a numbered result: what has come, what must come next, and whether the end is the end.
//
//   T1  A batch is accepted only with the next number.
//   T2  The end is accepted only when its totals equal what was accepted. A result is complete or an error.
#ifndef OD_CLIENT_TALLY_H
#define OD_CLIENT_TALLY_H

#include "base/error.h"

OD_BEGIN_C

struct od_tally {
    uint64_t next; // number of the next batch = batches so far
    uint64_t rows;
};

OD_CHECKED od_code od_tally_batch(struct od_tally *tally, uint64_t number, uint64_t rows, struct od_error *err);
OD_CHECKED od_code od_tally_end(const struct od_tally *tally, uint64_t batches, uint64_t rows, struct od_error *err);

OD_END_C

#endif
