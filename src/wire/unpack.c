/* Two readers: one for what packers make, which is nearly all, and behind it protobuf-c for the rest. The
 * first gives up, and takes back what it has allocated, wherever it would need a rule of its own: a field
 * that is not known, or comes again, a number that is no number. What that means is protobuf-c's to say, so
 * that there is one meaning. */
#include "wire/unpack.h"

#include "wire/varint.h"

/* How a field is packed: the lower three bits of its tag. */
enum wire { WIRE_VARINT = 0, WIRE_FIXED64 = 1, WIRE_RUN = 2 };

enum { LENGTH_BYTES_MAX = 5, FIELDS_MAX = 64 };

static bool read_message(const ProtobufCMessageDescriptor *type, struct bytes packed, struct arena *arena,
                         ProtobufCMessage **out);

static bool read_run(struct bytes *from, struct bytes *run)
{
    const uint8_t *start = from->data;
    uint64_t size;
    if (!varint_read(from, &size) || size > from->size || from->data - start > LENGTH_BYTES_MAX) return false;
    *run = bytes_of(from->data, (size_t)size);
    *from = bytes_of(from->data + size, from->size - (size_t)size);
    return true;
}

/* A copy, with a 0 behind it. */
static bool keep_string(struct bytes run, struct arena *arena, char **value)
{
    *value = arena_try(arena, run.size + 1);
    if (*value == NULL) return false;
    memcpy(*value, run.data, run.size);
    (*value)[run.size] = 0;
    return true;
}

static bool keep_bytes(struct bytes run, struct arena *arena, ProtobufCBinaryData *value)
{
    *value = (ProtobufCBinaryData){0};
    if (run.size == 0) return true;
    value->data = arena_try(arena, run.size);
    if (value->data == NULL) return false;
    memcpy(value->data, run.data, run.size);
    value->len = run.size;
    return true;
}

/* The value behind a tag. */
static bool read_value(const ProtobufCFieldDescriptor *field, enum wire wire, struct bytes *from,
                       struct arena *arena, void *value)
{
    uint64_t number;
    struct bytes run;
    switch (field->type) {
    case PROTOBUF_C_TYPE_BOOL:
        /* Of a longer one protobuf-c looks at all bits, also at those above the 64th. */
        if (wire != WIRE_VARINT || from->size == 0 || from->data[0] > 1) return false;
        *(protobuf_c_boolean *)value = from->data[0];
        *from = bytes_of(from->data + 1, from->size - 1);
        return true;
    case PROTOBUF_C_TYPE_ENUM:
    case PROTOBUF_C_TYPE_UINT32:
        if (wire != WIRE_VARINT || !varint_read(from, &number)) return false;
        *(uint32_t *)value = (uint32_t)number;
        return true;
    case PROTOBUF_C_TYPE_UINT64:
        return wire == WIRE_VARINT && varint_read(from, value);
    case PROTOBUF_C_TYPE_FIXED64:
        if (wire != WIRE_FIXED64 || from->size < FIXED64_BYTES) return false;
        *(uint64_t *)value = fixed64_read(from->data);
        *from = bytes_of(from->data + FIXED64_BYTES, from->size - FIXED64_BYTES);
        return true;
    case PROTOBUF_C_TYPE_STRING:
        return wire == WIRE_RUN && read_run(from, &run) && keep_string(run, arena, value);
    case PROTOBUF_C_TYPE_BYTES:
        return wire == WIRE_RUN && read_run(from, &run) && keep_bytes(run, arena, value);
    case PROTOBUF_C_TYPE_MESSAGE:
        return wire == WIRE_RUN && read_run(from, &run) && read_message(field->descriptor, run, arena, value);
    default:
        return false;
    }
}

static size_t value_bytes(ProtobufCType type)
{
    if (type == PROTOBUF_C_TYPE_BYTES) return sizeof(ProtobufCBinaryData);
    return type == PROTOBUF_C_TYPE_UINT32 ? sizeof(uint32_t) : sizeof(uint64_t); /* pointers too */
}

/* How often this field comes from here on, one next to the other; @from is behind the tag of the first. */
static size_t count_runs(struct bytes from, uint8_t tag)
{
    size_t count = 0;
    struct bytes run;
    while (read_run(&from, &run)) {
        count++;
        if (from.size == 0 || from.data[0] != tag) break;
        from = bytes_of(from.data + 1, from.size - 1);
    }
    return count;
}

