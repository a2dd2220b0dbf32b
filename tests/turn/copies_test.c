/* Copies: which count is kept in the store, in the commit of what made them so. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "actors/copies.h"

enum { VNODES = 8, SELF = 1, NODES = 5 };

static struct ring *ring_of(uint32_t nodes)
{
    struct ring_node list[NODES] = {{0}};
    for (uint32_t i = 0; i < nodes; i++)
        list[i] = (struct ring_node){.id = SELF + i, .weight = RING_WEIGHT_DEFAULT};
    return ring_build(list, nodes, VNODES, nodes);
}

/* The @nth home other than SELF. */
static uint64_t other_home(const struct ring *ring, uint32_t vnode, uint32_t nth)
{
    const uint64_t *list = ring_preference_list(ring, vnode);
    for (;; list++)
        if (*list != SELF && nth-- == 0) return *list;
}

static uint32_t a_vnode(const struct ring *ring, uint32_t n, bool home)
{
    uint32_t vnode = 0;
    while (ring_is_home(ring, vnode, n, SELF) != home) vnode++;
    return vnode;
}

static struct copies loaded(struct store *store, bool born)
{
    struct copies copies = {0};
    assert_int_equal(copies_load(&copies, store, born, VNODES, 1), STATUS_OK);
    return copies;
}

/* What a new process knows after a crash. */
static void reload(struct copies *copies, struct store *store, bool crash)
{
    copies_fini(copies);
    if (crash)
        store_mem_crash(store);
    else
        assert_int_equal(store_commit(store), STATUS_OK);
    *copies = loaded(store, false);
}

static void hear(struct copies *copies, struct store *store, const struct ring *ring, uint32_t vnode,
                 uint32_t n, uint64_t home, enum status expected)
{
    assert_int_equal(copies_hear(copies, store, ring, SELF, vnode, n, home), expected);
}

static void born_filled(void **state)
{
    (void)state;
    struct store *store = store_mem_open();
    struct copies copies = loaded(store, true);
    for (uint32_t vnode = 0; vnode < VNODES; vnode++)
        for (uint32_t n = 0; n <= COPIES_N_MAX; n++) {
            assert_true(copies_is_filled(&copies, vnode, n));
            assert_false(copies_waits_for(&copies, vnode, n, 2));
        }
    copies_fini(&copies);
    copies = loaded(store, false);
    for (uint32_t vnode = 0; vnode < VNODES; vnode++)
        for (uint32_t n = 0; n <= COPIES_N_MAX; n++) {
            assert_true(copies_is_filled(&copies, vnode, n) == (n == 1)); /* nobody else holds anything */
            assert_true(copies_waits_for(&copies, vnode, n, 2) == (n != 1));
        }
    copies_fini(&copies);
    store_close(store);
}

static void every_home_is_heard(void **state)
{
    (void)state;
    struct store *store = store_mem_open();
    struct ring *ring = ring_of(NODES);
    struct copies copies = loaded(store, false);
    uint32_t vnode = a_vnode(ring, 3, true);
    uint64_t first = other_home(ring, vnode, 0), second = other_home(ring, vnode, 1);
    uint64_t stranger = other_home(ring, vnode, 3);
    hear(&copies, store, ring, vnode, 3, first, STATUS_OK);
    hear(&copies, store, ring, vnode, 3, first, STATUS_OK); /* twice is once */
    hear(&copies, store, ring, vnode, 3, stranger, STATUS_OK);
    hear(&copies, store, ring, vnode, 3, SELF, STATUS_OK);
    assert_false(copies_is_filled(&copies, vnode, 3));
    assert_false(copies_waits_for(&copies, vnode, 3, first));
    assert_true(copies_waits_for(&copies, vnode, 3, second));
    assert_true(copies_waits_for(&copies, vnode, 2, first)); /* another copy */
    /* What was not committed is not known any more, like the objects that came with it. */
    reload(&copies, store, true);
    assert_true(copies_waits_for(&copies, vnode, 3, first));
    hear(&copies, store, ring, vnode, 3, first, STATUS_OK);
    reload(&copies, store, false);
    assert_false(copies_waits_for(&copies, vnode, 3, first));
    hear(&copies, store, ring, vnode, 3, second, STATUS_OK);
    assert_true(copies_is_filled(&copies, vnode, 3));
    reload(&copies, store, false);
    assert_true(copies_is_filled(&copies, vnode, 3));
    for (uint32_t v = 0; v < VNODES; v++)
        for (uint32_t n = 2; n <= COPIES_N_MAX; n++)
            assert_true(copies_is_filled(&copies, v, n) == (v == vnode && n == 3));
    copies_fini(&copies);
    ring_free(ring);
    store_close(store);
}

