#include "actors/governor.h"

static const uint64_t second_ns = 1000000000;
static const int64_t million = 1000000;

static int64_t burst_bytes(const struct governor *governor)
{
    return (int64_t)(governor->rate * GOVERNOR_BURST_MS / 1000);
}

static int64_t burst_micromessages(const struct governor *governor)
{
    return burst_bytes(governor) * million / GOVERNOR_BYTES_OF_A_MESSAGE;
}

void governor_init(struct governor *governor)
{
    *governor = (struct governor){.rate = GOVERNOR_BYTES_START};
    governor->bytes = burst_bytes(governor);
    governor->micromessages = burst_micromessages(governor);
}

static void fill(struct governor *governor, uint64_t now_ns)
{
    if (now_ns <= governor->filled_ns) return;
    uint64_t passed_ns = now_ns - governor->filled_ns;
    /* A bucket in debt is filled within the time that its debt takes, however long that is. */
    uint64_t most_ns = 3600 * second_ns;
    uint64_t passed_us = (passed_ns < most_ns ? passed_ns : most_ns) / 1000;
    if (passed_us == 0) return;
    governor->filled_ns += passed_ns < most_ns ? passed_us * 1000 : passed_ns;
    int64_t bytes = (int64_t)(governor->rate * passed_us / 1000000);
    governor->bytes += bytes;
    governor->micromessages += (int64_t)(governor->rate * passed_us / GOVERNOR_BYTES_OF_A_MESSAGE);
    if (governor->bytes > burst_bytes(governor)) governor->bytes = burst_bytes(governor);
    if (governor->micromessages > burst_micromessages(governor))
        governor->micromessages = burst_micromessages(governor);
}

bool governor_may(struct governor *governor, uint64_t now_ns)
{
    fill(governor, now_ns);
    return governor->bytes > 0 && governor->micromessages > 0;
}

uint64_t governor_when(struct governor *governor, uint64_t now_ns)
{
    if (governor_may(governor, now_ns)) return now_ns;
    uint64_t bytes_us = 0, messages_us = 0;
    if (governor->bytes <= 0) bytes_us = (uint64_t)(1 - governor->bytes) * 1000000 / governor->rate;
    if (governor->micromessages <= 0)
        messages_us = (uint64_t)(1 - governor->micromessages) * GOVERNOR_BYTES_OF_A_MESSAGE / governor->rate;
    uint64_t wait_us = (bytes_us > messages_us ? bytes_us : messages_us) + 1;
    return now_ns + wait_us * 1000;
}

void governor_spend(struct governor *governor, size_t bytes, uint32_t messages)
{
    governor->bytes -= (int64_t)bytes;
    governor->micromessages -= (int64_t)messages * million;
}

/* What is left of @now, where @before was the bucket: below @least only as far as it was before. */
static int64_t at_least(int64_t now, int64_t before, int64_t least)
{
    if (now >= least) return now;
    return before < least ? before : least;
}

void governor_forgive(struct governor *governor, const struct governor *before)
{
    int64_t second = (int64_t)governor->rate;
    governor->bytes = at_least(governor->bytes, before->bytes, -second);
    governor->micromessages = at_least(governor->micromessages, before->micromessages,
                                       -(second * million / GOVERNOR_BYTES_OF_A_MESSAGE));
}

void governor_observe(struct governor *governor, uint64_t now_ns, const struct governor_load *load)
{
    if (governor->observed_ns != 0 && now_ns < governor->observed_ns + GOVERNOR_OBSERVE_NS) return;
    fill(governor, now_ns);
    governor->observed_ns = now_ns;
    bool busy = load->mail_bytes > GOVERNOR_BUSY_MAIL_BYTES || load->operations > GOVERNOR_BUSY_OPERATIONS ||
                load->wait_ns > GOVERNOR_BUSY_WAIT_NS || load->lag_ns > GOVERNOR_BUSY_LAG_NS;
    governor->rate = busy ? governor->rate / 2 : governor->rate + governor->rate / 10;
    if (governor->rate < GOVERNOR_BYTES_FLOOR) governor->rate = GOVERNOR_BYTES_FLOOR;
    if (governor->rate > GOVERNOR_BYTES_CEILING) governor->rate = GOVERNOR_BYTES_CEILING;
}
