#include "runtime/inbound.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "base/check.h"

enum { RECEIVE_BYTES_MIN = 65536, KEPT_BYTES_MAX = 1 << 20 };

/* One link. Its socket is watched by the loop where it is known, and by nng where it is not. */
struct feed {
    struct inbound *inbound;
    uint32_t index; /* in its list */
    struct accepted *accepted;
    uv_poll_t poll;             /* of its socket */
    nng_aio *receive, *attempt; /* with a callback, for what is still to come, and without one */
    bool receiving;             /* nng owns the end of the buffer */
    bool held;                  /* not receiving: there was no room */
    atomic_bool received;       /* raised by nng's callback */
    uint64_t
        frame_since_ms; /* since when the unfinished frame, if there is one, is the first that is missing */
};

struct inbound {
    struct inbound_options options;
    uv_async_t wake;
    uv_timer_t timer;
    struct feed **list;
    uint32_t count, capacity;
    uint64_t ticked_ms; /* when the limits were looked at last */
    bool stopped;
};

/* On a thread of nng. */
static void receive_done(void *argument)
{
    struct feed *feed = argument;
    atomic_store(&feed->received, true);
    CHECK(uv_async_send(&feed->inbound->wake) == 0);
}

static bool is_watched(const struct feed *feed)
{
    return feed->accepted->descriptor >= 0;
}

static void on_closed(uv_handle_t *handle)
{
    free(handle->data);
}

static void feed_free(struct feed *feed)
{
    nng_aio_stop(feed->receive);
    nng_aio_free(feed->receive);
    nng_aio_free(feed->attempt);
    if (is_watched(feed))
        uv_close((uv_handle_t *)&feed->poll, on_closed);
    else
        free(feed);
}

/* The last of the list takes its place. */
static void feed_end(struct feed *feed, const char *why)
{
    struct inbound *inbound = feed->inbound;
    struct accepted *accepted = feed->accepted;
    struct feed *last = inbound->list[--inbound->count];
    inbound->list[feed->index] = last;
    last->index = feed->index;
    feed_free(feed);
    acceptor_ended(inbound->options.acceptor, accepted, why);
}

static void set_heard(struct feed *feed)
{
    atomic_store(&feed->accepted->heard_ms, uv_now(feed->inbound->options.uv));
}

/* Its time begins, or begins again because it was we who did not read. */
static void begin_frame(struct feed *feed)
{
    feed->frame_since_ms = uv_now(feed->inbound->options.uv);
}

static void receive(struct feed *feed, nng_aio *aio)
{
    struct buffer *in = &feed->accepted->in;
    size_t size = in->size; /* a large frame comes in larger and larger pieces */
    if (size < RECEIVE_BYTES_MIN) size = RECEIVE_BYTES_MIN;
    if (size > INBOUND_RECEIVE_BYTES_MAX) size = INBOUND_RECEIVE_BYTES_MAX;
    nng_iov iov = {.iov_buf = buffer_reserve(in, size), .iov_len = size};
    CHECK(nng_aio_set_iov(aio, 1, &iov) == 0);
    nng_stream_recv(feed->accepted->stream, aio);
}

/* Give out the whole frames. NULL, or why the link ends. */
static const char *pump(struct feed *feed)
{
    const struct inbound_options *options = &feed->inbound->options;
    struct buffer *in = &feed->accepted->in;
    struct bytes payload;
    size_t bytes, used = 0;
    enum frame_state state;
    while ((state = frame_next(bytes_of(in->data + used, in->size - used), FRAME_PEER_BYTES_MAX, &payload,
                               &bytes)) == FRAME_WHOLE) {
        options->frame(options->context, feed->accepted->hello.node, feed->accepted->hello.beats, payload);
        used += bytes;
    }
    if (state == FRAME_BAD) return bytes == 0 ? "it sent an empty frame" : "it sent a frame above the limit";
    buffer_consume(in, used);
    if (used > 0) begin_frame(feed);
    if (in->size == 0 && in->capacity > KEPT_BYTES_MAX) buffer_fini(in);
    return NULL;
}

static const char *received(struct feed *feed, nng_aio *aio)
{
    feed->receiving = false;
    int error = nng_aio_result(aio);
    if (error != 0) return nng_strerror(error);
    if (feed->accepted->in.size == 0) begin_frame(feed);
    feed->accepted->in.size += nng_aio_count(aio);
    set_heard(feed);
    return pump(feed);
}

static void on_readable(uv_poll_t *poll, int status, int events);

static void hold(struct feed *feed)
{
    if (is_watched(feed)) uv_poll_stop(&feed->poll);
    feed->held = true;
}

static void watch(struct feed *feed)
{
    CHECK(uv_poll_start(&feed->poll, UV_READABLE, on_readable) == 0);
}

static void go_on(struct feed *feed)
{
    if (is_watched(feed)) watch(feed);
    feed->held = false;
    set_heard(feed);
    begin_frame(feed);
}

static bool has_room(const struct feed *feed)
{
    const struct inbound_options *options = &feed->inbound->options;
    return options->room(options->context, feed->accepted->hello.beats);
}

