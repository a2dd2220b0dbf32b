/* Checker 6, convergence: all homes of a key hold the same bytes, and nobody else holds any. */
#include <inttypes.h>

#include "world/checker.h"

static bool judge_key(const struct copy *copies, uint32_t count, struct verdict *verdict)
{
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
            return verdict_fault(verdict, "key %u differs: node %u has %" PRIx64 ", node %u has %" PRIx64,
                                 copy->key, first->node + 1, first->digest, copy->node + 1, copy->digest);
    }
    if (first == NULL) return verdict_fault(verdict, "key %u has no home", copies[0].key);
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
