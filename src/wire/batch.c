#include "wire/batch.h"

#include "base/check.h"
#include "wire/unpack.h"
#include "wire/varint.h"

/* The fields of peer.proto's Batch, as protobuf tags. */
enum {
    TAG_FROM_NODE = 1 << 3 | 1,  /* fixed64 */
    TAG_FROM_SHARD = 2 << 3 | 0, /* varint */
    TAG_MESSAGE = 3 << 3 | 2,    /* length and bytes */
};

void batch_begin(struct buffer *batch, uint64_t from_node, uint32_t from_shard)
{
    CHECK(batch->size == 0);
    uint8_t *start = buffer_reserve(batch, 1 + FIXED64_BYTES + 1 + VARINT_BYTES_MAX), *to = start;
    *to++ = TAG_FROM_NODE;
    to = fixed64_write(to, from_node);
    *to++ = TAG_FROM_SHARD;
    to = varint_write(to, from_shard);
    batch->size += (size_t)(to - start);
}

void batch_add(struct buffer *batch, const Dynode__Peer__Message *message)
{
    size_t length = dynode__peer__message__get_packed_size(message);
    uint8_t *start = buffer_reserve(batch, 1 + VARINT_BYTES_MAX + length), *to = start;
    *to++ = TAG_MESSAGE;
    to = varint_write(to, length);
    to += dynode__peer__message__pack(message, to);
    batch->size += (size_t)(to - start);
}

enum status batch_open(struct bytes batch, uint64_t *from_node, uint32_t *from_shard, struct bytes *rest)
{
    enum { SHARD_AT = 1 + FIXED64_BYTES };
    if (batch.size < SHARD_AT + 2 || batch.data[0] != TAG_FROM_NODE) return STATUS_INVALID;
    if (batch.data[SHARD_AT] != TAG_FROM_SHARD) return STATUS_INVALID;
    struct bytes after = bytes_of(batch.data + SHARD_AT + 1, batch.size - SHARD_AT - 1);
    uint64_t shard;
    if (!varint_read(&after, &shard) || shard > UINT32_MAX) return STATUS_INVALID;
    *from_node = fixed64_read(batch.data + 1);
    *from_shard = (uint32_t)shard;
    *rest = after;
    return STATUS_OK;
}

enum status batch_next(struct bytes *rest, struct bytes *message)
{
    if (rest->size == 0) return STATUS_NOT_FOUND;
    if (rest->data[0] != TAG_MESSAGE) return STATUS_INVALID;
    struct bytes after = bytes_of(rest->data + 1, rest->size - 1);
    uint64_t length;
    if (!varint_read(&after, &length) || length > after.size) return STATUS_INVALID;
    *message = bytes_of(after.data, (size_t)length);
    *rest = bytes_of(after.data + length, after.size - (size_t)length);
    return STATUS_OK;
}

enum status message_unpack(struct bytes packed, struct arena *arena, Dynode__Peer__Message **message)
{
    ProtobufCMessage *out;
    enum status status = unpack(&dynode__peer__message__descriptor, packed, arena, &out);
    if (status != STATUS_OK) return status;
    Dynode__Peer__Message *m = (Dynode__Peer__Message *)out;
    /* All members of the union are pointers: a set case with a NULL body does not happen in protobuf-c, but
     * costs a word to be sure of. */
    if (m->body_case == DYNODE__PEER__MESSAGE__BODY__NOT_SET || m->ping == NULL) return STATUS_INVALID;
    *message = m;
    return STATUS_OK;
}
