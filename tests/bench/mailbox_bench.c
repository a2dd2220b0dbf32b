/* Which nng pattern carries mail between cores best: mailbox_bench [MESSAGES]
 *
 * Three ways to build one inbox with many writers over inproc, each received as a shard does it: in an epoll
 * loop on NNG_OPT_RECVFD, drained with one kept aio until there is nothing more.
 *
 *      PUSH/PULL     one PULL, each writer a PUSH
 *      raw REQ/REP   one raw REP, each writer a raw REQ that puts the 4-byte id in front by itself
 *      PAIR0         the reader has a PAIR0 (and a descriptor) for each writer
 *
 * At rest: one message, sent to received, while nothing else goes on. Under load: 1 and 4 writers that send
 * as fast as the queue takes it, one 64-byte message in an nng message and 64 of them in one. The result is
 * in src/runtime/README.md. */
#include <inttypes.h>
#include <nng/nng.h>
#include <nng/protocol/pair0/pair.h>
#include <nng/protocol/pipeline0/pull.h>
#include <nng/protocol/pipeline0/push.h>
#include <nng/protocol/reqrep0/rep.h>
#include <nng/protocol/reqrep0/req.h>
#include <nng/supplemental/util/platform.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/check.h"

enum { WRITERS_MAX = 4, MESSAGE_BYTES = 64, ID_BYTES = 4, BUFFER = 128, RESTS = 2000 };

struct pattern {
    const char *name;
    int (*open_reader)(nng_socket *);
    int (*open_writer)(nng_socket *);
    bool socket_per_writer; /* at the reader */
    bool id;                /* a message begins with a request id */
};

static const struct pattern patterns[] = {
    {"PUSH/PULL", nng_pull0_open, nng_push0_open, false, false},
    {"raw REQ/REP", nng_rep0_open_raw, nng_req0_open_raw, false, true},
    {"PAIR0", nng_pair0_open, nng_pair0_open, true, false},
};

