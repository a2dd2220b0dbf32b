/* Cover: the cover graph of a history, in the form in which checkers ask for it.
 *
 *      put 1 -- get -> {1} -- put 2 (covers 1) -- get -> {2} -- put 5 (covers 2)
 *      so 5 covers* 1, and once 5 is acknowledged nobody may see 1 or 2 again
 *
 * A write covers only writes with smaller tokens. Three things about each write are worked out once, each by
 * walks that never enter a write a second time, so that building takes time in proportion to the history (and
 * its sorting):
 *
 *      superseded   the first acknowledged write that covers* it, and when that was acknowledged
 *      gone         from when a delete or an expiry that may have happened can have taken it
 *      acknowledged the writes in the order in which they were
 *
 * What is left to a walk is whether an answer covers* a write that no acknowledged one covers: it only passes
 * writes under way or unknown, and they are few. */
#pragma once

#include "world/history.h"

struct cover {
    const struct history *history;
    uint32_t *ops, *ops_first;     /* tokens by key, in order; those of key k from ops_first[k] to [k + 1] */
    uint32_t *acked, *acked_first; /* of the OK writes by key, in the order of their return */
    uint32_t *superseded_by;       /* by place; 0: by none */
    uint64_t *superseded_ns, *gone_ns; /* UINT64_MAX: never */
    uint32_t *visited, visit;          /* scratch of the walks */
    uint32_t *stack;
};

void cover_build(struct cover *cover, const struct history *history);
void cover_fini(struct cover *cover);

/* Is @token in @seen, or covered* by one of it? */
bool cover_holds(struct cover *cover, struct tokens seen, uint32_t token);

/* The same for a @token that no write acknowledged before @at_ns covers: a short walk. */
bool cover_holds_at(struct cover *cover, struct tokens seen, uint32_t token, uint64_t at_ns);
