// test_place.c - placements: against a brute force over everything that may be decided, and the shapes that matter by hand.
//
// The brute force shares the cost of a single operator and edge with the search (model.h), and nothing of how it searches.
#include "plan/search.h"
#include "support/fault.h"

#include <math.h>
#include <string.h>

// ---- random trees

static uint64_t seed_state;

static uint32_t below(uint32_t n)
{
    seed_state = seed_state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)((seed_state >> 33) % n);
}

static double some(double max) // zero, round and skewed numbers, so that equal costs are not rare
{
    switch (below(4)) {
    case 0:
        return 0;
    case 1:
        return max;
    case 2:
        return max * below(1000) / 1000;
    default:
        for (uint32_t i = below(7); i > 0; i--)
            max /= 10;
        return max;
    }
}

static void random_config(struct od_plan_site *sites, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        sites[i] = (struct od_plan_site){.speed = 1 + below(3), .threads = 1 + below(4), .flags = below(16)};
        sites[i].link = (struct od_plan_link){.down_bytes_per_s = 1e6 * (1 + below(1000)),
                                              .up_bytes_per_s = 1e6 * (1 + below(1000)),
                                              .round_trip_s = some(0.02),
                                              .upload_trip_s = some(0.02),
                                              .row_s = some(1e-6),
                                              .byte_s = some(1e-9),
                                              .compress_ratio = some(0.5),
                                              .compress_byte_s = some(1e-8)};
    }
}

static struct od_plan_op random_op(uint32_t sites, uint32_t children)
{
    struct od_plan_op op = {.kind = OD_PLAN_SCAN,
                            .sites = 1 + below((1u << sites) - 1),
                            .rows = some(1e6),
                            .row_bytes = some(100),
                            .scan_rows = some(1e7),
                            .cpu_in_s = some(1e-7),
                            .cpu_out_s = some(1e-7)};
    if (children == 0)
        op.sites = OD_PLAN_SITE(below(sites));
    else if (below(3))
        op.sites |= 1;
    op.force = below(8) ? OD_PLAN_FREE : below(3);
    if (below(6) == 0)
        op.flags |= OD_PLAN_UNSTABLE;
    if (below(6) == 0)
        op.flags |= OD_PLAN_ORDERED;
    if (below(6) == 0)
        op.flags |= OD_PLAN_SERIAL;
    if ((op.sites & 1) && below(10) == 0)
        op.flags |= below(2) ? OD_PLAN_VOLATILE : OD_PLAN_UNPARSABLE;
    if (children == 2 && below(4)) {
        op.kind = OD_PLAN_JOIN;
        op.join = (struct od_plan_join){.type = below(OD_PLAN_JOIN_OTHER + 1),
                                        .reduce = below(4),
                                        .distinct = {some(1e5), some(1e5)},
                                        .key_bytes = some(20),
                                        .kept = {some(1), below(2) ? 0 : 0.5}};
    } else if (children > 0) {
        op.kind = children == 1 ? OD_PLAN_AGGREGATE : OD_PLAN_SET;
        if (children == 1 && below(3) == 0) {
            op.flags |= below(2) ? OD_PLAN_PARTIAL : OD_PLAN_LIMIT_BELOW;
            op.partial = (struct od_plan_partial){.rows = some(1e4), .row_bytes = some(50)};
            op.limit_rows = some(100);
        }
    }
    return op;
}

static struct od_plan *random_plan(uint32_t ops_max, uint32_t sites_max)
{
    struct od_plan_site sites[OD_PLAN_SITES_MAX];
    uint32_t site_count = 1 + below(sites_max), free_ops[64], free_count = 0, total = 1 + below(ops_max);
    random_config(sites, site_count);
    struct od_plan_config config = {.sites = sites, .site_count = site_count};
    struct od_plan *plan;
    assert_int_equal(od_plan_new(&config, &plan, NULL), OD_OK);
    for (uint32_t i = 0; i < total || free_count > 1; i++) {
        uint32_t children = i >= total ? 2 : below(free_count < 3 ? free_count + 1 : 4);
        struct od_plan_op op = random_op(site_count, children);
        uint32_t at = free_count - children;
        assert_int_equal(od_plan_add(plan, &op, &free_ops[at], children, &free_ops[at], NULL), OD_OK);
        free_count = at + 1;
    }
    return plan;
}

