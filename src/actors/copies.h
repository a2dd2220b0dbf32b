/* Copies: what a shard's vnode copies hold of all that they should, and what they have seen.
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
 * other's copy need not be filled itself: what it has lost too is lost, and what it has is told.
 *
 * SEEN AND REAPED. A tombstone goes for good once every home has seen it and all that its object's context
 * covers. Each copy has two clocks for that. For each dot in its seen clock it holds the write, or that is
 * obsolete: these are its own mints (mints.h), and the seen clock of another home, as it was before the first
 * leaf, once an exchange has brought all that it held. Its reaped clock is the join of the contexts of what
 * was reaped, here or at another home: each of them was in the seen clocks of all homes.
 *
 * So a dot in both that is not held here belongs to what was reaped, and stays away (replica.h). A copy whose
 * seen clock covers its reaped clock is whole. One that is not has lost something that it once had: its
 * memory, some object (copies_lose), or an older state of the disk came back. It takes what it is given, as
 * it can't judge it, and learns from a whole home what has gone. That must not fall between the comparison of
 * a leaf and the end of an exchange, or what has gone would be taken for seen: so each time that such a copy
 * takes what a whole one may know to be obsolete, or loses something, exchanges that are under way don't
 * count (copies_token). Nor do those during which a reaped clock moved. If none of its homes is whole any
 * more, a copy that has compared itself with all others since holds what there is, and is whole by that.
 *
 * Each step is kept in the store (STORE_META), in the commit of what the exchange has brought: a crash
 * forgets both or none. It is data of the shard: the replica alone changes it, others of the shard look at
 * it. */
#pragma once

#include "actors/mints.h"
#include "base/map.h"
#include "ring/ring.h"
#include "store/store.h"
#include "version/object.h"

enum {
    COPIES_N_MAX = 15,
    /* Entries of a reaped clock: what would add one more stays. None is ever taken out, however long the
     * tenure that it names is over: it is all that tells a late write of that tenure from a new one, and no
     * home can know that no link, stand-in or old disk keeps one. */
    COPIES_REAPED_MAX = 512,
};

/* What there is to say of one. */
struct copy {
    uint32_t vnode, n;
    uint64_t heard[COPIES_N_MAX]; /* while it is not filled: of these homes */
    uint32_t count;
    struct vv seen, reaped; /* on the heap; seen: without what was minted here */
    uint64_t since;         /* the tenures that count: from that number on */

    /* In memory alone: */
    uint64_t disturbed; /* how often what it holds has changed so that no exchange under way counts */
    uint64_t ring;      /* version of the ring for which the rest holds */
    struct known {
        uint64_t home;
        struct vv ripe, next; /* on the heap: what that home's copy had seen, the latter at @next_ns */
        uint64_t next_ns;
    } known[COPIES_N_MAX];
    uint32_t known_count;
    uint64_t compared[COPIES_N_MAX]; /* homes with which it was compared since it lost something */
    uint32_t compared_count;
};

struct copies {
    bool born;          /* with the cluster: all copies are filled */
    uint32_t vnodes;    /* of the ring */
    uint16_t *filled;   /* by vnode, as bits by n */
    struct map list;    /* struct copy, by vnode and n */
    struct mints mints; /* of the shard */
    uint64_t refused;   /* objects that anti-entropy brought and the replica could not take */
    uint64_t nonce;     /* of this life */
    uint64_t ripe_ns;   /* so long after a home has said what it has seen it counts as a proof */
    uint64_t no_room;   /* ... for the disk is full */
};

/* Read what the store knows. @copies is zeroed. @born: who opened it knows that it is. @nonce: random. A row
 * that says nothing sensible is passed over. STATUS_STORE_BROKEN */
enum status copies_load(struct copies *copies, struct store *store, bool born, uint32_t vnodes,
                        uint64_t nonce);
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

/* --- seen and reaped clocks; @n: 1 to COPIES_N_MAX --- */

/* Join of what was minted here and what was seen of others, in @arena or borrowed until something changes. */
struct vv copies_seen(const struct copies *copies, uint32_t vnode, uint32_t n, struct arena *arena);

/* Was anything ever reaped here, as far as is known? */
bool copies_have_reaped(const struct copies *copies);

/* Borrowed until something changes. */
struct vv copies_reaped(const struct copies *copies, uint32_t vnode, uint32_t n);

/* Does the one cover the other, and is it filled? */
bool copies_is_whole(const struct copies *copies, uint32_t vnode, uint32_t n, struct arena *arena);

/* The same as at another time in this life only if no exchange was disturbed between, and another in another
 * life. Never 0. */
uint64_t copies_token(const struct copies *copies, uint32_t vnode, uint32_t n);

/* It took something that it can't judge. */
void copies_disturb(struct copies *copies, uint32_t vnode, uint32_t n);

/* An object of it is unreadable: nothing that it has seen or minted so far counts. It goes on to count for
 * reads: what is damaged does not, and is fetched anew. Staged; where the disk is full it is known in memory
 * only, and is found out again after a restart before anything is compared. */
void copies_lose(struct copies *copies, struct store *store, uint32_t vnode, uint32_t n);

/* Objects belong to other copies than before (a table's n has changed): nothing that was seen counts. Staged,
 * as above. */
void copies_forget_seen(struct copies *copies, struct store *store);

/* An exchange with @home has brought what @seen is about. Staged. STATUS_NO_SPACE  Nothing has changed. */
enum status copies_join_seen(struct copies *copies, struct store *store, const struct vv *seen,
                             uint32_t vnode, uint32_t n, struct arena *arena);

/* ... whether that home was whole or not. With the last of the other homes this one is whole. Staged. */
void copies_compare(struct copies *copies, struct store *store, const struct ring *ring, uint64_t self,
                    uint32_t vnode, uint32_t n, uint64_t home, struct arena *arena);

/* Something was reaped. Staged. STATUS_NO_SPACE  Nothing has changed. */
enum status copies_join_reaped(struct copies *copies, struct store *store, const struct vv *reaped,
                               uint32_t vnode, uint32_t n, struct arena *arena);

/* What @home's copy has seen by now, durably; our own too. Empty: that can't be said. */
void copies_set_known(struct copies *copies, const struct ring *ring, uint32_t vnode, uint32_t n,
                      uint64_t home, const struct vv *seen, uint64_t now_ns);

/* Is it known that all homes' copies, this one's too, have seen all of @context, and have for longer than any
 * read takes? Else one might join what a home held before a tombstone came with what another holds since it
 * has gone. */
bool copies_have_seen(const struct copies *copies, const struct ring *ring, uint32_t vnode, uint32_t n,
                      const struct vv *context, uint64_t now_ns);

/* Equal for equal clocks on all machines; 0 for none. */
uint64_t copies_hash(const struct vv *vv);

/* @object without the siblings that @reaped covers and @held does not hold; with none left it is the object
 * that was never written. *changed is set if any has gone. */
struct object copies_strip(const struct object *object, const struct object *held, const struct vv *reaped,
                           struct arena *arena, bool *changed);

/* What of @incoming a home takes that holds @held: what was reaped and is not held here has gone, if this
 * copy has seen it. If it has not it can't tell, takes it, and is disturbed. With nothing left it is the
 * object that was never written. */
struct object copies_admit(struct copies *copies, uint32_t vnode, uint32_t n, const struct object *held,
                           const struct object *incoming, struct arena *arena);
