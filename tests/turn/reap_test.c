/* What waiting tombstones cost: homes look at them as long as that may tell something new, more and more
 * seldom where nothing goes, and not at all while a home is away: then all stays, though it be given up.
 * (What goes, and what stays away then: tests/story/reap_story_test.c.) */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "actors/reap.h"
#include "base/check.h"
#include "few_nodes.h"

static const uint64_t ms = 1000000;

enum { NODES = 3, KEYS = 100, VNODES = 8, PASS_MS = 1000, PAIRS = 3 };

static struct few few;

static void plant(uint32_t node, const char *name, uint32_t key, uint64_t clock)
{
    char text[32];
    few_plant(&few, node, bytes_of(text, (size_t)snprintf(text, sizeof(text), "%s%u", name, key)),
              (struct dot){.clock = clock, .counter = 1}, bytes_of(NULL, 0));
}

static void begin_empty(const char *name)
{
    uint64_t seed = prng_entropy() >> 20;
    printf("%s: seed %llu\n", name, (unsigned long long)seed);
    const struct few_options options = {.nodes = NODES,
                                        .shards = {1, 2, 1},
                                        .vnodes = VNODES,
                                        .n = NODES,
                                        .pass_ns = PASS_MS * ms,
                                        .audit_ns = 5000 * ms,
                                        .reap_after_ns = 2000 * ms,
                                        .seed = seed};
    few_begin(&few, &options);
}

/* All homes hold the same tombstones, of a clock of which no home can say what it has minted. */
static void begin(const char *name)
{
    begin_empty(name);
    for (uint32_t node = 0; node < NODES; node++)
        for (uint32_t key = 0; key < KEYS; key++) plant(node, "key", key, 7);
}

/* ... or of one under which a home has minted them all. */
static void begin_minted(const char *name, uint32_t minter)
{
    struct mints mints = {0};
    struct dot dot;
    begin_empty(name);
    struct store *store = few.nodes[minter].stores[0];
    assert_int_equal(mints_load(&mints, store), STATUS_OK);
    for (uint32_t key = 0; key < KEYS; key++) {
        char text[16];
        assert_int_equal(mints_next(&mints, store, &few.prng, &dot), STATUS_OK);
        struct bytes name_of = bytes_of(text, (size_t)snprintf(text, sizeof(text), "key%u", key));
        for (uint32_t node = 0; node < NODES; node++) few_plant(&few, node, name_of, dot, bytes_of(NULL, 0));
    }
    assert_int_equal(store_commit(store), STATUS_OK);
    assert_int_equal(store_sync(store), STATUS_OK);
    mints_fini(&mints);
}

/* How many exchanges begin in that time. */
static uint64_t looks(uint32_t passes)
{
    uint64_t before = few.messages[DYNODE__PEER__MESSAGE__BODY_TREE_NODES];
    few_pass_ms(&few, (uint64_t)passes * PASS_MS);
    return few.messages[DYNODE__PEER__MESSAGE__BODY_TREE_NODES] - before;
}

static void delete_at(uint32_t node, const char *name, uint64_t counter)
{
    struct store_place place;
    struct dot dot = {.clock = 8, .counter = counter};
    struct sibling sibling = {.dot = dot, .stamp = 1, .tombstone = true};
    struct object object = {.context = {.entries = &dot, .count = 1}, .siblings = &sibling, .count = 1};
    few_store_key(&few, bytes_str(name), &place);
    struct bytes encoded = object_encode(&object, &few.arena);
    few_merge(&few, node, few.nodes[(node + 1) % NODES].id, &place, NODES, encoded);
}

static void delete (const char *name, uint64_t counter)
{
    for (uint32_t node = 0; node < NODES; node++) delete_at(node, name, counter);
}

