/* How gossip spreads and how silence is noticed, in virtual time: gossip_bench [spread | seeds | death |
 * doubt]
 *
 *      spread   worlds of 10, 100 and 1,000 nodes that only gossip (no heartbeats: those grow with the square
 * of the nodes): how many rounds until all know what one has heard, and what it costs seeds    the same,
 * where each node begins knowing the first one only: how long until all know all death    5 nodes with
 * heartbeats: how long until the others suspect one that is killed, stopped, or cut off on one way only,
 * without loss and with it doubt    how often a living peer is suspected, where batches are lost
 *
 * All of it follows from the seeds; only the time it takes is the machine's. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/check.h"
#include "ring/digest.h"
#include "self.h"
#include "world/world.h"

static const uint64_t ms = 1000000, second = 1000000000;

/* In a process of its own, as what was freed would blur the memory of the next. */
static void apart(void (*measure)(uint32_t argument), uint32_t argument)
{
    fflush(stdout);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        measure(argument);
        fflush(stdout);
        _exit(0);
    }
    int status;
    CHECK(waitpid(child, &status, 0) == child);
    CHECK(status == 0);
}

static const struct cluster *known(struct world *world, uint32_t node)
{
    return shard_turn_context(world_shard(world, node, 0))->cluster;
}

/* --- spread --- */

static struct world_options gossip_only(uint64_t seed, uint32_t nodes)
{
    struct world_options options = world_options_default(seed);
    options.nodes = nodes;
    options.shards = 1;
    options.vnodes = 1;
    options.silent = true;
    options.unchecked = true;
    return options;
}

/* How many know the same as node 0. */
static uint32_t agreeing(struct world *world)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < world_nodes(world); i++)
        count += cluster_equal(known(world, 0), known(world, i));
    return count;
}

/* Until all know the same; the virtual time it took. */
static uint64_t settle(struct world *world, uint64_t most_ns)
{
    uint64_t begun = world_now(world);
    while (agreeing(world) < world_nodes(world) || known(world, 0)->member_count < world_nodes(world)) {
        CHECK(world_now(world) < begun + most_ns);
        world_run(world, world_now(world) + 100 * ms);
    }
    return world_now(world) - begun;
}

static uint32_t knowing(struct world *world, const char *table)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < world_nodes(world); i++)
        count += cluster_find_table(known(world, i), bytes_str(table)) != NULL;
    return count;
}

enum { TRIALS = 10, WATCH_S = 12 };

static void spread(uint32_t nodes)
{
    struct world_options options = gossip_only(nodes, nodes);
    double before_kib = self_resident_kib(), begun = self_seconds();
    struct world *world = world_alloc(&options, NULL);
    uint64_t settled_ns = settle(world, 120 * second);
    world_run(world, world_now(world) + 2 * second);
    double kib = (self_resident_kib() - before_kib) / nodes;
    uint64_t bytes = world_counts(world).bytes;
    world_run(world, world_now(world) + WATCH_S * second);
    double idle = (double)(world_counts(world).bytes - bytes) / nodes / WATCH_S;
    double half = 0, all = 0, most = 0, cost = 0;
    for (uint32_t trial = 0; trial < TRIALS; trial++) {
        struct cluster news;
        const char *why;
        struct table table = {.id = 1 + trial, .n = 1, .r = 1, .w = 1, .alter_stamp = 1};
        snprintf(table.name, sizeof(table.name), "t%u", trial);
        cluster_copy(known(world, 0), &news);
        CHECK(cluster_create_table(&news, &table, &why) == STATUS_OK);
        for (uint32_t i = 0; i < news.table_count; i++)
            if (strcmp(news.tables[i].name, table.name) == 0) news.tables[0] = news.tables[i];
        news.table_count = 1;
        news.member_count = 0;
        uint32_t first = (uint32_t)prng_below(world_prng(world), nodes), count = 0;
        uint64_t from_ns = world_now(world), half_ns = 0, all_ns = 0;
        bytes = world_counts(world).bytes;
        world_tell(world, first == 0 ? 1 : 0, first, &news);
        cluster_fini(&news);
        while (count < nodes) {
            world_run(world, world_now(world) + 10 * ms);
            count = knowing(world, table.name);
            if (2 * count >= nodes && half_ns == 0) half_ns = world_now(world) - from_ns;
            all_ns = world_now(world) - from_ns;
            CHECK(all_ns < 60 * second);
        }
        world_run(world, from_ns + WATCH_S * second);
        half += (double)half_ns / (double)second / TRIALS;
        all += (double)all_ns / (double)second / TRIALS;
        if ((double)all_ns / (double)second > most) most = (double)all_ns / (double)second;
        cost += ((double)(world_counts(world).bytes - bytes) / nodes - idle * WATCH_S) / TRIALS;
    }
    printf("spread  %5u nodes  %7.1f  %6.1f  %8.1f  %9.0f  %14.0f  %14.0f  %9.1f  %7.0f  %8.1f\n", nodes,
           half, all, most, idle, cost, cost / most + idle, (double)settled_ns / (double)second, kib,
           self_seconds() - begun);
    world_free(world);
}

static void seeds(uint32_t nodes)
{
    struct world_options options = gossip_only(nodes, nodes);
    options.seeded = true;
    options.redial = (struct span){200 * ms, 400 * ms};
    double begun = self_seconds();
    struct world *world = world_alloc(&options, NULL);
    uint64_t settled_ns = settle(world, 120 * second);
    printf("seeds   %5u nodes  all know all after %.1f s, at %.1f KiB sent by each; %.1f s of CPU\n", nodes,
           (double)settled_ns / (double)second, (double)world_counts(world).bytes / 1024 / nodes,
           self_seconds() - begun);
    world_free(world);
}

