/* Varint: protobuf's two numbers, for pack and unpack, and for messages that are packed and read by hand
 * because they are put together from parts, or because protobuf-c's structs would cost more than all the
 * rest. */
#pragma once

#include <endian.h>

#include "base/bytes.h"

enum { VARINT_BYTES_MAX = 10, FIXED64_BYTES = 8 };

static inline uint32_t varint_bytes(uint64_t value)
{
    uint32_t bits = 64 - (uint32_t)__builtin_clzll(value | 1);
    return (bits * 9 + 64) / 64; /* bits / 7, rounded up, up to 64 of them */
}

/* Returns what is behind it. There must be room for varint_bytes(@value). */
static inline uint8_t *varint_write(uint8_t *to, uint64_t value)
{
    for (; value >= 0x80; value >>= 7) *to++ = (uint8_t)(value | 0x80);
    *to++ = (uint8_t)value;
    return to;
}

/* Take one from the start of @from. False: it does not end there, or is above ten bytes; *from is untouched.
 */
static inline bool varint_read(struct bytes *from, uint64_t *value)
{
    if (from->size > 0 && from->data[0] < 0x80) { /* most are short */
        *value = from->data[0];
        *from = bytes_of(from->data + 1, from->size - 1);
        return true;
    }
    const size_t size = from->size < VARINT_BYTES_MAX ? from->size : VARINT_BYTES_MAX;
    uint64_t sum = 0;
    for (size_t i = 0; i < size; i++) {
        uint8_t byte = from->data[i];
        sum |= (uint64_t)(byte & 0x7f) << (7 * i);
        if (byte >= 0x80) continue;
        *value = sum;
        *from = bytes_of(from->data + i + 1, from->size - i - 1);
        return true;
    }
    return false;
}

/* Little-endian. Returns what is behind it. */
static inline uint8_t *fixed64_write(uint8_t *to, uint64_t value)
{
    value = htole64(value);
    memcpy(to, &value, FIXED64_BYTES);
    return to + FIXED64_BYTES;
}

static inline uint64_t fixed64_read(const uint8_t from[FIXED64_BYTES])
{
    uint64_t value;
    memcpy(&value, from, FIXED64_BYTES);
    return le64toh(value);
}
