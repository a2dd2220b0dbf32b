/* Batch: all that a shard has for one destination: a packed dynode.peer.Batch that grows message by message.
 *
 * Protobuf fields may simply follow one another, so a batch is built by appending and read field by field:
 * neither side ever holds a tree of all its messages. */
#pragma once

#include "base/arena.h"
#include "base/bytes.h"
#include "base/status.h"
#include "peer.pb-c.h"

/* Begin a batch in an empty buffer. */
void batch_begin(struct buffer *batch, uint64_t from_node, uint32_t from_shard);

/* Append one message. */
void batch_add(struct buffer *batch, const Dynode__Peer__Message *message);

/* Append one message that is already packed as a field of a batch (batch_add to an empty buffer makes one).
 */
static inline void batch_add_packed(struct buffer *batch, struct bytes field)
{
    buffer_append(batch, field.data, field.size);
}

/* Read the head of a batch: *rest is what follows it.
 * STATUS_INVALID  It does not begin as a batch does. */
enum status batch_open(struct bytes batch, uint64_t *from_node, uint32_t *from_shard, struct bytes *rest);

/* Take the next message's bytes off *rest.
 * STATUS_NOT_FOUND  There is none: the end.
 * STATUS_INVALID    What follows is no message of a batch. */
enum status batch_next(struct bytes *rest, struct bytes *message);

/* Unpack and validate one message into @arena.
 * STATUS_INVALID    It does not decode, has no body or breaks a rule of peer.proto.
 * STATUS_NO_MEMORY  Its tree is larger than the bound for its size. */
enum status message_unpack(struct bytes packed, struct arena *arena, Dynode__Peer__Message **message);
