// limits.h - every ceiling of the project in one place. Reaching one is a typed error (OD_LIMIT, OD_BUSY), never a
// crash. Values that operators may change are defaults here and settings in src/os/config.
#ifndef OD_BASE_LIMITS_H
#define OD_BASE_LIMITS_H

#define OD_KIB (1024ull)
#define OD_MIB (1024ull * 1024ull)
#define OD_GIB (1024ull * 1024ull * 1024ull)

// Wire
#define OD_MESSAGE_BYTES_MAX (64 * OD_MIB)    // one gRPC message either way
#define OD_BATCH_BYTES_TARGET (1 * OD_MIB)    // a batch is flushed at this size ...
#define OD_BATCH_ROWS_MAX 122880u             // ... or at this many rows
#define OD_INLINE_BYTES_DEFAULT (1 * OD_MIB)  // result bytes that Execute returns itself
#define OD_WINDOW_BYTES_DEFAULT (16 * OD_MIB) // unacknowledged bytes of one stream
#define OD_SQL_BYTES_MAX (32 * OD_MIB)
#define OD_NAME_BYTES_MAX 256u
#define OD_COLUMNS_MAX 65536u
#define OD_NESTING_MAX 64u // depth of nested types on the wire

// Server
#define OD_POOL_BYTES_DEFAULT (512 * OD_MIB)  // all result and upload buffers together
#define OD_POOL_BYTES_GUARANTEED (2 * OD_MIB) // each running query always has this much
#define OD_QUEUE_SENDABLE_BYTES (8 * OD_MIB)  // per query, ready to send
#define OD_QUEUE_AHEAD_BYTES (64 * OD_MIB)    // per query, ahead of the smallest batch
#define OD_EXECUTORS_DEFAULT 16u              // statements running at once
#define OD_ADMISSION_QUEUE_DEFAULT 256u       // statements waiting
#define OD_ADMISSION_WAIT_MS_DEFAULT 30000u
#define OD_REPLY_DELAY_MS 100u   // Execute answers after this long with what there is
#define OD_TICKET_OPEN_MS 10000u // an unopened ticket's execution is cancelled
#define OD_PARK_GRACE_MS 100u    // a broken stream's query must be parked by then or is interrupted
#define OD_PARK_MS 10000u        // a parked query waits this long for its client
#define OD_SPILL_AFTER_MS_DEFAULT 30000u     // rows that nobody reads go to disk
#define OD_SPILL_BYTES_DEFAULT (16 * 1024 * OD_MIB) // of all statements together
#define OD_SESSION_IDLE_MS_DEFAULT (10u * 60u * 1000u)
#define OD_TRANSACTION_IDLE_MS_DEFAULT (60u * 1000u)
#define OD_SESSIONS_MAX_DEFAULT 1024u
#define OD_SNAPSHOT_KEEP_DEFAULT 96u // automatic ones, of each database
#define OD_DATABASES_MAX 1024u
#define OD_REPLY_CACHE_MS 60000u // finished write outcomes kept for re-sent requests
#define OD_REPLY_CACHE_BYTES (64 * OD_MIB)

#endif