static void fewer_and_fewer(void **state)
{
    (void)state;
    uint64_t keys;
    begin("fewer_and_fewer");
    for (uint32_t node = 0; node < NODES; node++) few_start(&few, node);
    assert_in_range(looks(5), 2 * VNODES * PAIRS, 6 * VNODES * PAIRS);
    few_pass_ms(&few, 250 * PASS_MS);
    assert_in_range(looks(32), 1, 2 * VNODES * PAIRS);
    /* One more makes them look again, and so does one that is deleted again, though as many wait then. */
    delete ("fresh", 1);
    assert_true(looks(4) >= 3 * PAIRS);
    few_pass_ms(&few, 250 * PASS_MS);
    assert_in_range(looks(32), 1, 2 * VNODES * PAIRS);
    delete ("fresh", 2);
    assert_true(looks(4) >= 3 * PAIRS);
    assert_true(few_is_equal(&few, &keys));
    assert_int_equal(keys, KEYS + 1);
    few_end(&few);
}

static void none_while_a_home_is_away(void **state)
{
    (void)state;
    begin("none_while_a_home_is_away");
    few_start(&few, 0);
    few_start(&few, 2);
    few_pass_ms(&few, 2 * PASS_MS);
    assert_int_equal(looks(20), 0);
    few_start(&few, 1);
    assert_true(looks(5) >= 2 * VNODES * PAIRS);
    few_end(&few);
}

static bool count_row(void *context, struct bytes key, struct bytes value)
{
    struct store_place place;
    (void)value;
    CHECK(store_key_decode(key, &place));
    if (memcmp(place.key.data, "key", 3) == 0) ++*(uint32_t *)context;
    return true;
}

/* How many tombstones a node holds. */
static uint32_t held(uint32_t node)
{
    uint32_t count = 0;
    for (uint32_t shard = 0; shard < few.options.shards[node]; shard++)
        assert_int_equal(store_scan(few.nodes[node].stores[shard], STORE_OBJECTS, bytes_of(NULL, 0),
                                    bytes_of(NULL, 0), count_row, &count),
                         STATUS_OK);
    return count;
}

/* Homes reap one after the other, as their clocks of what others have seen ripen: what has gone at one is not
 * brought back to it from one where it is about to go. Nothing else is passed over. */
static void what_goes_is_not_brought_back(void **state)
{
    (void)state;
    begin_minted("what_goes_is_not_brought_back", 0);
    for (uint32_t node = 0; node < NODES; node++) few_start(&few, node);
    uint64_t compared = 0;
    for (uint32_t i = 0; held(0) + held(1) + held(2) > 0; i++) {
        assert_true(i < 60 * PASS_MS / 5);
        few_pass_ms(&few, 5);
        if (held(0) != held(1)) compared = few.messages[DYNODE__PEER__MESSAGE__BODY_LEAF_KEYS];
    }
    assert_true(compared > 0);
    assert_int_equal(few.messages[DYNODE__PEER__MESSAGE__BODY_FETCH_OBJECTS], 0);
    assert_int_equal(few.messages[DYNODE__PEER__MESSAGE__BODY_PUSH_OBJECTS], 0);
    /* A tombstone that was not is brought to all, whichever of them has it. */
    uint64_t keys;
    for (uint32_t node = 0; node < NODES; node++) {
        char name[16];
        for (uint32_t key = 0; key < 2 * VNODES; key++) {
            snprintf(name, sizeof(name), "fresh%u", node * 2 * VNODES + key);
            delete_at(node, name, key + 1);
        }
    }
    few_pass_ms(&few, 5 * PASS_MS);
    assert_true(few_is_equal(&few, &keys));
    assert_int_equal(keys, NODES * 2 * VNODES);
    few_end(&few);
}

/* One home is written to in every vnode, again and again: there is always something to compare, and each time
 * what waits is looked at. */
static void pass_busily(uint32_t passes)
{
    static uint64_t counter;
    for (; passes > 0; passes--) {
        counter++;
        for (uint32_t key = 0; key < 8 * VNODES; key++) {
            char text[16];
            struct store_place place;
            struct dot dot = {.clock = 9, .counter = counter};
            struct sibling sibling = {.dot = dot, .stamp = 1, .value = bytes_str("x")};
            struct object object = {
                .context = {.entries = &dot, .count = 1}, .siblings = &sibling, .count = 1};
            few_store_key(&few, bytes_of(text, (size_t)snprintf(text, sizeof(text), "busy%u", key)), &place);
            few_merge(&few, 0, few.nodes[2].id, &place, NODES, object_encode(&object, &few.arena));
        }
        few_pass_ms(&few, PASS_MS);
    }
}

