#include <math.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/hash.h"
#include "cli/bench.h"

enum { FILLER_BYTES = 2 * 1024 * 1024 };

static const struct bench_mix mixes[] = {
    {"put", "writes only", 100, 0, false, false, false},
    {"get", "reads only", 0, 0, false, false, false},
    {"a", "YCSB A: half reads, half writes", 50, 0, true, false, false},
    {"b", "YCSB B: 95 % reads, 5 % writes", 5, 0, true, false, false},
    {"c", "YCSB C: reads only", 0, 0, true, false, false},
    {"f", "YCSB F: half reads, half read-modify-writes", 0, 50, true, false, false},
    {"siblings", "each write carries the context of a read, on a `siblings` table", 0, 100, false, true,
     false},
};

const struct bench_mix bench_mix_load = {"load", "each record once", 100, 0, false, false, true};

const struct bench_mix *bench_mix_find(const char *name)
{
    for (size_t i = 0; i < sizeof(mixes) / sizeof(mixes[0]); i++) {
        if (strcasecmp(mixes[i].name, name) == 0) return &mixes[i];
    }
    return NULL;
}

/* YCSB's zipfian constant; the generator is Gray et al., "Quickly generating billion-record synthetic
 * databases" (SIGMOD 1994), scrambled by a hash so that the popular records lie all over the ring. */
static const double zipfian_theta = 0.99;

double bench_zeta(uint64_t records)
{
    double sum = 0;
    for (uint64_t i = 1; i <= records; i++) sum += pow(1.0 / (double)i, zipfian_theta);
    return sum;
}

void bench_keys_init(struct bench_keys *keys, uint64_t records, bool zipfian, double zeta, uint64_t seed)
{
    *keys = (struct bench_keys){.records = records, .zipfian = zipfian};
    prng_init(&keys->prng, seed);
    if (!zipfian) return;
    keys->theta = zipfian_theta;
    keys->zeta = zeta;
    keys->alpha = 1.0 / (1.0 - keys->theta);
    double zeta2 = 1.0 + pow(0.5, keys->theta);
    keys->eta = (1.0 - pow(2.0 / (double)records, 1.0 - keys->theta)) / (1.0 - zeta2 / zeta);
    keys->half = 1.0 + pow(0.5, keys->theta);
}

uint64_t bench_keys_next(struct bench_keys *keys)
{
    if (!keys->zipfian) return prng_below(&keys->prng, keys->records);
    double u = (double)(prng_next(&keys->prng) >> 11) * 0x1.0p-53;
    double uz = u * keys->zeta;
    uint64_t rank;
    if (uz < 1.0)
        rank = 0;
    else if (uz < keys->half)
        rank = 1;
    else
        rank = (uint64_t)((double)keys->records * pow(keys->eta * u - keys->eta + 1.0, keys->alpha));
    return hash64(bytes_of(&rank, sizeof(rank)), 0) % keys->records;
}

void bench_key_write(uint8_t *to, uint32_t size, uint64_t record)
{
    static const char prefix[4] = "user";
    uint32_t at = size;
    uint32_t digits_from = size > 16 ? 4 : 0;
    for (; at > digits_from; record /= 10) to[--at] = (uint8_t)('0' + record % 10);
    for (uint32_t i = 0; i < digits_from; i++) to[i] = (uint8_t)prefix[i];
}

static uint8_t *filler;

void bench_value_init(uint64_t seed)
{
    if (filler == NULL) filler = malloc(FILLER_BYTES);
    CHECK(filler != NULL);
    struct prng prng;
    prng_init(&prng, seed);
    for (size_t i = 0; i < FILLER_BYTES; i += 8) {
        uint64_t random = prng_next(&prng);
        memcpy(filler + i, &random, 8);
    }
}

static uint64_t value_hash(const uint8_t *value, size_t size)
{
    uint64_t head[2];
    memcpy(head, value, sizeof(head));
    return hash64(bytes_of(value + BENCH_VALUE_HEADER_BYTES, size - BENCH_VALUE_HEADER_BYTES),
                  head[0] ^ head[1] * 31);
}

void bench_value_write(uint8_t *to, uint32_t size, uint64_t record, uint64_t sequence, struct prng *prng)
{
    uint64_t offset = prng_next(prng) % (FILLER_BYTES - size);
    memcpy(to, filler + offset, size);
    if (size < BENCH_VALUE_HEADER_BYTES) return;
    memcpy(to, &record, 8);
    memcpy(to + 8, &sequence, 8);
    uint64_t hash = value_hash(to, size);
    memcpy(to + 16, &hash, 8);
}

bool bench_value_good(const uint8_t *value, size_t size, uint64_t record)
{
    if (size < BENCH_VALUE_HEADER_BYTES) return false;
    uint64_t found, hash;
    memcpy(&found, value, 8);
    memcpy(&hash, value + 16, 8);
    return found == record && hash == value_hash(value, size);
}
