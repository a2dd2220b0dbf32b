/* Dots, version vectors and the clock that stamps: their rules, against a vector kept the simple way. */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/prng.h"
#include "version/dvv.h"
#include "version/hlc.h"

static struct arena arena;
static struct prng prng;

/* The simple way: counters by clock, for clocks 1 .. CLOCKS. */
enum { CLOCKS = 6, COUNTERS = 4, ROUNDS = 3000 };
struct plain {
    uint64_t counters[CLOCKS + 1];
};

static struct plain plain_random(void)
{
    struct plain plain = {0};
    for (int c = 1; c <= CLOCKS; c++) plain.counters[c] = prng_below(&prng, COUNTERS);
    return plain;
}

static struct vv vv_of(const struct plain *plain)
{
    struct vv vv = {.entries = ARENA_ARRAY(&arena, struct dot, CLOCKS)};
    for (uint64_t c = 1; c <= CLOCKS; c++)
        if (plain->counters[c] > 0)
            vv.entries[vv.count++] = (struct dot){.clock = c, .counter = plain->counters[c]};
    return vv;
}

static void vectors_agree_with_the_simple_way(void **state)
{
    (void)state;
    for (int round = 0; round < ROUNDS; round++) {
        arena_reset(&arena);
        struct plain pa = plain_random(), pb = prng_chance(&prng, 1, 4) ? pa : plain_random(), union_of = {0},
                     with = pa;
        struct vv a = vv_of(&pa), b = vv_of(&pb);
        bool descends = true, equal = true;
        for (int c = 1; c <= CLOCKS; c++) {
            uint64_t in_a = pa.counters[c], in_b = pb.counters[c];
            union_of.counters[c] = in_a > in_b ? in_a : in_b;
            if (in_a < in_b) descends = false;
            if (in_a != in_b) equal = false;
        }
        struct dot dot = {.clock = 1 + prng_below(&prng, CLOCKS), .counter = 1 + prng_below(&prng, COUNTERS)};
        if (with.counters[dot.clock] < dot.counter) with.counters[dot.clock] = dot.counter;

        struct vv expected = vv_of(&union_of), joined = vv_join(&a, &b, &arena);
        assert_true(vv_equal(&joined, &expected));
        assert_true(vv_valid(&joined));
        assert_int_equal(vv_descends(&a, &b), descends);
        assert_int_equal(vv_equal(&a, &b), equal);
        assert_int_equal(vv_covers(&a, dot), pa.counters[dot.clock] >= dot.counter);
        expected = vv_of(&with), joined = vv_with(&a, dot, &arena);
        assert_true(vv_equal(&joined, &expected));
        struct vv again = vv_of(&pa);
        assert_true(vv_equal(&a, &again)); /* nothing was changed in place */
    }
}

static void a_join_that_changes_nothing_allocates_nothing(void **state)
{
    (void)state;
    struct dot small[] = {{1, 1}, {7, 2}}, large[] = {{1, 1}, {5, 1}, {7, 3}};
    struct vv a = {small, 2}, b = {large, 3}, none = {0};
    arena_reset(&arena);
    assert_ptr_equal(vv_join(&a, &b, &arena).entries, large);
    assert_ptr_equal(vv_join(&b, &a, &arena).entries, large);
    assert_ptr_equal(vv_join(&b, &none, &arena).entries, large);
    assert_ptr_equal(vv_join(&none, &b, &arena).entries, large);
    assert_ptr_equal(vv_with(&b, (struct dot){7, 3}, &arena).entries, large);
    assert_int_equal(arena.used_bytes, 0);
}

/* Where the new dot is all of the result, it must not be the caller's (or a dead frame's) that is given back.
 */
static void a_new_dot_lives_in_the_arena(void **state)
{
    (void)state;
    struct dot first[] = {{7, 2}}, dot = {7, 3};
    struct vv one = {first, 1}, none = {0};
    arena_reset(&arena);
    for (int i = 0; i < 2; i++) {
        size_t used = arena.used_bytes;
        struct vv with = vv_with(i == 0 ? &one : &none, dot, &arena);
        assert_true(arena.used_bytes >= used + sizeof(dot));
        assert_int_equal(dot_compare(with.entries[0], dot), 0);
    }
}

