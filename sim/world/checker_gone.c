/* Checker 7, no resurrection: in the end, when all is healed and all homes have become equal, nothing is
 * there that an acknowledged write covers, or a delete. It had gone, perhaps with all that told so
 * (actors/reap.h). */
#include "world/checker.h"

static bool judge(struct cover *cover, const struct final *final, struct verdict *verdict)
{
    const struct history *history = cover->history;
    struct tokens seen = history_list(history, final->seen);
    for (uint32_t i = 0; i < seen.count; i++) {
        uint32_t token = seen.list[i], above = cover->superseded_by[token - 1];
        if (above == 0 || (history_op(history, token)->flags & OP_REPEATED)) continue;
        return verdict_fault(verdict,
                             "in the end node %u has write %u of key %u, though %u, acknowledged at %.3f ms, "
                             "covers it: it has come back",
                             final->node + 1, token, final->key, above,
                             in_ms(cover->superseded_ns[token - 1]));
    }
    return true;
}

bool checker_gone(struct cover *cover, struct verdict *verdict)
{
    for (uint32_t i = 0; i < cover->history->final_count; i++)
        if (!judge(cover, &cover->history->finals[i], verdict)) return false;
    return true;
}
