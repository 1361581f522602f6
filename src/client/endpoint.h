// endpoint.h (client) - the text of an address, taken apart. Pure.
//
//   ADDRESS  = ENDPOINT ("," ENDPOINT)*          percent-decoded after it was split; blanks around are dropped
//   ENDPOINT = [http:// | grpc:// | https:// | grpcs://] HOST [":" PORT] ["/"]  |  "unix:" PATH
#ifndef OD_CLIENT_ENDPOINT_H
#define OD_CLIENT_ENDPOINT_H

#include "base/error.h"

OD_BEGIN_C

#define OD_ENDPOINTS_MAX 16u
#define OD_ENDPOINT_BYTES_MAX 512u
#define OD_DEFAULT_ADDRESS "127.0.0.1:7878"
#define OD_DEFAULT_PORT "7878"

// One text, ready for od_channel_open: "host:port", "https://host:port" or "unix:/path".
struct od_endpoint_list {
    size_t count;
    char text[OD_ENDPOINTS_MAX][OD_ENDPOINT_BYTES_MAX];
};

// OD_INVALID names the part that is wrong and what is expected.
OD_CHECKED od_code od_endpoint_list_parse(const char *address, struct od_endpoint_list *list, struct od_error *err);

OD_END_C

#endif
