/* Pack: what protobuf-c's get_packed_size and pack do, to the byte, for the kinds of fields that our proto
 * files have. A field that is not sent costs a comparison here and two calls there, and most are not. */
#pragma once

#include <protobuf-c/protobuf-c.h>

#include "base/bytes.h"

size_t pack_size(const ProtobufCMessage *message);

/* Returns what is behind it. There must be room for pack_size(@message). */
uint8_t *pack(const ProtobufCMessage *message, uint8_t *to);

/* Behind what is in @to; quicker than both of the above. */
void pack_append(struct buffer *to, const ProtobufCMessage *message);
