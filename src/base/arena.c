#include "base/arena.h"

#include <stdbool.h>
#include <stdlib.h>

enum { CHUNK_BYTES_MIN = 64 * 1024, CHUNK_BYTES_KEPT_MAX = 1024 * 1024 };

struct arena_chunk {
    struct arena_chunk *older;
    size_t size; /* of data */
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

/* Make @chunk the newest, with all of it left; NULL: there is none. */
static void use_chunk(struct arena *arena, struct arena_chunk *chunk)
{
    arena->chunks = chunk;
    arena->next = chunk == NULL ? NULL : chunk->data;
    arena->end = chunk == NULL ? NULL : chunk->data + chunk->size;
}

/* The newest chunks, as far as @kept. */
static void free_chunks(struct arena *arena, struct arena_chunk *kept)
{
    for (struct arena_chunk *chunk = arena->chunks, *older; chunk != kept; chunk = older) {
        older = chunk->older;
        free(chunk);
    }
    use_chunk(arena, kept);
}

void arena_fini(struct arena *arena)
{
    free_chunks(arena, NULL);
    arena->used_bytes = 0;
}

void arena_reset(struct arena *arena)
{
    arena->used_bytes = 0;
    struct arena_chunk *newest = arena->chunks;
    if (newest == NULL) return;
    if (newest->size > CHUNK_BYTES_KEPT_MAX) {
        free_chunks(arena, NULL);
        return;
    }
    arena->chunks = newest->older;
    free_chunks(arena, NULL);
    newest->older = NULL;
    use_chunk(arena, newest);
}

void arena_rewind(struct arena *arena, struct arena_mark mark)
{
    if (arena->chunks != mark.chunk) free_chunks(arena, mark.chunk);
    if (mark.chunk != NULL) arena->next = mark.next;
    arena->used_bytes = mark.used_bytes;
}

/* A chunk for at least @size bytes, each twice the one before, so that a busy turn soon fits into one. */
static bool grow(struct arena *arena, size_t size)
{
    size_t wanted = arena->chunks == NULL ? CHUNK_BYTES_MIN : arena->chunks->size * 2;
    if (wanted > CHUNK_BYTES_KEPT_MAX) wanted = CHUNK_BYTES_KEPT_MAX;
    if (wanted < size) wanted = size;
    struct arena_chunk *chunk = malloc(sizeof(*chunk) + wanted);
    if (chunk == NULL) return false;
    chunk->size = wanted;
    chunk->older = arena->chunks;
    use_chunk(arena, chunk);
    return true;
}

void *arena_try_slowly(struct arena *arena, size_t size)
{
    size_t align = alignof(max_align_t);
    if (size > SIZE_MAX / 2) return NULL;
    size = (size + align - 1) & ~(align - 1);
    if (arena->bytes_max != 0 && size > arena->bytes_max - arena->used_bytes) return NULL;
    if (arena->next == NULL || size > (size_t)(arena->end - arena->next)) {
        if (!grow(arena, size)) return NULL;
    }
    void *memory = arena->next;
    arena->next += size;
    arena->used_bytes += size;
    return memory;
}
