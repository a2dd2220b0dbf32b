/* Checker 5 where things fail: what a conditional write has to have known.
 *
 *      put 1, acknowledged      put 2, acknowledged
 *      |-----|                  |-----|
 *              get {1}                     put 3 if the version is {1}: must be refused, whoever was cut off
 *
 * A precondition is tested on what a majority of all homes hold, so a conditional write that succeeded has
 * seen every write that was acknowledged before it began by homes that meet any majority. Those writes are
 * the key's frontier, less what others of them cover: the version that was expected has to hold each of them,
 * or what covers it; and where absence was expected there may be none, unless a delete or an expiry may have
 * taken it away. Nor may what was expected have been covered by then.
 *
 * Two conditional writes that race at two homes may both succeed, and become siblings: neither was
 * acknowledged when the other began. */
#include "world/checker.h"
#include "world/frontier.h"

static bool is_conditional(const struct cover *cover, const struct op *op)
{
    (void)cover;
    return (op->flags & (OP_IF_CONTEXT | OP_IF_ABSENT)) != 0;
}

static bool met_its_condition(const struct cover *cover, const struct op *op)
{
    return op->kind != OP_GET && op->outcome == OUTCOME_OK && is_conditional(cover, op);
}

/* Does the acknowledgement say that every majority holds the write? */
static bool meets_majorities(const struct cover *cover, const struct op *op)
{
    return is_conditional(cover, op) || cover_counts(cover, op);
}

static bool judge_write(struct cover *cover, const struct frontier *frontier, uint32_t number,
                        struct verdict *verdict)
{
    const struct op *write = history_op(cover->history, number);
    struct tokens expected = {0};
    if (write->flags & OP_IF_CONTEXT) expected = history_list(cover->history, write->covers);
    for (uint32_t i = 0; i < frontier->count; i++) {
        uint32_t token = frontier->tokens[i];
        if (cover->gone_ns[token - 1] <= write->returned_ns) continue;
        if (cover_holds_at(cover, expected, token, write->invoked_ns)) continue;
        return verdict_fault(verdict,
                             "write %u of key %u%s succeeded on a condition that does not know write "
                             "%u, acknowledged at %.3f ms",
                             number, write->key, verdict_when(write->invoked_ns, write->returned_ns).text,
                             token, in_ms(history_op(cover->history, token)->returned_ns));
    }
    for (uint32_t i = 0; i < expected.count; i++) {
        uint32_t token = expected.list[i], by = cover->superseded_by[token - 1];
        if (cover->superseded_ns[token - 1] >= write->invoked_ns) continue;
        if (history_op(cover->history, token)->flags & OP_REPEATED)
            continue; /* minted twice, and here again */
        if (!frontier->counts(cover, history_op(cover->history, by))) continue;
        return verdict_fault(
            verdict,
            "write %u of key %u%s succeeded on version %u, though %u, acknowledged at %.3f ms, covers it",
            number, write->key, verdict_when(write->invoked_ns, write->returned_ns).text, token, by,
            in_ms(cover->superseded_ns[token - 1]));
    }
    return true;
}

bool checker_condition(struct cover *cover, bool overlap, struct verdict *verdict)
{
    struct frontier frontier;
    frontier_init(&frontier, cover, met_its_condition, overlap ? meets_majorities : is_conditional);
    bool good = true;
    for (uint32_t write; good && (write = frontier_next(&frontier)) != 0;)
        good = judge_write(cover, &frontier, write, verdict);
    frontier_fini(&frontier);
    return good;
}
