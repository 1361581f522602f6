// plan.h - where each operator of a query runs: locally or on one of the attached servers, and what crosses between.
//
// The caller describes the query as a tree of operators, bottom up: what each is estimated to give and cost, and where it
// may run. od_plan_place answers with a site for each operator and a bridge at every edge whose ends differ, so that the
// estimated seconds are least. Nothing here knows DuckDB, SQL, the network or the clock.
//
//   P1  An operator is placed only on a site of its set, and off the local site only if its flags allow that. What may be
//       shipped exactly is the caller's knowledge; the default of every field is the careful one.
//   P2  Costs are whole nanoseconds and add up, so the result of OD_PLAN_COST is a true minimum over all placements,
//       reductions, rewrites and compressions of this model. Equal costs: fewer hops, then more operators locally, then
//       lower site numbers. The same input gives the same output on every machine of one floating-point format.
//   P3  A reduction is chosen only where it cannot change the result: by the join's type, and never with keys of a side that
//       would have to run twice and might answer differently (OD_PLAN_VOLATILE, OD_PLAN_UNSTABLE anywhere below).
//
// The query is a tree. A subtree that is read more than once (a materialized CTE) is planned by itself first; its readers are
// then OD_PLAN_SCAN operators bound to the site where its result lies.
//
// Threads: a plan belongs to one thread at a time; different plans are independent.
#ifndef OD_PLAN_PLAN_H
#define OD_PLAN_PLAN_H

#include "base/cdecl.h"
#include "base/error.h"

#include <stdbool.h>
#include <stdint.h>

OD_BEGIN_C

#define OD_PLAN_NONE UINT32_MAX // no operator, no site
#define OD_PLAN_LOCAL 0u        // the number of the local site; servers are 1, 2, ...
#define OD_PLAN_SITES_MAX 64u
#define OD_PLAN_OPS_MAX 4096u
#define OD_PLAN_SITE(site) (UINT64_C(1) << (site)) // a set of sites is a uint64_t

// ---- sites and links

// What it costs to move rows between the local site and one server.
struct od_plan_link {
    double down_bytes_per_s; // server to local; must be > 0
    double up_bytes_per_s;   // local to server; must be > 0
    double round_trip_s;     // also what a server needs to start one more fragment
    double upload_trip_s;    // of a fragment's input, beyond the round trip of the fragment that reads it
    double row_s;            // writing and reading one row, both ends together
    double byte_s;           // writing and reading one byte, both ends together, beyond the bandwidth
    double compress_ratio;   // bytes after compression / before; 0: the link does not compress
    double compress_byte_s;  // compressing and expanding one byte, both ends together
};

enum od_plan_site_flag {
    OD_PLAN_SITE_UPLOAD = 1u << 0,         // accepts rows as input of a fragment
    OD_PLAN_SITE_ORDERED_UPLOAD = 1u << 1, // and keeps their order (implies nothing about the first)
    OD_PLAN_SITE_BLOOM = 1u << 2,          // can apply a Bloom filter (an IN list, min and max: every site)
    OD_PLAN_SITE_REDUCED_UPLOAD = 1u << 3, // rows on their way to it may be reduced by keys (downloads: always)
};

struct od_plan_site {
    double speed;             // of one of its threads; 1 is the machine on which the operators' costs were measured
    double threads;           // that one query may use; >= 1
    uint32_t flags;           // enum od_plan_site_flag; of the local site: only OD_PLAN_SITE_BLOOM counts
    struct od_plan_link link; // ignored for the local site
};

// The model's constants. Zero in a field means its default (od_plan_params_default).
struct od_plan_params {
    uint32_t in_keys_max;      // an IN list has at most this many keys
    double bloom_bits_per_key; // size of a Bloom filter
    double bloom_keys_max;     // a Bloom filter has at most this many keys
    double bloom_false_rate;   // part of the rows without a partner that pass all the same
    double key_build_s;        // per input row: finding the distinct keys of the other side
    double key_probe_s;        // per row: testing it against the list or filter
};
void od_plan_params_default(struct od_plan_params *params);

struct od_plan_config {
    const struct od_plan_site *sites; // copied; sites[0] is local
    uint32_t site_count;              // 1 ... OD_PLAN_SITES_MAX
    struct od_plan_params params;
};

// ---- operators

