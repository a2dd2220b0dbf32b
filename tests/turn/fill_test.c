/* A store that says nothing of itself, new or in the place of a lost one: its copies count when every other
 * home has told what it has, or all members that they have nothing, and not before. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/check.h"
#include "few_nodes.h"
#include "wire/object_wire.h"

static const uint64_t ms = 1000000;

enum { KEYS = 400, VNODES = 8, ENOUGH_MS = 10000 };

static struct few few;

/* Three stores that say nothing of themselves, and nothing in them. */
static void begin_new(const char *name)
{
    uint64_t seed = prng_entropy() >> 20;
    printf("%s: seed %llu\n", name, (unsigned long long)seed);
    const struct few_options options = {.nodes = 3,
                                        .shards = {2, 1, 3},
                                        .vnodes = VNODES,
                                        .n = 3,
                                        .pass_ns = 1000 * ms,
                                        .audit_ns = 5000 * ms,
                                        .seed = seed};
    few_begin(&few, &options);
    for (uint32_t node = 0; node < 3; node++) few_lose(&few, node);
}

static void plant(uint32_t node, uint32_t key)
{
    char text[16];
    struct bytes name_of = bytes_of(text, (size_t)snprintf(text, sizeof(text), "key%u", key));
    few_plant(&few, node, name_of, (struct dot){.clock = 7, .counter = 1}, bytes_str("x"));
}

/* Of each key one other home than the first, which has lost its store, has none. */
static void begin(const char *name)
{
    begin_new(name);
    few.nodes[1].lost = few.nodes[2].lost = false;
    for (uint32_t key = 0; key < KEYS; key++) plant(2 - key % 2, key);
}

static void assert_copies(uint32_t node, uint32_t filled)
{
    uint32_t count, others;
    few_copies(&few, node, &count, &others);
    assert_int_equal(count + others, VNODES);
    assert_int_equal(count, filled);
}

static void every_home_is_needed(void **state)
{
    (void)state;
    begin("every home");
    few_start(&few, 0);
    few_start(&few, 1);
    few_pass_ms(&few, ENOUGH_MS);
    assert_copies(0, 0); /* half of the keys are on C alone */
    assert_copies(1, VNODES);
    few_start(&few, 2);
    few_pass_ms(&few, ENOUGH_MS);
    assert_copies(0, VNODES);
    uint64_t keys;
    assert_true(few_is_equal(&few, &keys));
    assert_int_equal(keys, KEYS);
    /* It is known after a restart, and nobody asks again. */
    few_stop(&few, 0);
    few_start(&few, 0);
    assert_copies(0, VNODES);
    few_end(&few);
}

/* One after the other is as good as both at once, and a restart in between does no harm. */
static void one_home_at_a_time(void **state)
{
    (void)state;
    begin("one at a time");
    few_start(&few, 0);
    few_start(&few, 1);
    few_pass_ms(&few, ENOUGH_MS);
    few_stop(&few, 1);
    few_stop(&few, 0);
    few_start(&few, 0);
    few_start(&few, 2);
    few_pass_ms(&few, ENOUGH_MS);
    assert_copies(0, VNODES);
    few_end(&few);
}

/* Two that have lost everything are filled from the third, and need to hear of one another. */
static void two_are_lost(void **state)
{
    (void)state;
    begin("two are lost");
    few_lose(&few, 1);
    few_start(&few, 0);
    few_start(&few, 2);
    few_pass_ms(&few, ENOUGH_MS);
    assert_copies(0, 0);
    few_start(&few, 1);
    few_pass_ms(&few, ENOUGH_MS);
    assert_copies(0, VNODES);
    assert_copies(1, VNODES);
    few_end(&few);
}

/* What makes an exchange one that may have missed something. */
enum doubt { UNSURE, OTHER_RING, UNKNOWN_TABLE, INVALID_OBJECT, LOST_ANSWER, DOUBTS };

