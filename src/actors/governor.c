#include "actors/governor.h"

static const uint64_t second_ns = 1000000000;
static const int64_t million = 1000000;

static int64_t burst_bytes(const struct governor *governor)
{
    return (int64_t)(governor->rate * GOVERNOR_BURST_MS / 1000);
}

static int64_t messages_of(int64_t bytes)
{
    return bytes * million / GOVERNOR_BYTES_OF_A_MESSAGE;
}

void governor_init(struct governor *governor)
{
    *governor = (struct governor){.rate = GOVERNOR_BYTES_START};
    governor->own.bytes = burst_bytes(governor);
    governor->own.micromessages = messages_of(burst_bytes(governor));
    governor->served = governor->own;
}

static void fill(const struct governor *governor, struct bucket *bucket, uint64_t now_ns)
{
    if (now_ns <= bucket->filled_ns) return;
    uint64_t passed_ns = now_ns - bucket->filled_ns;
    /* A bucket in debt is filled within the time that its debt takes, however long that is. */
    uint64_t most_ns = 3600 * second_ns;
    uint64_t passed_us = (passed_ns < most_ns ? passed_ns : most_ns) / 1000;
    if (passed_us == 0) return;
    bucket->filled_ns += passed_ns < most_ns ? passed_us * 1000 : passed_ns;
    int64_t most = burst_bytes(governor);
    bucket->bytes += (int64_t)(governor->rate * passed_us / 1000000);
    bucket->micromessages += (int64_t)(governor->rate * passed_us / GOVERNOR_BYTES_OF_A_MESSAGE);
    if (bucket->bytes > most) bucket->bytes = most;
    if (bucket->micromessages > messages_of(most)) bucket->micromessages = messages_of(most);
}

/* Until there is something in it again. */
static uint64_t wait_us(const struct governor *governor, const struct bucket *bucket)
{
    uint64_t bytes_us = 0, messages_us = 0;
    if (bucket->bytes > 0 && bucket->micromessages > 0) return 0;
    if (bucket->bytes <= 0) bytes_us = (uint64_t)(1 - bucket->bytes) * 1000000 / governor->rate;
    if (bucket->micromessages <= 0)
        messages_us = (uint64_t)(1 - bucket->micromessages) * GOVERNOR_BYTES_OF_A_MESSAGE / governor->rate;
    return (bytes_us > messages_us ? bytes_us : messages_us) + 1;
}

static void spend(struct bucket *bucket, size_t bytes, uint32_t messages)
{
    bucket->bytes -= (int64_t)bytes;
    bucket->micromessages -= (int64_t)messages * million;
}

bool governor_may(struct governor *governor, uint64_t now_ns)
{
    fill(governor, &governor->own, now_ns);
    return wait_us(governor, &governor->own) == 0;
}

uint64_t governor_when(struct governor *governor, uint64_t now_ns)
{
    fill(governor, &governor->own, now_ns);
    return now_ns + wait_us(governor, &governor->own) * 1000;
}

void governor_spend(struct governor *governor, size_t bytes, uint32_t messages)
{
    spend(&governor->own, bytes, messages);
}

uint32_t governor_serve(struct governor *governor, uint64_t now_ns, size_t bytes)
{
    struct bucket *bucket = &governor->served;
    int64_t least = -(int64_t)(governor->rate / 1000 * GOVERNOR_REST_MS_MAX);
    fill(governor, bucket, now_ns);
    spend(bucket, bytes, 1);
    if (bucket->bytes < least) bucket->bytes = least;
    if (bucket->micromessages < messages_of(least)) bucket->micromessages = messages_of(least);
    uint64_t rest_ms = (wait_us(governor, bucket) + 999) / 1000;
    return rest_ms < GOVERNOR_REST_MS_MAX ? (uint32_t)rest_ms : GOVERNOR_REST_MS_MAX;
}

size_t governor_slice(const struct governor *governor)
{
    return (size_t)burst_bytes(governor);
}

void governor_observe(struct governor *governor, uint64_t now_ns, const struct governor_load *load)
{
    governor->busy |= load->mail_bytes > GOVERNOR_BUSY_MAIL_BYTES ||
                      load->operations > GOVERNOR_BUSY_OPERATIONS || load->wait_ns > GOVERNOR_BUSY_WAIT_NS ||
                      load->lag_ns > GOVERNOR_BUSY_LAG_NS;
    if (governor->observed_ns != 0 && now_ns < governor->observed_ns + GOVERNOR_OBSERVE_NS) return;
    fill(governor, &governor->own, now_ns);
    fill(governor, &governor->served, now_ns);
    governor->observed_ns = now_ns;
    governor->rate = governor->busy ? governor->rate / 2 : governor->rate + governor->rate / 10;
    governor->busy = false;
    if (governor->rate < GOVERNOR_BYTES_FLOOR) governor->rate = GOVERNOR_BYTES_FLOOR;
    if (governor->rate > GOVERNOR_BYTES_CEILING) governor->rate = GOVERNOR_BYTES_CEILING;
}
