#include "wire/batch.h"

#include "base/check.h"
#include "wire/pack.h"
#include "wire/unpack.h"
#include "wire/varint.h"

/* How a field is packed: the lower three bits of its tag. The others are its number. */
enum wire { WIRE_VARINT = 0, WIRE_FIXED64 = 1, WIRE_RUN = 2, WIRE_FIXED32 = 5 };

/* The fields of peer.proto's Batch and of its Message, as protobuf tags. A Message is packed and read by hand
 * as far as its body, for protobuf-c asks at each of its kinds whether it is this one. */
enum {
    TAG_FROM_NODE = 1 << 3 | WIRE_FIXED64,
    TAG_FROM_SHARD = 2 << 3 | WIRE_VARINT,
    TAG_MESSAGE = 3 << 3 | WIRE_RUN,

    TAG_TO_SHARD = 1 << 3 | WIRE_VARINT,
    TAG_REQUEST = 2 << 3 | WIRE_VARINT,
    TAG_ORIGIN_NODE = 3 << 3 | WIRE_FIXED64,
    TAG_ORIGIN_SHARD = 4 << 3 | WIRE_VARINT,
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

static size_t number_bytes(uint64_t tag, uint64_t value)
{
    return value == 0 ? 0 : varint_bytes(tag) + varint_bytes(value);
}

static uint8_t *write_number(uint8_t *to, uint64_t tag, uint64_t value)
{
    return value == 0 ? to : varint_write(varint_write(to, tag), value);
}

/* The body is packed first, behind room for all that goes before it, and moved to where that ends. So it need
 * not be asked for its size, which takes as long as to pack it. */
void batch_add(struct buffer *batch, const Dynode__Peer__Message *message)
{
    enum { HEAD_BYTES_MAX = 7 * (1 + VARINT_BYTES_MAX) };
    CHECK(message->body_case != DYNODE__PEER__MESSAGE__BODY__NOT_SET);
    size_t before = batch->size, body_at = before + HEAD_BYTES_MAX;
    buffer_reserve(batch, HEAD_BYTES_MAX);
    batch->size = body_at;
    pack_append(batch, &message->ping->base); /* a union of pointers to messages */
    size_t body_size = batch->size - body_at;
    uint64_t body_tag = (uint64_t)message->body_case << 3 | WIRE_RUN;
    size_t length = number_bytes(TAG_TO_SHARD, message->to_shard) +
                    number_bytes(TAG_REQUEST, message->request) + varint_bytes(body_tag) +
                    varint_bytes(body_size) + body_size +
                    number_bytes(TAG_ORIGIN_SHARD, message->origin_shard);
    if (message->origin_node != 0) length += varint_bytes(TAG_ORIGIN_NODE) + FIXED64_BYTES;

    uint8_t *to = batch->data + before;
    *to++ = TAG_MESSAGE;
    to = varint_write(to, length);
    const uint8_t *end = to + length;
    to = write_number(to, TAG_TO_SHARD, message->to_shard);
    to = write_number(to, TAG_REQUEST, message->request);
    if (message->origin_node != 0)
        to = fixed64_write(varint_write(to, TAG_ORIGIN_NODE), message->origin_node);
    to = write_number(to, TAG_ORIGIN_SHARD, message->origin_shard);
    to = varint_write(varint_write(to, body_tag), body_size);
    memmove(to, batch->data + body_at, body_size);
    to += body_size;
    CHECK(to == end);
    batch->size = (size_t)(to - batch->data);
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

/* Take one field off @rest: its number into *value, or its bytes into *run. */
static bool take_field(struct bytes *rest, uint64_t *tag, uint64_t *value, struct bytes *run)
{
    size_t size = 0;
    if (!varint_read(rest, tag)) return false;
    switch (*tag & 7) {
    case WIRE_VARINT:
        return varint_read(rest, value);
    case WIRE_RUN:
        if (!varint_read(rest, value) || *value > rest->size) return false;
        size = (size_t)*value;
        break;
    case WIRE_FIXED64:
        size = FIXED64_BYTES;
        break;
    case WIRE_FIXED32:
        size = 4;
        break;
    default:
        return false;
    }
    if (size > rest->size) return false;
    *run = bytes_of(rest->data, size);
    *rest = bytes_of(rest->data + size, rest->size - size);
    return true;
}

enum status message_unpack(struct bytes packed, struct arena *arena, Dynode__Peer__Message **message)
{
    Dynode__Peer__Message *out = arena_try(arena, sizeof(*out));
    if (out == NULL) return STATUS_NO_MEMORY;
    dynode__peer__message__init(out);
    const ProtobufCMessageDescriptor *type = &dynode__peer__message__descriptor;
    const ProtobufCFieldDescriptor *kind = NULL, *field;
    struct bytes body = {0}, run = {0};
    uint64_t tag, value = 0;
    while (packed.size > 0) {
        if (!take_field(&packed, &tag, &value, &run)) return STATUS_INVALID;
        switch (tag) {
        case TAG_TO_SHARD:
            out->to_shard = (uint32_t)value;
            break;
        case TAG_REQUEST:
            out->request = value;
            break;
        case TAG_ORIGIN_NODE:
            out->origin_node = fixed64_read(run.data);
            break;
        case TAG_ORIGIN_SHARD:
            out->origin_shard = (uint32_t)value;
            break;
        default:
            if (tag >> 3 == 0 || tag >> 3 > UINT32_MAX) return STATUS_INVALID;
            field = protobuf_c_message_descriptor_get_field(type, (unsigned)(tag >> 3));
            if (field == NULL) break; /* of a later version */
            if (field->type != PROTOBUF_C_TYPE_MESSAGE || (tag & 7) != WIRE_RUN) return STATUS_INVALID;
            if (kind != NULL) return STATUS_INVALID; /* a second body */
            kind = field;
            body = run;
        }
    }
    if (kind == NULL) return STATUS_INVALID;
    ProtobufCMessage *unpacked;
    enum status status = unpack(kind->descriptor, body, arena, &unpacked);
    if (status != STATUS_OK) return status;
    out->body_case = (Dynode__Peer__Message__BodyCase)kind->id;
    out->ping = (Dynode__Peer__Ping *)unpacked;
    *message = out;
    return STATUS_OK;
}
