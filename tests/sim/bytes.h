// bytes.h - a file's content in pages that copies share until one of them changes: a copy of a whole simulated world,
// or of a database at each of its barriers, costs a pointer a page.
//
// What was never written reads as zeros. Not for several threads: the world's lock protects it.
#ifndef OD_TESTS_SIM_BYTES_H
#define OD_TESTS_SIM_BYTES_H

#include "base/cdecl.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

OD_BEGIN_C

#define SIM_PAGE_BYTES 4096u

struct sim_page {
    uint32_t references;
    uint8_t bytes[SIM_PAGE_BYTES];
};

struct sim_bytes {
    struct sim_page **pages; // NULL: zeros; up to the last one that was written
    size_t count, capacity;
    uint64_t size;
};

void sim_bytes_release(struct sim_bytes *content);
void sim_bytes_copy(struct sim_bytes *to, const struct sim_bytes *from); // `to` is empty or released
void sim_bytes_resize(struct sim_bytes *content, uint64_t size);         // cut, or grown by zeros
void sim_bytes_write(struct sim_bytes *content, uint64_t offset, const void *data, size_t bytes); // grows as needed
// Gives false when [offset, offset + bytes) is not inside.
bool sim_bytes_read(const struct sim_bytes *content, uint64_t offset, void *out, size_t bytes);
// Makes the pages of `to` that overlap the range those of `from`.
void sim_bytes_take(struct sim_bytes *to, const struct sim_bytes *from, uint64_t offset, uint64_t bytes);
// The first offset at which the two differ, or UINT64_MAX; a difference in size counts at the smaller one.
uint64_t sim_bytes_difference(const struct sim_bytes *a, const struct sim_bytes *b);

OD_END_C

#endif
