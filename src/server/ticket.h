// ticket.h - signed permissions to stream one execution, and keyed digests. The owner of OpenSSL's digests here.
//
// A ticket is bound to the execution, the partition, the caller's identity and this server process (whose key dies with
// it), and expires. It may be used many times: resuming a broken stream presents it again.
#ifndef OD_SERVER_TICKET_H
#define OD_SERVER_TICKET_H

#include "server/table.h"

OD_BEGIN_C

#define OD_SECRET_BYTES 32u
#define OD_TICKET_BYTES 61u // version, expiry, execution, partition, signature

struct od_secret {
    uint8_t bytes[OD_SECRET_BYTES];
};

void od_secret_make(struct od_secret *secret);

// A key for the texts, in order: different lists of texts give different keys.
struct od_key od_digest(const struct od_secret *secret, const char *const *texts, size_t count);

// Times are the monotonic clock's milliseconds.
void od_ticket_sign(const struct od_secret *secret, const struct od_key *execution, uint32_t partition,
                    const char *identity, uint64_t expires_ms, uint8_t out[OD_TICKET_BYTES]);
// OD_TICKET_INVALID when it is anything but a ticket of ours, for this caller and partition, that has not expired.
OD_CHECKED od_code od_ticket_check(const struct od_secret *secret, const uint8_t *ticket, size_t bytes,
                                   uint32_t partition, const char *identity, uint64_t now_ms, struct od_key *execution,
                                   struct od_error *err);

// Lower-case hexadecimal text of a key, and back (false: not 32 such digits).
#define OD_KEY_TEXT_BYTES (2 * OD_KEY_BYTES + 1)
void od_key_text(const struct od_key *key, char out[OD_KEY_TEXT_BYTES]);
bool od_key_parse(const char *text, struct od_key *key);

OD_END_C

#endif
