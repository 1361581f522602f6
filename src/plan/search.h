// search.h - decisions about a plan, and the search for the best ones. Internal.
#ifndef OD_PLAN_SEARCH_H
#define OD_PLAN_SEARCH_H

#include "plan/model.h"

OD_BEGIN_C

// What is decided for one operator: its site, and how its rows go to its parent's.
struct od_decision {
    uint8_t site;
    uint8_t reduction; // enum od_plan_reduction
    uint8_t rewrite;   // enum od_plan_rewrite
};

// The best cost of each subtree with its output on each site, and how it is reached.
struct od_search {
    struct od_cost *best;      // [operator * site_count + site]
    uint8_t *feasible;         // the same index: 0, no placement
    struct od_decision *picks; // [operator * site_count + site of the parent, or of delivery]
    struct od_cost total;      // of the best, delivered
    uint32_t site_count;
};

// wishes: for each operator the sites where it is wanted; 0: no wish. On OD_OK release with od_search_release.
OD_CHECKED od_code od_search_run(const struct od_plan *plan, const uint64_t *wishes, uint32_t deliver,
                                 struct od_search *out, struct od_error *err);
void od_search_release(struct od_search *search);
static inline bool od_search_feasible(const struct od_search *search, uint32_t op, uint32_t site)
{
    return search->feasible[op * search->site_count + site];
}

// The best decisions, one for each operator.
void od_search_best(const struct od_plan *plan, const struct od_search *search, uint32_t deliver,
                    struct od_decision *decisions);
// Any feasible decisions, drawn from the seed.
void od_search_draw(const struct od_plan *plan, const struct od_search *search, uint32_t deliver, uint64_t seed,
                    struct od_decision *decisions);

// Where the mode and the scans' own wishes want each operator.
void od_wishes_fill(const struct od_plan *plan, enum od_plan_mode mode, uint64_t *wishes);
static inline bool od_wish_missed(uint64_t wish, uint32_t site)
{
    return wish && !(wish & OD_PLAN_SITE(site));
}

static inline uint32_t od_decided_parent_site(const struct od_plan *plan, const struct od_decision *decisions,
                                              uint32_t deliver, uint32_t op)
{
    uint32_t parent = plan->nodes[op].parent;
    return parent == OD_PLAN_NONE ? deliver : decisions[parent].site;
}

OD_END_C

#endif
