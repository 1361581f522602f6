// survey.h - private: what the objects say: every layer by its footer, every description.
#ifndef OD_STORAGE_SURVEY_H
#define OD_STORAGE_SURVEY_H

#include "storage/describe.h"
#include "storage/lineage.h"

struct od_survey_layer {
    struct od_journal_header header;
    struct od_journal_end end;
    uint64_t bytes;  // of the object
    uint32_t listed; // layers that its footer names
};

struct od_survey_list {
    void *rows; // in order of uuid
    size_t count;
};

#define OD_SURVEY_HELPERS_MAX 64u

struct od_survey {
    struct od_objstore *objects; // borrowed
    unsigned helpers;            // threads besides the caller's that read; 0: it alone
    // An object that is not what its key says, or a damaged one; it is passed over. `why` names object and offset.
    void (*problem)(void *context, const char *key, const struct od_error *why);
    // From any of the threads, one at a time. NULL is fine.
    void (*progress)(void *context, uint64_t objects, uint64_t bytes);
    void *context;
    struct od_survey_list layers;    // filled: of od_survey_layer
    struct od_survey_list branches;  // of od_branch_description
    struct od_survey_list snapshots; // of od_meta_snapshot
    struct od_survey_list drops;     // of od_drop_description
    uint64_t objects_seen, bytes_seen;
};

// Lists and reads. Errors are those of the store and OD_NO_MEMORY. od_survey_release, also after an error.
OD_CHECKED od_code od_survey_run(struct od_survey *survey, struct od_error *err);
void od_survey_release(struct od_survey *survey);
static inline const struct od_survey_layer *od_survey_layers(const struct od_survey *survey)
{
    return survey->layers.rows;
}
const struct od_survey_layer *od_survey_find(const struct od_survey *survey, const struct od_uuid *layer); // or NULL
// Is everything there that the state at a position of a layer needs (UINT64_MAX: at its end)? OD_CORRUPT names what is not.
// `seen`, if not NULL, is called for each layer that is.
OD_CHECKED od_code od_survey_state(const struct od_survey *survey, const struct od_survey_layer *layer, uint64_t lsn,
                                   void (*seen)(void *context, const struct od_survey_layer *layer), void *context,
                                   struct od_error *err);
bool od_survey_is_problem(od_code code); // damage of one object, not of the store or of this process
// The layer below it (NULL: it is the first), which must be there and end where this one goes on: OD_CORRUPT.
OD_CHECKED od_code od_survey_parent(const struct od_survey *survey, const struct od_survey_layer *layer,
                                    const struct od_survey_layer **parent, struct od_error *err);

#endif
