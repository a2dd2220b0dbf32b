/* Identity: whose store this is, kept inside the store: cluster, node, shard and shard count. They must agree
 * with the configuration, or the node does not start: a swapped directory or a changed shard count would file
 * keys where nobody looks for them. Beside it lies the cluster state (on the store of the shard that owns
 * it). */
#pragma once

#include "ring/cluster.h"
#include "store/store.h"

enum { CLUSTER_OWNER_SHARD = 0 };

struct identity {
    uint64_t cluster;
    uint64_t node;
    uint32_t shard;
    uint32_t shards;
    uint32_t vnodes;
    bool born; /* who made it knew that nobody else held anything (copies.h) */
};

/* Read what the store says.
 *
 * STATUS_NOT_FOUND  A new store.
 * STATUS_CORRUPT    It says something unreadable. */
enum status identity_read(struct store *store, struct identity *out);

/* Read what the store says, or write @want into a new one (committed and synced). *out is what it says now.
 * STATUS_INVALID  It is another shard's store: *why says in one line how they differ.
 * STATUS_CORRUPT, STATUS_STORE_BROKEN */
enum status identity_claim(struct store *store, const struct identity *want, char *why, size_t why_bytes,
                           struct identity *out);

/* Merge the stored cluster state into *cluster. Nothing stored: nothing happens.
 * STATUS_INVALID  It is another cluster's. STATUS_CORRUPT, STATUS_STORE_BROKEN */
enum status cluster_load(struct store *store, struct cluster *cluster);

/* Stage the cluster state in the write set. STATUS_NO_SPACE */
enum status cluster_save(struct store *store, const struct cluster *cluster, struct arena *arena);
