/* Proofs: when each vnode copy of this shard was last found to be equal with that of each of its other homes.
 *
 * Anti-entropy notes it where a pass has compared two roots (antientropy.h), on both sides, if neither was
 * unsure of its tree: what this shard held of the vnode at that moment, the other one held too. Who asks
 * takes the moment at which it asked, who answers that of the answer. What is written all the time may
 * differ at each look, as it is on its way, and nothing is noted then; nor at the end of an exchange: the
 * next look finds its fruit.
 *
 * In memory only: after a start nothing is proven. It is data of the shard: anti-entropy alone changes it,
 * the router reports it. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct proof {
    uint64_t home;
    uint32_t n;
    uint64_t at_ns;
};

struct proofs {
    uint32_t vnodes;
    struct proof_list {
        struct proof *list;
        uint32_t count;
    } * by_vnode;
};

/* @proofs is zeroed. @vnodes: of the ring. */
void proofs_init(struct proofs *proofs, uint32_t vnodes);
void proofs_fini(struct proofs *proofs);

/* The copy of (@vnode, @n) was equal with that of @home at @at_ns. */
void proofs_note(struct proofs *proofs, uint32_t vnode, uint32_t n, uint64_t home, uint64_t at_ns);

/* When was it, at last? False: not since the start. */
bool proofs_find(const struct proofs *proofs, uint32_t vnode, uint32_t n, uint64_t home, uint64_t *at_ns);
