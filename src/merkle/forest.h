/* Forest: the trees of one shard: one for each vnode and each number of homes n, as tables with another n
 * have other homes (n: of the table, or the nodes of the ring, whichever is less).
 *
 * It is data of the shard, as its store is: the replica tells it of each write in the turn that makes it
 * (forest_replace), and anti-entropy compares it with those of other homes. It lives in memory only and is
 * built by a sweep: all objects of a vnode are visited in the order of their store keys, in chunks, while
 * writes go on between them. The same sweep over a vnode that is built already is its audit: it finds the
 * leaves that are other than they should be, because bytes have rotted or got lost.
 *
 *      sweep over a vnode:   leaves before the present one | the present leaf      | leaves after it
 *      a write meanwhile     the tree                      | up to the last key    | a vnode that is built:
 *      changes ...                                         | visited: its new sum  | the tree; else nothing,
 *                                                          | (and the tree)        | the sweep will see it
 *
 * A sweep of one vnode is under way at a time. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/bytes.h"
#include "merkle/tree.h"

enum { FOREST_N_MAX = 15 };

struct forest;

/* What an object is to the forest. */
struct forest_entry {
    uint32_t vnode;
    uint32_t n;    /* 1 to FOREST_N_MAX; 0: it belongs to no tree */
    uint64_t hash; /* of the key */
    struct bytes store_key;
};

/* Heap; no vnode is built. @vnodes: of the ring. */
struct forest *forest_alloc(uint32_t vnodes);
void forest_free(struct forest *forest);

/* The object's stored checksum was @before (0: none, or it can't be known: forest_distrust) and is @after. */
void forest_replace(struct forest *forest, const struct forest_entry *entry, uint64_t before, uint64_t after);

bool forest_is_built(const struct forest *forest, uint32_t vnode);
uint32_t forest_built(const struct forest *forest); /* how many vnodes are */

/* Something was written over bytes that nobody could read: a leaf may be wrong until the next sweep, which
 * should be soon. */
void forest_distrust(struct forest *forest, uint32_t vnode);
bool forest_is_distrusted(const struct forest *forest, uint32_t vnode);

/* --- what is compared; of vnodes that are built (CHECK) --- */

uint64_t forest_root(struct forest *forest, uint32_t vnode, uint32_t n);
void forest_inners(struct forest *forest, uint32_t vnode, uint32_t n, uint64_t sums[TREE_INNER]);
void forest_leaves(struct forest *forest, uint32_t vnode, uint32_t n, uint32_t inner,
                   uint64_t sums[TREE_FAN]);

/* --- a sweep --- */

void forest_sweep_begin(struct forest *forest, uint32_t vnode);

/* The next object in the order of store keys. @checksum 0: it can't be read. */
void forest_sweep_add(struct forest *forest, const struct forest_entry *entry, uint64_t checksum);

/* All have been visited: the vnode is built. How many leaves were wrong; 0 if it was not built before. */
uint32_t forest_sweep_end(struct forest *forest);

/* Give the sweep up: the vnode is built if it was before. Without one: nothing happens. */
void forest_sweep_stop(struct forest *forest);
