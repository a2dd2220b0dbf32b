/* The cluster state as it travels: to peers and shards whole (peer.proto's ClusterState), to clients as what
 * they need to find a key's homes by themselves (client.proto's ClusterDescription).
 *
 * What is made here belongs to the arena that is passed in, strings included: it outlives changes of the
 * cluster. The sizes are bounded by the cluster's own limits (about 3 MiB for 1024 members and 4096 tables; a
 * description has at most 15 numbers a vnode more), so the arena must have room for them (CHECK in
 * arena_alloc). */
#pragma once

#include "base/arena.h"
#include "base/bytes.h"
#include "base/status.h"
#include "client.pb-c.h"
#include "peer.pb-c.h"
#include "ring/cluster.h"

/* For a Message's body. */
Dynode__Peer__ClusterState *cluster_to_message(const struct cluster *cluster, struct arena *arena);

/* A ClusterState, packed. */
struct bytes cluster_pack(const struct cluster *cluster, struct arena *arena);

/* Read what a peer sent; records may come in any order. *out is overwritten and frees nothing that it held;
 * give it back with cluster_fini.
 *
 * STATUS_INVALID  A name, zone, address, number or count breaks a rule of ring/cluster.h, or a record is
 *                 there twice; *out is untouched. */
enum status cluster_unpack(const Dynode__Peer__ClusterState *message, struct cluster *out);

Dynode__Client__TableInfo *table_to_info(const struct table *table, struct arena *arena);

/* Members, the tables that are alive, and the preference lists of @ring, which must be the ring of this
 * cluster (CHECK). Every member is said to be reachable: the caller, who has an opinion, changes that. */
Dynode__Client__ClusterDescription *cluster_to_description(const struct cluster *cluster,
                                                           const struct ring *ring, struct arena *arena);
