// os_call.h - private to src/os: a system call with a fault point before it, and errno turned into an error.
#ifndef OD_OS_OS_CALL_H
#define OD_OS_OS_CALL_H

#include "base/alloc.h"
#include "base/error.h"

#include <errno.h>

// What an injected fault looks like.
#define OD_OS_FAULT_ERRNO EIO

// The call's result, or -1 with errno set when a fault is injected (the call is not made then).
#define OD_OS_CALL(call) (od_fault_point() ? (errno = OD_OS_FAULT_ERRNO, -1) : (call))

od_code od_os_fail(struct od_error *err, int os_errno, const char *what, const char *path);

#endif
