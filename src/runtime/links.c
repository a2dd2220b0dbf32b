#include "runtime/links.h"

#include <inttypes.h>
#include <nng/nng.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/backoff.h"
#include "base/check.h"
#include "base/log.h"
#include "base/prng.h"

enum link_state { LINK_DOWN, LINK_DIALLING, LINK_HELLO, LINK_UP };
enum send_state { SEND_IDLE, SEND_BUSY, SEND_BUSY_AND_MORE, SEND_FAILED };

enum { NAME_BYTES = 64, ADDRESS_BYTES = 160, SETTLED_MS = 1000 };

/* Where a node may be. */
struct place {
    char address[ADDRESS_BYTES];
    char why[HELLO_WHY_BYTES]; /* said last in the log: each new reason is said once */
};

struct link {
    struct links *links;
    uint64_t node;
    char name[NAME_BYTES];
    struct place places[2]; /* as its own record says, and as configured, where that is another */
    uint32_t place;         /* the one that is dialled */
    enum link_state state;

    /* One attempt: all made when it begins and freed when it ends. */
    nng_stream_dialer *dialer;
    nng_stream *stream;
    nng_aio *dial_aio, *receive_aio, *send_aio;
    nng_aio *try_aio; /* without a callback: a write that the socket takes at once ends on this thread */
    atomic_bool dialled, received; /* raised by nng's callbacks */
    atomic_int send;               /* enum send_state */

    uint8_t answer[HELLO_FRAME_BYTES_MAX]; /* the acceptor's hello, as it comes */
    size_t answer_size;

    /* The write in flight. Belongs to nng's callback while `send` is busy. */
    uint8_t header[FRAME_HEADER_BYTES];
    struct buffer out;
    size_t sent; /* of header and out */

    uint64_t retry_ms;  /* while down: when to dial, on the loop's clock */
    uint64_t dial_ms;   /* when it was dialled */
    uint64_t up_ms;     /* since when it is up */
    uint64_t answer_ms; /* when the answer to the hello must be there */
    uint32_t failures;  /* in a row */
};

struct links {
    struct links_options options;
    struct prng prng;
    uv_async_t wake;
    uv_timer_t timer;
    struct link **list;
    uint32_t count;
    bool stopped;
};

static void link_step(struct link *link);
static void schedule(struct links *links);

/* --- nng's callbacks --- */

static void wake(struct link *link)
{
    CHECK(uv_async_send(&link->links->wake) == 0);
}

static void dial_done(void *argument)
{
    struct link *link = argument;
    atomic_store(&link->dialled, true);
    wake(link);
}

static void receive_done(void *argument)
{
    struct link *link = argument;
    atomic_store(&link->received, true);
    wake(link);
}

static void set_rest(struct link *link, nng_aio *aio)
{
    nng_iov iov[2];
    unsigned count = 0;
    size_t sent = link->sent;
    if (sent < FRAME_HEADER_BYTES)
        iov[count++] = (nng_iov){.iov_buf = link->header + sent, .iov_len = FRAME_HEADER_BYTES - sent};
    size_t from = sent < FRAME_HEADER_BYTES ? 0 : sent - FRAME_HEADER_BYTES;
    iov[count++] = (nng_iov){.iov_buf = link->out.data + from, .iov_len = link->out.size - from};
    CHECK(nng_aio_set_iov(aio, count, iov) == 0);
}

static bool all_written(const struct link *link)
{
    return link->sent == FRAME_HEADER_BYTES + link->out.size;
}

static void write_rest(struct link *link)
{
    set_rest(link, link->send_aio);
    nng_stream_send(link->stream, link->send_aio);
}

static void send_done(void *argument)
{
    struct link *link = argument;
    if (nng_aio_result(link->send_aio) != 0) {
        atomic_store(&link->send, SEND_FAILED);
        wake(link);
        return;
    }
    link->sent += nng_aio_count(link->send_aio);
    if (!all_written(link)) {
        write_rest(link);
        return;
    }
    if (atomic_exchange(&link->send, SEND_IDLE) == SEND_BUSY_AND_MORE) wake(link);
}

/* --- the shard's thread --- */

static uint64_t now_ms(struct links *links)
{
    return uv_now(links->options.uv);
}

