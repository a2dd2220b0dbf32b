/* Dots and version vectors.
 *
 * A dot names one write event for good: (clock id, counter). A version vector is a set of dots, compactly: an entry
 * (c, n) stands for the dots (c, 1) .. (c, n). A dotted version vector set (Preguica, Baquero et al., "Dotted Version
 * Vectors", 2012) is a vector plus siblings that each keep their own dot: version/object.h. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"

struct dot {
    uint64_t clock;   /* random, never 0 */
    uint64_t counter; /* from 1 */
};

/* Sorted by clock, no clock twice, no counter 0. The entries are borrowed or belong to an arena. */
struct vv {
    struct dot *entries;
    uint32_t count;
};

/* What a peer, a client or a disk sends may have at most this many entries. */
enum { VV_ENTRIES_MAX = 4096 };

/* True when the rules above hold and there are at most VV_ENTRIES_MAX entries. */
bool vv_valid(const struct vv *vv);

/* The counter for @clock, 0 when there is none. */
uint64_t vv_get(const struct vv *vv, uint64_t clock);

/* Does the vector contain the dot? */
static inline bool vv_covers(const struct vv *vv, struct dot dot)
{
    return vv_get(vv, dot.clock) >= dot.counter;
}

/* Does @a contain every dot of @b? */
bool vv_descends(const struct vv *a, const struct vv *b);

bool vv_equal(const struct vv *a, const struct vv *b);

/* The union: @a or @b itself (sharing its entries) where that is it, else in @arena. */
struct vv vv_join(const struct vv *a, const struct vv *b, struct arena *arena);

/* The vector with one dot more: its entry becomes max(old, dot.counter). @vv itself where that changes nothing, else in
 * @arena. */
struct vv vv_with(const struct vv *vv, struct dot dot, struct arena *arena);

/* Total order of dots: clock, then counter. <0, 0, >0. */
int dot_compare(struct dot a, struct dot b);
