/* Histories by hand, for the tests of the checkers: times are in milliseconds. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "world/checker.h"

static const uint64_t ms = 1000000;

#define TOKENS(...)                                                                                          \
    ((struct tokens){.list = (const uint32_t[]){__VA_ARGS__},                                                \
                     .count = sizeof((const uint32_t[]){__VA_ARGS__}) / sizeof(uint32_t)})
#define NOTHING ((struct tokens){0})

/* A write of key 1 from @from to @to that covers @covers. Its token. */
static inline uint32_t a_write(struct history *history, enum op_kind kind, uint64_t from, uint64_t to,
                               enum outcome outcome, struct tokens covers)
{
    struct op op = {.kind = (uint8_t)kind, .key = 1, .deadline_ns = (to + 1) * ms};
    uint32_t token = history_invoke(history, &op, from * ms, covers, NOTHING);
    history_return(history, token, outcome, to * ms, NOTHING, 0);
    return token;
}

static inline uint32_t a_put(struct history *history, uint64_t from, uint64_t to, struct tokens covers)
{
    return a_write(history, OP_PUT, from, to, OUTCOME_OK, covers);
}

static inline uint32_t a_get(struct history *history, uint64_t from, uint64_t to, struct tokens seen)
{
    struct op op = {.kind = OP_GET, .key = 1, .deadline_ns = (to + 1) * ms};
    uint32_t token = history_invoke(history, &op, from * ms, NOTHING, NOTHING);
    history_return(history, token, OUTCOME_OK, to * ms, seen, 0);
    return token;
}

typedef bool a_checker(struct cover *cover, struct verdict *verdict);

static inline bool holds(a_checker *checker, const struct history *history)
{
    struct cover cover;
    struct verdict verdict = {{0}};
    cover_build(&cover, history);
    bool good = checker(&cover, &verdict);
    cover_fini(&cover);
    assert_true(good == verdict_good(&verdict));
    if (!good) printf("  %s\n", verdict.why);
    return good;
}

/* The end of the history is that key 1 holds @seen. */
static inline bool ends_well(a_checker *checker, struct history *history, struct tokens seen)
{
    history->final_count = 0;
    history_final(history, 1, 0, true, seen);
    return holds(checker, history);
}
