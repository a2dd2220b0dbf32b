/* Object on the wire and on the disk: object.proto's StoredObject, its checksum, and the key it lies under.
 *
 *      store key:  vnode (2 bytes) | key hash (8) | table tag (8) | key      all big-endian, so that they sort
 *      stored:     checksum over store key and body (8, big-endian) | body
 *      body:       StoredObject, the same bytes that travel between replicas
 *
 * The encoding is canonical: equal objects are equal bytes, so a digest of the bytes is one of the object. Bytes in any
 * other encoding of the same message are refused, as they would make equal replicas look different for ever. The
 * store key is under the checksum, so that a value which turns up under another key is found out. */
#pragma once

#include "base/arena.h"
#include "base/bytes.h"
#include "base/status.h"
#include "version/object.h"

/* An encoded object travels in one frame, with room for what goes around it. */
enum { OBJECT_BYTES_MAX = 15 * 1024 * 1024 };

/* Read an object that a disk or a peer gave. All the rules of version/object.h hold afterwards. No bytes: the object
 * that was never written.
 *
 * Ownership: everything in *out, values too, belongs to @arena; @encoded may go.
 * STATUS_CORRUPT    It does not decode, breaks a rule, or is not the canonical encoding.
 * STATUS_NO_MEMORY  @arena is at its bound. It takes about eight times @encoded at most. */
enum status object_decode(struct bytes encoded, struct arena *arena, struct object *out);

/* The canonical encoding of a valid object, in @arena. Empty for one that was never written. */
struct bytes object_encode(const struct object *object, struct arena *arena);

/* What is stored under @store_key for an object: its checksum and @encoded, in @arena. */
struct bytes object_seal(struct bytes store_key, struct bytes encoded, struct arena *arena);

/* The way back; *encoded borrows from @stored.
 * STATUS_CORRUPT  The checksum is not that of this store key and body. */
enum status object_unseal(struct bytes store_key, struct bytes stored, struct bytes *encoded);

/* The checksum of stored bytes that object_unseal takes: equal for equal objects under one store key. */
static inline uint64_t object_checksum(struct bytes stored)
{
    return get_be64(stored.data);
}

/* Equal for equal objects on all machines: replicas compare it instead of the object. */
uint64_t object_digest(struct bytes encoded);

struct store_place {
    uint32_t vnode; /* below 65,536 */
    uint64_t hash;  /* of the key */
    uint64_t tag;   /* the table's */
    struct bytes key;
};

/* The bytes before the key. */
enum { STORE_PLACE_BYTES = 2 + 8 + 8 };

/* The store key, in @arena. */
struct bytes store_key_encode(const struct store_place *place, struct arena *arena);

/* The way back; place->key borrows from @store_key. False when it is too short for a key to follow. */
bool store_key_decode(struct bytes store_key, struct store_place *place);