/* While a home is away all stays, for it may hold what the tombstones cover; even if it is given up. When it
 * is back all goes. */
static void all_stays_while_a_home_is_away(const char *name, bool given_up, bool lost)
{
    uint32_t filled, unfilled;
    begin_minted(name, 0);
    if (lost) few_lose(&few, 2);
    uint64_t away = few.nodes[1].id;
    if (given_up) assert_int_equal(cluster_give_up(&few.cluster, away), STATUS_OK);
    few_start(&few, 0);
    few_start(&few, 2);
    const struct turn *turn = shard_turn_context(few.nodes[0].shards[0]);
    assert_int_equal(member_is_given_up(cluster_find_member(turn->cluster, away)), given_up);
    pass_busily(60);
    few_copies(&few, 2, &filled, &unfilled);
    assert_int_equal(filled, VNODES);
    assert_int_equal(held(0), KEYS);
    assert_int_equal(held(2), KEYS);
    few_start(&few, 1);
    few_pass_ms(&few, 60 * PASS_MS);
    for (uint32_t node = 0; node < NODES; node++) assert_int_equal(held(node), 0);
    few_end(&few);
}

static void an_absent_home_keeps_all(void **state)
{
    (void)state;
    all_stays_while_a_home_is_away("an_absent_home_keeps_all", false, false);
}

static void a_given_up_home_keeps_all(void **state)
{
    (void)state;
    all_stays_while_a_home_is_away("a_given_up_home_keeps_all", true, false);
}

/* What it was given up for: another home has lost its disk, and is to be filled without it. */
static void a_home_that_others_were_filled_without_keeps_all(void **state)
{
    (void)state;
    all_stays_while_a_home_is_away("a_home_that_others_were_filled_without_keeps_all", true, true);
}

/* A turn goes on after an actor saw the store fail: a walk does nothing then, and is still due. */
static void none_when_the_store_has_failed(void **state)
{
    (void)state;
    begin("none_when_the_store_has_failed");
    struct store_place place;
    struct reap reap = {.on = true};
    struct store *store = few.nodes[0].stores[0];
    struct dot dot = {.clock = 7, .counter = 1};
    struct sibling sibling = {.dot = dot, .stamp = 1, .tombstone = true};
    struct object nothing = {0}, object = {.context = {.entries = &dot, .count = 1}, .siblings = &sibling};
    object.count = 1;
    struct bytes key = few_store_key(&few, bytes_str("key0"), &place);
    assert_int_equal(reap_load(&reap, store, VNODES), STATUS_OK);
    assert_int_equal(reap_enter(&reap, store, place.vnode, key, &nothing, &object), STATUS_OK);
    struct turn turn = {.self = {.node = few.nodes[0].id}, .shards = 1, .arena = &few.arena, .store = store};
    turn.store_broken = true;
    reap_set_due(&reap, &turn, place.vnode);
    assert_int_equal(reap.due_count, 1);
    reap_step(&reap, &turn, NULL, NULL, NULL);
    assert_int_equal(reap.due_count, 1);
    assert_int_equal(reap.count, 1);
    /* What goes counts as news, as what has come does. */
    uint32_t moves = reap.moves[place.vnode];
    assert_true(moves > 0);
    reap_leave(&reap, store, place.vnode, key, &object, &nothing);
    assert_int_equal(reap.count, 0);
    assert_true(reap.moves[place.vnode] > moves);
    reap_fini(&reap);
    few_end(&few);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fewer_and_fewer),
        cmocka_unit_test(none_while_a_home_is_away),
        cmocka_unit_test(what_goes_is_not_brought_back),
        cmocka_unit_test(an_absent_home_keeps_all),
        cmocka_unit_test(a_given_up_home_keeps_all),
        cmocka_unit_test(a_home_that_others_were_filled_without_keeps_all),
        cmocka_unit_test(none_when_the_store_has_failed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
