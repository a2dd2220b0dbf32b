/* Hybrid logical clock (Kulkarni et al., 2014): a 64-bit stamp near wall time that only grows where it is minted.
 *
 * The upper 48 bits are milliseconds since 1970, the lower 16 a counter. The clock takes nothing from peers: a new
 * stamp exceeds what the writer has seen of *this key* (its context and the local siblings, as the floor), so that one
 * bad clock cannot drag a cluster's stamps along (scylladb#7082). */
#pragma once

#include <stdint.h>

struct hlc {
    uint64_t last; /* the last stamp minted here, before a floor raised it */
};

/* A stamp above @floor and at least @wall_ms << 16. It also exceeds every stamp that this clock minted before, but for
 * those that their floor raised: a key with a stamp from the future gets later ones, and lends them to no other key.
 * At the end of the number space (a floor of 2^64-1, which a broken peer may send) it stays there. */
uint64_t hlc_mint(struct hlc *hlc, uint64_t wall_ms, uint64_t floor);

static inline uint64_t hlc_ms(uint64_t stamp)
{
    return stamp >> 16;
}
