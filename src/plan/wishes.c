// wishes.c - what a mode and the wishes for single scans mean for the operators above the scans. A wish is a set of sites;
// the search keeps as many wishes as it can, and of the placements that do so takes the cheapest.
#include "plan/search.h"

static void want_local_above(const struct od_plan *plan, uint32_t scan, uint64_t *wishes)
{
    const uint64_t local = OD_PLAN_SITE(OD_PLAN_LOCAL);
    for (uint32_t op = plan->nodes[scan].parent; op != OD_PLAN_NONE; op = plan->nodes[op].parent)
        if (plan->nodes[op].allowed & local)
            wishes[op] = local;
}

static void want_remote_above(const struct od_plan *plan, uint32_t scan, uint64_t *wishes)
{
    const uint64_t local = OD_PLAN_SITE(OD_PLAN_LOCAL);
    uint64_t sites = plan->nodes[scan].allowed;
    if (sites & local)
        return; // not a table of a server
    for (uint32_t op = plan->nodes[scan].parent; op != OD_PLAN_NONE; op = plan->nodes[op].parent) {
        sites &= plan->nodes[op].allowed;
        if (sites == 0)
            return;
        wishes[op] |= sites;
    }
}

static void want_single(const struct od_plan *plan, uint64_t *wishes)
{
    const uint64_t local = OD_PLAN_SITE(OD_PLAN_LOCAL);
    for (uint32_t op = 0; op < plan->count; op++) {
        const struct od_plan_node *node = &plan->nodes[op];
        uint64_t sites = node->allowed;
        for (uint32_t child = node->first_child; child != OD_PLAN_NONE; child = plan->nodes[child].next_sibling)
            sites &= wishes[child];
        wishes[op] = sites ? sites : node->allowed & local ? local : node->allowed;
    }
}

void od_wishes_fill(const struct od_plan *plan, enum od_plan_mode mode, uint64_t *wishes)
{
    for (uint32_t op = 0; op < plan->count; op++)
        wishes[op] = 0;
    if (mode == OD_PLAN_RANDOM)
        return;
    if (mode == OD_PLAN_TOGETHER)
        want_single(plan, wishes);
    // Local wishes last: where both meet, local wins.
    for (int round = 0; round < 2; round++)
        for (uint32_t op = 0; op < plan->count; op++) {
            const struct od_plan_op *scan = &plan->nodes[op].op;
            if (scan->kind != OD_PLAN_SCAN)
                continue;
            enum od_plan_force force = scan->force;
            if (force == OD_PLAN_FREE && mode == OD_PLAN_PULL)
                force = OD_PLAN_FORCE_LOCAL;
            if (force == OD_PLAN_FREE && mode == OD_PLAN_PUSH)
                force = OD_PLAN_FORCE_REMOTE;
            if (round == 0 && force == OD_PLAN_FORCE_REMOTE)
                want_remote_above(plan, op, wishes);
            if (round == 1 && force == OD_PLAN_FORCE_LOCAL)
                want_local_above(plan, op, wishes);
        }
}