enum od_plan_kind {
    OD_PLAN_SCAN, // a leaf: a table, a CTE's result, VALUES, a table function
    OD_PLAN_FILTER,
    OD_PLAN_PROJECT,
    OD_PLAN_JOIN, // exactly two children, left and right
    OD_PLAN_AGGREGATE,
    OD_PLAN_DISTINCT,
    OD_PLAN_ORDER,
    OD_PLAN_LIMIT,
    OD_PLAN_TOP_N,
    OD_PLAN_WINDOW,
    OD_PLAN_SET, // UNION, EXCEPT, INTERSECT
    OD_PLAN_OTHER,
};

enum od_plan_flag {
    // The operator cannot be written as SQL text of exactly the same meaning: local only.
    OD_PLAN_UNPARSABLE = 1u << 0,
    // Has effects or draws values (random(), nextval()): local only, runs once.
    OD_PLAN_VOLATILE = 1u << 1,
    // Two runs on the same data may give different rows (LIMIT without a total order, a sample): never run twice.
    OD_PLAN_UNSTABLE = 1u << 2,
    // The order of its rows matters to its consumer: is not uploaded where order is lost.
    OD_PLAN_ORDERED = 1u << 3,
    // Runs on one thread whatever the site has.
    OD_PLAN_SERIAL = 1u << 4,
    // An aggregate that may be split in two: `partial` tells what the lower half gives.
    OD_PLAN_PARTIAL = 1u << 5,
    // A LIMIT or top-N whose lower half (limit + offset rows, `limit_rows`) may be put below a bridge.
    OD_PLAN_LIMIT_BELOW = 1u << 6,
};

enum od_plan_join_type {
    OD_PLAN_INNER,
    OD_PLAN_LEFT,
    OD_PLAN_RIGHT,
    OD_PLAN_FULL,
    OD_PLAN_SEMI, // left rows with a partner
    OD_PLAN_ANTI, // left rows without one
    OD_PLAN_MARK,
    OD_PLAN_SINGLE, // a scalar subquery: left rows, at most one partner each
    OD_PLAN_CROSS,
    OD_PLAN_JOIN_OTHER, // asof, positional, ...: never reduced
};

enum od_plan_side { OD_PLAN_LEFT_SIDE, OD_PLAN_RIGHT_SIDE };
#define OD_PLAN_REDUCE_LEFT 1u  // rows of the left side without a partner on the right may be dropped early
#define OD_PLAN_REDUCE_RIGHT 2u // and the other way round
// The sides that a join of this type allows to reduce; od_plan_place never goes beyond.
uint32_t od_plan_join_reducible(enum od_plan_join_type type);

struct od_plan_join {
    enum od_plan_join_type type;
    // Sides that may be reduced by the other's keys: the join has equality conditions (not IS NOT DISTINCT FROM) whose both
    // ends can be written as text where the bridge starts, and whose types compare equally there.
    uint32_t reduce;
    double distinct[2]; // estimated distinct values of the equality keys of each side (together, if several)
    double key_bytes;   // one key as text
    double kept[2];     // part of a side's rows that have a partner; 0: min(1, distinct[other] / distinct[own])
};

struct od_plan_partial {
    double rows;      // groups that the lower half of the aggregate gives
    double row_bytes; // of one partial row
};

// A wish of the user for one scan (and through the request's mode for all of them).
enum od_plan_force {
    OD_PLAN_FREE,
    OD_PLAN_FORCE_LOCAL,  // the operator directly above the scan runs locally, if it may
    OD_PLAN_FORCE_REMOTE, // the operators above a scan on a server run there, up to the first that may not
};

// Zero everything first: of the rest only what matters need be set. Estimates may be any finite number >= 0.
struct od_plan_op {
    enum od_plan_kind kind;
    uint32_t flags; // enum od_plan_flag
    uint64_t sites; // where it may run: OD_PLAN_SITE(...) | ...; never empty. A scan of a server's table: that server.
    double rows;    // rows it gives
    double row_bytes;               // of one row it gives
    double scan_rows;               // of a scan: rows it reads; cost cpu_in_s each
    double cpu_in_s;                // seconds of one thread of speed 1 for each row of its children (or scan_rows)
    double cpu_out_s;               // ... for each row it gives
    enum od_plan_force force;       // of a scan
    struct od_plan_join join;       // of OD_PLAN_JOIN
    struct od_plan_partial partial; // with OD_PLAN_PARTIAL
    double limit_rows;              // with OD_PLAN_LIMIT_BELOW: limit + offset
};

