/* Checkers 4 and 1: the regular register, and that nothing acknowledged is lost.
 *
 * Reads are taken in the order in which they began. Along with them goes the *frontier* of the key
 * (frontier.h). A read has to hold each of the frontier, or what covers it, unless a delete or an expiry may
 * have taken it away. What an acknowledged write covers needs no look: who holds the cover holds it too.
 *
 * New/old inversion is legal: while a write is under way one read may hold it and the next one not. */
#include "world/checker.h"
#include "world/frontier.h"

static bool judge_read(struct cover *cover, const struct frontier *frontier, uint32_t number,
                       struct verdict *verdict)
{
    const struct op *read = history_op(cover->history, number);
    struct tokens seen = history_list(cover->history, read->seen);
    for (uint32_t i = 0; i < frontier->count; i++) {
        uint32_t token = frontier->tokens[i];
        if (tokens_have(seen, token) || cover->gone_ns[token - 1] <= read->returned_ns) continue;
        if (cover_holds_at(cover, seen, token, read->invoked_ns)) continue;
        return verdict_fault(verdict, "read %u of key %u%s misses write %u, acknowledged at %.3f ms", number,
                             read->key, verdict_when(read->invoked_ns, read->returned_ns).text, token,
                             in_ms(history_op(cover->history, token)->returned_ns));
    }
    for (uint32_t i = 0; i < seen.count; i++) {
        uint32_t token = seen.list[i];
        if (cover->superseded_ns[token - 1] >= read->invoked_ns) continue;
        if (history_op(cover->history, token)->flags & OP_REPEATED) continue;
        return verdict_fault(verdict,
                             "read %u of key %u%s has write %u, though %u, acknowledged at %.3f ms, "
                             "covers it",
                             number, read->key, verdict_when(read->invoked_ns, read->returned_ns).text, token,
                             cover->superseded_by[token - 1], in_ms(cover->superseded_ns[token - 1]));
    }
    return true;
}

bool checker_register(struct cover *cover, struct verdict *verdict)
{
    struct frontier frontier;
    frontier_init(&frontier, cover, cover_is_reader, cover_counts);
    bool good = true;
    for (uint32_t read; good && (read = frontier_next(&frontier)) != 0;)
        good = judge_read(cover, &frontier, read, verdict);
    frontier_fini(&frontier);
    return good;
}

/* --- the end --- */

static bool judge_final(struct cover *cover, const struct final *final, struct verdict *verdict)
{
    const struct history *history = cover->history;
    struct tokens seen = history_list(history, final->seen);
    for (uint32_t i = cover->acked_first[final->key]; i < cover->acked_first[final->key + 1]; i++) {
        uint32_t token = cover->acked[i];
        const struct op *op = history_op(history, token);
        if (op->kind != OP_PUT || cover->superseded_ns[token - 1] != UINT64_MAX) continue;
        if ((op->flags & OP_WEAK) && !final->whole) continue;
        if (cover->gone_ns[token - 1] != UINT64_MAX || tokens_have(seen, token)) continue;
        if (cover_holds_at(cover, seen, token, UINT64_MAX)) continue;
        return verdict_fault(verdict,
                             "in the end node %u lacks write %u of key %u, acknowledged at %.3f ms, and "
                             "nothing covers it",
                             final->node + 1, token, final->key, in_ms(op->returned_ns));
    }
    return true;
}

bool checker_final(struct cover *cover, struct verdict *verdict)
{
    for (uint32_t i = 0; i < cover->history->final_count; i++)
        if (!judge_final(cover, &cover->history->finals[i], verdict)) return false;
    return true;
}
