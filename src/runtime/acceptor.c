#include "runtime/acceptor.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/check.h"
#include "base/log.h"

enum { RECEIVE_BYTES = 65536, KEPT_BYTES_MAX = 1024 * 1024, ACCEPT_PAUSE_MS = 100 };

enum inbound_state { INBOUND_HELLO, INBOUND_ANSWER, INBOUND_REFUSAL, INBOUND_OPEN };

struct inbound {
    struct acceptor *acceptor;
    struct inbound *next, *previous; /* of all; the keeper's */
    struct inbound *next_event;
    bool has_event; /* under the acceptor's lock */

    enum inbound_state state; /* the keeper's */
    struct hello hello;       /* theirs, once it has come */
    uint64_t hello_until_ms;
    uint8_t answer[HELLO_FRAME_BYTES_MAX];
    size_t answer_size, answer_sent;

    nng_stream *stream;
    nng_aio *receive, *send, *deliver;
    atomic_uint_fast64_t heard_ms;

    /* The keeper's until the link is open, then nng's callbacks', of which one runs at a time. */
    struct buffer in;
    size_t in_used; /* frames before it have gone */
    const char *end;
};

struct acceptor {
    struct hello self;
    uint32_t shards;
    struct mailbox *const *mailboxes;
    nng_stream_listener *listener;
    nng_aio *accept;
    pthread_t keeper;

    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct inbound *events; /* whose callback has something for the keeper */
    bool accepted, stopping;
    uint64_t *members; /* NULL: not known yet, and nothing is accepted */
    uint32_t member_count;

    struct inbound *all; /* the keeper's from here on */
    uint32_t count, half_open;
    struct log_rate rate;
};

static uint64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* --- nng's callbacks --- */

static void tell_keeper(struct inbound *inbound)
{
    struct acceptor *acceptor = inbound->acceptor;
    pthread_mutex_lock(&acceptor->lock);
    if (!inbound->has_event) {
        inbound->has_event = true;
        inbound->next_event = acceptor->events;
        acceptor->events = inbound;
        pthread_cond_signal(&acceptor->changed);
    }
    pthread_mutex_unlock(&acceptor->lock);
}

static void on_accept(void *argument)
{
    struct acceptor *acceptor = argument;
    pthread_mutex_lock(&acceptor->lock);
    acceptor->accepted = true;
    pthread_cond_signal(&acceptor->changed);
    pthread_mutex_unlock(&acceptor->lock);
}

static void receive_more(struct inbound *inbound)
{
    nng_iov iov = {.iov_buf = buffer_reserve(&inbound->in, RECEIVE_BYTES), .iov_len = RECEIVE_BYTES};
    CHECK(nng_aio_set_iov(inbound->receive, 1, &iov) == 0);
    nng_stream_recv(inbound->stream, inbound->receive);
}

static void end(struct inbound *inbound, const char *why)
{
    inbound->end = why;
    tell_keeper(inbound);
}

/* Send on the next whole frame, or receive more if there is none. */
static void pump(struct inbound *inbound)
{
    struct buffer *in = &inbound->in;
    struct bytes payload;
    size_t bytes;
    switch (frame_next(bytes_of(in->data + inbound->in_used, in->size - inbound->in_used),
                       FRAME_PEER_BYTES_MAX, &payload, &bytes)) {
    case FRAME_WHOLE: {
        struct acceptor *acceptor = inbound->acceptor;
        struct mailbox *mailbox = acceptor->mailboxes[inbound->hello.to_shard % acceptor->shards];
        inbound->in_used += bytes;
        nng_aio_set_msg(inbound->deliver,
                        parcel_pack(&(struct parcel){
                            .kind = PARCEL_LINK_BATCH, .node = inbound->hello.node, .payload = payload}));
        mailbox_send_aio(mailbox, mailbox_senders(mailbox) - 1, inbound->deliver);
        return;
    }
    case FRAME_PARTIAL:
        buffer_consume(in, inbound->in_used);
        inbound->in_used = 0;
        if (in->size == 0 && in->capacity > KEPT_BYTES_MAX) buffer_fini(in);
        receive_more(inbound);
        return;
    case FRAME_BAD:
        end(inbound, bytes == 0 ? "it sent an empty frame" : "it sent a frame above the limit");
        return;
    }
}

static void on_receive(void *argument)
{
    struct inbound *inbound = argument;
    int error = nng_aio_result(inbound->receive);
    if (error == 0) {
        inbound->in.size += nng_aio_count(inbound->receive);
        atomic_store(&inbound->heard_ms, now_ms());
    }
    if (inbound->state != INBOUND_OPEN)
        tell_keeper(inbound);
    else if (error == 0)
        pump(inbound);
    else
        end(inbound, error == NNG_ETIMEDOUT ? "it was silent for too long" : nng_strerror(error));
}

