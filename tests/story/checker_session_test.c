/* Checkers 3 and 5: sessions, chains of conditional writes, and what such a write has to know. */
#include "checker_history.h"

static void set_session(struct history *history, uint32_t token, uint16_t session, uint32_t flags)
{
    history->ops[token - 1].session = session;
    history->ops[token - 1].flags |= (uint8_t)flags;
    if (session >= history->sessions) history->sessions = session + 1U;
}

static void own_writes(void **state)
{
    (void)state;
    struct history history = {0};
    uint32_t a = a_put(&history, 1, 2, NOTHING);
    set_session(&history, a, 1, 0);
    uint32_t b = a_put(&history, 3, 4, TOKENS(a));
    set_session(&history, b, 2, 0);
    set_session(&history, a_get(&history, 5, 6, TOKENS(b)), 1, 0); /* covered is as good */
    assert_true(holds(checker_session, &history));
    set_session(&history, a_get(&history, 5, 6, NOTHING), 3, 0); /* never wrote it */
    assert_true(holds(checker_session, &history));
    set_session(&history, a_get(&history, 5, 6, NOTHING), 1, 0);
    assert_false(holds(checker_session, &history));
    history_fini(&history);
}

static void monotonic_reads(void **state)
{
    (void)state;
    struct history history = {0};
    uint32_t a = a_put(&history, 1, 2, NOTHING);
    uint32_t b = a_write(&history, OP_PUT, 3, 4, OUTCOME_INFO, TOKENS(a));
    set_session(&history, b, 9, 0);
    uint32_t first = a_get(&history, 5, 6, TOKENS(b)), second = a_get(&history, 7, 8, TOKENS(a));
    set_session(&history, first, 1, 0);
    set_session(&history, second, 1, 0);
    assert_true(holds(checker_session, &history)); /* new/old inversion, and nobody asked for more */
    history.ops[first - 1].flags |= OP_FLOOR;
    history.ops[second - 1].flags |= OP_FLOOR;
    assert_false(holds(checker_session, &history));
    history_fini(&history);
}

/* A write on condition that version @covers is the current one. */
static uint32_t a_swap(struct history *history, uint64_t from, uint64_t to, enum outcome outcome,
                       struct tokens covers)
{
    uint32_t token = a_write(history, OP_PUT, from, to, outcome, covers);
    history->ops[token - 1].flags |= covers.count > 0 ? OP_IF_CONTEXT : OP_IF_ABSENT;
    if (outcome == OUTCOME_FAIL) history->ops[token - 1].flags |= OP_REJECTED;
    return token;
}

static bool chain_until(struct cover *cover, uint64_t until_ns, struct verdict *verdict)
{
    uint64_t links = 0;
    return checker_chain(cover, until_ns, &links, verdict);
}

static bool chain_of_all(struct cover *cover, struct verdict *verdict)
{
    return chain_until(cover, UINT64_MAX, verdict);
}

static void chain(void **state)
{
    (void)state;
    struct history history = {0};
    uint32_t a = a_swap(&history, 1, 2, OUTCOME_OK, NOTHING);
    uint32_t b = a_swap(&history, 3, 4, OUTCOME_INFO, TOKENS(a));
    uint32_t c = a_swap(&history, 5, 6, OUTCOME_OK, TOKENS(b));
    a_swap(&history, 7, 8, OUTCOME_FAIL, TOKENS(b));
    a_swap(&history, 9, 10, OUTCOME_INFO, TOKENS(a)); /* without effect */
    assert_true(holds(chain_of_all, &history));
    a_swap(&history, 9, 10, OUTCOME_OK, TOKENS(a)); /* b is in the chain, for c stands on it */
    assert_false(holds(chain_of_all, &history));
    (void)c;
    history_fini(&history);

    a_swap(&history, 1, 2, OUTCOME_OK, NOTHING);
    a_swap(&history, 1, 2, OUTCOME_OK, NOTHING);
    assert_false(holds(chain_of_all, &history)); /* both found it absent */
    history_fini(&history);

    a = a_swap(&history, 1, 2, OUTCOME_FAIL, NOTHING);
    a_swap(&history, 3, 4, OUTCOME_OK, TOKENS(a));
    assert_false(holds(chain_of_all, &history)); /* on top of what never was */
    history_fini(&history);
}

static void order(void **state)
{
    (void)state;
    struct history history = {0};
    uint32_t a = a_swap(&history, 1, 2, OUTCOME_OK, NOTHING);
    uint32_t b = a_swap(&history, 3, 20, OUTCOME_OK, TOKENS(a));
    uint32_t c = a_swap(&history, 4, 5, OUTCOME_OK, TOKENS(b));
    assert_true(holds(chain_of_all, &history));
    history.ops[b - 1].invoked_ns = 6 * ms; /* c had been acknowledged before */
    assert_false(holds(chain_of_all, &history));
    (void)c;
    history_fini(&history);
}

