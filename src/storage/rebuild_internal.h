// rebuild_internal.h - private: what the files rebuild*.c share.
#ifndef OD_STORAGE_REBUILD_INTERNAL_H
#define OD_STORAGE_REBUILD_INTERNAL_H

#include "storage/rebuild.h"
#include "storage/survey.h"

struct od_rebuilt_branch {
    struct od_uuid branch;
    const struct od_branch_description *description;   // NULL: there is none
    const struct od_drop_description *drop;            // NULL: it is in use, as far as the objects say
    const struct od_survey_layer *tip, *first, *below; // below: the layer of another branch that it begins with
    size_t layers;                                     // of its history
    uint64_t epoch;                                    // the highest of its layers
    uint64_t claimed;                                  // the highest that was given, as far as the objects know
    bool trimmed;                                      // `first` continues a layer that is not there any more
    bool broken;                                       // reported, and left out
};

struct od_rebuild_work {
    struct od_rebuild *rebuild;
    struct od_survey survey;
    bool *kept; // of each layer of the survey: it is in its branch's history, or something that is needs it
    bool *lost; // something that it needs is not there
    struct od_rebuilt_branch *branches; // in order of uuid
    size_t count;
    struct od_error first_problem;
};

void od_rebuild_problem(void *work, const char *key, const struct od_error *why);
struct od_rebuilt_branch *od_rebuild_find(const struct od_rebuild_work *work, const struct od_uuid *branch); // or NULL
// Fills kept and branches: which branches there are, and the history of each.
OD_CHECKED od_code od_rebuild_histories(struct od_rebuild_work *work, struct od_error *err);

#endif
