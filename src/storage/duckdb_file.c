// duckdb_file.c - see duckdb_file.h.
//
// Header blocks: 8 bytes of check over the rest; the first goes on with "DUCK", the version (8 bytes), flags (4 times 8);
// the other two, written in turns, with iteration, root block, free list, block count, block size (8 bytes each).
#include "storage/duckdb_file.h"

#include "storage/bytes.h"
#include "storage/files.h"

#include <string.h>

#define CHECK_BYTES 8u
#define MAGIC_AT 8u
#define FLAGS_AT 20u
#define FLAG_ENCRYPTED 1u
#define ITERATION_AT 8u
#define ROOT_AT 16u
#define BLOCK_BYTES_AT 40u
#define BLOCK_BYTES_DEFAULT 262144u // 0 in old files
#define BLOCK_BYTES_MIN 16384u
#define NO_BLOCK UINT64_MAX
#define ROOT_BLOCK_MASK ((UINT64_C(1) << 56) - 1) // above it: the part of the block

static uint64_t check_of(const uint8_t *header)
{
    uint64_t check = 5381;
    for (unsigned at = CHECK_BYTES; at < OD_GRID_HEADER_BYTES; at += 8)
        check ^= od_get64(header + at) * UINT64_C(0xbf58476d1ce4e5b9);
    return check;
}

od_code od_duckdb_file_check(const uint8_t *headers, uint64_t bytes, const char *path, uint32_t *block_bytes,
                             struct od_error *err)
{
    if (bytes < OD_GRID_ORIGIN || memcmp(headers + MAGIC_AT, "DUCK", 4) != 0)
        return od_fail(err, OD_UNSUPPORTED, "%s is not a DuckDB database", path);
    if (od_get64(headers + FLAGS_AT) & FLAG_ENCRYPTED)
        return od_fail(err, OD_UNSUPPORTED,
                       "%s is encrypted; make a copy that is not, with ATTACH (ENCRYPTION_KEY ...) and COPY FROM "
                       "DATABASE, and take that",
                       path);
    for (unsigned i = 0; i < OD_GRID_HEADERS; i++) {
        const uint8_t *header = headers + (size_t)i * OD_GRID_HEADER_BYTES;
        if (od_get64(header) != check_of(header))
            return od_fail(err, OD_CORRUPT, "the header block at offset %u of %s is damaged: its check is wrong",
                           i * OD_GRID_HEADER_BYTES, path);
    }
    const uint8_t *newest = headers + OD_GRID_HEADER_BYTES, *other = newest + OD_GRID_HEADER_BYTES;
    if (od_get64(other + ITERATION_AT) > od_get64(newest + ITERATION_AT))
        newest = other;
    uint64_t block = od_get64(newest + BLOCK_BYTES_AT), root = od_get64(newest + ROOT_AT);
    if (block == 0)
        block = BLOCK_BYTES_DEFAULT;
    if (block < BLOCK_BYTES_MIN || block > BLOCK_BYTES_DEFAULT || (block & (block - 1)))
        return od_fail(err, OD_UNSUPPORTED, "%s has blocks of %llu bytes; 16 to 256 KiB, a power of two, are known",
                       path, (unsigned long long)block);
    if (root != NO_BLOCK && (root & ROOT_BLOCK_MASK) >= (bytes - OD_GRID_ORIGIN) / block)
        return od_fail(
            err, OD_CORRUPT, "%s is cut off: it has %llu bytes, but begins with block %llu of %llu bytes each", path,
            (unsigned long long)bytes, (unsigned long long)(root & ROOT_BLOCK_MASK), (unsigned long long)block);
    *block_bytes = (uint32_t)block;
    return OD_OK;
}