/* Receive what is there already, on this thread. NULL, or why the link ends; *got: there was something. */
static const char *attempt(struct feed *feed, bool *got)
{
    receive(feed, feed->attempt);
    nng_aio_cancel(feed->attempt);
    nng_aio_wait(feed->attempt);
    *got = nng_aio_result(feed->attempt) != NNG_ECANCELED;
    if (*got) return received(feed, feed->attempt);
    return atomic_load(&feed->accepted->closed) ? "it was closed" : NULL;
}

/* What was wrong is what a receive says, once what came before it is read; but libuv watches no longer then.
 */
static void on_readable(uv_poll_t *poll, int status, int events)
{
    struct feed *feed = poll->data;
    (void)events;
    if (!has_room(feed)) {
        hold(feed);
        return;
    }
    bool got;
    const char *why = attempt(feed, &got);
    if (why != NULL)
        feed_end(feed, why);
    else if (status != 0)
        watch(feed);
}

/* For a link that the loop does not watch: a wake of nng's costs more than the read, so what is there is
 * received at once, and for the rest nng calls back. */
static const char *receive_unwatched(struct feed *feed, bool *more)
{
    bool got;
    const char *why = attempt(feed, &got);
    *more |= got;
    if (got || why != NULL) return why;
    feed->receiving = true;
    receive(feed, feed->receive);
    return atomic_load(&feed->accepted->closed) ? "it was closed" : NULL; /* nng may not end it then */
}

bool inbound_receive(struct inbound *inbound)
{
    bool more = false;
    for (uint32_t i = inbound->count; i-- > 0;) {
        struct feed *feed = inbound->list[i];
        if (feed->receiving || (is_watched(feed) && !feed->held)) continue;
        if (!has_room(feed)) {
            feed->held = true;
            continue;
        }
        if (feed->held) go_on(feed);
        const char *why = is_watched(feed) ? NULL : receive_unwatched(feed, &more);
        if (why != NULL) feed_end(feed, why);
    }
    return more;
}

static void on_wake(uv_async_t *handle)
{
    struct inbound *inbound = handle->data;
    if (inbound->stopped) return;
    for (uint32_t i = inbound->count; i-- > 0;) {
        struct feed *feed = inbound->list[i];
        const char *why = atomic_exchange(&feed->received, false) ? received(feed, feed->receive) : NULL;
        if (why != NULL) feed_end(feed, why);
    }
}

/* A shard that stood still itself can't tell who was silent: what they sent was not looked at. */
static void on_tick(uv_timer_t *handle)
{
    struct inbound *inbound = handle->data;
    const struct inbound_options *options = &inbound->options;
    uint64_t now = uv_now(options->uv);
    bool stood_still = now > inbound->ticked_ms + options->silence_ms / 2;
    inbound->ticked_ms = now;
    for (uint32_t i = inbound->count; i-- > 0;) {
        struct feed *feed = inbound->list[i];
        if (stood_still) {
            set_heard(feed);
            begin_frame(feed);
        } else if (feed->held) {
            continue;
        } else if (now > atomic_load(&feed->accepted->heard_ms) + options->silence_ms) {
            feed_end(feed, "it was silent for too long");
        } else if (feed->accepted->in.size > 0 && now > feed->frame_since_ms + options->frame_ms) {
            feed_end(feed, "it did not finish a frame");
        }
    }
}

struct inbound *inbound_start(const struct inbound_options *options)
{
    struct inbound *inbound = calloc(1, sizeof(*inbound));
    CHECK(inbound != NULL);
    inbound->options = *options;
    inbound->wake.data = inbound->timer.data = inbound;
    CHECK(uv_async_init(options->uv, &inbound->wake, on_wake) == 0);
    CHECK(uv_timer_init(options->uv, &inbound->timer) == 0);
    uint64_t tick_ms =
        (options->silence_ms < options->frame_ms ? options->silence_ms : options->frame_ms) / 10;
    uv_timer_start(&inbound->timer, on_tick, tick_ms, tick_ms);
    return inbound;
}

void inbound_add(struct inbound *inbound, struct accepted *accepted)
{
    if (inbound->count == inbound->capacity) {
        inbound->capacity = inbound->capacity == 0 ? 16 : 2 * inbound->capacity;
        inbound->list = realloc(inbound->list, inbound->capacity * sizeof(struct feed *));
        CHECK(inbound->list != NULL);
    }
    struct feed *feed = calloc(1, sizeof(*feed));
    CHECK(feed != NULL);
    feed->inbound = inbound;
    feed->index = inbound->count;
    feed->accepted = accepted;
    CHECK(nng_aio_alloc(&feed->receive, receive_done, feed) == 0);
    CHECK(nng_aio_alloc(&feed->attempt, NULL, NULL) == 0);
    inbound->list[inbound->count++] = feed;
    feed->poll.data = feed;
    if (is_watched(feed)) CHECK(uv_poll_init(inbound->options.uv, &feed->poll, accepted->descriptor) == 0);
    go_on(feed);
    const char *why = pump(feed);
    if (why != NULL) feed_end(feed, why);
}

void inbound_stop(struct inbound *inbound)
{
    inbound->stopped = true;
    for (uint32_t i = 0; i < inbound->count; i++) feed_free(inbound->list[i]);
    inbound->count = 0;
    uv_close((uv_handle_t *)&inbound->wake, NULL);
    uv_close((uv_handle_t *)&inbound->timer, NULL);
}

void inbound_free(struct inbound *inbound)
{
    free(inbound->list);
    free(inbound);
}
