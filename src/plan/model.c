// model.c - see model.h. Every component of a cost is a product of estimates, rounded to whole nanoseconds where it is made.
//
// A relay (server to server) is two hops through the local site, each with its own bandwidth and compression. Keys of a
// reduction start where the other side is or passes: that is the local site, unless both the join and the other side are on
// one server. Then the other side runs there twice, the first time for its keys alone.
#include "plan/model.h"

int64_t od_model_ns(double seconds)
{
    double ns = seconds * 1e9;
    if (!(ns < (double)OD_COST_NS_MAX)) // also what is not a number
        return OD_COST_NS_MAX;
    return ns <= 0 ? 0 : (int64_t)(ns + 0.5);
}

static int64_t work(const struct od_plan *plan, uint32_t site, bool serial, double rows, double row_s)
{
    const struct od_plan_site *at = &plan->sites[site];
    return od_model_ns(rows * row_s / (at->speed * (serial ? 1 : at->threads)));
}

struct od_cost od_model_own(const struct od_plan *plan, uint32_t node, uint32_t site)
{
    const struct od_plan_op *op = &plan->nodes[node].op;
    bool serial = op->flags & OD_PLAN_SERIAL;
    int64_t in = op->kind == OD_PLAN_SCAN ? work(plan, site, serial, op->scan_rows, op->cpu_in_s) : 0;
    return (struct od_cost){.ns = in + work(plan, site, serial, op->rows, op->cpu_out_s),
                            .remote = site != OD_PLAN_LOCAL};
}

bool od_model_crosses(const struct od_plan *plan, uint32_t child, uint32_t from, uint32_t to)
{
    if (from == to || to == OD_PLAN_LOCAL)
        return true;
    uint32_t needed = OD_PLAN_SITE_UPLOAD;
    if (plan->nodes[child].op.flags & OD_PLAN_ORDERED)
        needed |= OD_PLAN_SITE_ORDERED_UPLOAD;
    return (plan->sites[to].flags & needed) == needed;
}

bool od_model_keys_run_twice(const struct od_edge *edge)
{
    return edge->keys_from != OD_PLAN_LOCAL && edge->keys_from == edge->to;
}

uint32_t od_model_sibling(const struct od_plan *plan, uint32_t child)
{
    const struct od_plan_node *node = &plan->nodes[child];
    uint32_t first = plan->nodes[node->parent].first_child;
    return first == child ? node->next_sibling : first;
}

bool od_model_reducible(const struct od_plan *plan, const struct od_edge *edge)
{
    if (edge->reduction == OD_PLAN_UNREDUCED)
        return true;
    const struct od_plan_node *child = &plan->nodes[edge->child];
    if (edge->from == edge->to || child->parent == OD_PLAN_NONE)
        return false;
    if (edge->to != OD_PLAN_LOCAL && !(plan->sites[edge->to].flags & OD_PLAN_SITE_REDUCED_UPLOAD))
        return false;
    const struct od_plan_node *parent = &plan->nodes[child->parent];
    if (parent->op.kind != OD_PLAN_JOIN)
        return false;
    const struct od_plan_join *join = &parent->op.join;
    uint32_t side = child->slot == OD_PLAN_LEFT_SIDE ? OD_PLAN_REDUCE_LEFT : OD_PLAN_REDUCE_RIGHT;
    if (!(join->reduce & od_plan_join_reducible(join->type) & side))
        return false;
    if (od_model_keys_run_twice(edge) && !plan->nodes[od_model_sibling(plan, edge->child)].rerunnable)
        return false;
    double keys = join->distinct[!child->slot];
    if (edge->reduction == OD_PLAN_IN_LIST)
        return keys <= (double)plan->params.in_keys_max;
    return keys <= plan->params.bloom_keys_max && (plan->sites[edge->from].flags & OD_PLAN_SITE_BLOOM);
}

bool od_model_rewritable(const struct od_plan *plan, const struct od_edge *edge)
{
    if (edge->rewrite == OD_PLAN_WHOLE)
        return true;
    uint32_t above = plan->nodes[edge->child].parent;
    if (edge->from == edge->to || above == OD_PLAN_NONE)
        return false;
    const struct od_plan_node *parent = &plan->nodes[above];
    uint32_t needed = edge->rewrite == OD_PLAN_PARTIAL_BELOW ? OD_PLAN_PARTIAL : OD_PLAN_LIMIT_BELOW;
    return (parent->op.flags & needed) && !(parent->op.flags & OD_PLAN_VOLATILE) &&
           (parent->allowed & OD_PLAN_SITE(edge->from));
}

