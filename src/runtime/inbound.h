/* Inbound: the links that other nodes dialled to this shard, from the moment that they are open. They are
 * read on the shard's own thread, as its clients are.
 *
 *      acceptor --struct accepted, by mailbox--> receive -> whole frames -> frame() ... its end --> acceptor
 *
 * The loop watches a link's socket, and what is there is received in one step (descriptor.h). Where the
 * socket can't be told, nng's callbacks raise a flag and wake the loop (uv_async).
 *
 * Back-pressure: while room() says no, nothing more is received; then the sender's TCP window closes, its
 * outbox fills, and what is above its bound is silence. A link takes memory only as its bytes come: at most a
 * frame of FRAME_PEER_BYTES_MAX and INBOUND_RECEIVE_BYTES_MAX. One that is silent for INBOUND_SILENCE_MS ends
 * (peers ping every 200 ms, and every 4 s on the link for data), and so does one whose frame is unfinished
 * INBOUND_FRAME_MS after its first byte came: a byte now and then is not silence. The largest frame needs
 * 280 KB a second, and the dialler itself gives a link for data up after 20 s without an answer. */
#pragma once

#include <uv.h>

#include "runtime/acceptor.h"

enum {
    INBOUND_RECEIVE_BYTES_MAX = 1 << 20,
    INBOUND_SILENCE_MS = 10000,
    INBOUND_FRAME_MS = 60000,
};

struct inbound_options {
    uv_loop_t *uv;
    struct acceptor *acceptor; /* borrowed */
    void *context;

    /* How long a link may say nothing, and a frame take: INBOUND_SILENCE_MS and INBOUND_FRAME_MS, but for
     * tests. At least 10. What is over is seen a tenth of the smaller one later. */
    uint32_t silence_ms, frame_ms;

    /* A whole frame came from @node, on the link for heartbeats (@beats) or on that for data. @payload is
     * borrowed until return. */
    void (*frame)(void *context, uint64_t node, bool beats, struct bytes payload);

    /* May more be received on such links? */
    bool (*room)(void *context, bool beats);
};

struct inbound;

struct inbound *inbound_start(const struct inbound_options *options);

/* Read this link from now on; it is lent until it ends, which the acceptor is then told. */
void inbound_add(struct inbound *inbound, struct accepted *accepted);

/* Let go on the links that were held, where there is room again, and receive from those that the loop does
 * not watch: once in each round of the loop, when the turns have taken what came before. True: something
 * came, and there may be more; so the poll must not wait. */
bool inbound_receive(struct inbound *inbound);

/* Receive no more; the links stay the acceptor's. The loop must run on until the handles are closed, then
 * inbound_free. */
void inbound_stop(struct inbound *inbound);
void inbound_free(struct inbound *inbound);
