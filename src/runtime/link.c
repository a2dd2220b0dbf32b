#include "runtime/link.h"

#include <nng/nng.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/prng.h"

enum state { WAITING, DIALLING, GREETING, LISTENING, UP };

/* One operation of nng: under way, ended and not looked at, or neither. */
struct operation {
    nng_aio *aio;
    bool under_way; /* the shard's thread alone reads and writes it */
    atomic_bool ended;
    struct link *link;
};

struct link {
    struct link_options options;
    char *address;
    struct prng prng;
    enum state state;
    uint64_t next_ns; /* WAITING: dial then. Until UP: give up then. */
    uint64_t pause_ns;
    char trouble[192];

    nng_stream_dialer *dialer;
    nng_stream *stream;
    struct operation dial, send, receive;

    struct buffer batch;
    uint8_t header[FRAME_HEADER_BYTES];
    size_t sent; /* of header and batch together */
    uint8_t hello[PEER_HELLO_FRAME_BYTES];
    size_t hello_bytes;
    uint8_t input[PEER_HELLO_FRAME_BYTES];
    size_t input_bytes;
};

/* On one of nng's threads. */
static void on_end(void *argument)
{
    struct operation *operation = argument;
    struct link *link = operation->link;
    atomic_store_explicit(&operation->ended, true, memory_order_release);
    link->options.wake(link->options.context);
}

static bool operation_alloc(struct operation *operation, struct link *link)
{
    operation->link = link;
    return nng_aio_alloc(&operation->aio, on_end, operation) == 0;
}

static void operation_begin(struct operation *operation)
{
    CHECK(!operation->under_way);
    operation->under_way = true;
    atomic_store_explicit(&operation->ended, false, memory_order_relaxed);
}

/* Has it ended since the last look? *result is nng's error then. */
static bool operation_end(struct operation *operation, int *result)
{
    if (!operation->under_way || !atomic_load_explicit(&operation->ended, memory_order_acquire)) return false;
    operation->under_way = false;
    *result = nng_aio_result(operation->aio);
    return true;
}

/* Cancel it and wait for its callback. */
static void operation_stop(struct operation *operation)
{
    if (operation->aio == NULL) return;
    nng_aio_cancel(operation->aio);
    nng_aio_wait(operation->aio);
    operation->under_way = false;
}

struct link *link_alloc(const struct link_options *options)
{
    struct link *link = calloc(1, sizeof(*link));
    CHECK(link != NULL);
    link->options = *options;
    link->address = strdup(options->address);
    CHECK(link->address != NULL);
    link->pause_ns = LINK_PAUSE_NS_MIN;
    prng_init(&link->prng, options->seed);
    if (nng_stream_dialer_alloc(&link->dialer, link->address) != 0 || !operation_alloc(&link->dial, link) ||
        !operation_alloc(&link->send, link) || !operation_alloc(&link->receive, link)) {
        link_free(link);
        return NULL;
    }
    return link;
}

/* Close the stream; every operation on it has ended afterwards. */
static void hang_up(struct link *link)
{
    operation_stop(&link->dial);
    if (link->state == DIALLING && nng_aio_result(link->dial.aio) == 0)
        link->stream = nng_aio_get_output(link->dial.aio, 0);
    if (link->stream == NULL) return;
    nng_stream_close(link->stream);
    operation_stop(&link->send);
    operation_stop(&link->receive);
    nng_stream_free(link->stream);
    link->stream = NULL;
}

void link_free(struct link *link)
{
    if (link->dialer != NULL) nng_stream_dialer_close(link->dialer);
    hang_up(link);
    if (link->dial.aio != NULL) nng_aio_free(link->dial.aio);
    if (link->send.aio != NULL) nng_aio_free(link->send.aio);
    if (link->receive.aio != NULL) nng_aio_free(link->receive.aio);
    if (link->dialer != NULL) nng_stream_dialer_free(link->dialer);
    buffer_fini(&link->batch);
    free(link->address);
    free(link);
}

/* The link is lost, or does not come about: try again after a pause. */
static void give_up(struct link *link, uint64_t now_ns, const char *why)
{
    snprintf(link->trouble, sizeof(link->trouble), "%s", why);
    hang_up(link);
    link->state = WAITING;
    link->next_ns = now_ns + link->pause_ns / 2 + prng_below(&link->prng, link->pause_ns);
    link->pause_ns = link->pause_ns * 2 < LINK_PAUSE_NS_MAX ? link->pause_ns * 2 : LINK_PAUSE_NS_MAX;
    buffer_clear(&link->batch);
}

static void dial(struct link *link, uint64_t now_ns)
{
    link->state = DIALLING;
    link->next_ns = now_ns + LINK_GREETING_MS_MAX * 1000000ULL;
    operation_begin(&link->dial);
    nng_stream_dialer_dial(link->dialer, link->dial.aio);
}

static void send_rest(struct link *link, const uint8_t *head, size_t head_bytes, const uint8_t *body,
                      size_t body_bytes)
{
    nng_iov iov[2];
    unsigned count = 0;
    if (link->sent < head_bytes)
        iov[count++] =
            (nng_iov){.iov_buf = (void *)(uintptr_t)(head + link->sent), .iov_len = head_bytes - link->sent};
    size_t skip = link->sent > head_bytes ? link->sent - head_bytes : 0;
    if (body_bytes > skip)
        iov[count++] = (nng_iov){.iov_buf = (void *)(uintptr_t)(body + skip), .iov_len = body_bytes - skip};
    CHECK(nng_aio_set_iov(link->send.aio, count, iov) == 0);
    operation_begin(&link->send);
    nng_stream_send(link->stream, link->send.aio);
}

