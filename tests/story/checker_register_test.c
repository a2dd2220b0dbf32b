/* Checkers 1, 2 and 4, of both rules, are fed histories with the fault in them and must see it; and the same
 * without it. */
#include "checker_history.h"

static void lost_write(void **state)
{
    (void)state;
    struct history history = {0};
    uint32_t a = a_put(&history, 1, 2, NOTHING);
    uint32_t b = a_put(&history, 3, 4, TOKENS(a));
    uint32_t c = a_write(&history, OP_PUT, 5, 6, OUTCOME_INFO, TOKENS(b));
    assert_true(ends_well(checker_final, &history, TOKENS(c))); /* c covers* a, answered or not */
    assert_true(ends_well(checker_final, &history, TOKENS(b)));
    assert_false(ends_well(checker_final, &history, TOKENS(a))); /* b is lost */
    assert_false(ends_well(checker_final, &history, NOTHING));
    a_write(&history, OP_DELETE, 7, 8, OUTCOME_FAIL, TOKENS(c));
    assert_false(ends_well(checker_final, &history, NOTHING)); /* what did not happen explains nothing */
    a_write(&history, OP_DELETE, 9, 10, OUTCOME_INFO, TOKENS(c));
    assert_true(ends_well(checker_final, &history, NOTHING));
    history_fini(&history);

    uint32_t x = a_put(&history, 1, 2, NOTHING), y = a_put(&history, 1, 2, NOTHING); /* both stay */
    assert_false(ends_well(checker_final, &history, TOKENS(x)));
    assert_false(ends_well(checker_final, &history, TOKENS(y)));
    assert_true(ends_well(checker_final, &history, TOKENS(x, y)));
    history_fini(&history);
}

static void deleted_and_back(void **state)
{
    (void)state;
    struct history history = {0};
    uint32_t a = a_put(&history, 1, 2, NOTHING);
    uint32_t b = a_put(&history, 3, 4, TOKENS(a));
    assert_true(ends_well(checker_gone, &history, TOKENS(b)));
    assert_false(ends_well(checker_gone, &history, TOKENS(a)));
    a_write(&history, OP_DELETE, 5, 6, OUTCOME_INFO, TOKENS(b));
    assert_true(ends_well(checker_gone, &history, TOKENS(b))); /* it may not have happened */
    a_write(&history, OP_DELETE, 7, 8, OUTCOME_OK, TOKENS(b));
    assert_true(ends_well(checker_gone, &history, NOTHING));
    assert_false(ends_well(checker_gone, &history, TOKENS(b)));
    uint32_t c = a_put(&history, 9, 10, NOTHING);
    assert_true(ends_well(checker_gone, &history, TOKENS(c)));
    assert_false(ends_well(checker_gone, &history, TOKENS(b, c)));
    assert_false(ends_well(checker_gone, &history, TOKENS(a, c)));
    history_fini(&history);
}

static void weak_write_lost(void **state)
{
    (void)state;
    struct history history = {0};
    struct op op = {.kind = OP_PUT, .key = 1, .flags = OP_WEAK};
    uint32_t a = history_invoke(&history, &op, ms, NOTHING, NOTHING);
    history_return(&history, a, OUTCOME_OK, 2 * ms, NOTHING, 0);
    a_get(&history, 3, 4, NOTHING);
    assert_true(holds(checker_register, &history)); /* one home has it, and may not have been asked */
    assert_false(ends_well(checker_final, &history, NOTHING)); /* but it is not to be lost */
    history.finals[0].whole = false;                           /* while its home is away, it may be missed */
    assert_true(holds(checker_final, &history));
    history_fini(&history);
}

