/* Checker 2, by stamps: a write is later than all that its context covers, however far the clocks are apart.
 * So what wins by its stamp never wins over what was written in its knowledge.
 *
 *      n1, ahead by 5 s    put 1 at 5.7      get {1} -- put 2 at n2, by whose clock it is 0.9: still 5.7
 *
 * Answers tell stamps in milliseconds: equal is late enough. */
#include <inttypes.h>

#include "world/checker.h"

bool checker_stamps(struct cover *cover, struct verdict *verdict)
{
    const struct history *history = cover->history;
    for (uint32_t token = 1; token <= history->count; token++) {
        const struct op *op = history_op(history, token);
        struct tokens covers = history_list(history, op->covers);
        if (op->written_ms == 0 || (op->flags & OP_REPEATED)) continue;
        for (uint32_t i = 0; i < covers.count; i++) {
            const struct op *below = history_op(history, covers.list[i]);
            if ((below->flags & OP_REPEATED) || below->written_ms <= op->written_ms) continue;
            return verdict_fault(verdict,
                                 "key %u: write %u is said to be of %" PRIu64 " ms, and write %u, which it "
                                 "covers, of %" PRIu64 " ms",
                                 op->key, token, op->written_ms, covers.list[i], below->written_ms);
        }
    }
    return true;
}
