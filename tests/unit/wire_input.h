/* Packed messages put together by hand, also those that no packer would make: for tables of bad input. */
#pragma once

#include "base/bytes.h"

enum wire_type {
    WIRE_VARINT = 0,
    WIRE_64 = 1,
    WIRE_LENGTH = 2,
    WIRE_GROUP = 3,
    WIRE_END_GROUP = 4,
    WIRE_32 = 5
};

static inline void put_varint(struct buffer *to, uint64_t value)
{
    uint8_t bytes[10];
    size_t size = 0;
    for (; value >= 0x80; value >>= 7) bytes[size++] = (uint8_t)(value | 0x80);
    bytes[size++] = (uint8_t)value;
    buffer_append(to, bytes, size);
}

static inline void put_tag(struct buffer *to, uint32_t field, unsigned type)
{
    put_varint(to, (uint64_t)field << 3 | type);
}

static inline void put_number(struct buffer *to, uint32_t field, uint64_t value)
{
    put_tag(to, field, WIRE_VARINT);
    put_varint(to, value);
}

static inline void put_bytes(struct buffer *to, uint32_t field, struct bytes value)
{
    put_tag(to, field, WIRE_LENGTH);
    put_varint(to, value.size);
    buffer_append(to, value.data, value.size);
}
