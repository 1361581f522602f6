// prove.c - proves the simulator by mutation: the toy store without a bug holds, and each planted bug is found.
#include "sim/run.h"
#include "sim/toy_store.h"

#include <stdio.h>
#include <stdlib.h>

#define SEEDS_WELL 60u
#define SEEDS_FOUND 300u

int main(void)
{
    struct run *run = calloc(1, sizeof *run);
    int wrong = 0;
    for (toy_bug = TOY_BUG_NONE; run && toy_bug < TOY_BUGS; toy_bug++) {
        const uint64_t seeds = toy_bug == TOY_BUG_NONE ? SEEDS_WELL : SEEDS_FOUND;
        struct run_options options = {.seed = 1, .steps = 300, .history = true};
        while (options.seed <= seeds && sim_run(run, &options))
            options.seed++;
        const bool found = options.seed <= seeds;
        printf("bug %u: %s\n", toy_bug, found ? run->failure : "every history held");
        wrong += found != (toy_bug != TOY_BUG_NONE);
    }
    free(run);
    return wrong;
}
