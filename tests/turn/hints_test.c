/* Hints as values: their keys, what is counted, the bound, damage, and a random run against a model. */
#include "actors/hints.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "one_shard.h"

struct bench {
    struct store *store;
    struct hints hints;
    struct arena arena;
};

static void begin(struct bench *bench, uint64_t bytes_max)
{
    *bench = (struct bench){.store = store_mem_open()};
    arena_init(&bench->arena, 0);
    assert_int_equal(hints_load(&bench->hints, bench->store, bytes_max), STATUS_OK);
}

static void end(struct bench *bench)
{
    hints_fini(&bench->hints);
    store_close(bench->store);
    arena_fini(&bench->arena);
}

static struct store_place place(uint32_t vnode, const char *key)
{
    return (struct store_place){.vnode = vnode, .hash = 7, .tag = 9, .key = bytes_str(key)};
}

static enum status put(struct bench *bench, uint64_t target, const struct store_place *at,
                       struct bytes encoded, uint64_t wall_ms)
{
    struct hint hint;
    hints_get(bench->store, target, at, &bench->arena, &hint);
    enum status status = hints_put(&bench->hints, bench->store, &hint, encoded, wall_ms, &bench->arena);
    assert_int_equal(store_commit(bench->store), STATUS_OK);
    return status;
}

static void drop(struct bench *bench, uint64_t target, const struct store_place *at)
{
    struct hint hint;
    hints_get(bench->store, target, at, &bench->arena, &hint);
    assert_int_equal(hints_remove(&bench->hints, bench->store, hint.store_key, &bench->arena), STATUS_OK);
    assert_int_equal(store_commit(bench->store), STATUS_OK);
}

/* What a scan finds is what memory says. */
static void expect_counted(struct bench *bench)
{
    struct hints fresh = {0};
    assert_int_equal(hints_load(&fresh, bench->store, 0), STATUS_OK);
    assert_int_equal(fresh.bytes, bench->hints.bytes);
    for (uint32_t i = 0; i < bench->hints.count; i++) {
        const struct hint_target *one = &bench->hints.list[i], *other = hints_of(&fresh, one->node);
        assert_int_equal(other != NULL ? other->count : 0, one->count);
        assert_int_equal(other != NULL ? other->bytes : 0, one->bytes);
        if (one->count > 0) assert_true(one->oldest_ms <= other->oldest_ms);
        if (one->count == 0) assert_int_equal(one->oldest_ms, 0);
        if (i > 0) assert_true(bench->hints.list[i - 1].node < one->node);
    }
    hints_fini(&fresh);
}

static void one_for_each_key(void **state)
{
    (void)state;
    struct bench bench;
    struct hint hint;
    begin(&bench, 1000000);
    struct store_place a = place(3, "a"), b = place(300, "b");
    assert_null(hints_of(&bench.hints, 5));
    assert_int_equal(hints_get(bench.store, 5, &a, &bench.arena, &hint), STATUS_NOT_FOUND);
    assert_int_equal(put(&bench, 5, &a, bytes_str("first"), 100), STATUS_OK);
    assert_int_equal(put(&bench, 5, &b, bytes_str("other"), 150), STATUS_OK);
    assert_int_equal(put(&bench, 6, &a, bytes_str("for six"), 50), STATUS_OK);
    assert_int_equal(put(&bench, 5, &a, bytes_str("second"), 200), STATUS_OK);
    assert_int_equal(hints_of(&bench.hints, 5)->count, 2);
    assert_int_equal(hints_of(&bench.hints, 5)->oldest_ms, 100);
    assert_int_equal(hints_of(&bench.hints, 6)->count, 1);
    assert_int_equal(hints_get(bench.store, 5, &a, &bench.arena, &hint), STATUS_OK);
    assert_int_equal(hint.first_ms, 100); /* its first write, not its last */
    assert_true(bytes_equal(hint.encoded, bytes_str("second")));
    uint64_t target;
    struct store_place back;
    assert_true(hint_key_decode(hint.store_key, &target, &back));
    assert_int_equal(target, 5);
    assert_int_equal(back.vnode, 3);
    assert_true(bytes_equal(back.key, a.key));
    assert_false(hint_key_decode(bytes_of(hint.store_key.data, HINT_PLACE_BYTES), &target, &back));
    expect_counted(&bench);
    drop(&bench, 5, &a);
    drop(&bench, 5, &a); /* nothing there: nothing happens */
    drop(&bench, 5, &b);
    assert_int_equal(hints_of(&bench.hints, 5)->count, 0);
    assert_int_equal(hints_of(&bench.hints, 6)->count, 1);
    expect_counted(&bench);
    end(&bench);
}

