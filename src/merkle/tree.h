/* Tree: the hash tree over the objects of one vnode that belong to tables with one number of homes.
 *
 *      root                            XXH3 of its 32 inner nodes
 *        inner 0 .. 31                 XXH3 of their 32 leaves
 *          leaf 0 .. 1023              the sum, modulo 2^64, of the checksums of the objects in it
 *
 * An object's leaf is named by the ten bits of its key's hash below those that name the vnode, so a leaf is
 * one range of the store (wire/object_wire.h). Dynamo (section 4.7) builds such trees by scanning; here a
 * leaf is a sum, so that a write takes the old checksum out and puts the new one in: a subtraction and an
 * addition, in whatever order writes come. The hashes above it are computed when somebody asks, and kept
 * until a leaf beneath them changes.
 *
 * A sum is no proof against an adversary who chooses checksums; nodes of one cluster trust each other with
 * their data anyway. */
#pragma once

#include <stdint.h>

enum { TREE_FAN = 32, TREE_INNER = TREE_FAN, TREE_LEAVES = TREE_FAN * TREE_FAN };

/* Zeroed but for @stale, which is all ones, is the tree without an object: tree_init. */
struct tree {
    uint64_t leaves[TREE_LEAVES];
    uint64_t inner[TREE_INNER];
    uint64_t root;
    uint32_t stale; /* inner nodes whose hash is not that of their leaves, as bits; any: the root's neither */
};

void tree_init(struct tree *tree);

/* The leaf of a key with this hash, in a ring of @vnodes arcs. */
uint32_t tree_leaf(uint64_t hash, uint32_t vnodes);

/* An object's checksum goes out of a leaf and another comes in; 0: there was, or is, none. */
void tree_replace(struct tree *tree, uint32_t leaf, uint64_t before, uint64_t after);

/* Set a leaf to the sum of what is there. */
void tree_set(struct tree *tree, uint32_t leaf, uint64_t sum);

/* The hash of an inner node, and of the root: the same on every machine for the same leaves. */
uint64_t tree_inner(struct tree *tree, uint32_t inner);
uint64_t tree_root(struct tree *tree);
