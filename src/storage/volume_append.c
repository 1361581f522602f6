// volume_append.c - how an operation gets its position and its bytes get into the journal (A1, A2), and how a volume is
// poisoned (A4).
#include "storage/bytes.h"
#include "storage/planted.h"
#include "storage/store_internal.h"

#include "base/limits.h"
#include "os/clock.h"

#include <string.h>

#define BACK_PRESSURE_BYTES (32 * OD_MIB) // written and not flushed: whoever writes more, flushes first
#define FLUSH_STEP_BYTES (8 * OD_MIB)     // the flushing thread begins here

static uint8_t zeros[OD_RECORD_ALIGN];

void od_volume_poison(struct od_volume *volume, const struct od_error *why)
{
    if (!volume->poisoned) {
        volume->poison = *why;
        volume->poisoned = true;
    }
    pthread_cond_broadcast(&volume->landed);
    pthread_cond_broadcast(&volume->moved);
    pthread_cond_broadcast(&volume->work);
}

static od_code refuse_writes(struct od_volume *volume, struct od_error *err)
{
    if (volume->read_only)
        return od_fail(err, OD_READ_ONLY, "%s is open at a fixed position; it cannot be written", volume->name);
    if (volume->poisoned)
        return od_fail(err, volume->poison.code == OD_FENCED ? OD_FENCED : OD_IO,
                       "%s takes no writes since a failure: %s", volume->name, volume->poison.message);
    return OD_OK;
}

od_code od_volume_health(struct od_volume *volume, struct od_error *err)
{
    pthread_mutex_lock(&volume->lock);
    od_code rc = refuse_writes(volume, err);
    pthread_mutex_unlock(&volume->lock);
    return rc;
}

// Under `lock`, which is given up while all places are taken.
static od_code take_flight(struct od_volume *volume, unsigned *slot, struct od_error *err)
{
    for (;;) {
        od_code rc = refuse_writes(volume, err);
        if (rc != OD_OK)
            return rc;
        for (unsigned i = 0; i < OD_FLIGHTS_MAX; i++)
            if (volume->flights[i] == UINT64_MAX) {
                *slot = i;
                return OD_OK;
            }
        pthread_cond_wait(&volume->landed, &volume->lock);
    }
}

// rule: time = max(previous + 1 us, clock). The payload is made here because it holds the files' states at its position.
static od_code prepare_barrier(struct od_volume *volume, struct od_volume_append *append, uint8_t *payload,
                               struct od_error *err)
{
    struct od_barrier *barrier = append->barrier;
    if (barrier->has_entry) {
        od_code rc = od_ledger_prepare(&volume->ledger, err);
        if (rc != OD_OK)
            return rc;
    }
    uint64_t now = volume->platform->ops->wall_us(volume->platform);
    barrier->time_us = now > volume->time_us ? now : volume->time_us + 1;
    barrier->durable_lsn = volume->durable;
    memcpy(barrier->files, volume->files.states, sizeof barrier->files);
    struct od_barrier written = *barrier;
    if (OD_PLANT(LEDGER_APART))
        written.has_entry = false;
    append->record.bytes = od_barrier_encode(&written, payload);
    append->record.payload_hash = od_storage_hash(payload, append->record.bytes, 0);
    append->payload = payload;
    return OD_OK;
}

static void apply_barrier(struct od_volume *volume, struct od_barrier *barrier)
{
    volume->barrier = volume->tail;
    volume->barrier_chain = volume->chain;
    volume->time_us = barrier->time_us;
    volume->watermark = barrier->durable_lsn;
    volume->log_written = false;
    volume->barriers++;
    if (OD_PLANT(DURABLE_TOO_EARLY))
        volume->durable = volume->barrier;
    if (!barrier->has_entry)
        return;
    barrier->entry.time_us = barrier->time_us;
    barrier->entry.lsn = volume->tail;
    od_ledger_add(&volume->ledger, &barrier->entry);
}

// Is the block still where it was?
static od_code check_moved(struct od_volume *volume, const struct od_volume_append *append, bool *there,
                           struct od_error *err)
{
    struct od_cell cell = od_files_cell(&volume->files, append->record.offset);
    od_code rc = od_files_load(&volume->files, &cell, err);
    *there = rc == OD_OK && (od_files_page(&volume->files, &cell).place & ~OD_PLACE_VERIFIED) == append->moved_from;
    return rc;
}

// Disk space comes before the position, so that a full disk refuses a write and poisons nothing.
static od_code reserve(struct od_volume *volume, const struct od_record *record, struct od_error *err)
{
    uint64_t end = od_journal_offset(volume->current, volume->tail) + od_record_bytes(record->bytes);
    return od_journal_reserve(volume->current, end, err);
}

od_code od_volume_append(struct od_volume *volume, struct od_volume_append *append, uint64_t *end_lsn,
                         struct od_error *err)
{
    uint8_t header[OD_RECORD_HEADER_BYTES], barrier_payload[OD_BARRIER_BYTES_MAX];
    struct od_record *record = &append->record;
    struct od_error failure = {0};
    unsigned slot;
    od_code rc = OD_OK;