static void on_send(void *argument)
{
    tell_keeper(argument);
}

static void on_deliver(void *argument)
{
    struct inbound *inbound = argument;
    if (nng_aio_result(inbound->deliver) == 0) {
        nng_aio_set_msg(inbound->deliver, NULL);
        pump(inbound);
    } else {
        end(inbound, "the node stops");
    }
}

/* --- the keeper --- */

static void inbound_free(struct inbound *inbound)
{
    struct acceptor *acceptor = inbound->acceptor;
    if (inbound->previous != NULL)
        inbound->previous->next = inbound->next;
    else
        acceptor->all = inbound->next;
    if (inbound->next != NULL) inbound->next->previous = inbound->previous;
    acceptor->count--;
    if (inbound->state == INBOUND_HELLO) acceptor->half_open--;

    nng_stream_close(inbound->stream);
    /* In this order: a callback that still runs may begin the other operation, which is without effect once
     * that is stopped. What was to be delivered then is still in the aio. */
    nng_aio_stop(inbound->receive);
    nng_aio_stop(inbound->deliver);
    nng_aio_stop(inbound->send);
    pthread_mutex_lock(&acceptor->lock);
    for (struct inbound **at = &acceptor->events; *at != NULL; at = &(*at)->next_event) {
        if (*at != inbound) continue;
        *at = inbound->next_event;
        break;
    }
    pthread_mutex_unlock(&acceptor->lock);
    nng_msg *msg = nng_aio_get_msg(inbound->deliver);
    if (msg != NULL) nng_msg_free(msg);
    nng_aio_free(inbound->receive);
    nng_aio_free(inbound->deliver);
    nng_aio_free(inbound->send);
    nng_stream_free(inbound->stream);
    buffer_fini(&inbound->in);
    free(inbound);
}

static void drop(struct inbound *inbound, enum log_level level, const char *why)
{
    if (inbound->hello.node == 0)
        log_line_rated(&inbound->acceptor->rate, level, "peer port: a connection was closed: %s", why);
    else
        log_line_rated(&inbound->acceptor->rate, level,
                       "peer port: link from shard %u of node %016" PRIx64 ": %s", inbound->hello.from_shard,
                       inbound->hello.node, why);
    inbound_free(inbound);
}

static void receive_hello(struct inbound *inbound)
{
    uint64_t now = now_ms();
    if (now >= inbound->hello_until_ms) {
        drop(inbound, LOG_LEVEL_WARN, "no hello came in time");
        return;
    }
    nng_aio_set_timeout(inbound->receive, (nng_duration)(inbound->hello_until_ms - now));
    receive_more(inbound);
}

static void take_in(struct acceptor *acceptor, nng_stream *stream)
{
    if (acceptor->half_open >= ACCEPTOR_HALF_OPEN_MAX || acceptor->count >= ACCEPTOR_LINKS_MAX) {
        log_line_rated(&acceptor->rate, LOG_LEVEL_WARN, "peer port: a connection was closed: %s",
                       acceptor->count >= ACCEPTOR_LINKS_MAX ? "too many links"
                                                             : "too many that sent no hello yet");
        nng_stream_close(stream);
        nng_stream_free(stream);
        return;
    }
    struct inbound *inbound = calloc(1, sizeof(*inbound));
    CHECK(inbound != NULL);
    inbound->acceptor = acceptor;
    inbound->stream = stream;
    CHECK(nng_aio_alloc(&inbound->receive, on_receive, inbound) == 0);
    CHECK(nng_aio_alloc(&inbound->send, on_send, inbound) == 0);
    CHECK(nng_aio_alloc(&inbound->deliver, on_deliver, inbound) == 0);
    inbound->hello_until_ms = now_ms() + ACCEPTOR_HELLO_MS;
    inbound->next = acceptor->all;
    if (acceptor->all != NULL) acceptor->all->previous = inbound;
    acceptor->all = inbound;
    acceptor->count++;
    acceptor->half_open++;
    receive_hello(inbound);
}

static bool is_member(struct acceptor *acceptor, uint64_t node)
{
    bool found = false;
    pthread_mutex_lock(&acceptor->lock);
    for (uint32_t i = 0; i < acceptor->member_count && !found; i++) found = acceptor->members[i] == node;
    pthread_mutex_unlock(&acceptor->lock);
    return found;
}

/* Is the node already here? An earlier link of the same process and shard is dead for its dialler, which has
 * one at a time; of another process it counts while it lives. */