static void receive_more(struct link *link)
{
    nng_iov iov = {.iov_buf = link->input + link->input_bytes,
                   .iov_len = sizeof(link->input) - link->input_bytes};
    CHECK(nng_aio_set_iov(link->receive.aio, 1, &iov) == 0);
    operation_begin(&link->receive);
    nng_stream_recv(link->stream, link->receive.aio);
}

static void greet(struct link *link)
{
    struct peer_hello hello = {
        .from = link->options.self, .from_shard = link->options.shard, .to_shard = link->options.shard};
    link->stream = nng_aio_get_output(link->dial.aio, 0);
    link->hello_bytes = peer_hello_frame(&hello, link->hello);
    link->sent = link->input_bytes = 0;
    link->state = GREETING;
    send_rest(link, link->hello, link->hello_bytes, NULL, 0);
    receive_more(link);
}

/* The peer's hello, as far as it has come. */
static void listen_hello(struct link *link, uint64_t now_ns)
{
    struct peer_hello hello;
    size_t used;
    const char *why;
    char refused[sizeof(hello.refused)] = "";
    switch (peer_hello_read(bytes_of(link->input, link->input_bytes), &hello, &used, &why)) {
    case STATUS_NOT_FOUND:
        receive_more(link);
        return;
    case STATUS_OK:
        break;
    default:
        give_up(link, now_ns, why);
        return;
    }
    if (hello.refused[0] != '\0') {
        char text[192];
        snprintf(text, sizeof(text), "it refuses us: %s", hello.refused);
        give_up(link, now_ns, text);
    } else if (!peer_hello_fits(&link->options.self, &hello, refused, sizeof(refused))) {
        give_up(link, now_ns, refused);
    } else if (hello.from.node != link->options.peer) {
        give_up(link, now_ns, "another node answers at its address");
    } else if (used != link->input_bytes) {
        give_up(link, now_ns, "it sends more than its hello");
    } else {
        link->state = UP;
        link->pause_ns = LINK_PAUSE_NS_MIN;
        link->next_ns = UINT64_MAX;
        link->trouble[0] = '\0';
        link->input_bytes = 0;
        receive_more(link);
    }
}

static void step_dial(struct link *link, uint64_t now_ns)
{
    int result;
    if (!operation_end(&link->dial, &result)) return;
    if (result == 0)
        greet(link);
    else
        give_up(link, now_ns, nng_strerror(result));
}

static void step_send(struct link *link, uint64_t now_ns)
{
    int result;
    if (!operation_end(&link->send, &result)) return;
    if (result != 0) {
        give_up(link, now_ns, nng_strerror(result));
        return;
    }
    link->sent += nng_aio_count(link->send.aio);
    if (link->state == GREETING) {
        if (link->sent < link->hello_bytes)
            send_rest(link, link->hello, link->hello_bytes, NULL, 0);
        else
            link->state = LISTENING;
    } else if (link->sent < FRAME_HEADER_BYTES + link->batch.size) {
        send_rest(link, link->header, FRAME_HEADER_BYTES, link->batch.data, link->batch.size);
    } else {
        buffer_clear(&link->batch);
    }
}

static void step_receive(struct link *link, uint64_t now_ns)
{
    /* A hello that has come before ours was sent is looked at when it was. */
    int result;
    if (link->state == GREETING || !operation_end(&link->receive, &result)) return;
    if (result != 0) {
        give_up(link, now_ns,
                result == NNG_ECLOSED || result == NNG_ECONNSHUT ? "it hung up" : nng_strerror(result));
        return;
    }
    link->input_bytes += nng_aio_count(link->receive.aio);
    if (link->state == UP)
        give_up(link, now_ns, "it sends on a link that is ours to send on");
    else
        listen_hello(link, now_ns);
}

void link_step(struct link *link, uint64_t now_ns)
{
    if (link->state == WAITING && now_ns >= link->next_ns) dial(link, now_ns);
    if (link->state == DIALLING) step_dial(link, now_ns);
    if (link->state >= GREETING) step_send(link, now_ns);
    if (link->state >= GREETING) step_receive(link, now_ns);
    if (link->state != WAITING && link->state != UP && now_ns >= link->next_ns)
        give_up(link, now_ns, "it did not answer within 5 seconds");
}

uint64_t link_next_ns(const struct link *link)
{
    return link->next_ns;
}

bool link_up(const struct link *link)
{
    return link->state == UP;
}

bool link_ready(const struct link *link)
{
    return link->state == UP && !link->send.under_way;
}

void link_send(struct link *link, struct buffer *batch)
{
    CHECK(link_ready(link));
    CHECK(link->batch.size == 0);
    CHECK(batch->size >= 1);
    CHECK(batch->size <= FRAME_PEER_BYTES_MAX);
    struct buffer empty = link->batch;
    link->batch = *batch;
    *batch = empty;
    frame_header(link->header, link->batch.size);
    link->sent = 0;
    send_rest(link, link->header, FRAME_HEADER_BYTES, link->batch.data, link->batch.size);
}

const char *link_trouble(const struct link *link)
{
    return link->trouble;
}
