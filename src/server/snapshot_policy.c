// snapshot_policy.c - see snapshot_policy.h.
#include "server/snapshot_policy.h"

static bool is_due(const struct od_snapshot_policy *policy, const struct od_meta_snapshot *rows, size_t count,
                   const struct od_position *newest, uint64_t now_us)
{
    for (size_t i = 0; i < count; i++) {
        const struct od_meta_snapshot *row = &rows[i];
        if (row->position.lsn == newest->lsn && od_uuid_equal(&row->position.branch, &newest->branch))
            return false; // also when somebody made it by hand
        if (row->automatic && row->created_us <= now_us && now_us - row->created_us < policy->every_us)
            return false;
    }
    return true;
}

// How many automatic ones are newer than rows[i]? Of the same age the later one of the list is the newer.
static uint64_t newer(const struct od_meta_snapshot *rows, size_t count, size_t i)
{
    uint64_t found = 0;
    for (size_t j = 0; j < count; j++)
        if (rows[j].automatic &&
            (rows[j].created_us > rows[i].created_us || (rows[j].created_us == rows[i].created_us && j > i)))
            found++;
    return found;
}

void od_snapshot_policy_plan(const struct od_snapshot_policy *policy, const struct od_meta_snapshot *rows, size_t count,
                             const struct od_position *newest, uint64_t now_us, bool *create, bool *drop)
{
    *create = policy->every_us > 0 && is_due(policy, rows, count, newest, now_us);
    uint64_t room = *create ? policy->keep - 1 : policy->keep;
    for (size_t i = 0; i < count; i++)
        drop[i] = policy->every_us > 0 && rows[i].automatic && newer(rows, count, i) >= room;
}
