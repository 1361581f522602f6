// connect.h - the flags with which a command reaches a server, the same for all of them.
#ifndef OD_CLI_CONNECT_H
#define OD_CLI_CONNECT_H

#include "base/buf.h"
#include "openduck/client.h"
#include "os/config.h"

struct od_connect_settings {
    const char *endpoint, *token, *token_file;
    const char *tls_ca, *tls_cert, *tls_key;
    const char *compression;
    uint64_t connect_timeout;
};

// Rows of a command's table of fields. `at` is the offset of the struct in the command's settings.
#define OD_CONNECT_FIELDS(at)                                                                                          \
    {"endpoint", OD_CONFIG_TEXT, (at) + offsetof(struct od_connect_settings, endpoint), NULL, "HOST:PORT",             \
     "Server, or several with commas between them; 127.0.0.1:7878 by default. https:// means TLS.", 0, 0},            \
        {"token", OD_CONFIG_TEXT, (at) + offsetof(struct od_connect_settings, token), NULL, "TOKEN",                   \
         "Token of the server; visible to others in the process list.", 0, 0},                                        \
        {"token-file", OD_CONFIG_TEXT, (at) + offsetof(struct od_connect_settings, token_file), NULL, "FILE",          \
         "File whose first line is the token.", 0, 0},                                                                 \
        {"tls-ca", OD_CONFIG_TEXT, (at) + offsetof(struct od_connect_settings, tls_ca), NULL, "FILE",                  \
         "Trust servers of this authority (PEM); the system's by default.", 0, 0},                                     \
        {"tls-cert", OD_CONFIG_TEXT, (at) + offsetof(struct od_connect_settings, tls_cert), NULL, "FILE",              \
         "Certificate to present to the server (PEM).", 0, 0},                                                         \
        {"tls-key", OD_CONFIG_TEXT, (at) + offsetof(struct od_connect_settings, tls_key), NULL, "FILE",                \
         "Its private key (PEM).", 0, 0},                                                                              \
        {"compression", OD_CONFIG_TEXT, (at) + offsetof(struct od_connect_settings, compression), "none", "CODEC",     \
         "Compress results on the wire: none, lz4 or zstd. For networks slower than about 200 MB/s.", 0, 0},           \
    {                                                                                                                  \
        "connect-timeout", OD_CONFIG_DURATION, (at) + offsetof(struct od_connect_settings, connect_timeout), "5s",     \
            "TIME", "How long to try to reach the server.", 0, 0                                                       \
    }

OD_CHECKED od_code od_connect(const struct od_connect_settings *settings, struct od_client **client,
                              struct od_error *err);
// For messages: the address that od_connect uses.
const char *od_connect_address(const struct od_connect_settings *settings);

// Takes `--name VALUE` or `--name=VALUE` (or the short form, which may be NULL) out of argv, the first one before "--";
// *value stays as it was when there is none. False: the value is missing.
bool od_flag_take(int *argc, char **argv, const char *name, const char *short_name, const char **value);

#endif
