// main.c - runs simulated histories.
//
//   sim [--from SEED] [--seeds N] [--steps N] [--history] [--verbose]
//
// Prints the seed and the step of the first failure and ends with 1; the same seed gives the same history.
// OPENDUCK_SIM_SEEDS in the environment replaces the number of seeds.
#include "sim/run.h"
#include "base/log.h"
#include "os/file.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(int count, char **arguments)
{
    uint64_t from = 1, seeds = 100;
    struct run_options options = {.steps = 300};
    const char *environment = od_environment("OPENDUCK_SIM_SEEDS");
    for (int i = 1; i < count; i++) {
        const char *value = i + 1 < count ? arguments[i + 1] : "";
        if (strcmp(arguments[i], "--verbose") == 0) {
            options.verbose = true;
            continue;
        }
        if (strcmp(arguments[i], "--history") == 0) {
            options.history = true;
            continue;
        }
        if (strcmp(arguments[i], "--from") == 0) {
            from = strtoull(value, NULL, 10);
        } else if (strcmp(arguments[i], "--seeds") == 0) {
            seeds = strtoull(value, NULL, 10);
        } else if (strcmp(arguments[i], "--steps") == 0) {
            options.steps = (unsigned)strtoul(value, NULL, 10);
        } else {
            fprintf(stderr, "sim: %s is not known (--from --seeds --steps --history --verbose)\n", arguments[i]);
            return 2;
        }
        i++;
    }
    if (!options.verbose)
        od_log_set_level(OD_LOG_ERROR); // thousands of failures are on purpose
    if (environment)
        seeds = strtoull(environment, NULL, 10);
    struct run *run = calloc(1, sizeof *run);
    if (!run)
        return 2;
    for (options.seed = from; options.seed < from + seeds; options.seed++) {
        if (sim_run(run, &options))
            continue;
        printf("%s\nagain: %s --from %" PRIu64 " --seeds 1 --steps %u%s --verbose\n", run->failure, arguments[0],
               options.seed, options.steps, options.history ? " --history" : "");
        free(run);
        return 1;
    }
    printf("%" PRIu64 " seeds from %" PRIu64 " of at most %u steps: all held\n", seeds, from, options.steps);
    free(run);
    return 0;
}
