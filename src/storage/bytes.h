// bytes.h - private: little-endian numbers at addresses that need no alignment.
#ifndef OD_STORAGE_BYTES_H
#define OD_STORAGE_BYTES_H

#include <endian.h>
#include <stdint.h>
#include <string.h>

static inline uint64_t od_get64(const uint8_t *at)
{
    uint64_t value;
    memcpy(&value, at, sizeof value);
    return le64toh(value);
}

static inline uint32_t od_get32(const uint8_t *at)
{
    uint32_t value;
    memcpy(&value, at, sizeof value);
    return le32toh(value);
}

static inline void od_put64(uint8_t *at, uint64_t value)
{
    value = htole64(value);
    memcpy(at, &value, sizeof value);
}

static inline void od_put32(uint8_t *at, uint32_t value)
{
    value = htole32(value);
    memcpy(at, &value, sizeof value);
}

#endif