static void blind_delete(void **state)
{
    (void)state;
    struct history history = {0};
    uint32_t a = a_put(&history, 1, 2, NOTHING);
    struct op op = {.kind = OP_DELETE, .key = 1, .flags = OP_BLIND};
    uint32_t deleted = history_invoke(&history, &op, 3 * ms, NOTHING, NOTHING);
    history_return(&history, deleted, OUTCOME_OK, 5 * ms, NOTHING, 0);
    uint32_t b = a_put(&history, 6, 7, NOTHING); /* too late to be taken by it */
    assert_true(ends_well(checker_final, &history, TOKENS(b)));
    assert_true(ends_well(checker_final, &history, TOKENS(a, b)));
    assert_false(ends_well(checker_final, &history, TOKENS(a)));
    a_get(&history, 8, 9, TOKENS(a, b)); /* its coordinator may not have had a ... */
    assert_true(holds(checker_register, &history));
    history.all_homes = true;
    assert_false(holds(checker_register, &history)); /* ... but here it had */
    history_fini(&history);
}

/* A delete that nobody heard of takes what is begun before it can have been minted at the latest, and no
 * more. */
static void unanswered_blind_delete(void **state)
{
    (void)state;
    struct history history = {.late_ns = 20 * ms};
    struct op op = {.kind = OP_DELETE, .key = 1, .flags = OP_BLIND, .deadline_ns = 50 * ms};
    uint32_t deleted = history_invoke(&history, &op, 3 * ms, NOTHING, NOTHING);
    history_return(&history, deleted, OUTCOME_INFO, 5 * ms, NOTHING, OP_LOST);
    a_put(&history, 69, 90, NOTHING);
    assert_true(ends_well(checker_final, &history, NOTHING));
    a_get(&history, 95, 96, NOTHING);
    assert_true(holds(checker_register, &history));
    uint32_t b = a_put(&history, 100, 101, NOTHING);
    a_get(&history, 105, 106, TOKENS(b));
    assert_true(holds(checker_register, &history) && ends_well(checker_final, &history, TOKENS(b)));
    assert_false(ends_well(checker_final, &history, NOTHING)); /* b is lost */
    a_get(&history, 110, 111, NOTHING);
    assert_false(holds(checker_register, &history));
    history_again(&history, deleted, 1, 55 * ms, 90 * ms, true); /* but for another attempt, ... */
    history_return(&history, deleted, OUTCOME_OK, 60 * ms, NOTHING, 0);
    assert_true(holds(checker_register, &history) && ends_well(checker_final, &history, NOTHING));
    history_again(&history, deleted, 1, 61 * ms, 62 * ms, true); /* ... which the next one does not shorten */
    history_return(&history, deleted, OUTCOME_OK, 62 * ms, NOTHING, 0);
    assert_true(ends_well(checker_final, &history, NOTHING));
    history_fini(&history);
}

static void asked(struct history *history, uint32_t token, uint8_t needs, uint8_t homes)
{
    history->ops[token - 1].quorum = (struct quorum){needs, homes};
}

static bool holds_for(a_checker *checker, const struct history *history, uint8_t needs, uint8_t homes)
{
    struct cover cover;
    struct verdict verdict = {{0}};
    cover_build_for(&cover, history, (struct quorum){needs, homes});
    bool good = checker(&cover, &verdict);
    cover_fini(&cover);
    if (!good) printf("  %s\n", verdict.why);
    return good;
}

/* Who reads one home of three knows what all have acknowledged, who reads two what two have, who reads all
 * everything; of the first two homes one that answers knows what two of these have, or all three. */
