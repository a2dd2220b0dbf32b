/* Coordinator: the actor that carries one get, put or delete through its quorum and answers the router.
 *
 * A get is coordinated where it arrives, a put by one of the key's homes, because that home mints the write.
 *
 *      get:    ask R homes, own first --> R answers, merged --> answer; stale homes get the merged object
 *                 | failed: ask the next; slow: ask one more, sometimes (speculation.h)
 *
 *      put:    [precondition: read a majority of the homes] --> Mint on the own replica
 *                 --> Merge to all other homes --> W durable votes: answer --> the rest: end
 *                 | can't be reached, failed, or silent for COORDINATOR_STAND_IN_NS: Merge to a stand-in
 *
 * STAND-INS. The nodes of the preference list after the homes stand in for homes that are away: each for one
 * home in one operation, so that W votes are W distinct nodes. They keep a write as a hint (replica.h,
 * handoff.h), and answer reads from their hints; one that has none does not count. In a strict operation they
 * do not count; but when a write of either kind has its W, and is answered, its slot lives on, and what is
 * still missing becomes a hint. If nobody is left to keep it, its vnode is marked dirty for anti-entropy.
 *
 * A put comes to a node that is no home only when its router could reach none. It mints as a stand-in, on top
 * of what homes say that this node reaches all the same.
 *
 * Whether too many have failed is known from who can be reached, and at the deadline otherwise: never a hang.
 * A sloppy write that finds too few waits a while for one more to come (coordinate_wait.c), the others are
 * answered at once. A write that was refused before the mint was certainly not applied; after it, it may be.
 *
 * OVERLOAD. There are COORDINATOR_SLOTS_MAX and COORDINATOR_BYTES_MAX for all that is under way, and what
 * comes above that is OVERLOADED, at once. A home that owes too many answers (peers.h), or whose queue is
 * full, is passed over as one that can't be reached; if for that too few are left the answer is OVERLOADED,
 * at once. An operation whose time was up before its turn came is answered TIMEOUT and not begun, and what a
 * home is asked to read bears the time that is left. Copies that a read found stale are mended out of what
 * background work may take (governor.h), and stay so, for anti-entropy, when that is used up. */
#pragma once

#include "actor/shard.h"
#include "wire/context.h"

enum {
    COORDINATOR_SLOTS_MAX = 32768, /* operations that are not answered: above it new ones are OVERLOADED. A
                                      router begins 16,384 of its own, the rest is for other shards and nodes */
    COORDINATOR_STAND_IN_NS = 100 * 1000 * 1000, /* a home that is silent so long after a mint is replaced */
    COORDINATOR_WAIT_NS = 1000 * 1000 * 1000,    /* a sloppy write waits so long for nodes to come into reach,
                                                    at most three quarters of its time */
    COORDINATOR_LINGERING_MAX = 16384, /* answered slots that wait on, and bytes of them: what would be */
    COORDINATOR_LINGERING_BYTES_MAX = 64 * 1048576, /* above ends at once, and marks its vnode dirty */
    COORDINATOR_MARGIN_NS =
        20 * 1000 * 1000, /* it answers so long before the asker's deadline, at most a tenth of it */
    COORDINATOR_BYTES_MAX = 256 * 1048576, /* of objects that wait for homes: above it new operations are
                                              OVERLOADED, and so are reads whose answers come */
};

struct governor;

/* Make it and add it to the shard. @governor is borrowed. */
void coordinator_add(struct shard *shard, const struct context_secret *secret, struct governor *governor);
