/* Checkers 6, 8 and 10: equal copies, carts and counters, answers in time. */
#include "base/status.h"
#include "checker_history.h"

static uint32_t a_content(struct history *history, uint64_t from, uint64_t to, enum outcome outcome,
                          struct tokens covers, struct tokens elements)
{
    struct op op = {.kind = OP_PUT, .key = 1};
    uint32_t token = history_invoke(history, &op, from * ms, covers, elements);
    history_return(history, token, outcome, to * ms, NOTHING, 0);
    return token;
}

static bool merges(const struct history *history, enum content content)
{
    struct cover cover;
    struct verdict verdict = {{0}};
    const enum content contents[] = {CONTENT_PLAIN, content};
    cover_build(&cover, history);
    bool good = checker_merge(&cover, contents, true, &verdict);
    cover_fini(&cover);
    if (!good) printf("  %s\n", verdict.why);
    return good;
}

static void cart(void **state)
{
    (void)state;
    struct history history = {0};
    uint32_t a = a_content(&history, 1, 2, OUTCOME_OK, NOTHING, NOTHING);
    uint32_t b = a_content(&history, 3, 4, OUTCOME_OK, TOKENS(a), TOKENS(a));
    a_get(&history, 5, 6, TOKENS(b));
    assert_true(merges(&history, CONTENT_CART));
    uint32_t c =
        a_content(&history, 7, 8, OUTCOME_OK, TOKENS(b), TOKENS(b)); /* leaves a out, having seen it */
    a_get(&history, 9, 10, TOKENS(c));
    assert_true(merges(&history, CONTENT_CART));
    uint32_t d = a_content(&history, 11, 12, OUTCOME_OK, TOKENS(c), TOKENS(c, b));
    a_get(&history, 13, 14, TOKENS(c));
    assert_false(merges(&history, CONTENT_CART)); /* d is lost */
    history.count--;
    history_final(&history, 1, 0, true, TOKENS(d));
    assert_true(merges(&history, CONTENT_CART));
    history_final(&history, 1, 1, true, TOKENS(a));
    assert_false(
        merges(&history, CONTENT_CART)); /* what c left out is the least of it: b, c and d are lost */
    history_fini(&history);
}

/* A client that forgets to merge one sibling covers it and drops what it held. */
static void bad_merge(void **state)
{
    (void)state;
    struct history history = {0};
    uint32_t a = a_content(&history, 1, 2, OUTCOME_OK, NOTHING, NOTHING);
    uint32_t b = a_content(&history, 1, 2, OUTCOME_OK, NOTHING, NOTHING);
    /* It never saw b, yet its context covered it: so it says nothing of b's removal. */
    uint32_t c = a_content(&history, 3, 4, OUTCOME_OK, TOKENS(a), TOKENS(a));
    a_get(&history, 5, 6, TOKENS(c));
    assert_false(merges(&history, CONTENT_CART));
    history.count--;
    a_get(&history, 5, 6, TOKENS(b, c));
    assert_true(merges(&history, CONTENT_CART));
    uint32_t d = a_content(&history, 7, 8, OUTCOME_INFO, TOKENS(b, c), TOKENS(a, b, c, 99));
    assert_false(merges(&history, CONTENT_CART)); /* 99 was never added */
    (void)d;
    history_fini(&history);
}

#define COUNT(session, number) ((uint32_t)(session) << COUNTER_BITS | (number))

static void counter(void **state)
{
    (void)state;
    struct history history = {0};
    uint32_t a = a_content(&history, 1, 2, OUTCOME_OK, NOTHING, TOKENS(COUNT(0, 1)));
    uint32_t b = a_content(&history, 3, 4, OUTCOME_OK, TOKENS(a), TOKENS(COUNT(0, 2)));
    a_get(&history, 5, 6, TOKENS(b));
    assert_true(merges(&history, CONTENT_COUNTER));
    a_get(&history, 7, 8, TOKENS(a));
    assert_false(merges(&history, CONTENT_COUNTER)); /* it went back */
    history.count--;
    a_content(&history, 9, 10, OUTCOME_OK, TOKENS(b), TOKENS(COUNT(0, 3), COUNT(5, 1)));
    assert_false(merges(&history, CONTENT_COUNTER)); /* session 5 never counted */
    history_fini(&history);
}

