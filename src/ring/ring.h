/* Ring: which nodes hold which key. Immutable once built; each shard builds its own.
 *
 * The circle of 64-bit hashes is cut into Q equal arcs, the vnodes. For each vnode all nodes are ranked by
 * weighted rendezvous hashing (Thaler and Ravishankar, 1998; weights after Schindelhauer and Schomaker, 2005:
 * the least -ln(h)/w wins), in integers only, so that every machine computes the same. Then the ranking is
 * spread over zones: each round takes the best node of every zone that has one left. The first N are the
 * homes, the rest the fallbacks. A pure function of the members: nodes that agree on them agree on the ring.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum {
    RING_NODES_MAX = 1024,
    RING_VNODES_MAX = 65536,
    RING_VNODES_DEFAULT = 1024,
    RING_WEIGHT_MAX = 1000,
    RING_WEIGHT_DEFAULT = 100,
    ZONE_BYTES_MAX = 63,
};

struct ring_node {
    uint64_t id;     /* random, never 0 */
    uint32_t weight; /* 1 to RING_WEIGHT_MAX */
    char zone[ZONE_BYTES_MAX + 1];
};

struct ring;

/* Build the ring for @count nodes (any order, copied) and @vnodes arcs (a power of two, to RING_VNODES_MAX).
 * @version names the members it was made from.
 * The ids differ and are not 0, weights are in range, zones end with a NUL (CHECK).
 * Heap: give it back with ring_free. */
struct ring *ring_build(const struct ring_node *nodes, uint32_t count, uint32_t vnodes, uint64_t version);
void ring_free(struct ring *ring);

uint64_t ring_version(const struct ring *ring);
uint32_t ring_vnodes(const struct ring *ring);
uint32_t ring_nodes(const struct ring *ring);

/* Where @node stands among the ring's nodes sorted by id, for tables with one row a node; ring_nodes() if it
 * is none of them. The members of the cluster it was made from stand in the same order. */
uint32_t ring_node_index(const struct ring *ring, uint64_t node);

/* The arc that @hash falls into: its upper log2(Q) bits. */
uint32_t ring_vnode(const struct ring *ring, uint64_t hash);

/* All nodes' ids in order of preference for @vnode, ring_nodes() of them. Borrowed. */
const uint64_t *ring_preference_list(const struct ring *ring, uint32_t vnode);

/* Is @node among the first @n for @vnode? */
bool ring_is_home(const struct ring *ring, uint32_t vnode, uint32_t n, uint64_t node);
