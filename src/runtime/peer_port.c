#include "runtime/peer_port.h"

#include <arpa/inet.h>
#include <nng/nng.h>
#include <nng/supplemental/util/platform.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/list.h"

enum { RECEIVE_BYTES_MIN = 64 * 1024, ACCEPT_PAUSE_MS = 100 };

enum inbound_state { AWAITING_HELLO, ANSWERING, REFUSING, OPEN };

/* A link that came in. Its callbacks follow one another, so they need no lock for what is its own. */
struct inbound {
    struct list link; /* of port->live or port->dead, under its lock */
    bool greeted;     /* under its lock: hello names who it is */
    struct peer_port *port;
    nng_stream *stream;
    nng_aio *io;   /* on the stream */
    nng_aio *push; /* into the mailbox */
    enum inbound_state state;
    nng_time hello_until;
    struct buffer input;
    size_t parsed; /* of input: frames that have gone */
    size_t frame;  /* the frame that is being pushed */
    struct peer_hello hello;
    uint8_t answer[PEER_HELLO_FRAME_BYTES];
    size_t answer_bytes, answered;
};

struct peer_port {
    struct peer_port_options options;
    uint64_t *members;
    nng_stream_listener *listener;
    nng_aio *accept, *pause;
    pthread_mutex_t lock;
    struct list live, dead;
    uint32_t count; /* live */
    bool closing;
};

static void on_io(void *argument);
static void on_push(void *argument);

/* --- the end of an inbound link --- */

static void notice(struct peer_port *port, nng_stream *stream, const char *text)
{
    char address[64] = "a peer";
    nng_sockaddr peer;
    if (nng_stream_get_addr(stream, NNG_OPT_REMADDR, &peer) == 0 && peer.s_family == NNG_AF_INET) {
        char host[INET_ADDRSTRLEN];
        inet_ntop(AF_INET, &peer.s_in.sa_addr, host, sizeof(host));
        snprintf(address, sizeof(address), "%s:%u", host, ntohs(peer.s_in.sa_port));
    }
    port->options.notice(port->options.context, address, text);
}

/* No operation is under way any more, and none will be: leave the rest to whoever reaps, for an aio can't be
 * freed in its own callback. */
static void inbound_die(struct inbound *inbound, const char *why)
{
    struct peer_port *port = inbound->port;
    if (why != NULL) notice(port, inbound->stream, why);
    nng_stream_close(inbound->stream);
    buffer_fini(&inbound->input);
    pthread_mutex_lock(&port->lock);
    list_remove(&inbound->link);
    list_append(&port->dead, &inbound->link);
    port->count--;
    pthread_mutex_unlock(&port->lock);
}

static void inbound_free(struct inbound *inbound)
{
    nng_aio_stop(inbound->io);
    nng_aio_stop(inbound->push);
    nng_aio_free(inbound->io);
    nng_aio_free(inbound->push);
    nng_stream_free(inbound->stream);
    buffer_fini(&inbound->input);
    free(inbound);
}

static void reap(struct peer_port *port)
{
    for (;;) {
        pthread_mutex_lock(&port->lock);
        struct inbound *inbound = NULL;
        if (!list_empty(&port->dead)) {
            inbound = LIST_OF(port->dead.next, struct inbound, link);
            list_remove(&inbound->link);
        }
        pthread_mutex_unlock(&port->lock);
        if (inbound == NULL) return;
        inbound_free(inbound);
    }
}

/* --- its life --- */

static void receive(struct inbound *inbound, size_t wanted)
{
    if (wanted < RECEIVE_BYTES_MIN && inbound->state == OPEN) wanted = RECEIVE_BYTES_MIN;
    nng_iov iov = {.iov_buf = buffer_reserve(&inbound->input, wanted), .iov_len = wanted};
    CHECK(nng_aio_set_iov(inbound->io, 1, &iov) == 0);
    nng_duration patience = PEER_PORT_SILENCE_MS_MAX;
    if (inbound->state == AWAITING_HELLO) {
        nng_time now = nng_clock();
        patience = now < inbound->hello_until ? (nng_duration)(inbound->hello_until - now) : 1;
    }
    nng_aio_set_timeout(inbound->io, patience);
    nng_stream_recv(inbound->stream, inbound->io);
}

static void answer_rest(struct inbound *inbound)
{
    nng_iov iov = {.iov_buf = inbound->answer + inbound->answered,
                   .iov_len = inbound->answer_bytes - inbound->answered};
    CHECK(nng_aio_set_iov(inbound->io, 1, &iov) == 0);
    nng_aio_set_timeout(inbound->io, PEER_PORT_HELLO_MS_MAX);
    nng_stream_send(inbound->stream, inbound->io);
}

