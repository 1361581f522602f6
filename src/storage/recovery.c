// recovery.c - what a journal holds after a crash: od_journal_scan and od_journal_replay.
//
// A record is whole when its check fits this journal and position, its chain continues the one before, and its payload has
// its hash. Reading stops at the first that is not. That is either the tail of a crash, which was never acknowledged and is
// passed over, or damage. It is damage when a later barrier or watermark of this journal says that a position beyond the
// bad record had been durable: then the record was there once, and dropping it would lose acknowledged writes. The last
// window, after which no later record was written, cannot be told apart; idle volumes write watermarks to close it.
#include "storage/bytes.h"
#include "storage/journal.h"
#include "storage/planted.h"

#include "base/alloc.h"
#include "base/limits.h"

#include <string.h>

#define WINDOW_BYTES_MIN ((size_t)(64 * OD_KIB)) // doubled with each step of reading ahead: most journals are short
#define WINDOW_BYTES_MAX ((size_t)(1 * OD_MIB))
#define WATERMARK_BYTES 8u
#define READ_AHEAD_BELOW 65536u

struct reader {
    struct od_journal *journal;
    uint64_t size; // of the file
    uint8_t *window;
    uint64_t window_at;
    size_t window_bytes, window_capacity;
    uint8_t *payload;
    size_t payload_capacity;
};

static od_code reader_open(struct reader *reader, struct od_journal *journal, struct od_error *err)
{
    *reader = (struct reader){.journal = journal};
    od_code rc = od_journal_size(journal, &reader->size, err);
    if (rc != OD_OK)
        return rc;
    reader->window_capacity = WINDOW_BYTES_MIN;
    reader->window = od_alloc(reader->window_capacity);
    return reader->window ? OD_OK : od_fail(err, OD_NO_MEMORY, "out of memory for reading %s", journal->path);
}

static void reader_close(struct reader *reader)
{
    od_free(reader->window);
    od_free(reader->payload);
}

static od_code grow_window(struct reader *reader, struct od_error *err)
{
    if (reader->window_bytes < reader->window_capacity || reader->window_capacity == WINDOW_BYTES_MAX)
        return OD_OK;
    uint8_t *grown = od_alloc(2 * reader->window_capacity);
    if (!grown)
        return od_fail(err, OD_NO_MEMORY, "out of memory for reading %s", reader->journal->path);
    od_free(reader->window);
    reader->window = grown;
    reader->window_capacity *= 2;
    return OD_OK;
}

// *data: `bytes` bytes at `offset` (not beyond the file's end), good until the next call. `ahead`: read more than asked.
static od_code reader_get(struct reader *reader, uint64_t offset, size_t bytes, bool ahead, const uint8_t **data,
                          struct od_error *err)
{
    struct od_journal *journal = reader->journal;
    if (offset >= reader->window_at && offset + bytes <= reader->window_at + reader->window_bytes) {
        *data = reader->window + (offset - reader->window_at);
        return OD_OK;
    }
    if (bytes > reader->window_capacity) {
        if (reader->payload_capacity < bytes) {
            uint8_t *grown = od_realloc(reader->payload, bytes);
            if (!grown)
                return od_fail(err, OD_NO_MEMORY, "out of memory for reading %s", journal->path);
            reader->payload = grown;
            reader->payload_capacity = bytes;
        }
        *data = reader->payload;
        return od_journal_read(journal, offset, reader->payload, bytes, err);
    }
    od_code rc = ahead ? grow_window(reader, err) : OD_OK;
    if (rc != OD_OK)
        return rc;
    size_t wanted = ahead ? reader->window_capacity : bytes;
    if (wanted > reader->size - offset)
        wanted = (size_t)(reader->size - offset);
    reader->window_bytes = 0;
    rc = od_journal_read(journal, offset, reader->window, wanted, err);
    if (rc != OD_OK)
        return rc;
    reader->window_at = offset;
    reader->window_bytes = wanted;
    *data = reader->window;
    return OD_OK;
}

