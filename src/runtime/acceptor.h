/* Acceptor: a node's peer port. It lets peers' links in and hands them to the shards.
 *
 *      accepted --hello--> judged --answer--> lent to the shard that the link names ... ended
 *                             \--refusal--> closed
 *
 * A thread of its own (the keeper) owns the connections: it judges hellos and buries the dead. While a link
 * is open the shard borrows it and reads it on its own thread (inbound.h).
 *
 * Bounds: ACCEPTOR_HALF_OPEN_MAX connections without a hello, each for ACCEPTOR_HELLO_MS at most;
 * ACCEPTOR_LINKS_MAX in all. */
#pragma once

#include <stdatomic.h>

#include "runtime/hello.h"
#include "runtime/mailbox.h"

enum {
    ACCEPTOR_HALF_OPEN_MAX = 256,
    ACCEPTOR_LINKS_MAX = 8192,
    ACCEPTOR_HELLO_MS = 5000,
    ACCEPTOR_ALIVE_MS =
        2000, /* a link that was heard since then is a living one: its node is not let in twice */
};

struct acceptor_options {
    const char *address; /* tcp://HOST:PORT (port 0: any), ipc:///PATH */
    struct hello self;
    uint32_t shards;
    struct mailbox *const
        *mailboxes; /* of each shard; the last sender of each is this acceptor's. Borrowed. */
};

struct acceptor;

/* An open link, lent to a shard: it comes in a PARCEL_LINK, and goes back with acceptor_ended. The
 * keeper may close the stream meanwhile. */
struct accepted {
    struct hello hello; /* theirs */
    nng_stream *stream;
    int descriptor;   /* of its socket, to wait on; -1: not known (descriptor.h) */
    struct buffer in; /* what came behind the hello */

    /* When bytes came last, in ms of CLOCK_MONOTONIC (as uv_now): the borrower's to set. */
    atomic_uint_fast64_t heard_ms;

    /* The keeper has closed the stream: the borrower is to end with it. What is under way on it fails; but
     * nng 1.5.2 leaves a receive that begins later without an end. */
    atomic_bool closed;
};

/* Listen, and start the keeper; *why is a sentence.
 *
 * STATUS_IN_USE   Somebody listens on that address.
 * STATUS_INVALID  It can't be listened on. */
enum status acceptor_start(const struct acceptor_options *options, char *why, size_t why_bytes,
                           struct acceptor **out);

/* Who is let in from now on: node ids. Any thread. Links that are open stay. Until it is called the first
 * time nothing is accepted: who connects waits. So the port can be taken before the node is ready for peers.
 */
void acceptor_set_members(struct acceptor *acceptor, const uint64_t *nodes, uint32_t count);

/* The TCP port that it listens on; 0 for others. */
uint16_t acceptor_port(const struct acceptor *acceptor);

/* The borrower gives a link back, and its receive is no longer under way. @why: a sentence for the log, kept.
 * Any thread. */
void acceptor_ended(struct acceptor *acceptor, struct accepted *accepted, const char *why);

/* Close the port and all links: nobody borrows one any more. The mailboxes must still be there. */
void acceptor_stop(struct acceptor *acceptor);
