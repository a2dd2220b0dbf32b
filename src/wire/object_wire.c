/* The body is packed and read by hand: one is read at every step of every operation, and there is just one
 * encoding to know. A reader of that one alone is also the shortest way to refuse all others: unknown fields,
 * over-long numbers, defaults that are written, fields twice or out of order. */
#include "wire/object_wire.h"

#include "base/check.h"
#include "base/hash.h"
#include "wire/varint.h"

/* The fields of object.proto, as protobuf tags: their number, and 0 for a varint, 1 for a fixed64, 2 for a
 * length and bytes. Numbers that are 0 and runs that are empty are not there. */
enum {
    TAG_CLOCKS = 1 << 3 | 2,
    TAG_COUNTERS = 2 << 3 | 2,
    TAG_SIBLINGS = 3 << 3 | 2,

    TAG_CLOCK = 1 << 3 | 1,
    TAG_COUNTER = 2 << 3 | 0,
    TAG_STAMP = 3 << 3 | 1,
    TAG_TOKEN_CLIENT = 4 << 3 | 1,
    TAG_TOKEN_SEQUENCE = 5 << 3 | 0,
    TAG_TOMBSTONE = 6 << 3 | 0,
    TAG_EXPIRES_MS = 7 << 3 | 0,
    TAG_VALUE = 8 << 3 | 2,
};

/* --- reading: each takes what it reads from the start of @from; false: that is not canonical --- */

static bool take_tag(struct bytes *from, uint8_t tag)
{
    if (from->size == 0 || from->data[0] != tag) return false;
    *from = bytes_of(from->data + 1, from->size - 1);
    return true;
}

static inline bool read_varint(struct bytes *from, uint64_t *value)
{
    const uint8_t *start = from->data;
    if (!varint_read(from, value)) return false;
    uint8_t last = from->data[-1];                                /* 0 only where it is all there is */
    if (from->data - start == VARINT_BYTES_MAX) return last == 1; /* the 64th bit, and none above it */
    return last != 0 || from->data - start == 1;
}

static bool read_number(struct bytes *from, uint8_t tag, uint64_t *value)
{
    *value = 0;
    return !take_tag(from, tag) || (read_varint(from, value) && *value != 0);
}

static bool read_fixed64(struct bytes *from, uint8_t tag, uint64_t *value)
{
    *value = 0;
    if (!take_tag(from, tag)) return true;
    if (from->size < FIXED64_BYTES) return false;
    *value = fixed64_read(from->data);
    *from = bytes_of(from->data + FIXED64_BYTES, from->size - FIXED64_BYTES);
    return *value != 0;
}

/* What is behind a length; it may be empty. */
static bool read_run(struct bytes *from, struct bytes *run)
{
    uint64_t size;
    if (!read_varint(from, &size) || size > from->size) return false;
    *run = bytes_of(from->data, (size_t)size);
    *from = bytes_of(from->data + size, from->size - (size_t)size);
    return true;
}

static bool read_bytes(struct bytes *from, uint8_t tag, struct bytes *run)
{
    *run = (struct bytes){0};
    return !take_tag(from, tag) || (read_run(from, run) && run->size > 0);
}

static bool read_sibling(struct bytes from, struct sibling *out)
{
    uint64_t tombstone;
    bool good = read_fixed64(&from, TAG_CLOCK, &out->dot.clock) &&
                read_number(&from, TAG_COUNTER, &out->dot.counter) &&
                read_fixed64(&from, TAG_STAMP, &out->stamp) &&
                read_fixed64(&from, TAG_TOKEN_CLIENT, &out->token.client) &&
                read_number(&from, TAG_TOKEN_SEQUENCE, &out->token.sequence) &&
                read_number(&from, TAG_TOMBSTONE, &tombstone) && tombstone <= 1 &&
                read_number(&from, TAG_EXPIRES_MS, &out->expires_ms) &&
                read_bytes(&from, TAG_VALUE, &out->value) && from.size == 0;
    if (good) out->tombstone = tombstone == 1;
    return good;
}

