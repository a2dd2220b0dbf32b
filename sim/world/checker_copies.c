/* Checker 6, convergence: all homes of a key hold the same bytes, as far as they can be compared (struct
 * copy), nobody else holds any, all hints have gone home, and the trees by which homes compare themselves are
 * those of what they hold. */
#include <inttypes.h>
#include <stdio.h>

#include "world/checker.h"

static const char *digest_text(uint64_t digest, char *out, size_t size)
{
    if (digest == 0) return "nothing";
    snprintf(out, size, "copy %" PRIx64, digest);
    return out;
}

static bool judge_key(const struct copy *copies, uint32_t count, struct verdict *verdict)
{
    char here[32], there[32];
    const struct copy *first = NULL;
    for (uint32_t i = 0; i < count; i++) {
        const struct copy *copy = &copies[i];
        if (!copy->home) {
            if (copy->digest == 0) continue;
            return verdict_fault(verdict, "key %u lies on node %u, which is no home of it", copy->key,
                                 copy->node + 1);
        }
        if (first == NULL) first = copy;
        if (copy->digest != first->digest)
            return verdict_fault(verdict, "in the end key %u differs: node %u has %s, node %u has %s",
                                 copy->key, first->node + 1, digest_text(first->digest, here, sizeof(here)),
                                 copy->node + 1, digest_text(copy->digest, there, sizeof(there)));
    }
    return true;
}

bool checker_copies(const struct copy *copies, uint32_t count, struct verdict *verdict)
{
    for (uint32_t i = 0, to; i < count; i = to) {
        for (to = i; to < count && copies[to].key == copies[i].key;) to++;
        if (!judge_key(copies + i, to - i, verdict)) return false;
    }
    return true;
}

bool checker_trees(const struct tree_copy *trees, uint32_t count, struct verdict *verdict)
{
    const struct tree_copy *first = NULL;
    for (uint32_t i = 0; i < count; i++) {
        const struct tree_copy *tree = &trees[i];
        if (tree->compared && !tree->built)
            return verdict_fault(verdict, "node %u has no tree of vnode %u", tree->node + 1, tree->vnode);
        if (tree->built && tree->root != tree->rebuilt)
            return verdict_fault(verdict, "the tree of vnode %u on node %u is not that of its objects",
                                 tree->vnode, tree->node + 1);
        if (!tree->compared) continue;
        if (first == NULL || first->vnode != tree->vnode) first = tree;
        if (tree->root != first->root)
            return verdict_fault(verdict, "in the end the trees of vnode %u differ on node %u and node %u",
                                 tree->vnode, first->node + 1, tree->node + 1);
    }
    return true;
}

bool checker_hints(const uint32_t *hints, uint32_t nodes, struct verdict *verdict)
{
    for (uint32_t node = 0; node < nodes; node++)
        if (hints[node] > 0)
            return verdict_fault(verdict, "in the end node %u keeps %u hints that have not gone home",
                                 node + 1, hints[node]);
    return true;
}
