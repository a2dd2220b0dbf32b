/* Backoff: how long to leave alone what has failed: twice as long each time, up to a bound, and never the
 * same for two who failed together. A node that dies is lost by all its peers and clients in the same moment;
 * if they came back in the same moment too, they would knock it over again. */
#pragma once

#include <stdint.h>

#include "base/prng.h"

/* A delay after @failures earlier ones in a row: @min doubled so many times, at most @max, and of that a part
 * drawn evenly between half and all. 1 <= @min <= @max < 2^63, in whatever unit they are. */
uint64_t backoff_draw(struct prng *prng, uint64_t min, uint64_t max, uint32_t failures);
