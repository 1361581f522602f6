// upload.h - the inside of struct od_upload_stream: numbered batches on their way to the server, resumable.
//
//   U1  Batches are numbered from 0 in the order in which send took them, and sent in that order.
//   U2  A batch is kept until the server says that it holds it; so a broken call is opened again and goes on from the
//       number the server names.
//   U3  Kept bytes stay within the server's window (one batch may always be on its way): send waits for room.
//   U4  Only finish says that all rows were sent; whatever else ends the upload makes the reading statement fail.
// States: OPEN <-> RESUMING (the job reconnects; senders wait) ; both -> DONE | FAILED | CANCELLED.
// Threads: one job of the crew receives and reconnects; senders take turns; cancel from any thread.
#ifndef OD_CLIENT_UPLOAD_H
#define OD_CLIENT_UPLOAD_H

#include "client/core.h"
#include "os/random.h"

struct od_upload_stream {
    atomic_uint references; // the caller's and the job's
    struct od_client *client;
    size_t endpoint;
    char *database;
    char id[OD_RANDOM_ID_BYTES];
    struct od_buf schema; // encapsulated message
    struct ArrowSchema *array_schema; // for rows given as arrays
    struct od_cancel *cancel;

    pthread_mutex_t lock;
    pthread_cond_t changed;
    enum { OD_UPLOAD_OPEN, OD_UPLOAD_RESUMING, OD_UPLOAD_DONE, OD_UPLOAD_FAILED, OD_UPLOAD_CANCELLED } state;
    struct od_error failure;
    struct od_stream *stream; // the job may replace it while RESUMING and nobody is sending
    bool sending;             // a thread is inside od_stream_send
    bool finish_sent;
    struct od_batch **ring; // batch n is at n % capacity, for base <= n < next
    size_t capacity;
    uint64_t base, next;
    uint64_t rows;
    uint64_t kept_bytes, window_bytes;
};

#endif
