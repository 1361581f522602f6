// lock_file.c - flock(2) on a file that holds the owner's process id as text; see file.h.
//
// The lock is the kernel's, the text is only for the message: a stale number in the file means nothing. The file is
// never removed, because removing it would let two processes lock two files of one name.
#include "os/file.h"

#include "os/os_call.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <unistd.h>

static long read_holder(int descriptor)
{
    char text[32];
    ssize_t got = pread(descriptor, text, sizeof text - 1, 0);
    if (got <= 0)
        return 0;
    text[got] = '\0';
    return strtol(text, NULL, 10);
}

od_code od_lock_file_acquire(struct od_lock_file *lock, const char *path, struct od_error *err)
{
    od_code rc = OD_OK;
    *lock = (struct od_lock_file){.descriptor = -1};
    int descriptor = OD_OS_CALL(open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    if (descriptor < 0)
        return od_os_fail(err, errno, "open", path);
    if (OD_OS_CALL(flock(descriptor, LOCK_EX | LOCK_NB)) != 0) {
        if (errno != EWOULDBLOCK)
            OD_TRY(od_os_fail(err, errno, "lock", path));
        long holder = read_holder(descriptor);
        if (holder > 0)
            OD_TRY(od_fail(err, OD_LOCKED, "%s is locked by process %ld; stop it first", path, holder));
        OD_TRY(od_fail(err, OD_LOCKED, "%s is locked by another process; stop it first", path));
    }
    char text[32];
    int bytes = snprintf(text, sizeof text, "%ld\n", (long)getpid());
    if (OD_OS_CALL(ftruncate(descriptor, 0)) != 0 || OD_OS_CALL(pwrite(descriptor, text, (size_t)bytes, 0)) != bytes)
        OD_TRY(od_os_fail(err, errno, "write", path));
    *lock = (struct od_lock_file){.descriptor = descriptor, .held = true};
out:
    if (rc != OD_OK)
        close(descriptor);
    return rc;
}

void od_lock_file_release(struct od_lock_file *lock)
{
    if (!lock->held)
        return;
    int ignored = ftruncate(lock->descriptor, 0); // only the message of the next one would be worse
    (void)ignored;
    close(lock->descriptor);
    *lock = (struct od_lock_file){.descriptor = -1};
}
