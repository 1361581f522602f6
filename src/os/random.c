// random.c - getrandom(2), in pieces it never interrupts.
#include "os/random.h"

#include "base/assert.h"

#include <errno.h>
#include <sys/random.h>

void od_random_bytes(void *out, size_t bytes)
{
    uint8_t *at = out;
    while (bytes > 0) {
        ssize_t got = getrandom(at, bytes < 256 ? bytes : 256, 0);
        if (got < 0) {
            od_assert(errno == EINTR);
            continue;
        }
        at += got;
        bytes -= (size_t)got;
    }
}

void od_random_id(char out[OD_RANDOM_ID_BYTES])
{
    static const char digits[] = "0123456789abcdef";
    uint8_t bytes[(OD_RANDOM_ID_BYTES - 1) / 2];
    od_random_bytes(bytes, sizeof bytes);
    for (size_t i = 0; i < sizeof bytes; i++) {
        out[2 * i] = digits[bytes[i] >> 4];
        out[2 * i + 1] = digits[bytes[i] & 15];
    }
    out[OD_RANDOM_ID_BYTES - 1] = '\0';
}