// ---- the brute force

struct brute {
    const struct od_plan *plan;
    const uint64_t *wishes;
    uint32_t deliver;
    struct od_decision decisions[16];
    struct od_cost best;
    uint64_t tried;
};

static void whole_cost(struct brute *brute)
{
    const struct od_plan *plan = brute->plan;
    struct od_cost sums[16] = {0}, total = {0};
    for (uint32_t op = 0; op < plan->count; op++) {
        uint32_t parent = plan->nodes[op].parent, kids[8], count = 0;
        struct od_edge edge = {.child = op,
                               .from = brute->decisions[op].site,
                               .to = parent == OD_PLAN_NONE ? brute->deliver : brute->decisions[parent].site,
                               .reduction = brute->decisions[op].reduction,
                               .rewrite = brute->decisions[op].rewrite};
        for (uint32_t k = 0; k < op; k++)
            if (plan->nodes[k].parent == op)
                kids[count++] = k;
        if (edge.reduction != OD_PLAN_UNREDUCED) {
            if (parent == OD_PLAN_NONE)
                return;
            for (uint32_t k = 0; k < plan->count; k++)
                if (k != op && plan->nodes[k].parent == parent)
                    edge.keys_from = brute->decisions[k].site;
        }
        if (!(plan->nodes[op].allowed & OD_PLAN_SITE(edge.from)) || !od_model_crosses(plan, op, edge.from, edge.to) ||
            !od_model_reducible(plan, &edge) || !od_model_rewritable(plan, &edge))
            return;
        struct od_cost own = od_model_own(plan, op, edge.from);
        own.against = brute->wishes[op] && !(brute->wishes[op] & OD_PLAN_SITE(edge.from));
        od_cost_add(&sums[op], &own);
        if (plan->nodes[op].op.kind == OD_PLAN_JOIN) {
            const struct od_decision *l = &brute->decisions[kids[0]], *r = &brute->decisions[kids[1]];
            if (l->reduction && r->reduction)
                return;
            // Keys of a side that is with the join on a server: it runs twice.
            for (int side = 0; side < 2; side++)
                if (brute->decisions[kids[side]].reduction && edge.from != 0 &&
                    brute->decisions[kids[1 - side]].site == edge.from)
                    od_cost_add(&sums[op], &sums[kids[1 - side]]);
        }
        struct od_cost cost = od_model_edge(plan, &edge, NULL);
        struct od_cost *sum = parent == OD_PLAN_NONE ? &total : &sums[parent];
        od_cost_add(sum, &sums[op]);
        od_cost_add(sum, &cost);
    }
    if (!brute->tried++ || od_cost_compare(&total, &brute->best) < 0)
        brute->best = total;
}

static void try_all(struct brute *brute, uint32_t op)
{
    if (op == brute->plan->count) {
        whole_cost(brute);
        return;
    }
    const struct od_plan_node *node = &brute->plan->nodes[op];
    bool join = node->parent != OD_PLAN_NONE && brute->plan->nodes[node->parent].op.kind == OD_PLAN_JOIN;
    bool split = node->parent != OD_PLAN_NONE &&
                 (brute->plan->nodes[node->parent].op.flags & (OD_PLAN_PARTIAL | OD_PLAN_LIMIT_BELOW));
    for (uint8_t site = 0; site < brute->plan->site_count; site++)
        for (uint8_t reduction = 0; reduction <= (join ? OD_PLAN_BLOOM : 0); reduction++)
            for (uint8_t rewrite = 0; rewrite <= (split ? OD_PLAN_TOP_BELOW : 0); rewrite++) {
                brute->decisions[op] = (struct od_decision){site, reduction, rewrite};
                try_all(brute, op + 1);
            }
}

