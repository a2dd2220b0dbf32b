/* Anti-entropy: the actor that makes the homes of each vnode equal, without any client (Dynamo, section 4.7).
 *
 * Each shard keeps trees of its vnodes (merkle/forest.h). In passes without end it compares their roots with
 * those of every other home, many vnodes in one message; where they differ there is an exchange:
 *
 *      A (begins)                                         B
 *      TreeRoots   all vnodes that both are homes of -->  TreeRootsAnswer   which differ
 *      TreeNodes   of one vnode                      -->  the 32 inner sums
 *      TreeNodes   below those that differ           -->  their leaves' sums
 *      LeafKeys    of the leaves that differ         -->  keys and checksums, in pages
 *      FetchObjects  that B has otherwise            -->  the objects. A merges them with its own ...
 *      PushObjects   ... and gives B what it lacks   -->  ObjectsPushed, when that is durable, or that it is
 * full
 *
 * Pull and push are one, so one of two homes begins: for even vnodes the one of the lower id. A vnode marked
 * dirty (MarkDirty) goes before all others, whoever's turn it is, but not more than once in
 * ANTIENTROPY_DIRTY_NS: while a home is away or its disk is full every write may mark it. Answers that do not
 * come are waited for ANTIENTROPY_TIMEOUT_NS; then the exchange is given up, and the next pass begins anew. A
 * home that has not built its trees yet is passed over. Nothing is ever undone by a repeat, a loss or an
 * answer that is late: what travels are objects, and joining them is idempotent.
 *
 * FILL. A copy that is not filled (copies.h) goes before all else: this home itself begins an exchange with
 * each other one that it has not heard of. Any exchange that this home began counts, if nothing that the
 * other holds can have been missed: both went by the same ring and by trees that are right, no key was passed
 * over and no object refused. Whether all of it was taken is known when it has been: the replica hears of the
 * end (Exchanged) behind the last object. What blocks a fill is told: ShardReport's unfilled_for.
 *
 * CLOCKS. With the first question of an exchange each side tells its seen and its reaped clock (copies.h).
 * Where they have not reaped the same they join what the other has, and begin again. If what both have reaped
 * stays the same to the end, nothing was damaged or refused, and neither copy was disturbed, then A joins
 * what B had seen, and B (ExchangeDone) what A had, if all that A had reached it. Objects are joined with
 * regard to what has gone: where one copy is whole and the other is not, what was reaped and the whole one
 * does not hold goes at the other.
 *
 * REAPING. Vnodes with tombstones in their queue (reap.h) are compared with each other home once in a pass's
 * time even if they are equal, for the clocks alone; and the replica is told to walk the queues of those in
 * which something has become known. While a home can't be reached nothing can become known of what it has
 * seen, so its vnodes are left alone; and where nothing goes all the same, for what a lost disk minted nobody
 * vouches for, the looks become rarer: one in ANTIENTROPY_REAP_REST_MAX + 1 passes in the end. Whatever goes
 * from a queue, or comes to it, begins that anew.
 * One home reaps before the others, and then their trees differ until they have done so too. What lies under
 * the reaped clock of both, and is about to go where it still is, is not brought back to where it has gone:
 * the page of its key says so.
 *
 * PROOF. Roots that a pass finds equal are noted on both sides, with the time (proofs.h), unless the tree of
 * one of them may lack something: so it is known since when a vnode is equal everywhere.
 *
 * AUDIT. All objects of the shard are read through when it starts, to build the trees, and after that again
 * and again, slowly: so rotten bytes are found. A damaged copy is fetched anew: all other homes are read,
 * and once all of them have answered, what they hold together replaces it.
 *
 * PACE. Everything begun here asks the governor first. What another home asks for is answered at once, out of
 * a bucket of its own, but by little at a time where there is much to do; and each answer says how long the
 * other is to rest before it asks again, in the same exchange or the next. So the home that is asked gives
 * way to its clients as well as the one that asks, nobody is refused, and none waits longer than
 * GOVERNOR_REST_MS_MAX. A build reads at most ANTIENTROPY_CHUNK_BYTES a millisecond, an
 * audit that much every ANTIENTROPY_AUDIT_STEP_NS: 1.25 MiB a second, so a shard of 10 GiB in two and a
 * quarter hours. */
#pragma once

#include "actor/shard.h"
#include "actors/copies.h"
#include "actors/governor.h"
#include "actors/proofs.h"
#include "actors/reap.h"
#include "merkle/forest.h"

enum {
    ANTIENTROPY_TIMEOUT_NS = 2000 * 1000 * 1000,
    ANTIENTROPY_DIRTY_NS = 1000 * 1000 * 1000,
    ANTIENTROPY_EXCHANGES = 8,             /* begun here and under way at once */
    ANTIENTROPY_ROOTS = 128,               /* in one message */
    ANTIENTROPY_PAGE_KEYS = 256,           /* of leaves' keys in one answer, ... */
    ANTIENTROPY_PAGE_VISITS = 2048,        /* ... for which so many objects ... */
    ANTIENTROPY_PAGE_BYTES = 1048576,      /* ... and so many bytes are read */
    ANTIENTROPY_WINDOW_BYTES = 256 * 1024, /* of objects in one message, but for the last of them */
    ANTIENTROPY_WINDOW_KEYS = 64,
    ANTIENTROPY_REAP_LOOKS = 4, /* of one distance; the next four are twice as far apart */
    ANTIENTROPY_REAP_REST_MAX = 31,
    ANTIENTROPY_CHUNK_OBJECTS = 512,
    ANTIENTROPY_CHUNK_BYTES = 128 * 1024, /* of the store that a turn reads to build or audit */
    ANTIENTROPY_CHUNK_VNODES = 32,
    ANTIENTROPY_AUDIT_STEP_NS = 100 * 1000 * 1000,
    ANTIENTROPY_DAMAGED = 64, /* copies remembered as such; what is above it the next audit finds */
};

/* What most nodes do: look every ten seconds, and begin an audit not before a minute after the last began. */
#define ANTIENTROPY_PASS_NS  (UINT64_C(10) * 1000000000)
#define ANTIENTROPY_AUDIT_NS (UINT64_C(60) * 1000000000)

struct antientropy_options {
    uint64_t pass_ns; /* from the end of a pass to the next, an eighth of it if something differed; 0: neither
                         trees nor audits, and no pass */
    uint64_t audit_ns; /* from the beginning of an audit to the next, at least */
};

/* Make it and add it to the shard. @forest and @governor become its own; others of the shard borrow them.
 * So does @proofs, on the heap. @copies and @reap are borrowed. */
void antientropy_add(struct shard *shard, const struct antientropy_options *options, struct forest *forest,
                     struct governor *governor, const struct copies *copies, const struct reap *reap,
                     struct proofs *proofs);

struct forest *antientropy_forest(const struct actor *antientropy);

/* The vnode's tree is built, and nothing is known that could make it wrong. */
bool antientropy_is_sure(const struct actor *antientropy, uint32_t vnode);