static bool admit_once(struct inbound *inbound, char why[HELLO_WHY_BYTES])
{
    const struct hello *hello = &inbound->hello;
    struct inbound *next;
    for (struct inbound *other = inbound->acceptor->all; other != NULL; other = next) {
        next = other->next;
        if (other == inbound || other->state == INBOUND_HELLO || other->state == INBOUND_REFUSAL ||
            other->hello.node != hello->node)
            continue;
        if (other->hello.incarnation == hello->incarnation) {
            if (other->hello.from_shard == hello->from_shard)
                drop(other, LOG_LEVEL_INFO, "it was dialled again, and the old one ends");
        } else if (now_ms() - atomic_load(&other->heard_ms) < ACCEPTOR_ALIVE_MS) {
            snprintf(why, HELLO_WHY_BYTES,
                     "another process with node id %016" PRIx64 " is connected (incarnation %" PRIu64
                     ", this is %" PRIu64 "): two nodes must not share one data directory or id",
                     hello->node, other->hello.incarnation, hello->incarnation);
            return false;
        } else {
            drop(other, LOG_LEVEL_WARN, "it was silent, and the node has started anew");
        }
    }
    return true;
}

static void send_answer(struct inbound *inbound)
{
    nng_iov iov = {.iov_buf = inbound->answer + inbound->answer_sent,
                   .iov_len = inbound->answer_size - inbound->answer_sent};
    CHECK(nng_aio_set_iov(inbound->send, 1, &iov) == 0);
    nng_aio_set_timeout(inbound->send, ACCEPTOR_HELLO_MS);
    nng_stream_send(inbound->stream, inbound->send);
}

static void judge(struct inbound *inbound)
{
    struct acceptor *acceptor = inbound->acceptor;
    struct hello self = acceptor->self;
    self.from_shard = inbound->hello.to_shard % acceptor->shards;
    self.to_shard = inbound->hello.from_shard;
    bool welcome = hello_agree(&acceptor->self, &inbound->hello, self.refused);
    if (welcome && !is_member(acceptor, inbound->hello.node)) {
        snprintf(self.refused, sizeof(self.refused), "node id %016" PRIx64 " is no member of this cluster",
                 inbound->hello.node);
        welcome = false;
    }
    if (welcome) welcome = admit_once(inbound, self.refused);
    if (!welcome)
        log_line_rated(&acceptor->rate, LOG_LEVEL_WARN, "peer port: node %016" PRIx64 " was refused: %s",
                       inbound->hello.node, self.refused);
    inbound->state = welcome ? INBOUND_ANSWER : INBOUND_REFUSAL;
    acceptor->half_open--;
    atomic_store(&inbound->heard_ms, now_ms());
    inbound->answer_size = hello_pack(&self, inbound->answer);
    send_answer(inbound);
}

static void hello_came(struct inbound *inbound)
{
    int error = nng_aio_result(inbound->receive);
    if (error != 0) {
        drop(inbound, LOG_LEVEL_WARN,
             error == NNG_ETIMEDOUT ? "no hello came in time" : "it ended before its hello");
        return;
    }
    struct bytes payload;
    size_t bytes;
    switch (frame_next(buffer_bytes(&inbound->in), FRAME_HELLO_BYTES_MAX, &payload, &bytes)) {
    case FRAME_PARTIAL:
        receive_hello(inbound);
        return;
    case FRAME_BAD:
        drop(inbound, LOG_LEVEL_WARN, "it does not speak dynode's peer protocol");
        return;
    case FRAME_WHOLE:
        break;
    }
    struct hello hello;
    if (hello_unpack(payload, &hello) != STATUS_OK || hello.node == 0) {
        drop(inbound, LOG_LEVEL_WARN, "it does not speak dynode's peer protocol");
        return;
    }
    inbound->hello = hello;
    inbound->in_used = bytes;
    judge(inbound);
}

static void answer_went(struct inbound *inbound)
{
    int error = nng_aio_result(inbound->send);
    if (error != 0) {
        drop(inbound, LOG_LEVEL_WARN, nng_strerror(error));
        return;
    }
    inbound->answer_sent += nng_aio_count(inbound->send);
    if (inbound->answer_sent < inbound->answer_size) {
        send_answer(inbound);
    } else if (inbound->state == INBOUND_REFUSAL) {
        inbound_free(inbound);
    } else {
        inbound->state = INBOUND_OPEN;
        nng_aio_set_timeout(inbound->receive, ACCEPTOR_SILENCE_MS);
        log_line(LOG_LEVEL_DEBUG, "peer port: link from shard %u of node %016" PRIx64 ": open",
                 inbound->hello.from_shard, inbound->hello.node);
        pump(inbound);
    }
}

static void handle(struct inbound *inbound)
{
    switch (inbound->state) {
    case INBOUND_HELLO:
        hello_came(inbound);
        break;
    case INBOUND_ANSWER:
    case INBOUND_REFUSAL:
        answer_went(inbound);
        break;
    case INBOUND_OPEN:
        drop(inbound, LOG_LEVEL_INFO, inbound->end);
        break;
    }
}

