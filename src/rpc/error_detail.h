// error_detail.h (internal) - limits of error texts on the wire, and text made fit for it.
#ifndef OD_RPC_ERROR_DETAIL_H
#define OD_RPC_ERROR_DETAIL_H

#include "base/cdecl.h"
#include <stddef.h>

OD_BEGIN_C

// 4000 bytes are 5336 in base64; with the status message (at most OD_STATUS_ESCAPED_BYTES once percent-encoded) and
// the keys, all trailing metadata of a failed call stays below 7 KiB.
#define OD_ERROR_DETAIL_BYTES 4000u
#define OD_STATUS_ESCAPED_BYTES 1024u

// Copies text as valid UTF-8, NUL-terminated, at most out_bytes with the NUL and at most escaped_max bytes when
// percent-encoded as gRPC does; what does not fit is cut at a character and ends in "...". out_bytes >= 4, unless the
// text is known to fit. Returns the length.
size_t od_text_clean(char *out, size_t out_bytes, const char *text, size_t text_bytes, size_t escaped_max);

OD_END_C

#endif
