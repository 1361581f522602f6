// metastore.c - what all backends share: the rule of names, what makes two rows the same, who may take a branch.
#include "metastore/metastore.h"

#include <string.h>

od_code od_meta_name_check(const char *name, struct od_error *err)
{
    size_t bytes = strnlen(name, OD_META_NAME_BYTES);
    if (bytes == 0 || bytes >= OD_META_NAME_BYTES)
        return od_fail(err, OD_INVALID, "a name has 1 to %u bytes: \"%.60s\"", OD_META_NAME_BYTES - 1, name);
    for (size_t i = 0; i < bytes; i++)
        if ((unsigned char)name[i] < 0x20 || name[i] == 0x7f)
            return od_fail(err, OD_INVALID, "a name has no control characters (byte %zu)", i);
    return OD_OK;
}

bool od_meta_branch_same(const struct od_meta_branch *a, const struct od_meta_branch *b)
{
    return od_uuid_equal(&a->branch, &b->branch) && od_uuid_equal(&a->parent_branch, &b->parent_branch) &&
           od_uuid_equal(&a->parent_layer, &b->parent_layer) && a->start_lsn == b->start_lsn;
}

bool od_meta_layer_same(const struct od_meta_layer *a, const struct od_meta_layer *b)
{
    return od_uuid_equal(&a->layer, &b->layer) && od_uuid_equal(&a->branch, &b->branch) && a->epoch == b->epoch &&
           od_uuid_equal(&a->parent, &b->parent) && a->first_lsn == b->first_lsn && a->end_lsn == b->end_lsn &&
           a->first_time_us == b->first_time_us && a->last_time_us == b->last_time_us && a->bytes == b->bytes &&
           a->kind == b->kind && strcmp(a->key, b->key) == 0;
}

bool od_meta_snapshot_same(const struct od_meta_snapshot *a, const struct od_meta_snapshot *b)
{
    return strcmp(a->name, b->name) == 0 && od_uuid_equal(&a->snapshot, &b->snapshot) &&
           od_uuid_equal(&a->position.branch, &b->position.branch) && a->position.epoch == b->position.epoch &&
           a->position.lsn == b->position.lsn && od_uuid_equal(&a->layer, &b->layer) && a->time_us == b->time_us &&
           a->automatic == b->automatic;
}

od_code od_meta_branch_acquire(struct od_meta_branch *row, const char *owner, const struct od_uuid *holder,
                               uint64_t now_us, uint64_t lease_us, bool force, struct od_error *err)
{
    bool held = !od_uuid_is_zero(&row->holder), same = od_uuid_equal(&row->holder, holder);
    bool is_free = force || row->policy & (OD_BRANCH_REMOTE | OD_BRANCH_FAILOVER);
    if (row->dropped_us)
        return od_fail(err, OD_NOT_FOUND, "the database of this branch has been dropped");
    if (!force && !same && row->lease_until_us > now_us && strcmp(row->owner, owner) != 0)
        return od_fail(err, OD_LOCKED, "%s is writing this database; its lease runs for another %llu ms", row->owner,
                       (unsigned long long)(row->lease_until_us - now_us) / 1000);
    if (!is_free && held && !same)
        return od_fail(err, OD_LOCKED,
                       "%s wrote this database last, from another place, which may hold commits that are in no layer: "
                       "open it there once, or take over by force, which gives them up",
                       row->owner);
    row->epoch++;
    row->epoch_start_lsn = row->tip_lsn;
    row->lease_until_us = now_us + lease_us;
    if (held && !same)
        row->held_since = row->epoch;
    row->holder = *holder;
    memset(row->owner, 0, sizeof row->owner);
    memcpy(row->owner, owner, strlen(owner));
    return OD_OK;
}

void od_meta_branch_release(struct od_meta_branch *row, bool published)
{
    row->lease_until_us = 0;
    if (!published)
        return;
    row->holder = (struct od_uuid){0};
    row->held_since = row->epoch + 1;
}

void od_metastore_close(struct od_metastore *store)
{
    if (store)
        store->ops->close(store);
}