static void handle_accept(struct acceptor *acceptor)
{
    int error = nng_aio_result(acceptor->accept);
    if (error == 0) {
        take_in(acceptor, nng_aio_get_output(acceptor->accept, 0));
    } else {
        log_line_rated(&acceptor->rate, LOG_LEVEL_WARN, "peer port: can't accept: %s", nng_strerror(error));
        nanosleep(&(struct timespec){.tv_nsec = ACCEPT_PAUSE_MS * 1000000L},
                  NULL); /* out of descriptors, mostly */
    }
    nng_stream_listener_accept(acceptor->listener, acceptor->accept);
}

static void *keep(void *argument)
{
    struct acceptor *acceptor = argument;
    pthread_mutex_lock(&acceptor->lock);
    while (acceptor->members == NULL && !acceptor->stopping)
        pthread_cond_wait(&acceptor->changed, &acceptor->lock);
    if (!acceptor->stopping) nng_stream_listener_accept(acceptor->listener, acceptor->accept);
    while (!acceptor->stopping) {
        struct inbound *inbound = acceptor->events;
        if (inbound != NULL) {
            acceptor->events = inbound->next_event;
            inbound->has_event = false;
            pthread_mutex_unlock(&acceptor->lock);
            handle(inbound);
            pthread_mutex_lock(&acceptor->lock);
        } else if (acceptor->accepted) {
            acceptor->accepted = false;
            pthread_mutex_unlock(&acceptor->lock);
            handle_accept(acceptor);
            pthread_mutex_lock(&acceptor->lock);
        } else {
            pthread_cond_wait(&acceptor->changed, &acceptor->lock);
        }
    }
    pthread_mutex_unlock(&acceptor->lock);
    return NULL;
}

enum status acceptor_start(const struct acceptor_options *options, char *why, size_t why_bytes,
                           struct acceptor **out)
{
    struct acceptor *acceptor = calloc(1, sizeof(*acceptor));
    CHECK(acceptor != NULL);
    acceptor->self = options->self;
    acceptor->shards = options->shards;
    acceptor->mailboxes = options->mailboxes;
    int error = nng_stream_listener_alloc(&acceptor->listener, options->address);
    if (error == 0) error = nng_stream_listener_listen(acceptor->listener);
    if (error != 0) {
        snprintf(why, why_bytes, "can't listen for peers on %s: %s", options->address, nng_strerror(error));
        if (acceptor->listener != NULL) nng_stream_listener_free(acceptor->listener);
        free(acceptor);
        return error == NNG_EADDRINUSE ? STATUS_IN_USE : STATUS_INVALID;
    }
    CHECK(nng_aio_alloc(&acceptor->accept, on_accept, acceptor) == 0);
    pthread_mutex_init(&acceptor->lock, NULL);
    pthread_cond_init(&acceptor->changed, NULL);
    CHECK(pthread_create(&acceptor->keeper, NULL, keep, acceptor) == 0);
    *out = acceptor;
    return STATUS_OK;
}

void acceptor_set_members(struct acceptor *acceptor, const uint64_t *nodes, uint32_t count)
{
    uint64_t *copy = malloc(count * sizeof(*copy) + 1);
    CHECK(copy != NULL);
    if (count > 0) memcpy(copy, nodes, count * sizeof(*copy));
    pthread_mutex_lock(&acceptor->lock);
    free(acceptor->members);
    acceptor->members = copy;
    acceptor->member_count = count;
    pthread_cond_signal(&acceptor->changed);
    pthread_mutex_unlock(&acceptor->lock);
}

uint16_t acceptor_port(const struct acceptor *acceptor)
{
    int port = 0;
    if (nng_stream_listener_get_int(acceptor->listener, NNG_OPT_TCP_BOUND_PORT, &port) != 0) return 0;
    return (uint16_t)port;
}

void acceptor_stop(struct acceptor *acceptor)
{
    pthread_mutex_lock(&acceptor->lock);
    acceptor->stopping = true;
    pthread_cond_signal(&acceptor->changed);
    pthread_mutex_unlock(&acceptor->lock);
    pthread_join(acceptor->keeper, NULL);

    nng_stream_listener_close(acceptor->listener);
    nng_aio_stop(acceptor->accept);
    if (acceptor->accepted && nng_aio_result(acceptor->accept) == 0) {
        nng_stream *stream = nng_aio_get_output(acceptor->accept, 0);
        nng_stream_close(stream);
        nng_stream_free(stream);
    }
    while (acceptor->all != NULL) inbound_free(acceptor->all);
    nng_aio_free(acceptor->accept);
    nng_stream_listener_free(acceptor->listener);
    pthread_mutex_destroy(&acceptor->lock);
    pthread_cond_destroy(&acceptor->changed);
    free(acceptor->members);
    free(acceptor);
}