static bool is_member(const struct peer_port *port, uint64_t node)
{
    for (uint32_t i = 0; i < port->options.member_count; i++)
        if (port->members[i] == node) return true;
    return false;
}

/* Let a newer incarnation end the links of an older one; refuse an older one. */
static bool judge_incarnation(struct inbound *inbound)
{
    struct peer_port *port = inbound->port;
    const struct peer_identity *from = &inbound->hello.from;
    bool newest = true;
    pthread_mutex_lock(&port->lock);
    for (struct list *at = port->live.next; at != &port->live; at = at->next) {
        const struct inbound *other = LIST_OF(at, struct inbound, link);
        if (!other->greeted || other->hello.from.node != from->node) continue;
        if (other->hello.from.incarnation > from->incarnation) newest = false;
        if (other->hello.from.incarnation < from->incarnation) nng_stream_close(other->stream);
    }
    inbound->greeted = newest;
    pthread_mutex_unlock(&port->lock);
    return newest;
}

static void answer_hello(struct inbound *inbound)
{
    struct peer_port *port = inbound->port;
    struct peer_hello answer = {.from = port->options.self,
                                .from_shard = inbound->hello.to_shard % port->options.shards,
                                .to_shard = inbound->hello.from_shard};
    bool fits = peer_hello_fits(&port->options.self, &inbound->hello, answer.refused, sizeof(answer.refused));
    if (fits && !is_member(port, inbound->hello.from.node)) {
        snprintf(answer.refused, sizeof(answer.refused), "node %016llx is no member of this cluster",
                 (unsigned long long)inbound->hello.from.node);
    } else if (fits && !judge_incarnation(inbound)) {
        snprintf(answer.refused, sizeof(answer.refused), "a newer process with its id, %016llx, is alive",
                 (unsigned long long)inbound->hello.from.node);
    }
    bool refused = answer.refused[0] != '\0';
    if (refused) notice(port, inbound->stream, answer.refused);
    inbound->answer_bytes = peer_hello_frame(&answer, inbound->answer);
    inbound->answered = 0;
    inbound->state = refused ? REFUSING : ANSWERING;
    answer_rest(inbound);
}

/* Do what the bytes that are there allow. Ends with an operation under way, or with the link's death. */
static void pump(struct inbound *inbound)
{
    struct bytes rest =
        bytes_of(inbound->input.data + inbound->parsed, inbound->input.size - inbound->parsed);
    struct bytes payload;
    size_t used;
    if (inbound->state == AWAITING_HELLO) {
        const char *why;
        switch (peer_hello_read(rest, &inbound->hello, &used, &why)) {
        case STATUS_NOT_FOUND:
            receive(inbound, PEER_HELLO_FRAME_BYTES);
            return;
        case STATUS_OK:
            inbound->parsed = used;
            answer_hello(inbound);
            return;
        default:
            inbound_die(inbound, why);
            return;
        }
    }
    switch (frame_next(rest, FRAME_PEER_BYTES_MAX, &payload, &used)) {
    case FRAME_WHOLE: {
        struct parcel parcel = {
            .kind = PARCEL_LINK_BATCH, .node = inbound->hello.from.node, .fd = -1, .payload = payload};
        const struct peer_port *port = inbound->port;
        inbound->frame = used;
        nng_aio_set_msg(inbound->push, parcel_pack(&parcel));
        mailbox_send_aio(port->options.mailboxes[inbound->hello.to_shard % port->options.shards],
                         port->options.shards, inbound->push);
        return;
    }
    case FRAME_PARTIAL:
        buffer_consume(&inbound->input, inbound->parsed);
        inbound->parsed = 0;
        receive(inbound, used > inbound->input.size ? used - inbound->input.size : 0);
        return;
    case FRAME_BAD:
        inbound_die(inbound, "a frame that is empty or longer than 16 MiB");
    }
}

static void on_io(void *argument)
{
    struct inbound *inbound = argument;
    int result = nng_aio_result(inbound->io);
    if (result != 0) {
        bool silent = result == NNG_ETIMEDOUT && inbound->state == AWAITING_HELLO;
        inbound_die(inbound, silent ? "it did not say hello within 5 seconds" : NULL);
        return;
    }
    size_t count = nng_aio_count(inbound->io);
    if (inbound->state == AWAITING_HELLO || inbound->state == OPEN) {
        inbound->input.size += count;
        pump(inbound);
        return;
    }
    inbound->answered += count;
    if (inbound->answered < inbound->answer_bytes) {
        answer_rest(inbound);
    } else if (inbound->state == REFUSING) {
        inbound_die(inbound, NULL);
    } else {
        inbound->state = OPEN;
        pump(inbound);
    }
}

static void on_push(void *argument)
{
    struct inbound *inbound = argument;
    if (nng_aio_result(inbound->push) != 0) {
        nng_msg_free(nng_aio_get_msg(inbound->push));
        inbound_die(inbound, NULL);
        return;
    }
    inbound->parsed += inbound->frame;
    pump(inbound);
}

