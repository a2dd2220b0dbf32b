/* Both protocols by hand: packing through protobuf-c's structs costs more than the rest of the generator
 * together. What is written is client.proto, field by field; what is read is checked like any stranger's
 * bytes. */
#include "cli/bench.h"
#include "wire/frame.h"
#include "wire/varint.h"

enum { RESP_LINE_BYTES_MAX = 512, RESP_BULK_BYTES_MAX = 64 * 1024 * 1024 };

void bench_wire_init(struct bench_wire *wire, enum bench_protocol protocol, const char *table,
                     uint64_t ring_version)
{
    *wire = (struct bench_wire){.protocol = protocol, .ring_version = ring_version};
    size_t size = strnlen(table, sizeof(wire->table_field) - 2);
    wire->table_field[0] = 1 << 3 | 2;
    wire->table_field[1] = (uint8_t)size;
    memcpy(wire->table_field + 2, table, size);
    wire->table_field_bytes = (uint32_t)size + 2;
}

size_t bench_request_begin(const struct bench_wire *wire, struct buffer *out, uint64_t id)
{
    size_t begin = out->size;
    if (wire->protocol == BENCH_RESP) return begin;
    uint8_t *start = buffer_reserve(out, 64);
    uint8_t *to = start + FRAME_HEADER_BYTES;
    *to++ = 1 << 3 | 0; /* id */
    to = varint_write(to, id);
    if (wire->ring_version != 0) {
        *to++ = 3 << 3 | 1; /* ring_version */
        to = fixed64_write(to, wire->ring_version);
    }
    out->size += (size_t)(to - start);
    return begin;
}

void bench_request_end(const struct bench_wire *wire, struct buffer *out, size_t begin)
{
    if (wire->protocol == BENCH_RESP) return;
    frame_header(out->data + begin, out->size - begin - FRAME_HEADER_BYTES);
}

static uint8_t *write_text(uint8_t *to, const char *text)
{
    size_t size = strlen(text);
    memcpy(to, text, size);
    return to + size;
}

/* "$20\r\n" */
static uint8_t *write_bulk_header(uint8_t *to, uint32_t size)
{
    char digits[10];
    int count = 0;
    do {
        digits[count++] = (char)('0' + size % 10);
        size /= 10;
    } while (size > 0);
    *to++ = '$';
    while (count > 0) *to++ = (uint8_t)digits[--count];
    *to++ = '\r';
    *to++ = '\n';
    return to;
}

/* Operation and the head of its get or put, up to the key. @after: bytes of the fields behind the key. */
static uint8_t *write_operation(const struct bench_wire *wire, uint8_t *to, uint8_t kind, uint32_t key_bytes,
                                uint64_t record, uint32_t after)
{
    uint32_t body = wire->table_field_bytes + 1 + varint_bytes(key_bytes) + key_bytes + after;
    *to++ = 4 << 3 | 2; /* Request.operations */
    to = varint_write(to, 1 + varint_bytes(body) + body);
    *to++ = kind;
    to = varint_write(to, body);
    memcpy(to, wire->table_field, wire->table_field_bytes);
    to += wire->table_field_bytes;
    *to++ = 2 << 3 | 2; /* key */
    to = varint_write(to, key_bytes);
    bench_key_write(to, key_bytes, record);
    return to + key_bytes;
}

void bench_add_get(const struct bench_wire *wire, struct buffer *out, uint32_t key_bytes, uint64_t record)
{
    uint8_t *start = buffer_reserve(out, key_bytes + 160), *to = start;
    if (wire->protocol == BENCH_DYNODE) {
        to = write_operation(wire, to, 1 << 3 | 2, key_bytes, record, 0);
    } else {
        to = write_text(to, "*2\r\n$3\r\nGET\r\n");
        to = write_bulk_header(to, key_bytes);
        bench_key_write(to, key_bytes, record);
        to = write_text(to + key_bytes, "\r\n");
    }
    out->size += (size_t)(to - start);
}

uint8_t *bench_add_put(const struct bench_wire *wire, struct buffer *out, uint32_t key_bytes, uint64_t record,
                       uint32_t value_bytes, struct bytes context)
{
    uint8_t *start = buffer_reserve(out, key_bytes + value_bytes + context.size + 192), *to = start;
    uint8_t *value;
    if (wire->protocol == BENCH_DYNODE) {
        uint32_t after = 1 + varint_bytes(value_bytes) + value_bytes;
        if (context.size > 0) after += 1 + varint_bytes(context.size) + (uint32_t)context.size;
        to = write_operation(wire, to, 2 << 3 | 2, key_bytes, record, after);
        *to++ = 3 << 3 | 2; /* value */
        to = varint_write(to, value_bytes);
        value = to;
        to += value_bytes;
        if (context.size > 0) {
            *to++ = 4 << 3 | 2; /* context */
            to = varint_write(to, context.size);
            memcpy(to, context.data, context.size);
            to += context.size;
        }
    } else {
        to = write_text(to, "*3\r\n$3\r\nSET\r\n");
        to = write_bulk_header(to, key_bytes);
        bench_key_write(to, key_bytes, record);
        to = write_text(to + key_bytes, "\r\n");
        to = write_bulk_header(to, value_bytes);
        value = to;
        to = write_text(to + value_bytes, "\r\n");
    }
    out->size += (size_t)(to - start);
    return value;
}