static void wrong_rejection(void **state)
{
    (void)state;
    struct history history = {0};
    uint32_t a = a_swap(&history, 1, 2, OUTCOME_OK, NOTHING);
    a_swap(&history, 3, 6, OUTCOME_FAIL, TOKENS(a));
    a_swap(&history, 5, 8, OUTCOME_OK, TOKENS(a)); /* may have been first */
    assert_true(holds(chain_of_all, &history));
    history_fini(&history);
    a = a_swap(&history, 1, 2, OUTCOME_OK, NOTHING);
    a_swap(&history, 3, 4, OUTCOME_FAIL, TOKENS(a));
    a_swap(&history, 5, 8, OUTCOME_OK, TOKENS(a));
    assert_false(holds(chain_of_all, &history));
    history_fini(&history);
}

/* One unconditional write, and the key is none of this checker's. */
static void other_keys(void **state)
{
    (void)state;
    struct history history = {0};
    a_swap(&history, 1, 2, OUTCOME_OK, NOTHING);
    a_swap(&history, 1, 2, OUTCOME_OK, NOTHING);
    a_put(&history, 1, 2, NOTHING);
    assert_true(holds(chain_of_all, &history));
    history_fini(&history);
}

static bool chain_until_5(struct cover *cover, struct verdict *verdict)
{
    return chain_until(cover, 5 * ms, verdict);
}

static uint64_t links_until(const struct history *history, uint64_t until_ns)
{
    struct cover cover;
    struct verdict verdict = {{0}};
    uint64_t links = 0;
    cover_build(&cover, history);
    checker_chain(&cover, until_ns, &links, &verdict);
    cover_fini(&cover);
    return links;
}

/* What ends after the first fault may have had another coordinator. */
static void chain_until_a_fault(void **state)
{
    (void)state;
    struct history history = {0};
    uint32_t a = a_swap(&history, 1, 2, OUTCOME_OK, NOTHING),
             b = a_swap(&history, 3, 4, OUTCOME_OK, TOKENS(a));
    uint32_t fork = a_swap(&history, 4, 6, OUTCOME_OK, TOKENS(a));
    a_swap(&history, 5, 6, OUTCOME_FAIL, TOKENS(b));
    a_put(&history, 6, 7, NOTHING); /* later the key may have other writes */
    assert_true(holds(chain_until_5, &history));
    assert_int_equal(links_until(&history, 5 * ms), 2);
    history.ops[fork - 1].returned_ns = history.ops[fork - 1].ended_ns = 5 * ms;
    assert_false(holds(chain_until_5, &history));
    history.ops[fork - 1].outcome = OUTCOME_INFO;
    history.ops[fork - 1].returned_ns = UINT64_MAX;
    assert_true(holds(chain_until_5, &history));
    history.ops[fork].ended_ns = 5 * ms; /* the rejection */
    assert_false(holds(chain_until_5, &history));
    history_fini(&history);
}

static bool overlapping(struct cover *cover, struct verdict *verdict)
{
    return checker_condition(cover, true, verdict);
}

static bool apart(struct cover *cover, struct verdict *verdict)
{
    return checker_condition(cover, false, verdict);
}

static void condition_on_a_version(void **state)
{
    (void)state;
    struct history history = {0};
    uint32_t a = a_put(&history, 1, 2, NOTHING);
    uint32_t b = a_write(&history, OP_PUT, 3, 20, OUTCOME_OK, TOKENS(a));
    a_swap(&history, 5, 6, OUTCOME_OK, TOKENS(a)); /* b had not been acknowledged: siblings */
    assert_true(holds(overlapping, &history));
    history.ops[b - 1].returned_ns = 4 * ms;
    assert_false(holds(overlapping, &history)); /* b was there, and covers what was expected */
    assert_true(holds(apart, &history));        /* but no majority needs to have met its homes */
    history.ops[b - 1].flags |= OP_IF_CONTEXT;
    assert_false(holds(apart, &history)); /* ... unless it was conditional too */
    history_fini(&history);

    a = a_put(&history, 1, 2, NOTHING);
    b = a_put(&history, 1, 2, NOTHING);
    uint32_t c = a_swap(&history, 3, 4, OUTCOME_OK, TOKENS(a, b));
    uint32_t d = a_write(&history, OP_PUT, 5, 6, OUTCOME_INFO, TOKENS(c));
    a_swap(&history, 7, 8, OUTCOME_OK, TOKENS(d)); /* what it expects covers all */
    assert_true(holds(overlapping, &history));
    a_put(&history, 9, 10, NOTHING); /* a sibling that the next one does not know */
    a_swap(&history, 11, 12, OUTCOME_FAIL, TOKENS(d));
    assert_true(holds(overlapping, &history));
    a_swap(&history, 11, 12, OUTCOME_OK, TOKENS(d));
    assert_false(holds(overlapping, &history));
    history_fini(&history);
}

static void condition_on_a_deleted_version(void **state)
{
    (void)state;
    struct history history = {0};
    uint32_t a = a_put(&history, 1, 2, NOTHING);
    uint32_t deleted = a_write(&history, OP_DELETE, 3, 9, OUTCOME_OK, TOKENS(a));
    a_swap(&history, 5, 6, OUTCOME_OK, TOKENS(a));
    assert_true(holds(overlapping, &history));
    history.ops[deleted - 1].returned_ns = 4 * ms;
    assert_false(holds(overlapping, &history));
    history.ops[a - 1].flags |= OP_REPEATED; /* it may have been minted again behind the delete */
    assert_true(holds(overlapping, &history));
    history_fini(&history);
}

