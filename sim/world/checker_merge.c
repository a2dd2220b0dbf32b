/* Checker 8: what clients merge by themselves loses nothing and invents nothing.
 *
 * A cart is a set: each put adds one element, its own token, to what it read, and may leave out some of what
 * it read. An element whose put was acknowledged is there, in one sibling or another, until a write that saw
 * it leaves it out. A counter is one number for each session, which counts its own up: merged by taking the
 * greater one, it only grows. What a session was told to have counted is there. */
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "world/checker.h"

struct merge {
    struct cover *cover;
    uint64_t *removed_ns; /* by place: since when a write that saw the element may have left it out */
    uint32_t *live;       /* of the key under judgement: acknowledged and not left out */
    uint32_t live_count, next;
    uint32_t counted[COUNTER_SESSIONS_MAX], slots; /* of the key: what each session was told */
};

/* What an answer is judged as. */
struct look {
    const char *what;
    uint32_t number, key;
    uint64_t from_ns, until_ns;
    bool weak_too; /* what only one home was asked for has to be there as well */
    struct tokens seen;
};

static const struct op *op_of(const struct merge *merge, uint32_t token)
{
    return history_op(merge->cover->history, token);
}

static struct tokens elements_of(const struct merge *merge, uint32_t token)
{
    return history_list(merge->cover->history, op_of(merge, token)->elements);
}

/* --- carts --- */

static bool cart_has(const struct merge *merge, uint32_t token, uint32_t element)
{
    return token == element || tokens_have(elements_of(merge, token), element);
}

static void leave_out(struct merge *merge, uint32_t element, uint32_t without, uint64_t at_ns)
{
    if (op_of(merge, without)->kind == OP_PUT && cart_has(merge, without, element)) return;
    if (at_ns < merge->removed_ns[element - 1]) merge->removed_ns[element - 1] = at_ns;
}

static bool note_cart(struct merge *merge, uint32_t token, struct verdict *verdict)
{
    const struct op *op = op_of(merge, token);
    if (op->kind == OP_GET || op->outcome == OUTCOME_FAIL) return true;
    struct tokens covers = history_list(merge->cover->history, op->covers), held = elements_of(merge, token);
    for (uint32_t i = 0; i < held.count; i++) {
        uint32_t element = held.list[i];
        bool known = element >= 1 && element < token && op_of(merge, element)->kind == OP_PUT &&
                     op_of(merge, element)->key == op->key;
        if (!known || op_of(merge, element)->outcome == OUTCOME_FAIL)
            return verdict_fault(verdict, "cart %u: put %u holds %u, which was not added", op->key, token,
                                 element);
    }
    for (uint32_t i = 0; i < covers.count; i++) {
        struct tokens before = elements_of(merge, covers.list[i]);
        leave_out(merge, covers.list[i], token, op->invoked_ns);
        for (uint32_t at = 0; at < before.count; at++)
            leave_out(merge, before.list[at], token, op->invoked_ns);
    }
    return true;
}

static bool judge_cart(struct merge *merge, const struct look *look, struct verdict *verdict)
{
    const struct cover *cover = merge->cover;
    for (; merge->next < cover->acked_first[look->key + 1]; merge->next++) {
        uint32_t token = cover->acked[merge->next];
        if (op_of(merge, token)->returned_ns >= look->from_ns) break;
        bool counts = look->weak_too || cover_counts(cover, op_of(merge, token));
        if (op_of(merge, token)->kind == OP_PUT && counts) merge->live[merge->live_count++] = token;
    }
    for (uint32_t i = 0; i < merge->live_count; i++) {
        uint32_t element = merge->live[i];
        uint64_t until_ns = merge->removed_ns[element - 1];
        if (cover->gone_ns[element - 1] < until_ns) until_ns = cover->gone_ns[element - 1];
        if (until_ns < look->from_ns) merge->live[i--] = merge->live[--merge->live_count];
        if (until_ns <= look->until_ns) continue;
        bool has = false;
        for (uint32_t at = 0; at < look->seen.count && !has; at++)
            has = cart_has(merge, look->seen.list[at], element);
        if (!has)
            return verdict_fault(verdict, "%s %u%s: cart %u lacks element %u, acknowledged at %.3f ms",
                                 look->what, look->number, verdict_when(look->from_ns, look->until_ns).text,
                                 look->key, element, in_ms(op_of(merge, element)->returned_ns));
    }
    return true;
}

/* --- counters: an element is a session and its number --- */

static uint32_t slot_of(uint32_t element)
{
    return element >> COUNTER_BITS;
}

static uint32_t number_of(uint32_t element)
{
    return element & ((1U << COUNTER_BITS) - 1);
}

