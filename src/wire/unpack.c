#include "wire/unpack.h"

/* An arena that remembers whether it was asked for more than it has: protobuf-c gives NULL for that and for
 * bytes that do not decode alike. */
struct source {
    struct arena *arena;
    bool refused;
};

static void *source_alloc(void *data, size_t size)
{
    struct source *source = data;
    void *memory = arena_try(source->arena, size);
    if (memory == NULL) source->refused = true;
    return memory;
}

static void source_free(void *data, void *pointer)
{
    (void)data;
    (void)pointer;
}

enum status unpack(const ProtobufCMessageDescriptor *type, struct bytes packed, struct arena *arena,
                   ProtobufCMessage **out)
{
    struct source source = {.arena = arena};
    ProtobufCAllocator allocator = {.alloc = source_alloc, .free = source_free, .allocator_data = &source};
    size_t before = arena->bytes_max;
    size_t bound = arena->used_bytes + UNPACK_FACTOR * packed.size + UNPACK_SLACK_BYTES;
    if (before == 0 || bound < before) arena->bytes_max = bound;
    ProtobufCMessage *message = protobuf_c_message_unpack(type, &allocator, packed.size, packed.data);
    arena->bytes_max = before;
    if (message == NULL) return source.refused ? STATUS_NO_MEMORY : STATUS_INVALID;
    *out = message;
    return STATUS_OK;
}
