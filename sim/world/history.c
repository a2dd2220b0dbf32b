#include "world/history.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"

/* In an `lww` table stamps decide, and they are in milliseconds: writes this close may go either way. */
static const uint64_t stamp_ns = 2000000;

bool tokens_have(const struct tokens *tokens, uint32_t token)
{
    for (uint32_t i = 0; i < tokens->count; i++)
        if (tokens->list[i] == token) return true;
    return false;
}

void tokens_add(struct tokens *tokens, uint32_t token)
{
    if (tokens_have(tokens, token)) return;
    tokens->list = realloc(tokens->list, (tokens->count + 1) * sizeof(*tokens->list));
    CHECK(tokens->list != NULL);
    tokens->list[tokens->count++] = token;
}

void tokens_fini(struct tokens *tokens)
{
    free(tokens->list);
    *tokens = (struct tokens){0};
}

static struct tokens copy_of(const struct tokens *tokens)
{
    struct tokens copy = {0};
    for (uint32_t i = 0; tokens != NULL && i < tokens->count; i++) tokens_add(&copy, tokens->list[i]);
    return copy;
}

void history_fini(struct history *history)
{
    for (uint32_t i = 0; i < history->count; i++) {
        tokens_fini(&history->ops[i].covers);
        tokens_fini(&history->ops[i].seen);
    }
    free(history->ops);
    free(history->marks);
    *history = (struct history){0};
}

uint32_t history_invoke(struct history *history, enum op_kind kind, uint32_t key, uint64_t now_ns,
                        const struct tokens *covers, bool blind)
{
    if (history->count == history->capacity) {
        history->capacity = history->capacity == 0 ? 256 : history->capacity * 2;
        history->ops = realloc(history->ops, history->capacity * sizeof(*history->ops));
        history->marks = realloc(history->marks, history->capacity);
        CHECK(history->ops != NULL);
        CHECK(history->marks != NULL);
    }
    history->ops[history->count++] = (struct op){.kind = kind,
                                                 .key = key,
                                                 .invoked_ns = now_ns,
                                                 .returned_ns = UINT64_MAX,
                                                 .covers = copy_of(covers),
                                                 .blind = blind};
    return history->count;
}

void history_return(struct history *history, uint32_t token, enum outcome outcome, uint64_t now_ns,
                    const struct tokens *seen)
{
    struct op *op = &history->ops[token - 1];
    op->outcome = outcome;
    op->returned_ns = outcome == OUTCOME_INFO ? UINT64_MAX : now_ns;
    op->seen = copy_of(seen);
}

/* Mark all that the write covers*. A token only covers smaller ones, so this ends. */
static void mark_covered(struct history *history, uint32_t token)
{
    const struct tokens *covers = &history->ops[token - 1].covers;
    for (uint32_t i = 0; i < covers->count; i++) {
        uint32_t below = covers->list[i];
        if (history->marks[below - 1] != 0) continue;
        history->marks[below - 1] = 1;
        mark_covered(history, below);
    }
}

/* Mark what a delete may have covered, though nothing shows it. */
static void mark_deleted(struct history *history, uint32_t key, uint64_t before_ns)
{
    for (uint32_t i = 0; i < history->count; i++) {
        const struct op *op = &history->ops[i];
        if (op->kind != OP_DELETE || op->key != key || op->outcome == OUTCOME_FAIL) continue;
        if (op->invoked_ns > before_ns) continue;
        mark_covered(history, i + 1);
        for (uint32_t below = 0; op->blind && below < history->count; below++)
            if (history->ops[below].key == key && history->ops[below].invoked_ns < op->returned_ns)
                history->marks[below] = 1;
    }
}

/* Is every write of @key acknowledged before @before_ns in @seen, or covered by it or by a delete? */
static bool nothing_missing(struct history *history, uint32_t key, const struct tokens *seen,
                            uint64_t before_ns, uint64_t now_ns, char *why, size_t why_bytes)
{
    memset(history->marks, 0, history->count);
    for (uint32_t i = 0; i < seen->count; i++) mark_covered(history, seen->list[i]);
    mark_deleted(history, key, now_ns);
    for (uint32_t i = 0; i < history->count; i++) {
        const struct op *op = &history->ops[i];
        if (op->kind != OP_PUT || op->key != key || op->outcome != OUTCOME_OK) continue;
        if (op->returned_ns >= before_ns || history->marks[i] != 0 || tokens_have(seen, i + 1)) continue;
        snprintf(why, why_bytes,
                 "write %u of key %u, acknowledged at %.3f ms, is not there and nothing covers it", i + 1,
                 key, (double)op->returned_ns / 1e6);
        return false;
    }
    return true;
}

