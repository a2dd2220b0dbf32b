/* A walk along a message's descriptor. Into a buffer one walk is enough: it grows as it goes, and a message
 * within a message is packed behind room for a length of one byte, and moved if that needs more. */
#include "wire/pack.h"

#include "base/check.h"
#include "wire/varint.h"

/* How a field is packed: the lower three bits of its tag. */
enum wire { WIRE_VARINT = 0, WIRE_FIXED64 = 1, WIRE_RUN = 2, WIRE_FIXED32 = 5 };

enum { FIXED32_BYTES = 4, HEAD_BYTES_MAX = 2 * VARINT_BYTES_MAX /* a tag, and a number or a length */ };

static inline const void *at(const ProtobufCMessage *message, unsigned offset)
{
    return (const char *)message + offset;
}

/* Of a field that is not repeated: is it sent? */
static inline bool is_sent(const ProtobufCMessage *message, const ProtobufCFieldDescriptor *field)
{
    const void *value = at(message, field->offset);
    switch (field->type) {
    case PROTOBUF_C_TYPE_BOOL:
        return *(const protobuf_c_boolean *)value != 0;
    case PROTOBUF_C_TYPE_ENUM:
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_FIXED32:
        return *(const uint32_t *)value != 0;
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
        return *(const uint64_t *)value != 0;
    case PROTOBUF_C_TYPE_STRING:
        return *(char *const *)value != NULL && **(char *const *)value != 0;
    case PROTOBUF_C_TYPE_BYTES:
        return ((const ProtobufCBinaryData *)value)->len != 0;
    case PROTOBUF_C_TYPE_MESSAGE: /* one of several lies where the others do */
        if ((field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) != 0 &&
            *(const uint32_t *)at(message, field->quantifier_offset) != field->id)
            return false;
        return *(void *const *)value != NULL;
    default:
        CHECK(false); /* none of our proto files has another */
        return false;
    }
}

/* From one value of a repeated field to the next. */
static size_t stride(ProtobufCType type)
{
    switch (type) {
    case PROTOBUF_C_TYPE_UINT32:
        return sizeof(uint32_t);
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
        return sizeof(uint64_t);
    case PROTOBUF_C_TYPE_BYTES:
        return sizeof(ProtobufCBinaryData);
    default:
        CHECK(type == PROTOBUF_C_TYPE_MESSAGE);
        return sizeof(void *);
    }
}

/* Of one value, without its tag. */
static size_t value_size(ProtobufCType type, const void *value)
{
    size_t size;
    switch (type) {
    case PROTOBUF_C_TYPE_BOOL:
        return 1;
    case PROTOBUF_C_TYPE_ENUM: /* signed: a negative one takes ten bytes */
        return varint_bytes((uint64_t)(int64_t) * (const int32_t *)value);
    case PROTOBUF_C_TYPE_UINT32:
        return varint_bytes(*(const uint32_t *)value);
    case PROTOBUF_C_TYPE_FIXED32:
        return FIXED32_BYTES;
    case PROTOBUF_C_TYPE_UINT64:
        return varint_bytes(*(const uint64_t *)value);
    case PROTOBUF_C_TYPE_FIXED64:
        return FIXED64_BYTES;
    case PROTOBUF_C_TYPE_STRING:
        size = strlen(*(char *const *)value);
        break;
    case PROTOBUF_C_TYPE_BYTES:
        size = ((const ProtobufCBinaryData *)value)->len;
        break;
    default:
        size = pack_size(*(ProtobufCMessage *const *)value);
    }
    return varint_bytes(size) + size;
}

/* Of the values of a packed repeated field. */
static size_t run_size(ProtobufCType type, const char *values, size_t count)
{
    size_t size = 0;
    if (type == PROTOBUF_C_TYPE_FIXED64) return count * FIXED64_BYTES;
    for (size_t i = 0; i < count; i++) size += value_size(type, values + i * stride(type));
    return size;
}

size_t pack_size(const ProtobufCMessage *message)
{
    const ProtobufCMessageDescriptor *type = message->descriptor;
    if (message->n_unknown_fields > 0) return protobuf_c_message_get_packed_size(message);
    size_t size = 0;
    for (unsigned i = 0; i < type->n_fields; i++) {
        const ProtobufCFieldDescriptor *field = &type->fields[i];
        size_t tag = varint_bytes((uint64_t)field->id << 3);
        if (field->label != PROTOBUF_C_LABEL_REPEATED) {
            if (is_sent(message, field)) size += tag + value_size(field->type, at(message, field->offset));
            continue;
        }
        size_t count = *(const size_t *)at(message, field->quantifier_offset);
        const char *values = *(const char *const *)at(message, field->offset);
        if (count > 0 && (field->flags & PROTOBUF_C_FIELD_FLAG_PACKED) != 0) {
            size_t run = run_size(field->type, values, count);
            size += tag + varint_bytes(run) + run;
            continue;
        }
        for (size_t k = 0; k < count; k++)
            size += tag + value_size(field->type, values + k * stride(field->type));
    }
    return size;
}

/* Where it goes: a buffer that grows, or memory that is known to be large enough. */
struct writer {
    struct buffer *buffer; /* NULL: there is room */
    uint8_t *end;
};

static uint8_t *make_room(struct writer *writer, uint8_t *to, size_t bytes)
{
    struct buffer *buffer = writer->buffer;
    if (buffer == NULL) return to;
    buffer->size = (size_t)(to - buffer->data);
    to = buffer_reserve(buffer, bytes);
    writer->end = buffer->data + buffer->capacity;
    return to;
}

