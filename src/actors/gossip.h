/* Gossip, in its smallest form: who is there, and the one cluster state.
 *
 * Every shard pings the shard of its number on each member every PEER_PING_NS and judges who is silent
 * (actor/peers.h). The cluster state (members and tables) is owned by shard CLUSTER_OWNER_SHARD of each node:
 * it merges what arrives, keeps it in its store, gives it to its node's other shards, and sends it whole to a
 * peer when their link comes up and to all when it changes.
 *
 * A change of a table (Administer) is merged, stored and sent to all. It is OK when every node that can be
 * reached has confirmed it: it is on that node's disk, and all its shards go by it. At the deadline it is
 * TIMEOUT: the state spreads all the same, but somebody may not know it yet. */
#pragma once

#include "actor/shard.h"

enum {
    GOSSIP_CHANGES_MAX = 64,  /* under way at once; more are OVERLOADED */
    GOSSIP_WAITERS_MAX = 256, /* peers' states that are not confirmed yet; who is above it asks again */
};

/* Make it and add it to the shard. The shard's cluster must be set. @unpublished: nobody may have it yet, and
 * it is not in the store; the owner keeps it and tells it in its first turn. */
void gossip_add(struct shard *shard, bool unpublished);
