// model.h - the cost model of src/plan: what an operator costs on a site, and what an edge costs between two. Internal.
//
// Costs are whole nanoseconds, rounded once for each component, so that sums do not depend on their order and a search may
// compare them exactly.
#ifndef OD_PLAN_MODEL_H
#define OD_PLAN_MODEL_H

#include "plan/plan.h"

OD_BEGIN_C

#define OD_COST_NS_MAX (INT64_C(1) << 53) // 104 days: a component that costs more counts as this

// Compared in this order: wishes of the user not met, time, links crossed, operators off the local site. Sums saturate, so
// that they do not depend on their order either.
struct od_cost {
    int64_t ns;
    uint32_t against;
    uint32_t hops;
    uint32_t remote;
};

#define OD_COST_SUM_MAX (INT64_C(1) << 62)
#define OD_COST_COUNT_MAX (UINT32_C(1) << 30)

static inline uint32_t od_cost_count(uint32_t a, uint32_t b)
{
    return a + b < OD_COST_COUNT_MAX ? a + b : OD_COST_COUNT_MAX; // neither is more than the maximum
}

static inline void od_cost_add(struct od_cost *sum, const struct od_cost *more)
{
    sum->ns = sum->ns < OD_COST_SUM_MAX - more->ns ? sum->ns + more->ns : OD_COST_SUM_MAX;
    sum->against = od_cost_count(sum->against, more->against);
    sum->hops = od_cost_count(sum->hops, more->hops);
    sum->remote = od_cost_count(sum->remote, more->remote);
}

static inline int od_cost_compare(const struct od_cost *a, const struct od_cost *b)
{
    if (a->against != b->against)
        return a->against < b->against ? -1 : 1;
    if (a->ns != b->ns)
        return a->ns < b->ns ? -1 : 1;
    if (a->hops != b->hops)
        return a->hops < b->hops ? -1 : 1;
    return a->remote == b->remote ? 0 : a->remote < b->remote ? -1 : 1;
}

struct od_plan_node {
    struct od_plan_op op;
    uint32_t parent, first_child, next_sibling; // OD_PLAN_NONE: none
    uint32_t child_count;
    uint32_t slot;     // which child of its parent it is
    uint64_t allowed;  // op.sites, less what its flags exclude
    bool rerunnable;   // neither it nor anything below is volatile or unstable
    double rows_below; // of its children together
};

struct od_plan {
    struct od_plan_site *sites;
    uint32_t site_count;
    struct od_plan_params params;
    struct od_plan_node *nodes;
    uint32_t count, capacity;
};

// One way of an operator's rows to its parent.
struct od_edge {
    uint32_t child;
    uint32_t from, to;
    enum od_plan_reduction reduction;
    uint32_t keys_from; // with a reduction: the site where the other side of the join is
    enum od_plan_rewrite rewrite;
};

// The work of `node` on `site` that does not depend on how its input arrives.
struct od_cost od_model_own(const struct od_plan *plan, uint32_t node, uint32_t site);
// May the rows of `child` cross from one site to the other?
bool od_model_crosses(const struct od_plan *plan, uint32_t child, uint32_t from, uint32_t to);
// Is the reduction (the rewrite) of this edge one that is allowed? Its ends are known to be crossable.
bool od_model_reducible(const struct od_plan *plan, const struct od_edge *edge);
bool od_model_rewritable(const struct od_plan *plan, const struct od_edge *edge);
// The cost of the edge: crossing, reduction, and the parent's work on the rows that arrive. What it costs to run the key
// side once more (bridge->keys_run_twice) is not in it. *bridge (may be NULL) is filled for it, except `seconds` of a rerun.
struct od_cost od_model_edge(const struct od_plan *plan, const struct od_edge *edge, struct od_plan_bridge *bridge);
// With a reduction on this edge: must the other side run on its server a second time, for the keys?
bool od_model_keys_run_twice(const struct od_edge *edge);

// The other input of the join above `child`.
uint32_t od_model_sibling(const struct od_plan *plan, uint32_t child);

int64_t od_model_ns(double seconds);
static inline double od_model_seconds(int64_t ns)
{
    return (double)ns * 1e-9;
}

OD_END_C

#endif
