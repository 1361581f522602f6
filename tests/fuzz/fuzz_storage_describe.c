// fuzz_storage_describe.c - descriptions of branches, snapshots, drops, condemned layers: what decodes is encoded to what decodes to the same.
// The hash at the end is made right first, so that the rest is looked at; then it is tried as it came.
#include "base/assert.h"
#include "storage/bytes.h"
#include "storage/describe.h"
#include "storage/record.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static void try_branch(const uint8_t *data, size_t bytes)
{
    struct od_branch_description branch, again;
    uint8_t out[OD_DESCRIPTION_BYTES_MAX];
    if (od_branch_decode(data, bytes, "fuzz", &branch, NULL) != OD_OK)
        return;
    size_t made = od_branch_encode(&branch, out);
    od_assert(made == bytes && memcmp(out, data, bytes) == 0);
    od_assert(od_branch_decode(out, made, "fuzz", &again, NULL) == OD_OK && memcmp(&branch, &again, sizeof again) == 0);
}

static void try_snapshot(const uint8_t *data, size_t bytes)
{
    struct od_meta_snapshot snapshot, again;
    uint8_t out[OD_DESCRIPTION_BYTES_MAX];
    if (od_snapshot_decode(data, bytes, "fuzz", &snapshot, NULL) != OD_OK)
        return;
    size_t made = od_snapshot_encode(&snapshot, out);
    od_assert(made == bytes && od_snapshot_decode(out, made, "fuzz", &again, NULL) == OD_OK);
    od_assert(od_meta_snapshot_same(&snapshot, &again) && snapshot.created_us == again.created_us);
}

static void try_drop(const uint8_t *data, size_t bytes)
{
    struct od_drop_description drop;
    uint8_t out[OD_DESCRIPTION_BYTES_MAX];
    if (od_drop_decode(data, bytes, "fuzz", &drop, NULL) == OD_OK)
        od_assert(od_drop_encode(&drop, out) == bytes && memcmp(out, data, bytes) == 0);
}

static void try_condemned(const uint8_t *data, size_t bytes)
{
    struct od_condemned what, again;
    uint8_t out[OD_DESCRIPTION_BYTES_MAX];
    if (od_condemned_decode(data, bytes, "fuzz", &what, NULL) != OD_OK)
        return;
    od_assert(od_condemned_decode(out, od_condemned_encode(&what, out), "fuzz", &again, NULL) == OD_OK);
    od_assert(what.not_before_us == again.not_before_us && what.depth == again.depth);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    uint8_t copy[OD_DESCRIPTION_BYTES_MAX];
    try_branch(data, bytes);
    try_snapshot(data, bytes);
    try_drop(data, bytes);
    try_condemned(data, bytes);
    if (bytes < 8 || bytes > sizeof copy)
        return 0;
    memcpy(copy, data, bytes);
    od_put64(copy + bytes - 8, od_storage_hash(copy, bytes - 8, 0));
    try_branch(copy, bytes);
    try_snapshot(copy, bytes);
    try_drop(copy, bytes);
    try_condemned(copy, bytes);
    return 0;
}
