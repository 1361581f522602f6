// plan.c - the tree of operators: made and checked here, so that everything behind it may trust its numbers.
#include "plan/plan.h"

#include "plan/model.h"

#include "base/alloc.h"

#include <math.h>
#include <string.h>

uint32_t od_plan_join_reducible(enum od_plan_join_type type)
{
    switch (type) {
    case OD_PLAN_INNER:
    case OD_PLAN_SEMI:
        return OD_PLAN_REDUCE_LEFT | OD_PLAN_REDUCE_RIGHT;
    case OD_PLAN_LEFT:
    case OD_PLAN_ANTI:
    case OD_PLAN_SINGLE:
        return OD_PLAN_REDUCE_RIGHT;
    case OD_PLAN_RIGHT:
        return OD_PLAN_REDUCE_LEFT;
    case OD_PLAN_FULL:
    case OD_PLAN_MARK: // a NULL among the right keys decides between false and NULL: none may be dropped
    case OD_PLAN_CROSS:
    case OD_PLAN_JOIN_OTHER:
        break;
    }
    return 0;
}

void od_plan_params_default(struct od_plan_params *params)
{
    *params = (struct od_plan_params){
        .in_keys_max = 10000,
        .bloom_bits_per_key = 10,
        .bloom_keys_max = 1e7,
        .bloom_false_rate = 0.01,
        .key_build_s = 50e-9,
        .key_probe_s = 30e-9,
    };
}

static void fill_params(struct od_plan_params *params)
{
    struct od_plan_params defaults;
    od_plan_params_default(&defaults);
    if (params->in_keys_max == 0)
        params->in_keys_max = defaults.in_keys_max;
    if (params->bloom_bits_per_key == 0)
        params->bloom_bits_per_key = defaults.bloom_bits_per_key;
    if (params->bloom_keys_max == 0)
        params->bloom_keys_max = defaults.bloom_keys_max;
    if (params->bloom_false_rate == 0)
        params->bloom_false_rate = defaults.bloom_false_rate;
    if (params->key_build_s == 0)
        params->key_build_s = defaults.key_build_s;
    if (params->key_probe_s == 0)
        params->key_probe_s = defaults.key_probe_s;
}

static bool fits(double number)
{
    return isfinite(number) && number >= 0;
}

static bool fits_all(const double *numbers, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (!fits(numbers[i]))
            return false;
    return true;
}

static od_code check_config(const struct od_plan_config *config, struct od_error *err)
{
    if (config->site_count == 0 || config->site_count > OD_PLAN_SITES_MAX)
        return od_fail(err, OD_INVALID, "a plan over %u sites; 1 to %u are possible", config->site_count,
                       OD_PLAN_SITES_MAX);
    const struct od_plan_params *p = &config->params;
    const double params[] = {p->bloom_bits_per_key, p->bloom_keys_max, p->bloom_false_rate, p->key_build_s,
                             p->key_probe_s};
    if (!fits_all(params, sizeof params / sizeof *params) || p->bloom_false_rate > 1)
        return od_fail(err, OD_INVALID, "a constant of the cost model is negative or no number");
    for (uint32_t i = 0; i < config->site_count; i++) {
        const struct od_plan_site *site = &config->sites[i];
        const struct od_plan_link *link = &site->link;
        const double link_numbers[] = {link->round_trip_s, link->row_s, link->byte_s, link->compress_ratio,
                                       link->compress_byte_s};
        if (!isfinite(site->speed) || site->speed <= 0 || !isfinite(site->threads) || site->threads < 1)
            return od_fail(err, OD_INVALID, "site %u has speed %g and %g threads", i, site->speed, site->threads);
        if (i != OD_PLAN_LOCAL && (!(link->down_bytes_per_s > 0) || !(link->up_bytes_per_s > 0) ||
                                   !fits_all(link_numbers, sizeof link_numbers / sizeof *link_numbers)))
            return od_fail(err, OD_INVALID, "the link of site %u has a bandwidth of 0, or a cost that is no number", i);
    }
    return OD_OK;
}

od_code od_plan_new(const struct od_plan_config *config, struct od_plan **out, struct od_error *err)
{
    od_code rc = check_config(config, err);
    if (rc != OD_OK)
        return rc;
    struct od_plan *plan = od_calloc(1, sizeof *plan);
    struct od_plan_site *sites = od_alloc(config->site_count * sizeof *sites);
    if (!plan || !sites) {
        od_free(plan);
        od_free(sites);
        return od_fail(err, OD_NO_MEMORY, "out of memory for a plan");
    }
    memcpy(sites, config->sites, config->site_count * sizeof *sites);
    plan->sites = sites;
    plan->site_count = config->site_count;
    plan->params = config->params;
    fill_params(&plan->params);
    *out = plan;
    return OD_OK;
}

void od_plan_free(struct od_plan *plan)
{
    if (!plan)
        return;
    od_free(plan->sites);
    od_free(plan->nodes);
    od_free(plan);
}

