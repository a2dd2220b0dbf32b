/* Replica: the actor that keeps objects, its own and, as hints, those of homes that are away (hints.h):
 * reads, mints and merges them in the shard's store.
 *
 *      coordinator (same shard)  -- Mint -->   read, merge, test the precondition, mint the dot, write
 *                                <-- Minted    at once: the object, to be sent to the other homes
 *                                <-- Merged    its own vote, when the write is durable
 *      coordinator (any shard)   -- Merge -->  read, merge, write      <-- Merged, when it is durable
 *                                   hint_for: the same, on the hint for that home
 *      handoff (any shard)       -- HandOff --> as Merge               <-- HandedOff, when it is durable
 *      handoff (same shard)      -- DropHint --> remove the hint, if it still is the one that went home
 *      coordinator (any shard)   -- Read -->                           <-- ReadAnswer
 *                                   stand_in: of the hints of the key, merged
 *      router (this node)        -- ScanShard -->                      <-- ScanAnswer
 *      anti-entropy (same shard) -- Exchanged --> an exchange brought all that another home had (copies.h)
 *      anti-entropy (any node)   -- ExchangeDone --> ... and another home brought all that it had
 *      anti-entropy (same shard) -- Reaped -->    another home has reaped so much
 *      anti-entropy (same shard) -- CopyLost -->  an object can't be read
 *      anti-entropy (same shard) -- ReapOn -->    look for objects that may go for good (reap.h)
 *
 * CLOCKS. A dot's clock id stands for one tenure of this store, drawn at random (mints.h): a fresh one before
 * the next mint whenever memory may have gone: after a start, after an object that was unreadable is
 * replaced, and when any context names the clock above its own counter.
 *
 * A node that is no home mints only where no home can be reached, over all that it holds of the key, and with
 * a clock of its own, one for each vnode and in memory only: it may be a home of the same key otherwise (for
 * another number of homes), and mints there over its object alone. A home's clock is given up for its
 * objects, a stand-in's when a hint of the vnode has gone, for it may have been minted here. */
#pragma once

#include <assert.h>

#include "actor/actor.h"
#include "actor/shard.h"
#include "actors/copies.h"
#include "actors/hints.h"
#include "actors/reap.h"
#include "merkle/forest.h"

enum {
    REPLICA_DIGEST_BYTES = 1024, /* an object above this is answered by digest, where the asker wants that */
    /* What the operations of one client's frame may take of a turn: it runs to its end within the turn, and a
     * frame of a few kilobytes can name gigabytes. Reads and mints beyond are refused, STATUS_OVERLOADED. */
    REPLICA_TURN_BYTES_MAX = 64 * 1048576,
};
static_assert((int)REPLICA_TURN_BYTES_MAX > SHARD_TURN_ARENA_BYTES, "other mail begins with room");

/* Make it and add it to the shard. @forest: the shard's (borrowed), told of each write. @hints, @copies and
 * @reap: moved; it alone changes them. */
void replica_add(struct shard *shard, uint32_t vnodes, struct forest *forest, struct hints *hints,
                 struct copies *copies, struct reap *reap);
