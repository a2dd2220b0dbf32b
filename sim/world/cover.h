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
 * Where requests ask for quorums of their own, two of these depend on who reads, and there is one cover for
 * each way to read (cover_build_for).
 *
 * What is left to a walk is whether an answer covers* a write that no acknowledged one covers: it only passes
 * writes under way or unknown, and they are few. */
#pragma once

#include "world/history.h"

struct cover {
    const struct history *history;
    struct quorum reader;          /* homes 0: any */
    uint32_t *ops, *ops_first;     /* tokens by key, in order; those of key k from ops_first[k] to [k + 1] */
    uint32_t *acked, *acked_first; /* of the OK writes by key, in the order of their return */
    uint32_t *superseded_by;       /* by place; 0: by none */
    uint64_t *superseded_ns, *gone_ns; /* UINT64_MAX: never */
    uint32_t *visited, visit;          /* scratch of the walks */
    uint32_t *stack;
};

/* Of what is not OP_WEAK. */
void cover_build(struct cover *cover, const struct history *history);

/* The same for who asks for so many homes: what is acknowledged counts, and supersedes, where it has met one
 * of them. A write at W = N supersedes for who reads one home, another only for who reads N. */
void cover_build_for(struct cover *cover, const struct history *history, struct quorum reader);
void cover_fini(struct cover *cover);

/* Does who asks know of @op, once that is acknowledged? */
static inline bool cover_counts(const struct cover *cover, const struct op *op)
{
    return history_meets(cover->history, cover->reader, op);
}

/* Is it a read that asked for as many? */
static inline bool cover_is_reader(const struct cover *cover, const struct op *op)
{
    if (op->kind != OP_GET || op->outcome != OUTCOME_OK || (op->flags & OP_WEAK)) return false;
    return cover->history->n == 0 ||
           (op->quorum.needs == cover->reader.needs && op->quorum.homes == cover->reader.homes);
}

/* Is @token in @seen, or covered* by one of it? */
bool cover_holds(struct cover *cover, struct tokens seen, uint32_t token);

/* The same for a @token that no write acknowledged before @at_ns covers: a short walk. */
bool cover_holds_at(struct cover *cover, struct tokens seen, uint32_t token, uint64_t at_ns);
