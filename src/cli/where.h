// where.h - where a command's databases are: on a server, or in a data directory that no server holds.
#ifndef OD_CLI_WHERE_H
#define OD_CLI_WHERE_H

#include "cli/connect.h"
#include "server/host.h"

struct od_where { // one of the two
    struct od_client *client;
    struct od_host *host;
};

// data NULL: a server. It is no row of the table of settings: OPENDUCK_DATA of a server must not make us go to its files.
OD_CHECKED od_code od_where_open(const struct od_connect_settings *connect, const char *data, struct od_where *where,
                                 struct od_error *err);
void od_where_close(struct od_where *where);

#endif
