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
    assert_true(governor.own.bytes <= GOVERNOR_BYTES_START / 10 + 1);
}

/* Several who ask, each when it has rested: what they get keeps to the rate, all get their turn, and one's
 * own work has what it would have alone. */
static void others_are_served_at_the_rate(void **state)
{
    (void)state;
    enum { ASKERS_MAX = 16 };
    uint64_t seed = prng_entropy(), now_ns = 5000 * ms;
    struct prng prng;
    struct governor governor;
    printf("serve: seed %llu\n", (unsigned long long)seed);
    prng_init(&prng, seed);
    for (int round = 0; round < 50; round++) {
        uint32_t askers = 1 + (uint32_t)prng_below(&prng, ASKERS_MAX);
        uint64_t next_ns[ASKERS_MAX], turns[ASKERS_MAX] = {0}, served = 0, own = 0;
        governor_init(&governor);
        for (int i = 0; i < 20; i++) governor_observe(&governor, now_ns += 100 * ms, &busy);
        assert_int_equal(governor.rate, GOVERNOR_BYTES_FLOOR);
        uint64_t began_ns = now_ns, end_ns = now_ns + 20000 * ms;
        for (uint32_t i = 0; i < askers; i++) next_ns[i] = now_ns;
        for (; now_ns < end_ns; now_ns += ms) {
            if (governor_may(&governor, now_ns)) {
                governor_spend(&governor, 10000, 1);
                own += 10000;
            }
            for (uint32_t i = 0; i < askers; i++) {
                if (next_ns[i] > now_ns) continue;
                uint64_t bytes = prng_below(&prng, governor_slice(&governor) + 1);
                uint32_t rest_ms = governor_serve(&governor, now_ns, bytes);
                assert_true(rest_ms <= GOVERNOR_REST_MS_MAX);
                next_ns[i] = now_ns + rest_ms * ms;
                served += bytes;
                turns[i]++;
            }
        }
        uint64_t all = GOVERNOR_BYTES_FLOOR * ((now_ns - began_ns) / ms) / 1000;
        assert_in_range(served, all / 2, all + (askers + 1) * governor_slice(&governor));
        assert_in_range(own, all * 9 / 10, all + GOVERNOR_BYTES_FLOOR);
        for (uint32_t i = 0; i < askers; i++) assert_true(turns[i] >= 20);
    }
}

/* However much they ask for, or however often without a rest: more than a second is not owed. */
static void what_others_ask_for_owes_a_second(void **state)
{
    (void)state;
    struct governor governor;
    governor_init(&governor);
    assert_int_equal(governor_serve(&governor, 100 * ms, 1000), 0);
    assert_int_equal(governor_serve(&governor, 100 * ms, SIZE_MAX / 4), GOVERNOR_REST_MS_MAX);
    for (int i = 0; i < 100000; i++) governor_serve(&governor, 100 * ms, 0);
    assert_in_range(governor_serve(&governor, 600 * ms, 0), 499, 502);
    assert_true(governor_may(&governor, 100 * ms));
}

/* One sign of it is enough, whoever looks most often. */
static void a_quiet_look_hides_no_busy_one(void **state)
{
    (void)state;
    struct governor governor;
    governor_init(&governor);
    governor_observe(&governor, 100 * ms, &quiet);
    uint64_t rate = governor.rate;
    governor_observe(&governor, 150 * ms, &busy);
    governor_observe(&governor, 200 * ms, &quiet);
    assert_int_equal(governor.rate, rate / 2);
    governor_observe(&governor, 300 * ms, &quiet);
    assert_true(governor.rate > rate / 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rates_are_kept),
        cmocka_unit_test(it_gives_way_within_a_second_and_comes_back_within_ten),
        cmocka_unit_test(each_sign_of_a_busy_shard_counts),
        cmocka_unit_test(a_great_debt_is_paid_and_a_great_leap_of_time_is_no_burst),
        cmocka_unit_test(others_are_served_at_the_rate),
        cmocka_unit_test(what_others_ask_for_owes_a_second),
        cmocka_unit_test(a_quiet_look_hides_no_busy_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