/* One field of a protobuf message. */
struct field {
    uint64_t number;
    uint64_t value;     /* varint, fixed */
    struct bytes bytes; /* length-delimited */
};

static bool take(struct bytes *from, uint64_t size, struct bytes *taken)
{
    if (size > from->size) return false;
    *taken = bytes_of(from->data, (size_t)size);
    *from = bytes_of(from->data + size, from->size - (size_t)size);
    return true;
}

static bool read_field(struct bytes *from, struct field *field)
{
    uint64_t tag;
    struct bytes fixed;
    if (!varint_read(from, &tag)) return false;
    field->number = tag >> 3;
    field->value = 0;
    field->bytes = bytes_of(NULL, 0);
    switch (tag & 7) {
    case 0:
        return varint_read(from, &field->value);
    case 1:
        if (!take(from, FIXED64_BYTES, &fixed)) return false;
        field->value = fixed64_read(fixed.data);
        return true;
    case 2: {
        uint64_t size;
        return varint_read(from, &size) && take(from, size, &field->bytes);
    }
    case 5:
        return take(from, 4, &fixed);
    default:
        return false;
    }
}

static bool read_result(struct bytes packed, struct bench_answer *answer, bool *more)
{
    struct field field;
    *more = false;
    while (packed.size > 0) {
        if (!read_field(&packed, &field)) return false;
        if (field.number == 1)
            answer->operation = (uint32_t)field.value;
        else if (field.number == 2)
            answer->status = field.value < BENCH_LOST ? (int)field.value : DYNODE_INTERNAL;
        else if (field.number == 4)
            *more = field.value != 0;
        else if (field.number == 6)
            answer->context = field.bytes;
        else if (field.number == 5 && answer->siblings++ == 0) {
            struct field part;
            while (field.bytes.size > 0) {
                if (!read_field(&field.bytes, &part)) return false;
                if (part.number == 1) answer->value = part.bytes;
            }
        }
    }
    return true;
}

/* The id may stand behind the results: protobuf fields come in any order, and the server packs results first.
 */
static bool take_response(struct bytes payload, bench_answer_handler handle, bench_last_handler last_handle,
                          void *data)
{
    struct field field;
    uint64_t id = 0;
    bool last = false;
    for (struct bytes rest = payload; rest.size > 0;) {
        if (!read_field(&rest, &field)) return false;
        if (field.number == 1) id = field.value;
        if (field.number == 3) last = field.value != 0;
    }
    if (id == 0) return false;
    while (payload.size > 0) {
        if (!read_field(&payload, &field)) return false;
        if (field.number != 2) continue;
        struct bench_answer answer = {.id = id};
        bool more;
        if (!read_result(field.bytes, &answer, &more)) return false;
        if (!more) handle(data, &answer);
    }
    if (last) last_handle(data, id);
    return true;
}

/* A line of RESP, without its end. False: it is not all there. */
static bool resp_line(struct bytes input, struct bytes *line)
{
    const uint8_t *end =
        memchr(input.data, '\r', input.size < RESP_LINE_BYTES_MAX ? input.size : RESP_LINE_BYTES_MAX);
    if (end == NULL || (size_t)(end - input.data) + 2 > input.size) return false;
    *line = bytes_of(input.data, (size_t)(end - input.data));
    return true;
}

static long take_resp(struct bytes input, bench_answer_handler handle, void *data)
{
    size_t taken = 0;
    for (;;) {
        struct bytes rest = bytes_of(input.data + taken, input.size - taken), line;
        if (rest.size == 0 || !resp_line(rest, &line)) break;
        struct bench_answer answer = {.status = DYNODE_OK};
        size_t bytes = line.size + 2;
        if (line.size == 0) return -1;
        if (line.data[0] == '-') {
            answer.status = DYNODE_INTERNAL;
        } else if (line.data[0] == '$' && line.size > 1 && line.data[1] == '-') {
            answer.status = DYNODE_NOT_FOUND;
        } else if (line.data[0] == '$') {
            size_t size = 0;
            for (size_t i = 1; i < line.size; i++) {
                if (line.data[i] < '0' || line.data[i] > '9' || size > RESP_BULK_BYTES_MAX) return -1;
                size = size * 10 + (size_t)(line.data[i] - '0');
            }
            if (rest.size < bytes + size + 2) break;
            answer.value = bytes_of(rest.data + bytes, size);
            answer.siblings = 1;
            bytes += size + 2;
        } else if (line.data[0] != '+' && line.data[0] != ':') {
            return -1;
        }
        handle(data, &answer);
        taken += bytes;
    }
    return (long)taken;
}

long bench_take_answers(const struct bench_wire *wire, struct bytes input, bench_answer_handler handle,
                        bench_last_handler last, void *data)
{
    if (wire->protocol == BENCH_RESP) return take_resp(input, handle, data);
    size_t taken = 0;
    for (;;) {
        struct bytes rest = bytes_of(input.data + taken, input.size - taken), payload;
        size_t bytes;
        enum frame_state state = frame_next(rest, FRAME_CLIENT_BYTES_MAX, &payload, &bytes);
        if (state == FRAME_PARTIAL) return (long)taken;
        if (state == FRAME_BAD || !take_response(payload, handle, last, data)) return -1;
        taken += bytes;
    }
}
