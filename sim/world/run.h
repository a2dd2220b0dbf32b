/* Run: one world from one seed, in two phases, as TigerBeetle's VOPR does it.
 *
 *      safety     faults of all kinds together, while clients go on
 *      liveness   a core of nodes that holds every quorum is healed, the rest is dead or cut off: within
 *                 settle_ms the core must answer everything with success, and hold what was acknowledged;
 *                 then all is healed: within settle_ms all nodes must, and settle_ms later all homes hold
 *                 the same (with antientropy=0: after a read of every key)
 *
 * What was promised is judged over the whole history. A CHECK that fails ends the process: the caller has
 * printed the seed before. */
#pragma once

#include "world/options.h"

struct run_result {
    char fault[512]; /* "" if nothing was wrong */
    uint64_t operations, virtual_ns, hash;
    struct world_counts counts;
    uint64_t judged[CLIENTS_JUDGED];
    bool core; /* nodes were left out of a core, and it had to do without them */
};

/* @line may be NULL; it gets the trace from @trace_from_ns on. */
void run_world(const struct options *options, void (*line)(void *context, const char *line), void *context,
               uint64_t trace_from_ns, struct run_result *out);
