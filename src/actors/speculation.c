#include "actors/speculation.h"

enum {
    FIRST_LOG2 = 3, /* below 8 us: bucket 0 */
    RENEW = 32,     /* answers after which the wait is found anew */
};

static uint32_t bucket_of(uint64_t us)
{
    if (us < 1U << FIRST_LOG2) return 0;
    uint32_t log2 = 63 - (uint32_t)__builtin_clzll(us);
    uint32_t bucket = (log2 - FIRST_LOG2) * 4 + (uint32_t)(us >> (log2 - 2) & 3) + 1;
    return bucket < SPECULATION_BUCKETS ? bucket : SPECULATION_BUCKETS - 1;
}

/* What no answer of the bucket took longer than. */
static uint64_t bound_us(uint32_t bucket)
{
    uint32_t log2 = bucket / 4 + FIRST_LOG2, part = bucket % 4;
    return (uint64_t)(4 + part) << (log2 - 2);
}

void speculation_init(struct speculation *speculation)
{
    *speculation =
        (struct speculation){.wait_ns = SPECULATION_WAIT_MAX_NS, .rights_percent = SPECULATION_BURST * 100};
}

static void find_wait(struct speculation *speculation)
{
    uint64_t wanted = (uint64_t)speculation->total * SPECULATION_PERCENT, seen = 0;
    uint32_t bucket = 0;
    while (bucket < SPECULATION_BUCKETS - 1) {
        seen += (uint64_t)speculation->counts[bucket] * 100;
        if (seen >= wanted) break;
        bucket++;
    }
    uint64_t wait_ns = bound_us(bucket) * 1000;
    if (wait_ns < SPECULATION_WAIT_MIN_NS) wait_ns = SPECULATION_WAIT_MIN_NS;
    if (wait_ns > SPECULATION_WAIT_MAX_NS) wait_ns = SPECULATION_WAIT_MAX_NS;
    speculation->wait_ns = wait_ns;
}

void speculation_measure(struct speculation *speculation, uint64_t ns)
{
    speculation->counts[bucket_of(ns / 1000)]++;
    speculation->total++;
    speculation->since++;
    if (speculation->total >= SPECULATION_SAMPLES_MAX) {
        speculation->total = 0;
        for (uint32_t i = 0; i < SPECULATION_BUCKETS; i++) {
            speculation->counts[i] /= 2;
            speculation->total += speculation->counts[i];
        }
    }
    if (speculation->since < RENEW || speculation->total < SPECULATION_SAMPLES_MIN) return;
    speculation->since = 0;
    find_wait(speculation);
}

void speculation_earn(struct speculation *speculation)
{
    speculation->rights_percent += SPECULATION_SHARE_PERCENT;
    if (speculation->rights_percent > SPECULATION_BURST * 100)
        speculation->rights_percent = SPECULATION_BURST * 100;
}

bool speculation_take(struct speculation *speculation)
{
    if (speculation->rights_percent < 100) return false;
    speculation->rights_percent -= 100;
    return true;
}
