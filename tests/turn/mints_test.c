/* Mints: a clock never mints a dot twice, whatever a crash forgets, and what is said to be minted is what the
 * store still remembers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "actors/mints.h"
#include "base/bytes.h"

struct bench {
    struct store *store;
    struct prng prng;
    struct mints mints;
};

static void start(struct bench *bench)
{
    bench->mints = (struct mints){0};
    assert_int_equal(mints_load(&bench->mints, bench->store), STATUS_OK);
}

static struct dot next(struct bench *bench)
{
    struct dot dot;
    assert_int_equal(mints_next(&bench->mints, bench->store, &bench->prng, &dot), STATUS_OK);
    return dot;
}

static void commit(struct bench *bench, bool sync)
{
    assert_int_equal(store_commit(bench->store), STATUS_OK);
    if (sync) assert_int_equal(store_sync(bench->store), STATUS_OK);
}

static void restart(struct bench *bench)
{
    mints_fini(&bench->mints);
    store_mem_crash(bench->store);
    start(bench);
}

static int set_up(void **state)
{
    static struct bench bench;
    bench = (struct bench){.store = store_mem_open()};
    prng_init(&bench.prng, 7);
    start(&bench);
    *state = &bench;
    return 0;
}

static int tear_down(void **state)
{
    struct bench *bench = *state;
    mints_fini(&bench->mints);
    store_close(bench->store);
    return 0;
}

static void expect_last(const struct bench *bench, uint32_t place, struct dot dot)
{
    assert_true(place < bench->mints.count);
    assert_int_equal(bench->mints.tenures[place].clock, dot.clock);
    assert_int_equal(bench->mints.tenures[place].counter, dot.counter);
}

static void remembers_what_is_durable(void **state)
{
    struct bench *bench = *state;
    struct dot first = next(bench), second = next(bench);
    assert_int_equal(first.counter, 1);
    assert_int_equal(second.clock, first.clock);
    assert_int_equal(second.counter, 2);
    commit(bench, true);
    next(bench); /* a dot that was never durable */
    commit(bench, false);
    restart(bench);
    assert_int_equal(bench->mints.count, 1);
    expect_last(bench, 0, second);

    struct dot third = next(bench);
    assert_int_not_equal(third.clock, first.clock);
    assert_int_equal(third.counter, 1);
    commit(bench, true);
    restart(bench);
    assert_int_equal(bench->mints.count, 2);
    expect_last(bench, 0, second);
    expect_last(bench, 1, third);
}

static void fresh_clock_where_memory_may_have_gone(void **state)
{
    struct bench *bench = *state;
    struct dot first = next(bench), mine = first, foreign = first;
    struct vv context = {.entries = &mine, .count = 1};
    mints_judge(&bench->mints, &context);
    assert_int_equal(next(bench).clock, first.clock);
    foreign.counter = 3; /* two were minted */
    context.entries = &foreign;
    mints_judge(&bench->mints, &context);
    struct dot second = next(bench);
    assert_int_not_equal(second.clock, first.clock);
    mints_judge(&bench->mints, &context); /* not this one's */
    mints_end(&bench->mints);
    mints_end(&bench->mints);
    struct dot third = next(bench);
    assert_int_not_equal(third.clock, second.clock);
    assert_int_equal(bench->mints.count, 3);
}

static void full_disk_mints_nothing(void **state)
{
    struct bench *bench = *state;
    struct dot dot, before = next(bench);
    store_mem_set_full(bench->store, true);
    assert_int_equal(mints_next(&bench->mints, bench->store, &bench->prng, &dot), STATUS_NO_SPACE);
    mints_end(&bench->mints);
    assert_int_equal(mints_next(&bench->mints, bench->store, &bench->prng, &dot), STATUS_NO_SPACE);
    assert_int_equal(bench->mints.count, 1);
    expect_last(bench, 0, before);
    store_mem_set_full(bench->store, false);
    assert_int_not_equal(next(bench).clock, before.clock);
}

static void old_tenures_are_forgotten(void **state)
{
    struct bench *bench = *state;
    struct dot dots[MINTS_TENURES_MAX + 3];
    for (uint32_t i = 0; i < MINTS_TENURES_MAX + 3; i++) {
        mints_end(&bench->mints);
        dots[i] = next(bench);
    }
    for (int i = 0; i < 2; i++) {
        assert_int_equal(bench->mints.count, MINTS_TENURES_MAX);
        assert_int_equal(bench->mints.first, 4);
        expect_last(bench, 0, dots[3]);
        expect_last(bench, MINTS_TENURES_MAX - 1, dots[MINTS_TENURES_MAX + 2]);
        commit(bench, true);
        restart(bench);
    }
}

static void rows_that_say_nothing(void **state)
{
    static const struct {
        const char *key, *value;
        size_t key_bytes, value_bytes;
    } rows[] = {
        {"mint", "", 4, 0},
        {"mint\0\0\0\0\0\0\0\1", "0123456789abcde", 12, 15},
        {"mint\0\0\0\0\0\0\0\0", "0123456789abcdef", 12, 16},
        {"mint\0\0\0\0\0\0\0\2",
         "\0\0\0\0\0\0\0\0"
         "89abcdef",
         12, 16},
        {"mint\0\0\0\0\0\0\0\3", "01234567\0\0\0\0\0\0\0\0", 12, 16},
        {"mint\xff\0\0\0\0\0\0\1", "0123456789abcdef", 12, 16},
    };
    struct bench *bench = *state;
    next(bench); /* the first */
    mints_end(&bench->mints);
    next(bench);
    mints_end(&bench->mints);
    next(bench);
    mints_end(&bench->mints);
    struct dot fourth = next(bench);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        assert_int_equal(store_put(bench->store, STORE_META,
                                   bytes_of((const uint8_t *)rows[i].key, rows[i].key_bytes),
                                   bytes_of((const uint8_t *)rows[i].value, rows[i].value_bytes)),
                         STATUS_OK);
    commit(bench, true);
    restart(bench);
    assert_int_equal(bench->mints.count, 1);
    assert_int_equal(bench->mints.first, 4);
    expect_last(bench, 0, fourth);
    next(bench);
    assert_int_equal(bench->mints.count, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(remembers_what_is_durable, set_up, tear_down),
        cmocka_unit_test_setup_teardown(fresh_clock_where_memory_may_have_gone, set_up, tear_down),
        cmocka_unit_test_setup_teardown(full_disk_mints_nothing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(old_tenures_are_forgotten, set_up, tear_down),
        cmocka_unit_test_setup_teardown(rows_that_say_nothing, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
