/* Since when are the homes of all vnodes proven equal? What nodes report of it is true: never younger than
 * the last moment at which they can have been, and not much older than the last pass. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/check.h"
#include "few_nodes.h"
#include "merkle/forest.h"
#include "wire/object_wire.h"

static const uint64_t ms = 1000000;

enum { PASS_MS = 1000, SLACK_MS = 300, VNODES = 8 };

static struct few few;

/* What the shards of a node report: the oldest proof, and how many copies have none. */
struct said {
    uint64_t equal_ms_ago;
    uint32_t unproven;
};

struct world {
    struct said said; /* by the shards asked so far */
    uint32_t dropped; /* a node of which no word of anti-entropy comes or goes; FEW_NODES_MAX: none */
    bool objects;     /* ... of exchanges only */
};

static struct world world;

static enum few_fate hook(void *context, uint32_t from, uint32_t to, Dynode__Peer__Message *message)
{
    (void)context;
    if (message->body_case == DYNODE__PEER__MESSAGE__BODY_SHARD_REPORTED) {
        const Dynode__Client__ShardReport *report = message->shard_reported->report;
        if (world.said.equal_ms_ago < report->equal_ms_ago) world.said.equal_ms_ago = report->equal_ms_ago;
        world.said.unproven += report->unproven;
        return FEW_DROP;
    }
    bool repair = message->body_case >= DYNODE__PEER__MESSAGE__BODY_TREE_ROOTS &&
                  message->body_case <= DYNODE__PEER__MESSAGE__BODY_OBJECTS_PUSHED;
    bool roots = message->body_case == DYNODE__PEER__MESSAGE__BODY_TREE_ROOTS ||
                 message->body_case == DYNODE__PEER__MESSAGE__BODY_TREE_ROOTS_ANSWER;
    if (world.dropped != from && world.dropped != to) return FEW_PASS;
    return repair && !(world.objects && roots) ? FEW_DROP : FEW_PASS;
}

static struct said said_by(uint32_t node)
{
    uint32_t asker = node == 0 ? 1 : 0; /* asks, and hears of it */
    world.said = (struct said){0};
    Dynode__Peer__ReportShard ask = DYNODE__PEER__REPORT_SHARD__INIT;
    Dynode__Peer__Message message = DYNODE__PEER__MESSAGE__INIT;
    message.request = 1;
    message.body_case = DYNODE__PEER__MESSAGE__BODY_REPORT_SHARD;
    message.report_shard = &ask;
    for (uint32_t s = 0; s < few.options.shards[node]; s++) {
        message.to_shard = s;
        few_deliver(&few, node, s, few.nodes[asker].id, &message);
    }
    few_pass_ms(&few, 1);
    return world.said;
}

static void begin(void)
{
    uint64_t seed = prng_entropy() >> 20;
    printf("proofs: seed %llu\n", (unsigned long long)seed);
    few_begin(&few, &(struct few_options){.nodes = 3,
                                          .shards = {1, 2, 3},
                                          .vnodes = VNODES,
                                          .n = 3,
                                          .pass_ns = PASS_MS * ms,
                                          .audit_ns = 3600 * 1000 * ms,
                                          .seed = seed});
    world = (struct world){.dropped = FEW_NODES_MAX};
    few.hook = hook;
    char text[16];
    for (uint32_t key = 0; key < 40; key++)
        for (uint32_t node = 0; node < 3; node++)
            few_plant(&few, node, bytes_of(text, (size_t)snprintf(text, sizeof(text), "key%u", key)),
                      (struct dot){.clock = 1, .counter = 1}, bytes_str("value"));
    for (uint32_t node = 0; node < 3; node++) few_start(&few, node);
}

static void all_are_proven(void)
{
    for (uint32_t node = 0; node < 3; node++) {
        struct said said = said_by(node);
        assert_int_equal(said.unproven, 0);
        assert_true(said.equal_ms_ago <= PASS_MS + SLACK_MS);
    }
}

