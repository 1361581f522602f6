// alloc.h - the project's only door to the heap, with a fault switch for tests.
//
// Library code runs inside the user's DuckDB: it never aborts on exhausted memory. Every function here may return
// NULL, and every caller turns that into OD_NO_MEMORY. Threads: all functions are thread-safe.
#ifndef OD_BASE_ALLOC_H
#define OD_BASE_ALLOC_H

#include "base/cdecl.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

OD_BEGIN_C

void *od_alloc(size_t bytes);                           // uninitialised; bytes = 0 gives a unique pointer
void *od_calloc(size_t count, size_t bytes);            // zeroed; overflow-checked
void *od_realloc(void *pointer, size_t bytes);          // like realloc; the old block survives a failure
void *od_aligned_alloc(size_t alignment, size_t bytes); // released with od_free
void od_free(void *pointer);                            // NULL is fine
char *od_strdup(const char *text);                      // NULL text gives NULL
char *od_strndup(const char *text, size_t bytes);

// Fault injection (tests/support/fault.h drives it). The n-th call from now (0 = next) that passes
// od_fault_point fails; `persistent`: all later ones too. Allocation and src/os calls pass through it.
void od_fault_arm(uint64_t n, bool persistent);
void od_fault_disarm(void);
uint64_t od_fault_count(void); // points passed since od_fault_arm or od_fault_start_counting
void od_fault_start_counting(void);
bool od_fault_point(void); // true: this call must fail

OD_END_C

#endif