static void the_search_finds_what_brute_force_finds(void **state)
{
    (void)state;
    uint32_t possible = 0, reduced = 0, twice = 0, rewritten = 0;
    for (uint64_t seed = 1; seed <= 4000; seed++) {
        seed_state = seed;
        struct od_plan *plan = random_plan(6, seed % 8 == 0 ? 3 : 2);
        if (plan->count > 7) {
            od_plan_free(plan);
            continue;
        }
        enum od_plan_mode mode = (enum od_plan_mode)below(OD_PLAN_RANDOM);
        uint64_t wishes[16];
        od_wishes_fill(plan, mode, wishes);
        struct brute brute = {.plan = plan, .wishes = wishes, .deliver = below(plan->site_count)};
        try_all(&brute, 0);
        struct od_plan_request request = {.mode = mode, .deliver = brute.deliver};
        struct od_plan_placement placement = {0};
        od_code rc = od_plan_place(plan, &request, &placement, NULL);
        if (rc != (brute.tried ? OD_OK : OD_UNSUPPORTED))
            fail_msg("seed %llu: %s, brute force found %llu placements", (unsigned long long)seed, od_code_name(rc),
                     (unsigned long long)brute.tried);
        if (rc == OD_OK) {
            possible++;
            if (placement.seconds != od_model_seconds(brute.best.ns) || placement.hops != brute.best.hops)
                fail_msg("seed %llu: %.9f s in %u hops, brute force %.9f s in %u hops", (unsigned long long)seed,
                         placement.seconds, placement.hops, od_model_seconds(brute.best.ns), brute.best.hops);
            for (uint32_t op = 0; op < plan->count; op++) {
                reduced += placement.ops[op].bridge.reduction != OD_PLAN_UNREDUCED;
                twice += placement.ops[op].bridge.keys_run_twice;
                rewritten += placement.ops[op].bridge.rewrite != OD_PLAN_WHOLE;
            }
        }
        od_plan_placement_release(&placement);
        od_plan_free(plan);
    }
    assert_true(possible > 2000); // the trees must reach what is tested
    assert_true(reduced > 20 && twice > 0 && rewritten > 20);
}

// ---- any mode, larger trees

static void expect_legal(const struct od_plan *plan, const struct od_plan_placement *placement, uint32_t deliver)
{
    for (uint32_t op = 0; op < plan->count; op++) {
        const struct od_plan_placed *placed = &placement->ops[op];
        const struct od_plan_bridge *bridge = &placed->bridge;
        uint32_t parent = plan->nodes[op].parent;
        uint32_t to = parent == OD_PLAN_NONE ? deliver : placement->ops[parent].site;
        assert_true(plan->nodes[op].op.sites & OD_PLAN_SITE(placed->site));
        if (plan->nodes[op].op.flags & (OD_PLAN_VOLATILE | OD_PLAN_UNPARSABLE))
            assert_int_equal(placed->site, OD_PLAN_LOCAL);
        assert_int_equal(bridge->from, placed->site);
        assert_int_equal(bridge->to, to);
        assert_int_equal(bridge->direction == OD_PLAN_STAY, bridge->from == bridge->to);
        if (to != placed->site && to != OD_PLAN_LOCAL)
            assert_true(plan->sites[to].flags & OD_PLAN_SITE_UPLOAD);
        if (bridge->reduction != OD_PLAN_UNREDUCED) {
            assert_int_equal(bridge->reducer, parent);
            assert_true(bridge->direction != OD_PLAN_STAY);
            uint32_t other = od_model_sibling(plan, op);
            assert_int_equal(placement->ops[other].bridge.reduction, OD_PLAN_UNREDUCED);
            if (bridge->keys_run_twice)
                assert_true(plan->nodes[other].rerunnable);
        }
    }
}

