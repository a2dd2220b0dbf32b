#include "world/frontier.h"

#include <stdlib.h>

#include "base/check.h"

void frontier_init(struct frontier *frontier, const struct cover *cover)
{
    *frontier =
        (struct frontier){.cover = cover, .tokens = calloc(cover->history->count + 1, sizeof(uint32_t))};
    CHECK(frontier->tokens != NULL);
}

void frontier_fini(struct frontier *frontier)
{
    free(frontier->tokens);
    *frontier = (struct frontier){0};
}

void frontier_begin(struct frontier *frontier, uint32_t key)
{
    frontier->key = key;
    frontier->count = 0;
    frontier->next = frontier->cover->acked_first[key];
}

void frontier_advance(struct frontier *frontier, uint64_t now_ns, bool (*counts)(const struct op *op))
{
    const struct cover *cover = frontier->cover;
    for (; frontier->next < cover->acked_first[frontier->key + 1]; frontier->next++) {
        uint32_t token = cover->acked[frontier->next];
        const struct op *op = history_op(cover->history, token);
        if (op->returned_ns >= now_ns) break;
        if (op->kind == OP_PUT && counts(op)) frontier->tokens[frontier->count++] = token;
    }
    /* What may be gone by now never has to be there again. */
    for (uint32_t i = 0; i < frontier->count; i++) {
        uint32_t place = frontier->tokens[i] - 1;
        if (cover->superseded_ns[place] >= now_ns && cover->gone_ns[place] >= now_ns) continue;
        frontier->tokens[i--] = frontier->tokens[--frontier->count];
    }
}
