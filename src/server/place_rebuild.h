// place_rebuild.h - the metadata of a data directory, or of stores elsewhere, made again from the objects.
#ifndef OD_SERVER_PLACE_REBUILD_H
#define OD_SERVER_PLACE_REBUILD_H

#include "base/error.h"

#include <stdbool.h>

OD_BEGIN_C

struct od_rebuild;

struct od_place_rebuild {
    const char *directory;
    bool replace;               // there may be metadata already; it is kept under another name
    struct od_rebuild *rebuild; // callbacks and `partial` set, figures filled; the stores are set here
    char kept[4096];            // filled: the other name; "": there was none
};

// The directory must not be in use (OD_LOCKED names the process). The new metadata takes its place in one step, at the end; a
// failure leaves what was there. What is in journals and not in objects yet is not touched: the next opening goes on with it.
// OD_EXISTS: there is metadata, and `replace` is not set. OD_NOT_FOUND: no data directory. Else as od_rebuild_run.
OD_CHECKED od_code od_place_rebuild(struct od_place_rebuild *request, struct od_error *err);

struct od_stores_rebuild {
    const char *metadata, *objects; // addresses (backends.h)
    bool replace;                   // as above: another schema of the PostgreSQL database
    struct od_rebuild *rebuild;
    char kept[64]; // filled: the name of that schema; "": there was none
};

// Servers may run meanwhile: what they hold is fenced, since epochs go on far beyond those that the objects name. A failure
// puts the old metadata back. Errors as above.
OD_CHECKED od_code od_stores_rebuild(struct od_stores_rebuild *request, struct od_error *err);

OD_END_C

#endif