static void every_mode_keeps_to_the_sites_and_repeats_itself(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 3000; seed++) {
        seed_state = seed * 7919;
        struct od_plan *plan = random_plan(30, 4);
        for (enum od_plan_mode mode = OD_PLAN_COST; mode <= OD_PLAN_RANDOM; mode++) {
            struct od_plan_request request = {.mode = mode, .seed = seed, .deliver = below(plan->site_count)};
            struct od_plan_placement one = {0}, two = {0};
            od_code rc = od_plan_place(plan, &request, &one, NULL);
            assert_int_equal(rc, od_plan_place(plan, &request, &two, NULL));
            if (rc == OD_OK) {
                expect_legal(plan, &one, request.deliver);
                assert_memory_equal(one.ops, two.ops, one.count * sizeof *one.ops);
            } else {
                assert_int_equal(rc, OD_UNSUPPORTED);
            }
            od_plan_placement_release(&one);
            od_plan_placement_release(&two);
        }
        od_plan_free(plan);
    }
}

// ---- shapes by hand: 0 local, 1 and 2 servers on a 100 Mbit/s link of 20 ms

static struct od_plan *lan_plan(void)
{
    struct od_plan_site sites[3] = {{.speed = 1, .threads = 2}};
    for (int i = 1; i < 3; i++)
        sites[i] = (struct od_plan_site){
            .speed = 1,
            .threads = 2,
            .flags = OD_PLAN_SITE_UPLOAD | OD_PLAN_SITE_BLOOM | OD_PLAN_SITE_REDUCED_UPLOAD,
            .link = {.down_bytes_per_s = 12.5e6, .up_bytes_per_s = 12.5e6, .round_trip_s = 0.02, .row_s = 1e-8}};
    struct od_plan_config config = {.sites = sites, .site_count = 3};
    struct od_plan *plan;
    assert_int_equal(od_plan_new(&config, &plan, NULL), OD_OK);
    return plan;
}

static uint32_t scan(struct od_plan *plan, uint32_t site, double rows)
{
    struct od_plan_op op = {
        .kind = OD_PLAN_SCAN, .sites = OD_PLAN_SITE(site), .rows = rows, .scan_rows = rows, .row_bytes = 16};
    op.cpu_in_s = 1e-9;
    uint32_t index;
    assert_int_equal(od_plan_add(plan, &op, NULL, 0, &index, NULL), OD_OK);
    return index;
}

static uint32_t join(struct od_plan *plan, uint32_t left, uint32_t right, double rows, double left_keys,
                     double right_keys)
{
    struct od_plan_op op = {.kind = OD_PLAN_JOIN,
                            .sites = 7,
                            .rows = rows,
                            .row_bytes = 24,
                            .cpu_in_s = 2e-8,
                            .join = {.reduce = OD_PLAN_REDUCE_LEFT | OD_PLAN_REDUCE_RIGHT,
                                     .distinct = {left_keys, right_keys},
                                     .key_bytes = 8}};
    uint32_t index;
    assert_int_equal(od_plan_add(plan, &op, (uint32_t[]){left, right}, 2, &index, NULL), OD_OK);
    return index;
}

static uint32_t aggregate(struct od_plan *plan, uint32_t child, double groups, uint32_t flags)
{
    struct od_plan_op op = {.kind = OD_PLAN_AGGREGATE,
                            .sites = flags & OD_PLAN_PARTIAL ? 3 : 7,
                            .flags = flags,
                            .rows = groups,
                            .row_bytes = 16,
                            .cpu_in_s = 1e-8,
                            .partial = {.rows = groups, .row_bytes = 16}};
    uint32_t index;
    assert_int_equal(od_plan_add(plan, &op, &child, 1, &index, NULL), OD_OK);
    return index;
}

static struct od_plan_placement placed(struct od_plan *plan, enum od_plan_mode mode)
{
    struct od_plan_placement placement;
    struct od_plan_request request = {.mode = mode};
    assert_int_equal(od_plan_place(plan, &request, &placement, NULL), OD_OK);
    return placement;
}

