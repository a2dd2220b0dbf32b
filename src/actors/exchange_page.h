/* A page of what lies in some leaves of a vnode: keys and checksums, in the order of their store keys. */
#pragma once

#include "actors/antientropy_state.h"

struct page_key {
    struct bytes key;  /* store key, in the turn's arena */
    uint64_t checksum; /* 0: it can't be read */
};

struct leaf_page {
    struct page_key *keys; /* in the turn's arena */
    uint32_t count;
    struct bytes cursor; /* a store key: the page ends with it; empty: with the last of the leaves */
};

/* Read the page of @leaves (as bits) that begins after @after. */
void leaf_page_read(struct antientropy *self, struct turn *turn, uint32_t vnode, uint32_t n,
                    const uint32_t leaves[TREE_INNER], struct bytes after, struct leaf_page *out);

/* Where a leaf begins in the store; @leaf TREE_LEAVES: the end of the vnode. Empty: the end of the table. */
enum { LEAF_BOUND_BYTES = 10 };
struct bytes leaf_bound(uint32_t vnodes, uint32_t vnode, uint32_t leaf, uint8_t bytes[LEAF_BOUND_BYTES]);
