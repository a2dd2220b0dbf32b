#include "mutate.h"

#include <stdlib.h>

#include "base/check.h"
#include "fuzz.h"
#include "wire/varint.h"

enum { FIELDS_MAX = 512, WIRE_VARINT = 0, WIRE_64 = 1, WIRE_LENGTH = 2, WIRE_32 = 5 };

/* A field of a packed message: its tag, and its value without a length before it. */
struct field {
    uint64_t tag;
    struct bytes value;
};

static void append_varint(struct buffer *to, uint64_t value)
{
    uint8_t *at = buffer_reserve(to, VARINT_BYTES_MAX);
    to->size += (size_t)(varint_write(at, value) - at);
}

static bool take(struct bytes *from, size_t size, struct bytes *value)
{
    if (size > from->size) return false;
    *value = bytes_of(from->data, size);
    *from = bytes_of(from->data + size, from->size - size);
    return true;
}

static bool take_value(struct bytes *from, uint64_t tag, struct bytes *value)
{
    const uint8_t *start = from->data;
    uint64_t number;
    switch (tag & 7) {
    case WIRE_VARINT:
        if (!varint_read(from, &number)) return false;
        *value = bytes_of(start, (size_t)(from->data - start));
        return true;
    case WIRE_64:
        return take(from, 8, value);
    case WIRE_LENGTH:
        return varint_read(from, &number) && take(from, number, value);
    case WIRE_32:
        return take(from, 4, value);
    default:
        return false;
    }
}

/* False: it is no message, or one of too many fields. */
static bool split(struct bytes message, struct field *fields, size_t *count)
{
    *count = 0;
    while (message.size > 0) {
        struct field *field = &fields[(*count)++];
        if (*count > FIELDS_MAX || !varint_read(&message, &field->tag)) return false;
        if (!take_value(&message, field->tag, &field->value)) return false;
    }
    return true;
}

static void append_field(struct buffer *to, const struct field *field)
{
    append_varint(to, field->tag);
    if ((field->tag & 7) == WIRE_LENGTH) append_varint(to, field->value.size);
    buffer_append(to, field->value.data, field->value.size);
}

static uint64_t any_number(struct prng *prng)
{
    static const uint64_t edges[] = {0,          1,          2,          3,          15,
                                     16,         127,        128,        255,        256,
                                     1024,       1025,       4096,       65535,      65536,
                                     1048576,    1ULL << 31, UINT32_MAX, 1ULL << 32, (1ULL << 32) + 1,
                                     1ULL << 63, UINT64_MAX};
    return prng_chance(prng, 3, 4) ? edges[prng_below(prng, sizeof(edges) / sizeof(edges[0]))]
                                   : prng_next(prng);
}

static int wire_type(const ProtobufCFieldDescriptor *field)
{
    switch (field->type) {
    case PROTOBUF_C_TYPE_FIXED64:
    case PROTOBUF_C_TYPE_SFIXED64:
    case PROTOBUF_C_TYPE_DOUBLE:
        return WIRE_64;
    case PROTOBUF_C_TYPE_FIXED32:
    case PROTOBUF_C_TYPE_SFIXED32:
    case PROTOBUF_C_TYPE_FLOAT:
        return WIRE_32;
    case PROTOBUF_C_TYPE_STRING:
    case PROTOBUF_C_TYPE_BYTES:
    case PROTOBUF_C_TYPE_MESSAGE:
        return WIRE_LENGTH;
    default:
        return WIRE_VARINT;
    }
}

/* A new value for @field, in @scratch. */
static void change_value(const ProtobufCMessageDescriptor *type, struct field *field, struct buffer *scratch,
                         size_t size_max, struct prng *prng)
{
    uint8_t number[8];
    put_be64(number, any_number(prng));
    switch (field->tag & 7) {
    case WIRE_VARINT:
        append_varint(scratch, any_number(prng));
        break;
    case WIRE_64:
        buffer_append(scratch, number, 8);
        break;
    case WIRE_32:
        buffer_append(scratch, number + 4, 4);
        break;
    default: {
        size_t room = field->value.size + 64 < size_max ? field->value.size + 64 : size_max;
        if (room < field->value.size) room = field->value.size;
        uint8_t *copy = buffer_reserve(scratch, room + 1);
        if (field->value.size > 0) memcpy(copy, field->value.data, field->value.size);
        const ProtobufCFieldDescriptor *known =
            protobuf_c_message_descriptor_get_field(type, (unsigned)(field->tag >> 3));
        if (known != NULL && known->type == PROTOBUF_C_TYPE_MESSAGE)
            scratch->size = mutate_message(known->descriptor, copy, field->value.size, room, prng);
        else if (prng_chance(prng, 1, 8))
            scratch->size = 0;
        else if (room > 0)
            scratch->size = LLVMFuzzerMutate(copy, field->value.size, room);
    }
    }
    field->value = buffer_bytes(scratch);
}

