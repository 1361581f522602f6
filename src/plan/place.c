// place.c - od_plan_place: wishes, search, and the account of what was decided.
#include "plan/search.h"

#include "base/alloc.h"
#include "base/assert.h"

static enum od_plan_reason reason_of(const struct od_plan *plan, const struct od_decision *decisions,
                                     const uint64_t *wishes, enum od_plan_mode mode, uint32_t op)
{
    const struct od_plan_node *node = &plan->nodes[op];
    uint64_t here = OD_PLAN_SITE(decisions[op].site);
    if (node->op.flags & OD_PLAN_VOLATILE)
        return OD_PLAN_IS_VOLATILE;
    if (node->op.flags & OD_PLAN_UNPARSABLE)
        return OD_PLAN_NO_TEXT;
    if ((node->allowed & (node->allowed - 1)) == 0)
        return OD_PLAN_ONLY_SITE;
    if (mode == OD_PLAN_RANDOM)
        return OD_PLAN_DRAWN;
    if (wishes[op] & here)
        return OD_PLAN_FORCED;
    if (node->child_count == 0)
        return OD_PLAN_CHEAPER_THERE;
    for (uint32_t child = node->first_child; child != OD_PLAN_NONE; child = plan->nodes[child].next_sibling)
        if (decisions[child].site != decisions[op].site)
            return OD_PLAN_CHEAPER_THERE;
    return OD_PLAN_WITH_INPUT;
}

static struct od_edge decided_edge(const struct od_plan *plan, const struct od_decision *decisions, uint32_t deliver,
                                   uint32_t op)
{
    struct od_edge edge = {.child = op,
                           .from = decisions[op].site,
                           .to = od_decided_parent_site(plan, decisions, deliver, op),
                           .reduction = decisions[op].reduction,
                           .rewrite = decisions[op].rewrite};
    if (edge.reduction != OD_PLAN_UNREDUCED)
        edge.keys_from = decisions[od_model_sibling(plan, op)].site;
    return edge;
}

// The keys of a reduced child that its sibling is run for once more: the sibling's subtree counts twice.
static void add_reruns(const struct od_plan *plan, uint32_t op, struct od_cost *subtrees, struct od_plan_placement *out)
{
    for (uint32_t child = plan->nodes[op].first_child; child != OD_PLAN_NONE; child = plan->nodes[child].next_sibling) {
        struct od_plan_bridge *bridge = &out->ops[child].bridge;
        if (!bridge->keys_run_twice)
            continue;
        struct od_cost rerun = subtrees[od_model_sibling(plan, child)];
        od_cost_add(&subtrees[op], &rerun);
        bridge->seconds += od_model_seconds(rerun.ns);
    }
}

// Adds up what was decided, inputs before their readers. Gives the whole cost; fills *out.
static struct od_cost account(const struct od_plan *plan, const struct od_decision *decisions, const uint64_t *wishes,
                              const struct od_plan_request *request, struct od_cost *subtrees,
                              struct od_plan_placement *out)
{
    struct od_cost total = {0};
    for (uint32_t op = 0; op < plan->count; op++) {
        subtrees[op] = od_model_own(plan, op, decisions[op].site);
        subtrees[op].against = od_wish_missed(wishes[op], decisions[op].site);
        out->ops[op].cpu_s = od_model_seconds(subtrees[op].ns);
    }
    for (uint32_t op = 0; op < plan->count; op++) {
        struct od_plan_placed *placed = &out->ops[op];
        struct od_edge edge = decided_edge(plan, decisions, request->deliver, op);
        struct od_cost cost = od_model_edge(plan, &edge, &placed->bridge);
        placed->site = edge.from;
        placed->reason = reason_of(plan, decisions, wishes, request->mode, op);
        add_reruns(plan, op, subtrees, out);
        uint32_t parent = plan->nodes[op].parent;
        struct od_cost *sum = parent == OD_PLAN_NONE ? &total : &subtrees[parent];
        od_cost_add(sum, &subtrees[op]);
        od_cost_add(sum, &cost);
        out->wire_bytes += placed->bridge.wire_bytes;
    }
    out->hops = total.hops;
    out->seconds = od_model_seconds(total.ns);
    return total;
}

static od_code check_request(const struct od_plan *plan, const struct od_plan_request *request, struct od_error *err)
{
    if (plan->count == 0)
        return od_fail(err, OD_INVALID, "a plan without operators");
    for (uint32_t op = 0; op + 1 < plan->count; op++)
        if (plan->nodes[op].parent == OD_PLAN_NONE)
            return od_fail(err, OD_INVALID, "operator %u has no reader, and is not the root", op);
    if (request->deliver >= plan->site_count)
        return od_fail(err, OD_INVALID, "the result is wanted at site %u of %u", request->deliver, plan->site_count);
    return OD_OK;
}

od_code od_plan_place(const struct od_plan *plan, const struct od_plan_request *request, struct od_plan_placement *out,
                      struct od_error *err)
{
    od_code rc;
    struct od_search search = {0};
    struct od_plan_placement placement = {.count = plan->count};
    uint64_t *wishes = NULL;
    struct od_decision *decisions = NULL;
    struct od_cost *subtrees = NULL;
    OD_TRY(check_request(plan, request, err));
    wishes = od_calloc(plan->count, sizeof *wishes);
    decisions = od_calloc(plan->count, sizeof *decisions);
    subtrees = od_calloc(plan->count, sizeof *subtrees);
    placement.ops = od_calloc(plan->count, sizeof *placement.ops);
    if (!wishes || !decisions || !subtrees || !placement.ops) {
        rc = od_fail(err, OD_NO_MEMORY, "out of memory for placing %u operators", plan->count);
        goto out;
    }
    od_wishes_fill(plan, request->mode, wishes);
    OD_TRY(od_search_run(plan, wishes, request->deliver, &search, err));
    if (request->mode == OD_PLAN_RANDOM)
        od_search_draw(plan, &search, request->deliver, request->seed, decisions);
    else
        od_search_best(plan, &search, request->deliver, decisions);
    struct od_cost total = account(plan, decisions, wishes, request, subtrees, &placement);
    // The account is made anew from the decisions alone: it must come to what the search promised.
    od_assert(request->mode == OD_PLAN_RANDOM || od_cost_compare(&total, &search.total) == 0);
    *out = placement;
    placement.ops = NULL;
out:
    od_search_release(&search);
    od_free(wishes);
    od_free(decisions);
    od_free(subtrees);
    od_free(placement.ops);
    return rc;
}

void od_plan_placement_release(struct od_plan_placement *placement)
{
    od_free(placement->ops);
    *placement = (struct od_plan_placement){0};
}
