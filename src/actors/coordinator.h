/* Coordinator: the actor that carries one get, put or delete through its quorum and answers the router.
 *
 * A get is coordinated where it arrives, a put by one of the key's homes, because that home mints the write.
 *
 *      get:    ask R homes, own first --> R answers, merged --> answer; stale homes get the merged object
 *                 | silent for COORDINATOR_HEDGE_NS, or failed: ask the next
 *
 *      put:    [precondition: read a majority of the homes] --> Mint on the own replica
 *                 --> Merge to all other homes --> W durable votes: answer
 *
 * Whether too many have failed is known at once from who can be reached, and at the deadline otherwise: never
 * a hang. A write that was refused before the mint was certainly not applied; after it, it may be. */
#pragma once

#include "actor/shard.h"
#include "wire/context.h"

enum {
    COORDINATOR_HEDGE_NS = 50 * 1000 * 1000, /* a silent home is given up on and one more asked, for gets */
    COORDINATOR_MARGIN_NS =
        20 * 1000 * 1000, /* it answers so long before the asker's deadline, at most a tenth of it */
    COORDINATOR_BYTES_MAX = 256 * 1048576, /* of objects that wait for homes: above it new operations are
                                              OVERLOADED, and so are reads whose answers come */
};

/* Make it and add it to the shard. */
void coordinator_add(struct shard *shard, const struct context_secret *secret);