static void quorums_of_their_own(void **state)
{
    (void)state;
    for (uint8_t w = 1; w <= 3; w++) {
        for (uint8_t homes = 1; homes <= 3; homes++) {
            for (uint8_t r = 1; r <= homes; r++) {
                struct history history = {.n = 3};
                uint32_t a = a_put(&history, 1, 2, NOTHING), b = a_put(&history, 3, 4, TOKENS(a));
                asked(&history, a, 3, 3);
                asked(&history, b, w, 3);
                uint32_t read = a_get(&history, 5, 6, TOKENS(b));
                asked(&history, read, r, homes);
                assert_true(holds_for(checker_register, &history, r, homes));
                history.ops[read - 1].seen = history.ops[b - 1].covers; /* it has a, and b covers it */
                assert_int_equal(holds_for(checker_register, &history, r, homes), r + w <= 3);
                history.ops[read - 1].seen.count = 0; /* a was on all of them */
                assert_false(holds_for(checker_register, &history, r, homes));
                assert_true(holds_for(checker_register, &history, r == 1 ? 2 : 1, 3)); /* not its reader's */
                history.ops[a - 1].flags |= OP_WEAK;
                history.ops[b - 1].flags |= OP_WEAK;
                assert_true(holds_for(checker_register, &history, r, homes));
                history_fini(&history);
            }
        }
    }
    struct history history = {.n = 3};
    uint32_t a = a_put(&history, 1, 2, NOTHING), read = a_get(&history, 5, 6, NOTHING);
    asked(&history, a, 2, 2);
    asked(&history, read, 1, 2);
    assert_false(holds_for(checker_register, &history, 1, 2));
    asked(&history, read, 1, 3); /* it may have been the third */
    assert_true(holds_for(checker_register, &history, 1, 3));
    asked(&history, read, 2, 3);
    assert_false(holds_for(checker_register, &history, 2, 3));
    asked(&history, a, 1, 1);
    assert_true(holds_for(checker_register, &history, 2, 3));
    asked(&history, read, 3, 3);
    assert_false(holds_for(checker_register, &history, 3, 3));
    assert_false(ends_well(checker_final, &history, NOTHING)); /* whoever asked how */
    struct op op = {.kind = OP_DELETE, .key = 1, .flags = OP_BLIND, .quorum = {3, 3}};
    uint32_t deleted = history_invoke(&history, &op, 10 * ms, NOTHING, NOTHING);
    history_return(&history, deleted, OUTCOME_OK, 11 * ms, NOTHING, 0);
    asked(&history, a_get(&history, 12, 13, TOKENS(a)), 1, 3);
    assert_true(holds_for(checker_register, &history, 1, 3)); /* its coordinator may not have had a, ... */
    asked(&history, a, 3, 3);
    assert_false(holds_for(checker_register, &history, 1, 3)); /* ... which no home lacks now */
    history_fini(&history);
}

static void stamps(void **state)
{
    (void)state;
    struct history history = {0};
    uint32_t a = a_put(&history, 1, 2, NOTHING), b = a_put(&history, 3, 4, TOKENS(a));
    assert_true(history_written(&history, a, 5002));
    assert_true(holds(checker_stamps, &history));
    assert_true(history_written(&history, b, 5002));
    assert_true(holds(checker_stamps, &history));
    assert_false(history_written(&history, b, 5001)); /* a stamp does not change */
    history.ops[b - 1].written_ms = 5001;
    assert_false(holds(checker_stamps, &history));
    history.ops[a - 1].flags |= OP_REPEATED; /* the copy that b covers may be another */
    assert_true(holds(checker_stamps, &history));
    assert_true(history_written(&history, a, 7000));
    history_fini(&history);
}

static void unrecognised(void **state)
{
    (void)state;
    struct history history = {0};
    struct op op = {.kind = OP_PUT, .key = 1, .flags = OP_IF_ABSENT};
    uint32_t a = history_invoke(&history, &op, ms, NOTHING, NOTHING);
    history_return(&history, a, OUTCOME_INFO, 2 * ms, NOTHING, 0);
    history_again(&history, a, 1, 3 * ms, 9 * ms, true);
    history_return(&history, a, OUTCOME_INFO, 4 * ms, TOKENS(a), OP_REJECTED);
    assert_false(holds(checker_siblings, &history)); /* refused because of itself */
    history.ops[a - 1].seen.count = 0;
    assert_true(holds(checker_siblings, &history));
    history_fini(&history);
}

static void covered_sibling(void **state)
{
    (void)state;
    struct history history = {0};
    uint32_t a = a_put(&history, 1, 9, NOTHING);
    uint32_t b = a_put(&history, 3, 9, TOKENS(a)), c = a_put(&history, 3, 9, TOKENS(a));
    uint32_t d = a_put(&history, 4, 9, TOKENS(b));
    a_get(&history, 5, 6, TOKENS(d, c));
    assert_true(holds(checker_siblings, &history));
    a_get(&history, 5, 6, TOKENS(a, d)); /* by way of b */
    assert_false(holds(checker_siblings, &history));
    history.ops[a - 1].flags |= OP_REPEATED; /* two homes may have minted it: then one copy can stay */
    assert_true(holds(checker_siblings, &history));
    history_fini(&history);
}