static void nothing_is_proven_before_a_pass(void **state)
{
    (void)state;
    begin();
    for (uint32_t node = 0; node < 3; node++) assert_int_equal(said_by(node).unproven, VNODES);
    few_pass_ms(&few, 2 * PASS_MS);
    all_are_proven();
    few_pass_ms(&few, 10 * PASS_MS);
    all_are_proven();
    few_end(&few);
}

static void a_home_that_is_away_proves_nothing(void **state)
{
    (void)state;
    begin();
    few_pass_ms(&few, 2 * PASS_MS);
    few_stop(&few, 2);
    few_pass_ms(&few, 7 * PASS_MS);
    for (uint32_t node = 0; node < 2; node++) {
        struct said said = said_by(node);
        assert_int_equal(said.unproven, 0);
        assert_true(said.equal_ms_ago >= 7 * PASS_MS && said.equal_ms_ago <= 9 * PASS_MS + SLACK_MS);
    }
    few_start(&few, 2);
    assert_int_equal(said_by(2).unproven, VNODES); /* of its present life it knows nothing */
    few_pass_ms(&few, 2 * PASS_MS);
    all_are_proven();
    few_end(&few);
}

/* Roots are compared all the time, but the vnode differs until its objects may travel. */
static void what_differs_is_not_proven(void **state)
{
    (void)state;
    begin();
    few_pass_ms(&few, 2 * PASS_MS);
    few_stop(&few, 1);
    few_plant(&few, 1, bytes_str("another"), (struct dot){.clock = 2, .counter = 1}, bytes_str("value"));
    world.dropped = 1;
    world.objects = true;
    few_start(&few, 1);
    few_pass_ms(&few, 6 * PASS_MS);
    assert_int_equal(said_by(1).unproven, 1);
    for (uint32_t node = 0; node < 3; node += 2) {
        struct said said = said_by(node);
        assert_int_equal(said.unproven, 0);
        assert_true(said.equal_ms_ago >= 6 * PASS_MS);
    }
    world.dropped = FEW_NODES_MAX;
    few_pass_ms(&few, 5 * PASS_MS);
    all_are_proven();
    few_end(&few);
}

static uint32_t shard_of(uint32_t node, uint32_t vnode)
{
    return vnode % few.options.shards[node];
}

/* Equal roots prove nothing where one may lack something: that of who asks (of an even vnode the first node),
 * or of who answers. */
static void a_tree_that_may_be_wrong_proves_nothing(void **state)
{
    (void)state;
    for (uint32_t unsure = 0; unsure < 3; unsure += 2) {
        for (uint32_t vnode = 0; vnode < 2; vnode++) {
            begin();
            few_pass_ms(&few, 2 * PASS_MS);
            forest_distrust(node_forest(few.nodes[unsure].shards[shard_of(unsure, vnode)]), vnode);
            few_pass_ms(&few, 6 * PASS_MS);
            for (uint32_t node = 0; node < 3; node++) {
                struct said said = said_by(node);
                assert_int_equal(said.unproven, 0);
                assert_true(said.equal_ms_ago >= 5 * PASS_MS);
            }
            few_end(&few);
        }
    }
}

/* Nor does a tree that is not built yet. */
static void a_home_without_trees_proves_nothing(void **state)
{
    (void)state;
    begin();
    few_pass_ms(&few, 2 * PASS_MS);
    few_stop(&few, 2);
    few.nodes[2].silent = true; /* without anti-entropy: nothing is built */
    few_start(&few, 2);
    few_pass_ms(&few, 6 * PASS_MS);
    assert_int_equal(said_by(2).unproven, VNODES);
    for (uint32_t node = 0; node < 2; node++) assert_true(said_by(node).equal_ms_ago >= 6 * PASS_MS);
    few_end(&few);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_proven_before_a_pass),
        cmocka_unit_test(a_home_that_is_away_proves_nothing),
        cmocka_unit_test(what_differs_is_not_proven),
        cmocka_unit_test(a_tree_that_may_be_wrong_proves_nothing),
        cmocka_unit_test(a_home_without_trees_proves_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
