#include "runtime/hello.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/arena.h"
#include "base/check.h"
#include "peer.pb-c.h"
#include "wire/unpack.h"

struct hello hello_of(uint64_t cluster, uint32_t vnodes, uint64_t node, uint64_t incarnation)
{
    return (struct hello){
        .magic = PEER_HELLO_MAGIC,
        .version_min = PEER_PROTOCOL_VERSION,
        .version_max = PEER_PROTOCOL_VERSION,
        .cluster = cluster,
        .vnodes = vnodes,
        .node = node,
        .incarnation = incarnation,
    };
}

size_t hello_pack(const struct hello *hello, uint8_t frame[HELLO_FRAME_BYTES_MAX])
{
    Dynode__Peer__PeerHello message = DYNODE__PEER__PEER_HELLO__INIT;
    message.magic = hello->magic;
    message.version_min = hello->version_min;
    message.version_max = hello->version_max;
    message.cluster = hello->cluster;
    message.vnodes = hello->vnodes;
    message.node = hello->node;
    message.incarnation = hello->incarnation;
    message.from_shard = hello->from_shard;
    message.to_shard = hello->to_shard;
    message.beats = hello->beats;
    message.refused = (char *)(uintptr_t)hello->refused; /* packing only reads */
    size_t size = dynode__peer__peer_hello__get_packed_size(&message);
    CHECK(size <= FRAME_HELLO_BYTES_MAX);
    frame_header(frame, size);
    dynode__peer__peer_hello__pack(&message, frame + FRAME_HEADER_BYTES);
    return FRAME_HEADER_BYTES + size;
}

enum status hello_unpack(struct bytes payload, struct hello *out)
{
    struct arena arena;
    ProtobufCMessage *unpacked;
    arena_init(&arena, 0);
    enum status status = unpack(&dynode__peer__peer_hello__descriptor, payload, &arena, &unpacked);
    if (status == STATUS_OK) {
        const Dynode__Peer__PeerHello *message = (const Dynode__Peer__PeerHello *)unpacked;
        *out = (struct hello){
            .magic = message->magic,
            .version_min = message->version_min,
            .version_max = message->version_max,
            .cluster = message->cluster,
            .vnodes = message->vnodes,
            .node = message->node,
            .incarnation = message->incarnation,
            .from_shard = message->from_shard,
            .to_shard = message->to_shard,
            .beats = message->beats != 0,
        };
        snprintf(out->refused, sizeof(out->refused), "%s", message->refused);
        if (out->magic != PEER_HELLO_MAGIC) status = STATUS_INVALID;
    }
    arena_fini(&arena);
    return status == STATUS_OK ? STATUS_OK : STATUS_INVALID;
}

bool hello_agree(const struct hello *self, const struct hello *other, char why[HELLO_WHY_BYTES])
{
    if (other->version_min > self->version_max || other->version_max < self->version_min)
        snprintf(why, HELLO_WHY_BYTES,
                 "peer protocol versions %" PRIu32 " to %" PRIu32 " are spoken there, %" PRIu32 " to %" PRIu32
                 " here",
                 other->version_min, other->version_max, self->version_min, self->version_max);
    else if (other->cluster != self->cluster)
        snprintf(why, HELLO_WHY_BYTES, "cluster %016" PRIx64 " is there, %016" PRIx64 " here", other->cluster,
                 self->cluster);
    else if (other->vnodes != self->vnodes)
        snprintf(why, HELLO_WHY_BYTES, "%" PRIu32 " vnodes are configured there, %" PRIu32 " here",
                 other->vnodes, self->vnodes);
    else if (other->node == self->node)
        snprintf(why, HELLO_WHY_BYTES, "node id %016" PRIx64 " is this node's own", other->node);
    else
        return true;
    return false;
}
