// describe.c - layouts of the descriptions; see describe.h.
#include "storage/describe.h"

#include "storage/bytes.h"
#include "storage/record.h"

#include <string.h>

#define HEAD_BYTES 16u
#define BRANCH_FIXED 80u    // 16 + three uuids + two numbers
#define POLICY_FIXED 88u    // the same with one number more; only where there is a policy
#define SNAPSHOT_FIXED 104u // 16 + three uuids + five numbers
#define DROP_FIXED 40u      // 16 + a uuid + a number
#define CONDEMNED_FIXED 64u // 16 + two uuids + two numbers

static const char BRANCH_MAGIC[8] = {'O', 'D', 'B', 'R', 'A', 'N', 'C', '1'};
static const char POLICY_MAGIC[8] = {'O', 'D', 'B', 'R', 'A', 'N', 'C', '2'};
static const char DROP_MAGIC[8] = {'O', 'D', 'D', 'R', 'O', 'P', 'P', '1'};
static const char CONDEMNED_MAGIC[8] = {'O', 'D', 'C', 'O', 'N', 'D', 'M', '1'};
static const char SNAPSHOT_MAGIC[8] = {'O', 'D', 'S', 'N', 'A', 'P', 'S', '1'};

void od_branch_key(const struct od_uuid *branch, char key[OD_DESCRIPTION_KEY_BYTES])
{
    memcpy(key, "branches/", 9);
    od_uuid_format(branch, key + 9);
}

void od_snapshot_key(const struct od_uuid *snapshot, char key[OD_DESCRIPTION_KEY_BYTES])
{
    memcpy(key, "snapshots/", 10);
    od_uuid_format(snapshot, key + 10);
}

void od_drop_key(const struct od_uuid *branch, char key[OD_DESCRIPTION_KEY_BYTES])
{
    memcpy(key, "dropped/", 8);
    od_uuid_format(branch, key + 8);
}

void od_condemned_key(const struct od_uuid *layer, char key[OD_DESCRIPTION_KEY_BYTES])
{
    memcpy(key, "condemned/", 10);
    od_uuid_format(layer, key + 10);
}

// The name behind the fixed part, then the hash of all before.
static size_t finish(uint8_t *out, const char magic[8], size_t fixed, const char *name)
{
    size_t bytes = strnlen(name, OD_META_NAME_BYTES - 1);
    memcpy(out, magic, 8);
    od_put32(out + 8, OD_FORMAT_VERSION);
    od_put32(out + 12, (uint32_t)bytes);
    memcpy(out + fixed, name, bytes);
    od_put64(out + fixed + bytes, od_storage_hash(out, fixed + bytes, 0));
    return fixed + bytes + 8;
}

static od_code begin(const uint8_t *in, size_t bytes, const char magic[8], size_t fixed, const char *key, char *name,
                     struct od_error *err)
{
    if (bytes < HEAD_BYTES || memcmp(in, magic, 8) != 0)
        return od_fail(err, OD_CORRUPT, "%s is not a description of OpenDuck (offset 0)", key);
    if (od_get32(in + 8) != OD_FORMAT_VERSION)
        return od_fail(err, OD_UNSUPPORTED, "%s has format version %u; this program reads version %u", key,
                       od_get32(in + 8), OD_FORMAT_VERSION);
    uint32_t length = od_get32(in + 12);
    if (length >= OD_META_NAME_BYTES || bytes != fixed + length + 8 ||
        od_get64(in + fixed + length) != od_storage_hash(in, fixed + length, 0) || memchr(in + fixed, '\0', length))
        return od_fail(err, OD_CORRUPT, "%s fails verification (offset 0)", key);
    memcpy(name, in + fixed, length);
    name[length] = '\0';
    return OD_OK;
}

size_t od_branch_encode(const struct od_branch_description *branch, uint8_t out[OD_DESCRIPTION_BYTES_MAX])
{
    memcpy(out + 16, branch->branch.bytes, 16);
    memcpy(out + 32, branch->parent_branch.bytes, 16);
    memcpy(out + 48, branch->parent_layer.bytes, 16);
    od_put64(out + 64, branch->start_lsn);
    od_put64(out + 72, branch->created_us);
    if (!branch->policy)
        return finish(out, BRANCH_MAGIC, BRANCH_FIXED, branch->name);
    od_put64(out + 80, branch->policy);
    return finish(out, POLICY_MAGIC, POLICY_FIXED, branch->name);
}

