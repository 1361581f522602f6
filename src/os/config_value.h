// config_value.h - private to src/os: one setting's text to its value.
#ifndef OD_OS_CONFIG_VALUE_H
#define OD_OS_CONFIG_VALUE_H

#include "os/config.h"

// Parses `text` as the field's type and range into *number (booleans: 0 or 1). Texts are not parsed. `source` starts
// the message: "--port", "OPENDUCK_PORT", "server.ini:3: port".
od_code od_config_value_parse(const struct od_config_field *field, const char *source, const char *text,
                              uint64_t *number, struct od_error *err);

// The name among the fields that is nearest to a mistyped one; NULL when none is near.
const char *od_config_nearest(const struct od_config_field *fields, size_t field_count, const char *name);

#endif
