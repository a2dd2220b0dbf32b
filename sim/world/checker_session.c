/* Checker 3, session guarantees: a session reads its own writes, and with OP_FLOOR nothing older than what it
 * has read before.
 *
 * Each session has a floor for each key: tokens that its next read of that key must hold or cover. A write of
 * its own takes the place of what it covers; so does what a read with OP_FLOOR has shown. Where an
 * acknowledged write covers a floor token by the time of the read, it stands in for it: the walk is short,
 * and who holds the one holds the other. A read that lacks the stand-in is looked at again with the floor
 * itself. */
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "world/checker.h"

struct floor_token {
    uint32_t token;
    uint32_t now; /* who stands in for it, as of the last read */
};

struct floor {
    struct floor_token *tokens;
    uint32_t count, capacity;
    uint32_t key; /* it was for this one */
};

static void floor_add(struct floor *floor, uint32_t token)
{
    for (uint32_t i = 0; i < floor->count; i++)
        if (floor->tokens[i].token == token) return;
    if (floor->count == floor->capacity) {
        floor->capacity = floor->capacity == 0 ? 8 : floor->capacity * 2;
        floor->tokens = realloc(floor->tokens, floor->capacity * sizeof(*floor->tokens));
        CHECK(floor->tokens != NULL);
    }
    floor->tokens[floor->count++] = (struct floor_token){token, token};
}

/* Drop what @covers names. */
static void floor_rise(struct floor *floor, struct tokens covers)
{
    for (uint32_t i = 0; i < floor->count; i++)
        if (tokens_have(covers, floor->tokens[i].token)) floor->tokens[i--] = floor->tokens[--floor->count];
}

/* Go on to those who stand in at @now_ns. One of two tokens with the same stand-in is enough. */
static void stand_in(struct floor *floor, const struct cover *cover, uint64_t now_ns)
{
    for (uint32_t i = 0; i < floor->count; i++) {
        uint32_t *now = &floor->tokens[i].now;
        while (cover->superseded_ns[*now - 1] < now_ns) *now = cover->superseded_by[*now - 1];
        for (uint32_t before = 0; before < i; before++) {
            if (floor->tokens[before].now != *now) continue;
            floor->tokens[i--] = floor->tokens[--floor->count];
            break;
        }
    }
}

static bool holds(struct cover *cover, const struct op *read, struct tokens seen, struct floor_token floor)
{
    if (cover->gone_ns[floor.token - 1] <= read->returned_ns || tokens_have(seen, floor.token)) return true;
    if (cover->gone_ns[floor.now - 1] <= read->returned_ns) return true;
    return cover_holds_at(cover, seen, floor.now, read->invoked_ns) || cover_holds(cover, seen, floor.token);
}

static bool judge_read(struct cover *cover, struct floor *floor, uint32_t number, struct verdict *verdict)
{
    const struct op *read = history_op(cover->history, number);
    struct tokens seen = history_list(cover->history, read->seen);
    stand_in(floor, cover, read->invoked_ns);
    for (uint32_t i = 0; i < floor->count; i++) {
        uint32_t token = floor->tokens[i].token;
        if (!holds(cover, read, seen, floor->tokens[i]))
            return verdict_fault(verdict,
                                 "read %u%s: session %u has written or read %u of key %u, and now "
                                 "does not find it",
                                 number, verdict_when(read->invoked_ns, read->returned_ns).text,
                                 read->session, token, read->key);
        /* What is gone for good is no floor any more. */
        if (cover->gone_ns[token - 1] < read->invoked_ns) floor->tokens[i--] = floor->tokens[--floor->count];
    }
    return true;
}

static bool judge(struct cover *cover, struct floor *floor, uint32_t number, struct verdict *verdict)
{
    const struct history *history = cover->history;
    const struct op *op = history_op(history, number);
    if (op->outcome != OUTCOME_OK || !(op->kind == OP_GET ? cover_is_reader : cover_counts)(cover, op))
        return true;
    struct tokens covers = history_list(history, op->covers), seen = history_list(history, op->seen);
    if (op->kind != OP_GET) {
        floor_rise(floor, covers);
        if (op->kind == OP_PUT) floor_add(floor, number);
        return true;
    }
    if (!judge_read(cover, floor, number, verdict)) return false;
    for (uint32_t i = 0; (op->flags & OP_FLOOR) && i < seen.count; i++) floor_add(floor, seen.list[i]);
    return true;
}

/* A session has one operation of a key under way at a time, so that its operations are in order. */
bool checker_session(struct cover *cover, struct verdict *verdict)
{
    const struct history *history = cover->history;
    struct floor *floors = calloc(history->sessions + 1, sizeof(*floors));
    CHECK(floors != NULL);
    bool good = true;
    for (uint32_t key = 0; key < history->keys && good; key++) {
        for (uint32_t i = cover->ops_first[key]; i < cover->ops_first[key + 1] && good; i++) {
            struct floor *floor = &floors[history_op(history, cover->ops[i])->session];
            if (floor->key != key) floor->count = 0;
            floor->key = key;
            good = judge(cover, floor, cover->ops[i], verdict);
        }
    }
    for (uint32_t i = 0; i < history->sessions; i++) free(floors[i].tokens);
    free(floors);
    return good;
}
