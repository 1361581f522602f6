// search.c - dynamic programming over the tree. The state is the site where an operator's rows come to be: costs add up over
// operators and edges, so the best placement of a subtree for each site is all that its parent needs to know.
//
// The one coupling is at a join, where one side's keys may reduce the other: which of the two crosses reduced is tried in
// all combinations. How much the keys cost depends on the other side's site only by whether it is the join's own server, so
// two representatives of it are enough: the best from there, and the best from anywhere else.
#include "plan/search.h"

#include "base/alloc.h"
#include "base/assert.h"

struct option {
    struct od_cost cost; // of the child's subtree and its edge
    struct od_decision decision;
    bool feasible;
};

static const struct od_cost *best_of(const struct od_search *search, uint32_t op, uint32_t site)
{
    return &search->best[op * search->site_count + site];
}

static void take_better(struct option *best, const struct option *other)
{
    if (other->feasible && (!best->feasible || od_cost_compare(&other->cost, &best->cost) < 0))
        *best = *other;
}

// The best rewrite of an edge whose other choices are made.
static struct option edge_option(const struct od_plan *plan, const struct od_search *search, struct od_edge edge)
{
    struct option best = {0};
    for (enum od_plan_rewrite rewrite = OD_PLAN_WHOLE; rewrite <= OD_PLAN_TOP_BELOW; rewrite++) {
        edge.rewrite = rewrite;
        if (!od_model_rewritable(plan, &edge))
            continue;
        struct option option = {.cost = od_model_edge(plan, &edge, NULL), .feasible = true};
        od_cost_add(&option.cost, best_of(search, edge.child, edge.from));
        option.decision = (struct od_decision){(uint8_t)edge.from, (uint8_t)edge.reduction, (uint8_t)rewrite};
        take_better(&best, &option);
    }
    return best;
}

enum which { ANYWHERE, ELSEWHERE_ONLY, THERE_ONLY }; // where the child may be, seen from its parent's site

static struct option best_unreduced(const struct od_plan *plan, const struct od_search *search, uint32_t child,
                                    uint32_t to, enum which which)
{
    struct option best = {0};
    for (uint32_t from = 0; from < plan->site_count; from++) {
        if (which != ANYWHERE && (from == to) != (which == THERE_ONLY))
            continue;
        if (!od_search_feasible(search, child, from) || !od_model_crosses(plan, child, from, to))
            continue;
        struct option option = edge_option(plan, search, (struct od_edge){.child = child, .from = from, .to = to});
        take_better(&best, &option);
    }
    return best;
}

static struct option best_reduced(const struct od_plan *plan, const struct od_search *search, uint32_t child,
                                  uint32_t to, uint32_t keys_from)
{
    struct option best = {0};
    for (uint32_t from = 0; from < plan->site_count; from++) {
        if (from == to || !od_search_feasible(search, child, from) || !od_model_crosses(plan, child, from, to))
            continue;
        for (enum od_plan_reduction reduction = OD_PLAN_IN_LIST; reduction <= OD_PLAN_BLOOM; reduction++) {
            struct od_edge edge = {
                .child = child, .from = from, .to = to, .reduction = reduction, .keys_from = keys_from};
            if (!od_model_reducible(plan, &edge))
                continue;
            struct option option = edge_option(plan, search, edge);
            take_better(&best, &option);
        }
    }
    return best;
}

struct pair {
    struct od_cost cost;
    struct od_decision decisions[2];
    bool feasible;
};

static void consider_pair(struct pair *best, const struct option *left, const struct option *right,
                          const struct od_cost *rerun)
{
    if (!left->feasible || !right->feasible)
        return;
    struct od_cost cost = left->cost;
    od_cost_add(&cost, &right->cost);
    if (rerun)
        od_cost_add(&cost, rerun);
    if (!best->feasible || od_cost_compare(&cost, &best->cost) < 0)
        *best = (struct pair){.cost = cost, .decisions = {left->decision, right->decision}, .feasible = true};
}