static od_code check_op(const struct od_plan *plan, const struct od_plan_op *op, uint32_t child_count,
                        struct od_error *err)
{
    const struct od_plan_join *join = &op->join;
    const double numbers[] = {op->rows,          op->row_bytes,     op->scan_rows,   op->cpu_in_s,
                              op->cpu_out_s,     op->partial.rows,  op->limit_rows,  op->partial.row_bytes,
                              join->distinct[0], join->distinct[1], join->key_bytes, join->kept[0],
                              join->kept[1]};
    if (!fits_all(numbers, sizeof numbers / sizeof *numbers) || join->kept[0] > 1 || join->kept[1] > 1)
        return od_fail(err, OD_INVALID, "operator %u has an estimate that is negative or no number", plan->count);
    uint64_t known = plan->site_count == 64 ? UINT64_MAX : OD_PLAN_SITE(plan->site_count) - 1;
    if (op->sites == 0 || (op->sites & ~known))
        return od_fail(err, OD_INVALID, "operator %u may run on no site, or on one that the plan does not have",
                       plan->count);
    if (op->kind == OD_PLAN_JOIN ? child_count != 2 : op->kind == OD_PLAN_SCAN && child_count != 0)
        return od_fail(err, OD_INVALID, "operator %u has %u inputs", plan->count, child_count);
    if ((op->flags & (OD_PLAN_UNPARSABLE | OD_PLAN_VOLATILE)) && !(op->sites & OD_PLAN_SITE(OD_PLAN_LOCAL)))
        return od_fail(err, OD_INVALID, "operator %u can run nowhere: it must run locally and may not", plan->count);
    return OD_OK;
}

static od_code grow(struct od_plan *plan, struct od_error *err)
{
    if (plan->count < plan->capacity)
        return OD_OK;
    if (plan->count >= OD_PLAN_OPS_MAX)
        return od_fail(err, OD_LIMIT, "a plan has at most %u operators", OD_PLAN_OPS_MAX);
    uint32_t capacity = plan->capacity ? plan->capacity * 2 : 32;
    struct od_plan_node *nodes = od_realloc(plan->nodes, capacity * sizeof *nodes);
    if (!nodes)
        return od_fail(err, OD_NO_MEMORY, "out of memory for a plan of %u operators", capacity);
    plan->nodes = nodes;
    plan->capacity = capacity;
    return OD_OK;
}

od_code od_plan_add(struct od_plan *plan, const struct od_plan_op *op, const uint32_t *children, uint32_t child_count,
                    uint32_t *index, struct od_error *err)
{
    od_code rc;
    OD_TRY(check_op(plan, op, child_count, err));
    for (uint32_t i = 0; i < child_count; i++) {
        bool twice = false;
        for (uint32_t k = 0; k < i; k++)
            twice |= children[k] == children[i];
        if (twice || children[i] >= plan->count || plan->nodes[children[i]].parent != OD_PLAN_NONE)
            return od_fail(err, OD_INVALID, "input %u of operator %u does not exist or has a reader already", i,
                           plan->count);
    }
    OD_TRY(grow(plan, err));
    struct od_plan_node *node = &plan->nodes[plan->count];
    *node = (struct od_plan_node){
        .op = *op,
        .parent = OD_PLAN_NONE,
        .first_child = child_count ? children[0] : OD_PLAN_NONE,
        .next_sibling = OD_PLAN_NONE,
        .child_count = child_count,
        .allowed = op->sites,
        .rerunnable = !(op->flags & (OD_PLAN_VOLATILE | OD_PLAN_UNSTABLE)),
    };
    if (op->flags & (OD_PLAN_UNPARSABLE | OD_PLAN_VOLATILE))
        node->allowed = OD_PLAN_SITE(OD_PLAN_LOCAL);
    for (uint32_t i = 0; i < child_count; i++) {
        struct od_plan_node *child = &plan->nodes[children[i]];
        child->parent = plan->count;
        child->slot = i;
        child->next_sibling = i + 1 < child_count ? children[i + 1] : OD_PLAN_NONE;
        node->rerunnable &= child->rerunnable;
    }
    if (index)
        *index = plan->count;
    plan->count++;
    return OD_OK;
out:
    return rc;
}

const char *od_plan_reason_name(enum od_plan_reason reason)
{
    switch (reason) {
    case OD_PLAN_ONLY_SITE:
        return "only_site";
    case OD_PLAN_NO_TEXT:
        return "no_text";
    case OD_PLAN_IS_VOLATILE:
        return "volatile";
    case OD_PLAN_FORCED:
        return "forced";
    case OD_PLAN_WITH_INPUT:
        return "with_input";
    case OD_PLAN_CHEAPER_THERE:
        return "cheaper_there";
    case OD_PLAN_DRAWN:
        return "drawn";
    }
    return "unknown";
}

const char *od_plan_direction_name(enum od_plan_direction direction)
{
    switch (direction) {
    case OD_PLAN_STAY:
        return "stay";
    case OD_PLAN_DOWNLOAD:
        return "download";
    case OD_PLAN_UPLOAD:
        return "upload";
    case OD_PLAN_RELAY:
        return "relay";
    }
    return "unknown";
}

const char *od_plan_reduction_name(enum od_plan_reduction reduction)
{
    switch (reduction) {
    case OD_PLAN_UNREDUCED:
        return "none";
    case OD_PLAN_IN_LIST:
        return "in_list";
    case OD_PLAN_BLOOM:
        return "bloom";
    }
    return "unknown";
}

const char *od_plan_rewrite_name(enum od_plan_rewrite rewrite)
{
    switch (rewrite) {
    case OD_PLAN_WHOLE:
        return "none";
    case OD_PLAN_PARTIAL_BELOW:
        return "partial";
    case OD_PLAN_TOP_BELOW:
        return "top";
    }
    return "unknown";
}
