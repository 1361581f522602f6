// command.h - the commands of the `openduck` program. argv[0] is the command's own name; the result is the exit status.
#ifndef OD_CLI_COMMAND_H
#define OD_CLI_COMMAND_H

#include "base/error.h"
#include "os/config.h"

// Exit statuses, the same for every command.
enum od_exit {
    OD_EXIT_OK = 0,
    OD_EXIT_FAILED = 1,      // the statement or operation failed
    OD_EXIT_USAGE = 2,       // wrong flags or arguments
    OD_EXIT_UNREACHABLE = 3, // no server there
    OD_EXIT_REFUSED = 4,     // no token, or a wrong one
    OD_EXIT_INTERRUPTED = 130,
};

int od_command_serve(int argc, char **argv);
int od_command_sql(int argc, char **argv);
int od_command_db(int argc, char **argv);
int od_command_snapshot(int argc, char **argv);
int od_command_clone(int argc, char **argv);
int od_command_restore(int argc, char **argv);
int od_command_export(int argc, char **argv);
int od_command_fsck(int argc, char **argv);
int od_command_rebuild(int argc, char **argv);
int od_command_ping(int argc, char **argv);
int od_command_migrate(int argc, char **argv);
int od_command_copy_store(int argc, char **argv);

// Writes "openduck: MESSAGE" to standard error; gives the exit status for the error's code.
int od_command_fail(const struct od_error *err);
// Reads the command's settings. Returns -1 to go on, else the exit status: help was printed, or the flags are wrong.
int od_command_read(const struct od_config_program *program, int argc, char **argv, void *values,
                    struct od_config *config);

#endif