static void few_local_keys_reduce_a_large_remote_table(void **state)
{
    (void)state;
    struct od_plan *plan = lan_plan();
    uint32_t lineitem = scan(plan, 1, 6e6), keys = scan(plan, 0, 1000);
    uint32_t joined = join(plan, lineitem, keys, 4000, 1.5e6, 1000);
    struct od_plan_placement placement = placed(plan, OD_PLAN_COST);
    if (placement.ops[joined].site == OD_PLAN_LOCAL)
        assert_int_equal(placement.ops[lineitem].bridge.reduction, OD_PLAN_IN_LIST);
    else
        assert_int_equal(placement.ops[keys].bridge.direction, OD_PLAN_UPLOAD);
    assert_true(placement.wire_bytes < 200e3);
    od_plan_placement_release(&placement);
    placement = placed(plan, OD_PLAN_PULL);
    assert_int_equal(placement.ops[joined].site, OD_PLAN_LOCAL);
    assert_int_equal(placement.ops[joined].reason, OD_PLAN_FORCED);
    od_plan_placement_release(&placement);
    placement = placed(plan, OD_PLAN_PUSH);
    assert_int_equal(placement.ops[joined].site, 1);
    assert_int_equal(placement.ops[keys].bridge.direction, OD_PLAN_UPLOAD);
    od_plan_placement_release(&placement);
    od_plan_free(plan);
}

static void a_small_local_side_goes_up_when_the_result_is_small(void **state)
{
    (void)state;
    struct od_plan *plan = lan_plan();
    uint32_t facts = scan(plan, 1, 1e7), dimension = scan(plan, 0, 500);
    uint32_t joined = join(plan, facts, dimension, 1e7, 500, 500); // every fact has a partner
    uint32_t grouped = aggregate(plan, joined, 10, 0);
    struct od_plan_placement placement = placed(plan, OD_PLAN_COST);
    assert_int_equal(placement.ops[joined].site, 1);
    assert_int_equal(placement.ops[grouped].site, 1);
    assert_int_equal(placement.ops[dimension].bridge.direction, OD_PLAN_UPLOAD);
    assert_int_equal(placement.ops[grouped].bridge.direction, OD_PLAN_DOWNLOAD);
    assert_int_equal(placement.ops[grouped].reason, OD_PLAN_WITH_INPUT);
    assert_int_equal(placement.ops[joined].reason, OD_PLAN_CHEAPER_THERE);
    od_plan_placement_release(&placement);
    placement = placed(plan, OD_PLAN_TOGETHER);
    assert_int_equal(placement.ops[joined].site, OD_PLAN_LOCAL);
    od_plan_placement_release(&placement);
    od_plan_free(plan);
}

static void an_aggregate_kept_local_is_halved_below_the_bridge(void **state)
{
    (void)state;
    struct od_plan *plan = lan_plan();
    uint32_t facts = scan(plan, 1, 1e6);
    uint32_t grouped = aggregate(plan, facts, 10, OD_PLAN_PARTIAL);
    struct od_plan_op sink = {.kind = OD_PLAN_OTHER, .sites = 1};
    assert_int_equal(od_plan_add(plan, &sink, &grouped, 1, NULL, NULL), OD_OK);
    struct od_plan_placement placement = {0};
    struct od_plan_request request = {.mode = OD_PLAN_RANDOM};
    bool halved = false;
    for (request.seed = 0; request.seed < 100 && !halved; request.seed++) {
        assert_int_equal(od_plan_place(plan, &request, &placement, NULL), OD_OK);
        halved = placement.ops[facts].bridge.rewrite == OD_PLAN_PARTIAL_BELOW;
        if (halved)
            assert_true(placement.ops[facts].bridge.rows == 10);
        od_plan_placement_release(&placement);
    }
    assert_true(halved);
    od_plan_free(plan);
}

static void equal_costs_stay_local(void **state)
{
    (void)state;
    struct od_plan *plan = lan_plan();
    struct od_plan_op op = {.kind = OD_PLAN_SCAN, .sites = 7};
    uint32_t index;
    assert_int_equal(od_plan_add(plan, &op, NULL, 0, &index, NULL), OD_OK);
    struct od_plan_placement placement = placed(plan, OD_PLAN_COST);
    assert_int_equal(placement.ops[0].site, OD_PLAN_LOCAL);
    assert_int_equal(placement.hops, 0);
    od_plan_placement_release(&placement);
    od_plan_free(plan);
}

