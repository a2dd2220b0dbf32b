#include "world/frontier.h"

#include <stdlib.h>

#include "base/check.h"

void frontier_init(struct frontier *frontier, const struct cover *cover, frontier_choice *judged,
                   frontier_choice *counts)
{
    *frontier = (struct frontier){.cover = cover,
                                  .judged = judged,
                                  .counts = counts,
                                  .tokens = calloc(cover->history->count + 1, sizeof(uint32_t))};
    CHECK(frontier->tokens != NULL);
}

void frontier_fini(struct frontier *frontier)
{
    free(frontier->tokens);
    *frontier = (struct frontier){0};
}

static void advance(struct frontier *frontier, uint64_t now_ns)
{
    const struct cover *cover = frontier->cover;
    for (; frontier->acked < cover->acked_first[frontier->key + 1]; frontier->acked++) {
        uint32_t token = cover->acked[frontier->acked];
        const struct op *op = history_op(cover->history, token);
        if (op->returned_ns >= now_ns) break;
        if (op->kind == OP_PUT && frontier->counts(cover, op)) frontier->tokens[frontier->count++] = token;
    }
    /* What may be gone by now never has to be there again. */
    for (uint32_t i = 0; i < frontier->count; i++) {
        uint32_t place = frontier->tokens[i] - 1;
        if (cover->superseded_ns[place] >= now_ns && cover->gone_ns[place] >= now_ns) continue;
        frontier->tokens[i--] = frontier->tokens[--frontier->count];
    }
}

uint32_t frontier_next(struct frontier *frontier)
{
    const struct cover *cover = frontier->cover;
    while (frontier->key < cover->history->keys) {
        while (frontier->op < cover->ops_first[frontier->key + 1]) {
            uint32_t token = cover->ops[frontier->op++];
            const struct op *op = history_op(cover->history, token);
            if (!frontier->judged(cover, op)) continue;
            advance(frontier, op->invoked_ns);
            return token;
        }
        frontier->key++;
        frontier->acked = cover->acked_first[frontier->key];
        frontier->count = 0;
    }
    return 0;
}
