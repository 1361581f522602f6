// where.c - see where.h.
#include "cli/where.h"

#include <stdio.h>
#include <string.h>

od_code od_where_open(const struct od_connect_settings *connect, const char *data, struct od_where *where,
                      struct od_error *err)
{
    *where = (struct od_where){0};
    if (!data)
        return od_connect(connect, &where->client, err);
    struct od_host_options options = {.directory = data};
    od_code rc = od_host_open(&options, &where->host, err);
    if (rc == OD_LOCKED) {
        size_t used = strlen(err->message);
        snprintf(err->message + used, sizeof err->message - used, "; ask that server instead: --endpoint HOST:PORT");
    }
    return rc;
}

void od_where_close(struct od_where *where)
{
    od_host_close(where->host);
    od_client_close(where->client);
    *where = (struct od_where){0};
}
