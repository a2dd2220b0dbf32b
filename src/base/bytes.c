#include "base/bytes.h"

#include <stdlib.h>

#include "base/arena.h"
#include "base/check.h"

int bytes_compare(struct bytes a, struct bytes b)
{
    size_t common = a.size < b.size ? a.size : b.size;
    int order = common == 0 ? 0 : memcmp(a.data, b.data, common);
    if (order != 0) return order;
    return a.size < b.size ? -1 : a.size > b.size;
}

struct bytes bytes_copy(struct arena *arena, struct bytes from)
{
    uint8_t *to = arena_alloc(arena, from.size);
    if (from.size > 0) memcpy(to, from.data, from.size);
    return bytes_of(to, from.size);
}

void buffer_fini(struct buffer *buffer)
{
    free(buffer->data);
    *buffer = (struct buffer){0};
}

void buffer_clear(struct buffer *buffer)
{
    buffer->size = 0;
}

void buffer_grow(struct buffer *buffer, size_t size)
{
    size_t need = buffer->size + size;
    CHECK(need >= size);
    size_t capacity = buffer->capacity < 256 ? 256 : buffer->capacity;
    while (capacity < need) capacity *= 2;
    uint8_t *data = realloc(buffer->data, capacity);
    CHECK(data != NULL);
    buffer->data = data;
    buffer->capacity = capacity;
}

void buffer_append(struct buffer *buffer, const void *data, size_t size)
{
    if (size == 0) return;
    memcpy(buffer_reserve(buffer, size), data, size);
    buffer->size += size;
}

void buffer_consume(struct buffer *buffer, size_t size)
{
    CHECK(size <= buffer->size);
    buffer->size -= size;
    if (buffer->size > 0) memmove(buffer->data, buffer->data + size, buffer->size);
}
