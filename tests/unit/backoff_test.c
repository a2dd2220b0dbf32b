/* What every reconnect and retry draws its delay from: in its bounds, growing, and different for those who
 * failed together. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/backoff.h"

static uint64_t seed;

static void test_bounds(void **state)
{
    (void)state;
    static const struct {
        uint64_t min, max;
    } cases[] = {{50, 2000}, {20, 1000}, {1, 1}, {1, 3}, {1000, 1000}, {1, UINT64_MAX / 2}};
    struct prng prng;
    prng_init(&prng, seed);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        uint64_t whole = cases[i].min;
        for (uint32_t failures = 0; failures < 80; failures++) {
            for (int k = 0; k < 100; k++) {
                uint64_t delay = backoff_draw(&prng, cases[i].min, cases[i].max, failures);
                if (delay < whole / 2 || delay > whole)
                    fail_msg("after %u failures: %lu of %lu", failures, delay, whole);
            }
            whole = whole * 2 > cases[i].max ? cases[i].max : whole * 2;
        }
        backoff_draw(&prng, cases[i].min, cases[i].max, UINT32_MAX);
    }
}

/* A thousand who lose the same node at once, each with a seed of its own, come back spread over the whole
 * second half of the delay: every tenth of it has its share, give or take five standard deviations. */
static void test_spread(void **state)
{
    (void)state;
    enum { CLIENTS = 1000, TENTHS = 10 };
    uint32_t tenths[TENTHS] = {0};
    for (uint64_t i = 0; i < CLIENTS; i++) {
        struct prng prng;
        prng_init(&prng, seed + i);
        uint64_t delay = backoff_draw(&prng, 50, 2000, 30);
        tenths[(delay - 1000) * TENTHS / 1001]++;
    }
    for (int i = 0; i < TENTHS; i++) {
        if (tenths[i] < 50 || tenths[i] > 150) fail_msg("%u of %d in tenth %d", tenths[i], CLIENTS, i);
    }
}

int main(int argc, char **argv)
{
    seed = argc > 1 ? strtoull(argv[1], NULL, 0) : prng_entropy();
    printf("seed %llu\n", (unsigned long long)seed);
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_bounds), cmocka_unit_test(test_spread)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
