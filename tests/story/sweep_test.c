/* Trees: one that is wrong must be found though all bytes are equal.
 *
 * The last reads: what they repair must be equal afterwards, also beside a disk that was lost, and in a core
 * while others are away. A node that takes no repair, as its disk is full, must be found by each of these
 * judgements. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "actors/node.h"
#include "base/hash.h"
#include "merkle/forest.h"
#include "world/clients.h"

static const uint64_t ms = 1000000;

enum { FULL = 1, AWAY = 4, NODES = 5 };
static const uint32_t all = (1 << NODES) - 1;

enum befalls { NOTHING, WIPED, CRASHED }; /* the node AWAY */

static bool all_are_whole(const struct history *history)
{
    assert_true(history->final_count > 0);
    for (uint32_t i = 0; i < history->final_count; i++)
        if (!history->finals[i].whole) return false;
    return true;
}

/* A world in which @clients have written for a while. */
static struct world *begin(const struct world_options *options, const struct world_watch *watch,
                           struct clients *clients)
{
    struct world *world = world_alloc(options, watch);
    world_run(world, 500 * ms);
    clients_begin(clients, world);
    world_run(world, world_now(world) + 300 * ms);
    return world;
}

/* The copies that were judged; *why: the verdict. */
static uint64_t sweep(uint64_t seed, enum befalls befalls, bool mended, enum clients_judged what,
                      uint32_t weak, char why[256])
{
    struct world_options options = world_options_default(seed);
    struct clients_options habits = clients_options_draw(seed);
    struct world_watch watch = {0};
    habits.weak = weak;
    habits.habits.ttl_ms = 0;
    habits.grace_ns = 20 * ms;
    struct clients *clients = clients_alloc(&habits, &watch);
    struct world *world = begin(&options, &watch, clients);
    if (befalls != NOTHING) world_crash(world, AWAY);
    if (befalls == WIPED) {
        world_wipe(world, AWAY);
        world_restart(world, AWAY);
    }
    world_fill_disks(world, FULL, true);
    world_run(world, world_now(world) + 1000 * ms);
    clients_stop(clients, true);
    world_run(world, world_now(world) + 3000 * ms);
    if (mended) world_fill_disks(world, FULL, false);
    clients_sweep(clients, befalls == CRASHED ? all & ~(1U << AWAY) : all, false);
    snprintf(why, 256, "%s", clients_fault(clients));
    /* What one home has acknowledged may be gone with its disk, and nothing else. */
    if (befalls != CRASHED)
        assert_int_equal(all_are_whole(clients_history(clients)), weak == 0 || befalls == NOTHING);
    uint64_t judged = clients_judged(clients, what);
    world_free(world);
    clients_free(clients);
    return judged;
}

static void copies_that_differ_are_found(void **state)
{
    (void)state;
    static const enum clients_judged whats[] = {CLIENTS_COPIES, CLIENTS_COPIES_SOME, CLIENTS_COPIES_CORE};
    for (enum befalls befalls = NOTHING; befalls <= CRASHED; befalls++) {
        for (uint64_t seed = 1; seed <= 3; seed++) {
            char why[256];
            assert_true(sweep(seed, befalls, true, whats[befalls], 0, why) > 0);
            assert_string_equal(why, "");
            assert_true(sweep(seed, befalls, false, whats[befalls], 0, why) > 0);
            assert_non_null(strstr(why, "differs: node "));
        }
    }
}

static void weak_writes_may_be_lost(void **state)
{
    (void)state;
    char why[256];
    assert_true(sweep(1, WIPED, true, CLIENTS_COPIES_SOME, 5, why) > 0);
    assert_string_equal(why, "");
    assert_true(sweep(1, NOTHING, true, CLIENTS_COPIES, 5, why) > 0);
}

enum broken { NONE, ONE_HOME, ALL_HOMES };

/* Homes that became equal by themselves; then an object that is nowhere is put into a tree of some of them.
 */
static void judge_broken_trees(enum broken broken, bool equal, char why[256])
{
    struct world_options options = world_options_default(1);
    struct clients_options habits = clients_options_draw(1);
    struct world_watch watch = {0};
    options.repair_pass_ns = 500 * ms;
    options.audit_pass_ns = 60000 * ms;
    habits.grace_ns = 20 * ms;
    struct clients *clients = clients_alloc(&habits, &watch);
    struct world *world = begin(&options, &watch, clients);
    clients_stop(clients, true);
    world_run(world, world_now(world) + 4000 * ms);
    uint32_t homes[WORLD_NODES_MAX], count = world_homes(world, "t", bytes_str("key0"), homes);
    assert_true(count >= 3);
    const struct turn *turn = shard_turn_context(world_shard(world, 0, 0));
    const struct table *table = cluster_find_table(turn->cluster, bytes_str("t"));
    uint64_t hash = hash64(bytes_str("key0"), table->tag);
    struct forest_entry entry = {.vnode = ring_vnode(turn->ring, hash), .n = table->n, .hash = hash};
    for (uint32_t i = 0; i < (broken == NONE ? 0 : broken == ONE_HOME ? 1 : count); i++) {
        uint32_t shard = entry.vnode % world_shards(world, homes[i]);
        forest_replace(node_forest(world_shard(world, homes[i], shard)), &entry, 0, 1);
    }
    if (equal)
        clients_sweep(clients, all, true);
    else
        clients_judge_trees(clients, all, false);
    snprintf(why, 256, "%s", clients_fault(clients));
    assert_int_equal(clients_judged(clients, CLIENTS_COPIES) > 0, equal);
    assert_int_equal(clients_judged(clients, CLIENTS_TREES) > 0, equal);
    world_free(world);
    clients_free(clients);
}

static void trees_that_are_wrong_are_found(void **state)
{
    (void)state;
    for (int equal = 0; equal <= 1; equal++) {
        char why[256];
        judge_broken_trees(NONE, equal, why);
        assert_string_equal(why, "");
        judge_broken_trees(ONE_HOME, equal, why);
        assert_non_null(strstr(why, "is not that of its objects"));
        judge_broken_trees(ALL_HOMES, equal, why);
        assert_non_null(strstr(why, "is not that of its objects"));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(copies_that_differ_are_found),
                                       cmocka_unit_test(weak_writes_may_be_lost),
                                       cmocka_unit_test(trees_that_are_wrong_are_found)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