static enum few_fate doubt(void *context, uint32_t from, uint32_t to, Dynode__Peer__Message *message)
{
    enum doubt kind = *(const enum doubt *)context;
    bool told = message->body_case == DYNODE__PEER__MESSAGE__BODY_GOSSIP ||
                message->body_case == DYNODE__PEER__MESSAGE__BODY_CLUSTER_STATE;
    if (told && kind == UNKNOWN_TABLE) return FEW_DROP;
    /* Nor does C begin an exchange, or B with C, in which what it has would come to A after all. */
    bool roots = message->body_case == DYNODE__PEER__MESSAGE__BODY_TREE_ROOTS;
    if (roots && (from == 2 || to == 2)) return FEW_DROP;
    if (from != 2 || to != 0) return FEW_PASS;
    if (message->body_case == DYNODE__PEER__MESSAGE__BODY_TREE_NODES_ANSWER) {
        message->tree_nodes_answer->unsure |= kind == UNSURE;
        message->tree_nodes_answer->ring += kind == OTHER_RING;
    }
    if (message->body_case == DYNODE__PEER__MESSAGE__BODY_OBJECTS_FETCHED) {
        Dynode__Peer__ObjectsFetched *fetched = message->objects_fetched;
        if (kind == LOST_ANSWER) return FEW_DROP;
        for (size_t i = 0; i < fetched->n_objects && kind == INVALID_OBJECT; i++) {
            fetched->objects[i]->status = STATUS_INVALID;
            fetched->objects[i]->object.len = 0;
        }
    }
    return FEW_PASS;
}

/* A table that C alone knows, and has keys of. */
static void add_table_at_c(void)
{
    const char *why;
    struct table table = {.id = 2, .name = "u", .n = 3, .r = 2, .w = 2, .alter_stamp = 1};
    assert_int_equal(cluster_create_table(&few.cluster, &table, &why), STATUS_OK);
    few.table = cluster_find_table(&few.cluster, bytes_str("u"));
    for (uint32_t key = 0; key < KEYS; key++) {
        char text[16];
        struct bytes name_of = bytes_of(text, (size_t)snprintf(text, sizeof(text), "key%u", key));
        few_plant(&few, 2, name_of, (struct dot){.clock = 8, .counter = 1}, bytes_str("x"));
    }
    few.table = cluster_find_table(&few.cluster, bytes_str("t"));
}

static void doubts_do_not_count(void **state)
{
    (void)state;
    static const char *const names[] = {"unsure", "other ring", "unknown table", "invalid", "lost"};
    for (enum doubt kind = 0; kind < DOUBTS; kind++) {
        begin(names[kind]);
        few.hook = doubt;
        few.context = &kind;
        few_start(&few, 0);
        few_start(&few, 1);
        if (kind == UNKNOWN_TABLE) add_table_at_c();
        few_start(&few, 2);
        few_pass_ms(&few, ENOUGH_MS);
        assert_copies(0, 0); /* every vnode has a key that C alone has */
        few.hook = NULL;
        few_pass_ms(&few, ENOUGH_MS);
        assert_copies(0, VNODES);
        few_end(&few);
    }
}

/* What the replica has no room for is not here. */
static void a_full_disk_is_not_filled(void **state)
{
    (void)state;
    begin("full disk");
    for (uint32_t s = 0; s < 2; s++) store_mem_set_full(few.nodes[0].stores[s], true);
    for (uint32_t node = 0; node < 3; node++) few_start(&few, node);
    few_pass_ms(&few, ENOUGH_MS);
    assert_copies(0, 0);
    for (uint32_t s = 0; s < 2; s++) store_mem_set_full(few.nodes[0].stores[s], false);
    few_pass_ms(&few, ENOUGH_MS);
    assert_copies(0, VNODES);
    few_end(&few);
}

/* C is dead, and an operator gives it up: A, which has lost its store, goes on without, once it has heard of
 * B. That both have lost theirs makes no difference. */
static void a_home_is_given_up(void **state)
{
    (void)state;
    for (uint32_t both = 0; both <= 1; both++) {
        begin("given up");
        if (both > 0) few_lose(&few, 1);
        few_start(&few, 0);
        few_pass_ms(&few, ENOUGH_MS);
        few_stop(&few, 0);
        assert_int_equal(cluster_give_up(&few.cluster, few.nodes[2].id), STATUS_OK);
        few_start(&few, 0);
        few_pass_ms(&few, ENOUGH_MS);
        assert_copies(0, 0);
        few_start(&few, 1);
        few_pass_ms(&few, ENOUGH_MS);
        assert_copies(0, VNODES);
        assert_copies(1, VNODES);
        /* It is back after all, and all have what it had. */
        few_start(&few, 2);
        few_pass_ms(&few, ENOUGH_MS);
        uint64_t keys;
        assert_true(few_is_equal(&few, &keys));
        assert_int_equal(keys, both > 0 ? KEYS / 2 : KEYS); /* half were on B alone */
        few_end(&few);
    }
}

