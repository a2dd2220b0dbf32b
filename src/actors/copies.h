/* Copies: which of a shard's vnode copies hold all that they should (DESIGN.md section 6).
 *
 * A copy is one (vnode, n): the objects of a vnode in tables of n homes (n: as in merkle/forest.h). A store
 * begins with none that is filled, for it may have taken the place of one that was lost. Such a copy stores
 * and acknowledges, but counts for no read and no precondition until an exchange with every other home has
 * come to its end since:
 *
 *      unfilled --- exchange with B complete ---> heard of B --- ... with C, the last ---> filled
 *         \_________________ all members hold nothing at all: born (blank.c) _______________/
 *
 * One home less could lack a write that was acknowledged with the help of the very copy that was lost. The
 * other's copy need not be filled itself: what it has lost too is lost, and what it has is told. Each step is
 * kept in the store (STORE_META), in the commit of what the exchange has brought: a crash forgets both or
 * none. It is data of the shard: the replica alone changes it, others of the shard look at it. */
#pragma once

#include "actors/mints.h"
#include "base/map.h"
#include "ring/ring.h"
#include "store/store.h"

enum { COPIES_N_MAX = 15 };

/* One that is not filled yet, and has heard of another home. */
struct copy {
    uint32_t vnode, n;
    uint64_t heard[COPIES_N_MAX];
    uint32_t count; /* of them */
};

struct copies {
    bool born;          /* with the cluster: all copies are filled */
    uint32_t vnodes;    /* of the ring */
    uint16_t *filled;   /* by vnode, as bits by n */
    struct map partial; /* struct copy, by vnode and n */
    struct mints mints; /* of the shard */
    uint64_t refused;   /* objects that anti-entropy brought and the replica could not take */
    uint64_t no_room;   /* ... for the disk is full */
};

/* Read what the store knows. @copies is zeroed. @born: who opened it knows that it is. A row that says
 * nothing sensible is passed over. STATUS_STORE_BROKEN */
enum status copies_load(struct copies *copies, struct store *store, bool born, uint32_t vnodes);
void copies_fini(struct copies *copies);

/* It was the first store: from now on all copies count. Staged. STATUS_NO_SPACE  Nothing has changed. */
enum status copies_bear(struct copies *copies, struct store *store);

/* Does it count? A copy without other homes always does. @n 0 (of a table that is not known here): only if
 * nothing was lost. */
bool copies_is_filled(const struct copies *copies, uint32_t vnode, uint32_t n);

/* Is it unfilled, with the exchange with @home still to come? */
bool copies_waits_for(const struct copies *copies, uint32_t vnode, uint32_t n, uint64_t home);

/* An exchange with @home has come to its end; with the last of the other homes the copy is filled. Staged.
 * @n: 2 to COPIES_N_MAX, and @self one of the homes (else nothing happens).
 * STATUS_NO_SPACE  Nothing has changed. */
enum status copies_hear(struct copies *copies, struct store *store, const struct ring *ring, uint64_t self,
                        uint32_t vnode, uint32_t n, uint64_t home);
