#include "base/histogram.h"

enum { PARTS = 1 << HISTOGRAM_PARTS_LOG2 };

/* Below 64 a value is its own bucket; above, the bits under the upper seven are dropped. */
static unsigned bucket_of(uint64_t value)
{
    if (value < PARTS) return (unsigned)value;
    if (value >= 1ULL << HISTOGRAM_VALUE_LOG2_MAX) return HISTOGRAM_BUCKETS - 1;
    unsigned log2 = 63 - (unsigned)__builtin_clzll(value);
    unsigned shift = log2 - HISTOGRAM_PARTS_LOG2;
    return ((shift + 1) << HISTOGRAM_PARTS_LOG2) + (unsigned)(value >> shift) - PARTS;
}

/* The largest value that falls into @bucket. */
static uint64_t bucket_bound(unsigned bucket)
{
    if (bucket < PARTS) return bucket;
    unsigned shift = (bucket >> HISTOGRAM_PARTS_LOG2) - 1;
    uint64_t part = (bucket & (PARTS - 1)) + PARTS;
    return ((part + 1) << shift) - 1;
}

void histogram_record(struct histogram *histogram, uint64_t value)
{
    histogram->count++;
    histogram->sum += value;
    if (value > histogram->max) histogram->max = value;
    histogram->buckets[bucket_of(value)]++;
}

void histogram_merge(struct histogram *into, const struct histogram *from)
{
    into->count += from->count;
    into->sum += from->sum;
    if (from->max > into->max) into->max = from->max;
    for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) into->buckets[i] += from->buckets[i];
}

uint64_t histogram_percentile(const struct histogram *histogram, double fraction)
{
    double wanted = fraction * (double)histogram->count;
    uint64_t seen = 0;
    for (unsigned i = 0; i < HISTOGRAM_BUCKETS - 1; i++) {
        seen += histogram->buckets[i];
        if (seen == 0 || (double)seen < wanted) continue;
        uint64_t bound = bucket_bound(i);
        return bound < histogram->max ? bound : histogram->max;
    }
    return histogram->max;
}
