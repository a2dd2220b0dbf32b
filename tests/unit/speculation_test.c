/* Speculation as a value: the wait that it finds, and its share. */
#include "actors/speculation.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/prng.h"

static const uint64_t ms = 1000000;

static void measure(struct speculation *speculation, uint32_t count, uint64_t ns)
{
    for (uint32_t i = 0; i < count; i++) speculation_measure(speculation, ns);
}

static void the_wait_is_a_high_percentile_and_bounded(void **state)
{
    (void)state;
    struct speculation speculation;
    speculation_init(&speculation);
    measure(&speculation, SPECULATION_SAMPLES_MIN - 1, 3 * ms);
    assert_int_equal(speculation.wait_ns, SPECULATION_WAIT_MAX_NS); /* too little is known */
    measure(&speculation, 500, 3 * ms);
    assert_in_range(speculation.wait_ns, 3 * ms, 4 * ms);
    for (int i = 0; i < 4000; i++) speculation_measure(&speculation, i % 25 == 0 ? 40 * ms : 3 * ms);
    assert_in_range(speculation.wait_ns, 3 * ms, 4 * ms); /* one in 25 is slow */
    for (int i = 0; i < 4000; i++) speculation_measure(&speculation, i % 15 == 0 ? 40 * ms : 3 * ms);
    assert_in_range(speculation.wait_ns, 40 * ms, 50 * ms); /* one in 15 */
    measure(&speculation, 20000, 100 * ms);
    assert_int_equal(speculation.wait_ns, SPECULATION_WAIT_MAX_NS);
    measure(&speculation, 20000, 20000);
    assert_int_equal(speculation.wait_ns, SPECULATION_WAIT_MIN_NS);
    measure(&speculation, 20000, UINT64_MAX);
    assert_int_equal(speculation.wait_ns, SPECULATION_WAIT_MAX_NS);
}

/* What all but one in twenty take: never less, and at most a quarter more. */
static void the_wait_covers_what_was_measured(void **state)
{
    (void)state;
    for (uint64_t us = 1000; us < 50000; us += 37) {
        struct speculation speculation;
        speculation_init(&speculation);
        measure(&speculation, 200, us * 1000);
        assert_true(speculation.wait_ns >= us * 1000);
        assert_true(speculation.wait_ns <= us * 1250 || speculation.wait_ns == SPECULATION_WAIT_MAX_NS);
    }
}

static void old_answers_fade(void **state)
{
    (void)state;
    struct speculation speculation;
    speculation_init(&speculation);
    measure(&speculation, 1000000, 2 * ms);
    measure(&speculation, 2 * SPECULATION_SAMPLES_MAX, 30 * ms);
    assert_in_range(speculation.wait_ns, 30 * ms, 40 * ms);
    measure(&speculation, 6 * SPECULATION_SAMPLES_MAX, 2 * ms);
    assert_in_range(speculation.wait_ns, 2 * ms, 3 * ms);
}

static void the_share_is_kept(void **state)
{
    (void)state;
    uint64_t seed = 1;
    printf("seed %llu\n", (unsigned long long)seed);
    struct prng prng;
    prng_init(&prng, seed);
    struct speculation speculation;
    speculation_init(&speculation);
    uint64_t reads = 0, taken = 0;
    for (int i = 0; i < 100000; i++) {
        if (prng_below(&prng, 3) != 0) {
            speculation_earn(&speculation);
            reads++;
        } else {
            taken += speculation_take(&speculation);
        }
        assert_true(taken * 100 <= reads * SPECULATION_SHARE_PERCENT + SPECULATION_BURST * 100);
    }
    assert_true(taken * 100 >= reads * (SPECULATION_SHARE_PERCENT - 1)); /* and used */
    /* What was not used for long is no burst later. */
    for (int i = 0; i < 100000; i++) speculation_earn(&speculation);
    taken = 0;
    while (speculation_take(&speculation)) taken++;
    assert_int_equal(taken, SPECULATION_BURST);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_wait_is_a_high_percentile_and_bounded),
        cmocka_unit_test(the_wait_covers_what_was_measured),
        cmocka_unit_test(old_answers_fade),
        cmocka_unit_test(the_share_is_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