struct od_plan;
// *out is released with od_plan_free. OD_INVALID: no site, too many, or a number that cannot be.
OD_CHECKED od_code od_plan_new(const struct od_plan_config *config, struct od_plan **out, struct od_error *err);
void od_plan_free(struct od_plan *plan); // NULL is fine
// Adds an operator above operators that were added before and have no parent yet, in the order of its inputs; *index (may
// be NULL) is its number: 0, 1, 2, ... The last one added is the root. OD_INVALID: what the operator says cannot be;
// OD_LIMIT: more than OD_PLAN_OPS_MAX.
OD_CHECKED od_code od_plan_add(struct od_plan *plan, const struct od_plan_op *op, const uint32_t *children,
                               uint32_t child_count, uint32_t *index, struct od_error *err);

// ---- placement

enum od_plan_mode {
    OD_PLAN_COST,     // the least estimated time
    OD_PLAN_PULL,     // scans on servers, everything else locally ("force local")
    OD_PLAN_PUSH,     // whatever may run on a server does, with uploads ("force remote")
    OD_PLAN_TOGETHER, // an operator whose inputs all lie on one server runs there, everything else locally
    OD_PLAN_RANDOM,   // any placement that may be, drawn from the seed; reductions and rewrites too (for tests)
};

struct od_plan_request {
    enum od_plan_mode mode;
    uint64_t seed;    // of OD_PLAN_RANDOM
    uint32_t deliver; // the site where the root's rows are wanted; 0: local
};

enum od_plan_reason {
    OD_PLAN_ONLY_SITE,     // its set has one site
    OD_PLAN_NO_TEXT,       // OD_PLAN_UNPARSABLE
    OD_PLAN_IS_VOLATILE,   // OD_PLAN_VOLATILE
    OD_PLAN_FORCED,        // the user's wish
    OD_PLAN_WITH_INPUT,    // where its inputs are; moving them would cost more
    OD_PLAN_CHEAPER_THERE, // its input crosses, because that costs less
    OD_PLAN_DRAWN,         // OD_PLAN_RANDOM
};
const char *od_plan_reason_name(enum od_plan_reason reason); // "only_site", "no_text", ...

enum od_plan_direction {
    OD_PLAN_STAY, // no bridge
    OD_PLAN_DOWNLOAD,
    OD_PLAN_UPLOAD,
    OD_PLAN_RELAY, // server to server: a download and an upload through the local site
};
const char *od_plan_direction_name(enum od_plan_direction direction);

enum od_plan_reduction {
    OD_PLAN_UNREDUCED,
    OD_PLAN_IN_LIST, // the other side's distinct keys as a list
    OD_PLAN_BLOOM,   // their minimum, maximum and a Bloom filter
};
const char *od_plan_reduction_name(enum od_plan_reduction reduction);

enum od_plan_rewrite {
    OD_PLAN_WHOLE,
    OD_PLAN_PARTIAL_BELOW, // the lower half of the parent aggregate runs before the bridge
    OD_PLAN_TOP_BELOW,     // the parent's limit or top-N (limit + offset rows) runs before the bridge
};
const char *od_plan_rewrite_name(enum od_plan_rewrite rewrite);

// What carries an operator's rows to its parent (the root's: to the site of delivery).
struct od_plan_bridge {
    enum od_plan_direction direction;
    uint32_t from, to;
    enum od_plan_reduction reduction;
    uint32_t reducer;    // the join whose other side gives the keys; OD_PLAN_NONE
    bool keys_run_twice; // the other side runs on its server once more for the keys alone
    enum od_plan_rewrite rewrite;
    bool compress_down, compress_up; // on the hop from a server, on the hop to a server
    double rows, bytes;              // estimated rows that cross, and their bytes before compression (one hop)
    double keys;                     // distinct keys sent for the reduction
    double wire_bytes;               // bytes on all links for it: rows after compression on each hop, and keys
    double seconds;                  // estimated, all that the bridge costs
};

struct od_plan_placed {
    uint32_t site;
    enum od_plan_reason reason;
    double cpu_s;                 // estimated, its own work on that site
    struct od_plan_bridge bridge; // to its parent
};

struct od_plan_placement {
    struct od_plan_placed *ops; // one for each operator, by number
    uint32_t count;
    uint32_t hops;     // links crossed: 1 for each download or upload, 2 for a relay
    double seconds;    // estimated, in all
    double wire_bytes; // on all links
};
// Fills *out, which od_plan_placement_release empties. May be called again, with other requests. OD_UNSUPPORTED: there is no
// placement (an operator that is bound to a server which takes no uploads needs rows from elsewhere); the message names it.
OD_CHECKED od_code od_plan_place(const struct od_plan *plan, const struct od_plan_request *request,
                                 struct od_plan_placement *out, struct od_error *err);
void od_plan_placement_release(struct od_plan_placement *placement); // fine for a zeroed one

OD_END_C

#endif
