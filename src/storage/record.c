// record.c - layouts of the journal's header block, of records and barriers; see record.h.
#include "storage/record.h"

#include "storage/bytes.h"

#include <xxhash.h>

static const char JOURNAL_MAGIC[8] = {'O', 'D', 'L', 'A', 'Y', 'E', 'R', '1'};

#define RECORD_MAGIC 0x6352444fu // "ODRc"
#define CHECK_AT 12u
#define CHAIN_AT 40u
#define HEADER_HASH_AT (OD_JOURNAL_HEADER_BYTES - 8u)
#define BARRIER_FIXED_BYTES 56u
#define FILE_ABSENT UINT64_MAX

uint64_t od_storage_hash(const void *data, size_t bytes, uint64_t seed)
{
    return XXH3_64bits_withSeed(data, bytes, seed);
}

// ---- the header block

void od_journal_header_encode(const struct od_journal_header *header, uint8_t out[OD_JOURNAL_HEADER_BYTES])
{
    memset(out, 0, OD_JOURNAL_HEADER_BYTES);
    memcpy(out, JOURNAL_MAGIC, sizeof JOURNAL_MAGIC);
    od_put32(out + 8, OD_FORMAT_VERSION);
    od_put32(out + 12, header->depth);
    memcpy(out + 16, header->layer.bytes, 16);
    memcpy(out + 32, header->branch.bytes, 16);
    memcpy(out + 48, header->parent.bytes, 16);
    od_put64(out + 64, header->epoch);
    od_put64(out + 72, header->first_lsn);
    od_put64(out + 80, header->parent_chain);
    od_put64(out + 88, header->time_us);
    od_put32(out + 96, header->block_bytes);
    od_put64(out + HEADER_HASH_AT, od_storage_hash(out, HEADER_HASH_AT, 0));
}

od_code od_journal_header_decode(const uint8_t in[OD_JOURNAL_HEADER_BYTES], const char *name,
                                 struct od_journal_header *header, uint64_t *chain, struct od_error *err)
{
    if (memcmp(in, JOURNAL_MAGIC, sizeof JOURNAL_MAGIC) != 0)
        return od_fail(err, OD_CORRUPT, "%s is not a journal or layer of OpenDuck (offset 0)", name);
    uint32_t version = od_get32(in + 8);
    if (version != OD_FORMAT_VERSION)
        return od_fail(err, OD_UNSUPPORTED, "%s has format version %u; this program reads version %u", name, version,
                       OD_FORMAT_VERSION);
    uint64_t hash = od_get64(in + HEADER_HASH_AT);
    if (hash != od_storage_hash(in, HEADER_HASH_AT, 0))
        return od_fail(err, OD_CORRUPT, "%s: the header block fails verification (offset 0)", name);
    *header = (struct od_journal_header){
        .epoch = od_get64(in + 64),
        .first_lsn = od_get64(in + 72),
        .parent_chain = od_get64(in + 80),
        .time_us = od_get64(in + 88),
        .depth = od_get32(in + 12),
        .block_bytes = od_get32(in + 96),
    };
    memcpy(header->layer.bytes, in + 16, 16);
    memcpy(header->branch.bytes, in + 32, 16);
    memcpy(header->parent.bytes, in + 48, 16);
    uint32_t block = header->block_bytes;
    if (block < 16384 || block > 262144 || (block & (block - 1)) || header->first_lsn % OD_RECORD_ALIGN)
        return od_fail(err, OD_CORRUPT, "%s: the header block has impossible values (offset 0)", name);
    *chain = hash;
    return OD_OK;
}

// ---- records

uint64_t od_record_seed(const struct od_uuid *layer)
{
    return od_storage_hash(layer->bytes, sizeof layer->bytes, OD_FORMAT_VERSION);
}

uint64_t od_record_bytes(uint64_t payload_bytes)
{
    return OD_RECORD_HEADER_BYTES + (payload_bytes + OD_RECORD_ALIGN - 1) / OD_RECORD_ALIGN * OD_RECORD_ALIGN;
}

static uint32_t header_check(const uint8_t in[OD_RECORD_HEADER_BYTES], uint64_t seed)
{
    uint8_t bytes[CHAIN_AT];
    memcpy(bytes, in, CHAIN_AT);
    memset(bytes + CHECK_AT, 0, 4);
    return (uint32_t)od_storage_hash(bytes, CHAIN_AT, seed);
}

