// fixture.h - a store in a scratch directory with metadata in memory, crashes by copying its journals, and a model of what
// the four files must hold.
#ifndef OD_TESTS_UNIT_STORAGE_FIXTURE_H
#define OD_TESTS_UNIT_STORAGE_FIXTURE_H

#include "os/platform.h"
#include "objstore/objstore.h"
#include "storage/store.h"
#include "support/fault.h"

#include <string.h>

// One database and its layers; close it through its ops.
struct od_metastore *fake_meta_open(void);
struct od_metastore *fake_meta_copy(const struct od_metastore *meta);
void fake_meta_forget(struct od_metastore *meta); // all layers

extern char scratch[64];
int scratch_make(void **state);
int scratch_remove(void **state);
const char *in_scratch(const char *name); // good until four more

extern uint32_t fixture_slack; // the store's layers_slack
// The objects are in scratch/objects.
od_code open_store(const char *directory, struct od_metastore *meta, struct od_objstore *objects,
                   struct od_store **store, struct od_error *err);
// Copies all journals of `from` to the empty or missing directory `to`: what a crash now would leave (nothing is cached).
void copy_journals(const char *from, const char *to);
void link_objects(const char *from, const char *to); // the same for objects, by links
// The path of the only journal in use, in a directory with one branch.
void find_journal(const char *directory, char out[512]);

// What a file must hold.
#define MODEL_BYTES (512u * 1024u)
struct model {
    struct {
        bool exists;
        uint64_t size;
        uint8_t bytes[MODEL_BYTES];
    } files[OD_VOLUME_FILES];
};
// One random operation on both.
void random_step(struct od_volume *volume, struct model *model, uint32_t *seed);
void expect_equal(struct od_volume *volume, const struct model *model);
uint32_t next_random(uint32_t *seed);

#endif
