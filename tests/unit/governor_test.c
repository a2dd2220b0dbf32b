/* The governor of background work: what it lets through, and how it gives way. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "actors/governor.h"
#include "base/prng.h"

static const uint64_t ms = 1000000;
static const struct governor_load quiet = {0}, busy = {.operations = GOVERNOR_BUSY_OPERATIONS + 1};

/* Work in steps of drawn sizes for @for_ns, whenever it may; the bytes done. */
static uint64_t work(struct governor *governor, struct prng *prng, uint64_t *now_ns, uint64_t for_ns,
                     uint32_t bytes_max, const struct governor_load *load, uint64_t *messages)
{
    uint64_t done = 0, end_ns = *now_ns + for_ns;
    while (*now_ns < end_ns) {
        governor_observe(governor, *now_ns, load);
        if (governor_may(governor, *now_ns)) {
            uint32_t bytes = (uint32_t)prng_below(prng, bytes_max + 1);
            governor_spend(governor, bytes, 1);
            done += bytes;
            ++*messages;
        } else { /* who waits until it is told does not wait in vain, nor for nothing */
            uint64_t when_ns = governor_when(governor, *now_ns);
            assert_true(when_ns > *now_ns);
            *now_ns = when_ns;
            assert_true(governor_may(governor, *now_ns));
        }
    }
    return done;
}

static void rates_are_kept(void **state)
{
    (void)state;
    uint64_t seed = prng_entropy(), now_ns = 5000 * ms;
    struct prng prng;
    struct governor governor;
    printf("governor: seed %llu\n", (unsigned long long)seed);
    prng_init(&prng, seed);
    for (int round = 0; round < 50; round++) {
        governor_init(&governor);
        uint64_t messages = 0, seconds = 1 + prng_below(&prng, 5);
        uint32_t bytes_max = 1 + (uint32_t)prng_below(&prng, 1000000);
        /* Busy for long: the floor, and never less. */
        for (int i = 0; i < 20; i++) governor_observe(&governor, now_ns += 100 * ms, &busy);
        assert_int_equal(governor.rate, GOVERNOR_BYTES_FLOOR);
        work(&governor, &prng, &now_ns, 10000 * ms, bytes_max, &busy, &messages); /* the burst is used up */
        messages = 0;
        uint64_t began_ns = now_ns;
        uint64_t done = work(&governor, &prng, &now_ns, seconds * 1000 * ms, bytes_max, &busy, &messages);
        uint64_t passed_ms = (now_ns - began_ns) / ms;
        uint64_t may = GOVERNOR_BYTES_FLOOR * (passed_ms + GOVERNOR_BURST_MS) / 1000 + bytes_max;
        uint64_t may_messages = may / GOVERNOR_BYTES_OF_A_MESSAGE + 2;
        assert_true(done <= may);
        assert_true(messages <= may_messages);
        /* One of the two buckets was used to the end. */
        assert_true(done + 2 * bytes_max + GOVERNOR_BYTES_FLOOR / 10 >=
                        GOVERNOR_BYTES_FLOOR * passed_ms / 1000 ||
                    (messages + 10) * GOVERNOR_BYTES_OF_A_MESSAGE >= GOVERNOR_BYTES_FLOOR * passed_ms / 1000);
    }
}

static void it_gives_way_within_a_second_and_comes_back_within_ten(void **state)
{
    (void)state;
    struct governor governor;
    uint64_t now_ns = 0;
    governor_init(&governor);
    for (int i = 0; i < 100; i++) governor_observe(&governor, now_ns += 100 * ms, &quiet);
    assert_int_equal(governor.rate, GOVERNOR_BYTES_CEILING);
    for (int i = 0; i < 10; i++) governor_observe(&governor, now_ns += 100 * ms, &busy);
    assert_int_equal(governor.rate, GOVERNOR_BYTES_FLOOR);
    for (int i = 0; i < 100; i++) governor_observe(&governor, now_ns += 100 * ms, &quiet);
    assert_int_equal(governor.rate, GOVERNOR_BYTES_CEILING);
    /* Looks in quick succession are one look. */
    for (int i = 0; i < 100; i++) governor_observe(&governor, now_ns + 1, &busy);
    assert_true(governor.rate >= GOVERNOR_BYTES_CEILING / 2);
}

static void each_sign_of_a_busy_shard_counts(void **state)
{
    (void)state;
    const struct governor_load loads[] = {
        {.mail_bytes = GOVERNOR_BUSY_MAIL_BYTES + 1},
        {.operations = GOVERNOR_BUSY_OPERATIONS + 1},
        {.wait_ns = GOVERNOR_BUSY_WAIT_NS + 1},
        {.lag_ns = GOVERNOR_BUSY_LAG_NS + 1},
    };
    for (size_t i = 0; i < sizeof(loads) / sizeof(loads[0]); i++) {
        struct governor governor;
        governor_init(&governor);
        governor_observe(&governor, 100 * ms, &loads[i]);
        assert_int_equal(governor.rate, GOVERNOR_BYTES_START / 2);
    }
}

static void a_great_debt_is_paid_and_a_great_leap_of_time_is_no_burst(void **state)
{
    (void)state;
    struct governor governor;
    governor_init(&governor);
    assert_true(governor_may(&governor, 100 * ms));
    governor_spend(&governor, 4 * GOVERNOR_BYTES_START, 1);
    assert_false(governor_may(&governor, 100 * ms));
    uint64_t when_ns = governor_when(&governor, 100 * ms);
    assert_true(when_ns > 3900 * ms);
    assert_true(when_ns < 4200 * ms);
    assert_true(governor_may(&governor, UINT64_MAX / 2));
    assert_true(governor.bytes <= GOVERNOR_BYTES_START / 10 + 1);
}

/* What others ask for may take all there is, and a second: not more, however much it is; and it forgives
 * nothing that was owed before. */
static void what_others_ask_for_owes_a_second(void **state)
{
    (void)state;
    struct governor governor;
    governor_init(&governor);
    assert_true(governor_may(&governor, 100 * ms));
    for (int i = 0; i < 1000; i++) {
        struct governor before = governor;
        governor_spend(&governor, GOVERNOR_BYTES_START / 16, 1);
        governor_forgive(&governor, &before);
        assert_true(i > 10 || governor.bytes == before.bytes - GOVERNOR_BYTES_START / 16);
    }
    assert_in_range(governor_when(&governor, 100 * ms), 1099 * ms, 1102 * ms);
    for (int i = 0; i < 100000; i++) {
        struct governor before = governor;
        governor_spend(&governor, 0, 1);
        governor_forgive(&governor, &before);
    }
    assert_in_range(governor_when(&governor, 100 * ms), 1099 * ms, 1102 * ms);
    governor_spend(&governor, 64 * 1048576, 1);
    struct governor before = governor;
    governor_spend(&governor, 1048576, 1);
    governor_forgive(&governor, &before);
    assert_int_equal(governor.bytes, before.bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rates_are_kept),
        cmocka_unit_test(it_gives_way_within_a_second_and_comes_back_within_ten),
        cmocka_unit_test(each_sign_of_a_busy_shard_counts),
        cmocka_unit_test(a_great_debt_is_paid_and_a_great_leap_of_time_is_no_burst),
        cmocka_unit_test(what_others_ask_for_owes_a_second),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
