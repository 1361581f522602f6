// random.h - unguessable bytes from the kernel. Never fails: a kernel without them cannot run the server safely.
#ifndef OD_OS_RANDOM_H
#define OD_OS_RANDOM_H

#include "base/cdecl.h"

#include <stddef.h>
#include <stdint.h>

OD_BEGIN_C

#define OD_RANDOM_ID_BYTES 33u // 32 hex digits (128 bits) and the NUL

void od_random_bytes(void *out, size_t bytes);
void od_random_id(char out[OD_RANDOM_ID_BYTES]);

OD_END_C

#endif