/* What was said of a life that has ended is void. */
static void who_started_anew_is_waited_for(void **state)
{
    (void)state;
    begin("anew");
    assert_int_equal(cluster_give_up(&few.cluster, few.nodes[2].id), STATUS_OK);
    struct member again = *cluster_find_member(&few.cluster, few.nodes[2].id);
    again.incarnation++;
    assert_true(cluster_merge_member(&few.cluster, &again));
    few_start(&few, 0);
    few_start(&few, 1);
    few_pass_ms(&few, ENOUGH_MS);
    assert_copies(0, 0);
    few_start(&few, 2);
    few_pass_ms(&few, ENOUGH_MS);
    assert_copies(0, VNODES);
    few_end(&few);
}

/* --- the first stores of all --- */

static enum few_fate lose_and_repeat(void *context, uint32_t from, uint32_t to,
                                     Dynode__Peer__Message *message)
{
    (void)context, (void)from, (void)to, (void)message;
    uint64_t draw = prng_below(&few.prng, 4);
    return draw == 0 ? FEW_DROP : draw == 1 ? FEW_TWICE : FEW_PASS;
}

static void a_new_cluster(void **state)
{
    (void)state;
    for (int round = 0; round < 3; round++) {
        begin_new("new");
        if (round == 1) few.hook = lose_and_repeat;
        if (round == 2)
            for (uint32_t s = 0; s < 2; s++) store_mem_set_full(few.nodes[0].stores[s], true);
        for (uint32_t node = 0; node < 3; node++) few_start(&few, node);
        few_pass_ms(&few, round == 1 ? ENOUGH_MS : 300);
        if (round == 0) /* not by exchanges: those of each vnode would take far more */
            assert_int_equal(few.messages[DYNODE__PEER__MESSAGE__BODY_TREE_NODES], 0);
        if (round == 2) { /* what it can't keep it does not know */
            assert_copies(0, 0);
            for (uint32_t s = 0; s < 2; s++) store_mem_set_full(few.nodes[0].stores[s], false);
            few_pass_ms(&few, 500);
        }
        for (uint32_t node = 0; node < 3; node++) assert_copies(node, VNODES);
        /* It is kept, and holds for tables that are not there yet. */
        few_stop(&few, 0);
        few_start(&few, 0);
        for (uint32_t vnode = 0; vnode < VNODES; vnode++)
            for (uint32_t n = 2; n <= 3; n++)
                assert_true(copies_is_filled(node_copies(few.nodes[0].shards[vnode % 2]), vnode, n));
        few_end(&few);
    }
}

/* One is started late: whether it holds what was written elsewhere nobody knows until then. Meanwhile the
 * others may get something, which they tell one another. */
static void one_after_the_other(void **state)
{
    (void)state;
    for (uint32_t keys = 0; keys <= 1; keys++) {
        begin_new("late");
        few_start(&few, 0);
        few_pass_ms(&few, ENOUGH_MS);
        few_start(&few, 1);
        few_pass_ms(&few, ENOUGH_MS);
        assert_copies(0, 0);
        assert_copies(1, 0);
        if (keys > 0) {
            few_stop(&few, 0);
            plant(0, 1);
            few_start(&few, 0);
            few_pass_ms(&few, ENOUGH_MS);
        }
        few_start(&few, 2);
        few_pass_ms(&few, keys == 0 ? 200 : ENOUGH_MS);
        for (uint32_t node = 0; node < 3; node++) assert_copies(node, VNODES);
        few_end(&few);
    }
}

/* C was never started, and is given up: the cluster begins without. */
static void a_new_cluster_of_fewer(void **state)
{
    (void)state;
    begin_new("fewer");
    assert_int_equal(cluster_give_up(&few.cluster, few.nodes[2].id), STATUS_OK);
    few_start(&few, 0);
    few_start(&few, 1);
    few_pass_ms(&few, 500);
    for (uint32_t node = 0; node < 2; node++) assert_copies(node, VNODES);
    assert_int_equal(few.messages[DYNODE__PEER__MESSAGE__BODY_TREE_NODES], 0);
    few_end(&few);
}

/* The whole directory is lost, and who is there has nothing: the third may have. */
static void what_the_absent_holds(void **state)
{
    (void)state;
    begin_new("absent");
    few.nodes[1].lost = few.nodes[2].lost = false;
    for (uint32_t key = 0; key < KEYS; key++) plant(2, key);
    few_start(&few, 0);
    few_start(&few, 1);
    few_pass_ms(&few, ENOUGH_MS);
    assert_copies(0, 0);
    few_start(&few, 2);
    few_pass_ms(&few, ENOUGH_MS);
    assert_copies(0, VNODES);
    uint64_t keys;
    assert_true(few_is_equal(&few, &keys));
    assert_int_equal(keys, KEYS);
    few_end(&few);
}

