/* Prng: xoshiro256** (Blackman and Vigna, 2018), seeded by splitmix64. One stream a shard; the simulator
 * seeds it. */
#pragma once

#include <stdint.h>

struct prng {
    uint64_t state[4];
};

void prng_init(struct prng *prng, uint64_t seed);
uint64_t prng_next(struct prng *prng);

/* Uniform in [0, bound), without bias. @bound at least 1. */
uint64_t prng_below(struct prng *prng, uint64_t bound);

/* True with the probability @numerator / @denominator. */
int prng_chance(struct prng *prng, uint64_t numerator, uint64_t denominator);

/* 64 bits of the operating system's randomness, for seeds and ids. Never in an actor. */
uint64_t prng_entropy(void);
