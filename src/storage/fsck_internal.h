// fsck_internal.h - private: what the files fsck*.c share.
#ifndef OD_STORAGE_FSCK_INTERNAL_H
#define OD_STORAGE_FSCK_INTERNAL_H

#include "storage/fsck.h"
#include "storage/survey.h"

struct od_fsck_rows {
    struct od_meta_database *databases;
    struct od_meta_branch *branches;
    struct od_meta_layer *layers;
    struct od_meta_snapshot *snapshots;
    size_t database_count, branch_count, layer_count, snapshot_count;
};

struct od_fsck_work {
    struct od_fsck *fsck;
    struct od_survey survey;
    struct od_fsck_rows rows;
};

void od_fsck_problem(void *work, const char *key, const struct od_error *why);
OD_CHECKED od_code od_fsck_read_rows(struct od_fsck_work *work, struct od_error *err);
void od_fsck_rows_release(struct od_fsck_rows *rows);
// Rows against objects, after the survey.
void od_fsck_check_rows(struct od_fsck_work *work);

#endif
