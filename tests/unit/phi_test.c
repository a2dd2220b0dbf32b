/* Phi: suspicion grows with silence, comes in the stated time, learns the network's way, and blames nobody
 * for our own. */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "actor/peers.h"
#include "base/prng.h"

static const uint64_t ms = 1000000;

/* When it is suspected, in ms after its last heartbeat. */
static uint64_t suspected_after(const struct phi *phi)
{
    uint64_t after = 0;
    while (phi_level(phi, phi->heard_ns + after * ms) < PHI_SUSPECTED) after++;
    return after;
}

static uint64_t beat_regularly(struct phi *phi, uint64_t now_ns, uint32_t count, uint64_t every_ms)
{
    for (uint32_t i = 0; i < count; i++) phi_beat(phi, now_ns += every_ms * ms);
    return now_ns;
}

/* Whatever came before: in silence the level never falls, and its greatest is reached. */
static void grows_with_silence(void **state)
{
    (void)state;
    struct prng prng;
    uint64_t seed = prng_entropy() >> 32;
    printf("seed %" PRIu64 "\n", seed);
    prng_init(&prng, seed);
    for (uint32_t round = 0; round < 200; round++) {
        struct phi phi = {0};
        uint64_t now = 1 + prng_below(&prng, 1000000) * ms, widest = 1 + prng_below(&prng, 3000);
        assert_true(phi_level(&phi, now) > PHI_SUSPECTED); /* nothing was heard yet */
        for (uint64_t i = prng_below(&prng, 400); i > 0; i--)
            phi_beat(&phi, now += prng_below(&prng, widest * ms));
        phi_beat(&phi, now += ms);
        uint32_t last = phi_level(&phi, now);
        assert_int_equal(last, 0);
        for (uint32_t i = 0; i < 4000; i++) {
            uint32_t level = phi_level(&phi, now += prng_below(&prng, 5 * ms));
            assert_true(level >= last);
            last = level;
        }
        assert_true(last > PHI_SUSPECTED); /* ten seconds and more */
        phi_fini(&phi);
    }
}

static void in_the_stated_time(void **state)
{
    (void)state;
    struct phi phi = {0};
    uint64_t now = beat_regularly(&phi, 1000 * ms, 1, 0);
    assert_in_range(suspected_after(&phi), PHI_REGULAR_MS - 50, PHI_REGULAR_MS); /* from the first one on */
    now = beat_regularly(&phi, now, 1000, PHI_PERIOD_MS);
    assert_in_range(suspected_after(&phi), PHI_REGULAR_MS - 50, PHI_REGULAR_MS);
    assert_true(PHI_REGULAR_MS * ms == PEER_SILENCE_NS);
    /* The level itself: -log10 of a normal tail, y deviations above mean and grant. */
    static const struct {
        uint64_t deviations;
        uint32_t level;
    } rows[] = {{1, 800}, {2, 1643}, {3, 2870}, {5, 6543}, {8, 15206}, {50, 15206}};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        uint64_t silent_ms = PHI_PERIOD_MS + PHI_PAUSE_MS + rows[i].deviations * PHI_DEVIATION_MIN_MS;
        assert_int_equal(phi_level(&phi, now + silent_ms * ms), rows[i].level);
    }
    assert_int_equal(phi_level(&phi, now + (PHI_PERIOD_MS + PHI_PAUSE_MS) * ms), 0);
    phi_fini(&phi);
}

/* A network on which a fifth of heartbeats is lost both ways is no dead peer; its true silence takes longer
 * to see, and within bounds; what was learned is forgotten when it is better. */