/* The same where the latest stamp wins: what is there was not over before an acknowledged write began. */
static bool nothing_missing_lww(struct history *history, uint32_t key, const struct tokens *seen,
                                uint64_t before_ns, uint64_t now_ns, char *why, size_t why_bytes)
{
    bool deleted = false;
    uint64_t until_ns = 0; /* what is there may have been written as late as then */
    for (uint32_t i = 0; i < history->count && seen->count == 0; i++) {
        const struct op *op = &history->ops[i];
        if (op->kind != OP_DELETE || op->key != key || op->outcome == OUTCOME_FAIL) continue;
        if (op->invoked_ns > now_ns) continue;
        deleted = true;
        if (op->returned_ns > until_ns) until_ns = op->returned_ns;
    }
    if (seen->count > 0) until_ns = history->ops[seen->list[0] - 1].returned_ns;
    if (until_ns > UINT64_MAX - stamp_ns) return true;
    for (uint32_t i = 0; i < history->count; i++) {
        const struct op *op = &history->ops[i];
        if (op->kind == OP_GET || op->key != key || op->outcome != OUTCOME_OK) continue;
        if (op->returned_ns >= before_ns) continue;
        if (op->kind == OP_DELETE && seen->count == 0) continue;
        if ((seen->count > 0 || deleted) && op->invoked_ns <= until_ns + stamp_ns) continue;
        snprintf(why, why_bytes, "write %u of key %u, acknowledged at %.3f ms, gave way to an older one",
                 i + 1, key, (double)op->returned_ns / 1e6);
        return false;
    }
    return true;
}

static bool complete(struct history *history, uint32_t key, const struct tokens *seen, uint64_t before_ns,
                     uint64_t now_ns, char *why, size_t why_bytes)
{
    return history->lww ? nothing_missing_lww(history, key, seen, before_ns, now_ns, why, why_bytes)
                        : nothing_missing(history, key, seen, before_ns, now_ns, why, why_bytes);
}

/* What is there is of this key, had begun, may have happened, and no part of it covers another. */
static bool plausible(struct history *history, uint32_t key, const struct tokens *seen, uint64_t now_ns,
                      char *why, size_t why_bytes)
{
    for (uint32_t i = 0; i < seen->count; i++) {
        uint32_t token = seen->list[i];
        const struct op *op = token >= 1 && token <= history->count ? &history->ops[token - 1] : NULL;
        if (op == NULL || op->key != key || op->kind != OP_PUT || op->invoked_ns > now_ns) {
            snprintf(why, why_bytes, "key %u holds %u, which nobody wrote there", key, token);
            return false;
        }
        if (op->outcome == OUTCOME_FAIL) {
            snprintf(why, why_bytes, "key %u holds write %u, which was said not to be applied", key, token);
            return false;
        }
    }
    if (history->lww && seen->count > 1) {
        snprintf(why, why_bytes, "key %u of an lww table has %u siblings", key, seen->count);
        return false;
    }
    memset(history->marks, 0, history->count);
    for (uint32_t i = 0; i < seen->count; i++) mark_covered(history, seen->list[i]);
    for (uint32_t i = 0; i < seen->count; i++) {
        if (history->marks[seen->list[i] - 1] == 0) continue;
        snprintf(why, why_bytes, "key %u holds write %u beside one that covers it", key, seen->list[i]);
        return false;
    }
    return true;
}

/* Nothing is there that a write acknowledged before the read began covers. */
static bool nothing_stale(struct history *history, const struct op *read, char *why, size_t why_bytes)
{
    memset(history->marks, 0, history->count);
    for (uint32_t i = 0; i < history->count; i++) {
        const struct op *op = &history->ops[i];
        if (op->kind == OP_GET || op->key != read->key || op->outcome != OUTCOME_OK) continue;
        if (op->returned_ns < read->invoked_ns) mark_covered(history, i + 1);
    }
    for (uint32_t i = 0; i < read->seen.count; i++) {
        if (history->marks[read->seen.list[i] - 1] == 0) continue;
        snprintf(why, why_bytes, "write %u is back, though an acknowledged write covers it",
                 read->seen.list[i]);
        return false;
    }
    return true;
}

bool history_check_reads(struct history *history, bool strict, char *why, size_t why_bytes)
{
    for (uint32_t i = 0; i < history->count; i++) {
        const struct op *read = &history->ops[i];
        char what[160];
        if (read->kind != OP_GET || read->outcome != OUTCOME_OK) continue;
        bool good = plausible(history, read->key, &read->seen, read->returned_ns, what, sizeof(what));
        if (good && strict)
            good = complete(history, read->key, &read->seen, read->invoked_ns, read->returned_ns, what,
                            sizeof(what));
        if (good && strict && !history->lww) good = nothing_stale(history, read, what, sizeof(what));
        if (good) continue;
        snprintf(why, why_bytes, "read %u at %.3f ms: %s", i + 1, (double)read->invoked_ns / 1e6, what);
        return false;
    }
    return true;
}

bool history_check_final(struct history *history, uint32_t key, const struct tokens *seen, char *why,
                         size_t why_bytes)
{
    return plausible(history, key, seen, UINT64_MAX - 1, why, why_bytes) &&
           complete(history, key, seen, UINT64_MAX, UINT64_MAX - 1, why, why_bytes);
}
