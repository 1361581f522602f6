// connect.c - see connect.h.
#include "cli/connect.h"

#include "os/file.h"

#include <string.h>

#define TOKEN_FILE_BYTES_MAX 16384u

const char *od_connect_address(const struct od_connect_settings *settings)
{
    return settings->endpoint ? settings->endpoint : "127.0.0.1:7878";
}

static od_code read_compression(const char *text, enum od_compression *compression, struct od_error *err)
{
    static const char *const names[] = {"none", "lz4", "zstd"};
    for (unsigned i = 0; i < sizeof names / sizeof *names; i++)
        if (!text || strcmp(text, names[i]) == 0) {
            *compression = (enum od_compression)i;
            return OD_OK;
        }
    return od_fail(err, OD_INVALID, "--compression is none, lz4 or zstd, not \"%.100s\"", text);
}

od_code od_connect(const struct od_connect_settings *settings, struct od_client **client, struct od_error *err)
{
    struct od_client_options options = {.struct_bytes = sizeof options,
                                        .address = od_connect_address(settings),
                                        .token = settings->token ? settings->token : "",
                                        .connect_timeout_ms = settings->connect_timeout,
                                        .tls_ca_file = settings->tls_ca,
                                        .tls_certificate_file = settings->tls_cert,
                                        .tls_key_file = settings->tls_key};
    struct od_buf token;
    od_code rc = OD_OK;
    od_buf_init(&token, TOKEN_FILE_BYTES_MAX);
    OD_TRY(read_compression(settings->compression, &options.compression, err));
    if (settings->token_file) {
        OD_TRY(od_file_read(settings->token_file, &token, err));
        options.token = od_buf_text(&token);
        if (!options.token) {
            rc = od_fail(err, OD_NO_MEMORY, "no memory for the token");
            goto out;
        }
        token.data[strcspn((const char *)token.data, "\r\n")] = '\0';
    }
    rc = od_client_open(&options, client, err);
out:
    od_buf_release(&token);
    return rc;
}

bool od_flag_take(int *argc, char **argv, const char *name, const char *short_name, const char **value)
{
    size_t bytes = strlen(name);
    for (int i = 1; i < *argc && strcmp(argv[i], "--") != 0; i++) {
        int taken;
        if (strncmp(argv[i], name, bytes) == 0 && argv[i][bytes] == '=') {
            *value = argv[i] + bytes + 1;
            taken = 1;
        } else if (strcmp(argv[i], name) == 0 || (short_name && strcmp(argv[i], short_name) == 0)) {
            if (i + 1 == *argc)
                return false;
            *value = argv[i + 1];
            taken = 2;
        } else {
            continue;
        }
        memmove(argv + i, argv + i + taken, (size_t)(*argc - i - taken) * sizeof *argv);
        *argc -= taken;
        return true;
    }
    return true;
}
