// tally.c - see tally.h.
#include "client/tally.h"

#include <inttypes.h>

od_code od_tally_batch(struct od_tally *tally, uint64_t number, uint64_t rows, struct od_error *err)
{
    if (number != tally->next)
        return od_fail(err, OD_CORRUPT, "the server sent batch %" PRIu64 " of the result where batch %" PRIu64 " is due",
                       number, tally->next);
    if (rows > (uint64_t)INT64_MAX - tally->rows)
        return od_fail(err, OD_CORRUPT, "batch %" PRIu64 " claims %" PRIu64 " rows", number, rows);
    tally->next++;
    tally->rows += rows;
    return OD_OK;
}

od_code od_tally_end(const struct od_tally *tally, uint64_t batches, uint64_t rows, struct od_error *err)
{
    if (batches != tally->next || rows != tally->rows)
        return od_fail(err, OD_CORRUPT,
                       "the result is incomplete: %" PRIu64 " batches with %" PRIu64 " rows arrived, the server counted %" PRIu64
                       " with %" PRIu64, tally->next, tally->rows, batches, rows);
    return OD_OK;
}
