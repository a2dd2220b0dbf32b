/* Arena: memory that is given back all at once.
 *
 * A turn unpacks, merges and answers in one arena that is reset when the turn ends: no frees, no leaks. An
 * arena belongs to one thread. The bound keeps what a peer or a client sends from growing the heap
 * (protobuf-c itself has none: 1 MiB of empty repeated messages becomes 50-90 MiB). */
#pragma once

#include <stdalign.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <protobuf-c/protobuf-c.h>

#include "base/check.h"

struct arena_chunk;

struct arena {
    struct arena_chunk *chunks; /* newest first */
    uint8_t *next, *end;        /* what is left of the newest */
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

/* arena_try where that has to ask for a chunk, or the arena has a bound. */
void *arena_try_slowly(struct arena *arena, size_t size);

/* Uninitialised memory, aligned for any type. NULL when the bound is reached. size 0 gives a valid pointer.
 */
static inline void *arena_try(struct arena *arena, size_t size)
{
    size_t rounded = (size + alignof(max_align_t) - 1) & ~(alignof(max_align_t) - 1);
    if (rounded < size || rounded > (size_t)(arena->end - arena->next) || arena->next == NULL ||
        (arena->bytes_max != 0 && rounded > arena->bytes_max - arena->used_bytes))
        return arena_try_slowly(arena, size);
    void *memory = arena->next;
    arena->next += rounded;
    arena->used_bytes += rounded;
    return memory;
}

/* As arena_try, for sizes our own code has bounded: ends the process at the bound. */
static inline void *arena_alloc(struct arena *arena, size_t size)
{
    void *memory = arena_try(arena, size);
    CHECK(memory != NULL);
    return memory;
}

/* arena_alloc, zeroed. */
static inline void *arena_zalloc(struct arena *arena, size_t size)
{
    return memset(arena_alloc(arena, size), 0, size);
}

/* Where an arena stands, to give back what is taken from here on: for an attempt that may come to nothing. */
struct arena_mark {
    struct arena_chunk *chunk;
    uint8_t *next;
    size_t used_bytes;
};

static inline struct arena_mark arena_mark(const struct arena *arena)
{
    return (struct arena_mark){arena->chunks, arena->next, arena->used_bytes};
}

/* Since the mark the arena was not reset, nor rewound to an earlier one. */
void arena_rewind(struct arena *arena, struct arena_mark mark);

#define ARENA_NEW(arena, type)          ((type *)arena_zalloc((arena), sizeof(type)))
#define ARENA_ARRAY(arena, type, count) ((type *)arena_alloc((arena), sizeof(type) * (count)))

/* What protobuf-c unpacks with: allocates from the arena, NULL at its bound, free is a no-op. */
static inline ProtobufCAllocator *arena_allocator(struct arena *arena)
{
    return &arena->allocator;
}
