/* The ring: that it is the same everywhere, fair, and moves no more than it must. */
#include "ring/ring.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "base/hash.h"
#include "base/prng.h"

enum { VNODES = 1024, NODES_MAX = 64 };

#define FAR 0xfedcba9876543210U

static struct prng prng;

static struct ring_node node(uint64_t id, uint32_t weight, const char *zone)
{
    struct ring_node made = {.id = id, .weight = weight};
    snprintf(made.zone, sizeof(made.zone), "%s", zone);
    return made;
}

/* Nodes with random ids, so that each run tries others. */
static void random_nodes(struct ring_node *nodes, uint32_t count, uint32_t zones)
{
    for (uint32_t i = 0; i < count; i++) {
        char zone[16];
        snprintf(zone, sizeof(zone), "z%u", (unsigned)prng_below(&prng, zones));
        nodes[i] = node(prng_next(&prng) | 1, RING_WEIGHT_DEFAULT, zone);
    }
}

static void shuffle(struct ring_node *nodes, uint32_t count)
{
    for (uint32_t i = count; i > 1; i--) {
        uint32_t j = (uint32_t)prng_below(&prng, i);
        struct ring_node other = nodes[i - 1];
        nodes[i - 1] = nodes[j];
        nodes[j] = other;
    }
}

static uint32_t first_homes(const struct ring *ring, uint64_t id)
{
    uint32_t count = 0;
    for (uint32_t v = 0; v < ring_vnodes(ring); v++) count += ring_preference_list(ring, v)[0] == id;
    return count;
}

static const struct ring_node *find(const struct ring_node *nodes, uint32_t count, uint64_t id)
{
    for (uint32_t i = 0; i < count; i++)
        if (nodes[i].id == id) return &nodes[i];
    fail_msg("node %" PRIx64 " is not among the nodes", id);
    return NULL;
}

/* All lists in one number, byte order made explicit. */
static uint64_t fingerprint(const struct ring *ring)
{
    uint64_t sum = 0;
    for (uint32_t v = 0; v < ring_vnodes(ring); v++)
        for (uint32_t k = 0; k < ring_nodes(ring); k++) {
            uint8_t bytes[8];
            put_be64(bytes, ring_preference_list(ring, v)[k]);
            sum = hash64(bytes_of(bytes, sizeof(bytes)), sum);
        }
    return sum;
}

/* Lists written down once. If this fails on any machine, or after any change, that ring puts keys on other
 * nodes than the clusters that run: it must not be released. */
static void golden_lists(void **state)
{
    (void)state;
    struct ring_node nodes[] = {node(1, 100, "a"), node(2, 100, "b"), node(3, 200, "a"), node(4, 50, "c"),
                                node(FAR, 1000, "b")};
    static const struct {
        uint32_t vnode;
        uint64_t list[5];
    } golden[] = {
        {0, {FAR, 3, 4, 1, 2}},   {1, {FAR, 3, 4, 2, 1}},   {2, {FAR, 3, 4, 2, 1}},
        {511, {FAR, 1, 4, 2, 3}}, {700, {FAR, 3, 4, 2, 1}}, {1023, {FAR, 4, 3, 2, 1}},
    };
    struct ring *ring = ring_build(nodes, 5, VNODES, 1);
    for (size_t i = 0; i < sizeof(golden) / sizeof(golden[0]); i++)
        for (uint32_t k = 0; k < 5; k++)
            assert_int_equal(ring_preference_list(ring, golden[i].vnode)[k], golden[i].list[k]);
    assert_int_equal(fingerprint(ring), 0x39b71c406d71b745U);
    ring_free(ring);
}

static void a_thousand_nodes_golden(void **state)
{
    (void)state;
    static struct ring_node nodes[1000];
    for (uint32_t i = 0; i < 1000; i++) nodes[i] = node(i + 1, 1 + i, i % 3 == 0 ? "x" : "y");
    struct ring *ring = ring_build(nodes, 1000, 64, 1);
    assert_int_equal(fingerprint(ring), 0x09e0089fc85e4bc9U);
    ring_free(ring);
}

static void lists_are_permutations(void **state)
{
    (void)state;
    for (int round = 0; round < 20; round++) {
        struct ring_node nodes[NODES_MAX];
        uint32_t count = 1 + (uint32_t)prng_below(&prng, NODES_MAX);
        random_nodes(nodes, count, 1 + (uint32_t)prng_below(&prng, 8));
        struct ring *ring = ring_build(nodes, count, 32, 7);
        assert_int_equal(ring_nodes(ring), count);
        assert_int_equal(ring_vnodes(ring), 32);
        assert_int_equal(ring_version(ring), 7);
        for (uint32_t v = 0; v < 32; v++) {
            bool seen[NODES_MAX] = {false};
            for (uint32_t k = 0; k < count; k++) {
                uint64_t id = ring_preference_list(ring, v)[k];
                uint32_t i = ring_node_index(ring, id);
                assert_true(i < count);
                assert_false(seen[i]);
                seen[i] = true;
                for (uint32_t n = 0; n <= count + 1; n++)
                    assert_int_equal(ring_is_home(ring, v, n, id), n > k);
            }
        }
        assert_int_equal(ring_node_index(ring, 2), count); /* ids are odd here */
        assert_false(ring_is_home(ring, 0, count, 2));
        ring_free(ring);
    }
}