static void copies(void **state)
{
    (void)state;
    struct verdict verdict = {{0}};
    struct copy list[] = {{0, 0, true, 7},  {0, 1, true, 7}, {0, 2, false, 0},
                          {1, 0, false, 0}, {1, 1, true, 9}, {1, 2, true, 9}};
    assert_true(checker_copies(list, 6, &verdict));
    list[5].digest = 8; /* differs */
    assert_false(checker_copies(list, 6, &verdict));
    list[5].digest = 0; /* is missing */
    verdict.why[0] = 0;
    assert_false(checker_copies(list, 6, &verdict));
    list[5].digest = 9;
    list[2].digest = 7; /* lies where it has no home */
    verdict.why[0] = 0;
    assert_false(checker_copies(list, 6, &verdict));
    assert_true(verdict.why[0] != 0);
}

static void trees(void **state)
{
    (void)state;
    struct verdict verdict = {{0}};
    struct tree_copy list[] = {{0, 0, true, true, 7, 7},
                               {0, 1, true, true, 7, 7},
                               {0, 2, false, true, 8, 8}, /* no home: it need not be as the others */
                               {1, 0, false, false, 0, 9},
                               {1, 1, true, true, 9, 9}};
    assert_true(checker_trees(list, 5, &verdict));
    list[1].root = 6; /* another than that of what it holds, though that is the same everywhere */
    assert_false(checker_trees(list, 5, &verdict));
    assert_non_null(strstr(verdict.why, "the tree of vnode 0 on node 2 is not that"));
    verdict.why[0] = 0;
    list[0].root = 6; /* and at both homes */
    assert_false(checker_trees(list, 5, &verdict));
    verdict.why[0] = 0;
    list[0].root = 7;
    list[1].root = list[1].rebuilt = 6; /* differs */
    assert_false(checker_trees(list, 5, &verdict));
    assert_non_null(strstr(verdict.why, "vnode 0 differ on node 1 and node 2"));
    verdict.why[0] = 0;
    list[1].root = list[1].rebuilt = 7;
    list[2].root = 7; /* whoever is compared or not: it is that of what it holds */
    assert_false(checker_trees(list, 5, &verdict));
    verdict.why[0] = 0;
    list[2].root = 8;
    list[4].built = false; /* is missing */
    assert_false(checker_trees(list, 5, &verdict));
    assert_non_null(strstr(verdict.why, "node 2 has no tree of vnode 1"));
}

static void hints(void **state)
{
    (void)state;
    struct verdict verdict = {{0}};
    uint32_t hints[] = {0, 0, 0};
    assert_true(checker_hints(hints, 3, &verdict));
    hints[2] = 1;
    assert_false(checker_hints(hints, 3, &verdict));
    assert_non_null(strstr(verdict.why, "node 3 keeps 1 hints"));
}

static bool answers(const struct history *history, const struct answer_rules *rules)
{
    struct verdict verdict = {{0}};
    bool good = checker_answers(history, rules, &verdict);
    if (!good) printf("  %s\n", verdict.why);
    return good;
}

static void deadlines(void **state)
{
    (void)state;
    struct history history = {0};
    struct standstill still = {.node = 0, .from_ns = 5 * ms, .until_ns = 55 * ms};
    struct answer_rules rules = {.grace_ns = 2 * ms};
    struct op op = {.kind = OP_GET, .deadline_ns = 10 * ms};
    uint32_t token = history_invoke(&history, &op, 1 * ms, NOTHING, NOTHING);
    assert_false(answers(&history, &rules)); /* never answered */
    history_return(&history, token, OUTCOME_INFO, 12 * ms, NOTHING, 0);
    assert_true(answers(&history, &rules));
    history.ops[0].ended_ns = 60 * ms;
    assert_false(answers(&history, &rules)); /* late */
    rules.standstills = &still;
    rules.standstill_count = 1;
    assert_true(answers(&history, &rules)); /* its node stood still for 50 ms */
    history.ops[0].ended_ns = 63 * ms;
    assert_false(answers(&history, &rules));
    history.ops[0].flags |= OP_LOST; /* a connection that closes excuses it ... */
    assert_true(answers(&history, &rules));
    rules.prompt = true; /* ... but not where it would have closed before */
    assert_false(answers(&history, &rules));
    history.ops[0].ended_ns = 62 * ms;
    assert_true(answers(&history, &rules));
    history.ops[0].flags |= OP_HUNG_UP; /* nor where it was the node that closed it */
    assert_false(answers(&history, &rules));
    history.ops[0].flags = 0;
    history.ops[0].ended_ns = 9 * ms;
    history.ops[0].status = STATUS_INTERNAL;
    assert_false(answers(&history, &rules));
    history_fini(&history);
}

