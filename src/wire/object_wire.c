#include "wire/object_wire.h"

#include "base/check.h"
#include "base/hash.h"
#include "object.pb-c.h"
#include "wire/unpack.h"

/* Where a message is packed again, piece by piece, to compare it with the bytes it came from. */
struct comparison {
    ProtobufCBuffer base;
    struct bytes rest;
    bool differs;
};

static void compare_piece(ProtobufCBuffer *buffer, size_t size, const uint8_t *data)
{
    struct comparison *comparison = (struct comparison *)buffer;
    struct bytes *rest = &comparison->rest;
    if (comparison->differs || size == 0) return;
    if (size > rest->size || memcmp(rest->data, data, size) != 0) {
        comparison->differs = true;
        return;
    }
    *rest = bytes_of(rest->data + size, rest->size - size);
}

/* Unknown fields and over-long numbers, fields twice or out of order: all of that packs to other bytes, or to
 * as many that stand elsewhere. */
static bool is_canonical(const Dynode__Object__StoredObject *message, struct bytes encoded)
{
    if (message->base.n_unknown_fields > 0) return false;
    for (size_t i = 0; i < message->n_siblings; i++)
        if (message->siblings[i]->base.n_unknown_fields > 0) return false;
    struct comparison comparison = {.base.append = compare_piece, .rest = encoded};
    dynode__object__stored_object__pack_to_buffer(message, &comparison.base);
    return !comparison.differs && comparison.rest.size == 0;
}

static struct sibling sibling_of(const Dynode__Object__StoredSibling *stored)
{
    return (struct sibling){
        .dot = {.clock = stored->clock, .counter = stored->counter},
        .stamp = stored->stamp,
        .token = {.client = stored->token_client, .sequence = stored->token_sequence},
        .expires_ms = stored->expires_ms,
        .tombstone = stored->tombstone,
        .value = bytes_of(stored->value.data, stored->value.len),
    };
}

enum status object_decode(struct bytes encoded, struct arena *arena, struct object *out)
{
    ProtobufCMessage *unpacked;
    enum status status = unpack(&dynode__object__stored_object__descriptor, encoded, arena, &unpacked);
    if (status != STATUS_OK) return status == STATUS_NO_MEMORY ? STATUS_NO_MEMORY : STATUS_CORRUPT;
    const Dynode__Object__StoredObject *message = (Dynode__Object__StoredObject *)unpacked;
    if (message->n_clocks != message->n_counters || message->n_clocks > VV_ENTRIES_MAX) return STATUS_CORRUPT;
    if (message->n_siblings > UINT32_MAX || !is_canonical(message, encoded)) return STATUS_CORRUPT;

    struct object object = {
        .context = {.entries = arena_try(arena, sizeof(struct dot) * message->n_clocks),
                    .count = (uint32_t)message->n_clocks},
        .siblings = arena_try(arena, sizeof(struct sibling) * message->n_siblings),
        .count = (uint32_t)message->n_siblings,
    };
    if (object.context.entries == NULL || object.siblings == NULL) return STATUS_NO_MEMORY;
    for (uint32_t i = 0; i < object.context.count; i++)
        object.context.entries[i] =
            (struct dot){.clock = message->clocks[i], .counter = message->counters[i]};
    for (uint32_t i = 0; i < object.count; i++) object.siblings[i] = sibling_of(message->siblings[i]);
    if (!object_valid(&object)) return STATUS_CORRUPT;
    *out = object;
    return STATUS_OK;
}

static void sibling_to(Dynode__Object__StoredSibling *stored, const struct sibling *sibling)
{
    dynode__object__stored_sibling__init(stored);
    stored->clock = sibling->dot.clock;
    stored->counter = sibling->dot.counter;
    stored->stamp = sibling->stamp;
    stored->token_client = sibling->token.client;
    stored->token_sequence = sibling->token.sequence;
    stored->tombstone = sibling->tombstone;
    stored->expires_ms = sibling->expires_ms;
    stored->value = (ProtobufCBinaryData){.data = (uint8_t *)sibling->value.data, .len = sibling->value.size};
}

struct bytes object_encode(const struct object *object, struct arena *arena)
{
    Dynode__Object__StoredObject message = DYNODE__OBJECT__STORED_OBJECT__INIT;
    message.n_clocks = message.n_counters = object->context.count;
    message.clocks = ARENA_ARRAY(arena, uint64_t, object->context.count);
    message.counters = ARENA_ARRAY(arena, uint64_t, object->context.count);
    for (uint32_t i = 0; i < object->context.count; i++) {
        message.clocks[i] = object->context.entries[i].clock;
        message.counters[i] = object->context.entries[i].counter;
    }
    Dynode__Object__StoredSibling *stored = ARENA_ARRAY(arena, Dynode__Object__StoredSibling, object->count);
    message.n_siblings = object->count;
    message.siblings = ARENA_ARRAY(arena, Dynode__Object__StoredSibling *, object->count);
    for (uint32_t i = 0; i < object->count; i++) {
        sibling_to(&stored[i], &object->siblings[i]);
        message.siblings[i] = &stored[i];
    }
    uint8_t *packed = arena_alloc(arena, dynode__object__stored_object__get_packed_size(&message));
    return bytes_of(packed, dynode__object__stored_object__pack(&message, packed));
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
