/* How fast a store is on this machine: store_bench [DIRECTORY [RECORDS]]
 *
 * Values of 260 bytes under keys of 38, as the replicas write them; each put is preceded by the get that a
 * merge needs. Every WiredTiger row ends in a sync of the real disk, so give it a directory on the disk in
 * question. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>

#include "base/check.h"
#include "base/prng.h"
#include "store/store.h"

enum { KEY_BYTES = 38, VALUE_BYTES = 260 };

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static struct bytes make_key(uint8_t key[KEY_BYTES], uint64_t n)
{
    struct prng prng;
    prng_init(&prng, n);
    for (int i = 0; i < KEY_BYTES; i++) key[i] = (uint8_t)prng_next(&prng);
    put_be16(key, (uint16_t)(n % 256)); /* the vnode */
    return bytes_of(key, KEY_BYTES);
}

static struct bytes make_value(uint8_t value[VALUE_BYTES], struct prng *prng)
{
    for (int i = 0; i + 8 <= VALUE_BYTES; i += 8) put_be64(value + i, prng_next(prng));
    return bytes_of(value, VALUE_BYTES);
}

static void report(const char *engine, const char *operation, uint64_t count, uint64_t begun_ns)
{
    double seconds = (double)(now_ns() - begun_ns) / 1e9;
    printf("%-8s %-28s %10.0f /s\n", engine, operation, (double)count / seconds);
    fflush(stdout);
}

/* @records puts of the keys from @first on, a commit and a sync after each @batch. */
static void bench_put(struct store *store, const char *engine, const char *operation, uint64_t first,
                      uint64_t records, uint64_t batch, bool merge)
{
    struct arena arena;
    struct prng prng;
    struct bytes found;
    uint8_t key[KEY_BYTES], value[VALUE_BYTES];
    arena_init(&arena, 0);
    prng_init(&prng, first);
    uint64_t begun_ns = now_ns();
    for (uint64_t i = 0; i < records; i++) {
        struct bytes k = make_key(key, first + i);
        if (merge) store_get(store, STORE_OBJECTS, k, &arena, &found);
        CHECK(store_put(store, STORE_OBJECTS, k, make_value(value, &prng)) == STATUS_OK);
        if ((i + 1) % batch != 0) continue;
        CHECK(store_commit(store) == STATUS_OK);
        CHECK(store_sync(store) == STATUS_OK);
        arena_reset(&arena);
    }
    report(engine, operation, records, begun_ns);
    arena_fini(&arena);
}

static void bench_get(struct store *store, const char *engine, uint64_t records)
{
    struct arena arena;
    struct prng prng;
    struct bytes found;
    uint8_t key[KEY_BYTES];
    arena_init(&arena, 0);
    prng_init(&prng, 7);
    uint64_t begun_ns = now_ns();
    for (uint64_t i = 0; i < records; i++) {
        CHECK(store_get(store, STORE_OBJECTS, make_key(key, prng_below(&prng, records)), &arena, &found) ==
              STATUS_OK);
        if (i % 256 == 0) arena_reset(&arena);
    }
    report(engine, "get", records, begun_ns);
    arena_fini(&arena);
}

static bool count_one(void *context, struct bytes key, struct bytes value)
{
    (void)key, (void)value;
    ++*(uint64_t *)context;
    return true;
}

static void bench(struct store *store, const char *engine, uint64_t records)
{
    bench_put(store, engine, "put, 256 a commit and sync", 0, records, 256, false);
    bench_put(store, engine, "put, 32 a commit and sync", records, records, 32, false);
    bench_put(store, engine, "put, 1 a commit and sync", 2 * records, records / 64, 1, false);
    bench_put(store, engine, "get and put, 256 a commit", 3 * records, records, 256, true);
    bench_put(store, engine, "overwrite, 256 a commit", 0, records, 256, true);
    bench_put(store, engine, "overwrite, 32 a commit", 0, records, 32, true);
    bench_get(store, engine, records);
    uint64_t counted = 0, begun_ns = now_ns();
    CHECK(store_scan(store, STORE_OBJECTS, bytes_of(NULL, 0), bytes_of(NULL, 0), count_one, &counted) ==
          STATUS_OK);
    report(engine, "scan", counted, begun_ns);
    struct store_stats stats = store_stats(store);
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    uint64_t raw = counted * (KEY_BYTES + VALUE_BYTES);
    printf("%-8s %" PRIu64 " records, raw %" PRIu64 " KB, on disk %" PRIu64 " KB (log %" PRIu64
           " KB), cache %" PRIu64 " KB, peak resident %ld KB\n",
           engine, counted, raw >> 10, stats.bytes_on_disk >> 10, stats.log_bytes >> 10,
           stats.cache_bytes >> 10, usage.ru_maxrss);
    store_close(store);
}

int main(int argc, char **argv)
{
    const char *directory = argc > 1 ? argv[1] : "/tmp";
    uint64_t records = argc > 2 ? strtoull(argv[2], NULL, 10) : 100000;
    bench(store_mem_open(), "memory", records);
    for (int lsm = 0; lsm <= 1; lsm++) {
        char path[4096], why[512];
        struct store *store;
        snprintf(path, sizeof path, "%s/store_bench.%" PRIx64, directory, prng_entropy());
        struct store_wt_options options = {.path = path,
                                           .cache_bytes = 256u << 20,
                                           .lsm = lsm != 0,
                                           .checkpoint_log_bytes = 64u << 20,
                                           .checkpoint_seconds = 30};
        if (store_wt_open(&options, why, sizeof why, &store) != STATUS_OK) {
            fprintf(stderr, "%s\n", why);
            return 1;
        }
        bench(store, lsm != 0 ? "lsm" : "btree", records);
        printf("         left in %s\n", path);
    }
    return 0;
}
