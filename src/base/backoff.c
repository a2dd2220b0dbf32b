#include "base/backoff.h"

#include "base/check.h"

uint64_t backoff_draw(struct prng *prng, uint64_t min, uint64_t max, uint32_t failures)
{
    CHECK(min >= 1);
    CHECK(min <= max);
    uint64_t delay = min;
    for (uint32_t i = 0; i < failures && delay < max; i++) delay *= 2;
    if (delay > max) delay = max;
    return delay / 2 + prng_below(prng, delay - delay / 2 + 1);
}
