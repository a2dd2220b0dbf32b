/* Links: the links of one lane (actor/outbox.h) that one shard dials, one to each peer. All it sends to a
 * node on that lane leaves through that node's link.
 *
 *      down --dial--> dialling --> hello --> up --lost--> down
 *
 * and again after 50 ms to half a second, growing, with jitter; at once when the peer itself is heard of.
 *
 * A link has one write in flight: all that the shard has for the node when the last write is done goes out in
 * the next. What the socket takes at once is written on the shard's thread, and wakes nobody. The other
 * direction carries the acceptor's hello and nothing more, so one read stands there and means the link's end.
 *
 * All of it belongs to the shard's thread. nng's callbacks only raise a flag and wake the loop (uv_async);
 * after a write that nobody waits behind they do not even wake. What was in flight when a link is lost is
 * dropped: silence. */
#pragma once

#include <uv.h>

#include "base/bytes.h"
#include "runtime/hello.h"

enum {
    LINK_DIAL_MS = 500, /* to connect: a new attempt is sooner there than TCP's next try of the old one ... */
    LINK_DIAL_LONG_MS = 1500, /* ... and every other one may take so long, for far peers */
    LINK_HELLO_MS = 5000,     /* to be answered */
    LINK_HURRY_MS = 100,      /* an attempt to connect that is so old is begun anew if the peer is heard of */
    LINK_RETRY_MS_MIN = 50,
    LINK_RETRY_MS_MAX = 500,
    LINK_WRITE_BYTES = 1024 * 1024, /* a frame ends after the message that reaches it */
};

struct links_options {
    uv_loop_t *uv;
    struct hello self; /* with from_shard, and which lane's they are */
    uint64_t seed;     /* of the jitter */
    void *context;

    /* A link came up or went down. */
    void (*changed)(void *context, uint64_t node, bool up);

    /* Fill the empty *batch with what is queued for @node, up to about @bytes_max. False: nothing is. */
    bool (*take)(void *context, uint64_t node, size_t bytes_max, struct buffer *batch);
};

struct links;

struct links *links_start(const struct links_options *options);

/* Keep a link to @node at @address (tcp://HOST:PORT, ipc:///PATH), as its own record says, or at @configured,
 * NULL for none, in turn while no link comes up: a node that was away may have moved, and then it is the
 * configuration that knows. Changed addresses count from the next dialling on. With an empty @address
 * neither is dialled. */
void links_set_peer(struct links *links, uint64_t node, const char *name, const char *address,
                    const char *configured);

/* Something is queued for @node: write it, now or behind the write in flight. */
void links_ship(struct links *links, uint64_t node);

/* Give up the link to @node, if it is up, and dial anew: it is believed dead. */
void links_reset(struct links *links, uint64_t node, const char *why);

/* @node has dialled us, or the other lane's link to it is up: it is there, so dial it now. */
void links_hurry(struct links *links, uint64_t node);

bool links_is_up(struct links *links, uint64_t node);

/* Close all; changed is not called. The loop must run on until the handles are closed, then links_free. */
void links_stop(struct links *links);
void links_free(struct links *links);
