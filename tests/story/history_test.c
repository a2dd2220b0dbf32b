/* The checkers are fed histories with the fault in them, and must see it; and the same without it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "world/history.h"

static const uint64_t ms = 1000000;

/* A write from @from to @to ms that covers @below (0: nothing). */
static uint32_t write_op(struct history *history, enum op_kind kind, uint64_t from, uint64_t to,
                         enum outcome outcome, uint32_t below)
{
    struct tokens covers = {.list = &below, .count = below != 0};
    bool blind = kind == OP_DELETE && below == 0;
    uint32_t token = history_invoke(history, kind, 1, from * ms, &covers, blind);
    history_return(history, token, outcome, to * ms, NULL);
    return token;
}

static void read_op(struct history *history, uint64_t from, uint64_t to, uint32_t a, uint32_t b)
{
    uint32_t list[] = {a, b};
    struct tokens seen = {.list = list, .count = (uint32_t)(a != 0) + (b != 0)};
    uint32_t token = history_invoke(history, OP_GET, 1, from * ms, NULL, false);
    history_return(history, token, OUTCOME_OK, to * ms, &seen);
}

static bool reads_hold(struct history *history, bool strict)
{
    char why[256];
    bool holds = history_check_reads(history, strict, why, sizeof(why));
    if (!holds) printf("  %s\n", why);
    return holds;
}

static bool ends_well(struct history *history, uint32_t a)
{
    char why[256];
    struct tokens seen = {.list = &a, .count = a != 0};
    bool well = history_check_final(history, 1, &seen, why, sizeof(why));
    if (!well) printf("  %s\n", why);
    return well;
}

static void lost_write(void **state)
{
    (void)state;
    struct history history = {0};
    uint32_t a = write_op(&history, OP_PUT, 1, 2, OUTCOME_OK, 0);
    uint32_t b = write_op(&history, OP_PUT, 3, 4, OUTCOME_OK, a);
    uint32_t c = write_op(&history, OP_PUT, 5, 6, OUTCOME_INFO, b);
    assert_true(ends_well(&history, c)); /* c covers b covers a, whether c was answered or not */
    assert_true(ends_well(&history, b));
    assert_false(ends_well(&history, a)); /* b is lost */
    assert_false(ends_well(&history, 0));
    write_op(&history, OP_DELETE, 7, 8, OUTCOME_FAIL, c);
    assert_false(ends_well(&history, 0)); /* a delete that did not happen explains nothing */
    write_op(&history, OP_DELETE, 9, 10, OUTCOME_INFO, c);
    assert_true(ends_well(&history, 0));
    history_fini(&history);

    uint32_t x = write_op(&history, OP_PUT, 1, 2, OUTCOME_OK, 0); /* concurrent with y: both must be there */
    uint32_t y = write_op(&history, OP_PUT, 1, 2, OUTCOME_OK, 0);
    assert_false(ends_well(&history, x));
    assert_false(ends_well(&history, y));
    history_fini(&history);
}

static void covered_sibling(void **state)
{
    (void)state;
    struct history history = {0};
    uint32_t a = write_op(&history, OP_PUT, 1, 9, OUTCOME_OK, 0);
    uint32_t b = write_op(&history, OP_PUT, 3, 9, OUTCOME_OK, a);
    uint32_t c = write_op(&history, OP_PUT, 3, 9, OUTCOME_OK, a);
    read_op(&history, 5, 6, b, c);
    assert_true(reads_hold(&history, false));
    read_op(&history, 5, 6, a, b);
    assert_false(reads_hold(&history, false));
    history_fini(&history);
}

static void impossible_values(void **state)
{
    (void)state;
    struct history history = {0};
    read_op(&history, 1, 2, 2, 0); /* before it was written */
    write_op(&history, OP_PUT, 3, 4, OUTCOME_OK, 0);
    assert_false(reads_hold(&history, false));
    history_fini(&history);
    uint32_t a = write_op(&history, OP_PUT, 1, 2, OUTCOME_FAIL, 0); /* said not to be applied */
    read_op(&history, 3, 4, a, 0);
    assert_false(reads_hold(&history, false));
    history_fini(&history);
    read_op(&history, 3, 4, 77, 0); /* by nobody */
    assert_false(reads_hold(&history, false));
    history_fini(&history);
}

static void regular_register(void **state)
{
    (void)state;
    struct history history = {0};
    uint32_t a = write_op(&history, OP_PUT, 1, 2, OUTCOME_OK, 0);
    uint32_t b = write_op(&history, OP_PUT, 10, 20, OUTCOME_OK, a);
    read_op(&history, 11, 12, b, 0); /* while b is under way both will do, in any order */
    read_op(&history, 13, 14, a, 0);
    read_op(&history, 21, 22, b, 0);
    assert_true(reads_hold(&history, true));
    read_op(&history, 23, 24, a, 0); /* after it not */
    assert_true(reads_hold(&history, false));
    assert_false(reads_hold(&history, true));
    history_fini(&history);

    a = write_op(&history, OP_PUT, 1, 2, OUTCOME_OK, 0); /* a deleted value comes back */
    write_op(&history, OP_DELETE, 3, 4, OUTCOME_OK, a);
    read_op(&history, 5, 6, 0, 0);
    assert_true(reads_hold(&history, true));
    read_op(&history, 7, 8, a, 0);
    assert_false(reads_hold(&history, true));
    history_fini(&history);
}

static void latest_wins(void **state)
{
    (void)state;
    struct history history = {.lww = true};
    uint32_t a = write_op(&history, OP_PUT, 1, 2, OUTCOME_OK, 0);
    uint32_t b = write_op(&history, OP_PUT, 1, 2, OUTCOME_OK, 0);
    assert_true(ends_well(&history, a));
    assert_true(ends_well(&history, b));
    uint32_t c = write_op(&history, OP_PUT, 50, 60, OUTCOME_OK, 0);
    assert_true(ends_well(&history, c));
    assert_false(ends_well(&history, a));
    assert_false(ends_well(&history, 0)); /* nothing was deleted */
    read_op(&history, 70, 71, a, b);
    assert_false(reads_hold(&history, false)); /* two siblings in an lww table */
    history_fini(&history);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lost_write),        cmocka_unit_test(covered_sibling),
        cmocka_unit_test(impossible_values), cmocka_unit_test(regular_register),
        cmocka_unit_test(latest_wins),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