od_code od_branch_decode(const uint8_t *in, size_t bytes, const char *key, struct od_branch_description *branch,
                         struct od_error *err)
{
    *branch = (struct od_branch_description){0};
    bool has_policy = bytes >= HEAD_BYTES && memcmp(in, POLICY_MAGIC, sizeof POLICY_MAGIC) == 0;
    od_code rc = has_policy ? begin(in, bytes, POLICY_MAGIC, POLICY_FIXED, key, branch->name, err)
                            : begin(in, bytes, BRANCH_MAGIC, BRANCH_FIXED, key, branch->name, err);
    if (rc != OD_OK)
        return rc;
    if (has_policy)
        branch->policy = od_get64(in + 80);
    memcpy(branch->branch.bytes, in + 16, 16);
    memcpy(branch->parent_branch.bytes, in + 32, 16);
    memcpy(branch->parent_layer.bytes, in + 48, 16);
    branch->start_lsn = od_get64(in + 64);
    branch->created_us = od_get64(in + 72);
    return OD_OK;
}

size_t od_snapshot_encode(const struct od_meta_snapshot *snapshot, uint8_t out[OD_DESCRIPTION_BYTES_MAX])
{
    memcpy(out + 16, snapshot->snapshot.bytes, 16);
    memcpy(out + 32, snapshot->position.branch.bytes, 16);
    memcpy(out + 48, snapshot->layer.bytes, 16);
    od_put64(out + 64, snapshot->position.epoch);
    od_put64(out + 72, snapshot->position.lsn);
    od_put64(out + 80, snapshot->time_us);
    od_put64(out + 88, snapshot->created_us);
    od_put64(out + 96, snapshot->automatic);
    return finish(out, SNAPSHOT_MAGIC, SNAPSHOT_FIXED, snapshot->name);
}

od_code od_snapshot_decode(const uint8_t *in, size_t bytes, const char *key, struct od_meta_snapshot *snapshot,
                           struct od_error *err)
{
    *snapshot = (struct od_meta_snapshot){0};
    od_code rc = begin(in, bytes, SNAPSHOT_MAGIC, SNAPSHOT_FIXED, key, snapshot->name, err);
    if (rc != OD_OK)
        return rc;
    memcpy(snapshot->snapshot.bytes, in + 16, 16);
    memcpy(snapshot->position.branch.bytes, in + 32, 16);
    memcpy(snapshot->layer.bytes, in + 48, 16);
    snapshot->position.epoch = od_get64(in + 64);
    snapshot->position.lsn = od_get64(in + 72);
    snapshot->time_us = od_get64(in + 80);
    snapshot->created_us = od_get64(in + 88);
    snapshot->automatic = od_get64(in + 96) != 0;
    return OD_OK;
}

size_t od_drop_encode(const struct od_drop_description *drop, uint8_t out[OD_DESCRIPTION_BYTES_MAX])
{
    memcpy(out + 16, drop->branch.bytes, 16);
    od_put64(out + 32, drop->dropped_us);
    return finish(out, DROP_MAGIC, DROP_FIXED, drop->name);
}

od_code od_drop_decode(const uint8_t *in, size_t bytes, const char *key, struct od_drop_description *drop,
                       struct od_error *err)
{
    *drop = (struct od_drop_description){0};
    od_code rc = begin(in, bytes, DROP_MAGIC, DROP_FIXED, key, drop->name, err);
    if (rc != OD_OK)
        return rc;
    memcpy(drop->branch.bytes, in + 16, 16);
    drop->dropped_us = od_get64(in + 32);
    return OD_OK;
}

size_t od_condemned_encode(const struct od_condemned *what, uint8_t out[OD_DESCRIPTION_BYTES_MAX])
{
    memcpy(out + 16, what->layer.bytes, 16);
    memcpy(out + 32, what->branch.bytes, 16);
    od_put64(out + 48, what->not_before_us);
    od_put64(out + 56, what->depth);
    return finish(out, CONDEMNED_MAGIC, CONDEMNED_FIXED, "");
}

od_code od_condemned_decode(const uint8_t *in, size_t bytes, const char *key, struct od_condemned *what,
                            struct od_error *err)
{
    char name[OD_META_NAME_BYTES];
    *what = (struct od_condemned){0};
    od_code rc = begin(in, bytes, CONDEMNED_MAGIC, CONDEMNED_FIXED, key, name, err);
    if (rc != OD_OK)
        return rc;
    memcpy(what->layer.bytes, in + 16, 16);
    memcpy(what->branch.bytes, in + 32, 16);
    what->not_before_us = od_get64(in + 48);
    what->depth = od_get32(in + 56);
    return OD_OK;
}
