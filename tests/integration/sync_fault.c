// sync_fault.c - preloaded into a server: while the file named by SYNC_FAULT exists, every sync fails as a broken disk does.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

static int fails(void)
{
    const char *name = getenv("SYNC_FAULT");
    return name && access(name, F_OK) == 0;
}

static int sync_by(const char *function, int descriptor)
{
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, function);
    if (!fails())
        return real(descriptor);
    errno = EIO;
    return -1;
}

int fdatasync(int descriptor)
{
    return sync_by("fdatasync", descriptor);
}

int fsync(int descriptor)
{
    return sync_by("fsync", descriptor);
}
