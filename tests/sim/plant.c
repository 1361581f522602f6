// plant.c - proves the simulator on the storage itself: a build of it in which one bug at a time can be planted. Each is
// found; without one every history holds.
#include "sim/run.h"
#include "base/log.h"
#include "storage/planted.h"

#include <stdio.h>
#include <stdlib.h>

#define SEEDS_WELL 20u
#define SEEDS_FOUND 400u

enum od_planted od_planted_bug;

// sim_plant [BUG]: that one and those after it.
int main(int argc, char **argv)
{
    struct run *run = calloc(1, sizeof *run);
    int wrong = 0;
    od_log_set_level(OD_LOG_ERROR);
    for (unsigned bug = argc > 1 ? (unsigned)atoi(argv[1]) : OD_PLANTED_NONE; run && bug < OD_PLANTED_BUGS; bug++) {
        od_planted_bug = bug;
        const uint64_t seeds = bug == OD_PLANTED_NONE ? SEEDS_WELL : SEEDS_FOUND;
        struct run_options options = {.seed = 1, .steps = 300, .history = true};
        while (options.seed <= seeds && sim_run(run, &options))
            options.seed++;
        const bool found = options.seed <= seeds;
        printf("bug %u: %s\n", bug, found ? run->failure : "every history held");
        fflush(stdout);
        wrong += found != (bug != OD_PLANTED_NONE);
    }
    free(run);
    return wrong;
}