/* Who has reaped all that there was holds no object, and is not blank: what it knows to be gone must be told.
 */
static void who_has_reaped_is_not_blank(void **state)
{
    (void)state;
    begin_new("reaped");
    for (uint32_t node = 0; node < 3; node++) few_start(&few, node);
    few_pass_ms(&few, 500);
    assert_copies(0, VNODES);
    few_stop(&few, 0);
    few_stop(&few, 1);
    struct copies copies = {0};
    struct dot entry = {.clock = 7, .counter = 1};
    struct vv reaped = {.entries = &entry, .count = 1};
    assert_int_equal(copies_load(&copies, few.nodes[1].stores[0], false, VNODES, 1), STATUS_OK);
    assert_false(copies_have_reaped(&copies));
    assert_int_equal(copies_join_reaped(&copies, few.nodes[1].stores[0], &reaped, 3, 3, &few.arena),
                     STATUS_OK);
    assert_true(copies_have_reaped(&copies));
    assert_int_equal(store_commit(few.nodes[1].stores[0]), STATUS_OK);
    copies_fini(&copies);
    few_lose(&few, 0);
    few_start(&few, 0);
    few_start(&few, 1);
    few_pass_ms(&few, ENOUGH_MS);
    assert_copies(0, VNODES); /* vnode by vnode, */
    struct vv told = copies_reaped(node_copies(few.nodes[0].shards[3 % 2]), 3, 3);
    assert_true(vv_equal(&told, &reaped)); /* and knows it now */
    few_end(&few);
}

/* An answer to a former life, from before what that has lost was written; and lies about shards. */
static void late_and_wrong_answers(void **state)
{
    (void)state;
    begin_new("late answers");
    few_start(&few, 0);
    few_pass_ms(&few, 100);
    for (uint64_t from = 0xb; from <= 0xc; from++)
        for (uint32_t shards = 0; shards <= 1; shards++)
            for (uint32_t shard = 0; shard < 2; shard++) {
                Dynode__Peer__Blank blank = DYNODE__PEER__BLANK__INIT;
                Dynode__Peer__Message message = DYNODE__PEER__MESSAGE__INIT;
                blank.blank = 1;
                blank.shards = shards;
                message.body_case = DYNODE__PEER__MESSAGE__BODY_BLANK;
                message.blank = &blank;
                message.request = 1 + prng_below(&few.prng, 1000);
                message.to_shard = shard;
                few_deliver(&few, 0, shard, from, &message);
            }
    few_pass_ms(&few, 100);
    assert_copies(0, 0);
    few_end(&few);
}

/* Nobody fills for another shard. */
static void word_from_outside(void **state)
{
    (void)state;
    begin("outside");
    few_start(&few, 0);
    for (uint64_t from = 0xb; from <= 0xc; from++)
        for (uint32_t vnode = 0; vnode < VNODES; vnode++) {
            Dynode__Peer__Exchanged exchanged = DYNODE__PEER__EXCHANGED__INIT;
            Dynode__Peer__Message message = DYNODE__PEER__MESSAGE__INIT;
            exchanged.vnode = vnode;
            exchanged.n = 3;
            exchanged.node = from;
            message.body_case = DYNODE__PEER__MESSAGE__BODY_EXCHANGED;
            message.exchanged = &exchanged;
            message.to_shard = vnode;
            few_deliver(&few, 0, vnode % 2, from, &message);
            Dynode__Peer__Born born = DYNODE__PEER__BORN__INIT;
            message.body_case = DYNODE__PEER__MESSAGE__BODY_BORN;
            message.born = &born;
            few_deliver(&few, 0, vnode % 2, from, &message);
        }
    few_pass_ms(&few, 100);
    assert_copies(0, 0);
    few_end(&few);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_home_is_needed),
        cmocka_unit_test(one_home_at_a_time),
        cmocka_unit_test(two_are_lost),
        cmocka_unit_test(doubts_do_not_count),
        cmocka_unit_test(a_full_disk_is_not_filled),
        cmocka_unit_test(a_home_is_given_up),
        cmocka_unit_test(who_started_anew_is_waited_for),
        cmocka_unit_test(a_new_cluster),
        cmocka_unit_test(one_after_the_other),
        cmocka_unit_test(a_new_cluster_of_fewer),
        cmocka_unit_test(what_the_absent_holds),
        cmocka_unit_test(who_has_reaped_is_not_blank),
        cmocka_unit_test(late_and_wrong_answers),
        cmocka_unit_test(word_from_outside),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
