// alloc.c - heap access with fault injection. The only C file of the project that calls malloc and free.
#include "base/alloc.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

// The switch is off in production: one relaxed load per allocation.
static atomic_bool fault_on;
static atomic_bool fault_persistent;
static atomic_uint_least64_t fault_passed;
static atomic_uint_least64_t fault_at;

void od_fault_arm(uint64_t n, bool persistent)
{
    atomic_store(&fault_passed, 0);
    atomic_store(&fault_at, n);
    atomic_store(&fault_persistent, persistent);
    atomic_store(&fault_on, true);
}

void od_fault_disarm(void)
{
    atomic_store(&fault_on, false);
}

uint64_t od_fault_count(void)
{
    return atomic_load(&fault_passed);
}

void od_fault_start_counting(void)
{
    od_fault_arm(UINT64_MAX, false);
}

bool od_fault_point(void)
{
    if (!atomic_load_explicit(&fault_on, memory_order_relaxed))
        return false;
    uint64_t mine = atomic_fetch_add(&fault_passed, 1);
    uint64_t at = atomic_load(&fault_at);
    return mine == at || (mine > at && atomic_load(&fault_persistent));
}

void *od_alloc(size_t bytes)
{
    return od_fault_point() ? NULL : malloc(bytes ? bytes : 1);
}

void *od_calloc(size_t count, size_t bytes)
{
    size_t product;
    if (od_fault_point() || __builtin_mul_overflow(count, bytes, &product))
        return NULL;
    return calloc(count ? count : 1, bytes ? bytes : 1);
}

void *od_realloc(void *pointer, size_t bytes)
{
    return od_fault_point() ? NULL : realloc(pointer, bytes ? bytes : 1);
}

void *od_aligned_alloc(size_t alignment, size_t bytes)
{
    if (od_fault_point())
        return NULL;
    void *pointer = NULL;
    return posix_memalign(&pointer, alignment, bytes ? bytes : 1) == 0 ? pointer : NULL;
}

void od_free(void *pointer)
{
    free(pointer);
}

char *od_strdup(const char *text)
{
    return text ? od_strndup(text, strlen(text)) : NULL;
}

char *od_strndup(const char *text, size_t bytes)
{
    char *copy = od_alloc(bytes + 1);
    if (copy) {
        memcpy(copy, text, bytes);
        copy[bytes] = '\0';
    }
    return copy;
}
