// assert.c - a failed assertion says where, with a backtrace, then aborts.
#include "base/assert.h"

#include <execinfo.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

void od_assert_failed(const char *expression, const char *file, int line)
{
    fprintf(stderr, "openduck %s: assertion failed: %s (%s:%d)\n", OD_VERSION, expression, file, line);
    void *frames[64];
    backtrace_symbols_fd(frames, backtrace(frames, 64), STDERR_FILENO);
    abort();
}