static void what_cannot_be_is_refused(void **state)
{
    (void)state;
    struct od_error err = {0};
    struct od_plan_site site = {.speed = 1, .threads = 1}, slow = {.speed = 0, .threads = 1};
    struct od_plan *plan;
    assert_int_equal(od_plan_new(&(struct od_plan_config){.sites = &slow, .site_count = 1}, &plan, &err), OD_INVALID);
    assert_int_equal(od_plan_new(&(struct od_plan_config){.sites = &site, .site_count = 0}, &plan, &err), OD_INVALID);
    assert_int_equal(od_plan_new(&(struct od_plan_config){.sites = &site, .site_count = 1}, &plan, &err), OD_OK);
    struct od_plan_placement placement = {0};
    struct od_plan_request request = {0};
    assert_int_equal(od_plan_place(plan, &request, &placement, &err), OD_INVALID);
    struct od_plan_op op = {.kind = OD_PLAN_SCAN, .sites = 1, .rows = NAN};
    assert_int_equal(od_plan_add(plan, &op, NULL, 0, NULL, &err), OD_INVALID);
    op.rows = 1;
    op.sites = 2;
    assert_int_equal(od_plan_add(plan, &op, NULL, 0, NULL, &err), OD_INVALID);
    op.sites = 1;
    assert_int_equal(od_plan_add(plan, &op, NULL, 0, NULL, &err), OD_OK);
    op.kind = OD_PLAN_FILTER;
    assert_int_equal(od_plan_add(plan, &op, (uint32_t[]){5}, 1, NULL, &err), OD_INVALID);
    op.kind = OD_PLAN_JOIN;
    assert_int_equal(od_plan_add(plan, &op, (uint32_t[]){0, 0}, 2, NULL, &err), OD_INVALID);
    op.kind = OD_PLAN_SCAN;
    assert_int_equal(od_plan_add(plan, &op, NULL, 0, NULL, &err), OD_OK);
    assert_int_equal(od_plan_place(plan, &request, &placement, &err), OD_INVALID); // two roots
    for (uint32_t i = 2; i < OD_PLAN_OPS_MAX; i++)
        assert_int_equal(od_plan_add(plan, &op, NULL, 0, NULL, &err), OD_OK);
    assert_int_equal(od_plan_add(plan, &op, NULL, 0, NULL, &err), OD_LIMIT);
    od_plan_free(plan);
}

static void a_fault_leaves_nothing_behind(void **state)
{
    (void)state;
    struct od_plan_site site = {.speed = 1, .threads = 1};
    struct od_plan_config config = {.sites = &site, .site_count = 1};
    OD_FAULT_LOOP(fault)
    {
        struct od_error err = {0};
        struct od_plan *plan = NULL;
        struct od_plan_placement placement = {0};
        struct od_plan_request request = {0};
        struct od_plan_op op = {.kind = OD_PLAN_SCAN, .sites = 1, .rows = 1};
        uint32_t index;
        od_code rc = od_plan_new(&config, &plan, &err);
        if (rc == OD_OK)
            rc = od_plan_add(plan, &op, NULL, 0, &index, &err);
        op.kind = OD_PLAN_FILTER;
        for (int i = 0; i < 40 && rc == OD_OK; i++)
            rc = od_plan_add(plan, &op, &index, 1, &index, &err);
        if (rc == OD_OK)
            rc = od_plan_place(plan, &request, &placement, &err);
        od_fault_expect(&fault, rc, &err);
        od_plan_placement_release(&placement);
        od_plan_free(plan);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_search_finds_what_brute_force_finds),
        cmocka_unit_test(every_mode_keeps_to_the_sites_and_repeats_itself),
        cmocka_unit_test(few_local_keys_reduce_a_large_remote_table),
        cmocka_unit_test(a_small_local_side_goes_up_when_the_result_is_small),
        cmocka_unit_test(an_aggregate_kept_local_is_halved_below_the_bridge),
        cmocka_unit_test(equal_costs_stay_local),
        cmocka_unit_test(what_cannot_be_is_refused),
        cmocka_unit_test(a_fault_leaves_nothing_behind),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
