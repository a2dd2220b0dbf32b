/* Speculation: when a read asks one home more than its quorum needs, because the first are slow.
 *
 * It helps against one slow home, and ruins a cluster in which all are: each read asked twice makes all of
 * them slower, so that more reads are asked twice (scylladb#3156: from 80,000 operations a second to 300;
 * #7342). Four rules keep it from that:
 *
 *      a read waits as long as all but one in twenty answers take, at least 1 ms, at most 50 ms, first
 *      what counts is when the homes answered that were asked at first. An answer that a faster one made
 *          superfluous counts with the time until then, which is no less than the wait: so speculation never
 *          shortens the wait that it measures by
 *      each read brings a tenth of the right to one speculation, and SPECULATION_BURST are saved up at most
 *      a home that owes many answers, or can't be reached, is not asked
 *
 * A home from which nothing at all has come for SPECULATION_SILENT_NS, no heartbeat either, does no work. To
 * ask another in its place is no speculation and takes no right: the read still costs its quorum, and need
 * not wait until the home is suspected.
 *
 * A value, in integers: the same on every machine. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum {
    SPECULATION_WAIT_MIN_NS = 1000 * 1000,
    SPECULATION_WAIT_MAX_NS = 50 * 1000 * 1000,
    SPECULATION_PERCENT = 95,
    SPECULATION_SAMPLES_MIN = 64,   /* before, the wait is the longest */
    SPECULATION_SAMPLES_MAX = 2048, /* then all weigh half of what they did */
    SPECULATION_SHARE_PERCENT = 10,
    SPECULATION_BURST = 16,
    SPECULATION_SILENT_NS = 500 * 1000 * 1000,
    SPECULATION_OWED_MAX = 1024, /* who owes as many answers is not asked to spare another */
    SPECULATION_BUCKETS = 80,
};

struct speculation {
    uint32_t counts[SPECULATION_BUCKETS]; /* of answers, by microseconds: four buckets to each doubling */
    uint32_t total;
    uint32_t since; /* answers since the wait was found */
    uint32_t rights_percent;
    uint64_t wait_ns;
};

void speculation_init(struct speculation *speculation);

/* An answer came, or was not needed any more, @ns after it was asked for. */
void speculation_measure(struct speculation *speculation, uint64_t ns);

/* A read begins that may speculate. */
void speculation_earn(struct speculation *speculation);

/* Take the right to one. False: there is none. */
bool speculation_take(struct speculation *speculation);
