// draw.c - a placement drawn at random among all that can be, for tests that compare results of different placements. Every
// choice is drawn evenly among the feasible ones, parents before their inputs.
#include "plan/search.h"

#include "base/assert.h"

static uint64_t next_random(uint64_t *state) // splitmix64
{
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

static uint32_t draw_below(uint64_t *state, uint32_t n)
{
    return (uint32_t)(next_random(state) % n);
}

static uint32_t draw_site(const struct od_plan *plan, const struct od_search *search, uint32_t op, uint32_t to,
                          uint64_t *state)
{
    uint32_t sites[OD_PLAN_SITES_MAX], count = 0;
    for (uint32_t from = 0; from < plan->site_count; from++)
        if (od_search_feasible(search, op, from) && od_model_crosses(plan, op, from, to))
            sites[count++] = from;
    od_assert(count > 0);
    return sites[draw_below(state, count)];
}

static uint8_t draw_rewrite(const struct od_plan *plan, struct od_edge edge, uint64_t *state)
{
    uint8_t rewrites[3];
    uint32_t count = 0;
    for (edge.rewrite = OD_PLAN_WHOLE; edge.rewrite <= OD_PLAN_TOP_BELOW; edge.rewrite++)
        if (od_model_rewritable(plan, &edge))
            rewrites[count++] = (uint8_t)edge.rewrite;
    return rewrites[draw_below(state, count)];
}

// At most one side of a join is reduced.
static void draw_reduction(const struct od_plan *plan, const uint32_t children[2], uint32_t to, uint64_t *state,
                           struct od_decision *decisions)
{
    struct {
        uint32_t child;
        uint8_t reduction;
    } ways[5];
    uint32_t count = 0;
    ways[count].child = children[0];
    ways[count++].reduction = OD_PLAN_UNREDUCED;
    for (int side = 0; side < 2; side++) {
        struct od_edge edge = {.child = children[side],
                               .from = decisions[children[side]].site,
                               .to = to,
                               .keys_from = decisions[children[1 - side]].site};
        for (edge.reduction = OD_PLAN_IN_LIST; edge.reduction <= OD_PLAN_BLOOM; edge.reduction++)
            if (od_model_reducible(plan, &edge)) {
                ways[count].child = edge.child;
                ways[count++].reduction = (uint8_t)edge.reduction;
            }
    }
    uint32_t way = draw_below(state, count);
    decisions[ways[way].child].reduction = ways[way].reduction;
}

void od_search_draw(const struct od_plan *plan, const struct od_search *search, uint32_t deliver, uint64_t seed,
                    struct od_decision *decisions)
{
    uint32_t root = plan->count - 1;
    uint64_t state = seed;
    decisions[root] = (struct od_decision){.site = (uint8_t)draw_site(plan, search, root, deliver, &state)};
    for (uint32_t op = plan->count; op-- > 0;) {
        const struct od_plan_node *node = &plan->nodes[op];
        uint32_t to = decisions[op].site;
        for (uint32_t child = node->first_child; child != OD_PLAN_NONE; child = plan->nodes[child].next_sibling) {
            uint32_t from = draw_site(plan, search, child, to, &state);
            decisions[child] = (struct od_decision){.site = (uint8_t)from};
            decisions[child].rewrite =
                draw_rewrite(plan, (struct od_edge){.child = child, .from = from, .to = to}, &state);
        }
        if (node->op.kind == OD_PLAN_JOIN)
            draw_reduction(plan, (uint32_t[2]){node->first_child, plan->nodes[node->first_child].next_sibling}, to,
                           &state, decisions);
    }
}
