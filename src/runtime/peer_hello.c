#include "runtime/peer_hello.h"

#include <stdio.h>

#include "base/arena.h"
#include "base/check.h"
#include "peer.pb-c.h"
#include "wire/unpack.h"

size_t peer_hello_frame(const struct peer_hello *hello, uint8_t frame[PEER_HELLO_FRAME_BYTES])
{
    Dynode__Peer__PeerHello message = DYNODE__PEER__PEER_HELLO__INIT;
    message.magic = PEER_HELLO_MAGIC;
    message.version_min = message.version_max = PEER_PROTOCOL_VERSION;
    message.cluster = hello->from.cluster;
    message.vnodes = hello->from.vnodes;
    message.node = hello->from.node;
    message.incarnation = hello->from.incarnation;
    message.from_shard = hello->from_shard;
    message.to_shard = hello->to_shard;
    message.refused = (char *)(uintptr_t)hello->refused;
    size_t size = dynode__peer__peer_hello__get_packed_size(&message);
    CHECK(size <= FRAME_HELLO_BYTES_MAX);
    frame_header(frame, size);
    dynode__peer__peer_hello__pack(&message, frame + FRAME_HEADER_BYTES);
    return FRAME_HEADER_BYTES + size;
}

enum status peer_hello_read(struct bytes input, struct peer_hello *hello, size_t *used, const char **why)
{
    struct bytes payload;
    enum frame_state state = frame_next(input, FRAME_HELLO_BYTES_MAX, &payload, used);
    if (state == FRAME_PARTIAL) return STATUS_NOT_FOUND;
    *why = "it does not speak dynode's peer protocol";
    if (state == FRAME_BAD) return STATUS_INVALID;
    struct arena arena;
    arena_init(&arena, 0);
    ProtobufCMessage *unpacked;
    enum status status = unpack(&dynode__peer__peer_hello__descriptor, payload, &arena, &unpacked);
    if (status == STATUS_OK) {
        const Dynode__Peer__PeerHello *message = (Dynode__Peer__PeerHello *)unpacked;
        if (message->magic != PEER_HELLO_MAGIC || message->node == 0) {
            status = STATUS_INVALID;
        } else if (message->version_min > PEER_PROTOCOL_VERSION ||
                   message->version_max < PEER_PROTOCOL_VERSION) {
            status = STATUS_WRONG_VERSION;
            *why = "it speaks no version of the peer protocol that this node speaks (1)";
        }
        *hello = (struct peer_hello){
            .from = {.cluster = message->cluster,
                     .vnodes = message->vnodes,
                     .node = message->node,
                     .incarnation = message->incarnation},
            .from_shard = message->from_shard,
            .to_shard = message->to_shard,
        };
        snprintf(hello->refused, sizeof(hello->refused), "%s", message->refused);
    } else {
        status = STATUS_INVALID;
    }
    arena_fini(&arena);
    return status;
}

bool peer_hello_fits(const struct peer_identity *self, const struct peer_hello *hello, char *refused,
                     size_t refused_bytes)
{
    if (hello->from.cluster != self->cluster)
        snprintf(refused, refused_bytes, "it is of cluster %016llx, this node of %016llx",
                 (unsigned long long)hello->from.cluster, (unsigned long long)self->cluster);
    else if (hello->from.vnodes != self->vnodes)
        snprintf(refused, refused_bytes, "its cluster has %u vnodes, this node's has %u", hello->from.vnodes,
                 self->vnodes);
    else if (hello->from.node == self->node)
        snprintf(refused, refused_bytes, "it has this node's own id, %016llx",
                 (unsigned long long)self->node);
    else
        return true;
    return false;
}
