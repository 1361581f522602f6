// scratch.h - a folder of its own for each test; removed afterwards.
#ifndef OD_TESTS_UNIT_OS_SCRATCH_H
#define OD_TESTS_UNIT_OS_SCRATCH_H

#include "os/file.h"
#include "support/fault.h"

#include <stdio.h>
#include <stdlib.h>

static char scratch[64];

static inline int scratch_make(void **state)
{
    (void)state;
    snprintf(scratch, sizeof scratch, "/tmp/openduck-test-XXXXXX");
    return mkdtemp(scratch) ? 0 : -1;
}

static inline int scratch_remove(void **state)
{
    (void)state;
    od_fault_disarm();
    return od_tree_remove(scratch, NULL) == OD_OK ? 0 : -1;
}

// SCRATCH/NAME; each call has its own place, good until four more.
static inline const char *in_scratch(const char *name)
{
    static char paths[4][256];
    static unsigned next;
    char *path = paths[next++ % 4];
    snprintf(path, sizeof paths[0], "%s/%s", scratch, name);
    return path;
}

static inline void write_text(const char *name, const char *text)
{
    size_t bytes = 0;
    while (text[bytes])
        bytes++;
    assert_int_equal(od_file_write(in_scratch(name), text, bytes, 0600, NULL), OD_OK);
}

#endif
