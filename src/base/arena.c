#include "base/arena.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"

enum { CHUNK_BYTES_MIN = 64 * 1024, CHUNK_BYTES_KEPT_MAX = 1024 * 1024 };

struct arena_chunk {
    struct arena_chunk *older;
    size_t size; /* of data */
    size_t used;
    alignas(max_align_t) uint8_t data[];
};

static void *allocator_alloc(void *data, size_t size)
{
    return arena_try(data, size);
}

static void allocator_free(void *data, void *pointer)
{
    (void)data;
    (void)pointer;
}

void arena_init(struct arena *arena, size_t bytes_max)
{
    *arena = (struct arena){.bytes_max = bytes_max};
    arena->allocator =
        (ProtobufCAllocator){.alloc = allocator_alloc, .free = allocator_free, .allocator_data = arena};
}

static void free_chunks(struct arena_chunk *chunk)
{
    while (chunk != NULL) {
        struct arena_chunk *older = chunk->older;
        free(chunk);
        chunk = older;
    }
}

void arena_fini(struct arena *arena)
{
    free_chunks(arena->chunks);
    arena->chunks = NULL;
    arena->used_bytes = 0;
}

void arena_reset(struct arena *arena)
{
    arena->used_bytes = 0;
    struct arena_chunk *chunk = arena->chunks;
    if (chunk == NULL) return;
    free_chunks(chunk->older);
    chunk->older = NULL;
    chunk->used = 0;
    if (chunk->size > CHUNK_BYTES_KEPT_MAX) {
        free(chunk);
        arena->chunks = NULL;
    }
}

/* A chunk for at least @size bytes, each twice the one before, so that a busy turn soon fits into one. */
static struct arena_chunk *grow(struct arena *arena, size_t size)
{
    size_t wanted = arena->chunks == NULL ? CHUNK_BYTES_MIN : arena->chunks->size * 2;
    if (wanted > CHUNK_BYTES_KEPT_MAX) wanted = CHUNK_BYTES_KEPT_MAX;
    if (wanted < size) wanted = size;
    struct arena_chunk *chunk = malloc(sizeof(*chunk) + wanted);
    if (chunk == NULL) return NULL;
    chunk->size = wanted;
    chunk->used = 0;
    chunk->older = arena->chunks;
    arena->chunks = chunk;
    return chunk;
}

void *arena_try(struct arena *arena, size_t size)
{
    size_t align = alignof(max_align_t);
    if (size > SIZE_MAX / 2) return NULL;
    size = (size + align - 1) & ~(align - 1);
    if (arena->bytes_max != 0 && size > arena->bytes_max - arena->used_bytes) return NULL;
    struct arena_chunk *chunk = arena->chunks;
    if (chunk == NULL || size > chunk->size - chunk->used) {
        chunk = grow(arena, size);
        if (chunk == NULL) return NULL;
    }
    void *memory = chunk->data + chunk->used;
    chunk->used += size;
    arena->used_bytes += size;
    return memory;
}

void *arena_alloc(struct arena *arena, size_t size)
{
    void *memory = arena_try(arena, size);
    CHECK(memory != NULL);
    return memory;
}

void *arena_zalloc(struct arena *arena, size_t size)
{
    return memset(arena_alloc(arena, size), 0, size);
}
