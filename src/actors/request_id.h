/* Request ids: what names an operation under way in the messages about it: generation << 32 | place in a
 * pool.
 *
 * The generation changes whenever a place is used again, so an answer to its former life finds nobody. Ids
 * begin at random: a shard that starts anew would otherwise give the same ones again, and a late answer to
 * its life before the crash would count as a vote for another write. The top bit is never set (a timer's
 * argument uses it), and no id is 0. */
#pragma once

#include <stdint.h>

#include "base/prng.h"

static inline uint32_t request_id_generation(uint64_t generation)
{
    generation &= 0x7fffffff;
    return generation != 0 ? (uint32_t)generation : 1;
}

/* The generation that a pool's places begin with. */
static inline uint32_t request_id_draw(struct prng *prng)
{
    return request_id_generation(prng_next(prng));
}

static inline uint64_t request_id(uint32_t generation, uint32_t place)
{
    return (uint64_t)generation << 32 | place;
}

/* The same place, used again. */
static inline uint64_t request_id_next(uint64_t id)
{
    return request_id(request_id_generation((id >> 32) + 1), (uint32_t)id);
}
