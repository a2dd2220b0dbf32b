/* The trees of a shard: whatever the order of writes, and whenever a sweep passes, they are as if built anew
 * from what is there. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/hash.h"
#include "base/prng.h"
#include "merkle/forest.h"

enum { VNODES = 4, KEYS = 300 };

static struct prng prng;

static void seed_from(const char *name)
{
    uint64_t seed = prng_entropy();
    printf("%s: seed %llu\n", name, (unsigned long long)seed);
    prng_init(&prng, seed);
}

/* A shard's objects: sorted by their store keys, as a store is. */
struct item {
    uint8_t key[10]; /* vnode and hash */
    struct forest_entry entry;
    uint64_t checksum; /* 0: not there */
};

static int item_compare(const void *a, const void *b)
{
    return memcmp(((const struct item *)a)->key, ((const struct item *)b)->key, 10);
}

static void draw_items(struct item items[KEYS])
{
    for (int i = 0; i < KEYS; i++) {
        uint64_t hash = prng_next(&prng);
        if (i > 0 && prng_chance(&prng, 1, 3)) hash = items[i - 1].entry.hash + 1; /* the same leaf */
        items[i].entry = (struct forest_entry){
            .vnode = (uint32_t)(hash >> 62), .n = 1 + (uint32_t)prng_below(&prng, 3), .hash = hash};
        put_be16(items[i].key, (uint16_t)items[i].entry.vnode);
        put_be64(items[i].key + 2, hash);
        items[i].checksum = prng_chance(&prng, 1, 2) ? prng_next(&prng) : 0;
    }
    qsort(items, KEYS, sizeof(*items), item_compare);
    for (int i = 0; i < KEYS; i++) items[i].entry.store_key = bytes_of(items[i].key, 10);
}

/* Write or remove one. */
static void change(struct forest *forest, struct item *item)
{
    uint64_t after = prng_chance(&prng, 1, 4) ? 0 : prng_next(&prng);
    forest_replace(forest, &item->entry, item->checksum, after);
    item->checksum = after;
}

/* Sweep a vnode, with @changes of anything before, between and after each two steps: each goes to the next
 * object that is there then. */
static uint32_t sweep(struct forest *forest, struct item items[KEYS], uint32_t vnode, uint32_t changes)
{
    forest_sweep_begin(forest, vnode);
    for (int i = 0;; i++) {
        for (uint32_t k = 0; k < changes; k++) change(forest, &items[prng_below(&prng, KEYS)]);
        while (i < KEYS && (items[i].entry.vnode != vnode || items[i].checksum == 0)) i++;
        if (i == KEYS) break;
        forest_sweep_add(forest, &items[i].entry, items[i].checksum);
    }
    return forest_sweep_end(forest);
}

static void assert_same(struct forest *a, struct forest *b)
{
    uint64_t left[TREE_INNER], right[TREE_INNER];
    for (uint32_t vnode = 0; vnode < VNODES; vnode++)
        for (uint32_t n = 1; n <= 3; n++) {
            assert_int_equal(forest_root(a, vnode, n), forest_root(b, vnode, n));
            forest_inners(a, vnode, n, left);
            forest_inners(b, vnode, n, right);
            assert_memory_equal(left, right, sizeof(left));
            for (uint32_t inner = 0; inner < TREE_INNER; inner++) {
                forest_leaves(a, vnode, n, inner, left);
                forest_leaves(b, vnode, n, inner, right);
                assert_memory_equal(left, right, sizeof(left));
            }
        }
}

static struct forest *built_anew(struct item items[KEYS])
{
    struct forest *forest = forest_alloc(VNODES);
    for (uint32_t vnode = 0; vnode < VNODES; vnode++) assert_int_equal(sweep(forest, items, vnode, 0), 0);
    return forest;
}