/* A field that the type knows, with a value that is empty, or one number. */
static struct field new_field(const ProtobufCMessageDescriptor *type, struct buffer *scratch,
                              struct prng *prng)
{
    const ProtobufCFieldDescriptor *known = &type->fields[prng_below(prng, type->n_fields)];
    struct field field = {.tag = (uint64_t)known->id << 3 | (uint64_t)wire_type(known)};
    if ((field.tag & 7) != WIRE_LENGTH) change_value(type, &field, scratch, 0, prng);
    return field;
}

static size_t mutate_fields(const ProtobufCMessageDescriptor *type, struct field *fields, size_t count,
                            struct buffer *scratch, struct buffer *out, size_t size_max, struct prng *prng)
{
    size_t at = count > 0 ? prng_below(prng, count) : 0;
    bool drop = false, repeat = false, add = false;
    uint64_t choice = count > 0 ? prng_below(prng, 12) : 3;
    if (choice == 0) {
        drop = true;
    } else if (choice == 1) {
        repeat = true;
    } else if (choice == 2) {
        size_t other = prng_below(prng, count);
        struct field swapped = fields[at];
        fields[at] = fields[other];
        fields[other] = swapped;
    } else if (choice == 3) {
        add = type->n_fields > 0;
    } else if (choice == 4 && prng_chance(prng, 1, 4)) {
        fields[at].tag = (fields[at].tag & ~7ULL) | prng_below(prng, 8);
    } else {
        change_value(type, &fields[at], scratch, size_max, prng);
    }
    struct field added = {0};
    if (add) added = new_field(type, scratch, prng);
    for (size_t i = 0; i < count; i++) {
        if (i == at && add) append_field(out, &added);
        if (i == at && drop) continue;
        append_field(out, &fields[i]);
        if (i == at && repeat) append_field(out, &fields[i]);
    }
    if (add && count == 0) append_field(out, &added);
    return out->size;
}

size_t mutate_message(const ProtobufCMessageDescriptor *type, uint8_t *data, size_t size, size_t size_max,
                      struct prng *prng)
{
    if (size_max == 0) return 0;
    struct field *fields = calloc(FIELDS_MAX + 1, sizeof(*fields));
    CHECK(fields != NULL);
    size_t count;
    struct buffer scratch = {0}, out = {0};
    if (!split(bytes_of(data, size), fields, &count) || prng_chance(prng, 1, 30)) {
        size = LLVMFuzzerMutate(data, size, size_max);
    } else if (mutate_fields(type, fields, count, &scratch, &out, size_max, prng) <= size_max) {
        size = out.size;
        if (size > 0) memcpy(data, out.data, size);
    }
    buffer_fini(&scratch);
    buffer_fini(&out);
    free(fields);
    return size;
}

/* --- scripts --- */

static void append_changed(struct buffer *out, const struct step *step, step_type *type_of, struct prng *prng)
{
    size_t size = step->bytes.size, room = size + 256 < STEP_BYTES_MAX ? size + 256 : STEP_BYTES_MAX;
    uint8_t *copy = malloc(room);
    CHECK(copy != NULL);
    if (size > 0) memcpy(copy, step->bytes.data, size);
    const ProtobufCMessageDescriptor *type = type_of(step->what);
    size = type != NULL ? mutate_message(type, copy, size, room, prng) : LLVMFuzzerMutate(copy, size, room);
    step_append(out, step->what, bytes_of(copy, size));
    free(copy);
}

size_t mutate_script(step_type *type_of, size_t first, uint8_t *data, size_t size, size_t size_max,
                     unsigned seed)
{
    struct prng prng;
    prng_init(&prng, seed);
    struct step steps[64], step;
    size_t count = 0;
    if (size < first + STEP_HEADER_BYTES || prng_chance(&prng, 1, 20))
        return LLVMFuzzerMutate(data, size, size_max);
    struct bytes rest = bytes_of(data + first, size - first);
    while (count < 64 && step_next(&rest, &step)) steps[count++] = step;
    size_t at = prng_below(&prng, count);
    uint64_t choice = prng_below(&prng, 10);
    if (choice == 0) { /* another kind of step, or another order */
        size_t other = prng_below(&prng, count);
        step = steps[at];
        steps[at] = steps[other];
        steps[other] = step;
        if (at == other) steps[at].what = (uint8_t)prng_next(&prng);
    }
    struct buffer out = {0};
    buffer_append(&out, data, first);
    for (size_t i = 0; i < count; i++) {
        if (i == at && choice == 1) continue;
        if (i == at && choice > 2)
            append_changed(&out, &steps[i], type_of, &prng);
        else
            step_append(&out, steps[i].what, steps[i].bytes);
        if (i == at && choice == 2) step_append(&out, steps[i].what, steps[i].bytes);
    }
    if (out.size <= size_max) {
        memcpy(data, out.data, out.size);
        size = out.size;
    }
    buffer_fini(&out);
    return size;
}
