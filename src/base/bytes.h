/* Bytes: a borrowed run of bytes (struct bytes) and a growing buffer that owns its own (struct buffer). */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct arena;

/* Borrowed, never freed through this. size 0 may have data NULL. */
struct bytes {
    const uint8_t *data;
    size_t size;
};

static inline struct bytes bytes_of(const void *data, size_t size)
{
    return (struct bytes){.data = data, .size = size};
}

/* The characters of a string, without its NUL. */
static inline struct bytes bytes_str(const char *string)
{
    return bytes_of(string, strlen(string));
}

static inline bool bytes_equal(struct bytes a, struct bytes b)
{
    return a.size == b.size && (a.size == 0 || memcmp(a.data, b.data, a.size) == 0);
}

/* As memcmp, and a prefix sorts before what it begins. */
int bytes_compare(struct bytes a, struct bytes b);

/* A copy that belongs to @arena. Ends the process when the arena is at its bound: use it for sizes already
 * checked. */
struct bytes bytes_copy(struct arena *arena, struct bytes from);

/* Owns its memory, doubles as it grows. Zero-initialised is empty and valid. */
struct buffer {
    uint8_t *data;
    size_t size;
    size_t capacity;
};

void buffer_fini(struct buffer *buffer);
void buffer_clear(struct buffer *buffer);

/* Other memory, with room for @size more bytes. */
void buffer_grow(struct buffer *buffer, size_t size);

/* Room for @size more bytes at data + size, which the caller fills and then adds with buffer->size += ... */
static inline uint8_t *buffer_reserve(struct buffer *buffer, size_t size)
{
    if (size > buffer->capacity - buffer->size || buffer->data == NULL) buffer_grow(buffer, size);
    return buffer->data + buffer->size;
}

void buffer_append(struct buffer *buffer, const void *data, size_t size);

/* Take the first @size bytes away. */
void buffer_consume(struct buffer *buffer, size_t size);

static inline struct bytes buffer_bytes(const struct buffer *buffer)
{
    return bytes_of(buffer->data, buffer->size);
}

/* Big-endian integers, for keys that sort and for frame lengths. */
static inline void put_be16(uint8_t *to, uint16_t v)
{
    to[0] = (uint8_t)(v >> 8), to[1] = (uint8_t)v;
}
static inline void put_be32(uint8_t *to, uint32_t v)
{
    put_be16(to, (uint16_t)(v >> 16)), put_be16(to + 2, (uint16_t)v);
}
static inline void put_be64(uint8_t *to, uint64_t v)
{
    put_be32(to, (uint32_t)(v >> 32)), put_be32(to + 4, (uint32_t)v);
}
static inline uint16_t get_be16(const uint8_t *from)
{
    return (uint16_t)((uint16_t)from[0] << 8 | from[1]);
}
static inline uint32_t get_be32(const uint8_t *from)
{
    return (uint32_t)get_be16(from) << 16 | get_be16(from + 2);
}
static inline uint64_t get_be64(const uint8_t *from)
{
    return (uint64_t)get_be32(from) << 32 | get_be32(from + 4);
}
