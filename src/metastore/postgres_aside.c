// postgres_aside.c - the metadata of a PostgreSQL database put aside, so that it can be made again from the objects.
#include "metastore/postgres_internal.h"

#include <stdio.h>

static od_code run(const char *address, const char *const *texts, struct od_error *err)
{
    od_code rc = OD_OK;
    char where[256];
    PGconn *connection = NULL;
    PGresult *result = NULL;
    OD_TRY(od_postgres_connect(address, where, sizeof where, &connection, err));
    for (; *texts; texts++) {
        OD_TRY(od_postgres_execute(connection, where, *texts, 0, NULL, true, &result, err));
        PQclear(result);
        result = NULL;
    }
out:
    PQclear(result);
    PQfinish(connection);
    return rc;
}

od_code od_metastore_postgres_set_aside(const char *address, const char *kept, struct od_error *err)
{
    char rename[128];
    snprintf(rename, sizeof rename, "ALTER SCHEMA openduck RENAME TO \"%.60s\"", kept);
    const char *const texts[] = {rename, NULL};
    return run(address, texts, err);
}

od_code od_metastore_postgres_put_back(const char *address, const char *kept, struct od_error *err)
{
    char rename[128];
    snprintf(rename, sizeof rename, "ALTER SCHEMA \"%.60s\" RENAME TO openduck", kept);
    const char *const texts[] = {"BEGIN", "DROP SCHEMA IF EXISTS openduck CASCADE", rename, "COMMIT", NULL};
    return run(address, texts, err);
}

od_code od_metastore_postgres_exists(const char *address, bool *exists, struct od_error *err)
{
    od_code rc = OD_OK;
    char where[256];
    PGconn *connection = NULL;
    PGresult *result = NULL;
    OD_TRY(od_postgres_connect(address, where, sizeof where, &connection, err));
    OD_TRY(od_postgres_execute(connection, where, "SELECT count(*) FROM pg_namespace WHERE nspname = 'openduck'", 0,
                               NULL, false, &result, err));
    *exists = PQgetvalue(result, 0, 0)[0] != '0';
out:
    PQclear(result);
    PQfinish(connection);
    return rc;
}