/* End an attempt, or the link, and free what it had: no callback runs afterwards. */
static void attempt_end(struct link *link)
{
    bool dialling = link->state == LINK_DIALLING;
    if (link->stream != NULL) nng_stream_close(link->stream);
    if (link->dialer != NULL) nng_stream_dialer_close(link->dialer);
    if (link->dial_aio != NULL) nng_aio_stop(link->dial_aio);
    if (link->receive_aio != NULL) nng_aio_stop(link->receive_aio);
    if (link->send_aio != NULL) nng_aio_stop(link->send_aio);
    if (dialling && link->dial_aio != NULL && atomic_load(&link->dialled) &&
        nng_aio_result(link->dial_aio) == 0)
        link->stream = nng_aio_get_output(link->dial_aio, 0); /* connected just now, and nobody wants it */
    nng_aio_free(link->dial_aio);
    nng_aio_free(link->receive_aio);
    nng_aio_free(link->send_aio);
    nng_aio_free(link->try_aio);
    if (link->stream != NULL) nng_stream_free(link->stream);
    if (link->dialer != NULL) nng_stream_dialer_free(link->dialer);
    link->dialer = NULL;
    link->stream = NULL;
    link->dial_aio = link->receive_aio = link->send_aio = link->try_aio = NULL;
    atomic_store(&link->dialled, false);
    atomic_store(&link->received, false);
    atomic_store(&link->send, SEND_IDLE);
    buffer_clear(&link->out);
    link->answer_size = 0;
    link->state = LINK_DOWN;
}

static const char *address_of(const struct link *link)
{
    return link->places[link->place].address;
}

static const char *kind(const struct links *links)
{
    return links->options.self.beats ? "heartbeat link" : "link";
}

static void link_lost(struct link *link, const char *why)
{
    struct links *links = link->links;
    bool was_up = link->state == LINK_UP;
    if (was_up && now_ms(links) - link->up_ms >= SETTLED_MS) link->failures = 0;
    char *said = link->places[link->place].why;
    if (strcmp(said, why) != 0) {
        snprintf(said, HELLO_WHY_BYTES, "%s", why);
        /* What is wrong with the one is wrong with both, and said of the one for data. */
        log_line(links->options.self.beats ? LOG_LEVEL_DEBUG : LOG_LEVEL_WARN,
                 "%s from shard %u to %s at %s: %s", kind(links), links->options.self.from_shard, link->name,
                 address_of(link), why);
    }
    attempt_end(link);
    if (!was_up && link->places[1].address[0] != 0) link->place = 1 - link->place;
    link->retry_ms =
        now_ms(links) + backoff_draw(&links->prng, LINK_RETRY_MS_MIN, LINK_RETRY_MS_MAX, link->failures++);
    if (was_up) links->options.changed(links->options.context, link->node, false);
    schedule(links);
}

static void link_dial(struct link *link)
{
    int error = nng_stream_dialer_alloc(&link->dialer, address_of(link));
    if (error == 0) error = nng_aio_alloc(&link->dial_aio, dial_done, link);
    if (error == 0) error = nng_aio_alloc(&link->receive_aio, receive_done, link);
    if (error == 0) error = nng_aio_alloc(&link->send_aio, send_done, link);
    if (error == 0) error = nng_aio_alloc(&link->try_aio, NULL, NULL);
    if (error != 0) {
        link_lost(link, nng_strerror(error));
        return;
    }
    link->state = LINK_DIALLING;
    link->dial_ms = now_ms(link->links);
    uint32_t attempts = link->places[1].address[0] != 0 ? link->failures / 2 : link->failures; /* there */
    nng_aio_set_timeout(link->dial_aio, attempts % 2 == 0 ? LINK_DIAL_MS : LINK_DIAL_LONG_MS);
    nng_stream_dialer_dial(link->dialer, link->dial_aio);
}

static void receive_answer(struct link *link)
{
    uint64_t now = now_ms(link->links);
    if (now >= link->answer_ms) {
        link_lost(link, "no hello came back in time");
        return;
    }
    nng_iov iov = {.iov_buf = link->answer + link->answer_size,
                   .iov_len = sizeof(link->answer) - link->answer_size};
    CHECK(nng_aio_set_iov(link->receive_aio, 1, &iov) == 0);
    nng_aio_set_timeout(link->receive_aio, (nng_duration)(link->answer_ms - now));
    nng_stream_recv(link->stream, link->receive_aio);
}

/* Write what the socket takes at once. nng's stream tries to write before it queues, and without a callback
 * it wakes nobody: a wake of one of its threads costs more than the write. What it has queued all the same is
 * cancelled; nothing of that went out, for a partial write is a whole result.
 * False: the socket is full, or broken: the write with a callback will tell. */
static bool write_now(struct link *link)
{
    while (!all_written(link)) {
        set_rest(link, link->try_aio);
        nng_stream_send(link->stream, link->try_aio);
        nng_aio_cancel(link->try_aio);
        nng_aio_wait(link->try_aio);
        if (nng_aio_result(link->try_aio) != 0) return false;
        link->sent += nng_aio_count(link->try_aio);
    }
    return true;
}