/* What an attempt was answered is judged, however well the one after it went. */
static void attempts(void **state)
{
    (void)state;
    struct history history = {0};
    struct answer_rules rules = {.grace_ns = 2 * ms};
    uint32_t token = a_write(&history, OP_PUT, 1, 20, OUTCOME_INFO, NOTHING); /* its deadline is 21 */
    history.ops[token - 1].status = STATUS_TIMEOUT;
    history_again(&history, token, 1, 30 * ms, 40 * ms, true);
    history_return(&history, token, OUTCOME_OK, 35 * ms, NOTHING, 0);
    history.ops[token - 1].status = STATUS_OK;
    assert_true(answers(&history, &rules));
    history.attempts[0].ended_ns = 24 * ms;
    assert_false(answers(&history, &rules)); /* late */
    history.attempts[0].lost = true;
    assert_true(answers(&history, &rules));
    history.attempts[0].ended_ns = UINT64_MAX;
    assert_false(answers(&history, &rules)); /* never answered */
    history.attempts[0] = (struct attempt){.token = token, .status = STATUS_INTERNAL};
    assert_false(answers(&history, &rules));
    history.attempts[0].status = STATUS_TIMEOUT;
    const struct duty first = {0, 30 * ms, 1}, second = {30 * ms, 40 * ms, 2};
    rules.duty_count = 1;
    rules.duties = &second;
    assert_true(answers(&history, &rules));
    rules.duties = &first; /* on which the second attempt was not */
    assert_false(answers(&history, &rules));
    history_fini(&history);

    token = a_write(&history, OP_PUT, 1, 20, OUTCOME_INFO, NOTHING);
    history_return(&history, token, OUTCOME_INFO, 20 * ms, TOKENS(2), 0); /* nobody wrote that yet */
    history_again(&history, token, 1, 30 * ms, 40 * ms, true);
    history_return(&history, token, OUTCOME_OK, 35 * ms, NOTHING, 0);
    a_put(&history, 36, 37, NOTHING);
    assert_false(holds(checker_siblings, &history));
    history.attempts[0].seen.count = 0;
    assert_true(holds(checker_siblings, &history));
    history_fini(&history);
}

static void core(void **state)
{
    (void)state;
    struct history history = {0};
    const struct duty duties[] = {{10 * ms, 20 * ms, 1 << 2}, {100 * ms, 200 * ms, 1 << 2}};
    struct answer_rules rules = {.duties = duties, .duty_count = 2};
    struct op op = {.kind = OP_GET, .node = 2, .deadline_ns = 1000 * ms};
    uint32_t token = history_invoke(&history, &op, 99 * ms, NOTHING, NOTHING);
    history_return(&history, token, OUTCOME_INFO, 101 * ms, NOTHING, 0);
    history.ops[0].status = STATUS_UNAVAILABLE;
    assert_true(answers(&history, &rules)); /* begun before */
    history.ops[0].tried_ns = 100 * ms;
    assert_false(answers(&history, &rules));
    history.ops[0].tried_ns = 10 * ms;
    assert_false(answers(&history, &rules));
    history.ops[0].tried_ns = 20 * ms; /* between the two */
    assert_true(answers(&history, &rules));
    history.ops[0].tried_ns = 199 * ms;
    assert_false(answers(&history, &rules));
    history.ops[0].node = 1; /* not of the core */
    assert_true(answers(&history, &rules));
    history.ops[0].node = 2;
    history.ops[0].status = STATUS_CONFLICT; /* an answer is an answer */
    assert_true(answers(&history, &rules));
    history.ops[0].flags |= OP_LOST;
    assert_false(answers(&history, &rules));
    history_fini(&history);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cart),      cmocka_unit_test(bad_merge), cmocka_unit_test(counter),
        cmocka_unit_test(copies),    cmocka_unit_test(trees),     cmocka_unit_test(hints),
        cmocka_unit_test(deadlines), cmocka_unit_test(core),      cmocka_unit_test(attempts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
