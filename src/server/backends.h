// backends.h - the stores that an address names, as users write it.
//
//   objects    a directory's path, or s3://BUCKET[/PREFIX][?endpoint=URL&region=NAME&path_style=true&ca_file=FILE].
//              Credentials are the environment's: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN; so are, where
//              the address is silent, AWS_ENDPOINT_URL, AWS_REGION and AWS_CA_BUNDLE.
//   metadata   the path of an SQLite file, or postgres://... (postgresql://) as libpq reads it.
#ifndef OD_SERVER_BACKENDS_H
#define OD_SERVER_BACKENDS_H

#include "base/error.h"

OD_BEGIN_C

struct od_metastore;
struct od_objstore;

bool od_objects_are_remote(const char *address);
bool od_metadata_is_remote(const char *address);

OD_CHECKED od_code od_objects_open(const char *address, struct od_objstore **objects, struct od_error *err);
// create: an SQLite file is made when missing. The tables of a PostgreSQL database are made by od_metadata_migrate.
OD_CHECKED od_code od_metadata_open(const char *address, bool create, struct od_metastore **metadata,
                                    struct od_error *err);
// Makes the tables of this version, or brings older ones to it. Nothing to do for an SQLite file.
OD_CHECKED od_code od_metadata_migrate(const char *address, struct od_error *err);

OD_END_C

#endif
