// where.h - where a command's databases are: on a server, in a data directory that no server holds, or in stores elsewhere.
#ifndef OD_CLI_WHERE_H
#define OD_CLI_WHERE_H

#include "cli/connect.h"
#include "server/host.h"

// Of the command line only. They are no rows of the table of settings: OPENDUCK_DATA of a server must not make us go to its
// files.
struct od_where_flags {
    const char *data, *metadata, *objects; // addresses (server/backends.h)
};

struct od_where { // one of the first two
    struct od_client *client;
    struct od_host *host;
    char *scratch; // a data directory for this command alone
};

#define OD_WHERE_HELP                                                                                                  \
    " --data DIR works on a data directory that no server holds, --metadata URL with --objects URL on stores elsewhere, " \
    "instead of asking a server."

// Takes --data, --metadata and --objects out of argv. False: a value is missing, and that has been said.
bool od_where_take(const char *program, int *argc, char **argv, struct od_where_flags *flags);
// No flag: a server. With --metadata and --objects a data directory is made for the time of the command unless one is named:
// what a command promises is in the stores when it has ended.
OD_CHECKED od_code od_where_open(const struct od_connect_settings *connect, const struct od_where_flags *flags,
                                 struct od_where *where, struct od_error *err);
void od_where_close(struct od_where *where);

#endif