// From `at` on, the next offset where a record may begin; the file's size when there is none.
static od_code next_record(struct reader *reader, uint64_t at, uint64_t *found, struct od_error *err)
{
    while (at + OD_RECORD_HEADER_BYTES <= reader->size) {
        const uint8_t *header;
        od_code rc = reader_get(reader, at, OD_RECORD_HEADER_BYTES, true, &header, err);
        if (rc != OD_OK)
            return rc;
        uint64_t end = reader->window_at + reader->window_bytes;
        for (; at + OD_RECORD_HEADER_BYTES <= end; at += OD_RECORD_ALIGN, header += OD_RECORD_ALIGN)
            if (od_record_begins(header)) {
                *found = at;
                return OD_OK;
            }
    }
    *found = reader->size;
    return OD_OK;
}

// The position that a barrier or watermark says is durable; 0: it says nothing.
static uint64_t durable_of(const struct od_record *record, const uint8_t *payload)
{
    struct od_barrier barrier;
    if (record->op == OD_RECORD_BARRIER && od_barrier_decode(payload, record->bytes, &barrier))
        return barrier.durable_lsn;
    if (record->op == OD_RECORD_WATERMARK && record->bytes == WATERMARK_BYTES)
        return od_get64(payload);
    return 0;
}

static bool has_payload(const struct od_record *record)
{
    return record->op == OD_RECORD_WRITE || record->op == OD_RECORD_BARRIER || record->op == OD_RECORD_WATERMARK;
}

// The record at `lsn`, if it is whole; *record holds the one before (zeros: none). *payload: as reader_get.
static od_code read_record(struct reader *reader, uint64_t lsn, uint64_t chain, bool verify, struct od_record *record,
                           const uint8_t **payload, bool *whole, struct od_error *err)
{
    od_code rc = OD_OK;
    const uint8_t *header;
    uint64_t offset = od_journal_offset(reader->journal, lsn);
    *whole = false;
    *payload = NULL;
    if (offset + OD_RECORD_HEADER_BYTES > reader->size)
        return OD_OK;
    bool ahead = verify || record->bytes < READ_AHEAD_BELOW; // the one before: among large payloads it would be a waste
    OD_TRY(reader_get(reader, offset, OD_RECORD_HEADER_BYTES, ahead, &header, err));
    if (!od_record_decode(header, reader->journal->seed, lsn, record) ||
        od_record_chain(header, chain) != record->chain || (record->bytes > 0 && !has_payload(record)) ||
        offset + od_record_bytes(record->bytes) > reader->size)
        return OD_OK;
    if (has_payload(record) && (verify || record->op != OD_RECORD_WRITE)) {
        OD_TRY(reader_get(reader, offset + OD_RECORD_HEADER_BYTES, record->bytes, verify, payload, err));
        if (!OD_PLANT(PAYLOAD_UNCHECKED) && od_storage_hash(*payload, record->bytes, 0) != record->payload_hash)
            return OD_OK;
    }
    *whole = true;
out:
    return rc;
}

