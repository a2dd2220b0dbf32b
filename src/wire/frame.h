/* Frame: a 4-byte big-endian length, then that many bytes of one protobuf message. The same on both ports. */
#pragma once

#include "base/bytes.h"

enum {
    FRAME_HEADER_BYTES = 4,
    FRAME_HELLO_BYTES_MAX = 1024,             /* before the hello is answered, on both ports */
    FRAME_CLIENT_BYTES_MAX = 4 * 1024 * 1024, /* client.proto */
    FRAME_PEER_BYTES_MAX = 16 * 1024 * 1024,  /* peer.proto */
    CLIENT_HELLO_MAGIC = 0x64796e6f,          /* "dyno" */
    PEER_HELLO_MAGIC = 0x64796e70,            /* "dynp" */
    CLIENT_PROTOCOL_VERSION = 1,
    PEER_PROTOCOL_VERSION = 1,
};

enum frame_state {
    FRAME_WHOLE,   /* *payload is the message; the frame took *bytes of the input */
    FRAME_PARTIAL, /* more is needed: *bytes is the whole frame's size, or 0 while even that is unknown */
    FRAME_BAD,     /* an empty message, or one above the bound: *bytes is the length that was claimed */
};

/* Look at the start of @input for a frame whose message has 1 to @payload_bytes_max bytes. *payload borrows
 * from @input. */
enum frame_state frame_next(struct bytes input, size_t payload_bytes_max, struct bytes *payload,
                            size_t *bytes);

/* Write the header of a message of @payload_bytes. */
static inline void frame_header(uint8_t header[FRAME_HEADER_BYTES], size_t payload_bytes)
{
    put_be32(header, (uint32_t)payload_bytes);
}