static void condition_on_absence(void **state)
{
    (void)state;
    struct history history = {0};
    uint32_t a = a_put(&history, 2, 4, NOTHING);
    a_swap(&history, 3, 5, OUTCOME_OK, NOTHING); /* may have been first */
    assert_true(holds(overlapping, &history));
    uint32_t late = a_swap(&history, 5, 6, OUTCOME_OK, NOTHING);
    assert_false(holds(overlapping, &history));
    history.ops[a - 1].ttl_ns = ms / 2; /* it had expired */
    history.ops[a].ttl_ns = ms / 2;
    assert_true(holds(overlapping, &history));
    history.ops[a - 1].ttl_ns = history.ops[a].ttl_ns = 0;
    history.ops[a].outcome = OUTCOME_INFO;
    uint32_t deleted = a_write(&history, OP_DELETE, 5, 9, OUTCOME_INFO, TOKENS(a));
    assert_true(holds(overlapping, &history)); /* may have been deleted */
    history.ops[deleted - 1].outcome = OUTCOME_FAIL;
    assert_false(holds(overlapping, &history));
    (void)late;
    history_fini(&history);

    struct op op = {.kind = OP_PUT, .key = 1, .flags = OP_WEAK};
    a = history_invoke(&history, &op, ms, NOTHING, NOTHING);
    history_return(&history, a, OUTCOME_OK, 2 * ms, NOTHING, 0);
    a_swap(&history, 3, 4, OUTCOME_OK, NOTHING);
    assert_true(holds(overlapping, &history)); /* one home has it, and may not have been asked */
    history_fini(&history);
}

static bool overlapping_lww(struct cover *cover, struct verdict *verdict)
{
    return checker_condition_lww(cover, true, verdict);
}

static bool apart_lww(struct cover *cover, struct verdict *verdict)
{
    return checker_condition_lww(cover, false, verdict);
}

static void condition_where_the_latest_wins(void **state)
{
    (void)state;
    struct history history = {.lww = true};
    uint32_t a = a_put(&history, 1, 2, NOTHING);
    uint32_t b = a_put(&history, 10, 40, NOTHING);
    uint32_t c = a_swap(&history, 20, 30, OUTCOME_OK, TOKENS(a)); /* b was under way */
    assert_true(holds(overlapping_lww, &history));
    history.ops[b - 1].returned_ns = 15 * ms;
    assert_false(holds(overlapping_lww, &history)); /* b is later than a, and was acknowledged */
    assert_true(holds(apart_lww, &history));
    history.ops[b - 1].flags = OP_IF_ABSENT;
    assert_false(holds(apart_lww, &history));
    history.ops[b - 1].flags = 0;
    history.skew_ns = 60 * ms; /* b's clock may have been behind, and b lost */
    assert_true(holds(overlapping_lww, &history));
    history_written(&history, a, 5);
    history_written(&history, b, 4);
    assert_true(holds(overlapping_lww, &history)); /* it was */
    history.ops[b - 1].written_ms = 6;
    assert_false(holds(overlapping_lww, &history)); /* it was not */
    history.ops[b - 1].flags |= OP_REPEATED;        /* it has another stamp too */
    assert_true(holds(overlapping_lww, &history));
    (void)c;
    history_fini(&history);

    history = (struct history){.lww = true, .skew_ns = 60 * ms};
    a = a_put(&history, 1, 2, NOTHING);
    b = a_put(&history, 3, 4, TOKENS(a)); /* later, whatever the clocks show */
    a_swap(&history, 5, 6, OUTCOME_OK, TOKENS(b));
    assert_true(holds(overlapping_lww, &history));
    a_swap(&history, 5, 6, OUTCOME_OK, TOKENS(a));
    assert_false(holds(overlapping_lww, &history));
    history_fini(&history);

    history = (struct history){.lww = true};
    a_put(&history, 1, 2, NOTHING);
    a_swap(&history, 5, 6, OUTCOME_FAIL, NOTHING);
    assert_true(holds(overlapping_lww, &history));
    a_swap(&history, 5, 6, OUTCOME_OK, NOTHING); /* nothing had taken it away */
    assert_false(holds(overlapping_lww, &history));
    a_write(&history, OP_DELETE, 3, 4, OUTCOME_INFO, NOTHING);
    assert_true(holds(overlapping_lww, &history));
    history_fini(&history);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(own_writes),
        cmocka_unit_test(monotonic_reads),
        cmocka_unit_test(chain),
        cmocka_unit_test(order),
        cmocka_unit_test(wrong_rejection),
        cmocka_unit_test(other_keys),
        cmocka_unit_test(chain_until_a_fault),
        cmocka_unit_test(condition_where_the_latest_wins),
        cmocka_unit_test(condition_on_a_version),
        cmocka_unit_test(condition_on_a_deleted_version),
        cmocka_unit_test(condition_on_absence),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