static struct pair best_pair(const struct od_plan *plan, const struct od_search *search, const uint32_t children[2],
                             uint32_t to)
{
    struct pair best = {0};
    struct option any[2];
    for (int side = 0; side < 2; side++)
        any[side] = best_unreduced(plan, search, children[side], to, ANYWHERE);
    consider_pair(&best, &any[0], &any[1], NULL);
    const struct od_plan_join *join = &plan->nodes[plan->nodes[children[0]].parent].op.join;
    uint32_t reducible = join->reduce & od_plan_join_reducible(join->type);
    for (uint32_t side = 0; side < 2; side++) {
        if (!(reducible & (side == 0 ? OD_PLAN_REDUCE_LEFT : OD_PLAN_REDUCE_RIGHT)))
            continue;
        uint32_t other = 1 - side;
        // The keys pass the local site, or are there: one representative for all such sites of the other side.
        bool local = to == OD_PLAN_LOCAL;
        struct option keys = local ? any[other] : best_unreduced(plan, search, children[other], to, ELSEWHERE_ONLY);
        struct option reduced = {0};
        if (keys.feasible)
            reduced = best_reduced(plan, search, children[side], to, keys.decision.site);
        consider_pair(&best, side == 0 ? &reduced : &keys, side == 0 ? &keys : &reduced, NULL);
        if (local || !od_search_feasible(search, children[other], to))
            continue;
        // The other side is on the join's server: it runs there once more, for its keys.
        keys = best_unreduced(plan, search, children[other], to, THERE_ONLY);
        reduced = best_reduced(plan, search, children[side], to, to);
        consider_pair(&best, side == 0 ? &reduced : &keys, side == 0 ? &keys : &reduced,
                      best_of(search, children[other], to));
    }
    return best;
}

static void solve(const struct od_plan *plan, const uint64_t *wishes, struct od_search *search, uint32_t op,
                  uint32_t site)
{
    const struct od_plan_node *node = &plan->nodes[op];
    struct od_cost cost = od_model_own(plan, op, site);
    cost.against = od_wish_missed(wishes[op], site);
    if (node->op.kind == OD_PLAN_JOIN) {
        const uint32_t children[2] = {node->first_child, plan->nodes[node->first_child].next_sibling};
        struct pair pair = best_pair(plan, search, children, site);
        if (!pair.feasible)
            return;
        od_cost_add(&cost, &pair.cost);
        for (int side = 0; side < 2; side++)
            search->picks[children[side] * search->site_count + site] = pair.decisions[side];
    } else {
        for (uint32_t child = node->first_child; child != OD_PLAN_NONE; child = plan->nodes[child].next_sibling) {
            struct option option = best_unreduced(plan, search, child, site, ANYWHERE);
            if (!option.feasible)
                return;
            od_cost_add(&cost, &option.cost);
            search->picks[child * search->site_count + site] = option.decision;
        }
    }
    search->best[op * search->site_count + site] = cost;
    search->feasible[op * search->site_count + site] = 1;
}

static od_code nowhere(const struct od_plan *plan, uint32_t op, struct od_error *err)
{
    return od_fail(
        err, OD_UNSUPPORTED,
        "operator %u of %u can run nowhere: its sites take no rows from elsewhere, and its inputs are elsewhere", op,
        plan->count);
}

od_code od_search_run(const struct od_plan *plan, const uint64_t *wishes, uint32_t deliver, struct od_search *out,
                      struct od_error *err)
{
    od_code rc = OD_OK;
    size_t states = (size_t)plan->count * plan->site_count;
    *out = (struct od_search){.site_count = plan->site_count};
    out->best = od_calloc(states, sizeof *out->best);
    out->feasible = od_calloc(states, 1);
    out->picks = od_calloc(states, sizeof *out->picks);
    if (!out->best || !out->feasible || !out->picks) {
        rc = od_fail(err, OD_NO_MEMORY, "out of memory for placing %u operators", plan->count);
        goto out;
    }
    for (uint32_t op = 0; op < plan->count; op++) { // inputs have lower numbers
        bool somewhere = false;
        for (uint32_t site = 0; site < plan->site_count; site++)
            if (plan->nodes[op].allowed & OD_PLAN_SITE(site)) {
                solve(plan, wishes, out, op, site);
                somewhere |= od_search_feasible(out, op, site);
            }
        if (!somewhere) {
            rc = nowhere(plan, op, err);
            goto out;
        }
    }
    uint32_t root = plan->count - 1;
    struct option delivered = best_unreduced(plan, out, root, deliver, ANYWHERE);
    out->picks[root * plan->site_count + deliver] = delivered.decision;
    out->total = delivered.cost;
    if (!delivered.feasible)
        rc = od_fail(err, OD_UNSUPPORTED, "the result cannot be brought to site %u, which takes no rows", deliver);
out:
    if (rc != OD_OK)
        od_search_release(out);
    return rc;
}

void od_search_release(struct od_search *search)
{
    od_free(search->best);
    od_free(search->feasible);
    od_free(search->picks);
    *search = (struct od_search){0};
}

void od_search_best(const struct od_plan *plan, const struct od_search *search, uint32_t deliver,
                    struct od_decision *decisions)
{
    for (uint32_t op = plan->count; op-- > 0;) { // parents first
        uint32_t to = od_decided_parent_site(plan, decisions, deliver, op);
        od_assert(plan->nodes[op].parent == OD_PLAN_NONE || od_search_feasible(search, plan->nodes[op].parent, to));
        decisions[op] = search->picks[op * search->site_count + to];
    }
}
