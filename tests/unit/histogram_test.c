/* The histogram against sorted values: a percentile is never below the true one, and at most 1/64 above it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/histogram.h"
#include "base/prng.h"

static uint64_t seed;

static int compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static void test_percentiles(void **state)
{
    (void)state;
    enum { COUNT = 20000 };
    static uint64_t values[COUNT];
    static const double fractions[] = {0, 0.001, 0.5, 0.9, 0.99, 0.999, 1};
    struct prng prng;
    prng_init(&prng, seed);
    for (int round = 0; round < 20; round++) {
        static struct histogram parts[2], all;
        parts[0] = parts[1] = all = (struct histogram){0};
        for (int i = 0; i < COUNT; i++) {
            values[i] = prng_next(&prng) >> (25 + prng_below(&prng, 39));
            histogram_record(&parts[i % 2], values[i]);
        }
        histogram_merge(&all, &parts[0]);
        histogram_merge(&all, &parts[1]);
        qsort(values, COUNT, sizeof(values[0]), compare);
        assert_int_equal(all.count, COUNT);
        assert_int_equal(all.max, values[COUNT - 1]);
        for (size_t i = 0; i < sizeof(fractions) / sizeof(fractions[0]); i++) {
            size_t rank = (size_t)(fractions[i] * COUNT);
            uint64_t exact = values[rank == 0 ? 0 : rank - 1];
            uint64_t found = histogram_percentile(&all, fractions[i]);
            if (found < exact || found > exact + exact / 64)
                fail_msg("%f: %lu for %lu", fractions[i], found, exact);
        }
    }
}

static void test_edges(void **state)
{
    (void)state;
    static struct histogram histogram;
    assert_int_equal(histogram_percentile(&histogram, 0.5), 0);
    histogram_record(&histogram, 0);
    assert_int_equal(histogram_percentile(&histogram, 1), 0);
    for (unsigned log2 = 0; log2 < 64; log2++) {
        for (int delta = -1; delta <= 1; delta++) {
            static struct histogram one;
            one = (struct histogram){0};
            uint64_t value = ((uint64_t)1 << log2) + (uint64_t)(int64_t)delta;
            histogram_record(&one, value);
            assert_int_equal(histogram_percentile(&one, 0.5), value); /* its only value is its largest */
        }
    }
    histogram_record(&histogram, UINT64_MAX);
    assert_int_equal(histogram_percentile(&histogram, 1), UINT64_MAX);
}

int main(int argc, char **argv)
{
    seed = argc > 1 ? strtoull(argv[1], NULL, 0) : prng_entropy();
    printf("seed %llu\n", (unsigned long long)seed);
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_percentiles), cmocka_unit_test(test_edges)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
