#include "actors/proofs.h"

#include <stdlib.h>

#include "base/check.h"

void proofs_init(struct proofs *proofs, uint32_t vnodes)
{
    proofs->vnodes = vnodes;
    proofs->by_vnode = calloc(vnodes, sizeof(*proofs->by_vnode));
    CHECK(proofs->by_vnode != NULL);
}

void proofs_fini(struct proofs *proofs)
{
    for (uint32_t vnode = 0; vnode < proofs->vnodes; vnode++) free(proofs->by_vnode[vnode].list);
    free(proofs->by_vnode);
}

static struct proof *proof_of(const struct proofs *proofs, uint32_t vnode, uint32_t n, uint64_t home)
{
    CHECK(vnode < proofs->vnodes);
    const struct proof_list *list = &proofs->by_vnode[vnode];
    for (uint32_t i = 0; i < list->count; i++)
        if (list->list[i].home == home && list->list[i].n == n) return &list->list[i];
    return NULL;
}

void proofs_note(struct proofs *proofs, uint32_t vnode, uint32_t n, uint64_t home, uint64_t at_ns)
{
    struct proof *proof = proof_of(proofs, vnode, n, home);
    if (proof == NULL) { /* homes are few, and change when members do */
        struct proof_list *list = &proofs->by_vnode[vnode];
        list->list = realloc(list->list, (list->count + 1) * sizeof(*list->list));
        CHECK(list->list != NULL);
        proof = &list->list[list->count++];
        *proof = (struct proof){.home = home, .n = n};
    }
    proof->at_ns = at_ns;
}

bool proofs_find(const struct proofs *proofs, uint32_t vnode, uint32_t n, uint64_t home, uint64_t *at_ns)
{
    const struct proof *proof = proof_of(proofs, vnode, n, home);
    if (proof == NULL) return false;
    *at_ns = proof->at_ns;
    return true;
}
