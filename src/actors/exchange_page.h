/* A page of what lies in some leaves of a vnode: keys and checksums, in the order of their store keys. */
#pragma once

#include "actors/antientropy_state.h"

struct page_key {
    struct bytes key;  /* store key, in the turn's arena */
    uint64_t checksum; /* 0: it can't be read */
    bool goes;         /* it is about to be reaped there, and the copy is whole */
};

struct leaf_page {
    struct page_key *keys; /* in the turn's arena */
    uint32_t count;
    struct bytes cursor; /* a store key: the page ends with it; empty: with the last of the leaves */
    size_t read_bytes;
};

/* Which objects it is about: those of @leaves (as bits) after @after, and up to @last, if that is not empty.
 */
struct leaf_range {
    uint32_t vnode, n;
    const uint32_t *leaves; /* TREE_INNER of them */
    struct bytes after, last;
};

/* Read the page that @range begins with; it ends once @bytes_max have been read. */
void leaf_page_read(struct antientropy *self, struct turn *turn, const struct leaf_range *range,
                    size_t bytes_max, struct leaf_page *out);

/* Where a leaf begins in the store; @leaf TREE_LEAVES: the end of the vnode. Empty: the end of the table. */
enum { LEAF_BOUND_BYTES = 10 };
struct bytes leaf_bound(uint32_t vnodes, uint32_t vnode, uint32_t leaf, uint8_t bytes[LEAF_BOUND_BYTES]);
