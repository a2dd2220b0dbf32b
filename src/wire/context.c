#include "wire/context.h"

#include <sodium.h>

#include "base/check.h"
#include "object.pb-c.h"
#include "wire/pack.h"
#include "wire/unpack.h"

static_assert(CONTEXT_SECRET_BYTES == crypto_shorthash_KEYBYTES, "SipHash-2-4 takes a 16-byte key");

struct context_secret context_secret_derive(struct bytes contents, uint64_t cluster)
{
    uint8_t id[8];
    put_be64(id, cluster);
    struct context_secret secret;
    if (contents.size == 0) contents = bytes_of(id, sizeof(id));
    CHECK(crypto_generichash(secret.key, sizeof(secret.key), contents.data, contents.size,
                             (const uint8_t *)"dynode context", 14) == 0);
    return secret;
}

/* The seal covers table, key and everything in the message but itself: the fields in order, big-endian. */
static uint64_t seal(const struct context_secret *secret, uint64_t tag, struct bytes key, const struct vv *vv,
                     uint64_t stamp, struct arena *arena)
{
    size_t size = 8 + 8 + key.size + 8 + 16 * (size_t)vv->count;
    uint8_t *text = arena_alloc(arena, size), *at = text;
    put_be64(at, tag), at += 8;
    put_be64(at, key.size), at += 8;
    if (key.size > 0) memcpy(at, key.data, key.size), at += key.size;
    put_be64(at, stamp), at += 8;
    for (uint32_t i = 0; i < vv->count; i++, at += 16) {
        put_be64(at, vv->entries[i].clock);
        put_be64(at + 8, vv->entries[i].counter);
    }
    uint8_t hash[crypto_shorthash_BYTES];
    crypto_shorthash(hash, text, size, secret->key);
    return get_be64(hash);
}

struct bytes context_seal(const struct context_secret *secret, uint64_t tag, struct bytes key,
                          const struct object *object, struct arena *arena)
{
    if (object->context.count == 0) return bytes_of(NULL, 0);
    const struct vv *vv = &object->context;
    Dynode__Object__SealedContext message = DYNODE__OBJECT__SEALED_CONTEXT__INIT;
    message.n_clocks = message.n_counters = vv->count;
    message.clocks = ARENA_ARRAY(arena, uint64_t, vv->count);
    message.counters = ARENA_ARRAY(arena, uint64_t, vv->count);
    for (uint32_t i = 0; i < vv->count; i++) {
        message.clocks[i] = vv->entries[i].clock;
        message.counters[i] = vv->entries[i].counter;
    }
    message.stamp = object_stamp_max(object);
    message.seal = seal(secret, tag, key, vv, message.stamp, arena);
    uint8_t *packed = arena_alloc(arena, pack_size(&message.base));
    return bytes_of(packed, (size_t)(pack(&message.base, packed) - packed));
}

enum status context_unseal(const struct context_secret *secret, uint64_t tag, struct bytes key,
                           struct bytes sealed, struct arena *arena, struct vv *context, uint64_t *stamp)
{
    if (sealed.size == 0) {
        *context = (struct vv){0};
        *stamp = 0;
        return STATUS_OK;
    }
    ProtobufCMessage *out;
    if (sealed.size > CONTEXT_BYTES_MAX) return STATUS_INVALID;
    if (unpack(&dynode__object__sealed_context__descriptor, sealed, arena, &out) != STATUS_OK)
        return STATUS_INVALID;
    const Dynode__Object__SealedContext *message = (Dynode__Object__SealedContext *)out;
    if (message->n_clocks != message->n_counters || message->n_clocks > VV_ENTRIES_MAX) return STATUS_INVALID;
    struct vv vv = {.entries = ARENA_ARRAY(arena, struct dot, message->n_clocks),
                    .count = (uint32_t)message->n_clocks};
    for (uint32_t i = 0; i < vv.count; i++)
        vv.entries[i] = (struct dot){.clock = message->clocks[i], .counter = message->counters[i]};
    if (!vv_valid(&vv) || message->seal != seal(secret, tag, key, &vv, message->stamp, arena))
        return STATUS_INVALID;
    *context = vv;
    *stamp = message->stamp;
    return STATUS_OK;
}
