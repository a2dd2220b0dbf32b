/* Connection: one client's socket, its unfinished input and its unsent output. It splits what it reads into
 * frames and writes as much as the socket takes at once; it knows no loop, no shard and no clock but the
 * times it is given, and it never waits.
 *
 *                    hello is good             end, or refused              all is written
 *      HELLO --------------------------> SERVING --------> ENDING ----------------------------> LINGERING
 *
 * LINGERING: our side is shut, and what the client still sends is thrown away for a moment: closing a socket
 * with unread input would reset it, and the client would lose the last answer. */
#pragma once

#include <sys/uio.h>

#include "base/bytes.h"

enum connection_state { CONNECTION_HELLO, CONNECTION_SERVING, CONNECTION_ENDING, CONNECTION_LINGERING };

/* Bounds; the defaults are CONNECTION_LIMITS, tests use smaller ones. */
struct connection_limits {
    uint32_t hello_ms; /* from accepting to a whole hello */
    uint32_t frame_ms; /* from the first byte of a frame to its last */
    uint32_t write_ms; /* without a byte written while some wait */
    uint32_t linger_ms;
    size_t read_bytes;       /* at once */
    size_t unsent_pause;     /* above: not read; until half of it */
    size_t unsent_bytes_max; /* above: ended */
};

#define CONNECTION_LIMITS                                                                                    \
    ((struct connection_limits){.hello_ms = 5000,                                                            \
                                .frame_ms = 60000,                                                           \
                                .write_ms = 30000,                                                           \
                                .linger_ms = 1000,                                                           \
                                .read_bytes = 256 * 1024,                                                    \
                                .unsent_pause = 1024 * 1024,                                                 \
                                .unsent_bytes_max = 64 * 1024 * 1024})

/* Why a connection ended when it is nobody's fault; others are logged as warnings. */
extern const char connection_gone[];

struct connection {
    int fd;
    enum connection_state state;
    bool paused;       /* too much is unsent: not read */
    struct buffer in;  /* the beginning of a frame */
    struct buffer out; /* from out_sent on not written yet */
    size_t out_sent;
    uint64_t since_ms;       /* HELLO: accepted; LINGERING: since when */
    uint64_t frame_since_ms; /* when `in` began */
    uint64_t write_since_ms; /* the last byte written, or the first one waiting */
};

/* @fd is non-blocking and becomes the connection's. */
void connection_init(struct connection *c, int fd, enum connection_state state, uint64_t now_ms);
void connection_fini(struct connection *c); /* closes the fd, if there is one */

/* What takes the whole frames, in order. False: stop; what follows stays in c->in. It must not end the
 * connection. */
struct connection_sink {
    bool (*frame)(void *context, struct connection *c, struct bytes payload);
    void *context;
};

/* Read once, into @scratch of @scratch_bytes, and give each whole frame to @sink. While LINGERING input is
 * thrown away. Not NULL: the connection must end, and why (static memory). */
const char *connection_read(struct connection *c, uint8_t *scratch, size_t scratch_bytes, uint64_t now_ms,
                            const struct connection_sink *sink);

/* The same for bytes that were read elsewhere. */
const char *connection_feed(struct connection *c, struct bytes input, uint64_t now_ms,
                            const struct connection_sink *sink);

/* Write what waits, then @pieces; what the socket does not take is copied. Not NULL: as above. */
const char *connection_write(struct connection *c, const struct connection_limits *limits,
                             const struct iovec *pieces, size_t count, uint64_t now_ms);

/* Has a bound of time passed? Not NULL: as above. */
const char *connection_expired(const struct connection *c, const struct connection_limits *limits,
                               uint64_t now_ms);

/* Could a bound of time pass, if nothing more happened? */
bool connection_has_deadline(const struct connection *c);

static inline size_t connection_unsent(const struct connection *c)
{
    return c->out.size - c->out_sent;
}

/* Memory that it holds for others' slowness. */
static inline size_t connection_held_bytes(const struct connection *c)
{
    return c->in.capacity + c->out.capacity;
}