/* @to, where it lies when there is room for @bytes more. */
static inline uint8_t *room(struct writer *writer, uint8_t *to, size_t bytes)
{
    return writer->end - to >= (ptrdiff_t)bytes ? to : make_room(writer, to, bytes);
}

static uint8_t *write_fields(struct writer *writer, uint8_t *to, const ProtobufCMessage *message);

static uint8_t *write_run(struct writer *writer, uint8_t *to, const void *data, size_t size)
{
    to = varint_write(to, size);
    if (size == 0) return to;
    to = room(writer, to, size);
    memcpy(to, data, size);
    return to + size;
}

static uint8_t *write_message(struct writer *writer, uint8_t *to, const ProtobufCMessage *message)
{
    size_t at = writer->buffer != NULL ? (size_t)(to - writer->buffer->data) : 0; /* a buffer may move */
    uint8_t *end = write_fields(writer, to + 1, message);
    if (writer->buffer != NULL) {
        end = room(writer, end, VARINT_BYTES_MAX);
        to = writer->buffer->data + at;
    }
    uint8_t *start = to + 1;
    size_t size = (size_t)(end - start), more = varint_bytes(size) - 1;
    if (more > 0) memmove(start + more, start, size);
    varint_write(to, size);
    return end + more;
}

/* There is room for a varint. */
static uint8_t *write_value(struct writer *writer, uint8_t *to, ProtobufCType type, const void *value)
{
    switch (type) {
    case PROTOBUF_C_TYPE_BOOL:
        *to = 1;
        return to + 1;
    case PROTOBUF_C_TYPE_ENUM:
        return varint_write(to, (uint64_t)(int64_t) * (const int32_t *)value);
    case PROTOBUF_C_TYPE_UINT32:
        return varint_write(to, *(const uint32_t *)value);
    case PROTOBUF_C_TYPE_FIXED32:
        for (int i = 0; i < FIXED32_BYTES; i++) to[i] = (uint8_t)(*(const uint32_t *)value >> (8 * i));
        return to + FIXED32_BYTES;
    case PROTOBUF_C_TYPE_UINT64:
        return varint_write(to, *(const uint64_t *)value);
    case PROTOBUF_C_TYPE_FIXED64:
        return fixed64_write(to, *(const uint64_t *)value);
    case PROTOBUF_C_TYPE_STRING:
        return write_run(writer, to, *(char *const *)value, strlen(*(char *const *)value));
    case PROTOBUF_C_TYPE_BYTES:
        return write_run(writer, to, ((const ProtobufCBinaryData *)value)->data,
                         ((const ProtobufCBinaryData *)value)->len);
    default:
        return write_message(writer, to, *(ProtobufCMessage *const *)value);
    }
}

static inline uint8_t *write_tag(uint8_t *to, const ProtobufCFieldDescriptor *field, bool packed)
{
    enum wire wire = WIRE_VARINT;
    if (packed || field->type >= PROTOBUF_C_TYPE_STRING)
        wire = WIRE_RUN;
    else if (field->type == PROTOBUF_C_TYPE_FIXED64)
        wire = WIRE_FIXED64;
    else if (field->type == PROTOBUF_C_TYPE_FIXED32)
        wire = WIRE_FIXED32;
    return varint_write(to, (uint64_t)field->id << 3 | wire);
}

static uint8_t *write_fields(struct writer *writer, uint8_t *to, const ProtobufCMessage *message)
{
    const ProtobufCMessageDescriptor *type = message->descriptor;
    if (message->n_unknown_fields > 0) {
        to = room(writer, to, protobuf_c_message_get_packed_size(message));
        return to + protobuf_c_message_pack(message, to);
    }
    for (unsigned i = 0; i < type->n_fields; i++) {
        const ProtobufCFieldDescriptor *field = &type->fields[i];
        if (field->label != PROTOBUF_C_LABEL_REPEATED) {
            if (!is_sent(message, field)) continue;
            to = write_tag(room(writer, to, HEAD_BYTES_MAX), field, false);
            to = write_value(writer, to, field->type, at(message, field->offset));
            continue;
        }
        size_t count = *(const size_t *)at(message, field->quantifier_offset);
        const char *values = *(const char *const *)at(message, field->offset);
        bool packed = (field->flags & PROTOBUF_C_FIELD_FLAG_PACKED) != 0;
        if (packed && count > 0) {
            size_t run = run_size(field->type, values, count);
            to = room(writer, to, HEAD_BYTES_MAX + run);
            to = varint_write(write_tag(to, field, true), run);
        }
        for (size_t k = 0; k < count; k++) {
            if (!packed) to = write_tag(room(writer, to, HEAD_BYTES_MAX), field, false);
            to = write_value(writer, to, field->type, values + k * stride(field->type));
        }
    }
    return to;
}

uint8_t *pack(const ProtobufCMessage *message, uint8_t *to)
{
    struct writer writer = {.buffer = NULL, .end = to};
    return write_fields(&writer, to, message);
}

void pack_append(struct buffer *to, const ProtobufCMessage *message)
{
    uint8_t *start = buffer_reserve(to, HEAD_BYTES_MAX);
    struct writer writer = {.buffer = to, .end = to->data + to->capacity};
    const uint8_t *end = write_fields(&writer, start, message);
    to->size = (size_t)(end - to->data);
}
