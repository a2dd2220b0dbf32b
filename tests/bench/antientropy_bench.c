/* What anti-entropy costs: antientropy_bench [KEYS]
 *
 * Two nodes of one shard, N = 2, in one process and in virtual time (tests/turn/few_nodes.h), with KEYS of
 * 100-byte values on both (1,000,000 if nothing is said) in 1,024 vnodes. It prints
 *
 *   build    the CPU time and memory that the trees of one node take
 *   pass     the bytes of a pass over equal homes, per vnode and pair of them
 *   keys     the bytes and reads of making 100 keys equal that differ, and what those keys are alone
 *   upkeep   what the tree takes of the CPU time of a put at one home
 *
 * and exits with 1 where a bound is not kept: 200 bytes a pass, and 5 % of a put. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/check.h"
#include "few_nodes.h"
#include "merkle/forest.h"

enum { VNODES = 1024, DIFFERING = 100, VALUE_BYTES = 100, PASS_MS = 100000 };

static const uint64_t ms = 1000000;
static struct few few;
static int result;

static uint64_t cpu_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void bound(double value, double most)
{
    if (value < most) return;
    printf("  ... and should be below %g\n", most);
    result = 1;
}

static struct bytes key_of(uint64_t number, char text[24])
{
    return bytes_of(text, (size_t)snprintf(text, 24, "user%012" PRIu64, number));
}

static struct bytes value_of(uint64_t number, uint8_t value[VALUE_BYTES])
{
    for (size_t k = 0; k < VALUE_BYTES; k++) value[k] = (uint8_t)(number * 31 + k);
    return bytes_of(value, VALUE_BYTES);
}

static void plant(uint64_t keys)
{
    char text[24];
    uint8_t value[VALUE_BYTES];
    for (uint64_t i = 0; i < keys; i++)
        for (uint32_t node = 0; node < 2; node++)
            few_plant(&few, node, key_of(i, text), (struct dot){.clock = 77, .counter = 1},
                      value_of(i, value));
}

static void bench_build(uint64_t keys)
{
    uint64_t paced_ns = few.now_ns, began_ns = cpu_ns(), built;
    few_start(&few, 0);
    few_start(&few, 1);
    do {
        few_pass_ms(&few, 10);
        built = shard_counters(few.nodes[0].shards[0])->vnodes_built +
                shard_counters(few.nodes[1].shards[0])->vnodes_built;
    } while (built < 2 * VNODES);
    printf("build: %" PRIu64 " keys of a shard in %.2f s of CPU, %.1f s with their pace; %.1f MiB of trees\n",
           keys, (double)(cpu_ns() - began_ns) / 2e9, (double)(few.now_ns - paced_ns) / 1e9,
           (double)(VNODES * sizeof(struct tree)) / 1048576);
}

/* Just one pass begins within PASS_MS, as each takes less than a second. */
static void bench_pass(void)
{
    few_pass_ms(&few, PASS_MS / 2);
    uint64_t before = few_repair_bytes(&few);
    few_pass_ms(&few, PASS_MS);
    double each = (double)(few_repair_bytes(&few) - before) / VNODES;
    printf("pass over equal homes: %.1f bytes per vnode and pair\n", each);
    bound(each, 200);
}

/* A node joins a newer object of a key to its own, and the other misses it. Returns the object's bytes. */
static size_t merge_at(uint32_t node, uint64_t number, uint64_t counter)
{
    char text[24];
    uint8_t value[VALUE_BYTES];
    struct store_place place;
    struct dot dot = {.clock = 77, .counter = counter};
    struct sibling sibling = {
        .dot = dot, .stamp = few.wall_ms << 16, .value = value_of(number + counter, value)};
    struct object object = {.context = {.entries = &dot, .count = 1}, .siblings = &sibling, .count = 1};
    few_store_key(&few, key_of(number, text), &place);
    struct bytes encoded = object_encode(&object, &few.arena);
    few_merge(&few, node, few.nodes[1 - node].id, &place, 2, encoded);
    size_t size = encoded.size;
    arena_reset(&few.arena);
    return size;
}

static uint64_t reads(void)
{
    return shard_counters(few.nodes[0].shards[0])->repair_reads +
           shard_counters(few.nodes[1].shards[0])->repair_reads;
}

