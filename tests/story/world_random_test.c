/* Random worlds: clients of all kinds (sim/world/clients.h) under crashes, pauses, cuts and lost links; then
 * all is healed, every key is read, and the history is judged.
 *
 *      world_random_test                 the seeds of every run, and fresh ones
 *      world_random_test SEED            one of them, with its trace on stderr if DYNODE_TRACE is set
 *      world_random_test FROM TO         many */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/check.h"
#include "world/clients.h"

enum { FIXED_SEEDS = 150, FRESH_SEEDS = 50 };

static const uint64_t ms = 1000000;

struct run {
    uint64_t seed;
    struct world *world;
    struct clients *clients;
    struct clients_options options;
    bool faults; /* strike */
};

static uint64_t below(struct run *run, uint64_t bound)
{
    return prng_below(world_prng(run->world), bound);
}

/* --- faults --- */

static void heal_node(void *context, uint64_t node)
{
    struct run *run = context;
    if (!world_is_up(run->world, (uint32_t)node))
        world_restart(run->world, (uint32_t)node);
    else if (world_is_paused(run->world, (uint32_t)node))
        world_resume(run->world, (uint32_t)node);
}

static void heal_disks(void *context, uint64_t node)
{
    struct run *run = context;
    world_hold_syncs(run->world, (uint32_t)node, false);
}

static void crash(struct run *run, uint32_t node, uint64_t until_ns)
{
    if (!world_is_up(run->world, node) || world_is_paused(run->world, node)) return;
    world_crash(run->world, node);
    world_at(run->world, until_ns, heal_node, run, node);
}

/* The power fails: what no disk has is gone. */
static void cut_power(struct run *run)
{
    for (uint32_t node = 0; node < world_nodes(run->world); node++)
        crash(run, node, world_now(run->world) + 5 * ms + below(run, 300 * ms));
}

static void heal_link(void *context, uint64_t pair)
{
    struct run *run = context;
    world_mend(run->world, (uint32_t)(pair / WORLD_NODES_MAX), (uint32_t)(pair % WORLD_NODES_MAX));
}

static void break_something(void *context, uint64_t argument)
{
    (void)argument;
    struct run *run = context;
    struct world *world = run->world;
    if (!run->faults) return;
    world_at(world, world_now(world) + below(run, 600 * ms), break_something, run, 0);
    uint32_t a = (uint32_t)below(run, world_nodes(world)), b = (uint32_t)below(run, world_nodes(world));
    uint64_t until = world_now(world) + 5 * ms + below(run, 1500 * ms);
    switch (below(run, 8)) {
    case 0:
    case 1:
        crash(run, a, until);
        return;
    case 5:
        cut_power(run);
        return;
    case 6: /* a disk that stands still, maybe until its node dies */
        world_hold_syncs(world, a, true);
        world_at(world, until, heal_disks, run, a);
        return;
    case 2:
        if (!world_is_up(world, a) || world_is_paused(world, a)) return;
        world_pause(world, a);
        world_at(world, until, heal_node, run, a);
        return;
    case 3:
        if (a == b) return;
        world_cut(world, a, b);
        world_at(world, until, heal_link, run, a * WORLD_NODES_MAX + b);
        return;
    default:
        if (a != b) world_reset(world, a, b);
    }
}

/* --- a run --- */

static struct world_options options_of(uint64_t seed)
{
    struct prng prng;
    prng_init(&prng, seed ^ 0x5eed);
    struct world_options options = world_options_default(seed);
    options.nodes = 3 + (uint32_t)prng_below(&prng, 3);
    options.vnodes = 16U << prng_below(&prng, 3);
    for (uint32_t i = 0; i < options.nodes; i++) options.shards_of[i] = 1 + (uint32_t)prng_below(&prng, 3);
    for (uint32_t i = 0; i < options.nodes; i++)
        if (prng_chance(&prng, 1, 4)) options.skew_ms[i] = (uint32_t)prng_below(&prng, 5000);
    if (prng_chance(&prng, 1, 2)) options.resets = (uint32_t)prng_below(&prng, 2000);
    if (prng_chance(&prng, 1, 3)) {
        options.losses = (uint32_t)prng_below(&prng, 5000);
        options.repeats = (uint32_t)prng_below(&prng, 5000);
        options.overtakings = (uint32_t)prng_below(&prng, 5000);
        options.strays = (uint32_t)prng_below(&prng, 1000000);
        options.client_resets = (uint32_t)prng_below(&prng, 2000);
        options.late = (struct span){1 * ms, 200 * ms};
    }
    if (prng_chance(&prng, 1, 3)) options.network.max_ns = 30 * ms;
    if (prng_chance(&prng, 1, 3)) options.sync.max_ns = 100 * ms;
    return options;
}

/* Half of the tables are the usual ones, the others anything whose quorums overlap. */
static void draw_quorums(struct clients_options *options, uint64_t seed, uint32_t nodes)
{
    struct prng prng;
    prng_init(&prng, seed ^ 0x9a9a);
    if (options->quorum != 0 || prng_chance(&prng, 1, 2)) return;
    options->n = 1 + (uint32_t)prng_below(&prng, nodes);
    options->w = 1 + (uint32_t)prng_below(&prng, options->n);
    options->r = options->n + 1 - options->w;
}

static void trace_line(void *context, const char *line)
{
    (void)context;
    fprintf(stderr, "%s\n", line);
}