// Is there a record behind the bad one at `bad_lsn` that says that it was durable?
static od_code check_tail(struct reader *reader, uint64_t bad_lsn, struct od_error *err)
{
    od_code rc = OD_OK;
    struct od_journal *journal = reader->journal;
    for (uint64_t at = od_journal_offset(journal, bad_lsn);;) {
        const uint8_t *header, *payload;
        struct od_record record;
        OD_TRY(next_record(reader, at + OD_RECORD_ALIGN, &at, err));
        if (at >= reader->size)
            break;
        OD_TRY(reader_get(reader, at, OD_RECORD_HEADER_BYTES, true, &header, err));
        if (!od_record_decode(header, journal->seed, od_journal_lsn(journal, at), &record) ||
            (record.op != OD_RECORD_BARRIER && record.op != OD_RECORD_WATERMARK) ||
            record.bytes > OD_BARRIER_BYTES_MAX || at + od_record_bytes(record.bytes) > reader->size)
            continue;
        OD_TRY(reader_get(reader, at + OD_RECORD_HEADER_BYTES, record.bytes, true, &payload, err));
        if (od_storage_hash(payload, record.bytes, 0) == record.payload_hash && durable_of(&record, payload) > bad_lsn)
            OD_TRY(
                od_fail(err, OD_CORRUPT,
                        "%s is damaged at offset %llu: the record at position %llu fails verification, but was durable "
                        "(says the record at offset %llu). Nothing was changed; restore the file from a copy",
                        journal->path, (unsigned long long)od_journal_offset(journal, bad_lsn),
                        (unsigned long long)bad_lsn, (unsigned long long)at));
    }
out:
    return rc;
}

od_code od_journal_check_headless(struct od_journal *journal, struct od_error *err)
{
    od_code rc = OD_OK;
    struct reader reader;
    OD_TRY(reader_open(&reader, journal, err));
    for (uint64_t at = OD_JOURNAL_HEADER_BYTES - OD_RECORD_ALIGN;;) {
        const uint8_t *header, *payload;
        struct od_record record;
        OD_TRY(next_record(&reader, at + OD_RECORD_ALIGN, &at, err));
        if (at >= reader.size)
            break;
        OD_TRY(reader_get(&reader, at, OD_RECORD_HEADER_BYTES, true, &header, err));
        uint64_t lsn = od_get64(header + 16), first_lsn = lsn - (at - OD_JOURNAL_HEADER_BYTES);
        if (!od_record_decode(header, journal->seed, lsn, &record) || record.bytes > OD_BARRIER_BYTES_MAX ||
            at + od_record_bytes(record.bytes) > reader.size)
            continue;
        OD_TRY(reader_get(&reader, at + OD_RECORD_HEADER_BYTES, record.bytes, true, &payload, err));
        if (od_storage_hash(payload, record.bytes, 0) == record.payload_hash &&
            durable_of(&record, payload) > first_lsn)
            OD_TRY(
                od_fail(err, OD_CORRUPT,
                        "%s is damaged at offset 0: its header block fails verification, but what follows was durable "
                        "(says the record at offset %llu). Nothing was changed; restore the file from a copy",
                        journal->path, (unsigned long long)at));
    }
out:
    reader_close(&reader);
    return rc;
}

static struct od_journal_end journal_begin(const struct od_journal *journal)
{
    return (struct od_journal_end){journal->header.first_lsn, journal->head_chain, journal->header.time_us, 0, 0, 0};
}

static void pass_barrier(struct od_journal_end *end, uint64_t lsn, uint64_t chain, uint64_t time_us)
{
    uint64_t first_time_us = end->barriers ? end->first_time_us : time_us;
    *end = (struct od_journal_end){lsn, chain, time_us, end->barriers + 1, first_time_us, 0};
}

od_code od_journal_scan(struct od_journal *journal, struct od_journal_end *end, struct od_error *err)
{
    od_code rc = OD_OK;
    struct reader reader;
    struct od_record record = {0};
    const uint8_t *payload;
    *end = journal_begin(journal);
    uint64_t lsn = end->lsn, chain = end->chain, durable_lsn = 0;
    OD_TRY(reader_open(&reader, journal, err));
    for (;;) {
        bool whole;
        OD_TRY(read_record(&reader, lsn, chain, true, &record, &payload, &whole, err));
        if (!whole)
            break;
        lsn += od_record_bytes(record.bytes);
        chain = record.chain;
        struct od_barrier barrier;
        if (record.op == OD_RECORD_BARRIER && od_barrier_decode(payload, record.bytes, &barrier))
            pass_barrier(end, lsn, chain, barrier.time_us);
        if (payload && durable_of(&record, payload) > durable_lsn)
            durable_lsn = durable_of(&record, payload);
    }
    end->durable_lsn = durable_lsn;
    OD_TRY(check_tail(&reader, lsn, err));
out:
    reader_close(&reader);
    return rc;
}

