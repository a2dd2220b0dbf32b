/* The frontier of a key at a moment: the writes that had been acknowledged before, that no write acknowledged
 * before covers, and that no delete or expiry can have taken by then. Who holds the frontier, or what covers
 * it, holds everything that was acknowledged. It is as small as the siblings are few.
 *
 * It goes along with the operations that are to be judged by it: key by key, in the order in which they
 * began, and each finds the frontier of the moment of its beginning.
 *
 *      frontier_init -> frontier_next = 7, judge 7 -> frontier_next = 9, judge 9 -> ... 0 -> frontier_fini
 */
#pragma once

#include "world/cover.h"

typedef bool frontier_choice(const struct cover *cover, const struct op *op);

struct frontier {
    const struct cover *cover;
    frontier_choice *judged, *counts;
    uint32_t *tokens, count;
    uint32_t key, op, acked; /* op, acked: the places in cover->ops and cover->acked of what comes next */
};

/* Before the first operation. Those that @judged is true of will be visited; of the puts those come into the
 * frontier that @counts is true of. */
void frontier_init(struct frontier *frontier, const struct cover *cover, frontier_choice *judged,
                   frontier_choice *counts);
void frontier_fini(struct frontier *frontier);

/* Go on to the next operation that is to be judged, and to the moment of its beginning. Its token, or 0:
 * there is none. */
uint32_t frontier_next(struct frontier *frontier);
