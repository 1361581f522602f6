// identity.h - one cluster, one pair of stores: metadata and objects that belong to each other carry the same name.
#ifndef OD_SERVER_IDENTITY_H
#define OD_SERVER_IDENTITY_H

#include "base/error.h"

OD_BEGIN_C

struct od_metastore;
struct od_objstore;
struct od_platform;

#define OD_CLUSTER_KEY "cluster"

// Gives both the same name when they have none, so that neither is used with another later. OD_INVALID: they belong to two
// clusters; or the metadata knows databases of which the object store has nothing (another bucket or prefix); or the object
// store has databases and the metadata is new. Nothing is changed then.
OD_CHECKED od_code od_identity_check(struct od_platform *platform, struct od_metastore *metadata,
                                     struct od_objstore *objects, struct od_error *err);
// For a rebuild: the new metadata gets the name of the objects.
OD_CHECKED od_code od_identity_adopt(struct od_platform *platform, struct od_metastore *metadata,
                                     struct od_objstore *objects, struct od_error *err);

OD_END_C

#endif
