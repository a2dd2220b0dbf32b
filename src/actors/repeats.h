/* Repeats: which requests of other nodes have been taken lately, so that one that comes twice is taken once.
 *
 * A read or a merge may be done again; a write that is coordinated again would be minted again, beside or on
 * top of what has covered it since (riak_kv#1046). Streams repeat nothing by themselves, but what stands
 * between two nodes may. The memory is of this life only and bounded: REPEATS_MAX requests. */
#pragma once

#include "actor/actor.h"
#include "base/map.h"

enum { REPEATS_MAX = 8192 };

/* Zeroed is empty and valid. */
struct repeats {
    struct map seen;
    uint64_t *ring; /* the same names, the oldest at @next once it is full */
    uint32_t count, next;
};

void repeats_fini(struct repeats *repeats);

/* Remember the request. False: it was here before. */
bool repeats_note(struct repeats *repeats, struct address from, uint64_t request);
