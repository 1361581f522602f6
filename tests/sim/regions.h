// regions.h - the parts of a journal, a layer or a description, for tests that damage each of them.
#ifndef OD_TESTS_SIM_REGIONS_H
#define OD_TESTS_SIM_REGIONS_H

#include "sim/bytes.h"

OD_BEGIN_C

enum sim_region_kind {
    SIM_REGION_HEADER,  // the header block: what its check covers
    SIM_REGION_RECORD,  // a record's header
    SIM_REGION_PAYLOAD, // of a record
    SIM_REGION_LEAVES,  // of the page table
    SIM_REGION_FOOTER,
    SIM_REGION_TRAILER,
    SIM_REGION_DESCRIPTION, // of a branch or a snapshot: the whole object
    SIM_REGIONS
};

struct sim_region {
    enum sim_region_kind kind;
    uint64_t offset, bytes;
};

// Fills at most `limit` of them, in order; gives their number. `sealed`: with footer and trailer at the end.
size_t sim_regions(const struct sim_bytes *content, bool sealed, struct sim_region *regions, size_t limit);

OD_END_C

#endif