bool od_record_begins(const uint8_t *in)
{
    return od_get32(in) == RECORD_MAGIC;
}

uint64_t od_record_chain(const uint8_t in[OD_RECORD_HEADER_BYTES], uint64_t chain)
{
    return od_storage_hash(in, CHAIN_AT, chain);
}

void od_record_encode(struct od_record *record, uint64_t seed, uint64_t chain, uint8_t out[OD_RECORD_HEADER_BYTES])
{
    od_put32(out, RECORD_MAGIC);
    out[4] = (uint8_t)record->op;
    out[5] = (uint8_t)record->file;
    out[6] = out[7] = 0;
    od_put32(out + 8, record->bytes);
    od_put32(out + CHECK_AT, 0);
    od_put64(out + 16, record->lsn);
    od_put64(out + 24, record->offset);
    od_put64(out + 32, record->payload_hash);
    od_put32(out + CHECK_AT, header_check(out, seed));
    record->chain = od_record_chain(out, chain);
    od_put64(out + CHAIN_AT, record->chain);
}

bool od_record_decode(const uint8_t in[OD_RECORD_HEADER_BYTES], uint64_t seed, uint64_t lsn, struct od_record *record)
{
    if (od_get32(in) != RECORD_MAGIC || od_get64(in + 16) != lsn || od_get32(in + CHECK_AT) != header_check(in, seed))
        return false;
    *record = (struct od_record){
        .op = (enum od_record_op)in[4],
        .file = (enum od_volume_file)in[5],
        .lsn = lsn,
        .offset = od_get64(in + 24),
        .bytes = od_get32(in + 8),
        .payload_hash = od_get64(in + 32),
        .chain = od_get64(in + CHAIN_AT),
    };
    return in[4] >= OD_RECORD_WRITE && in[4] < OD_RECORD_OPS && in[5] < OD_VOLUME_FILES &&
           record->bytes <= OD_RECORD_PAYLOAD_MAX;
}

// ---- barriers

uint32_t od_barrier_encode(const struct od_barrier *barrier, uint8_t out[OD_BARRIER_BYTES_MAX])
{
    od_put64(out, barrier->durable_lsn);
    od_put64(out + 8, barrier->time_us);
    for (int i = 0; i < OD_VOLUME_FILES; i++)
        od_put64(out + 16 + 8 * i, barrier->files[i].exists ? barrier->files[i].size : FILE_ABSENT);
    od_put64(out + 48, barrier->has_entry ? strlen(barrier->entry.request_id) + 1 : 0);
    if (!barrier->has_entry)
        return BARRIER_FIXED_BYTES;
    od_put64(out + BARRIER_FIXED_BYTES, barrier->entry.changed_rows);
    size_t bytes = strlen(barrier->entry.request_id);
    memcpy(out + BARRIER_FIXED_BYTES + 8, barrier->entry.request_id, bytes);
    return BARRIER_FIXED_BYTES + 8 + (uint32_t)bytes;
}

bool od_barrier_decode(const uint8_t *in, size_t bytes, struct od_barrier *barrier)
{
    if (bytes < BARRIER_FIXED_BYTES)
        return false;
    *barrier = (struct od_barrier){.durable_lsn = od_get64(in), .time_us = od_get64(in + 8)};
    for (int i = 0; i < OD_VOLUME_FILES; i++) {
        uint64_t size = od_get64(in + 16 + 8 * i);
        barrier->files[i] = (struct od_file_state){size != FILE_ABSENT, size != FILE_ABSENT ? size : 0};
    }
    uint64_t length = od_get64(in + 48);
    if (length == 0)
        return bytes == BARRIER_FIXED_BYTES;
    length--;
    if (length >= OD_REQUEST_ID_BYTES || bytes != BARRIER_FIXED_BYTES + 8 + length)
        return false;
    barrier->has_entry = true;
    barrier->entry.changed_rows = od_get64(in + BARRIER_FIXED_BYTES);
    barrier->entry.time_us = barrier->time_us;
    memcpy(barrier->entry.request_id, in + BARRIER_FIXED_BYTES + 8, length);
    return memchr(barrier->entry.request_id, '\0', length) == NULL;
}