/* --- death and doubt --- */

enum { NODES = 5 };

static struct world *beating(uint64_t seed, uint32_t loss_percent)
{
    struct world_options options = world_options_default(seed);
    options.nodes = NODES;
    options.shards = 1;
    options.unchecked = true;
    options.losses = loss_percent * 10000;
    struct world *world = world_alloc(&options, NULL);
    world_run(world, 40 * second); /* the windows are full */
    return world;
}

static bool believes(struct world *world, uint32_t node, uint32_t other)
{
    const struct turn *turn = shard_turn_context(world_shard(world, node, 0));
    return peers_reachable(turn->peers, world_node_id(world, other));
}

enum fate { KILLED, STOPPED, UNHEARD, DEAF };

static int by_size(const void *left, const void *right)
{
    uint64_t a = *(const uint64_t *)left, b = *(const uint64_t *)right;
    return a < b ? -1 : a > b;
}

/* Node 0 meets its fate; when does each other suspect it? (Cut one way: when do both ends suspect one
 * another?) */
static void death(uint32_t loss_percent)
{
    static const char *const names[] = {"killed (its links end)", "stopped (SIGSTOP)",
                                        "it is not heard any more", "it hears nothing any more"};
    enum { ROUNDS = 50 };
    for (uint32_t fate = KILLED; fate <= DEAF; fate++) {
        uint64_t times[ROUNDS * (NODES - 1)];
        uint32_t count = 0, later = 0;
        for (uint32_t round = 0; round < ROUNDS; round++) {
            struct world *world = beating(1000 * loss_percent + round, loss_percent);
            bool noticed[NODES] = {true};
            world_run(world, world_now(world) + prng_below(world_prng(world), 200 * ms));
            uint64_t from_ns = world_now(world);
            if (fate == KILLED) world_crash(world, 0);
            if (fate == STOPPED) world_pause(world, 0);
            for (uint32_t i = 1; i < NODES; i++) {
                if (fate == UNHEARD) world_cut_way(world, 0, i);
                if (fate == DEAF) world_cut_way(world, i, 0);
            }
            for (uint32_t left = NODES - 1; left > 0 && world_now(world) < from_ns + 9 * second;) {
                world_run(world, world_now(world) + 5 * ms);
                for (uint32_t i = 1; i < NODES; i++) {
                    if (noticed[i] || believes(world, i, 0)) continue;
                    if (fate >= UNHEARD && believes(world, 0, i)) continue; /* both */
                    noticed[i] = true;
                    times[count++] = world_now(world) - from_ns;
                    left--;
                }
            }
            for (uint32_t i = 1; i < NODES; i++) later += !noticed[i];
            world_free(world);
        }
        qsort(times, count, sizeof(times[0]), by_size);
        printf("death   loss %2u %%  %-26s suspected after %5.0f ms in the median, 99 of 100 after %5.0f ms, "
               "all after "
               "%5.0f ms\n",
               loss_percent, names[fate], (double)times[count / 2] / (double)ms,
               (double)times[count * 99 / 100] / (double)ms, (double)times[count - 1] / (double)ms);
        CHECK(later == 0);
    }
}

static void doubt(uint32_t loss_percent)
{
    struct world *world = beating(77 + loss_percent, loss_percent);
    bool believed[NODES][NODES];
    uint64_t from_ns = world_now(world), suspicions = 0, suspected_ns = 0;
    const uint64_t watch_ns = 3600 * second, step_ns = 20 * ms;
    memset(believed, 1, sizeof(believed));
    while (world_now(world) < from_ns + watch_ns) {
        world_run(world, world_now(world) + step_ns);
        for (uint32_t i = 0; i < NODES; i++)
            for (uint32_t k = 0; k < NODES; k++) {
                bool now = i == k || believes(world, i, k);
                suspicions += believed[i][k] && !now;
                suspected_ns += now ? 0 : step_ns;
                believed[i][k] = now;
            }
    }
    const double hours = (double)watch_ns / (double)(3600 * second) * NODES * (NODES - 1);
    printf("doubt   loss %2u %%  %.2f false suspicions per peer-hour, %.3f %% of the time\n", loss_percent,
           (double)suspicions / hours, 100 * (double)suspected_ns / (double)watch_ns / NODES / (NODES - 1));
    world_free(world);
}

int main(int argc, char **argv)
{
    static const uint32_t counts[] = {10, 100, 1000}, losses[] = {0, 5, 20};
    const char *only = argc > 1 ? argv[1] : "";
    if (only[0] == 0 || strcmp(only, "spread") == 0) {
        printf("                         rounds (seconds) until   idle: B a   one change: B  meanwhile: B a  "
               " all agree  "
               "KiB a   CPU\n"
               "                     half  all know  at worst   node and s   a node         node and s   "
               "after s    "
               " node    s\n");
        for (int i = 0; i < 3; i++) apart(spread, counts[i]);
    }
    if (only[0] == 0 || strcmp(only, "seeds") == 0)
        for (int i = 0; i < 2; i++) apart(seeds, counts[i]);
    if (only[0] == 0 || strcmp(only, "death") == 0)
        for (int i = 0; i < 3; i++) apart(death, losses[i]);
    if (only[0] == 0 || strcmp(only, "doubt") == 0)
        for (int i = 0; i < 3; i++) apart(doubt, losses[i]);
    return 0;
}
