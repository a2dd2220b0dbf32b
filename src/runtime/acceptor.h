/* Acceptor: a node's peer port. It lets peers' links in and pumps their frames into the shards' mailboxes.
 *
 *      accepted --hello--> judged --answer--> open: receive -> whole frames -> the mailbox of the shard that
 * the link names
 *                             \--refusal--> closed
 *
 * A thread of its own (the keeper) owns the connections: it judges hellos and buries the dead. While a link
 * is open its bytes belong to nng's callbacks: they cut frames and send them on to the mailbox, and receive
 * again only when the mailbox has taken all that had come: so a shard that falls behind holds back the
 * sender's TCP window, and no thread waits.
 *
 * Bounds: ACCEPTOR_HALF_OPEN_MAX connections without a hello, each for LINK_HELLO_MS at most;
 * ACCEPTOR_LINKS_MAX in all; a frame of FRAME_PEER_BYTES_MAX a link, whose memory grows only as its bytes
 * come; a link that is silent for ACCEPTOR_SILENCE_MS ends (peers ping every 200 ms). */
#pragma once

#include "runtime/hello.h"
#include "runtime/mailbox.h"

enum {
    ACCEPTOR_HALF_OPEN_MAX = 256,
    ACCEPTOR_LINKS_MAX = 4096,
    ACCEPTOR_HELLO_MS = 5000,
    ACCEPTOR_SILENCE_MS = 10000,
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

/* STATUS_IN_USE   Somebody listens on that address. STATUS_INVALID  It can't be listened on. *why: a
 * sentence. */
enum status acceptor_start(const struct acceptor_options *options, char *why, size_t why_bytes,
                           struct acceptor **out);

/* Who is let in from now on: node ids. Any thread. Links that are open stay. Until it is called the first
 * time nothing is accepted: who connects waits. So the port can be taken before the node is ready for peers.
 */
void acceptor_set_members(struct acceptor *acceptor, const uint64_t *nodes, uint32_t count);

/* The TCP port that it listens on; 0 for others. */
uint16_t acceptor_port(const struct acceptor *acceptor);

/* Close the port and all links. The mailboxes must still be there. */
void acceptor_stop(struct acceptor *acceptor);