struct bench {
    const struct pattern *pattern;
    uint32_t writers;
    uint32_t batch; /* messages in an nng message */
    uint64_t count; /* nng messages of each writer */
    nng_socket readers[WRITERS_MAX], senders[WRITERS_MAX];
    nng_aio *aio;
    int epoll;
};

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static double cpu_seconds(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
           (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static void bench_open(struct bench *b)
{
    static int run;
    char url[64];
    b->epoll = epoll_create1(0);
    CHECK(nng_aio_alloc(&b->aio, NULL, NULL) == 0);
    nng_aio_set_timeout(b->aio, NNG_DURATION_ZERO);
    for (uint32_t i = 0; i < b->writers; i++) {
        if (i == 0 || b->pattern->socket_per_writer) {
            int fd;
            snprintf(url, sizeof(url), "inproc://bench-%d", ++run);
            CHECK(b->pattern->open_reader(&b->readers[i]) == 0);
            nng_socket_set_int(b->readers[i], NNG_OPT_RECVBUF, BUFFER); /* PULL has none */
            CHECK(nng_listen(b->readers[i], url, NULL, 0) == 0);
            CHECK(nng_socket_get_int(b->readers[i], NNG_OPT_RECVFD, &fd) == 0);
            struct epoll_event event = {.events = EPOLLIN, .data.u32 = i};
            CHECK(epoll_ctl(b->epoll, EPOLL_CTL_ADD, fd, &event) == 0);
        }
        CHECK(b->pattern->open_writer(&b->senders[i]) == 0);
        nng_socket_set_int(b->senders[i], NNG_OPT_SENDBUF, BUFFER);
        CHECK(nng_dial(b->senders[i], url, NULL, 0) == 0);
    }
    nng_msleep(20);
}

static void bench_close(struct bench *b)
{
    for (uint32_t i = 0; i < b->writers; i++) {
        nng_close(b->senders[i]);
        if (i == 0 || b->pattern->socket_per_writer) nng_close(b->readers[i]);
    }
    nng_aio_free(b->aio);
    close(b->epoll);
}

static void send_one(const struct bench *b, uint32_t writer, nng_aio *aio)
{
    nng_msg *msg;
    size_t head = b->pattern->id ? ID_BYTES : 0;
    CHECK(nng_msg_alloc(&msg, head + MESSAGE_BYTES * b->batch) == 0);
    uint8_t *to = nng_msg_body(msg);
    if (head > 0) put_be32(to, 0x80000001u);
    memset(to + head, (int)writer, MESSAGE_BYTES * b->batch);
    put_be64(to + head, now_ns());
    nng_aio_set_msg(aio, msg);
    nng_send_aio(b->senders[writer], aio);
    nng_aio_wait(aio);
    CHECK(nng_aio_result(aio) == 0);
}

/* Wait, then drain what is there. Returns the nng messages; the latency of the last in *ns. */
static uint64_t drain(struct bench *b, uint64_t *ns)
{
    struct epoll_event events[WRITERS_MAX];
    uint64_t taken = 0;
    int ready = epoll_wait(b->epoll, events, WRITERS_MAX, 1000);
    for (int i = 0; i < ready; i++) {
        for (;;) {
            nng_recv_aio(b->readers[events[i].data.u32], b->aio);
            nng_aio_wait(b->aio);
            if (nng_aio_result(b->aio) != 0) break;
            nng_msg *msg = nng_aio_get_msg(b->aio);
            *ns = now_ns() - get_be64(nng_msg_body(msg));
            nng_msg_free(msg);
            taken++;
        }
    }
    return taken;
}

struct writer {
    struct bench *bench;
    uint32_t index;
};

static void *write_all(void *argument)
{
    struct writer *w = argument;
    nng_aio *aio;
    CHECK(nng_aio_alloc(&aio, NULL, NULL) == 0);
    for (uint64_t i = 0; i < w->bench->count; i++) send_one(w->bench, w->index, aio);
    nng_aio_free(aio);
    return NULL;
}

static void under_load(const struct pattern *pattern, uint32_t writers, uint32_t batch, uint64_t messages)
{
    struct bench b = {
        .pattern = pattern, .writers = writers, .batch = batch, .count = messages / batch / writers};
    struct writer w[WRITERS_MAX];
    pthread_t threads[WRITERS_MAX];
    bench_open(&b);
    double cpu = cpu_seconds();
    uint64_t begun = now_ns(), got = 0, ns;
    for (uint32_t i = 0; i < writers; i++) {
        w[i] = (struct writer){&b, i};
        pthread_create(&threads[i], NULL, write_all, &w[i]);
    }
    while (got < b.count * writers) got += drain(&b, &ns);
    double seconds = (double)(now_ns() - begun) / 1e9;
    cpu = cpu_seconds() - cpu;
    for (uint32_t i = 0; i < writers; i++) pthread_join(threads[i], NULL);
    printf(
        "%-12s load     %u writers, %2u a batch  %10.0f messages/s  %8.0f batches/s  %5.1f us CPU a batch\n",
        pattern->name, writers, batch, (double)(got * batch) / seconds, (double)got / seconds,
        cpu * 1e6 / (double)got);
    fflush(stdout);
    bench_close(&b);
}

static int by_size(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static void *write_slowly(void *argument)
{
    struct writer *w = argument;
    nng_aio *aio;
    CHECK(nng_aio_alloc(&aio, NULL, NULL) == 0);
    for (uint64_t i = 0; i < w->bench->count; i++) {
        nng_msleep(1);
        send_one(w->bench, w->index, aio);
    }
    nng_aio_free(aio);
    return NULL;
}

static void at_rest(const struct pattern *pattern, uint32_t batch)
{
    static uint64_t ns[RESTS];
    struct bench b = {.pattern = pattern, .writers = 1, .batch = batch, .count = RESTS};
    struct writer w = {&b, 0};
    pthread_t thread;
    bench_open(&b);
    double cpu = cpu_seconds();
    pthread_create(&thread, NULL, write_slowly, &w);
    for (uint64_t i = 0; i < RESTS;) {
        uint64_t last = 0, taken = drain(&b, &last);
        for (; taken > 0; taken--) ns[i++] = last;
    }
    cpu = cpu_seconds() - cpu;
    pthread_join(thread, NULL);
    qsort(ns, RESTS, sizeof(ns[0]), by_size);
    printf("%-12s at rest  1 writer,  %2u a batch  p50 %6.1f us  p99 %6.1f us  %5.1f us CPU a batch\n",
           pattern->name, batch, (double)ns[RESTS / 2] / 1e3, (double)ns[RESTS * 99 / 100] / 1e3,
           cpu * 1e6 / RESTS);
    fflush(stdout);
    bench_close(&b);
}

int main(int argc, char **argv)
{
    uint64_t messages = argc > 1 ? strtoull(argv[1], NULL, 10) : 200000;
    for (size_t p = 0; p < sizeof(patterns) / sizeof(patterns[0]); p++) {
        at_rest(&patterns[p], 1);
        at_rest(&patterns[p], 64);
        for (uint32_t writers = 1; writers <= WRITERS_MAX; writers += 3) {
            under_load(&patterns[p], writers, 1, messages);
            under_load(&patterns[p], writers, 64, messages * 16);
        }
    }
    return 0;
}