/* --- accepting --- */

static void adopt(struct peer_port *port, nng_stream *stream)
{
    struct inbound *inbound = calloc(1, sizeof(*inbound));
    CHECK(inbound != NULL);
    inbound->port = port;
    inbound->stream = stream;
    inbound->hello_until = nng_clock() + PEER_PORT_HELLO_MS_MAX;
    list_init(&inbound->link);
    bool ok = nng_aio_alloc(&inbound->io, on_io, inbound) == 0 &&
              nng_aio_alloc(&inbound->push, on_push, inbound) == 0;
    pthread_mutex_lock(&port->lock);
    ok = ok && !port->closing && port->count < port->options.links_max;
    if (ok) {
        list_append(&port->live, &inbound->link);
        port->count++;
    }
    pthread_mutex_unlock(&port->lock);
    if (ok) {
        receive(inbound, PEER_HELLO_FRAME_BYTES);
        return;
    }
    notice(port, stream, "too many peer links");
    nng_aio_free(inbound->io);
    nng_aio_free(inbound->push);
    nng_stream_close(stream);
    nng_stream_free(stream);
    free(inbound);
}

static void on_accept(void *argument)
{
    struct peer_port *port = argument;
    int result = nng_aio_result(port->accept);
    if (result == NNG_ECANCELED || result == NNG_ECLOSED) return;
    reap(port);
    if (result == 0) {
        adopt(port, nng_aio_get_output(port->accept, 0));
        nng_stream_listener_accept(port->listener, port->accept);
    } else {
        nng_sleep_aio(ACCEPT_PAUSE_MS, port->pause); /* out of descriptors, most likely */
    }
}

static void on_pause(void *argument)
{
    struct peer_port *port = argument;
    if (nng_aio_result(port->pause) == 0) nng_stream_listener_accept(port->listener, port->accept);
}

enum status peer_port_open(const struct peer_port_options *options, struct peer_port **out, const char **why)
{
    struct peer_port *port = calloc(1, sizeof(*port));
    CHECK(port != NULL);
    port->options = *options;
    port->members = malloc((options->member_count + 1) * sizeof(*port->members));
    CHECK(port->members != NULL);
    memcpy(port->members, options->members, options->member_count * sizeof(*port->members));
    CHECK(pthread_mutex_init(&port->lock, NULL) == 0);
    list_init(&port->live);
    list_init(&port->dead);
    int result = nng_stream_listener_alloc(&port->listener, options->address);
    if (result == 0) result = nng_aio_alloc(&port->accept, on_accept, port);
    if (result == 0) result = nng_aio_alloc(&port->pause, on_pause, port);
    if (result == 0) result = nng_stream_listener_listen(port->listener);
    if (result != 0) {
        *why = nng_strerror(result);
        peer_port_close(port);
        return result == NNG_EADDRINUSE ? STATUS_IN_USE : STATUS_INVALID;
    }
    nng_stream_listener_accept(port->listener, port->accept);
    *out = port;
    return STATUS_OK;
}

void peer_port_close(struct peer_port *port)
{
    pthread_mutex_lock(&port->lock);
    port->closing = true;
    pthread_mutex_unlock(&port->lock);
    if (port->listener != NULL) nng_stream_listener_close(port->listener);
    if (port->pause != NULL) nng_aio_stop(port->pause);
    if (port->accept != NULL) nng_aio_stop(port->accept);
    for (;;) {
        pthread_mutex_lock(&port->lock);
        struct inbound *inbound = NULL;
        if (!list_empty(&port->live)) inbound = LIST_OF(port->live.next, struct inbound, link);
        if (inbound != NULL) nng_stream_close(inbound->stream);
        pthread_mutex_unlock(&port->lock);
        if (inbound == NULL) break;
        /* Whatever was under way ends, and its callback moves the link to the dead. */
        nng_aio_cancel(inbound->push);
        nng_aio_wait(inbound->push);
        nng_aio_wait(inbound->io);
    }
    reap(port);
    nng_aio_free(port->pause);
    nng_aio_free(port->accept);
    if (port->listener != NULL) nng_stream_listener_free(port->listener);
    pthread_mutex_destroy(&port->lock);
    free(port->members);
    free(port);
}

uint16_t peer_port_number(struct peer_port *port)
{
    int number = 0;
    if (nng_stream_listener_get_int(port->listener, NNG_OPT_TCP_BOUND_PORT, &number) != 0) return 0;
    return (uint16_t)number;
}

uint32_t peer_port_links(struct peer_port *port)
{
    pthread_mutex_lock(&port->lock);
    uint32_t count = port->count;
    pthread_mutex_unlock(&port->lock);
    return count;
}
