/* Peer hello: the first frame in each direction of a link between nodes (peer.proto's PeerHello): who is
 * calling, and whether he may. */
#pragma once

#include "base/bytes.h"
#include "base/status.h"
#include "wire/frame.h"

/* What a node says of itself in every hello. */
struct peer_identity {
    uint64_t cluster;
    uint32_t vnodes;
    uint64_t node;
    uint64_t incarnation; /* wall time of its start, ms */
};

struct peer_hello {
    struct peer_identity from;
    uint32_t from_shard;
    uint32_t to_shard;
    char refused[128]; /* in the acceptor's hello: why the link ends; empty: welcome */
};

enum { PEER_HELLO_FRAME_BYTES = FRAME_HEADER_BYTES + FRAME_HELLO_BYTES_MAX };

/* Write the whole frame to @frame; the size it took. */
size_t peer_hello_frame(const struct peer_hello *hello, uint8_t frame[PEER_HELLO_FRAME_BYTES]);

/* Read a hello's frame from the start of what has come. *used is the frame's size.
 * STATUS_NOT_FOUND      More must come.
 * STATUS_INVALID        It is no hello; *why (static memory).
 * STATUS_WRONG_VERSION  It speaks no version of ours; *why. */
enum status peer_hello_read(struct bytes input, struct peer_hello *hello, size_t *used, const char **why);

/* May @hello's sender talk to @self? Writes the reason into @refused if not. Who is a member is the caller's
 * matter. */
bool peer_hello_fits(const struct peer_identity *self, const struct peer_hello *hello, char *refused,
                     size_t refused_bytes);
