/* Unpack: what protobuf-c's unpack does, into an arena, with a bound that protobuf-c itself does not have: a
 * megabyte of empty repeated messages may become 50-90 MiB of heap. What packers make is read without it. */
#pragma once

#include "base/arena.h"
#include "base/bytes.h"
#include "base/status.h"

enum {
    /* A packed message of B bytes may take UNPACK_FACTOR * B + UNPACK_SLACK_BYTES once unpacked. */
    UNPACK_FACTOR = 8,
    UNPACK_SLACK_BYTES = 1024 * 1024,
};

/* Unpack @packed as @type into @arena; the caller casts *out. It still has to be validated: absent
 * submessages are NULL, enums may hold anything.
 * STATUS_INVALID    It does not decode.
 * STATUS_NO_MEMORY  Its tree is above the bound. */
enum status unpack(const ProtobufCMessageDescriptor *type, struct bytes packed, struct arena *arena,
                   ProtobufCMessage **out);

/* Forget the unknown fields of one message (not of those within), so that packing it again does not pass them
 * on. */
static inline void unpack_strip(ProtobufCMessage *message)
{
    message->n_unknown_fields = 0;
    message->unknown_fields = NULL;
}

/* A field's bytes, borrowed, either way. */
static inline struct bytes from_pb(ProtobufCBinaryData data)
{
    return bytes_of(data.data, data.len);
}

static inline ProtobufCBinaryData to_pb(struct bytes bytes)
{
    return (ProtobufCBinaryData){.data = (uint8_t *)(uintptr_t)bytes.data, .len = bytes.size};
}
