#include "world/cover.h"

#include <stdlib.h>
#include <string.h>

#include "base/check.h"

static void *array_of(size_t count, size_t size)
{
    void *array = calloc(count + 1, size);
    CHECK(array != NULL);
    return array;
}

void cover_fini(struct cover *cover)
{
    free(cover->ops);
    free(cover->ops_first);
    free(cover->acked);
    free(cover->acked_first);
    free(cover->superseded_by);
    free(cover->superseded_ns);
    free(cover->gone_ns);
    free(cover->visited);
    free(cover->stack);
    *cover = (struct cover){0};
}

static const struct op *op_of(const struct cover *cover, uint32_t token)
{
    return history_op(cover->history, token);
}

/* Spread @tokens over their keys; they keep their order. */
static void by_key(const struct cover *cover, const uint32_t *tokens, uint32_t count, uint32_t *out,
                   uint32_t *first)
{
    uint32_t keys = cover->history->keys;
    for (uint32_t i = 0; i < count; i++) first[op_of(cover, tokens[i])->key + 1]++;
    for (uint32_t key = 0; key < keys; key++) first[key + 1] += first[key];
    uint32_t *at = array_of(keys, sizeof(*at));
    memcpy(at, first, keys * sizeof(*at));
    for (uint32_t i = 0; i < count; i++) out[at[op_of(cover, tokens[i])->key]++] = tokens[i];
    free(at);
}

/* --- times, sorted --- */

struct moment {
    uint64_t at_ns;
    uint32_t token;
};

static int by_time(const void *a, const void *b)
{
    const struct moment *x = a, *y = b;
    if (x->at_ns != y->at_ns) return x->at_ns < y->at_ns ? -1 : 1;
    return x->token < y->token ? -1 : x->token > y->token;
}

/* Push what @token covers. */
static uint32_t push_below(struct cover *cover, uint32_t depth, uint32_t token)
{
    struct tokens below = history_list(cover->history, op_of(cover, token)->covers);
    for (uint32_t i = 0; i < below.count; i++) {
        uint32_t *visited = &cover->visited[below.list[i] - 1];
        if (*visited == cover->visit) continue;
        *visited = cover->visit;
        cover->stack[depth++] = below.list[i];
    }
    return depth;
}

/* All that @token covers* and that nothing acknowledged earlier does. */
static void supersede(struct cover *cover, uint32_t token)
{
    uint64_t at_ns = op_of(cover, token)->returned_ns;
    cover->visit++;
    uint32_t depth = push_below(cover, 0, token);
    while (depth > 0) {
        uint32_t below = cover->stack[--depth];
        if (cover->superseded_by[below - 1] != 0) continue; /* and so is all beneath it */
        cover->superseded_by[below - 1] = token;
        cover->superseded_ns[below - 1] = at_ns;
        depth = push_below(cover, depth, below);
    }
}

/* Where all homes have acknowledged a write, whoever coordinates a blind delete after that holds it. */
static bool is_at_all_homes(const struct cover *cover, const struct op *op)
{
    const struct history *history = cover->history;
    if (op->flags & OP_WEAK) return false;
    return history->n != 0 ? op->quorum.needs >= history->n : history->all_homes;
}

static void supersede_blindly(struct cover *cover, uint32_t key)
{
    uint32_t next = cover->acked_first[key];
    for (uint32_t i = next; i < cover->acked_first[key + 1]; i++) {
        const struct op *op = op_of(cover, cover->acked[i]);
        if ((op->flags & OP_BLIND) == 0 || !cover_counts(cover, op)) continue;
        for (; op_of(cover, cover->acked[next])->returned_ns < op->invoked_ns; next++) {
            uint32_t place = cover->acked[next] - 1;
            if (!is_at_all_homes(cover, op_of(cover, place + 1)) || cover->superseded_by[place] != 0)
                continue;
            cover->superseded_by[place] = cover->acked[i];
            cover->superseded_ns[place] = op->returned_ns;
        }
    }
}

static void set_acked(struct cover *cover)
{
    const struct history *history = cover->history;
    struct moment *moments = array_of(history->count, sizeof(*moments));
    uint32_t *tokens = array_of(history->count, sizeof(*tokens));
    uint32_t count = 0;
    for (uint32_t token = 1; token <= history->count; token++) {
        const struct op *op = history_op(history, token);
        if (op->kind != OP_GET && op->outcome == OUTCOME_OK)
            moments[count++] = (struct moment){op->returned_ns, token};
    }
    qsort(moments, count, sizeof(*moments), by_time);
    for (uint32_t i = 0; i < count; i++) {
        tokens[i] = moments[i].token;
        if (cover_counts(cover, op_of(cover, tokens[i]))) supersede(cover, tokens[i]);
    }
    by_key(cover, tokens, count, cover->acked, cover->acked_first);
    for (uint32_t key = 0; key < history->keys && (history->all_homes || history->n != 0); key++)
        supersede_blindly(cover, key);
    free(moments);
    free(tokens);
}

/* From when @token, if it was applied, reads as absent and keeps away what it covers: not before it was
 * minted, whatever the clocks say. */
static uint64_t gone_from(const struct history *history, const struct op *op)
{
    if (op->outcome == OUTCOME_FAIL) return UINT64_MAX;
    if (op->kind == OP_DELETE) return op->invoked_ns;
    if (op->kind != OP_PUT || op->ttl_ns == 0) return UINT64_MAX;
    return op->invoked_ns + (op->ttl_ns > history->skew_ns ? op->ttl_ns - history->skew_ns : 0);
}

