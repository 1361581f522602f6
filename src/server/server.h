// server.h - an OpenDuck server in this process: data directory, engine, gRPC. What `openduck serve` starts.
#ifndef OD_SERVER_SERVER_H
#define OD_SERVER_SERVER_H

#include "base/error.h"

OD_BEGIN_C

struct od_server;

// Zero and NULL mean the default.
struct od_server_options {
    const char *directory; // data directory
    const char *metadata, *objects; // addresses (backends.h); NULL: in the directory
    uint64_t cache_bytes;           // of remote objects
    uint64_t collect_ms;            // how often what nobody needs any more is removed; 0: 10 min
    uint64_t keep_dropped_ms;       // of the history of a dropped database; 0: 24 h
    uint64_t keep_history_ms;       // so long every position of a database is readable; 0: 24 h
    uint64_t database_idle_ms;      // a database that nobody used for so long is closed; 0: 15 min
    uint64_t unshipped_bytes;       // that may wait for remote objects; 0: a default
    const char *durability, *failover; // of databases made here (host.h); NULL: "local", "operator"
    bool take_over;                 // open databases for writing though another machine's lease on them runs
    const char *listen;    // "127.0.0.1:7878", "[::1]:0", "unix:/path"
    const char *token;     // NULL: anybody who can connect may do anything
    const char *tls_certificate_pem, *tls_key_pem, *tls_client_ca_pem;
    uint64_t memory_limit_bytes; // of DuckDB, for each open database; default 60 % of the machine's memory
    uint64_t pool_bytes;         // result and upload buffers of all statements together; default 512 MiB or 1/8 of it
    uint64_t temp_bytes_max;     // spill files of one database; and of all results that nobody reads (default 16 GiB)
    uint64_t spill_after_ms;     // a result goes to disk when its client reads nothing for so long; default 30 s
    unsigned threads;            // DuckDB's threads per database; default: processors
    unsigned running_max;        // statements running at once
    unsigned queued_max;         // statements waiting
    uint64_t queue_wait_ms;      // how long one may wait
    unsigned sessions_max;
    uint64_t session_idle_ms, transaction_idle_ms;
    uint64_t statement_timeout_ms; // ceiling and default of a statement's deadline; 0: none
    bool external_access;          // may SQL read and write files, load extensions?
    uint64_t snapshot_every_ms;    // automatic snapshots of databases that were written to; 0: none
    uint64_t snapshot_keep;        // of each database so many of them stay; 0: 96
};

OD_CHECKED od_code od_server_start(const struct od_server_options *options, struct od_server **server,
                                   struct od_error *err);
int od_server_port(const struct od_server *server);
// Refuses new work, lets statements, streams and open transactions finish for at most drain_ms, interrupts the rest.
// Blocks. Then od_server_free. May be cut short from any thread by od_server_hurry.
void od_server_stop(struct od_server *server, uint64_t drain_ms);
void od_server_hurry(struct od_server *server);
void od_server_free(struct od_server *server); // stops it first when that has not been done; NULL is fine

OD_END_C

#endif