static bool count_siblings(struct bytes from, uint32_t *count)
{
    struct bytes sibling;
    for (*count = 0; from.size > 0; ++*count)
        if (*count == OBJECT_SIBLINGS_HELD_MAX || !take_tag(&from, TAG_SIBLINGS) ||
            !read_run(&from, &sibling))
            return false;
    return true;
}

enum status object_decode(struct bytes encoded, struct arena *arena, struct object *out)
{
    struct bytes rest = encoded, clocks, counters, sibling;
    struct object object = {0};
    if (!read_bytes(&rest, TAG_CLOCKS, &clocks) || !read_bytes(&rest, TAG_COUNTERS, &counters))
        return STATUS_CORRUPT;
    if (clocks.size % FIXED64_BYTES != 0 || clocks.size / FIXED64_BYTES > VV_ENTRIES_MAX)
        return STATUS_CORRUPT;
    if (!count_siblings(rest, &object.count)) return STATUS_CORRUPT;

    object.context.count = (uint32_t)(clocks.size / FIXED64_BYTES);
    object.context.entries = arena_try(arena, sizeof(struct dot) * object.context.count);
    object.siblings = arena_try(arena, sizeof(struct sibling) * object.count);
    uint8_t *own = arena_try(arena, rest.size); /* what the values point into */
    if (object.context.entries == NULL || object.siblings == NULL || own == NULL) return STATUS_NO_MEMORY;
    for (uint32_t i = 0; i < object.context.count; i++) {
        struct dot *entry = &object.context.entries[i];
        entry->clock = fixed64_read(clocks.data + (size_t)i * FIXED64_BYTES);
        if (!read_varint(&counters, &entry->counter)) return STATUS_CORRUPT;
    }
    if (counters.size > 0) return STATUS_CORRUPT;
    if (rest.size > 0) memcpy(own, rest.data, rest.size);
    rest.data = own;
    for (uint32_t i = 0; i < object.count; i++) {
        CHECK(take_tag(&rest, TAG_SIBLINGS));
        CHECK(read_run(&rest, &sibling));
        if (!read_sibling(sibling, &object.siblings[i])) return STATUS_CORRUPT;
    }
    if (!object_valid(&object)) return STATUS_CORRUPT;
    *out = object;
    return STATUS_OK;
}

/* --- packing --- */

static size_t number_bytes(uint64_t value)
{
    return value == 0 ? 0 : 1 + (size_t)varint_bytes(value);
}

static size_t fixed64_bytes(uint64_t value)
{
    return value == 0 ? 0 : 1 + FIXED64_BYTES;
}

static size_t run_bytes(size_t size)
{
    return 1 + varint_bytes(size) + size;
}

static uint8_t *write_number(uint8_t *to, uint8_t tag, uint64_t value)
{
    if (value == 0) return to;
    *to = tag;
    return varint_write(to + 1, value);
}

static uint8_t *write_fixed64(uint8_t *to, uint8_t tag, uint64_t value)
{
    if (value == 0) return to;
    *to = tag;
    return fixed64_write(to + 1, value);
}

static uint8_t *write_run(uint8_t *to, uint8_t tag, size_t size)
{
    *to = tag;
    return varint_write(to + 1, size);
}

static size_t sibling_bytes(const struct sibling *sibling)
{
    return fixed64_bytes(sibling->dot.clock) + number_bytes(sibling->dot.counter) +
           fixed64_bytes(sibling->stamp) + fixed64_bytes(sibling->token.client) +
           number_bytes(sibling->token.sequence) + number_bytes(sibling->tombstone) +
           number_bytes(sibling->expires_ms) + (sibling->value.size > 0 ? run_bytes(sibling->value.size) : 0);
}