static void learns(void **state)
{
    (void)state;
    struct prng prng;
    uint64_t seed = prng_entropy() >> 32, now = 1000 * ms;
    uint32_t suspicions = 0;
    printf("seed %" PRIu64 "\n", seed);
    prng_init(&prng, seed);
    struct phi phi = {0};
    phi_beat(&phi, now);
    for (uint32_t i = 0; i < 18000; i++) { /* an hour */
        now += PHI_PERIOD_MS * ms;
        bool before = phi_level(&phi, now) >= PHI_SUSPECTED;
        if (before && phi_level(&phi, now - PHI_PERIOD_MS * ms) < PHI_SUSPECTED) suspicions++;
        if (!prng_chance(&prng, 36, 100)) phi_beat(&phi, now + prng_below(&prng, 5 * ms));
    }
    printf("%u false suspicions in an hour\n", suspicions);
    assert_in_range(suspicions, 0, 25); /* with a limit of one second: about 45 */
    assert_in_range(suspected_after(&phi), PHI_REGULAR_MS + 100, 3000);
    now = phi.heard_ns;
    beat_regularly(&phi, now, PHI_WINDOW, PHI_PERIOD_MS);
    assert_in_range(suspected_after(&phi), PHI_REGULAR_MS - 50, PHI_REGULAR_MS);
    phi_fini(&phi);
}

/* Jitter of a period, as on a busy machine, is borne from the first heartbeat on. */
static void jitter(void **state)
{
    (void)state;
    struct prng prng;
    uint64_t seed = prng_entropy() >> 32, sent = 1000 * ms, last = 0;
    printf("seed %" PRIu64 "\n", seed);
    prng_init(&prng, seed);
    struct phi phi = {0};
    for (uint32_t i = 0; i < 20000; i++) {
        uint64_t arrival = (sent += PHI_PERIOD_MS * ms) + prng_below(&prng, 2 * PHI_PERIOD_MS * ms);
        if (arrival < last) arrival = last;
        if (i > 0) assert_true(phi_level(&phi, arrival) < PHI_SUSPECTED);
        phi_beat(&phi, last = arrival);
    }
    phi_fini(&phi);
}

/* What is not kept: outages, and what comes at once after them; our own standstill. */
static void not_kept(void **state)
{
    (void)state;
    struct phi phi = {0};
    uint64_t now = beat_regularly(&phi, 1000 * ms, 300, PHI_PERIOD_MS), usual = suspected_after(&phi);
    for (uint32_t outage = 0; outage < 100; outage++) {
        now += 3000 * ms;
        assert_true(phi_level(&phi, now) >= PHI_SUSPECTED);
        for (uint32_t i = 0; i < 15; i++) phi_beat(&phi, now += ms); /* those that were held up */
        assert_true(phi_level(&phi, now) == 0);
    }
    assert_int_equal(suspected_after(&phi), usual);
    for (uint32_t stop = 0; stop < 100; stop++) {
        now += 60000 * ms;
        phi_excuse(&phi, now);
        assert_int_equal(phi_level(&phi, now), 0);
        assert_int_equal(suspected_after(&phi), usual); /* who is gone is found out all the same */
        phi_beat(&phi, now += 30 * ms);
    }
    assert_int_equal(suspected_after(&phi), usual);
    phi_forget(&phi); /* the link is lost: what was learned stays */
    phi_excuse(&phi, now);
    assert_true(phi_level(&phi, now) >= PHI_SUSPECTED);
    phi_beat(&phi, now += 500 * ms);
    assert_int_equal(suspected_after(&phi), usual);
    /* A clock that goes back is nobody's silence, nor anybody's heartbeat. */
    phi_beat(&phi, now - 100 * ms);
    assert_int_equal(phi_level(&phi, now - 100 * ms), 0);
    assert_true(phi.heard_ns == now);
    phi_fini(&phi);
}

/* The worst that can be learned is bounded. */
static void bounded(void **state)
{
    (void)state;
    struct phi phi = {0};
    uint64_t now = 1000 * ms;
    phi_beat(&phi, now);
    for (uint32_t i = 0; i < 1000; i++) phi_beat(&phi, now += (suspected_after(&phi) - 1) * ms);
    assert_in_range(suspected_after(&phi), 2000, 8000);
    phi_fini(&phi);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(grows_with_silence),
                                       cmocka_unit_test(in_the_stated_time),
                                       cmocka_unit_test(learns),
                                       cmocka_unit_test(jitter),
                                       cmocka_unit_test(not_kept),
                                       cmocka_unit_test(bounded)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