static void vectors_that_break_a_rule(void **state)
{
    (void)state;
    struct dot no_clock[] = {{0, 1}}, no_counter[] = {{1, 0}}, unsorted[] = {{2, 1}, {1, 1}},
               twice[] = {{1, 1}, {1, 2}};
    assert_false(vv_valid(&(struct vv){no_clock, 1}));
    assert_false(vv_valid(&(struct vv){no_counter, 1}));
    assert_false(vv_valid(&(struct vv){unsorted, 2}));
    assert_false(vv_valid(&(struct vv){twice, 2}));
    assert_true(vv_valid(&(struct vv){0}));

    arena_reset(&arena);
    struct vv full = {.entries = ARENA_ARRAY(&arena, struct dot, VV_ENTRIES_MAX + 1),
                      .count = VV_ENTRIES_MAX};
    for (uint64_t i = 0; i <= VV_ENTRIES_MAX; i++)
        full.entries[i] = (struct dot){.clock = i + 1, .counter = UINT64_MAX};
    assert_true(vv_valid(&full));
    for (uint64_t i = 1; i <= VV_ENTRIES_MAX; i++) assert_true(vv_get(&full, i) == UINT64_MAX);
    full.count++;
    assert_false(vv_valid(&full));
}

static void stamps_only_grow(void **state)
{
    (void)state;
    struct hlc hlc = {0};
    uint64_t last = 0;
    for (int i = 0; i < ROUNDS; i++) {
        uint64_t wall_ms = 1000 + prng_below(&prng, 20); /* it also jumps back */
        uint64_t floor = prng_chance(&prng, 1, 2) ? last : prng_below(&prng, 900 << 16);
        uint64_t stamp = hlc_mint(&hlc, wall_ms, floor);
        assert_true(stamp > last);
        assert_true(stamp > floor);
        assert_true(stamp >= wall_ms << 16);
        last = stamp;
    }
    assert_true(hlc_ms(last) < 1020 + ROUNDS);
}

static void a_stamp_from_the_future_stays_with_its_key(void **state)
{
    (void)state;
    struct hlc hlc = {0};
    uint64_t far = UINT64_C(253402300799000) << 16; /* the year 9999 */
    assert_true(hlc_mint(&hlc, 1000, far) == far + 1);
    assert_true(hlc_mint(&hlc, 1000, far + 1) == far + 2);
    uint64_t other = hlc_mint(&hlc, 1000, 0);
    assert_int_equal(hlc_ms(other), 1000);
}

static void stamps_stay_at_the_end_of_their_space(void **state)
{
    (void)state;
    struct hlc hlc = {0};
    assert_true(hlc_mint(&hlc, 1000, UINT64_MAX) == UINT64_MAX);
    assert_true(hlc_mint(&hlc, 1000, UINT64_MAX - 1) == UINT64_MAX);
    assert_int_equal(hlc_ms(hlc_mint(&hlc, 1000, 0)), 1000);
    assert_true(hlc_mint(&hlc, UINT64_MAX, 0) == UINT64_MAX);
    assert_true(hlc_mint(&hlc, 1000, 0) == UINT64_MAX);
}

int main(int argc, char **argv)
{
    uint64_t seed = argc > 1 ? strtoull(argv[1], NULL, 0) : prng_entropy();
    printf("seed %" PRIu64 "\n", seed);
    fflush(stdout);
    prng_init(&prng, seed);
    arena_init(&arena, 0);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(vectors_agree_with_the_simple_way),
        cmocka_unit_test(a_join_that_changes_nothing_allocates_nothing),
        cmocka_unit_test(a_new_dot_lives_in_the_arena),
        cmocka_unit_test(vectors_that_break_a_rule),
        cmocka_unit_test(stamps_only_grow),
        cmocka_unit_test(a_stamp_from_the_future_stays_with_its_key),
        cmocka_unit_test(stamps_stay_at_the_end_of_their_space),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    arena_fini(&arena);
    return failed;
}