static uint8_t *write_sibling(uint8_t *to, const struct sibling *sibling)
{
    to = write_run(to, TAG_SIBLINGS, sibling_bytes(sibling));
    to = write_fixed64(to, TAG_CLOCK, sibling->dot.clock);
    to = write_number(to, TAG_COUNTER, sibling->dot.counter);
    to = write_fixed64(to, TAG_STAMP, sibling->stamp);
    to = write_fixed64(to, TAG_TOKEN_CLIENT, sibling->token.client);
    to = write_number(to, TAG_TOKEN_SEQUENCE, sibling->token.sequence);
    to = write_number(to, TAG_TOMBSTONE, sibling->tombstone);
    to = write_number(to, TAG_EXPIRES_MS, sibling->expires_ms);
    if (sibling->value.size == 0) return to;
    to = write_run(to, TAG_VALUE, sibling->value.size);
    memcpy(to, sibling->value.data, sibling->value.size);
    return to + sibling->value.size;
}

struct bytes object_encode(const struct object *object, struct arena *arena)
{
    const struct vv *context = &object->context;
    size_t clocks = (size_t)context->count * FIXED64_BYTES, counters = 0, size = 0;
    for (uint32_t i = 0; i < context->count; i++) counters += varint_bytes(context->entries[i].counter);
    if (context->count > 0) size = run_bytes(clocks) + run_bytes(counters);
    for (uint32_t i = 0; i < object->count; i++) size += run_bytes(sibling_bytes(&object->siblings[i]));

    uint8_t *packed = arena_alloc(arena, size), *to = packed;
    if (context->count > 0) {
        to = write_run(to, TAG_CLOCKS, clocks);
        for (uint32_t i = 0; i < context->count; i++) to = fixed64_write(to, context->entries[i].clock);
        to = write_run(to, TAG_COUNTERS, counters);
        for (uint32_t i = 0; i < context->count; i++) to = varint_write(to, context->entries[i].counter);
    }
    for (uint32_t i = 0; i < object->count; i++) to = write_sibling(to, &object->siblings[i]);
    CHECK((size_t)(to - packed) == size);
    return bytes_of(packed, size);
}

/* The key's hash seeds the body's: both are covered, without laying them side by side. */
static uint64_t checksum(struct bytes store_key, struct bytes encoded)
{
    return hash64(encoded, hash64(store_key, 0));
}

enum { CHECKSUM_BYTES = 8 };

struct bytes object_seal(struct bytes store_key, struct bytes encoded, struct arena *arena)
{
    uint8_t *stored = arena_alloc(arena, CHECKSUM_BYTES + encoded.size);
    put_be64(stored, checksum(store_key, encoded));
    if (encoded.size > 0) memcpy(stored + CHECKSUM_BYTES, encoded.data, encoded.size);
    return bytes_of(stored, CHECKSUM_BYTES + encoded.size);
}

enum status object_unseal(struct bytes store_key, struct bytes stored, struct bytes *encoded)
{
    if (stored.size < CHECKSUM_BYTES) return STATUS_CORRUPT;
    struct bytes body = bytes_of(stored.data + CHECKSUM_BYTES, stored.size - CHECKSUM_BYTES);
    if (get_be64(stored.data) != checksum(store_key, body)) return STATUS_CORRUPT;
    *encoded = body;
    return STATUS_OK;
}

uint64_t object_digest(struct bytes encoded)
{
    return hash64(encoded, 0);
}

struct bytes store_key_encode(const struct store_place *place, struct arena *arena)
{
    CHECK(place->vnode <= UINT16_MAX);
    uint8_t *to = arena_alloc(arena, STORE_PLACE_BYTES + place->key.size);
    put_be16(to, (uint16_t)place->vnode);
    put_be64(to + 2, place->hash);
    put_be64(to + 10, place->tag);
    if (place->key.size > 0) memcpy(to + STORE_PLACE_BYTES, place->key.data, place->key.size);
    return bytes_of(to, STORE_PLACE_BYTES + place->key.size);
}

bool store_key_decode(struct bytes store_key, struct store_place *place)
{
    if (store_key.size <= STORE_PLACE_BYTES) return false;
    place->vnode = get_be16(store_key.data);
    place->hash = get_be64(store_key.data + 2);
    place->tag = get_be64(store_key.data + 10);
    place->key = bytes_of(store_key.data + STORE_PLACE_BYTES, store_key.size - STORE_PLACE_BYTES);
    return true;
}
