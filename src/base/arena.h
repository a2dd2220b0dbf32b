/* Arena: memory that is given back all at once.
 *
 * A turn unpacks, merges and answers in one arena that is reset when the turn ends: no frees, no leaks. An
 * arena belongs to one thread. The bound keeps what a peer or a client sends from growing the heap
 * (protobuf-c itself has none: 1 MiB of empty repeated messages becomes 50-90 MiB). */
#pragma once

#include <stdalign.h>
#include <stddef.h>

#include <protobuf-c/protobuf-c.h>

struct arena_chunk;

struct arena {
    struct arena_chunk *chunks; /* newest first */
    size_t used_bytes;          /* since the last reset */
    size_t bytes_max;           /* 0: no bound */
    ProtobufCAllocator allocator;
};

/* @bytes_max is the bound between resets, 0 for none. Allocates nothing yet. The arena must not move
 * afterwards. */
void arena_init(struct arena *arena, size_t bytes_max);
void arena_fini(struct arena *arena);

/* Forget everything, keep the first chunk for reuse (up to 1 MiB; larger ones are freed). */
void arena_reset(struct arena *arena);

/* Uninitialised memory, aligned for any type. NULL when the bound is reached. size 0 gives a valid pointer.
 */
void *arena_try(struct arena *arena, size_t size);

/* As arena_try, for sizes our own code has bounded: ends the process at the bound. */
void *arena_alloc(struct arena *arena, size_t size);

/* arena_alloc, zeroed. */
void *arena_zalloc(struct arena *arena, size_t size);

#define ARENA_NEW(arena, type)          ((type *)arena_zalloc((arena), sizeof(type)))
#define ARENA_ARRAY(arena, type, count) ((type *)arena_alloc((arena), sizeof(type) * (count)))

/* What protobuf-c unpacks with: allocates from the arena, NULL at its bound, free is a no-op. */
static inline ProtobufCAllocator *arena_allocator(struct arena *arena)
{
    return &arena->allocator;
}
