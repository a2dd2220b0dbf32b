/* Replica: the actor that keeps objects: reads, mints and merges them in the shard's store.
 *
 *      coordinator (same shard)  -- Mint -->   read, merge, test the precondition, mint the dot, write
 *                                <-- Minted    at once: the object, to be sent to the other homes
 *                                <-- Merged    its own vote, when the write is durable
 *      coordinator (any shard)   -- Merge -->  read, merge, write      <-- Merged, when it is durable
 *      coordinator (any shard)   -- Read -->                           <-- ReadAnswer
 *      router (this node)        -- ScanShard -->                      <-- ScanAnswer
 *
 * CLOCKS. A dot's clock id stands for one tenure of one vnode on this store, drawn at random and kept in
 * memory only (DESIGN.md section 5): a fresh one before the next mint whenever memory may have gone: after a
 * start, after an object of the vnode was unreadable, and when any context names the clock above its own
 * counter. */
#pragma once

#include <assert.h>

#include "actor/actor.h"
#include "actor/shard.h"
#include "merkle/forest.h"

enum {
    REPLICA_DIGEST_BYTES = 1024, /* an object above this is answered by digest, where the asker wants that */
    /* What the operations of one client's frame may take of a turn: it runs to its end within the turn, and a
     * frame of a few kilobytes can name gigabytes. Reads and mints beyond are refused, STATUS_OVERLOADED. */
    REPLICA_TURN_BYTES_MAX = 64 * 1048576,
};
static_assert((int)REPLICA_TURN_BYTES_MAX > SHARD_TURN_ARENA_BYTES, "other mail begins with room");

/* Make it and add it to the shard. @filled false: it counts for no read (DESIGN.md section 6). @forest: the
 * shard's (borrowed), told of each write. */
void replica_add(struct shard *shard, bool filled, uint32_t vnodes, struct forest *forest);