/* Who is no home any more was heard in vain, and who is one now is waited for. */
static void homes_of_now(void **state)
{
    (void)state;
    struct store *store = store_mem_open();
    struct ring *three = ring_of(3), *five = ring_of(5);
    struct copies copies = loaded(store, false);
    for (uint32_t vnode = 0; vnode < VNODES; vnode++) {
        if (!ring_is_home(five, vnode, 3, SELF)) {
            hear(&copies, store, five, vnode, 3, other_home(five, vnode, 0), STATUS_OK);
            hear(&copies, store, five, vnode, 3, other_home(five, vnode, 1), STATUS_OK);
            assert_false(copies_is_filled(&copies, vnode, 3)); /* it is none of ours */
            continue;
        }
        hear(&copies, store, three, vnode, 3, other_home(three, vnode, 0), STATUS_OK);
        hear(&copies, store, five, vnode, 3, other_home(five, vnode, 0), STATUS_OK);
        bool both = other_home(three, vnode, 0) == other_home(five, vnode, 1);
        assert_true(copies_is_filled(&copies, vnode, 3) == both);
        hear(&copies, store, five, vnode, 3, other_home(five, vnode, 1), STATUS_OK);
        assert_true(copies_is_filled(&copies, vnode, 3));
    }
    hear(&copies, store, three, 0, 5, 2, STATUS_OK); /* more homes than nodes: a copy that can't be */
    assert_false(copies_is_filled(&copies, 0, 5));
    copies_fini(&copies);
    ring_free(three);
    ring_free(five);
    store_close(store);
}

static void full_disk_and_strange_rows(void **state)
{
    (void)state;
    struct store *store = store_mem_open();
    struct ring *ring = ring_of(3);
    struct copies copies = loaded(store, false);
    uint32_t vnode = a_vnode(ring, 2, true);
    store_mem_set_full(store, true);
    hear(&copies, store, ring, vnode, 2, other_home(ring, vnode, 0), STATUS_NO_SPACE);
    assert_false(copies_is_filled(&copies, vnode, 2));
    store_mem_set_full(store, false);
    static const struct {
        const char *key, *value;
        size_t key_bytes, value_bytes;
    } rows[] = {
        {"copy", "\1", 4, 1},
        {"copy\0\0\3", "", 7, 0},
        {"copy\0\0\3",
         "\1"
         "123",
         7, 4},
        {"copy\xff\xff\3", "\1", 7, 1},
        {"copy\0\0\xff", "\1", 7, 1},
        {"copy\0\0\3\3", "\1", 8, 1},
        {"copy\0\0\3", "\2", 7, 1},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        store_put(store, STORE_META, bytes_of(rows[i].key, rows[i].key_bytes),
                  bytes_of(rows[i].value, rows[i].value_bytes));
        reload(&copies, store, false);
        for (uint32_t v = 0; v < VNODES; v++)
            for (uint32_t n = 2; n <= COPIES_N_MAX; n++) assert_false(copies_is_filled(&copies, v, n));
    }
    copies_fini(&copies);
    ring_free(ring);
    store_close(store);
}

/* --- seen and reaped clocks --- */

static struct arena arena;

static struct vv one_entry(uint64_t clock, uint64_t counter)
{
    struct dot *dot = ARENA_NEW(&arena, struct dot);
    *dot = (struct dot){.clock = clock, .counter = counter};
    return (struct vv){.entries = dot, .count = 1};
}

static bool has_seen(const struct copies *copies, uint32_t vnode, uint64_t clock, uint64_t counter)
{
    struct vv seen = copies_seen(copies, vnode, 3, &arena);
    return vv_covers(&seen, (struct dot){.clock = clock, .counter = counter});
}

static struct dot mint(struct copies *copies, struct store *store)
{
    struct dot dot;
    struct prng prng;
    prng_init(&prng, copies->mints.count + 1);
    assert_int_equal(mints_next(&copies->mints, store, &prng, &dot), STATUS_OK);
    return dot;
}

