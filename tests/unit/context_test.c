/* Sealed contexts: they come back for their own table and key, and every other bit of them is INVALID. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "object.pb-c.h"
#include "wire/context.h"
#include "wire/unpack.h"

static struct arena arena;
static struct context_secret secret;

static int set_up(void **state)
{
    (void)state;
    arena_init(&arena, 0);
    secret = context_secret_derive(bytes_str("a secret"), 7);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    arena_fini(&arena);
    return 0;
}

static struct bytes seal_of(struct dot *entries, uint32_t count, uint64_t tag, struct bytes key,
                            uint64_t stamp)
{
    struct sibling sibling = {.dot = entries[0], .stamp = stamp};
    struct object object = {.context = {entries, count}, .siblings = &sibling, .count = 1};
    return context_seal(&secret, tag, key, &object, &arena);
}

static enum status unseal(uint64_t tag, struct bytes key, struct bytes sealed)
{
    struct vv vv;
    uint64_t stamp;
    return context_unseal(&secret, tag, key, sealed, &arena, &vv, &stamp);
}

static void test_round_trip(void **state)
{
    (void)state;
    struct dot entries[] = {{1, 1}, {2, UINT64_MAX}, {UINT64_MAX, 1}};
    struct bytes sealed = seal_of(entries, 3, 9, bytes_str("key"), UINT64_MAX);
    struct vv vv, expected = {entries, 3};
    uint64_t stamp;
    assert_int_equal(context_unseal(&secret, 9, bytes_str("key"), sealed, &arena, &vv, &stamp), STATUS_OK);
    assert_true(vv_equal(&vv, &expected));
    assert_int_equal(stamp, UINT64_MAX);
    assert_int_equal(context_unseal(&secret, 9, bytes_str("key"), bytes_of(NULL, 0), &arena, &vv, &stamp),
                     STATUS_OK);
    assert_int_equal(vv.count, 0);
    assert_int_equal(stamp, 0);
}

static void test_not_of_this_key(void **state)
{
    (void)state;
    struct dot entry = {1, 1};
    struct bytes sealed = seal_of(&entry, 1, 9, bytes_str("key"), 5);
    assert_int_equal(unseal(9, bytes_str("key"), sealed), STATUS_OK);
    assert_int_equal(unseal(8, bytes_str("key"), sealed), STATUS_INVALID);
    assert_int_equal(unseal(9, bytes_str("kez"), sealed), STATUS_INVALID);
    assert_int_equal(unseal(9, bytes_of("key", 4), sealed), STATUS_INVALID);
    assert_int_equal(unseal(9, bytes_of(NULL, 0), sealed), STATUS_INVALID);
    secret = context_secret_derive(bytes_str("another"), 7);
    assert_int_equal(unseal(9, bytes_str("key"), sealed), STATUS_INVALID);
    secret = context_secret_derive(bytes_of(NULL, 0), 7);
    sealed = seal_of(&entry, 1, 9, bytes_str("key"), 5);
    secret = context_secret_derive(bytes_of(NULL, 0), 8);
    assert_int_equal(unseal(9, bytes_str("key"), sealed), STATUS_INVALID);
}

static void test_every_flipped_bit_and_cut(void **state)
{
    (void)state;
    struct dot entries[] = {{300, 4}, {77777777777, 1000000}};
    struct bytes sealed = seal_of(entries, 2, 9, bytes_str("key"), 5);
    uint8_t *copy = malloc(sealed.size);
    for (size_t size = 1; size < sealed.size; size++) {
        memcpy(copy, sealed.data, size);
        assert_int_equal(unseal(9, bytes_str("key"), bytes_of(copy, size)), STATUS_INVALID);
    }
    memcpy(copy, sealed.data, sealed.size);
    for (size_t bit = 0; bit < 8 * sealed.size; bit++) {
        copy[bit / 8] ^= (uint8_t)(1U << bit % 8);
        assert_int_equal(unseal(9, bytes_str("key"), bytes_of(copy, sealed.size)), STATUS_INVALID);
        copy[bit / 8] ^= (uint8_t)(1U << bit % 8);
    }
    free(copy);
}

/* Vectors that no object has: refused before anybody asks for the seal. */
static void test_broken_vectors(void **state)
{
    (void)state;
    enum { COUNT_MAX = 1000000 };
    uint64_t *numbers = malloc(COUNT_MAX * sizeof(*numbers));
    for (uint64_t i = 0; i < COUNT_MAX; i++) numbers[i] = i + 1;
    static const struct {
        size_t clocks, counters;
    } cases[] = {{1, 0}, {0, 1}, {2, 1}, {VV_ENTRIES_MAX + 1, VV_ENTRIES_MAX + 1}, {COUNT_MAX, COUNT_MAX}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        Dynode__Object__SealedContext message = DYNODE__OBJECT__SEALED_CONTEXT__INIT;
        message.clocks = message.counters = numbers;
        message.n_clocks = cases[i].clocks;
        message.n_counters = cases[i].counters;
        size_t size = dynode__object__sealed_context__get_packed_size(&message);
        uint8_t *packed = malloc(size);
        dynode__object__sealed_context__pack(&message, packed);
        size_t before = arena.used_bytes;
        assert_int_equal(unseal(9, bytes_str("key"), bytes_of(packed, size)), STATUS_INVALID);
        assert_true(arena.used_bytes - before <= UNPACK_FACTOR * CONTEXT_BYTES_MAX + UNPACK_SLACK_BYTES);
        free(packed);
    }
    free(numbers);
    struct dot zero[] = {{1, 0}}, unsorted[] = {{2, 1}, {1, 1}}, twice[] = {{1, 1}, {1, 2}};
    assert_int_equal(unseal(9, bytes_str("k"), seal_of(zero, 1, 9, bytes_str("k"), 1)), STATUS_INVALID);
    assert_int_equal(unseal(9, bytes_str("k"), seal_of(unsorted, 2, 9, bytes_str("k"), 1)), STATUS_INVALID);
    assert_int_equal(unseal(9, bytes_str("k"), seal_of(twice, 2, 9, bytes_str("k"), 1)), STATUS_INVALID);
}

/* The largest that is handed out is taken back. */
static void test_largest(void **state)
{
    (void)state;
    struct dot *entries = calloc(VV_ENTRIES_MAX, sizeof(*entries));
    for (uint64_t i = 0; i < VV_ENTRIES_MAX; i++) entries[i] = (struct dot){i + 1, UINT64_MAX};
    struct bytes sealed = seal_of(entries, VV_ENTRIES_MAX, 9, bytes_str("key"), 5);
    assert_true(sealed.size <= CONTEXT_BYTES_MAX);
    assert_int_equal(unseal(9, bytes_str("key"), sealed), STATUS_OK);
    free(entries);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_round_trip, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_not_of_this_key, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_every_flipped_bit_and_cut, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_broken_vectors, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_largest, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
