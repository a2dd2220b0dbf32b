/* Histogram: how long things took, in a fixed space and with a known error.
 *
 * Log-linear buckets after Gil Tene's HdrHistogram: each power of two is cut into 64 equal parts, so that a
 * percentile is at most 1.6 % above what was recorded. Values to 2^40 (18 minutes in nanoseconds); larger
 * ones count as that. */
#pragma once

#include <stdint.h>

enum {
    HISTOGRAM_PARTS_LOG2 = 6,
    HISTOGRAM_VALUE_LOG2_MAX = 40,
    HISTOGRAM_BUCKETS = (HISTOGRAM_VALUE_LOG2_MAX - HISTOGRAM_PARTS_LOG2 + 1) << HISTOGRAM_PARTS_LOG2,
};

/* Zeroed is empty and valid. */
struct histogram {
    uint64_t count;
    uint64_t sum;
    uint64_t max; /* exact */
    uint64_t buckets[HISTOGRAM_BUCKETS];
};

void histogram_record(struct histogram *histogram, uint64_t value);
void histogram_merge(struct histogram *into, const struct histogram *from);

/* The least bound that @fraction (0 to 1) of the values do not exceed, never above max. 0 when empty. */
uint64_t histogram_percentile(const struct histogram *histogram, double fraction);