static od_code apply_barrier(struct od_barrier *barrier, uint64_t end_lsn, struct od_files *files,
                             struct od_ledger *ledger, struct od_error *err)
{
    memcpy(files->states, barrier->files, sizeof files->states);
    if (!ledger || !barrier->has_entry)
        return OD_OK;
    od_code rc = od_ledger_prepare(ledger, err);
    if (rc != OD_OK)
        return rc;
    barrier->entry.lsn = end_lsn;
    od_ledger_add(ledger, &barrier->entry);
    return OD_OK;
}

od_code od_journal_replay(struct od_journal *journal, uint64_t until_lsn, struct od_files *files,
                          struct od_ledger *ledger, struct od_journal_end *end, struct od_error *err)
{
    od_code rc = OD_OK;
    struct reader reader;
    struct od_record record = {0};
    const uint8_t *payload;
    *end = journal_begin(journal);
    uint64_t lsn = end->lsn, chain = end->chain;
    OD_TRY(reader_open(&reader, journal, err));
    while (lsn < until_lsn) {
        bool whole;
        OD_TRY(read_record(&reader, lsn, chain, false, &record, &payload, &whole, err));
        struct od_barrier barrier;
        if (!whole || (record.op == OD_RECORD_BARRIER && !od_barrier_decode(payload, record.bytes, &barrier)))
            OD_TRY(
                od_fail(err, OD_CORRUPT, "%s is damaged at offset %llu: the record at position %llu fails verification",
                        journal->path, (unsigned long long)od_journal_offset(journal, lsn), (unsigned long long)lsn));
        OD_TRY(od_files_prepare(files, &record, err));
        od_files_apply(files, &record, od_place_make(journal->header.depth, od_journal_offset(journal, lsn)),
                       record.offset + record.bytes);
        lsn += od_record_bytes(record.bytes);
        chain = record.chain;
        if (record.op == OD_RECORD_BARRIER) {
            OD_TRY(apply_barrier(&barrier, lsn, files, ledger, err));
            pass_barrier(end, lsn, chain, barrier.time_us);
        }
    }
    if (lsn != until_lsn || end->lsn != until_lsn)
        OD_TRY(od_fail(err, OD_CORRUPT, "%s has no barrier at position %llu", journal->path,
                       (unsigned long long)until_lsn));
out:
    reader_close(&reader);
    return rc;
}

od_code od_journal_find_time(struct od_journal *journal, uint64_t until_lsn, uint64_t time_us,
                             struct od_journal_end *end, struct od_error *err)
{
    od_code rc = OD_OK;
    struct reader reader;
    struct od_record record = {0};
    const uint8_t *payload;
    *end = journal_begin(journal);
    uint64_t lsn = end->lsn, chain = end->chain;
    OD_TRY(reader_open(&reader, journal, err));
    while (lsn < until_lsn) {
        bool whole;
        struct od_barrier barrier;
        OD_TRY(read_record(&reader, lsn, chain, false, &record, &payload, &whole, err));
        if (!whole || (record.op == OD_RECORD_BARRIER && !od_barrier_decode(payload, record.bytes, &barrier)))
            OD_TRY(od_fail(err, OD_CORRUPT, "%s is damaged at offset %llu", journal->path,
                           (unsigned long long)od_journal_offset(journal, lsn)));
        lsn += od_record_bytes(record.bytes);
        chain = record.chain;
        if (record.op == OD_RECORD_BARRIER && barrier.time_us > time_us)
            break;
        if (record.op == OD_RECORD_BARRIER)
            pass_barrier(end, lsn, chain, barrier.time_us);
    }
out:
    reader_close(&reader);
    return rc;
}