/* True: it is written. False: the rest is in flight. */
static bool write_buffer(struct link *link)
{
    frame_header(link->header, link->out.size);
    link->sent = 0;
    if (write_now(link)) return true;
    atomic_store(&link->send, SEND_BUSY);
    write_rest(link);
    return false;
}

static void link_dialled(struct link *link)
{
    int error = nng_aio_result(link->dial_aio);
    if (error != 0) {
        link_lost(link, nng_strerror(error));
        return;
    }
    link->stream = nng_aio_get_output(link->dial_aio, 0);
    /* nng 1.5.2 turns NODELAY off on streams that it dials, whatever its manual says: each batch that follows
     * another would wait 40 ms for the other side's delayed acknowledgement. Streams of ipc know no such
     * option. */
    nng_stream_set_bool(link->stream, NNG_OPT_TCP_NODELAY, true);
    link->state = LINK_HELLO;
    link->answer_ms = now_ms(link->links) + LINK_HELLO_MS;
    struct hello self = link->links->options.self;
    self.to_shard = self.from_shard;
    uint8_t frame[HELLO_FRAME_BYTES_MAX];
    size_t size = hello_pack(&self, frame);
    buffer_clear(&link->out);
    buffer_append(&link->out, frame + FRAME_HEADER_BYTES, size - FRAME_HEADER_BYTES);
    write_buffer(link);
    receive_answer(link);
}

static void link_up(struct link *link)
{
    struct links *links = link->links;
    link->state = LINK_UP;
    link->up_ms = now_ms(links);
    link->places[0].why[0] = link->places[1].why[0] = 0;
    log_line(links->options.self.beats ? LOG_LEVEL_DEBUG : LOG_LEVEL_INFO, "%s from shard %u to %s at %s: up",
             kind(links), links->options.self.from_shard, link->name, address_of(link));
    nng_iov iov = {.iov_buf = link->answer, .iov_len = 1};
    CHECK(nng_aio_set_iov(link->receive_aio, 1, &iov) == 0);
    nng_aio_set_timeout(link->receive_aio, NNG_DURATION_INFINITE);
    nng_stream_recv(link->stream, link->receive_aio);
    links->options.changed(links->options.context, link->node, true);
    links_ship(links, link->node);
}

static void link_answered(struct link *link)
{
    int error = nng_aio_result(link->receive_aio);
    if (error != 0) {
        link_lost(link, error == NNG_ETIMEDOUT ? "no hello came back in time" : nng_strerror(error));
        return;
    }
    struct hello other;
    struct bytes payload;
    char why[HELLO_WHY_BYTES], line[2 * HELLO_WHY_BYTES];
    size_t bytes;
    link->answer_size += nng_aio_count(link->receive_aio);
    enum frame_state state =
        frame_next(bytes_of(link->answer, link->answer_size), FRAME_HELLO_BYTES_MAX, &payload, &bytes);
    if (state == FRAME_PARTIAL) {
        receive_answer(link);
    } else if (state == FRAME_BAD || bytes != link->answer_size ||
               hello_unpack(payload, &other) != STATUS_OK) {
        link_lost(link, "what answers there is no dynode peer port");
    } else if (other.refused[0] != 0) {
        snprintf(line, sizeof(line), "it refuses, in its own words: %s", other.refused);
        link_lost(link, line);
    } else if (!hello_agree(&link->links->options.self, &other, why)) {
        link_lost(link, why);
    } else if (other.node != link->node) {
        snprintf(line, sizeof(line), "node %016" PRIx64 " answers there, not %016" PRIx64, other.node,
                 link->node);
        link_lost(link, line);
    } else {
        link_up(link);
    }
}

/* Look at what nng's callbacks have raised. */
static void link_step(struct link *link)
{
    if (link->state == LINK_DIALLING && atomic_exchange(&link->dialled, false)) link_dialled(link);
    if (link->state == LINK_HELLO && atomic_exchange(&link->received, false)) link_answered(link);
    if (link->state == LINK_UP && atomic_load(&link->received)) {
        int error = nng_aio_result(link->receive_aio);
        link_lost(link, error == 0 ? "it sent bytes where nothing may come" : nng_strerror(error));
    }
    if (link->state == LINK_UP || link->state == LINK_HELLO) {
        if (atomic_load(&link->send) == SEND_FAILED)
            link_lost(link, nng_strerror(nng_aio_result(link->send_aio)));
        else if (link->state == LINK_UP)
            links_ship(link->links, link->node);
    }
}

