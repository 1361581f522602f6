// model.c - the plain model of a database's files. See model.h.
#include "sim/model.h"
#include "base/assert.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const file_names[OD_VOLUME_FILES] = {"database", "wal", "wal.checkpoint", "wal.recovery"};

void model_state_release(struct model_state *state)
{
    for (int f = 0; f < OD_VOLUME_FILES; f++)
        sim_bytes_release(&state->files[f]);
    *state = (struct model_state){0};
}

void model_state_copy(struct model_state *to, const struct model_state *from)
{
    *to = *from;
    for (int f = 0; f < OD_VOLUME_FILES; f++)
        sim_bytes_copy(&to->files[f], &from->files[f]);
}

static bool trimmed(const struct model_state *state, uint64_t page)
{
    return state->trimmed[page / 8] & (1u << (page % 8));
}

void model_write(struct model_state *state, enum od_volume_file file, uint64_t offset, const void *data, size_t bytes)
{
    od_assert(offset + bytes <= (uint64_t)MODEL_PAGES * SIM_PAGE_BYTES);
    state->exists[file] = true;
    sim_bytes_write(&state->files[file], offset, data, bytes);
    if (file == OD_VOLUME_DATABASE)
        for (uint64_t page = offset / SIM_PAGE_BYTES; page * SIM_PAGE_BYTES < offset + bytes; page++)
            state->trimmed[page / 8] &= (uint8_t) ~(1u << (page % 8));
}

void model_truncate(struct model_state *state, enum od_volume_file file, uint64_t bytes)
{
    sim_bytes_resize(&state->files[file], bytes);
    if (file == OD_VOLUME_DATABASE)
        for (uint64_t page = (bytes + SIM_PAGE_BYTES - 1) / SIM_PAGE_BYTES; page < MODEL_PAGES; page++)
            state->trimmed[page / 8] &= (uint8_t) ~(1u << (page % 8));
}

void model_trim(struct model_state *state, uint64_t offset, uint64_t bytes)
{
    for (uint64_t page = offset / SIM_PAGE_BYTES; page * SIM_PAGE_BYTES < offset + bytes; page++)
        state->trimmed[page / 8] |= (uint8_t)(1u << (page % 8));
}

void model_remove(struct model_state *state, enum od_volume_file file)
{
    state->exists[file] = false;
    sim_bytes_release(&state->files[file]);
}

void model_rename(struct model_state *state, enum od_volume_file from, enum od_volume_file to)
{
    sim_bytes_release(&state->files[to]);
    state->files[to] = state->files[from];
    state->exists[to] = true;
    state->files[from] = (struct sim_bytes){0};
    state->exists[from] = false;
}

bool model_same(const struct model_state *found, const struct model_state *expected, char *why, size_t why_bytes)
{
    for (int f = 0; f < OD_VOLUME_FILES; f++) {
        if (found->exists[f] != expected->exists[f]) {
            snprintf(why, why_bytes, "%s %s", file_names[f], found->exists[f] ? "exists" : "is missing");
            return false;
        }
        const struct sim_bytes *a = &found->files[f], *b = &expected->files[f];
        if (a->size != b->size) {
            snprintf(why, why_bytes, "%s has %llu bytes, not %llu", file_names[f], (unsigned long long)a->size,
                     (unsigned long long)b->size);
            return false;
        }
        uint8_t x[SIM_PAGE_BYTES], y[SIM_PAGE_BYTES];
        for (uint64_t at = 0; at < a->size; at += SIM_PAGE_BYTES) {
            const size_t part = a->size - at < SIM_PAGE_BYTES ? (size_t)(a->size - at) : SIM_PAGE_BYTES;
            if (f == OD_VOLUME_DATABASE && trimmed(expected, at / SIM_PAGE_BYTES))
                continue;
            od_assert(sim_bytes_read(a, at, x, part) && sim_bytes_read(b, at, y, part));
            if (memcmp(x, y, part) == 0)
                continue;
            size_t i = 0;
            while (x[i] == y[i])
                i++;
            snprintf(why, why_bytes, "%s differs at %llu: %02x instead of %02x", file_names[f],
                     (unsigned long long)(at + i), x[i], y[i]);
            return false;
        }
    }
    return true;
}

void model_line_release(struct model_line *line)
{
    for (size_t i = 0; i < line->count; i++)
        model_state_release(&line->barriers[i].state);
    free(line->barriers);
    model_state_release(&line->now);
    *line = (struct model_line){0};
}

void model_line_barrier(struct model_line *line, uint64_t epoch, uint64_t lsn, const char *request_id,
                        uint64_t changed_rows)
{
    line->barriers = realloc(line->barriers, (line->count + 1) * sizeof *line->barriers);
    od_assert(line->barriers);
    struct model_barrier *barrier = &line->barriers[line->count++];
    *barrier = (struct model_barrier){.epoch = epoch, .lsn = lsn, .changed_rows = changed_rows};
    if (request_id)
        snprintf(barrier->request_id, sizeof barrier->request_id, "%s", request_id);
    model_state_copy(&barrier->state, &line->now);
}

void model_line_cut(struct model_line *line, size_t index)
{
    while (line->count > index + 1)
        model_state_release(&line->barriers[--line->count].state);
    model_state_release(&line->now);
    model_state_copy(&line->now, &line->barriers[index].state);
}

void model_line_begin(struct model_line *line, const struct model_state *state, uint64_t epoch, uint64_t lsn)
{
    *line = (struct model_line){0};
    model_state_copy(&line->now, state);
    model_line_barrier(line, epoch, lsn, NULL, 0);
    line->barriers[0].acknowledged = true;
}
