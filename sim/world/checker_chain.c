/* Checker 5, conditional writes: on a key that is only written by compare-and-put the versions form one
 * chain.
 *
 *      (absent) <- a <- b <- d         each link is a write and the version it consumed
 *                        \ c           a second effective write on b is a fork
 *
 * Effective is what was acknowledged, and every unknown write beneath it. Along the chain no write stands
 * before one that had been acknowledged before it began; and a rejection is wrong if the version that the
 * write expected was the current one all the time.
 *
 * That is promised as long as one home coordinates the key. So a run is judged up to its first fault: of what
 * came later only checker_condition knows what must hold. */
#include <stdlib.h>

#include "base/check.h"
#include "world/checker.h"

enum { STATE_NOT = 0, STATE_EFFECTIVE = 1 };

struct chain {
    struct cover *cover;
    uint8_t *state;     /* by place */
    uint32_t *consumer; /* by token, 0: of absence: who has consumed it */
    uint64_t *taken_ns; /* by token: when the first write that may have consumed it began */
    uint64_t until_ns;  /* what ends later is not judged */
};

static const struct op *op_of(const struct chain *chain, uint32_t token)
{
    return history_op(chain->cover->history, token);
}

static uint32_t version_of(const struct chain *chain, uint32_t token)
{
    struct tokens covers = history_list(chain->cover->history, op_of(chain, token)->covers);
    return covers.count == 0 ? 0 : covers.list[0];
}

/* Is the key one that this checker judges? */
static bool is_conditional(const struct chain *chain, uint32_t key)
{
    const struct cover *cover = chain->cover;
    bool any = false;
    for (uint32_t i = cover->ops_first[key]; i < cover->ops_first[key + 1]; i++) {
        const struct op *op = op_of(chain, cover->ops[i]);
        if (op->invoked_ns > chain->until_ns) break;
        if (op->kind == OP_GET || op->outcome == OUTCOME_FAIL) continue;
        if (op->kind == OP_DELETE || op->ttl_ns != 0 || (op->flags & OP_REPEATED)) return false;
        if ((op->flags & (OP_IF_CONTEXT | OP_IF_ABSENT)) == 0) return false;
        any = true;
    }
    return any;
}

/* @token is effective, and so is all beneath it. */
static bool link_down(struct chain *chain, uint32_t key, uint32_t token, struct verdict *verdict)
{
    while (token != 0 && chain->state[token - 1] == STATE_NOT) {
        const struct op *op = op_of(chain, token);
        if (op->outcome == OUTCOME_FAIL)
            return verdict_fault(verdict, "key %u: a write consumed version %u, which failed", key, token);
        if (op->covers.count > 1)
            return verdict_fault(verdict, "key %u: write %u consumed %u versions at once", key, token,
                                 op->covers.count);
        chain->state[token - 1] = STATE_EFFECTIVE;
        uint32_t version = version_of(chain, token), other = chain->consumer[version];
        if (other != 0)
            return verdict_fault(verdict, "key %u: writes %u and %u both consumed version %u", key, other,
                                 token, version);
        chain->consumer[version] = token;
        token = version;
    }
    return true;
}

/* From the last to the first: the earliest acknowledgement above must not precede the beginning below. */
static bool judge_order(struct chain *chain, uint32_t key, uint32_t last, struct verdict *verdict)
{
    uint64_t acked_ns = UINT64_MAX;
    uint32_t acked = 0;
    for (uint32_t token = last; token != 0; token = version_of(chain, token)) {
        const struct op *op = op_of(chain, token);
        if (acked_ns < op->invoked_ns)
            return verdict_fault(verdict,
                                 "key %u: write %u stands before %u, which was acknowledged at %.3f ms, "
                                 "before it began",
                                 key, token, acked, in_ms(acked_ns));
        if (op->returned_ns < acked_ns) acked_ns = op->returned_ns, acked = token;
    }
    return true;
}

static bool judge_rejections(struct chain *chain, uint32_t key, struct verdict *verdict)
{
    const struct cover *cover = chain->cover;
    for (uint32_t i = cover->ops_first[key]; i < cover->ops_first[key + 1]; i++) {
        uint32_t number = cover->ops[i];
        const struct op *op = op_of(chain, number);
        if ((op->flags & OP_REJECTED) == 0 || op->outcome != OUTCOME_FAIL || op->covers.count > 1) continue;
        if (op->ended_ns > chain->until_ns) continue;
        uint32_t version = version_of(chain, number);
        uint64_t from_ns = version == 0 ? 0 : op_of(chain, version)->returned_ns;
        if (from_ns >= op->invoked_ns || chain->taken_ns[version] <= op->ended_ns) continue;
        return verdict_fault(
            verdict,
            "key %u: write %u was rejected at %.3f ms, though version %u was the current one "
            "all the time",
            key, number, in_ms(op->ended_ns), version);
    }
    return true;
}

static void note_takers(struct chain *chain, uint32_t key)
{
    const struct cover *cover = chain->cover;
    for (uint32_t i = cover->ops_first[key]; i < cover->ops_first[key + 1]; i++) {
        const struct op *op = op_of(chain, cover->ops[i]);
        if (op->kind != OP_PUT || op->outcome == OUTCOME_FAIL) continue;
        uint64_t *taken_ns = &chain->taken_ns[version_of(chain, cover->ops[i])];
        if (op->invoked_ns < *taken_ns) *taken_ns = op->invoked_ns;
    }
}

static bool judge_key(struct chain *chain, uint32_t key, uint64_t *links, struct verdict *verdict)
{
    const struct cover *cover = chain->cover;
    uint32_t last = 0, first = cover->acked_first[key], end = first;
    chain->consumer[0] = 0;
    chain->taken_ns[0] = UINT64_MAX;
    while (end < cover->acked_first[key + 1] &&
           op_of(chain, cover->acked[end])->returned_ns <= chain->until_ns)
        end++;
    *links += end - first;
    for (uint32_t i = first; i < end; i++)
        if (!link_down(chain, key, cover->acked[i], verdict)) return false;
    for (uint32_t i = first; i < end; i++)
        if (chain->consumer[cover->acked[i]] == 0) last = cover->acked[i];
    note_takers(chain, key);
    return judge_order(chain, key, last, verdict) && judge_rejections(chain, key, verdict);
}

bool checker_chain(struct cover *cover, uint64_t until_ns, uint64_t *links, struct verdict *verdict)
{
    uint32_t count = cover->history->count;
    struct chain chain = {.cover = cover,
                          .until_ns = until_ns,
                          .state = calloc(count + 1, sizeof(*chain.state)),
                          .consumer = calloc(count + 1, sizeof(*chain.consumer)),
                          .taken_ns = malloc((count + 1) * sizeof(*chain.taken_ns))};
    CHECK(chain.state != NULL);
    CHECK(chain.consumer != NULL);
    CHECK(chain.taken_ns != NULL);
    for (uint32_t i = 0; i <= count; i++) chain.taken_ns[i] = UINT64_MAX;
    bool good = true;
    for (uint32_t key = 0; key < cover->history->keys && good; key++)
        if (is_conditional(&chain, key)) good = judge_key(&chain, key, links, verdict);
    free(chain.state);
    free(chain.consumer);
    free(chain.taken_ns);
    return good;
}
