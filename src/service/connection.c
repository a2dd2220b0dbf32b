#include "service/connection.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/check.h"
#include "wire/frame.h"

enum { KEEP_BYTES = 16384 /* of an empty buffer's memory */ };

const char connection_gone[] = "the client went away";

void connection_init(struct connection *c, int fd, enum connection_state state, uint64_t now_ms)
{
    *c = (struct connection){.fd = fd, .state = state, .since_ms = now_ms};
}

void connection_fini(struct connection *c)
{
    if (c->fd >= 0) close(c->fd);
    buffer_fini(&c->in);
    buffer_fini(&c->out);
    c->fd = -1;
}

static void give_back(struct buffer *buffer)
{
    if (buffer->size == 0 && buffer->capacity > KEEP_BYTES) buffer_fini(buffer);
}

/* Take the whole frames from the front of @input; *taken is where the rest begins. */
static const char *split(struct connection *c, struct bytes input, size_t *taken,
                         const struct connection_sink *sink)
{
    *taken = 0;
    while (*taken < input.size) {
        size_t most = c->state == CONNECTION_HELLO ? FRAME_HELLO_BYTES_MAX : FRAME_CLIENT_BYTES_MAX;
        struct bytes payload;
        size_t size;
        switch (frame_next(bytes_of(input.data + *taken, input.size - *taken), most, &payload, &size)) {
        case FRAME_PARTIAL:
            return NULL;
        case FRAME_BAD:
            if (size == 0) return "a frame of length 0";
            return c->state == CONNECTION_HELLO ? "its first frame is no hello: longer than 1 KiB"
                                                : "a frame longer than 4 MiB";
        case FRAME_WHOLE:
            *taken += size;
            if (!sink->frame(sink->context, c, payload)) return NULL;
        }
    }
    return NULL;
}

const char *connection_feed(struct connection *c, struct bytes input, uint64_t now_ms,
                            const struct connection_sink *sink)
{
    size_t taken;
    const char *why;
    if (c->in.size == 0) { /* the common case: whole frames are never copied here */
        why = split(c, input, &taken, sink);
        if (taken < input.size) buffer_append(&c->in, input.data + taken, input.size - taken);
    } else {
        buffer_append(&c->in, input.data, input.size);
        why = split(c, buffer_bytes(&c->in), &taken, sink);
        if (taken == 0) return why; /* the same frame as before */
        buffer_consume(&c->in, taken);
    }
    c->frame_since_ms = now_ms;
    give_back(&c->in);
    return why;
}

const char *connection_read(struct connection *c, uint8_t *scratch, size_t scratch_bytes, uint64_t now_ms,
                            const struct connection_sink *sink)
{
    ssize_t size = recv(c->fd, scratch, scratch_bytes, 0);
    if (size < 0) return errno == EAGAIN || errno == EINTR ? NULL : connection_gone;
    if (size == 0) return connection_gone;
    if (c->state == CONNECTION_LINGERING) return NULL;
    return connection_feed(c, bytes_of(scratch, (size_t)size), now_ms, sink);
}

/* One attempt. -1: the socket is dead. */
static ssize_t send_pieces(int fd, const struct iovec *pieces, size_t count)
{
    struct msghdr message = {.msg_iov = (struct iovec *)pieces, .msg_iovlen = count}; /* it only reads them */
    ssize_t size;
    do {
        size = sendmsg(fd, &message, MSG_NOSIGNAL);
    } while (size < 0 && errno == EINTR);
    return size >= 0 ? size : errno == EAGAIN ? 0 : -1;
}

const char *connection_write(struct connection *c, const struct connection_limits *limits,
                             const struct iovec *pieces, size_t count, uint64_t now_ms)
{
    size_t skip = 0; /* bytes of @pieces that the socket took */
    ssize_t sent = 0;
    size_t unsent = connection_unsent(c);
    if (unsent > 0) {
        sent =
            send_pieces(c->fd, &(struct iovec){.iov_base = c->out.data + c->out_sent, .iov_len = unsent}, 1);
        if (sent > 0) c->out_sent += (size_t)sent;
    } else if (count > 0) {
        sent = send_pieces(c->fd, pieces, count);
        if (sent > 0) skip = (size_t)sent;
    }
    if (sent < 0) return connection_gone;
    if (sent > 0 || unsent == 0) c->write_since_ms = now_ms;

    if (c->out_sent == c->out.size) {
        buffer_clear(&c->out);
        c->out_sent = 0;
    } else if (c->out_sent > c->out.size / 2) {
        buffer_consume(&c->out, c->out_sent);
        c->out_sent = 0;
    }
    for (size_t i = 0; i < count; i++) {
        size_t past = skip < pieces[i].iov_len ? skip : pieces[i].iov_len;
        buffer_append(&c->out, (const uint8_t *)pieces[i].iov_base + past, pieces[i].iov_len - past);
        skip -= past;
    }
    give_back(&c->out);

    unsent = connection_unsent(c);
    if (unsent > limits->unsent_bytes_max) return "more than 64 MiB of answers wait for it: it does not read";
    if (unsent > limits->unsent_pause) c->paused = true;
    if (c->paused && unsent <= limits->unsent_pause / 2) {
        c->paused = false;
        c->frame_since_ms = now_ms; /* it was we who did not read */
    }
    return NULL;
}

const char *connection_expired(const struct connection *c, const struct connection_limits *limits,
                               uint64_t now_ms)
{
    if (c->state == CONNECTION_HELLO && now_ms - c->since_ms >= limits->hello_ms)
        return "it sent no hello in time";
    if (c->state == CONNECTION_LINGERING && now_ms - c->since_ms >= limits->linger_ms) return connection_gone;
    if (connection_unsent(c) > 0 && now_ms - c->write_since_ms >= limits->write_ms) {
        return "it does not read its answers";
    }
    if (c->state == CONNECTION_SERVING && !c->paused && c->in.size > 0 &&
        now_ms - c->frame_since_ms >= limits->frame_ms) {
        return "a frame that it does not finish";
    }
    return NULL;
}

bool connection_has_deadline(const struct connection *c)
{
    return c->state != CONNECTION_SERVING || connection_unsent(c) > 0 || c->in.size > 0;
}
