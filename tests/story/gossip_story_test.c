/* Gossip and suspicion in whole clusters: one seed is enough, news spread in few rounds for few bytes, a
 * node's own word holds after its clock was set back, and every kind of silence is noticed on both sides. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "world/world.h"

static const uint64_t ms = 1000000, second = 1000000000;

static const struct cluster *known(struct world *world, uint32_t node)
{
    return shard_turn_context(world_shard(world, node, 0))->cluster;
}

static bool all_agree(struct world *world)
{
    for (uint32_t node = 0; node < world_nodes(world); node++)
        for (uint32_t shard = 0; shard < world_shards(world, node); shard++)
            if (!cluster_equal(known(world, 0), shard_turn_context(world_shard(world, node, shard))->cluster))
                return false;
    return known(world, 0)->member_count == world_nodes(world);
}

static bool believes(struct world *world, uint32_t node, uint32_t other)
{
    const struct turn *turn = shard_turn_context(world_shard(world, node, 0));
    return peers_reachable(turn->peers, world_node_id(world, other));
}

static struct cluster table_of(struct world *world, const char *name)
{
    struct cluster news = {.id = known(world, 0)->id, .vnodes = known(world, 0)->vnodes}, whole;
    struct table table = {.id = 1, .n = 1, .r = 1, .w = 1, .alter_stamp = 1};
    const char *why;
    snprintf(table.name, sizeof(table.name), "%s", name);
    cluster_copy(known(world, 0), &whole);
    whole.table_count = 0;
    assert_int_equal(cluster_create_table(&whole, &table, &why), STATUS_OK);
    news.tables = whole.tables;
    news.table_count = 1;
    whole.tables = NULL;
    cluster_fini(&whole);
    return news;
}

/* Each node's configuration has the first and itself; they learn all members, with their shards, and all
 * tables. */
static void one_seed(void **state)
{
    (void)state;
    struct world_options options = world_options_default(5);
    options.nodes = 12;
    options.seeded = true;
    struct world *world = world_alloc(&options, NULL);
    struct cluster news = table_of(world, "t");
    assert_int_equal(known(world, 5)->member_count, 2);
    world_tell(world, 0, 7, &news);
    cluster_fini(&news);
    world_run(world, 10 * second);
    assert_true(all_agree(world));
    assert_non_null(cluster_find_table(known(world, 3), bytes_str("t")));
    for (uint32_t i = 0; i < 12; i++) {
        assert_int_equal(known(world, 0)->members[i].shards, 2);
        for (uint32_t k = 0; k < 12; k++) assert_true(believes(world, i, k));
    }
    world_free(world);
}

/* What one node hears all know a few rounds later, without anybody sending much; those who know the same send
 * next to nothing. The figures for 10 to 1,000 nodes are gossip_bench's. */
static void few_rounds(void **state)
{
    (void)state;
    struct world_options options = world_options_default(6);
    options.nodes = 60;
    options.shards = options.vnodes = 1;
    options.silent = true;
    struct world *world = world_alloc(&options, NULL);
    world_run(world, 8 * second);
    assert_true(all_agree(world));
    uint64_t bytes = world_counts(world).bytes;
    world_run(world, 18 * second);
    uint64_t idle = (world_counts(world).bytes - bytes) / 10 / 60; /* of a node, a second */
    assert_in_range(idle, 50, 150);
    struct cluster news = table_of(world, "t");
    bytes = world_counts(world).bytes;
    world_tell(world, 1, 2, &news);
    cluster_fini(&news);
    world_run(world, 23 * second);
    assert_true(all_agree(world));
    assert_non_null(cluster_find_table(known(world, 59), bytes_str("t")));
    assert_in_range((world_counts(world).bytes - bytes) / 60, 5 * idle + 100, 5 * idle + 3000);
    world_free(world);
}

/* Its clock is an hour behind when it starts again: its own record wins all the same. */
static void clock_set_back(void **state)
{
    (void)state;
    struct world_options options = world_options_default(7);
    struct world *world = world_alloc(&options, NULL);
    world_run(world, 5 * second);
    assert_true(all_agree(world));
    uint64_t id = world_node_id(world, 3);
    uint64_t before = cluster_find_member(known(world, 0), id)->incarnation;
    world_crash(world, 3);
    world_jump_clock(world, 3, -3600000);
    world_run(world, 7 * second);
    world_restart(world, 3);
    world_run(world, 12 * second);
    assert_true(all_agree(world));
    assert_true(cluster_find_member(known(world, 0), id)->incarnation > before);
    world_free(world);
}

/* Cut one way: both ends suspect one another, for neither gets an answer; mended, both are believed again at
 * once. The links stand all the while. */
static void one_way(void **state)
{
    (void)state;
    struct world_options options = world_options_default(8);
    struct world *world = world_alloc(&options, NULL);
    world_run(world, 5 * second);
    for (uint32_t way = 0; way < 2; way++) {
        uint32_t from = way == 0 ? 1 : 2, to = way == 0 ? 2 : 1;
        world_cut_way(world, from, to);
        world_run(world, world_now(world) + 500 * ms);
        assert_true(believes(world, 1, 2) && believes(world, 2, 1));
        world_run(world, world_now(world) + 1000 * ms);
        assert_false(believes(world, 1, 2));
        assert_false(believes(world, 2, 1));
        assert_true(believes(world, 0, 1) && believes(world, 0, 2) && believes(world, 1, 0));
        world_mend_way(world, from, to);
        world_run(world, world_now(world) + 300 * ms);
        assert_true(believes(world, 1, 2) && believes(world, 2, 1));
    }
    world_free(world);
}

/* A process that is stopped is suspected; when it goes on it suspects nobody, and is believed at once. */
static void stopped(void **state)
{
    (void)state;
    struct world_options options = world_options_default(9);
    struct world *world = world_alloc(&options, NULL);
    world_run(world, 5 * second);
    world_pause(world, 4);
    world_run(world, world_now(world) + 1300 * ms);
    for (uint32_t i = 0; i < 4; i++) assert_false(believes(world, i, 4));
    world_run(world, world_now(world) + 6 * second);
    world_resume(world, 4);
    for (uint32_t i = 0; i < 100; i++) {
        for (uint32_t k = 0; k < 4; k++) assert_true(believes(world, 4, k));
        world_run(world, world_now(world) + 5 * ms);
    }
    for (uint32_t i = 0; i < 4; i++) assert_true(believes(world, i, 4));
    world_crash(world, 4); /* the end of a process ends its links, and is believed at once */
    world_run(world, world_now(world) + 10 * ms);
    for (uint32_t i = 0; i < 4; i++) assert_false(believes(world, i, 4));
    world_free(world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(one_seed), cmocka_unit_test(few_rounds),
                                       cmocka_unit_test(clock_set_back), cmocka_unit_test(one_way),
                                       cmocka_unit_test(stopped)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