static bool judge_counter(struct merge *merge, const struct look *look, struct verdict *verdict)
{
    const struct cover *cover = merge->cover;
    for (; merge->next < cover->acked_first[look->key + 1]; merge->next++) {
        const struct op *op = op_of(merge, cover->acked[merge->next]);
        if (op->returned_ns >= look->from_ns) break;
        struct tokens held = elements_of(merge, cover->acked[merge->next]);
        if (!look->weak_too && !cover_counts(cover, op)) continue;
        for (uint32_t i = 0; i < held.count; i++) {
            uint32_t slot = slot_of(held.list[i]);
            if (slot >= merge->slots) merge->slots = slot + 1;
            if (number_of(held.list[i]) > merge->counted[slot])
                merge->counted[slot] = number_of(held.list[i]);
        }
    }
    uint32_t found[COUNTER_SESSIONS_MAX];
    memset(found, 0, sizeof(*found) * merge->slots);
    for (uint32_t i = 0; i < look->seen.count; i++) {
        struct tokens held = elements_of(merge, look->seen.list[i]);
        for (uint32_t at = 0; at < held.count; at++) {
            uint32_t slot = slot_of(held.list[at]);
            if (slot < merge->slots && number_of(held.list[at]) > found[slot])
                found[slot] = number_of(held.list[at]);
        }
    }
    for (uint32_t slot = 0; slot < merge->slots; slot++)
        if (found[slot] < merge->counted[slot])
            return verdict_fault(verdict,
                                 "%s %u%s: counter %u says that session %u has counted to %u; it "
                                 "was told %u",
                                 look->what, look->number, verdict_when(look->from_ns, look->until_ns).text,
                                 look->key, slot, found[slot], merge->counted[slot]);
    return true;
}

/* Only what it counts itself makes a session's number grow. */
static bool note_counter(struct merge *merge, uint32_t token, struct verdict *verdict)
{
    const struct op *op = op_of(merge, token);
    if (op->kind != OP_PUT) return true;
    struct tokens covers = history_list(merge->cover->history, op->covers), held = elements_of(merge, token);
    for (uint32_t i = 0; i < held.count; i++) {
        bool known = slot_of(held.list[i]) == op->session;
        for (uint32_t at = 0; at < covers.count && !known; at++)
            known = tokens_have(elements_of(merge, covers.list[at]), held.list[i]);
        if (!known)
            return verdict_fault(verdict, "counter %u: put %u has session %u at %u, which nobody counted",
                                 op->key, token, slot_of(held.list[i]), number_of(held.list[i]));
    }
    return true;
}

/* --- both --- */

static void begin(struct merge *merge, uint32_t key)
{
    merge->next = merge->cover->acked_first[key];
    merge->live_count = merge->slots = 0;
    memset(merge->counted, 0, sizeof(merge->counted));
}

static bool judge(struct merge *merge, enum content content, const struct look *look, struct verdict *verdict)
{
    if (content == CONTENT_CART) return judge_cart(merge, look, verdict);
    return judge_counter(merge, look, verdict);
}

static bool judge_key(struct merge *merge, uint32_t key, enum content content, bool strict,
                      struct verdict *verdict)
{
    const struct cover *cover = merge->cover;
    const uint32_t *ops = cover->ops, *first = cover->ops_first;
    for (uint32_t i = first[key]; i < first[key + 1]; i++)
        if (!(content == CONTENT_CART ? note_cart(merge, ops[i], verdict)
                                      : note_counter(merge, ops[i], verdict)))
            return false;
    begin(merge, key);
    for (uint32_t i = first[key]; i < first[key + 1] && strict; i++) {
        const struct op *op = op_of(merge, ops[i]);
        if (!cover_is_reader(cover, op)) continue;
        struct look look = {.what = "read",
                            .number = ops[i],
                            .key = key,
                            .from_ns = op->invoked_ns,
                            .until_ns = op->returned_ns,
                            .seen = history_list(cover->history, op->seen)};
        if (!judge(merge, content, &look, verdict)) return false;
    }
    return true;
}

static bool judge_finals(struct merge *merge, const enum content *contents, struct verdict *verdict)
{
    const struct history *history = merge->cover->history;
    for (uint32_t i = 0; i < history->final_count; i++) {
        const struct final *final = &history->finals[i];
        if (contents[final->key] == CONTENT_PLAIN) continue;
        begin(merge, final->key);
        struct look look = {.what = "the last read at node",
                            .number = final->node + 1,
                            .key = final->key,
                            .from_ns = UINT64_MAX,
                            .until_ns = UINT64_MAX - 1,
                            .weak_too = final->whole,
                            .seen = history_list(history, final->seen)};
        if (!judge(merge, contents[final->key], &look, verdict)) return false;
    }
    return true;
}

bool checker_merge(struct cover *cover, const enum content *contents, bool strict, struct verdict *verdict)
{
    uint32_t count = cover->history->count;
    struct merge merge = {.cover = cover,
                          .removed_ns = malloc((count + 1) * sizeof(*merge.removed_ns)),
                          .live = calloc(count + 1, sizeof(*merge.live))};
    CHECK(merge.removed_ns != NULL);
    CHECK(merge.live != NULL);
    for (uint32_t i = 0; i < count; i++) merge.removed_ns[i] = UINT64_MAX;
    bool good = true;
    for (uint32_t key = 0; key < cover->history->keys && good; key++)
        if (contents[key] != CONTENT_PLAIN) good = judge_key(&merge, key, contents[key], strict, verdict);
    good = good && judge_finals(&merge, contents, verdict);
    free(merge.removed_ns);
    free(merge.live);
    return good;
}
