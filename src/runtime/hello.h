/* Hello: the first frame of a peer link in each direction, and who is let in. Pure: bytes and values. */
#pragma once

#include <stdbool.h>

#include "base/bytes.h"
#include "base/status.h"
#include "wire/frame.h"

enum { HELLO_WHY_BYTES = 256, HELLO_FRAME_BYTES_MAX = FRAME_HEADER_BYTES + FRAME_HELLO_BYTES_MAX };

/* peer.proto's PeerHello. */
struct hello {
    uint32_t magic, version_min, version_max;
    uint64_t cluster;
    uint32_t vnodes;
    uint64_t node, incarnation;
    uint32_t from_shard, to_shard;
    bool beats;                    /* the link for heartbeats and gossip */
    char refused[HELLO_WHY_BYTES]; /* empty: welcome */
};

/* What this process says of itself. */
struct hello hello_of(uint64_t cluster, uint32_t vnodes, uint64_t node, uint64_t incarnation);

/* As a whole frame; its size. */
size_t hello_pack(const struct hello *hello, uint8_t frame[HELLO_FRAME_BYTES_MAX]);

/* STATUS_INVALID  It is no PeerHello, or its magic is not ours: somebody else's protocol. */
enum status hello_unpack(struct bytes payload, struct hello *out);

/* Can the two talk? False: *why is a sentence for the other side. Asked by both sides; who is a member, and
 * whether the same node is already there, is the acceptor's to add. */
bool hello_agree(const struct hello *self, const struct hello *other, char why[HELLO_WHY_BYTES]);
