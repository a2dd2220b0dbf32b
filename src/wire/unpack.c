#include "wire/unpack.h"

enum status unpack(const ProtobufCMessageDescriptor *type, struct bytes packed, struct arena *arena,
                   ProtobufCMessage **out)
{
    size_t before = arena->bytes_max;
    size_t bound = arena->used_bytes + UNPACK_FACTOR * packed.size + UNPACK_SLACK_BYTES;
    bool tighter = before == 0 || bound < before;
    if (tighter) arena->bytes_max = bound;
    ProtobufCMessage *message =
        protobuf_c_message_unpack(type, arena_allocator(arena), packed.size, packed.data);
    size_t slack = arena->bytes_max - arena->used_bytes;
    arena->bytes_max = before;
    if (message == NULL) return slack < 4096 ? STATUS_NO_MEMORY : STATUS_INVALID;
    *out = message;
    return STATUS_OK;
}
