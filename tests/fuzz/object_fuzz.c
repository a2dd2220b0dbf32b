/* Stored objects: what decodes encodes to the same bytes and obeys the rules of a join; what does not is
 * refused; and a memory that ends at any point is an answer.
 *
 * The input is two encoded objects, the first behind its length (2 bytes), and a bound for an arena (2 bytes,
 * in units of 64). */
#include "fuzz.h"
#include "mutate.h"
#include "object.pb-c.h"
#include "wire/object_wire.h"

static struct object joined(const struct object *a, const struct object *b, enum table_rule rule,
                            struct arena *arena)
{
    struct object join = object_merge(a, b, rule, arena);
    CHECK(vv_descends(&join.context, &a->context));
    CHECK(vv_descends(&join.context, &b->context));
    for (uint32_t i = 0; i < join.count; i++) CHECK(vv_covers(&join.context, join.siblings[i].dot));
    return join;
}

static void join_both(const struct object *a, const struct object *b, struct arena *arena)
{
    for (int i = 0; i < 2; i++) {
        enum table_rule r = i == 0 ? RULE_SIBLINGS : RULE_LWW;
        struct object self = joined(a, a, r, arena);
        if (r == RULE_SIBLINGS) CHECK(object_equal(&self, a));
        struct object ab = joined(a, b, r, arena), ba = joined(b, a, r, arena);
        CHECK(object_equal(&ab, &ba));
        struct object again = joined(&ab, b, r, arena);
        CHECK(object_equal(&again, &ab));
        if (r == RULE_LWW) CHECK(ab.count <= 1);
    }
}

static bool decode(struct bytes encoded, struct arena *arena, struct object *out)
{
    enum status status = object_decode(encoded, arena, out);
    CHECK(status == STATUS_OK || status == STATUS_CORRUPT || status == STATUS_NO_MEMORY);
    if (status != STATUS_OK) return false;
    CHECK(object_valid(out));
    CHECK(bytes_equal(object_encode(out, arena), encoded));
    return true;
}

/* A store key that is any bytes: sealed under it the object comes back, under another key it does not. */
static void seal_and_unseal(struct bytes encoded, struct arena *arena)
{
    struct store_place place = {.vnode = 3, .hash = 5, .tag = 7, .key = encoded}, back;
    struct bytes key = store_key_encode(&place, arena), out;
    if (encoded.size > 0) {
        CHECK(store_key_decode(key, &back));
        CHECK(bytes_equal(back.key, encoded));
    }
    struct bytes stored = object_seal(key, encoded, arena);
    CHECK(object_unseal(key, stored, &out) == STATUS_OK);
    CHECK(bytes_equal(out, encoded));
    CHECK(object_unseal(bytes_of(key.data, key.size - 1), stored, &out) == STATUS_CORRUPT);
    CHECK(object_unseal(key, bytes_of(stored.data, stored.size - 1), &out) == STATUS_CORRUPT);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 4) return 0;
    size_t first = get_be16(data), bound = 64 * (size_t)get_be16(data + 2);
    if (first > size - 4) first = size - 4;
    struct bytes a_bytes = bytes_of(data + 4, first), b_bytes = bytes_of(data + 4 + first, size - 4 - first),
                 out;
    struct arena arena, small;
    struct object a, b, within;
    arena_init(&arena, 0);
    object_unseal(bytes_of("key", 3), a_bytes, &out);
    seal_and_unseal(a_bytes, &arena);
    bool a_decodes = decode(a_bytes, &arena, &a), b_decodes = decode(b_bytes, &arena, &b);
    if (a_decodes && b_decodes) join_both(&a, &b, &arena);
    arena_init(&small, bound + 64);
    enum status status = object_decode(a_bytes, &small, &within);
    if (status == STATUS_OK) CHECK(a_decodes);
    if (status == STATUS_OK) CHECK(object_equal(&a, &within));
    if (a_decodes) CHECK(status == STATUS_OK || status == STATUS_NO_MEMORY);
    CHECK(small.used_bytes <= bound + 64);
    arena_fini(&small);
    arena_fini(&arena);
    return 0;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t size_max, unsigned seed)
{
    struct prng prng;
    prng_init(&prng, seed);
    if (size < 4 || size_max > 65535 || prng_chance(&prng, 1, 10))
        return LLVMFuzzerMutate(data, size, size_max);
    size_t first = get_be16(data);
    if (first > size - 4) first = size - 4;
    struct buffer a = {0}, b = {0};
    buffer_append(&a, data + 4, first);
    buffer_append(&b, data + 4 + first, size - 4 - first);
    struct buffer *one = prng_chance(&prng, 1, 2) ? &a : &b;
    size_t room = one->size + (size_max - size);
    buffer_reserve(one, room - one->size + 1);
    one->size = mutate_message(&dynode__object__stored_object__descriptor, one->data, one->size, room, &prng);
    put_be16(data, (uint16_t)a.size);
    if (a.size > 0) memcpy(data + 4, a.data, a.size);
    if (b.size > 0) memcpy(data + 4 + a.size, b.data, b.size);
    size = 4 + a.size + b.size;
    buffer_fini(&a);
    buffer_fini(&b);
    return size;
}