static void on_wake(uv_async_t *handle)
{
    struct links *links = handle->data;
    if (links->stopped) return;
    for (uint32_t i = 0; i < links->count; i++) link_step(links->list[i]);
}

static void on_timer(uv_timer_t *handle)
{
    struct links *links = handle->data;
    for (uint32_t i = 0; i < links->count; i++) {
        struct link *link = links->list[i];
        if (link->state == LINK_DOWN && address_of(link)[0] != 0 && link->retry_ms <= now_ms(links))
            link_dial(link);
    }
    schedule(links);
}

/* Set the timer to the first link that is to be dialled. */
static void schedule(struct links *links)
{
    uint64_t first = UINT64_MAX;
    for (uint32_t i = 0; i < links->count; i++) {
        struct link *link = links->list[i];
        if (link->state == LINK_DOWN && address_of(link)[0] != 0 && link->retry_ms < first)
            first = link->retry_ms;
    }
    if (first == UINT64_MAX) {
        uv_timer_stop(&links->timer);
        return;
    }
    uint64_t now = now_ms(links);
    uv_timer_start(&links->timer, on_timer, first > now ? first - now : 0, 0);
}

static struct link *find(struct links *links, uint64_t node)
{
    for (uint32_t i = 0; i < links->count; i++)
        if (links->list[i]->node == node) return links->list[i];
    return NULL;
}

struct links *links_start(const struct links_options *options)
{
    struct links *links = calloc(1, sizeof(*links));
    CHECK(links != NULL);
    links->options = *options;
    prng_init(&links->prng, options->seed);
    links->wake.data = links;
    links->timer.data = links;
    CHECK(uv_async_init(options->uv, &links->wake, on_wake) == 0);
    CHECK(uv_timer_init(options->uv, &links->timer) == 0);
    return links;
}

void links_set_peer(struct links *links, uint64_t node, const char *name, const char *address,
                    const char *configured)
{
    struct link *link = find(links, node);
    if (configured == NULL || strcmp(configured, address) == 0) configured = "";
    if (link != NULL && strcmp(link->places[0].address, address) == 0 &&
        strcmp(link->places[1].address, configured) == 0)
        return;
    if (link == NULL) {
        link = calloc(1, sizeof(*link));
        CHECK(link != NULL);
        links->list = realloc(links->list, (links->count + 1) * sizeof(struct link *));
        CHECK(links->list != NULL);
        links->list[links->count++] = link;
        link->links = links;
        link->node = node;
        link->retry_ms = now_ms(links);
    }
    snprintf(link->name, sizeof(link->name), "%s", name);
    snprintf(link->places[0].address, ADDRESS_BYTES, "%s", address);
    snprintf(link->places[1].address, ADDRESS_BYTES, "%s", configured);
    link->place = 0;
    schedule(links);
}

void links_ship(struct links *links, uint64_t node)
{
    struct link *link = find(links, node);
    if (link == NULL || link->state != LINK_UP) return;
    int busy = SEND_BUSY;
    if (atomic_compare_exchange_strong(&link->send, &busy, SEND_BUSY_AND_MORE)) return;
    if (busy != SEND_IDLE) return;
    do {
        buffer_clear(&link->out);
        if (link->out.capacity > 4 * LINK_WRITE_BYTES) buffer_fini(&link->out);
    } while (links->options.take(links->options.context, node, LINK_WRITE_BYTES, &link->out) &&
             write_buffer(link));
}

bool links_is_up(struct links *links, uint64_t node)
{
    const struct link *link = find(links, node);
    return link != NULL && link->state == LINK_UP;
}

void links_reset(struct links *links, uint64_t node, const char *why)
{
    struct link *link = find(links, node);
    if (link != NULL && link->state == LINK_UP) link_lost(link, why);
}

void links_hurry(struct links *links, uint64_t node)
{
    struct link *link = find(links, node);
    if (links->stopped || link == NULL) return;
    bool stuck = link->state == LINK_DIALLING && now_ms(links) - link->dial_ms >= LINK_HURRY_MS;
    if (stuck) attempt_end(link);
    if (link->state != LINK_DOWN) return;
    link->failures = 0;
    link->retry_ms = now_ms(links);
    schedule(links);
}

void links_stop(struct links *links)
{
    links->stopped = true;
    for (uint32_t i = 0; i < links->count; i++) attempt_end(links->list[i]);
    uv_close((uv_handle_t *)&links->wake, NULL);
    uv_close((uv_handle_t *)&links->timer, NULL);
}

void links_free(struct links *links)
{
    for (uint32_t i = 0; i < links->count; i++) {
        buffer_fini(&links->list[i]->out);
        free(links->list[i]);
    }
    free(links->list);
    free(links);
}
