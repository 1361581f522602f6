// cmd_ping.c - `openduck ping`: is a server there, does it take the token, how far is it?
#include "cli/command.h"
#include "cli/connect.h"
#include "os/clock.h"

#include <inttypes.h>
#include <stdio.h>

struct settings {
    struct od_connect_settings connect;
    uint64_t count;
};

static const struct od_config_field fields[] = {
    OD_CONNECT_FIELDS(offsetof(struct settings, connect)),
    {"count", OD_CONFIG_INTEGER, offsetof(struct settings, count), "1", "N", "How often to ask.", 1, 1000000},
};

static const struct od_config_program program = {
    .name = "openduck ping",
    .section = "client",
    .summary = "Asks a server whether it is there and accepts the token. Exit status 3: nobody there; 4: token refused.",
    .operands = "[ENDPOINT]",
    .operands_max = 1,
    .fields = fields,
    .field_count = sizeof fields / sizeof fields[0],
};

static od_code ping(const struct settings *settings, const char *address, struct od_error *err)
{
    struct od_client *client;
    od_code rc = od_connect(&settings->connect, &client, err);
    if (rc != OD_OK)
        return rc;
    for (uint64_t i = 0; rc == OD_OK && i < settings->count; i++) {
        char version[64];
        uint64_t began = od_clock_us();
        rc = od_client_ping(client, version, sizeof version, err);
        uint64_t us = od_clock_us() - began;
        if (rc == OD_OK)
            printf("%s: openduck %s, %" PRIu64 ".%03" PRIu64 " ms\n", address,
                   version[0] ? version : "of the first generation", us / 1000, us % 1000);
    }
    od_client_close(client);
    return rc;
}

int od_command_ping(int argc, char **argv)
{
    struct settings settings;
    struct od_config config;
    struct od_error err = {0};
    int status = od_command_read(&program, argc, argv, &settings, &config);
    if (status >= 0)
        return status;
    if (config.operand_count)
        settings.connect.endpoint = config.operands[0];
    status = OD_EXIT_OK;
    if (ping(&settings, od_connect_address(&settings.connect), &err) != OD_OK)
        status = od_command_fail(&err);
    od_config_release(&config);
    return status;
}