/* Fields of one tag next to each other, each a run: bytes or messages. */
static bool read_runs(const ProtobufCFieldDescriptor *field, uint8_t tag, struct bytes *from,
                      struct arena *arena, size_t *count, void **values)
{
    size_t runs = count_runs(*from, tag), size = value_bytes(field->type);
    char *array = arena_try(arena, runs * size);
    if (array == NULL || runs == 0) return false;
    for (size_t i = 0; i < runs; i++) {
        if (i > 0) *from = bytes_of(from->data + 1, from->size - 1);
        if (!read_value(field, WIRE_RUN, from, arena, array + i * size)) return false;
    }
    *count = runs;
    *values = array;
    return true;
}

/* Numbers in one run. */
static bool read_packed(const ProtobufCFieldDescriptor *field, struct bytes *from, struct arena *arena,
                        size_t *count, void **values)
{
    struct bytes run;
    if (!read_run(from, &run)) return false;
    bool fixed = field->type == PROTOBUF_C_TYPE_FIXED64;
    size_t numbers = 0, size = value_bytes(field->type);
    for (size_t i = 0; !fixed && i < run.size; i++) numbers += run.data[i] < 0x80;
    if (fixed) numbers = run.size / FIXED64_BYTES;
    if (numbers == 0) return false;
    char *array = arena_try(arena, numbers * size);
    if (array == NULL) return false;
    for (size_t i = 0; i < numbers; i++)
        if (!read_value(field, fixed ? WIRE_FIXED64 : WIRE_VARINT, &run, arena, array + i * size))
            return false;
    *count = numbers;
    *values = array;
    return run.size == 0;
}

static bool read_field(const ProtobufCFieldDescriptor *field, uint8_t tag, struct bytes *from,
                       struct arena *arena, ProtobufCMessage *message)
{
    char *start = (char *)message;
    void *value = start + field->offset, *quantifier = start + field->quantifier_offset;
    enum wire wire = tag & 7;
    if (field->label == PROTOBUF_C_LABEL_REPEATED) {
        if (wire != WIRE_RUN) return false;
        if ((field->flags & PROTOBUF_C_FIELD_FLAG_PACKED) != 0)
            return read_packed(field, from, arena, quantifier, value);
        return read_runs(field, tag, from, arena, quantifier, value);
    }
    if ((field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) != 0) {
        if (*(uint32_t *)quantifier != 0) return false; /* one of the others was there */
        *(uint32_t *)quantifier = field->id;
    }
    return read_value(field, wire, from, arena, value);
}

static bool read_message(const ProtobufCMessageDescriptor *type, struct bytes packed, struct arena *arena,
                         ProtobufCMessage **out)
{
    ProtobufCMessage *message = arena_try(arena, type->sizeof_message);
    if (message == NULL || type->n_fields > FIELDS_MAX) return false;
    type->message_init(message);
    uint64_t seen = 0;
    while (packed.size > 0) {
        uint8_t tag = packed.data[0];
        unsigned place = (tag >> 3) - 1U; /* the fields are in the order of their numbers, from 1 on */
        if (tag >= 0x80 || place >= type->n_fields || type->fields[place].id != tag >> 3) return false;
        if ((seen >> place & 1) != 0) return false;
        seen |= UINT64_C(1) << place;
        packed = bytes_of(packed.data + 1, packed.size - 1);
        if (!read_field(&type->fields[place], tag, &packed, arena, message)) return false;
    }
    *out = message;
    return true;
}

/* --- protobuf-c --- */

/* An arena that remembers whether it was asked for more than it has: protobuf-c gives NULL for that and for
 * bytes that do not decode alike. */
struct source {
    struct arena *arena;
    bool refused;
};

static void *source_alloc(void *data, size_t size)
{
    struct source *source = data;
    void *memory = arena_try(source->arena, size);
    if (memory == NULL) source->refused = true;
    return memory;
}

static void source_free(void *data, void *pointer)
{
    (void)data;
    (void)pointer;
}

enum status unpack(const ProtobufCMessageDescriptor *type, struct bytes packed, struct arena *arena,
                   ProtobufCMessage **out)
{
    struct source source = {.arena = arena};
    ProtobufCAllocator allocator = {.alloc = source_alloc, .free = source_free, .allocator_data = &source};
    struct arena_mark mark = arena_mark(arena);
    size_t before = arena->bytes_max;
    size_t bound = arena->used_bytes + UNPACK_FACTOR * packed.size + UNPACK_SLACK_BYTES;
    if (before == 0 || bound < before) arena->bytes_max = bound;
    if (read_message(type, packed, arena, out)) {
        arena->bytes_max = before;
        return STATUS_OK;
    }
    arena_rewind(arena, mark);
    ProtobufCMessage *message = protobuf_c_message_unpack(type, &allocator, packed.size, packed.data);
    arena->bytes_max = before;
    if (message == NULL) return source.refused ? STATUS_NO_MEMORY : STATUS_INVALID;
    *out = message;
    return STATUS_OK;
}