static int64_t hop(const struct od_plan_link *link, bool up, double rows, double bytes, bool *compressed,
                   double *wire_bytes)
{
    double bytes_per_s = up ? link->up_bytes_per_s : link->down_bytes_per_s;
    double common = (up ? link->upload_trip_s : link->round_trip_s) + rows * link->row_s + bytes * link->byte_s;
    int64_t plain = od_model_ns(common + bytes / bytes_per_s);
    *compressed = false;
    if (link->compress_ratio > 0) {
        double small = bytes * link->compress_ratio;
        int64_t packed = od_model_ns(common + small / bytes_per_s + bytes * link->compress_byte_s);
        if (packed < plain) {
            *compressed = true;
            *wire_bytes += small;
            return packed;
        }
    }
    *wire_bytes += bytes;
    return plain;
}

// Makes the keys, sends them to edge->from and tests the child's rows there. Gives the part of the rows that remains.
static double reduce(const struct od_plan *plan, const struct od_edge *edge, struct od_plan_bridge *bridge, int64_t *ns)
{
    const struct od_plan_node *child = &plan->nodes[edge->child];
    const struct od_plan_join *join = &plan->nodes[child->parent].op.join;
    const struct od_plan_node *other = &plan->nodes[od_model_sibling(plan, edge->child)];
    const struct od_plan_params *params = &plan->params;
    double own_keys = join->distinct[child->slot], keys = join->distinct[!child->slot];
    double kept = join->kept[child->slot];
    if (!(kept > 0))
        kept = own_keys > keys ? keys / own_keys : 1;
    double bytes = keys * join->key_bytes;
    if (edge->reduction == OD_PLAN_BLOOM) {
        bytes = keys * params->bloom_bits_per_key / 8 + 2 * join->key_bytes;
        kept += (1 - kept) * params->bloom_false_rate;
    }
    bridge->reducer = child->parent;
    bridge->keys = keys;
    bridge->keys_run_twice = od_model_keys_run_twice(edge);
    uint32_t made_at = bridge->keys_run_twice ? edge->keys_from : OD_PLAN_LOCAL;
    *ns += work(plan, made_at, false, other->op.rows, params->key_build_s);
    if (made_at != OD_PLAN_LOCAL) {
        const struct od_plan_link *link = &plan->sites[made_at].link;
        *ns += od_model_ns(link->round_trip_s + bytes / link->down_bytes_per_s);
        bridge->wire_bytes += bytes;
    }
    if (edge->from != OD_PLAN_LOCAL) { // they travel in the text of the request, which is sent anyway
        *ns += od_model_ns(bytes / plan->sites[edge->from].link.up_bytes_per_s);
        bridge->wire_bytes += bytes;
    }
    *ns += work(plan, edge->from, false, child->op.rows, params->key_probe_s);
    return kept;
}

static double least(double a, double b)
{
    return a < b ? a : b;
}

struct od_cost od_model_edge(const struct od_plan *plan, const struct od_edge *edge, struct od_plan_bridge *bridge)
{
    const struct od_plan_node *child = &plan->nodes[edge->child];
    const struct od_plan_op *parent = child->parent == OD_PLAN_NONE ? NULL : &plan->nodes[child->parent].op;
    bool serial = parent && (parent->flags & OD_PLAN_SERIAL);
    struct od_plan_bridge unused, *out = bridge ? bridge : &unused;
    struct od_cost cost = {0};
    double rows = child->op.rows, row_bytes = child->op.row_bytes;
    *out = (struct od_plan_bridge){.from = edge->from, .to = edge->to, .reducer = OD_PLAN_NONE};
    if (edge->from != edge->to) {
        out->direction = edge->to == OD_PLAN_LOCAL     ? OD_PLAN_DOWNLOAD
                         : edge->from == OD_PLAN_LOCAL ? OD_PLAN_UPLOAD
                                                       : OD_PLAN_RELAY;
        out->reduction = edge->reduction;
        out->rewrite = edge->rewrite;
        if (edge->reduction != OD_PLAN_UNREDUCED)
            rows *= reduce(plan, edge, out, &cost.ns);
        if (edge->rewrite != OD_PLAN_WHOLE)
            cost.ns += work(plan, edge->from, serial, rows, parent->cpu_in_s);
        if (edge->rewrite == OD_PLAN_PARTIAL_BELOW) {
            rows = least(rows, parent->partial.rows);
            row_bytes = parent->partial.row_bytes;
        } else if (edge->rewrite == OD_PLAN_TOP_BELOW) {
            rows = least(rows, parent->limit_rows);
        }
        out->rows = rows;
        out->bytes = rows * row_bytes;
        if (edge->from != OD_PLAN_LOCAL) {
            const struct od_plan_link *link = &plan->sites[edge->from].link;
            cost.ns += hop(link, false, rows, out->bytes, &out->compress_down, &out->wire_bytes);
            cost.hops++;
        }
        if (edge->to != OD_PLAN_LOCAL) {
            const struct od_plan_link *link = &plan->sites[edge->to].link;
            cost.ns += hop(link, true, rows, out->bytes, &out->compress_up, &out->wire_bytes);
            cost.hops++;
        }
        out->seconds = od_model_seconds(cost.ns);
    }
    if (parent)
        cost.ns += work(plan, edge->to, serial, rows, parent->cpu_in_s);
    return cost;
}
