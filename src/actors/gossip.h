/* Gossip: who is there, and the one cluster state.
 *
 * Every shard pings the shard of its number on each member every PEER_PING_NS and judges who does not answer
 * (actor/peers.h). The cluster state (members and tables, ring/cluster.h) is owned by shard
 * CLUSTER_OWNER_SHARD of each node: it keeps it in its store, gives each new one to its node's other shards,
 * and shares it with other owners:
 *
 *      spread.c    with a few members every second, by digests first: whatever anybody knows, all know after
 * about log N rounds, at a cost that hardly grows with N change.c    changes of tables, which are told to all
 * at once, and confirmed
 *
 * What a node starts with (the members of its configuration, what its store knew) only bootstraps this: one
 * member that knows the others is enough. Who is let in is not decided here: nobody of another cluster, with
 * other vnodes or another protocol gets past the hello of its link (runtime/hello.h), and what comes is asked
 * for the first two once more.
 *
 * A node's own record is its own: what is said of it that differs from what it says is overruled, with an
 * incarnation above the rumour's. */
#pragma once

#include "actor/shard.h"

enum {
    GOSSIP_PERIOD_NS = 1000 * 1000 * 1000,
    GOSSIP_PEERS = 3, /* that are told of a node's digest each period, and so many more that have just come */
    GOSSIP_ANSWERS_MAX = 64,  /* other digests that are answered in a period, ... */
    GOSSIP_STEPS_MAX = 256,   /* and later steps: who asks for more comes again */
    GOSSIP_CHANGES_MAX = 64,  /* under way at once; more are OVERLOADED */
    GOSSIP_WAITERS_MAX = 256, /* peers' states that are not confirmed yet; who is above it asks again */
};

struct gossip_options {
    struct member self; /* this node's own record, with the incarnation that it begins with */
    bool unpublished; /* nobody may have the shard's state yet, and it is not in the store; the owner keeps it
                         and tells it in its first turn */
    bool silent;      /* no heartbeats: who is linked is reachable (worlds of a thousand nodes) */
};

/* Make it and add it to the shard. The shard's cluster must be set. */
void gossip_add(struct shard *shard, const struct gossip_options *options);