static void run_begin(struct run *run, const struct clients_options *clients,
                      const struct world_options *options)
{
    *run = (struct run){.seed = options->seed, .options = *clients};
    for (uint32_t i = 0; i < options->nodes; i++)
        if (options->skew_ms[i] * ms > run->options.skew_ns) run->options.skew_ns = options->skew_ms[i] * ms;
    run->options.grace_ns = 2 * options->network.max_ns + 10 * ms;
    struct world_watch watch = {0};
    run->clients = clients_alloc(&run->options, &watch);
    if (getenv("DYNODE_TRACE") != NULL) watch.line = trace_line;
    run->world = world_alloc(options, &watch);
    world_run(run->world, 500 * ms);
    clients_begin(run->clients, run->world);
}

static void run_end(struct run *run)
{
    world_free(run->world);
    clients_free(run->clients);
}

/* Faults for a while, then none, then everything is looked at. */
static void run_all(struct run *run, uint64_t for_ms)
{
    if (run->faults) break_something(run, 0);
    world_run(run->world, world_now(run->world) + for_ms * ms);
    run->faults = false;
    world_calm_network(run->world);
    clients_stop(run->clients, true);
    world_run(run->world, world_now(run->world) + 4000 * ms); /* every fault ends, every link is back */
    clients_sweep(run->clients, (1U << world_nodes(run->world)) - 1, run->options.n);
}

static uint64_t total_operations;
static struct world_counts total;

static void count_up(const struct run *run)
{
    struct world_counts counts = world_counts(run->world);
    total_operations += clients_operations(run->clients);
    total.turns += counts.turns;
    for (uint32_t i = 0; i < WORLD_FAULTS; i++) total.faults[i] += counts.faults[i];
}

static bool run_seed(uint64_t seed)
{
    struct run run;
    struct world_options world = options_of(seed);
    struct clients_options options = clients_options_draw(seed);
    draw_quorums(&options, seed, world.nodes);
    options.lww = seed % 4 == 3;
    bool faultless = options.faultless = seed % 8 == 5;
    if (faultless)
        world.resets = world.losses = world.repeats = world.overtakings = world.strays = world.client_resets =
            0;
    run_begin(&run, &options, &world);
    run.faults = !faultless;
    run_all(&run, 3000);
    clients_judge(run.clients, false);
    bool good = clients_fault(run.clients)[0] == 0;
    if (!good)
        printf("seed %" PRIu64 " (%u nodes, N=%u R=%u W=%u%s): %s\n"
               "repeat it: build/asan/tests/story/world_random_test %" PRIu64 "\n",
               seed, world_nodes(run.world), options.n, options.r, options.w, options.lww ? ", lww" : "",
               clients_fault(run.clients), seed);
    count_up(&run);
    run_end(&run);
    return good;
}

static bool run_seeds(uint64_t from, uint64_t to)
{
    bool good = true;
    for (uint64_t seed = from; seed < to; seed++) good = run_seed(seed) && good;
    printf("%" PRIu64 " seeds: %" PRIu64 " operations answered, %" PRIu64 " crashes, %" PRIu64
           " pauses, %" PRIu64 " resets, %" PRIu64 " turns\n",
           to - from, total_operations, total.faults[WORLD_CRASH], total.faults[WORLD_PAUSE],
           total.faults[WORLD_RESET], total.turns);
    return good;
}

static void fixed_seeds(void **state)
{
    (void)state;
    assert_true(run_seeds(1, 1 + FIXED_SEEDS));
}

static void fresh_seeds(void **state)
{
    (void)state;
    uint64_t seed = prng_entropy() >> 20;
    printf("fresh seeds from %" PRIu64 "\n", seed);
    assert_true(run_seeds(seed, seed + FRESH_SEEDS));
}

/* With R = W = 1 a read may miss a write: a checker that does not see that is blind. */
static void register_checker_sees_weak_quorums(void **state)
{
    (void)state;
    uint32_t seen = 0;
    for (uint64_t seed = 1; seed <= 200 && seen == 0; seed++) {
        struct run run;
        struct world_options world = options_of(seed);
        struct clients_options options = clients_options_draw(seed);
        options.quorum = 1;
        run_begin(&run, &options, &world);
        run.faults = true;
        run_all(&run, 2000);
        struct cover cover;
        struct verdict verdict = {{0}};
        cover_build(&cover, clients_history(run.clients));
        if (!checker_register(&cover, &verdict)) {
            printf("R=W=1, seed %" PRIu64 ": %s\n", seed, verdict.why);
            seen++;
        }
        cover_fini(&cover);
        run_end(&run);
    }
    assert_int_equal(seen, 1);
}

static void same_seed_same_world(void **state)
{
    (void)state;
    uint64_t hashes[3];
    for (uint32_t i = 0; i < 3; i++) {
        struct run run;
        uint64_t seed = i < 2 ? 8 : 9;
        struct world_options world = options_of(seed);
        struct clients_options options = clients_options_draw(seed);
        run_begin(&run, &options, &world);
        run.faults = true;
        run_all(&run, 1000);
        hashes[i] = world_hash(run.world);
        run_end(&run);
    }
    assert_true(hashes[0] == hashes[1]);
    assert_true(hashes[0] != hashes[2]);
}

int main(int argc, char **argv)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (argc == 2) return run_seed(strtoull(argv[1], NULL, 0)) ? 0 : 1;
    if (argc == 3) return run_seeds(strtoull(argv[1], NULL, 0), strtoull(argv[2], NULL, 0)) ? 0 : 1;
    printf("seeds 1 to %d, then fresh ones\n", FIXED_SEEDS);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(same_seed_same_world),
        cmocka_unit_test(fixed_seeds),
        cmocka_unit_test(register_checker_sees_weak_quorums),
        cmocka_unit_test(fresh_seeds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
