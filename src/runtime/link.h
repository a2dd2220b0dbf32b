/* Link: one connection that a shard has dialled to a peer node, and the only way its messages go there.
 *
 *                  dialled               hello sent             the peer's hello: welcome
 *      WAITING --> DIALLING --> GREETING ---------> LISTENING --------------------------> UP
 *         ^            |            |                   |                                 |
 *         +------------+------------+-------------------+------- lost, refused, late -----+
 *           (a pause with jitter, twice as long after each failure)
 *
 * A link belongs to its shard's thread: everything happens in link_step. What nng calls on its own threads
 * only notes that an operation has ended and wakes the shard (options.wake). There is at most one write under
 * way; what is queued meanwhile goes out in the next. Nothing comes back on a link but the peer's hello: any
 * byte more, or the end of the stream, and it is lost. What it had not sent is dropped: to a coordinator that
 * is silence. */
#pragma once

#include <stdbool.h>

#include "base/bytes.h"
#include "runtime/peer_hello.h"

enum {
    LINK_PAUSE_NS_MIN = 50 * 1000 * 1000,
    LINK_PAUSE_NS_MAX = 2000 * 1000 * 1000,
    LINK_GREETING_MS_MAX = 5000, /* for dialling and for both hellos */
};

struct link_options {
    struct peer_identity self;
    uint32_t shard;              /* from; to the peer's shard of the same number, modulo its shards */
    uint64_t peer;               /* node id that must answer */
    const char *address;         /* tcp://HOST:PORT, ipc:///PATH; copied */
    uint64_t seed;               /* of the jitter */
    void (*wake)(void *context); /* called on nng's threads: let the shard's thread call link_step soon */
    void *context;
};

struct link;

/* Heap. Begins to dial at the first link_step.
 * NULL: the address is none that nng understands. */
struct link *link_alloc(const struct link_options *options);

/* Ends the connection and waits for nng's operations on it to end. */
void link_free(struct link *link);

/* Go on as far as it goes without waiting. Call after a wake, and when link_next_ns has come. */
void link_step(struct link *link, uint64_t now_ns);

/* When link_step must be called even without a wake; UINT64_MAX: never. */
uint64_t link_next_ns(const struct link *link);

/* Greeted and welcome: what is given to link_send goes to the peer. */
bool link_up(const struct link *link);

/* Up, and no write is under way. */
bool link_ready(const struct link *link);

/* Send a batch of 1 to FRAME_PEER_BYTES_MAX bytes. Only when link_ready. The memory of @batch is taken: it is
 * empty afterwards, with the memory of the batch before. */
void link_send(struct link *link, struct buffer *batch);

/* Why the link is not up, for people; empty while it is. Belongs to the link, until its next step. */
const char *link_trouble(const struct link *link);
