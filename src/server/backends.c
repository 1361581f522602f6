// backends.c - see backends.h.
#include "server/backends.h"

#include "base/alloc.h"
#include "metastore/metastore.h"
#include "objstore/objstore.h"
#include "os/file.h"
#include "os/platform.h"

#include <stdio.h>
#include <string.h>

#define S3 "s3://"

bool od_objects_are_remote(const char *address)
{
    return strncmp(address, S3, strlen(S3)) == 0;
}

bool od_metadata_is_remote(const char *address)
{
    return strncmp(address, "postgres://", 11) == 0 || strncmp(address, "postgresql://", 13) == 0;
}

// ---- s3://

// In place: "%41" becomes "A". False: something else follows a '%'.
static bool decode(char *text)
{
    char *to = text;
    for (const char *at = text; *at; at++) {
        unsigned byte;
        int used = 0;
        if (*at != '%') {
            *to++ = *at;
        } else if (sscanf(at + 1, "%2x%n", &byte, &used) == 1 && used == 2 && byte) {
            *to++ = (char)byte;
            at += 2;
        } else {
            return false;
        }
    }
    *to = '\0';
    return true;
}

static od_code set_parameter(struct od_s3_options *options, const char *name, const char *value, struct od_error *err)
{
    if (strcmp(name, "endpoint") == 0)
        options->endpoint = value;
    else if (strcmp(name, "region") == 0)
        options->region = value;
    else if (strcmp(name, "ca_file") == 0)
        options->ca_file = value;
    else if (strcmp(name, "path_style") == 0)
        options->path_style = strcmp(value, "true") == 0 || strcmp(value, "1") == 0;
    else
        return od_fail(err, OD_INVALID,
                       "an s3:// address has no parameter \"%.100s\"; there are endpoint, region, path_style, ca_file",
                       name);
    return OD_OK;
}

// Cuts `text` (bucket/prefix?a=b&c=d) into the options' parts.
static od_code parse_s3(char *text, struct od_s3_options *options, struct od_error *err)
{
    char *query = strchr(text, '?');
    if (query)
        *query++ = '\0';
    options->bucket = text;
    char *prefix = strchr(text, '/');
    if (prefix)
        *prefix++ = '\0';
    for (size_t bytes = prefix ? strlen(prefix) : 0; bytes && prefix[bytes - 1] == '/'; bytes--)
        prefix[bytes - 1] = '\0';
    options->prefix = prefix && prefix[0] ? prefix : NULL;
    if (!options->bucket[0])
        return od_fail(err, OD_INVALID, "an s3:// address names a bucket: s3://BUCKET/PREFIX");
    while (query && *query) {
        char *name = query, *end = strchr(query, '&');
        query = end ? end + 1 : NULL;
        if (end)
            *end = '\0';
        char *value = strchr(name, '=');
        if (!value)
            return od_fail(err, OD_INVALID, "\"%.100s\" in an s3:// address has no value", name);
        *value++ = '\0';
        if (!decode(value))
            return od_fail(err, OD_INVALID, "the value of \"%.100s\" in an s3:// address is badly encoded", name);
        od_code rc = set_parameter(options, name, value, err);
        if (rc != OD_OK)
            return rc;
    }
    return OD_OK;
}

static od_code open_s3(const char *address, struct od_objstore **objects, struct od_error *err)
{
    struct od_s3_options options = {
        .platform = od_platform_real(),
        .endpoint = od_environment("AWS_ENDPOINT_URL"),
        .region = od_environment("AWS_REGION"),
        .access_key = od_environment("AWS_ACCESS_KEY_ID"),
        .secret_key = od_environment("AWS_SECRET_ACCESS_KEY"),
        .session_token = od_environment("AWS_SESSION_TOKEN"),
        .ca_file = od_environment("AWS_CA_BUNDLE"),
    };
    char *text = od_strdup(address + strlen(S3));
    if (!text)
        return od_fail(err, OD_NO_MEMORY, "no memory for an address");
    od_code rc = parse_s3(text, &options, err);
    if (rc == OD_OK && (!options.access_key || !options.secret_key))
        rc = od_fail(err, OD_INVALID,
                     "%.200s needs credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the environment", address);
    if (rc == OD_OK)
        rc = od_objstore_s3_open(&options, objects, err);
    od_free(text);
    return rc;
}

// ----

od_code od_objects_open(const char *address, struct od_objstore **objects, struct od_error *err)
{
    if (od_objects_are_remote(address))
        return open_s3(address, objects, err);
    if (strstr(address, "://"))
        return od_fail(err, OD_INVALID, "\"%.100s\" names no object store: give a directory or s3://BUCKET/PREFIX",
                       address);
    return od_objstore_directory_open(od_platform_real(), address, objects, err);
}

static od_code check_metadata(const char *address, struct od_error *err)
{
    if (od_metadata_is_remote(address) || !strstr(address, "://"))
        return OD_OK;
    return od_fail(err, OD_INVALID,
                   "\"%.100s\" names no metadata store: give postgres://USER@HOST/DATABASE or the path of a file", address);
}

od_code od_metadata_open(const char *address, bool create, struct od_metastore **metadata, struct od_error *err)
{
    od_code rc = check_metadata(address, err);
    if (rc != OD_OK)
        return rc;
    return od_metadata_is_remote(address) ? od_metastore_postgres_open(address, metadata, err)
                                          : od_metastore_sqlite_open(address, create, metadata, err);
}

od_code od_metadata_migrate(const char *address, struct od_error *err)
{
    od_code rc = check_metadata(address, err);
    if (rc != OD_OK || !od_metadata_is_remote(address))
        return rc;
    return od_metastore_postgres_migrate(address, err);
}