static void order_of_input_is_of_no_account(void **state)
{
    (void)state;
    struct ring_node nodes[20];
    random_nodes(nodes, 20, 4);
    struct ring *ring = ring_build(nodes, 20, 256, 1);
    for (int round = 0; round < 5; round++) {
        shuffle(nodes, 20);
        struct ring *other = ring_build(nodes, 20, 256, 1);
        for (uint32_t v = 0; v < 256; v++)
            assert_memory_equal(ring_preference_list(ring, v), ring_preference_list(other, v),
                                20 * sizeof(uint64_t));
        for (uint32_t i = 0; i < 20; i++)
            assert_int_equal(ring_node_index(ring, nodes[i].id), ring_node_index(other, nodes[i].id));
        ring_free(other);
    }
    ring_free(ring);
}

/* 1024 draws with p = 1/5: mean 205, deviation 12.8. Beyond 6.5 of them lies one seed in ten thousand
 * million. */
static void five_equal_nodes_share_alike(void **state)
{
    (void)state;
    struct ring_node nodes[5];
    random_nodes(nodes, 5, 1);
    struct ring *ring = ring_build(nodes, 5, VNODES, 1);
    for (uint32_t i = 0; i < 5; i++) assert_in_range(first_homes(ring, nodes[i].id), 205 - 84, 205 + 84);
    ring_free(ring);
}

/* Weights 1 : 100 : 200 : 699 of 1000, over 65536 vnodes: within 6.5 deviations each. */
static void shares_follow_weights(void **state)
{
    (void)state;
    struct ring_node nodes[4];
    random_nodes(nodes, 4, 1);
    const uint32_t weights[] = {1, 100, 200, 699};
    const uint32_t slack[] = {53, 500, 666, 764};
    for (uint32_t i = 0; i < 4; i++) nodes[i].weight = weights[i];
    struct ring *ring = ring_build(nodes, 4, RING_VNODES_MAX, 1);
    for (uint32_t i = 0; i < 4; i++) {
        uint32_t expected = (uint32_t)((uint64_t)weights[i] * RING_VNODES_MAX / 1000);
        uint32_t low = expected > slack[i] ? expected - slack[i] : 0;
        assert_in_range(first_homes(ring, nodes[i].id), low, expected + slack[i]);
    }
    ring_free(ring);
}

/* What is left of a list without @without and, if @zone is not NULL, without the nodes of that zone. */
static uint32_t rest_of(const struct ring_node *nodes, uint32_t count, const uint64_t *list, uint32_t length,
                        uint64_t without, const char *zone, bool inside, uint64_t *out)
{
    uint32_t left = 0;
    for (uint32_t i = 0; i < length; i++) {
        if (list[i] == without) continue;
        if (zone != NULL && (strcmp(find(nodes, count, list[i])->zone, zone) == 0) != inside) continue;
        out[left++] = list[i];
    }
    return left;
}

static void a_new_node_moves_only_what_it_wins(void **state)
{
    (void)state;
    struct ring_node nodes[11];
    random_nodes(nodes, 11, 1);
    uint64_t added = nodes[10].id;
    struct ring *before = ring_build(nodes, 10, VNODES, 1);
    struct ring *after = ring_build(nodes, 11, VNODES, 2);
    uint32_t won = 0;
    for (uint32_t v = 0; v < VNODES; v++) {
        uint64_t rest[11];
        const uint64_t *list = ring_preference_list(after, v);
        assert_int_equal(rest_of(nodes, 11, list, 11, added, NULL, false, rest), 10);
        assert_memory_equal(rest, ring_preference_list(before, v), 10 * sizeof(uint64_t));
        won += list[0] == added;
    }
    assert_in_range(won, 93 - 60, 93 + 60); /* 1024 / 11, deviation 9.2 */
    ring_free(before);
    ring_free(after);
}

/* With zones: the mates of the new node keep their order among themselves, and so do all others among
 * themselves. */