static void writes_in_any_order_and_sweeps_at_any_time_leave_what_a_fresh_build_does(void **state)
{
    (void)state;
    static struct item items[KEYS];
    seed_from("forest");
    for (int round = 0; round < 30; round++) {
        draw_items(items);
        struct forest *forest = forest_alloc(VNODES);
        for (uint32_t vnode = 0; vnode < VNODES; vnode++) {
            assert_false(forest_is_built(forest, vnode));
            assert_int_equal(sweep(forest, items, vnode, (uint32_t)round % 3), 0);
        }
        assert_int_equal(forest_built(forest), VNODES);
        for (int i = 0; i < 500; i++) change(forest, &items[prng_below(&prng, KEYS)]);
        struct forest *fresh = built_anew(items);
        assert_same(forest, fresh);
        forest_free(fresh);
        /* An audit meanwhile finds nothing wrong, and makes nothing wrong. */
        for (uint32_t vnode = 0; vnode < VNODES; vnode++)
            assert_int_equal(sweep(forest, items, vnode, (uint32_t)round % 4), 0);
        fresh = built_anew(items);
        assert_same(forest, fresh);
        forest_free(fresh);
        forest_free(forest);
    }
}

static void an_audit_finds_the_leaf_of_what_has_rotted_or_vanished(void **state)
{
    (void)state;
    static struct item items[KEYS];
    seed_from("audit");
    draw_items(items);
    struct forest *forest = built_anew(items);
    int lost = 0;
    while (items[lost].checksum == 0) lost++;
    uint32_t vnode = items[lost].entry.vnode, n = items[lost].entry.n;
    uint64_t root = forest_root(forest, vnode, n), checksum = items[lost].checksum;
    items[lost].checksum = 0; /* nobody tells the forest */
    for (uint32_t v = 0; v < VNODES; v++) assert_int_equal(sweep(forest, items, v, 0), v == vnode);
    assert_int_not_equal(forest_root(forest, vnode, n), root);
    forest_replace(forest, &items[lost].entry, 0, checksum);
    assert_int_equal(forest_root(forest, vnode, n), root);
    forest_free(forest);
}

static void a_sweep_that_is_given_up_leaves_a_built_vnode_built_and_another_not(void **state)
{
    (void)state;
    static struct item items[KEYS];
    seed_from("stop");
    draw_items(items);
    struct forest *forest = forest_alloc(VNODES);
    forest_sweep_begin(forest, 1);
    forest_sweep_stop(forest);
    forest_sweep_stop(forest);
    assert_false(forest_is_built(forest, 1));
    assert_int_equal(sweep(forest, items, 1, 0), 0);
    assert_false(forest_is_distrusted(forest, 1));
    forest_sweep_begin(forest, 1);
    forest_sweep_stop(forest);
    assert_true(forest_is_built(forest, 1));
    assert_true(forest_is_distrusted(forest, 1)); /* it may have been begun for that */
    forest_free(forest);
}

static void a_tree_is_the_same_on_every_machine(void **state)
{
    (void)state;
    struct tree tree;
    tree_init(&tree);
    uint64_t empty = tree_root(&tree);
    for (uint32_t i = 0; i < TREE_LEAVES; i++) tree_replace(&tree, i, 0, i * UINT64_C(0x9e3779b97f4a7c15));
    assert_int_equal(tree_root(&tree), UINT64_C(0xb7f1c9e16fafcaf2));
    for (uint32_t i = 0; i < TREE_LEAVES; i++) tree_replace(&tree, i, i * UINT64_C(0x9e3779b97f4a7c15), 0);
    assert_int_equal(tree_root(&tree), empty);
    /* The leaves of a vnode follow one another as its hashes do. */
    assert_int_equal(tree_leaf(0, 1), 0);
    assert_int_equal(tree_leaf(UINT64_MAX, 1), TREE_LEAVES - 1);
    assert_int_equal(tree_leaf(UINT64_C(0x4000000000000000), 4), 0);
    assert_int_equal(tree_leaf(UINT64_C(0x7fffffffffffffff), 4), TREE_LEAVES - 1);
    assert_int_equal(tree_leaf(UINT64_C(1) << 52, 4), 1);
    assert_int_equal(tree_leaf(UINT64_C(1) << 38, 65536), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(writes_in_any_order_and_sweeps_at_any_time_leave_what_a_fresh_build_does),
        cmocka_unit_test(an_audit_finds_the_leaf_of_what_has_rotted_or_vanished),
        cmocka_unit_test(a_sweep_that_is_given_up_leaves_a_built_vnode_built_and_another_not),
        cmocka_unit_test(a_tree_is_the_same_on_every_machine),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