static void impossible_values(void **state)
{
    (void)state;
    struct history history = {0};
    a_get(&history, 1, 2, TOKENS(2)); /* before it was written */
    a_put(&history, 3, 4, NOTHING);
    assert_false(holds(checker_siblings, &history));
    history_fini(&history);
    uint32_t a = a_write(&history, OP_PUT, 1, 2, OUTCOME_FAIL, NOTHING); /* said not to be applied */
    a_get(&history, 3, 4, TOKENS(a));
    assert_false(holds(checker_siblings, &history));
    history_fini(&history);
    a_get(&history, 3, 4, TOKENS(77)); /* by nobody */
    assert_false(holds(checker_siblings, &history));
    history_fini(&history);
    a = a_put(&history, 1, 2, NOTHING);
    a_get(&history, 3, 4, TOKENS(a, a)); /* one write, two siblings */
    assert_false(holds(checker_siblings, &history));
    history_fini(&history);
    struct op op = {.kind = OP_PUT, .key = 2};
    a = history_invoke(&history, &op, ms, NOTHING, NOTHING);
    history_return(&history, a, OUTCOME_OK, 2 * ms, NOTHING, 0);
    assert_false(ends_well(checker_siblings, &history, TOKENS(a))); /* another key's */
    history_fini(&history);
}

static void regular_register(void **state)
{
    (void)state;
    struct history history = {0};
    uint32_t a = a_put(&history, 1, 2, NOTHING), b = a_put(&history, 10, 20, TOKENS(a));
    a_get(&history, 11, 12, TOKENS(b)); /* while b is under way both will do, in any order */
    a_get(&history, 13, 14, TOKENS(a));
    a_get(&history, 21, 22, TOKENS(b));
    assert_true(holds(checker_register, &history));
    a_get(&history, 23, 24, TOKENS(a)); /* after it not */
    assert_true(holds(checker_siblings, &history));
    assert_false(holds(checker_register, &history));
    history_fini(&history);

    a = a_put(&history, 1, 2, NOTHING); /* a deleted value comes back */
    a_write(&history, OP_DELETE, 3, 4, OUTCOME_OK, TOKENS(a));
    a_get(&history, 5, 6, NOTHING);
    assert_true(holds(checker_register, &history));
    a_get(&history, 7, 8, TOKENS(a));
    assert_false(holds(checker_register, &history));
    history_fini(&history);

    a = a_put(&history, 1, 2, NOTHING); /* missed */
    a_get(&history, 3, 4, NOTHING);
    assert_false(holds(checker_register, &history));
    history_fini(&history);

    a = a_put(&history, 1, 2, NOTHING); /* covered by what nobody acknowledged, twice over */
    b = a_write(&history, OP_PUT, 3, 4, OUTCOME_INFO, TOKENS(a));
    uint32_t c = a_write(&history, OP_PUT, 5, 6, OUTCOME_INFO, TOKENS(b));
    a_get(&history, 7, 8, TOKENS(c));
    a_get(&history, 9, 10, TOKENS(a));
    assert_true(holds(checker_register, &history));
    history_fini(&history);
}