static void take_away(struct cover *cover, uint32_t token, uint64_t at_ns)
{
    cover->visit++;
    cover->gone_ns[token - 1] = cover->gone_ns[token - 1] < at_ns ? cover->gone_ns[token - 1] : at_ns;
    uint32_t depth = push_below(cover, 0, token);
    while (depth > 0) {
        uint32_t below = cover->stack[--depth];
        if (cover->gone_ns[below - 1] <= at_ns) continue;
        cover->gone_ns[below - 1] = at_ns;
        depth = push_below(cover, depth, below);
    }
}

/* A blind delete may have taken all that was begun before it was minted. What it covers is settled then:
 * however late its tombstone comes to a home, by hints or an exchange, it takes no more. */
static void take_blindly(struct cover *cover, uint32_t key)
{
    uint32_t from = cover->ops_first[key], to = cover->ops_first[key + 1], count = 0;
    struct moment *moments = array_of(to - from, sizeof(*moments)); /* at: the mint, at the latest */
    for (uint32_t i = from; i < to; i++) {
        const struct op *op = op_of(cover, cover->ops[i]);
        if (op->kind != OP_DELETE || (op->flags & OP_BLIND) == 0 || op->outcome == OUTCOME_FAIL) continue;
        moments[count++] = (struct moment){history_minted_by(cover->history, op), cover->ops[i]};
    }
    qsort(moments, count, sizeof(*moments), by_time);
    /* The later the put, the fewer are left; the earliest beginning of those that end after it. */
    uint64_t begun_ns = UINT64_MAX;
    for (uint32_t i = to; i > from; i--) {
        uint32_t token = cover->ops[i - 1];
        const struct op *op = op_of(cover, token);
        for (; count > 0 && moments[count - 1].at_ns > op->invoked_ns; count--) {
            uint64_t invoked_ns = op_of(cover, moments[count - 1].token)->invoked_ns;
            if (invoked_ns < begun_ns) begun_ns = invoked_ns;
        }
        if (op->kind == OP_PUT && begun_ns < cover->gone_ns[token - 1]) cover->gone_ns[token - 1] = begun_ns;
    }
    free(moments);
}

static void set_gone(struct cover *cover)
{
    const struct history *history = cover->history;
    struct moment *moments = array_of(history->count, sizeof(*moments));
    uint32_t count = 0;
    for (uint32_t token = 1; token <= history->count; token++) {
        uint64_t at_ns = gone_from(history, history_op(history, token));
        if (at_ns != UINT64_MAX) moments[count++] = (struct moment){at_ns, token};
    }
    qsort(moments, count, sizeof(*moments), by_time);
    for (uint32_t i = 0; i < count; i++) take_away(cover, moments[i].token, moments[i].at_ns);
    free(moments);
    for (uint32_t key = 0; key < history->keys; key++) take_blindly(cover, key);
}

void cover_build(struct cover *cover, const struct history *history)
{
    cover_build_for(cover, history, (struct quorum){0});
}

void cover_build_for(struct cover *cover, const struct history *history, struct quorum reader)
{
    uint32_t count = history->count;
    *cover = (struct cover){
        .history = history,
        .reader = reader,
        .ops = array_of(count, sizeof(uint32_t)),
        .ops_first = array_of(history->keys, sizeof(uint32_t)),
        .acked = array_of(count, sizeof(uint32_t)),
        .acked_first = array_of(history->keys, sizeof(uint32_t)),
        .superseded_by = array_of(count, sizeof(uint32_t)),
        .superseded_ns = array_of(count, sizeof(uint64_t)),
        .gone_ns = array_of(count, sizeof(uint64_t)),
        .visited = array_of(count, sizeof(uint32_t)),
        .stack = array_of(count, sizeof(uint32_t)),
    };
    memset(cover->superseded_ns, 0xff, count * sizeof(uint64_t));
    memset(cover->gone_ns, 0xff, count * sizeof(uint64_t));
    uint32_t *tokens = array_of(count, sizeof(*tokens));
    for (uint32_t i = 0; i < count; i++) tokens[i] = i + 1;
    by_key(cover, tokens, count, cover->ops, cover->ops_first);
    free(tokens);
    set_acked(cover);
    set_gone(cover);
}

/* --- walks --- */

bool cover_holds_at(struct cover *cover, struct tokens seen, uint32_t token, uint64_t at_ns)
{
    uint32_t depth = 0;
    cover->visit++;
    for (uint32_t i = 0; i < seen.count; i++) {
        uint32_t above = seen.list[i];
        if (above == token) return true;
        if (above < token || cover->visited[above - 1] == cover->visit) continue;
        cover->visited[above - 1] = cover->visit;
        cover->stack[depth++] = above;
    }
    while (depth > 0) {
        uint32_t above = cover->stack[--depth];
        /* Whatever an acknowledged write covers* is superseded, and @token is not. */
        if (cover->superseded_ns[above - 1] < at_ns) continue;
        const struct op *op = op_of(cover, above);
        if (op->returned_ns < at_ns && cover_counts(cover, op) && op->outcome == OUTCOME_OK) continue;
        struct tokens below = history_list(cover->history, op->covers);
        for (uint32_t i = 0; i < below.count; i++) {
            uint32_t next = below.list[i];
            if (next == token) return true;
            if (next < token || cover->visited[next - 1] == cover->visit) continue;
            cover->visited[next - 1] = cover->visit;
            cover->stack[depth++] = next;
        }
    }
    return false;
}

bool cover_holds(struct cover *cover, struct tokens seen, uint32_t token)
{
    return cover_holds_at(cover, seen, token, 0);
}