/* What is set aside is under nobody's name, with all its bytes, each for itself; and counts. */
static void set_aside(void **state)
{
    (void)state;
    struct bench bench;
    struct hint hint;
    struct bytes found;
    uint8_t aside[8 + 64];
    begin(&bench, 1000000);
    struct store_place a = place(3, "a");
    for (uint64_t target = 5; target <= 6; target++) {
        assert_int_equal(put(&bench, target, &a, bytes_str("no object"), 100 * target), STATUS_OK);
        hints_get(bench.store, target, &a, &bench.arena, &hint);
        for (int twice = 0; twice < 2; twice++)
            assert_int_equal(hints_set_aside(&bench.hints, bench.store, hint.store_key, &bench.arena),
                             STATUS_OK);
        assert_int_equal(store_commit(bench.store), STATUS_OK);
        assert_int_equal(hints_of(&bench.hints, target)->count, 0);
        assert_int_equal(hints_get(bench.store, target, &a, &bench.arena, &hint), STATUS_NOT_FOUND);
        put_be64(aside, HINTS_ASIDE);
        memcpy(aside + 8, hint.store_key.data, hint.store_key.size);
        assert_int_equal(store_get(bench.store, STORE_HINTS, bytes_of(aside, 8 + hint.store_key.size),
                                   &bench.arena, &found),
                         STATUS_OK);
        assert_true(hint_open(hint.store_key, found, &hint) == STATUS_OK);
        assert_true(bytes_equal(hint.encoded, bytes_str("no object")));
        expect_counted(&bench);
    }
    assert_int_equal(hints_of(&bench.hints, HINTS_ASIDE)->count, 2);
    assert_int_equal(hints_of(&bench.hints, HINTS_ASIDE)->oldest_ms, 500);
    end(&bench);
}

/* At the bound what is new is refused; what is there may grow, and what goes makes room. */
static void bound(void **state)
{
    (void)state;
    struct bench bench;
    begin(&bench, 200);
    struct store_place a = place(1, "a"), b = place(1, "b"), c = place(1, "c");
    static const char text[] = "some thirty bytes, for a hint.";
    assert_int_equal(put(&bench, 5, &a, bytes_str(text), 1), STATUS_OK);
    assert_int_equal(put(&bench, 6, &b, bytes_str(text), 1), STATUS_OK);
    assert_int_equal(put(&bench, 5, &c, bytes_str(text), 1), STATUS_NO_SPACE);
    assert_int_equal(bench.hints.refused, 1);
    uint8_t large[300] = {0};
    assert_int_equal(put(&bench, 5, &a, bytes_of(large, sizeof(large)), 1), STATUS_OK);
    assert_true(bench.hints.bytes > 200);
    expect_counted(&bench);
    drop(&bench, 5, &a);
    assert_int_equal(put(&bench, 5, &c, bytes_str(text), 1), STATUS_OK);
    store_mem_set_full(bench.store, true); /* the disk's bound is another: nothing is counted */
    assert_int_equal(put(&bench, 5, &c, bytes_str("more"), 1), STATUS_NO_SPACE);
    assert_int_equal(bench.hints.refused, 1);
    expect_counted(&bench);
    end(&bench);
}

/* Each bit of a hint: it is found out, or was the time; it may be written anew or removed. */
static void damage(void **state)
{
    (void)state;
    struct bench bench;
    struct hint hint;
    begin(&bench, 1000000);
    struct store_place a = place(1, "a");
    assert_int_equal(put(&bench, 5, &a, bytes_str("some bytes"), 77), STATUS_OK);
    uint64_t bits = (8 + 8 + 10) * 8;
    for (uint64_t bit = 0; bit < bits; bit++) {
        assert_true(store_mem_rot(bench.store, STORE_HINTS, bit));
        enum status status = hints_get(bench.store, 5, &a, &bench.arena, &hint);
        assert_int_equal(status, bit < 64 ? STATUS_OK : STATUS_CORRUPT);
        assert_true(store_mem_rot(bench.store, STORE_HINTS, bit));
    }
    store_mem_rot(bench.store, STORE_HINTS, 100);
    assert_int_equal(put(&bench, 5, &a, bytes_str("anew"), 99), STATUS_OK);
    assert_int_equal(hints_get(bench.store, 5, &a, &bench.arena, &hint), STATUS_OK);
    store_mem_rot(bench.store, STORE_HINTS, 100);
    expect_counted(&bench);
    drop(&bench, 5, &a);
    assert_int_equal(bench.hints.bytes, 0);
    expect_counted(&bench);
    /* Not long enough for a time. */
    assert_int_equal(hint_open(hint.store_key, bytes_str("short"), &hint), STATUS_CORRUPT);
    end(&bench);
}

static void random_run(void **state)
{
    (void)state;
    uint64_t seed = (uint64_t)time(NULL);
    if (getenv("SEED") != NULL) seed = strtoull(getenv("SEED"), NULL, 10);
    printf("SEED=%llu\n", (unsigned long long)seed);
    struct prng prng;
    struct bench bench;
    prng_init(&prng, seed);
    begin(&bench, 4000);
    for (uint32_t i = 0; i < 3000; i++) {
        char key[8];
        uint8_t value[200] = {0};
        snprintf(key, sizeof(key), "k%u", (unsigned)prng_below(&prng, 20));
        struct store_place at = place((uint32_t)prng_below(&prng, 3), key);
        uint64_t target = 1 + prng_below(&prng, 5);
        if (prng_chance(&prng, 1, 3)) {
            drop(&bench, target, &at);
        } else {
            uint64_t before = bench.hints.bytes;
            enum status status = put(&bench, target, &at, bytes_of(value, 1 + prng_below(&prng, 199)),
                                     prng_below(&prng, 1000));
            if (status == STATUS_NO_SPACE) assert_int_equal(bench.hints.bytes, before);
        }
        if (i % 100 == 0) expect_counted(&bench);
        arena_reset(&bench.arena);
    }
    assert_true(bench.hints.refused > 0);
    expect_counted(&bench);
    end(&bench);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_for_each_key), cmocka_unit_test(set_aside),  cmocka_unit_test(bound),
        cmocka_unit_test(damage),           cmocka_unit_test(random_run),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
