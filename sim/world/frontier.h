/* The frontier of a key at a moment: the writes that had been acknowledged before, that no write acknowledged
 * before covers, and that no delete or expiry can have taken by then. Who holds the frontier, or what covers
 * it, holds everything that was acknowledged. It is as small as the siblings are few.
 *
 *      frontier_begin -> frontier_advance(earlier) -> frontier_advance(later) -> ...
 */
#pragma once

#include "world/cover.h"

struct frontier {
    const struct cover *cover;
    uint32_t *tokens, count;
    uint32_t key, next; /* next: the place in cover->acked of what comes next */
};

void frontier_init(struct frontier *frontier, const struct cover *cover);
void frontier_fini(struct frontier *frontier);

/* Begin with @key, at its first moment. */
void frontier_begin(struct frontier *frontier, uint32_t key);

/* Go on to @now_ns. Of the puts those come in that @counts is true of. */
void frontier_advance(struct frontier *frontier, uint64_t now_ns, bool (*counts)(const struct op *op));
