// random.h - the one source of chance in a simulated world: everything that happens follows from its seed.
#ifndef OD_TESTS_SIM_RANDOM_H
#define OD_TESTS_SIM_RANDOM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// splitmix64: small, and good enough to choose faults with.
struct sim_random {
    uint64_t state;
};

static inline uint64_t sim_random_next(struct sim_random *random)
{
    uint64_t z = random->state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

// A number below `limit`, which is not 0.
static inline uint64_t sim_random_below(struct sim_random *random, uint64_t limit)
{
    return sim_random_next(random) % limit;
}

// True `per_mille` times out of 1000. Draws a number only when both answers are possible.
static inline bool sim_random_chance(struct sim_random *random, unsigned per_mille)
{
    return per_mille >= 1000 || (per_mille > 0 && sim_random_below(random, 1000) < per_mille);
}

static inline void sim_random_fill(struct sim_random *random, void *out, size_t bytes)
{
    uint8_t *to = (uint8_t *)out;
    for (size_t i = 0; i < bytes; i += 8) {
        const uint64_t word = sim_random_next(random);
        for (size_t k = 0; k < 8 && i + k < bytes; k++)
            to[i + k] = (uint8_t)(word >> (8 * k));
    }
}

#endif
