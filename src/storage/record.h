// record.h - private: the bytes of a journal: its header block and its records. Encoding and decoding only, no I/O.
// docs/internals/layer-format.md has the layouts.
//
// A record's `check` says that its header is whole and belongs to this journal and this position. Its `chain` says besides
// that every record before it is the one that was written: chain(n) = XXH3(header of n, seeded with chain(n - 1)), and
// chain(0) is the hash of the header block.
#ifndef OD_STORAGE_RECORD_H
#define OD_STORAGE_RECORD_H

#include "storage/volume.h"

#define OD_JOURNAL_HEADER_BYTES 4096u
#define OD_RECORD_HEADER_BYTES 48u
#define OD_RECORD_ALIGN 16u
#define OD_RECORD_PAYLOAD_MAX (16u * 1024u * 1024u)
#define OD_BARRIER_BYTES_MAX 192u
#define OD_FORMAT_VERSION 1u

enum od_record_op {
    OD_RECORD_WRITE = 1, // payload: bytes at `offset`; of the database file always one whole block or header
    OD_RECORD_CREATE,
    OD_RECORD_TRUNCATE, // offset: the new size
    OD_RECORD_TRIM,     // offset; payload_hash: the length (there is no payload)
    OD_RECORD_REMOVE,
    OD_RECORD_RENAME,    // offset: the file it becomes
    OD_RECORD_BARRIER,   // payload: struct od_barrier
    OD_RECORD_WATERMARK, // payload: durable_lsn, so that a lost tail can be told from a damaged one
    OD_RECORD_OPS
};

struct od_record {
    enum od_record_op op;
    enum od_volume_file file;
    uint64_t lsn; // where it begins
    uint64_t offset;
    uint32_t bytes; // of the payload
    uint64_t payload_hash;
    uint64_t chain; // including this record
};

struct od_file_state {
    bool exists;
    uint64_t size;
};

struct od_barrier {
    uint64_t durable_lsn; // when it was written
    uint64_t time_us;
    struct od_file_state files[OD_VOLUME_FILES]; // after it
    bool has_entry;
    struct od_ledger_entry entry;
};

struct od_journal_header {
    struct od_uuid layer; // what it is called when sealed
    struct od_uuid branch;
    struct od_uuid parent; // the layer or journal it continues; zero: none
    uint64_t epoch;
    uint64_t first_lsn;
    uint64_t parent_chain; // the chain at the parent's last barrier
    uint64_t time_us;      // of the barrier it continues
    uint32_t depth;        // number of layers below it
    uint32_t block_bytes;
};

// A journal's, record's or footer's hash.
uint64_t od_storage_hash(const void *data, size_t bytes, uint64_t seed);

void od_journal_header_encode(const struct od_journal_header *header, uint8_t out[OD_JOURNAL_HEADER_BYTES]);
// OD_CORRUPT, or OD_UNSUPPORTED for another format version; `name` is the file's, for messages. *chain: chain(0).
OD_CHECKED od_code od_journal_header_decode(const uint8_t in[OD_JOURNAL_HEADER_BYTES], const char *name,
                                            struct od_journal_header *header, uint64_t *chain, struct od_error *err);

// What makes the checks of one journal's records its own.
uint64_t od_record_seed(const struct od_uuid *layer);
// Bytes a record with such a payload takes.
uint64_t od_record_bytes(uint64_t payload_bytes);
// Sets record->chain from the chain before it.
void od_record_encode(struct od_record *record, uint64_t seed, uint64_t chain, uint8_t out[OD_RECORD_HEADER_BYTES]);
// Is there a whole header of this journal at this position? Says nothing about the chain and the payload.
bool od_record_decode(const uint8_t in[OD_RECORD_HEADER_BYTES], uint64_t seed, uint64_t lsn, struct od_record *record);
// Do the first 4 bytes look like a record's?
bool od_record_begins(const uint8_t *in);
// What the chain must be after this header.
uint64_t od_record_chain(const uint8_t in[OD_RECORD_HEADER_BYTES], uint64_t chain);

// Returns the payload's bytes.
uint32_t od_barrier_encode(const struct od_barrier *barrier, uint8_t out[OD_BARRIER_BYTES_MAX]);
bool od_barrier_decode(const uint8_t *in, size_t bytes, struct od_barrier *barrier);

#endif