static void a_new_node_in_a_zone(void **state)
{
    (void)state;
    struct ring_node nodes[13];
    random_nodes(nodes, 13, 4);
    uint64_t added = nodes[12].id;
    struct ring *before = ring_build(nodes, 12, 256, 1);
    struct ring *after = ring_build(nodes, 13, 256, 2);
    for (uint32_t v = 0; v < 256; v++)
        for (int inside = 0; inside < 2; inside++) {
            uint64_t old[13], new[13];
            uint32_t count =
                rest_of(nodes, 13, ring_preference_list(before, v), 12, added, nodes[12].zone, inside, old);
            assert_int_equal(
                rest_of(nodes, 13, ring_preference_list(after, v), 13, added, nodes[12].zone, inside, new),
                count);
            assert_memory_equal(old, new, count * sizeof(uint64_t));
        }
    ring_free(before);
    ring_free(after);
}

/* Each round takes one of each zone that has any left: so in every prefix no zone is two ahead of one that
 * could still give, and the first min(N, zones) nodes lie in as many zones. */
static void homes_are_spread_over_zones(void **state)
{
    (void)state;
    static const char *const zones[] = {"a", "a", "a", "a", "b", "b", "c", "c", "c"};
    struct ring_node nodes[9];
    uint32_t total[3] = {4, 2, 3};
    for (uint32_t i = 0; i < 9; i++)
        nodes[i] = node(prng_next(&prng) | 1, 1 + (uint32_t)prng_below(&prng, RING_WEIGHT_MAX), zones[i]);
    struct ring *ring = ring_build(nodes, 9, VNODES, 1);
    for (uint32_t v = 0; v < VNODES; v++) {
        const uint64_t *list = ring_preference_list(ring, v);
        uint32_t used[3] = {0};
        for (uint32_t k = 0; k < 9; k++) {
            uint32_t zone = (uint32_t)(find(nodes, 9, list[k])->zone[0] - 'a');
            for (uint32_t other = 0; other < 3; other++)
                assert_true(used[other] >= used[zone] || used[other] == total[other]);
            used[zone]++;
            if (k == 1) assert_int_equal((used[0] > 0) + (used[1] > 0) + (used[2] > 0), 2);
            if (k == 2) assert_int_equal((used[0] > 0) + (used[1] > 0) + (used[2] > 0), 3);
        }
    }
    ring_free(ring);
}

/* Within one round the ranking decides: a zone's name or size gives no one the first place. */
static void spreading_keeps_the_best_first(void **state)
{
    (void)state;
    struct ring_node nodes[6];
    random_nodes(nodes, 6, 2);
    struct ring *zoned = ring_build(nodes, 6, VNODES, 1);
    for (uint32_t i = 0; i < 6; i++) nodes[i].zone[0] = 0;
    struct ring *flat = ring_build(nodes, 6, VNODES, 1);
    for (uint32_t v = 0; v < VNODES; v++)
        assert_int_equal(ring_preference_list(zoned, v)[0], ring_preference_list(flat, v)[0]);
    ring_free(zoned);
    ring_free(flat);
}

static void arcs(void **state)
{
    (void)state;
    struct ring_node one = node(9, 1, "");
    struct ring *ring = ring_build(&one, 1, 1024, 1);
    assert_int_equal(ring_vnode(ring, 0), 0);
    assert_int_equal(ring_vnode(ring, ((uint64_t)1 << 54) - 1), 0);
    assert_int_equal(ring_vnode(ring, (uint64_t)1 << 54), 1);
    assert_int_equal(ring_vnode(ring, UINT64_MAX), 1023);
    ring_free(ring);
    ring = ring_build(&one, 1, 1, 1);
    assert_int_equal(ring_vnode(ring, UINT64_MAX), 0);
    assert_int_equal(ring_preference_list(ring, 0)[0], 9);
    ring_free(ring);
    ring = ring_build(&one, 1, RING_VNODES_MAX, 1);
    assert_int_equal(ring_vnode(ring, UINT64_MAX), RING_VNODES_MAX - 1);
    ring_free(ring);
}

int main(void)
{
    uint64_t seed = prng_entropy();
    const char *given = getenv("SEED");
    if (given != NULL) seed = strtoull(given, NULL, 0);
    printf("SEED=0x%" PRIx64 "\n", seed);
    fflush(stdout);
    prng_init(&prng, seed);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(golden_lists),
        cmocka_unit_test(a_thousand_nodes_golden),
        cmocka_unit_test(lists_are_permutations),
        cmocka_unit_test(order_of_input_is_of_no_account),
        cmocka_unit_test(five_equal_nodes_share_alike),
        cmocka_unit_test(shares_follow_weights),
        cmocka_unit_test(a_new_node_moves_only_what_it_wins),
        cmocka_unit_test(a_new_node_in_a_zone),
        cmocka_unit_test(homes_are_spread_over_zones),
        cmocka_unit_test(spreading_keeps_the_best_first),
        cmocka_unit_test(arcs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