static void seen_and_reaped_are_kept(void **state)
{
    (void)state;
    struct store *store = store_mem_open();
    struct copies copies = loaded(store, true);
    arena_init(&arena, 0);
    struct vv other = one_entry(7, 4), reaped = one_entry(7, 3);
    struct dot own = mint(&copies, store);
    assert_int_equal(copies_join_seen(&copies, store, &other, 2, 3, &arena), STATUS_OK);
    assert_int_equal(copies_join_reaped(&copies, store, &reaped, 2, 3, &arena), STATUS_OK);
    for (int round = 0; round < 2; round++) {
        assert_true(has_seen(&copies, 2, 7, 4));
        assert_false(has_seen(&copies, 2, 7, 5));
        assert_true(has_seen(&copies, 2, own.clock, own.counter));
        assert_true(has_seen(&copies, 3, own.clock, own.counter)); /* mints are of all vnodes ... */
        assert_false(has_seen(&copies, 3, 7, 1));                  /* ... exchanges of one */
        assert_true(copies_is_whole(&copies, 2, 3, &arena));
        assert_int_equal(copies_reaped(&copies, 2, 3).count, 1);
        assert_int_equal(copies_reaped(&copies, 2, 2).count, 0);
        assert_int_equal(store_commit(store), STATUS_OK);
        assert_int_equal(store_sync(store), STATUS_OK);
        copies_fini(&copies);
        copies = loaded(store, true);
    }
    store_mem_set_full(store, true);
    other = one_entry(8, 1);
    assert_int_equal(copies_join_seen(&copies, store, &other, 2, 3, &arena), STATUS_NO_SPACE);
    assert_int_equal(copies_join_reaped(&copies, store, &other, 2, 3, &arena), STATUS_NO_SPACE);
    assert_false(has_seen(&copies, 2, 8, 1));
    assert_true(copies_is_whole(&copies, 2, 3, &arena));
    copies_fini(&copies);
    arena_fini(&arena);
    store_close(store);
}

static void what_was_lost_is_not_seen(void **state)
{
    (void)state;
    struct store *store = store_mem_open();
    struct copies copies = loaded(store, true);
    arena_init(&arena, 0);
    struct vv other = one_entry(7, 4);
    struct dot own = mint(&copies, store);
    copies_join_seen(&copies, store, &other, 2, 3, &arena);
    copies_join_reaped(&copies, store, &other, 2, 3, &arena);
    uint64_t token = copies_token(&copies, 2, 3), elsewhere = copies_token(&copies, 3, 3);
    copies_lose(&copies, store, 2, 3);
    assert_true(copies_token(&copies, 2, 3) != token);
    assert_true(copies_token(&copies, 3, 3) == elsewhere);
    assert_false(has_seen(&copies, 2, 7, 1));
    assert_false(has_seen(&copies, 2, own.clock, own.counter));
    assert_true(has_seen(&copies, 3, own.clock, own.counter));
    assert_false(copies_is_whole(&copies, 2, 3, &arena));
    own = mint(&copies, store); /* under the clock of what was lost */
    assert_false(has_seen(&copies, 2, own.clock, own.counter));
    mints_end(&copies.mints);
    own = mint(&copies, store);
    assert_true(has_seen(&copies, 2, own.clock, own.counter));
    reload(&copies, store, false);
    assert_false(has_seen(&copies, 2, 7, 1));
    assert_true(has_seen(&copies, 2, own.clock, own.counter));

    /* Compared with all others it is whole by that. */
    struct ring *ring = ring_of(NODES);
    uint32_t vnode = a_vnode(ring, 3, true);
    copies_fini(&copies);
    copies = loaded(store, true);
    copies_join_reaped(&copies, store, &other, vnode, 3, &arena);
    for (uint32_t i = 0; i < 2; i++) {
        assert_false(copies_is_whole(&copies, vnode, 3, &arena));
        copies_compare(&copies, store, ring, SELF, vnode, 3, other_home(ring, vnode, i), &arena);
    }
    assert_true(copies_is_whole(&copies, vnode, 3, &arena));
    ring_free(ring);
    copies_fini(&copies);
    arena_fini(&arena);
    store_close(store);
}

