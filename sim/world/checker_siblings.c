/* Checker 2, causal supersession: what an answer holds was written to that key, had begun, was not said to
 * have failed, has not expired long ago, and no part of it covers another. In an `lww` table it is one value.
 *
 * A write that is sent again is recognised where it is still there, rather than refused because of itself.
 *
 * That siblings are distinct and pairwise concurrent bounds their number by the writes that were concurrent
 * or without context: an explosion of siblings shows as copies of one write, or as a write beside its cover.
 */
#include "world/checker.h"

/* An answer: whose, when, and what it holds. */
struct sight {
    const char *what;
    uint32_t number, key;
    uint64_t from_ns, until_ns;
    struct tokens seen;
};

static bool may_hold(const struct history *history, const struct sight *sight, uint32_t token,
                     struct verdict *verdict)
{
    if (token == 0 || token > history->count)
        return verdict_fault(verdict, "%s %u%s: key %u holds %u, which nobody wrote", sight->what,
                             sight->number, verdict_when(sight->from_ns, sight->until_ns).text, sight->key,
                             token);
    const struct op *op = history_op(history, token);
    if (op->key != sight->key || op->kind != OP_PUT || op->invoked_ns > sight->until_ns)
        return verdict_fault(verdict, "%s %u%s: key %u holds %u, which nobody had written there", sight->what,
                             sight->number, verdict_when(sight->from_ns, sight->until_ns).text, sight->key,
                             token);
    if (op->outcome == OUTCOME_FAIL)
        return verdict_fault(verdict, "%s %u%s: key %u holds write %u, which was said not to be applied",
                             sight->what, sight->number, verdict_when(sight->from_ns, sight->until_ns).text,
                             sight->key, token);
    uint64_t minted_ns = history_minted_by(history, op), lives_ns = op->ttl_ns + history->skew_ns;
    if (op->ttl_ns != 0 && minted_ns < UINT64_MAX - lives_ns && sight->from_ns > minted_ns + lives_ns)
        return verdict_fault(verdict, "%s %u%s: key %u holds write %u, which expired by %.3f ms", sight->what,
                             sight->number, verdict_when(sight->from_ns, sight->until_ns).text, sight->key,
                             token, in_ms(minted_ns + lives_ns));
    return true;
}

static bool is_concurrent(struct cover *cover, const struct sight *sight, uint32_t place,
                          struct verdict *verdict)
{
    uint32_t token = sight->seen.list[place];
    const struct history *history = cover->history;
    for (uint32_t i = 0; i < place; i++)
        if (sight->seen.list[i] == token)
            return verdict_fault(verdict, "%s %u%s: key %u holds write %u twice", sight->what, sight->number,
                                 verdict_when(sight->from_ns, sight->until_ns).text, sight->key, token);
    if (history_op(history, token)->flags & OP_REPEATED) return true;
    for (uint32_t i = 0; i < sight->seen.count; i++) {
        struct tokens other = {.list = &sight->seen.list[i], .count = 1};
        if (other.list[0] > token && cover_holds(cover, other, token))
            return verdict_fault(verdict, "%s %u%s: key %u holds write %u beside %u, which covers it",
                                 sight->what, sight->number,
                                 verdict_when(sight->from_ns, sight->until_ns).text, sight->key, token,
                                 other.list[0]);
    }
    return true;
}

static bool judge(struct cover *cover, const struct sight *sight, struct verdict *verdict)
{
    for (uint32_t i = 0; i < sight->seen.count; i++)
        if (!may_hold(cover->history, sight, sight->seen.list[i], verdict)) return false;
    if (cover->history->lww && sight->seen.count > 1)
        return verdict_fault(verdict, "%s %u%s: key %u of an lww table has %u siblings", sight->what,
                             sight->number, verdict_when(sight->from_ns, sight->until_ns).text, sight->key,
                             sight->seen.count);
    for (uint32_t i = 0; i < sight->seen.count && sight->seen.count > 1; i++)
        if (!is_concurrent(cover, sight, i, verdict)) return false;
    return true;
}

static struct sight sight_of(const struct history *history, const struct attempt *attempt)
{
    const struct op *op = history_op(history, attempt->token);
    return (struct sight){.what = op->kind == OP_GET ? "read" : "the answer to write",
                          .number = attempt->token,
                          .key = op->key,
                          .from_ns = attempt->begun_ns,
                          .until_ns = attempt->ended_ns,
                          .seen = history_list(history, attempt->seen)};
}

bool checker_siblings(struct cover *cover, struct verdict *verdict)
{
    const struct history *history = cover->history;
    for (uint32_t i = 0; i < history->attempt_count; i++) {
        const struct sight sight = sight_of(history, &history->attempts[i]);
        if (!judge(cover, &sight, verdict)) return false;
    }
    for (uint32_t token = 1; token <= history->count; token++) {
        const struct op *op = history_op(history, token);
        const struct attempt last = history_last_attempt(history, token);
        const struct sight sight = sight_of(history, &last);
        if (!judge(cover, &sight, verdict)) return false;
        if ((op->flags & OP_REPEATED) && (op->flags & OP_REJECTED) && tokens_have(sight.seen, token))
            return verdict_fault(verdict, "write %u of key %u was not recognised when it was sent again",
                                 token, op->key);
    }
    for (uint32_t i = 0; i < history->final_count; i++) {
        const struct final *final = &history->finals[i];
        struct sight sight = {.what = "the last read at node",
                              .number = final->node + 1,
                              .key = final->key,
                              .until_ns = UINT64_MAX,
                              .seen = history_list(history, final->seen)};
        if (!judge(cover, &sight, verdict)) return false;
    }
    return true;
}
