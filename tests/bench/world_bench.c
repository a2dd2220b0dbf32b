/* How fast worlds run on this machine, and how large they are: world_bench [SECONDS]
 *
 *      speed    operations per second of one core's time
 *      factor   how much faster than real time a cluster at 100 operations a second runs
 *      memory   what an idle node takes: alone, and with its links to all others
 *
 * Speeds are with and without every actor's check after each turn, judging included, the best of three runs
 * of SECONDS (5) virtual seconds. Plain: registers, 2,000 keys, so that few writes meet. All kinds: carts,
 * counters and the others too, on 200 keys, where 64 sessions make and merge siblings without end.
 *
 * Anti-entropy has the pace of the server (antientropy.h: a pass every 10 s, an audit a minute), not the
 * hurried one that worlds draw, in which homes that were healed must be equal within four seconds. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/check.h"
#include "self.h"
#include "world/run.h"

/* Three nodes of two shards, the usual quorums, no faults. All that matters is set, so that one figure can be
 * held against another when seeds draw something else. */
static struct options cluster(uint32_t safety_ms)
{
    static const char *const settings[] = {
        "nodes=3",       "shards=2",    "vnodes=16",       "n=3",          "r=2",
        "w=2",           "lww=0",       "keys=200",        "registers=2",  "carts=2",
        "counters=2",    "recreates=4", "deadline_ms=200", "quorum=0",     "moves=2",
        "batching=30",   "tokens=62",   "impatient=29",    "weak=0",       "gets=5",
        "puts=4",        "deletes=1",   "contexts=96",     "conditions=0", "blinds=0",
        "hot=0",         "ttl_ms=0",    "value_bytes=100", "delay_us=900", "uneven=0",
        "sync_us=2000",  "core_ms=0",   "settle_ms=4000",  "strict=0",     "pass_ms=10000",
        "audit_ms=60000"};
    struct options options = options_draw(8);
    for (uint32_t i = 0; i < options_count; i++)
        if (options_list[i].fault) *option_value(&options, &options_list[i]) = 0;
    for (size_t i = 0; i < sizeof(settings) / sizeof(settings[0]); i++) {
        char why[128];
        CHECK(options_set(&options, settings[i], why, sizeof(why)) == NULL);
    }
    options.sloppy = options.reap = 0;
    options.safety_ms = safety_ms;
    return options;
}

static void bench_speed(uint32_t safety_ms, bool plain, uint32_t checks)
{
    struct options options = cluster(safety_ms);
    if (plain) {
        options.carts = options.counters = options.recreates = 0;
        options.keys = 2000;
    }
    options.sessions = 64;
    options.think_us = 0;
    options.checks = checks;
    double best = 0;
    struct run_result result;
    for (int run = 0; run < 3; run++) {
        double begun = self_seconds();
        run_world(&options, NULL, NULL, 0, &result);
        double rate = (double)result.operations / (self_seconds() - begun);
        if (rate > best) best = rate;
        CHECK(result.fault[0] == 0);
    }
    printf("speed   %-9s  checks %-3s  %9" PRIu64 " operations, %9" PRIu64 " turns  %10.0f operations/s\n",
           plain ? "plain" : "all kinds", checks != 0 ? "on" : "off", result.operations, result.counts.turns,
           best);
}

static void bench_factor(uint32_t checks)
{
    struct options options = cluster(600000);
    options.sessions = 16;
    options.batching = 0;
    options.think_us = 310000;
    options.checks = checks;
    double best = 0, rate = 0;
    for (int run = 0; run < 3; run++) {
        struct run_result result;
        double begun = self_seconds();
        run_world(&options, NULL, NULL, 0, &result);
        double virtual_s = (double)result.virtual_ns / 1e9, factor = virtual_s / (self_seconds() - begun);
        if (factor > best) best = factor;
        rate = (double)result.operations / virtual_s;
        CHECK(result.fault[0] == 0);
    }
    printf("factor  checks %-3s  %9.1f operations/s of virtual time  %10.0f times real time\n",
           checks != 0 ? "on" : "off", rate, best);
}

/* In a process of its own, as what was freed would blur the next figure. */
static void bench_memory(uint32_t nodes, bool linked)
{
    fflush(stdout);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        struct world_options options = world_options_default(1);
        options.nodes = nodes;
        options.shards = 1;
        if (!linked) options.network = (struct span){.min_ns = UINT64_C(3600000000000), .max_ns = 0};
        double before = self_resident_kib(), begun = self_seconds();
        struct world *world = world_alloc(&options, NULL);
        world_run(world, UINT64_C(3000000000));
        double kib = self_resident_kib() - before;
        printf("memory  %4u nodes, %s  %8.0f MiB, %7.0f KiB a node  3 virtual seconds in %.1f s\n", nodes,
               linked ? "all linked" : "no links  ", kib / 1024, kib / nodes, self_seconds() - begun);
        world_free(world);
        exit(0);
    }
    int status;
    CHECK(waitpid(child, &status, 0) == child);
    if (status != 0) printf("memory  %4u nodes: the process ended with status %x\n", nodes, (unsigned)status);
}

int main(int argc, char **argv)
{
    uint32_t safety_ms = 1000 * (argc > 1 ? (uint32_t)strtoul(argv[1], NULL, 10) : 5);
    if (safety_ms == 0) {
        fprintf(stderr, "usage: world_bench [SECONDS]\n");
        return 2;
    }
    /* Memory first: what worlds leave on the heap would blur it. */
    static const uint32_t counts[] = {100, 1000};
    for (int i = 0; i < 2; i++) bench_memory(counts[i], false);
    static const uint32_t linked[] = {10, 30};
    for (int i = 0; i < 2; i++) bench_memory(linked[i], true);
    for (int plain = 1; plain >= 0; plain--) {
        bench_speed(safety_ms, plain != 0, 1);
        bench_speed(safety_ms, plain != 0, 0);
    }
    bench_factor(1);
    bench_factor(0);
    return 0;
}