static void expiry(void **state)
{
    (void)state;
    struct history history = {.skew_ns = 3 * ms};
    uint32_t a = a_put(&history, 1, 2, NOTHING);
    struct op op = {.kind = OP_PUT, .key = 1, .ttl_ns = 100 * ms};
    uint32_t b = history_invoke(&history, &op, 10 * ms, TOKENS(a), NOTHING);
    history_return(&history, b, OUTCOME_OK, 20 * ms, NOTHING, 0);
    a_get(&history, 50, 51, TOKENS(b));
    a_get(&history, 107, 108, NOTHING); /* minted at 10, and the reader's clock is ahead */
    a_get(&history, 122, 123, TOKENS(b));
    assert_true(holds(checker_register, &history) && holds(checker_siblings, &history));
    a_get(&history, 124, 125, TOKENS(b)); /* minted at 20, and the reader's clock is behind: no */
    assert_false(holds(checker_siblings, &history));
    assert_true(ends_well(checker_final, &history, NOTHING));
    history_fini(&history);
    history = (struct history){.late_ns = 7 * ms}; /* unknown, but too late for any mint */
    op.deadline_ns = 20 * ms;
    b = history_invoke(&history, &op, 10 * ms, NOTHING, NOTHING);
    history_return(&history, b, OUTCOME_INFO, 20 * ms, NOTHING, 0);
    a_get(&history, 126, 127, TOKENS(b));
    assert_true(holds(checker_siblings, &history));
    a_get(&history, 128, 129, TOKENS(b));
    assert_false(holds(checker_siblings, &history));
    history_fini(&history);
    a = a_put(&history, 1, 2, NOTHING);
    b = history_invoke(&history, &op, 10 * ms, TOKENS(a), NOTHING);
    history_return(&history, b, OUTCOME_OK, 20 * ms, NOTHING, 0);
    a_get(&history, 50, 51, NOTHING); /* too early */
    assert_false(holds(checker_register, &history));
    history_fini(&history);
}

/* However far the clocks are apart, a value does not expire before it was written. */
static void expiry_by_wild_clocks(void **state)
{
    (void)state;
    struct history history = {.skew_ns = 1000 * ms};
    uint32_t a = a_put(&history, 1, 2, NOTHING);
    struct op op = {.kind = OP_PUT, .key = 1, .ttl_ns = 100 * ms};
    a_get(&history, 3, 4, NOTHING);
    assert_false(holds(checker_register, &history));
    uint32_t b = history_invoke(&history, &op, 10 * ms, TOKENS(a), NOTHING);
    history_return(&history, b, OUTCOME_OK, 20 * ms, NOTHING, 0);
    assert_false(holds(checker_register, &history));
    history.lww = true;
    assert_false(holds(checker_register_lww, &history));
    history_fini(&history);
    a_put(&history, 1, 2, NOTHING);
    history.skew_ns = 1000 * ms;
    b = history_invoke(&history, &op, 10 * ms, TOKENS(a), NOTHING);
    history_return(&history, b, OUTCOME_OK, 20 * ms, NOTHING, 0);
    a_get(&history, 21, 22, NOTHING);
    assert_true(holds(checker_register, &history));
    history_fini(&history);
}

static void latest_wins(void **state)
{
    (void)state;
    struct history history = {.lww = true};
    uint32_t a = a_put(&history, 1, 2, NOTHING), b = a_put(&history, 1, 2, NOTHING);
    assert_true(ends_well(checker_final_lww, &history, TOKENS(a)));
    assert_true(ends_well(checker_final_lww, &history, TOKENS(b)));
    uint32_t c = a_put(&history, 50, 60, NOTHING);
    assert_true(ends_well(checker_final_lww, &history, TOKENS(c)));
    assert_false(ends_well(checker_final_lww, &history, TOKENS(a)));
    assert_false(ends_well(checker_final_lww, &history, NOTHING)); /* nothing was deleted */
    history.skew_ns = 60 * ms;
    assert_true(ends_well(checker_final_lww, &history, TOKENS(a))); /* by another clock it was later */
    history.skew_ns = 0;
    a_get(&history, 70, 71, TOKENS(c));
    assert_true(holds(checker_register_lww, &history));
    a_get(&history, 72, 73, TOKENS(a));
    assert_false(holds(checker_register_lww, &history));
    history_fini(&history);

    history.lww = true;
    a = a_put(&history, 1, 2, NOTHING);
    a_write(&history, OP_DELETE, 10, 20, OUTCOME_OK, NOTHING);
    a_get(&history, 21, 22, NOTHING);
    assert_true(holds(checker_register_lww, &history));
    a_put(&history, 30, 40, NOTHING);
    a_get(&history, 41, 42, NOTHING);
    assert_false(holds(checker_register_lww, &history)); /* the put is later than the delete */
    uint32_t lost = a_write(&history, OP_DELETE, 10, 20, OUTCOME_INFO, NOTHING);
    assert_false(holds(checker_register_lww, &history)); /* ... and than one that nobody heard of */
    history_again(&history, lost, 1, 27 * ms, 28 * ms, true);
    history_return(&history, lost, OUTCOME_INFO, 29 * ms, NOTHING, 0);
    assert_true(
        holds(checker_register_lww, &history)); /* unless it was tried again: 2 ms are too close to say */
    a_get(&history, 43, 44, TOKENS(a, b));
    assert_false(holds(checker_siblings, &history)); /* two siblings in an lww table */
    history_fini(&history);
}

