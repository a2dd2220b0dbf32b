/* Node: builds the actors of one shard. Both hosts, runtime/ and sim/world, start a shard through this:
 *
 *      identity_claim(store, ...)        the store is this shard's, or is made so
 *      cluster_load(store, ...)          what shard 0 knew of the cluster, merged into the configuration's
 *      shard_alloc, node_init            one of each actor
 *      shard_turn ...
 */
#pragma once

#include "actor/shard.h"
#include "actors/identity.h"
#include "ring/cluster.h"
#include "wire/context.h"

struct node_options {
    struct cluster cluster; /* the first snapshot (copied) */
    struct member self;     /* this node's own record, with its incarnation and shards */
    struct context_secret secret;
    const char *name, *software;        /* for NodeReport; static or outliving the shard */
    uint32_t operations_max;            /* in flight on this shard; above it OVERLOADED */
    uint32_t connection_operations_max; /* in flight on one connection */
    uint64_t hint_bytes_max;            /* kept for other nodes on this shard; 0: the default, shared out */
    bool born; /* the store is known to be its shard's first; false: that has to be found out (copies.h) */
    bool replaced; /* a shard that was lost stood here: what it knew of the cluster is stored and told anew */
    uint64_t repair_pass_ns; /* antientropy.h: pass_ns and audit_ns; 0: no anti-entropy */
    uint64_t audit_pass_ns;
    uint64_t reap_after_ns; /* 0: tombstones stay, on all nodes. Else so long after all homes have told that
                               they have seen them they go: longer than any read takes (REAP_AFTER_NS) */
    bool silent; /* no heartbeats: who is linked is reachable. For worlds that are too large for them */
    uint64_t started_wall_ms;
    uint64_t (*resident_bytes)(void); /* memory of the process, for NodeReport; NULL: not told */
};

enum {
    NODE_OPERATIONS_MAX_DEFAULT = 16384,
    NODE_CONNECTION_OPERATIONS_MAX_DEFAULT = 4096,
    NODE_HINT_BYTES_MAX_DEFAULT = 1 << 30, /* of a node */
};

void node_init(struct shard *shard, const struct node_options *options);

/* The stop has begun: new requests are answered STOPPING; the rest goes on. */
void node_drain(struct shard *shard);

struct copies;
struct forest;
struct hints;

/* Which vnode copies of this shard count. */
const struct copies *node_copies(const struct shard *shard);

/* What this shard keeps for other nodes. */
const struct hints *node_hints(const struct shard *shard);

/* The trees of the shard's vnodes. */
struct forest *node_forest(const struct shard *shard);

/* Is the vnode's tree built, and as far as the shard knows that of its objects? */
bool node_is_tree_sure(const struct shard *shard, uint32_t vnode);

/* Operations taken from clients and not answered yet, on this shard. */
uint32_t node_in_flight(const struct shard *shard);