    pthread_mutex_lock(&volume->lock);
    if (!append->barrier && record->op != OD_RECORD_WATERMARK)
        OD_TRY(od_volume_wait_unshipped(volume, err));
    bool crowded = !append->barrier && volume->tail - volume->synced > BACK_PRESSURE_BYTES;
    if (crowded) {
        pthread_mutex_unlock(&volume->lock);
        rc = od_volume_flush(volume, err);
        pthread_mutex_lock(&volume->lock);
        OD_TRY(rc);
    }
    OD_TRY(take_flight(volume, &slot, err));
    if (append->quiet && (volume->log_written || volume->content <= volume->barrier))
        goto out;
    if (append->moved_from) {
        bool there;
        OD_TRY(check_moved(volume, append, &there, err));
        if (!there)
            goto out;
    }
    if (append->barrier)
        OD_TRY(prepare_barrier(volume, append, barrier_payload, err));
    OD_TRY(reserve(volume, record, err));
    record->lsn = volume->tail;
    OD_TRY(od_files_prepare(&volume->files, record, err));

    // From here on it has happened.
    struct od_journal *journal = volume->current;
    uint64_t offset = od_journal_offset(journal, record->lsn);
    od_record_encode(record, journal->seed, volume->chain, header);
    volume->chain = record->chain;
    volume->tail += od_record_bytes(record->bytes);
    if (record->op != OD_RECORD_WATERMARK)
        volume->content = volume->tail;
    if (record->op == OD_RECORD_WRITE && record->file != OD_VOLUME_DATABASE)
        volume->log_written = true;
    *end_lsn = volume->tail;
    volume->flights[slot] = record->lsn;
    od_files_apply(&volume->files, record, od_place_make(journal->header.depth, offset), append->write_end);
    if (append->barrier)
        apply_barrier(volume, append->barrier);
    if (append->barrier && volume->roll_wanted && volume->next)
        od_volume_switch(volume);
    if (volume->tail - volume->synced >= FLUSH_STEP_BYTES)
        pthread_cond_signal(&volume->work);
    if (append->barrier && volume->barrier - volume->current->header.first_lsn >= volume->store->options.seal_bytes)
        pthread_cond_signal(&volume->seal);
    pthread_mutex_unlock(&volume->lock);

    size_t padding = (size_t)(od_record_bytes(record->bytes) - OD_RECORD_HEADER_BYTES - record->bytes);
    struct iovec parts[3] = {
        {header, sizeof header}, {(void *)(uintptr_t)append->payload, record->bytes}, {zeros, padding}};
    rc = journal->platform->ops->write(journal->file, offset, parts, record->bytes ? 3 : 1, &failure);

    pthread_mutex_lock(&volume->lock);
    volume->flights[slot] = UINT64_MAX;
    if (rc != OD_OK) {
        od_volume_poison(volume, &failure);
        rc = refuse_writes(volume, err);
    }
    pthread_cond_broadcast(&volume->landed);
out:
    pthread_mutex_unlock(&volume->lock);
    if (failure.code != OD_OK)
        od_volume_answer(volume);
    return rc;
}

od_code od_volume_barrier(struct od_volume *volume, const struct od_ledger_entry *entry, uint64_t *lsn,
                          struct od_error *err)
{
    struct od_barrier barrier = {.has_entry = entry != NULL};
    if (entry) {
        barrier.entry = *entry;
        size_t bytes = strnlen(entry->request_id, sizeof entry->request_id);
        if (bytes == 0 || bytes == sizeof entry->request_id)
            return od_fail(err, OD_INVALID, "a request id has 1 to %u bytes", OD_REQUEST_ID_BYTES - 1);
    }
    struct od_volume_append append = {.record = {.op = OD_RECORD_BARRIER}, .barrier = &barrier};
    return od_volume_append(volume, &append, lsn, err);
}

od_code od_volume_watermark(struct od_volume *volume, struct od_error *err)
{
    uint8_t payload[8];
    uint64_t lsn;
    pthread_mutex_lock(&volume->lock);
    uint64_t durable = volume->durable;
    bool needed = durable > volume->watermark && !volume->poisoned;
    if (needed)
        volume->watermark = durable;
    pthread_mutex_unlock(&volume->lock);
    if (!needed)
        return OD_OK;
    od_put64(payload, durable);
    struct od_volume_append append = {
        .record = {.op = OD_RECORD_WATERMARK, .bytes = 8, .payload_hash = od_storage_hash(payload, 8, 0)},
        .payload = payload,
    };
    return od_volume_append(volume, &append, &lsn, err);
}

od_code od_volume_settle(struct od_volume *volume, struct od_error *err)
{
    struct od_barrier barrier = {0};
    uint64_t lsn;
    struct od_volume_append append = {.record = {.op = OD_RECORD_BARRIER}, .barrier = &barrier, .quiet = true};
    return od_volume_append(volume, &append, &lsn, err);
}