static void proof_needs_every_home(void **state)
{
    (void)state;
    struct store *store = store_mem_open();
    struct copies copies = loaded(store, true);
    struct ring *ring = ring_of(NODES), *other_ring = ring_of(NODES - 1);
    arena_init(&arena, 0);
    uint32_t vnode = a_vnode(ring, 3, true);
    struct vv context = one_entry(7, 4), less = one_entry(7, 3);
    uint64_t b = other_home(ring, vnode, 0), c = other_home(ring, vnode, 1);
    copies.ripe_ns = 100;
    copies_set_known(&copies, ring, vnode, 3, SELF, &context, 1000);
    assert_false(copies_have_seen(&copies, ring, vnode, 3, &context, 9000));
    copies_set_known(&copies, ring, vnode, 3, b, &context, 1000);
    assert_false(copies_have_seen(&copies, ring, vnode, 3, &context, 9000));
    copies_set_known(&copies, ring, vnode, 3, c, &less, 1000);
    assert_false(copies_have_seen(&copies, ring, vnode, 3, &less, 1099)); /* a read may be under way */
    assert_true(copies_have_seen(&copies, ring, vnode, 3, &less, 1100));
    assert_false(copies_have_seen(&copies, ring, vnode, 3, &context, 1100));
    copies_set_known(&copies, ring, vnode, 3, c, &context, 1050); /* the first has to ripen */
    assert_true(copies_have_seen(&copies, ring, vnode, 3, &less, 1100));
    copies_set_known(&copies, ring, vnode, 3, c, &context, 1150);
    assert_true(copies_have_seen(&copies, ring, vnode, 3, &less, 1151));
    assert_false(copies_have_seen(&copies, ring, vnode, 3, &context, 1249));
    assert_true(copies_have_seen(&copies, ring, vnode, 3, &context, 1250));
    assert_false(copies_have_seen(&copies, other_ring, vnode, 3, &context, 1250));
    copies_set_known(&copies, ring, vnode, 3, b, &less, 1260); /* it has lost something */
    assert_false(copies_have_seen(&copies, ring, vnode, 3, &less, 1300));
    assert_true(copies_have_seen(&copies, ring, vnode, 3, &less, 1360));
    ring_free(ring);
    ring_free(other_ring);
    copies_fini(&copies);
    arena_fini(&arena);
    store_close(store);
}

/* Of the dots (7, 1) to (7, 4) the copy holds the second, has seen three, and three were reaped somewhere. */
static void what_was_reaped_stays_away(void **state)
{
    (void)state;
    struct store *store = store_mem_open();
    struct copies copies = loaded(store, true);
    arena_init(&arena, 0);
    struct sibling siblings[] = {{.dot = {7, 1}}, {.dot = {7, 2}}, {.dot = {7, 3}}, {.dot = {7, 4}}};
    struct vv all = one_entry(7, 4), three = one_entry(7, 3), two = one_entry(7, 2);
    struct object held = {.context = two, .siblings = &siblings[1], .count = 1};
    struct object incoming = {.context = all, .siblings = siblings, .count = 4};
    struct object admitted = copies_admit(&copies, 2, 3, &held, &incoming, &arena);
    assert_int_equal(admitted.count, 4);
    copies_join_seen(&copies, store, &two, 2, 3, &arena);
    copies_join_reaped(&copies, store, &three, 2, 3, &arena);
    uint64_t token = copies_token(&copies, 2, 3);
    admitted = copies_admit(&copies, 2, 3, &held, &incoming, &arena);
    assert_int_equal(admitted.count, 3); /* the first has gone; the third it can't judge */
    assert_int_equal(admitted.siblings[0].dot.counter, 2);
    assert_true(copies_token(&copies, 2, 3) != token);
    copies_join_seen(&copies, store, &three, 2, 3, &arena);
    token = copies_token(&copies, 2, 3);
    admitted = copies_admit(&copies, 2, 3, &held, &incoming, &arena);
    assert_int_equal(admitted.count, 2);
    assert_int_equal(admitted.siblings[1].dot.counter, 4);
    assert_true(copies_token(&copies, 2, 3) == token);
    incoming.count = 1;
    admitted = copies_admit(&copies, 2, 3, &held, &incoming, &arena);
    assert_int_equal(admitted.count, 0);
    assert_int_equal(admitted.context.count, 0);

    bool changed = false;
    incoming.count = 4;
    admitted = copies_strip(&incoming, &held, &three, &arena, &changed);
    assert_true(changed);
    assert_int_equal(admitted.count, 2);
    changed = false;
    admitted = copies_strip(&held, &incoming, &three, &arena, &changed);
    assert_false(changed);
    assert_int_equal(admitted.count, 1);
    copies_fini(&copies);
    arena_fini(&arena);
    store_close(store);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(born_filled),
        cmocka_unit_test(every_home_is_heard),
        cmocka_unit_test(homes_of_now),
        cmocka_unit_test(full_disk_and_strange_rows),
        cmocka_unit_test(seen_and_reaped_are_kept),
        cmocka_unit_test(what_was_lost_is_not_seen),
        cmocka_unit_test(proof_needs_every_home),
        cmocka_unit_test(what_was_reaped_stays_away),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
