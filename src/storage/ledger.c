#include "storage/ledger.h"

#include "base/alloc.h"

#include <string.h>
#include <xxhash.h>

#define CAPACITY_FIRST 64u

static void hash_id(const char *request_id, uint64_t id[2])
{
    XXH128_hash_t hash = XXH3_128bits(request_id, strlen(request_id));
    id[0] = hash.low64;
    id[1] = hash.high64;
}

static void chain_in(struct od_ledger *ledger, uint32_t index)
{
    uint32_t *bucket = &ledger->buckets[ledger->items[index].id[0] & (ledger->capacity - 1)];
    ledger->next[index] = *bucket;
    *bucket = index + 1;
}

static void drop_oldest(struct od_ledger *ledger)
{
    uint32_t index = ledger->first;
    uint32_t *link = &ledger->buckets[ledger->items[index].id[0] & (ledger->capacity - 1)];
    while (*link != index + 1)
        link = &ledger->next[*link - 1];
    *link = ledger->next[index];
    ledger->first = (index + 1) & (ledger->capacity - 1);
    ledger->count--;
}

od_code od_ledger_prepare(struct od_ledger *ledger, struct od_error *err)
{
    if (ledger->count < ledger->capacity || ledger->capacity == OD_LEDGER_ENTRIES_MAX)
        return OD_OK;
    uint32_t capacity = ledger->capacity ? ledger->capacity * 2 : CAPACITY_FIRST;
    struct od_ledger grown = {
        .items = od_alloc(capacity * sizeof *grown.items),
        .next = od_calloc(capacity, sizeof *grown.next),
        .buckets = od_calloc(capacity, sizeof *grown.buckets),
        .capacity = capacity,
        .window_us = ledger->window_us,
    };
    if (!grown.items || !grown.next || !grown.buckets) {
        od_ledger_release(&grown);
        return od_fail(err, OD_NO_MEMORY, "out of memory for the ledger of %u requests", capacity);
    }
    for (; grown.count < ledger->count; grown.count++) {
        grown.items[grown.count] = ledger->items[(ledger->first + grown.count) & (ledger->capacity - 1)];
        chain_in(&grown, grown.count);
    }
    od_ledger_release(ledger);
    *ledger = grown;
    return OD_OK;
}

void od_ledger_add_item(struct od_ledger *ledger, const struct od_ledger_item *item)
{
    while (ledger->count > 0 && (ledger->count == ledger->capacity ||
                                 ledger->items[ledger->first].time_us + ledger->window_us < item->time_us))
        drop_oldest(ledger);
    uint32_t index = (ledger->first + ledger->count) & (ledger->capacity - 1);
    ledger->items[index] = *item;
    ledger->count++;
    chain_in(ledger, index);
}

void od_ledger_add(struct od_ledger *ledger, const struct od_ledger_entry *entry)
{
    struct od_ledger_item item = {{0}, entry->changed_rows, entry->time_us, entry->lsn};
    hash_id(entry->request_id, item.id);
    od_ledger_add_item(ledger, &item);
}

bool od_ledger_find(const struct od_ledger *ledger, const char *request_id, struct od_ledger_entry *entry)
{
    uint64_t id[2];
    if (ledger->count == 0)
        return false;
    hash_id(request_id, id);
    for (uint32_t at = ledger->buckets[id[0] & (ledger->capacity - 1)]; at; at = ledger->next[at - 1]) {
        const struct od_ledger_item *item = &ledger->items[at - 1];
        if (item->id[0] != id[0] || item->id[1] != id[1])
            continue;
        *entry =
            (struct od_ledger_entry){.changed_rows = item->changed_rows, .time_us = item->time_us, .lsn = item->lsn};
        memcpy(entry->request_id, request_id, strnlen(request_id, OD_REQUEST_ID_BYTES - 1));
        return true;
    }
    return false;
}

void od_ledger_release(struct od_ledger *ledger)
{
    od_free(ledger->items);
    od_free(ledger->next);
    od_free(ledger->buckets);
    *ledger = (struct od_ledger){.window_us = ledger->window_us};
}
