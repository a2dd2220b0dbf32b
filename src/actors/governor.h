/* Governor: what background work may take of a shard: hints going home, anti-entropy, fills and audits all
 * ask one token bucket, in bytes and in messages a second. Clients come first.
 *
 * The loop is closed: whoever does background work tells the governor now and then how busy the shard is
 * (governor_observe). Busy halves both rates, a quiet shard lets them rise by a tenth, and both stay between
 * a floor, so that repair never stands still, and a ceiling. So the rate falls within a second and comes back
 * within five (additive increase and multiplicative decrease, as TCP has it, but for the rise, which has to
 * cross two orders of magnitude).
 *
 * What other shards ask for (antientropy.h) has a bucket of its own, of the same rate: neither may keep the
 * other standing still. It is served at once, but who asked is told how long to rest before it asks again,
 * until what it took is paid for; and a busy shard gives it little at a time (governor_slice).
 *
 * Whoever waits for the bucket looks again after GOVERNOR_OBSERVE_NS at the latest, or the rate would stay
 * what it was when the debt was made.
 *
 *      governor_may           is there anything in the bucket?
 *      governor_spend         what it came to: the bucket may go below nothing, and is then waited for
 *      governor_serve         the same of what another shard asked for; it is the one to wait
 *
 * No thread, no clock: a value that is told the time of the turn. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    GOVERNOR_BYTES_FLOOR = 1024 * 1024, /* a second */
    GOVERNOR_BYTES_START = 8 * 1048576,
    GOVERNOR_BYTES_CEILING = 64 * 1048576,
    GOVERNOR_BYTES_OF_A_MESSAGE = 4096, /* messages a second are the bytes divided by this: 256 to 16,384 */
    GOVERNOR_OBSERVE_NS = 100 * 1000 * 1000, /* looks between which less time has passed count as one */
    GOVERNOR_BURST_MS = 20,                  /* what a bucket holds at most: who comes next waits for it */
    GOVERNOR_REST_MS_MAX = 1000,             /* who asks need not rest for longer, however much all ask for */
};

/* When a shard counts as busy. */
enum {
    GOVERNOR_BUSY_MAIL_BYTES = 512 * 1024,
    GOVERNOR_BUSY_OPERATIONS = 256,
    GOVERNOR_BUSY_WAIT_NS = 10 * 1000 * 1000,
    GOVERNOR_BUSY_LAG_NS = 20 * 1000 * 1000,
};

struct bucket {
    int64_t bytes;
    int64_t micromessages; /* messages, times a million */
    uint64_t filled_ns;    /* until when it is filled */
};

struct governor {
    uint64_t rate; /* bytes a second */
    struct bucket own, served;
    uint64_t observed_ns;
    bool busy; /* it was, since */
};

struct governor_load {
    size_t mail_bytes;   /* that wait for this shard */
    uint64_t wait_ns;    /* how long the oldest of it has */
    uint64_t operations; /* of clients, under way */
    uint64_t lag_ns;     /* how late a timer fired */
};

void governor_init(struct governor *governor);

/* May work begin at @now_ns? */
bool governor_may(struct governor *governor, uint64_t now_ns);

/* When it may, if nobody else comes before: @now_ns or later. */
uint64_t governor_when(struct governor *governor, uint64_t now_ns);

/* So much was done. */
void governor_spend(struct governor *governor, size_t bytes, uint32_t messages);

/* So much was done for another shard. How long is it to rest now, in ms? No longer than
 * GOVERNOR_REST_MS_MAX: more than that is not owed. */
uint32_t governor_serve(struct governor *governor, uint64_t now_ns, size_t bytes);

/* How many bytes it is given at once, at most. */
size_t governor_slice(const struct governor *governor);

/* How busy the shard is; the worst of what was said counts every GOVERNOR_OBSERVE_NS. */
void governor_observe(struct governor *governor, uint64_t now_ns, const struct governor_load *load);
