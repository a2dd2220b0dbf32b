#include "world/history.h"

#include <stdlib.h>
#include <string.h>

#include "base/check.h"

void history_fini(struct history *history)
{
    free(history->ops);
    free(history->attempts);
    free(history->pool);
    free(history->finals);
    *history = (struct history){0};
}

static struct token_run keep(struct history *history, struct tokens tokens)
{
    struct token_run run = {.at = history->pool_count, .count = tokens.count};
    while (history->pool_count + tokens.count > history->pool_capacity) {
        history->pool_capacity = history->pool_capacity == 0 ? 1024 : history->pool_capacity * 2;
        history->pool = realloc(history->pool, history->pool_capacity * sizeof(*history->pool));
        CHECK(history->pool != NULL);
    }
    if (tokens.count > 0)
        memcpy(history->pool + history->pool_count, tokens.list, tokens.count * sizeof(*tokens.list));
    history->pool_count += tokens.count;
    return run;
}

uint32_t history_invoke(struct history *history, const struct op *op, uint64_t now_ns, struct tokens covers,
                        struct tokens elements)
{
    if (history->count == history->capacity) {
        history->capacity = history->capacity == 0 ? 256 : history->capacity * 2;
        history->ops = realloc(history->ops, history->capacity * sizeof(*history->ops));
        CHECK(history->ops != NULL);
    }
    struct op *added = &history->ops[history->count++];
    *added = *op;
    added->outcome = OUTCOME_INFO;
    added->invoked_ns = added->tried_ns = now_ns;
    added->patience_ns = op->deadline_ns;
    added->returned_ns = added->ended_ns = UINT64_MAX;
    added->covers = keep(history, covers);
    added->elements = keep(history, elements);
    added->seen = (struct token_run){0};
    if (op->key >= history->keys) history->keys = op->key + 1;
    if (op->session >= history->sessions) history->sessions = op->session + 1U;
    return history->count;
}

void history_again(struct history *history, uint32_t token, uint32_t node, uint64_t now_ns,
                   uint64_t deadline_ns, bool maybe)
{
    struct op *op = &history->ops[token - 1];
    if (history->attempt_count == history->attempt_capacity) {
        history->attempt_capacity = history->attempt_capacity == 0 ? 64 : history->attempt_capacity * 2;
        history->attempts =
            realloc(history->attempts, history->attempt_capacity * sizeof(*history->attempts));
        CHECK(history->attempts != NULL);
    }
    history->attempts[history->attempt_count++] = history_last_attempt(history, token);
    op->tried_ns = now_ns;
    op->seen = (struct token_run){0};
    if (deadline_ns > op->patience_ns) op->patience_ns = deadline_ns;
    op->node = (uint16_t)node;
    op->deadline_ns = deadline_ns;
    op->ended_ns = op->returned_ns = UINT64_MAX;
    op->outcome = OUTCOME_INFO;
    op->flags &= (uint16_t) ~(OP_LOST | OP_HUNG_UP | OP_REJECTED);
    if (maybe) op->flags |= OP_REPEATED;
}

void history_return(struct history *history, uint32_t token, enum outcome outcome, uint64_t now_ns,
                    struct tokens seen, uint32_t flags)
{
    struct op *op = &history->ops[token - 1];
    op->outcome = (uint8_t)outcome;
    op->ended_ns = now_ns;
    op->returned_ns = outcome == OUTCOME_INFO ? UINT64_MAX : now_ns;
    op->flags |= (uint16_t)flags;
    op->seen = keep(history, seen);
}

bool history_written(struct history *history, uint32_t token, uint64_t written_ms)
{
    if (token == 0 || token > history->count) return true; /* that is for others to say */
    struct op *op = &history->ops[token - 1];
    if (op->flags & OP_REPEATED) return true; /* two homes may have minted it */
    if (op->written_ms == 0) op->written_ms = written_ms;
    return op->written_ms == written_ms;
}

void history_final(struct history *history, uint32_t key, uint32_t node, bool whole, struct tokens seen)
{
    if (history->final_count == history->final_capacity) {
        history->final_capacity = history->final_capacity == 0 ? 64 : history->final_capacity * 2;
        history->finals = realloc(history->finals, history->final_capacity * sizeof(*history->finals));
        CHECK(history->finals != NULL);
    }
    history->finals[history->final_count++] =
        (struct final){.key = key, .node = node, .whole = whole, .seen = keep(history, seen)};
    if (key >= history->keys) history->keys = key + 1;
}