static uint64_t bytes_of_kinds(Dynode__Peer__Message__BodyCase from, Dynode__Peer__Message__BodyCase to)
{
    uint64_t bytes = 0;
    for (uint32_t kind = from; kind <= to; kind++) bytes += few.bytes[kind];
    return bytes;
}

static void bench_differing(uint64_t keys)
{
    uint64_t count;
    size_t objects = 0;
    CHECK(few_is_equal(&few, &count) && count == keys);
    memset(few.bytes, 0, sizeof(few.bytes));
    uint64_t before = reads();
    for (uint64_t i = 0; i < DIFFERING; i++)
        objects += merge_at((uint32_t)(i % 2), i * (keys / DIFFERING), 2);
    few_pass_ms(&few, PASS_MS + 1000); /* the pass that finds them */
    CHECK(few_is_equal(&few, &count) && count == keys);
    double path = (double)bytes_of_kinds(DYNODE__PEER__MESSAGE__BODY_TREE_NODES,
                                         DYNODE__PEER__MESSAGE__BODY_LEAF_KEYS_ANSWER);
    double moved = (double)bytes_of_kinds(DYNODE__PEER__MESSAGE__BODY_FETCH_OBJECTS,
                                          DYNODE__PEER__MESSAGE__BODY_OBJECTS_PUSHED);
    printf("%d differing keys of %" PRIu64 ": each %.0f bytes for the tree's path and %.0f for the objects "
           "(one is %.0f bytes); %.1f objects read\n",
           DIFFERING, keys, path / DIFFERING, moved / DIFFERING, (double)objects / DIFFERING,
           (double)(reads() - before) / DIFFERING);
}

/* The forest as the replica asks it, at random keys of a shard, beside whole merges of the same. */
static void bench_upkeep(uint64_t keys)
{
    enum { PUTS = 200000 };
    char text[24];
    struct prng prng;
    struct arena arena;
    struct store_place place;
    struct forest *forest = forest_alloc(VNODES);
    uint64_t wrong = 0, put_ns = cpu_ns();
    arena_init(&arena, 0);
    prng_init(&prng, 1);
    for (uint64_t i = 0; i < PUTS; i++) {
        merge_at(0, prng_below(&prng, keys), 3 + i);
        if (i % 64 == 63) few_pass_ms(&few, 0);
    }
    put_ns = cpu_ns() - put_ns;
    struct forest_entry *entries = ARENA_ARRAY(&arena, struct forest_entry, PUTS);
    for (uint64_t i = 0; i < PUTS; i++) {
        struct bytes store_key = few_store_key(&few, key_of(prng_below(&prng, keys), text), &place);
        entries[i] = (struct forest_entry){
            .vnode = place.vnode, .n = 2, .hash = place.hash, .store_key = bytes_copy(&arena, store_key)};
        arena_reset(&few.arena);
    }
    for (uint32_t vnode = 0; vnode < VNODES; vnode++) {
        forest_sweep_begin(forest, vnode);
        wrong += forest_sweep_end(forest);
    }
    for (uint64_t i = 0; i < PUTS; i++) forest_replace(forest, &entries[i], 0, i); /* the trees are there */
    uint64_t began_ns = cpu_ns();
    for (uint64_t i = 0; i < PUTS; i++) forest_replace(forest, &entries[i], i, i + 1);
    uint64_t grown_ns = cpu_ns() - began_ns;
    forest_free(forest);
    arena_fini(&arena);
    CHECK(wrong == 0);
    double share = (double)grown_ns / (double)put_ns * 100;
    printf("upkeep: %.0f ns of the %.1f us that a put takes at one home with a store in memory: %.2f %%\n",
           (double)grown_ns / PUTS, (double)put_ns / PUTS / 1e3, share);
    bound(share, 5);
}

int main(int argc, char **argv)
{
    uint64_t keys = argc > 1 ? strtoull(argv[1], NULL, 10) : 1000000;
    if (keys < DIFFERING) return 2;
    setvbuf(stdout, NULL, _IOLBF, 0);
    few_begin(&few, &(struct few_options){.nodes = 2,
                                          .shards = {1, 1},
                                          .vnodes = VNODES,
                                          .n = 2,
                                          .pass_ns = PASS_MS * ms,
                                          .audit_ns = UINT64_MAX / 2,
                                          .seed = 1});
    plant(keys);
    bench_build(keys);
    bench_pass();
    bench_differing(keys);
    bench_upkeep(keys);
    few_end(&few);
    return result;
}
