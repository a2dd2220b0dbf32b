/* Reap: objects of which nothing is left but tombstones, or will be when their values have expired, wait in a
 * queue until all homes have seen them (copies.h), and then go for good.
 *
 * The queue is a table of the store: under the store key of each such object the wall time, in ms, when the
 * last of its values has expired (8 bytes, big-endian; 0: it holds tombstones alone), by the clock of any
 * node: where one still takes for a value what another has reaped it would give it back, again and again. A
 * row comes and goes with what is written, in the same commit; an object that has none, as it was written
 * before there was a queue, is found by the audit. How many there are is known for each vnode, from a scan at
 * the start.
 *
 * A vnode's rows are walked when its copy, or another home's, has been found to have seen more, or has
 * reaped, and then no more than a chunk in a turn. What goes is taken out of the store and the trees, and its
 * context joins the copy's reaped clock, in one commit.
 *
 * In an lww table nothing is reaped. There a tombstone also wins against writes that are concurrent with it
 * and have an older stamp: one of those that is still under way, or lies with a stand-in that is cut off,
 * would find nothing to lose against. No seen clock tells of them, as the tombstone does not cover them; nor
 * would the highest stamp that was reaped, for under it lie late writes to other keys too. */
#pragma once

#include "actor/actor.h"
#include "actors/copies.h"
#include "actors/table_homes.h"
#include "merkle/forest.h"
#include "wire/object_wire.h"

enum {
    REAP_CHUNK = 64,
    REAP_CHUNK_BYTES = 256 * 1024,
    REAP_CHUNK_ROWS = 2048,      /* and so many rows of what is a value still */
    REAP_EXPIRED_MS = 60 * 1000, /* clocks are closer to one another than that */
};

/* What node_options.reap_after_ns is in production: twice the longest deadline of a read. */
#define REAP_AFTER_NS (UINT64_C(120) * 1000000000)

struct reap {
    bool on; /* false: nothing goes; what could is counted */
    uint32_t vnodes;
    uint64_t count;     /* rows */
    uint32_t *by_vnode; /* ... in each */
    uint32_t *moves;    /* by vnode: how often something has come to it so far, been replaced, or gone */
    uint64_t *dead_ms;  /* by vnode: before that nothing of it is dead */
    bool *due;          /* by vnode: to be walked */
    uint32_t due_count;
    uint32_t walked;     /* the vnode whose walk is under way, if @after is not empty */
    uint64_t walked_ms;  /* what its dead_ms will be */
    struct buffer after; /* the row last looked at */
    size_t read_bytes;   /* by walks, so far */
};

/* Count what is in the store. @reap is zeroed. STATUS_STORE_BROKEN */
enum status reap_load(struct reap *reap, struct store *store, uint32_t vnodes);
void reap_fini(struct reap *reap);

/* The object under this place was @before, and is to be @after (either may have nothing in it). What comes
 * into the queue does so before the object is written, for that can be refused; what leaves it, after that.
 * Staged.
 * STATUS_NO_SPACE  Nothing has changed. */
enum status reap_enter(struct reap *reap, struct store *store, uint32_t vnode, struct bytes store_key,
                       const struct object *before, const struct object *after);
void reap_leave(struct reap *reap, struct store *store, uint32_t vnode, struct bytes store_key,
                const struct object *before, const struct object *after);

/* Does an object of a table that is reaped belong in the queue? */
bool reap_takes(const struct object *object);

/* Is there nothing in it but what is dead by any clock, and lies under this reaped clock? Then it is about to
 * go here, or will not be taken in where it has gone. */
bool reap_is_going(const struct object *object, const struct vv *reaped, uint64_t wall_ms);

/* Has it a row? An engine that failed is told to the turn. */
bool reap_has(struct turn *turn, struct bytes store_key);

/* It has none, the audit says: then it gets one, if it still takes it. Staged; where the disk is full, by
 * another audit. */
void reap_find(struct reap *reap, struct turn *turn, struct table_homes *homes, struct bytes store_key);

/* Is there anything in the vnode that could go, by this clock? */
bool reap_waits(const struct reap *reap, uint32_t vnode, uint64_t wall_ms);

/* Its copies have seen or reaped more. */
void reap_set_due(struct reap *reap, const struct turn *turn, uint32_t vnode);

/* Walk on in some vnode that is due: a chunk of it. */
void reap_step(struct reap *reap, struct turn *turn, struct copies *copies, struct forest *forest,
               struct table_homes *homes);