/* What clocks can't blur: a write is later than what it covers, and stamps that were told are what they are.
 */
static void latest_wins_by_any_clock(void **state)
{
    (void)state;
    struct history history = {.lww = true, .skew_ns = 1000 * ms};
    uint32_t a = a_put(&history, 1, 2, NOTHING), b = a_put(&history, 3, 4, NOTHING);
    a_get(&history, 5, 6, TOKENS(a));
    assert_true(holds(checker_register_lww, &history) && ends_well(checker_final_lww, &history, TOKENS(a)));
    history_written(&history, a, 100);
    history_written(&history, b, 100);
    assert_true(holds(checker_register_lww, &history) && ends_well(checker_final_lww, &history, TOKENS(a)));
    history.ops[b - 1].written_ms = 101;
    assert_false(holds(checker_register_lww, &history));
    assert_false(ends_well(checker_final_lww, &history, TOKENS(a)));
    history.ops[b - 1].returned_ns = 7 * ms; /* after that read began, and before the end */
    assert_true(holds(checker_register_lww, &history));
    assert_false(ends_well(checker_final_lww, &history, TOKENS(a)));
    history_fini(&history);

    history = (struct history){.lww = true, .skew_ns = 1000 * ms};
    a = a_put(&history, 1, 2, NOTHING);
    b = a_write(&history, OP_DELETE, 3, 4, OUTCOME_OK, TOKENS(a));
    a_get(&history, 5, 6, NOTHING);
    assert_true(holds(checker_register_lww, &history) && ends_well(checker_final_lww, &history, NOTHING));
    a_get(&history, 7, 8, TOKENS(a));
    assert_false(holds(checker_register_lww, &history));
    assert_false(ends_well(checker_final_lww, &history, TOKENS(a)));
    history.ops[a - 1].flags |= OP_REPEATED; /* it may have been minted again behind the delete */
    assert_true(holds(checker_register_lww, &history) && ends_well(checker_final_lww, &history, TOKENS(a)));
    history_fini(&history);
}

/* A chain of covers as long as the history must not make it slow: this would take hours if it were walked for
 * each read. */
static void long_chain(void **state)
{
    (void)state;
    struct history history = {0};
    uint32_t last = a_put(&history, 1, 2, NOTHING);
    for (uint32_t i = 1; i < 300000; i++) {
        last = a_put(&history, 10 * i, 10 * i + 5, TOKENS(last));
        a_get(&history, 10 * i + 6, 10 * i + 7, TOKENS(last));
    }
    assert_true(holds(checker_register, &history) && holds(checker_siblings, &history) &&
                holds(checker_session, &history) && ends_well(checker_final, &history, TOKENS(last)));
    history_fini(&history);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lost_write),
        cmocka_unit_test(deleted_and_back),
        cmocka_unit_test(weak_write_lost),
        cmocka_unit_test(blind_delete),
        cmocka_unit_test(unanswered_blind_delete),
        cmocka_unit_test(quorums_of_their_own),
        cmocka_unit_test(stamps),
        cmocka_unit_test(unrecognised),
        cmocka_unit_test(covered_sibling),
        cmocka_unit_test(impossible_values),
        cmocka_unit_test(regular_register),
        cmocka_unit_test(expiry),
        cmocka_unit_test(expiry_by_wild_clocks),
        cmocka_unit_test(latest_wins),
        cmocka_unit_test(latest_wins_by_any_clock),
        cmocka_unit_test(long_chain),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
