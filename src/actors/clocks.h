/* Clocks: what a copy says of itself in an exchange (copies.h), as a value and as a message. */
#pragma once

#include "actors/copies.h"
#include "peer.pb-c.h"

struct clocks {
    struct vv seen;
    bool whole;
    uint64_t token;
};

/* As they are now; in @arena, or borrowed until something changes. */
void clocks_read(const struct copies *copies, uint32_t vnode, uint32_t n, struct arena *arena,
                 struct clocks *out);

/* Borrows from @clocks and @reaped (NULL: none). */
Dynode__Peer__Clocks *clocks_message(const struct clocks *clocks, const struct vv *reaped,
                                     struct arena *arena);

/* The way back, in @arena. False: it is none. */
bool clocks_open(const Dynode__Peer__Clocks *message, struct arena *arena, struct clocks *out,
                 struct vv *reaped);

/* Two lists of a message as a vector, and back. False: they are none. */
bool clocks_vv(const uint64_t *clocks, size_t clock_count, const uint64_t *counters, size_t counter_count,
               struct arena *arena, struct vv *out);
void clocks_lists(const struct vv *vv, struct arena *arena, uint64_t **clocks, uint64_t **counters,
                  size_t *clock_count, size_t *counter_count);
