#include "wire/batch.h"

#include "base/check.h"
#include "wire/unpack.h"

/* The fields of peer.proto's Batch, as protobuf tags. */
enum {
    TAG_FROM_NODE = 1 << 3 | 1,  /* fixed64 */
    TAG_FROM_SHARD = 2 << 3 | 0, /* varint */
    TAG_MESSAGE = 3 << 3 | 2,    /* length and bytes */
    VARINT_BYTES_MAX = 10,
};

static size_t put_varint(uint8_t *to, uint64_t value)
{
    size_t size = 0;
    while (value >= 0x80) {
        to[size++] = (uint8_t)(value | 0x80);
        value >>= 7;
    }
    to[size++] = (uint8_t)value;
    return size;
}

static bool get_varint(struct bytes *from, uint64_t *value)
{
    *value = 0;
    for (size_t i = 0; i < from->size && i < VARINT_BYTES_MAX; i++) {
        uint8_t byte = from->data[i];
        *value |= (uint64_t)(byte & 0x7f) << (7 * i);
        if (byte < 0x80) {
            *from = bytes_of(from->data + i + 1, from->size - i - 1);
            return true;
        }
    }
    return false;
}

void batch_begin(struct buffer *batch, uint64_t from_node, uint32_t from_shard)
{
    CHECK(batch->size == 0);
    uint8_t *to = buffer_reserve(batch, 1 + 8 + 1 + VARINT_BYTES_MAX);
    size_t size = 0;
    to[size++] = TAG_FROM_NODE;
    for (int i = 0; i < 8; i++) to[size++] = (uint8_t)(from_node >> (8 * i));
    to[size++] = TAG_FROM_SHARD;
    size += put_varint(to + size, from_shard);
    batch->size += size;
}

void batch_add(struct buffer *batch, const Dynode__Peer__Message *message)
{
    size_t length = dynode__peer__message__get_packed_size(message);
    uint8_t *to = buffer_reserve(batch, 1 + VARINT_BYTES_MAX + length);
    size_t size = 0;
    to[size++] = TAG_MESSAGE;
    size += put_varint(to + size, length);
    size += dynode__peer__message__pack(message, to + size);
    batch->size += size;
}

enum status batch_open(struct bytes batch, uint64_t *from_node, uint32_t *from_shard, struct bytes *rest)
{
    if (batch.size < 1 + 8 + 2 || batch.data[0] != TAG_FROM_NODE) return STATUS_INVALID;
    uint64_t node = 0;
    for (int i = 0; i < 8; i++) node |= (uint64_t)batch.data[1 + i] << (8 * i);
    if (batch.data[9] != TAG_FROM_SHARD) return STATUS_INVALID;
    struct bytes after = bytes_of(batch.data + 10, batch.size - 10);
    uint64_t shard;
    if (!get_varint(&after, &shard) || shard > UINT32_MAX) return STATUS_INVALID;
    *from_node = node;
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
    if (!get_varint(&after, &length) || length > after.size) return STATUS_INVALID;
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
