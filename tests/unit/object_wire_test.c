/* Stored objects: what is written reads back, and nothing else is taken for an object. */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/prng.h"
#include "object.pb-c.h"
#include "wire/object_wire.h"

static struct arena arena;
static struct prng prng;

static uint64_t any_number(void)
{
    uint64_t edges[] = {1, 127, 128, UINT32_MAX, UINT64_MAX};
    return prng_chance(&prng, 1, 2) ? edges[prng_below(&prng, 5)] : prng_next(&prng) | 1;
}

static struct bytes any_bytes(size_t size_max)
{
    size_t size = prng_below(&prng, size_max + 1);
    uint8_t *data = arena_alloc(&arena, size);
    for (size_t i = 0; i < size; i++) data[i] = (uint8_t)prng_next(&prng);
    return bytes_of(data, size);
}

/* Valid, if not reachable: a codec must not care. */
static struct object any_object(void)
{
    uint32_t clocks = (uint32_t)prng_below(&prng, 6);
    struct object object = {.context = {ARENA_ARRAY(&arena, struct dot, clocks), clocks},
                            .siblings = ARENA_ARRAY(&arena, struct sibling, 2 * (size_t)clocks)};
    uint64_t clock = 0;
    for (uint32_t i = 0; i < clocks; i++) {
        clock += 1 + prng_below(&prng, UINT64_MAX / 8);
        struct dot dot = {.clock = clock, .counter = any_number()};
        object.context.entries[i] = dot;
        for (uint64_t down = prng_below(&prng, 3); down > 0; down--) {
            if (down - 1 >= dot.counter) continue;
            struct sibling *sibling = &object.siblings[object.count++];
            *sibling = (struct sibling){.dot = {clock, dot.counter - (down - 1)},
                                        .stamp = any_number() - 1,
                                        .token = {any_number() - 1, any_number() - 1},
                                        .expires_ms = any_number() - 1,
                                        .tombstone = prng_chance(&prng, 1, 3)};
            if (!sibling->tombstone) sibling->value = any_bytes(40);
        }
    }
    assert_true(object_valid(&object));
    return object;
}

static void assert_same(const struct object *a, const struct object *b)
{
    assert_true(object_equal(a, b));
    for (uint32_t i = 0; i < a->count; i++) {
        const struct sibling *x = &a->siblings[i], *y = &b->siblings[i];
        assert_true(x->stamp == y->stamp && x->expires_ms == y->expires_ms);
        assert_true(x->token.client == y->token.client && x->token.sequence == y->token.sequence);
        assert_int_equal(x->tombstone, y->tombstone);
        assert_true(bytes_equal(x->value, y->value));
    }
}

/* The message that object.proto describes, as protobuf-c packs it. */
static void assert_packs_to(const struct object *object, struct bytes encoded)
{
    Dynode__Object__StoredObject message = DYNODE__OBJECT__STORED_OBJECT__INIT;
    message.n_clocks = message.n_counters = object->context.count;
    message.clocks = ARENA_ARRAY(&arena, uint64_t, object->context.count);
    message.counters = ARENA_ARRAY(&arena, uint64_t, object->context.count);
    for (uint32_t i = 0; i < object->context.count; i++) {
        message.clocks[i] = object->context.entries[i].clock;
        message.counters[i] = object->context.entries[i].counter;
    }
    message.n_siblings = object->count;
    message.siblings = ARENA_ARRAY(&arena, Dynode__Object__StoredSibling *, object->count);
    for (uint32_t i = 0; i < object->count; i++) {
        const struct sibling *from = &object->siblings[i];
        Dynode__Object__StoredSibling *to = ARENA_NEW(&arena, Dynode__Object__StoredSibling);
        dynode__object__stored_sibling__init(to);
        to->clock = from->dot.clock, to->counter = from->dot.counter;
        to->stamp = from->stamp, to->expires_ms = from->expires_ms, to->tombstone = from->tombstone;
        to->token_client = from->token.client, to->token_sequence = from->token.sequence;
        to->value =
            (ProtobufCBinaryData){.data = (uint8_t *)(uintptr_t)from->value.data, .len = from->value.size};
        message.siblings[i] = to;
    }
    assert_int_equal(dynode__object__stored_object__get_packed_size(&message), encoded.size);
    uint8_t *packed = arena_alloc(&arena, encoded.size);
    dynode__object__stored_object__pack(&message, packed);
    assert_true(bytes_equal(bytes_of(packed, encoded.size), encoded));
}

static enum status decode(struct bytes encoded, struct object *out)
{
    *out = (struct object){.count = 12345};
    enum status status = object_decode(encoded, &arena, out);
    if (status == STATUS_OK)
        assert_true(object_valid(out));
    else
        assert_int_equal(out->count, 12345);
    return status;
}

static void what_is_written_reads_back(void **state)
{
    (void)state;
    for (int round = 0; round < 1000; round++) {
        arena_reset(&arena);
        struct object object = any_object(), back;
        struct bytes encoded = object_encode(&object, &arena), unsealed;
        struct bytes key = any_bytes(30), stored = object_seal(key, encoded, &arena);
        assert_int_equal(object_unseal(key, stored, &unsealed), STATUS_OK);
        assert_true(bytes_equal(unsealed, encoded));
        assert_int_equal(decode(unsealed, &back), STATUS_OK);
        assert_same(&object, &back);
        struct bytes again = object_encode(&back, &arena);
        assert_true(bytes_equal(again, encoded));
        assert_true(object_digest(again) == object_digest(encoded));
        assert_packs_to(&object, encoded);
    }
    struct object nothing;
    assert_int_equal(decode(bytes_of(NULL, 0), &nothing), STATUS_OK);
    assert_int_equal(nothing.context.count + nothing.count, 0);
    assert_int_equal(object_encode(&nothing, &arena).size, 0);
}

/* An exact copy on the heap, so that the sanitizer sees a read past its end. */
static struct bytes heap_copy(struct bytes from)
{
    uint8_t *data = malloc(from.size > 0 ? from.size : 1);
    assert_non_null(data);
    if (from.size > 0) memcpy(data, from.data, from.size);
    return bytes_of(data, from.size);
}

static void a_cut_is_found(void **state)
{
    (void)state;
    for (int round = 0; round < 40; round++) {
        arena_reset(&arena);
        struct object object = any_object(), back;
        struct bytes key = any_bytes(30), encoded = object_encode(&object, &arena), unsealed;
        struct bytes stored = object_seal(key, encoded, &arena);
        for (size_t size = 0; size < stored.size; size++) {
            struct bytes cut = heap_copy(bytes_of(stored.data, size));
            assert_int_equal(object_unseal(key, cut, &unsealed), STATUS_CORRUPT);
            free((void *)(uintptr_t)cut.data);
        }
        /* Without its checksum, one that is cut between two siblings is an object, if a smaller one. */
        for (size_t size = 0; size < encoded.size; size++) {
            struct bytes cut = heap_copy(bytes_of(encoded.data, size));
            enum status status = decode(cut, &back);
            if (status == STATUS_OK)
                assert_true(back.count < object.count || back.context.count < object.context.count);
            else
                assert_int_equal(status, STATUS_CORRUPT);
            free((void *)(uintptr_t)cut.data);
        }
    }
}

static void a_flipped_bit_is_found(void **state)
{
    (void)state;
    for (int round = 0; round < 20; round++) {
        arena_reset(&arena);
        struct object object = any_object(), back;
        struct bytes key = any_bytes(30), encoded = object_encode(&object, &arena), unsealed;
        struct bytes stored = object_seal(key, encoded, &arena);
        for (size_t bit = 0; bit < 8 * stored.size; bit++) {
            struct bytes flipped = heap_copy(stored);
            ((uint8_t *)(uintptr_t)flipped.data)[bit / 8] ^= (uint8_t)(1 << bit % 8);
            assert_int_equal(object_unseal(key, flipped, &unsealed), STATUS_CORRUPT);
            /* Without its checksum, what still decodes is another object, in the one encoding it has. */
            struct bytes body = bytes_of(flipped.data + 8, flipped.size - 8);
            if (bit >= 64 && decode(body, &back) == STATUS_OK)
                assert_true(bytes_equal(object_encode(&back, &arena), body));
            free((void *)(uintptr_t)flipped.data);
        }
        struct bytes other = bytes_str("another key");
        assert_int_equal(object_unseal(other, stored, &unsealed), STATUS_CORRUPT);
    }
}

/* --- One message, with one thing wrong at a time --- */

struct draft {
    uint64_t clocks[2], counters[2];
    Dynode__Object__StoredSibling first, second, *siblings[2];
    Dynode__Object__StoredObject object;
};

static void draft_init(struct draft *draft)
{
    *draft = (struct draft){.clocks = {3, 5}, .counters = {4, 2}};
    dynode__object__stored_object__init(&draft->object);
    draft->object.clocks = draft->clocks, draft->object.n_clocks = 2;
    draft->object.counters = draft->counters, draft->object.n_counters = 2;
    dynode__object__stored_sibling__init(&draft->first);
    dynode__object__stored_sibling__init(&draft->second);
    draft->first.clock = 3, draft->first.counter = 4, draft->first.stamp = 9;
    draft->first.value = (ProtobufCBinaryData){.data = (uint8_t *)"value", .len = 5};
    draft->second.clock = 5, draft->second.counter = 1, draft->second.tombstone = true;
    draft->siblings[0] = &draft->first, draft->siblings[1] = &draft->second;
    draft->object.siblings = draft->siblings, draft->object.n_siblings = 2;
}

static struct bytes draft_pack(const struct draft *draft)
{
    uint8_t *packed = arena_alloc(&arena, dynode__object__stored_object__get_packed_size(&draft->object));
    return bytes_of(packed, dynode__object__stored_object__pack(&draft->object, packed));
}

static void every_broken_rule_is_refused(void **state)
{
    (void)state;
    enum { FAULTS = 15 };
    for (int fault = 0; fault <= FAULTS; fault++) {
        arena_reset(&arena);
        struct draft draft;
        struct object object;
        draft_init(&draft);
        switch (fault) {
        case 0:
            break; /* nothing wrong */
        case 1:
            draft.object.n_clocks = 1;
            break;
        case 2:
            draft.object.n_counters = 0;
            break;
        case 3:
            draft.clocks[0] = 0;
            break;
        case 4:
            draft.clocks[0] = 5;
            break;
        case 5:
            draft.clocks[0] = 6;
            break;
        case 6:
            draft.counters[1] = 0;
            break;
        case 7:
            draft.first.clock = 0;
            break;
        case 8:
            draft.first.counter = 0;
            break;
        case 9:
            draft.first.counter = 5;
            break;
        case 10:
            draft.first.counter = UINT64_MAX;
            break;
        case 11:
            draft.second.clock = 4;
            break;
        case 12:
            draft.first.tombstone = true;
            break;
        case 13:
            draft.siblings[0] = &draft.second, draft.siblings[1] = &draft.first;
            break;
        case 14:
            draft.siblings[1] = &draft.first;
            break;
        default:
            draft.object.n_clocks = draft.object.n_counters = 0;
        }
        enum status status = decode(draft_pack(&draft), &object);
        if (status != (fault == 0 ? STATUS_OK : STATUS_CORRUPT))
            printf("fault %d: %s\n", fault, status_name(status));
        assert_int_equal(status, fault == 0 ? STATUS_OK : STATUS_CORRUPT);
    }
}

#define BYTES(literal) bytes_of(literal, sizeof(literal) - 1)

/* The same message, or nearly, in bytes that we would not write. The clock of all is 1. */
#define CLOCKS   "\x0a\x08\x01\0\0\0\0\0\0\0"
#define COUNTERS "\x12\x01\x01"
#define DOT      "\x09\x01\0\0\0\0\0\0\0\x10\x01"

static void only_the_canonical_encoding_is_taken(void **state)
{
    (void)state;
    struct object object;
    arena_reset(&arena);
    assert_int_equal(decode(BYTES(CLOCKS COUNTERS "\x1a\x0b" DOT), &object), STATUS_OK);
    assert_int_equal(object.count, 1);
    struct bytes others[] = {
        BYTES(COUNTERS CLOCKS "\x1a\x0b" DOT), /* out of order */
        BYTES(CLOCKS "\x10\x01"
                     "\x1a\x0b" DOT), /* a repeated number that is not packed */
        BYTES(CLOCKS "\x12\x02\x81\x00"
                     "\x1a\x0b" DOT), /* an over-long number */
        BYTES(CLOCKS "\x12\x81\x00\x01"
                     "\x1a\x0b" DOT),                     /* an over-long length */
        BYTES(CLOCKS COUNTERS "\x1a\x0b" DOT "\x20\x07"), /* an unknown field */
        BYTES(CLOCKS COUNTERS "\x1a\x0d" DOT "\x48\x07"), /* one in the sibling */
        BYTES(CLOCKS COUNTERS "\x1a\x0d" DOT "\x10\x01"), /* a singular field twice */
        BYTES(CLOCKS COUNTERS "\x1a\x0d" DOT "\x30\x00"), /* a default that is written */
        BYTES(CLOCKS COUNTERS "\x1a\x0d" DOT "\x30\x02"), /* a bool that is 2 */
        BYTES(CLOCKS COUNTERS "\x1a\x0d" DOT "\x42\x00"), /* an empty value that is written */
        BYTES(CLOCKS COUNTERS "\x1a\x0b"
                              "\x10\x01"
                              "\x09\x01\0\0\0\0\0\0\0"),
        BYTES(CLOCKS COUNTERS "\x1a\x0b" DOT "\x00\x00"),      /* tag 0 */
        BYTES(CLOCKS COUNTERS "\x1a\x0b" DOT "\x23\x24"),      /* wire types 3 and 4 */
        BYTES(CLOCKS COUNTERS "\x1e\x0b" DOT),                 /* wire type 6 */
        BYTES(CLOCKS COUNTERS "\x1a\xff\xff\xff\xff\x0f" DOT), /* a length past the end */
        BYTES(CLOCKS COUNTERS "\x1a\x0c" DOT),
        BYTES(CLOCKS "\x12\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x03\x1a\x0b" DOT), /* above 64 bits */
        BYTES("\x0a\x00\x12\x00"),                                     /* an empty list that is written */
        BYTES(CLOCKS "\x12\x02\x01\x01\x1a\x0b" DOT),                  /* more counters than clocks */
        BYTES("\x0a\x09\x01\0\0\0\0\0\0\0\0" COUNTERS "\x1a\x0b" DOT), /* half a clock */
        BYTES(CLOCKS "\x12\x0b\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"),
    };
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
        struct bytes exact = heap_copy(others[i]);
        enum status status = decode(exact, &object);
        free((void *)(uintptr_t)exact.data);
        if (status != STATUS_CORRUPT) printf("encoding %zu: %s\n", i, status_name(status));
        assert_int_equal(status, STATUS_CORRUPT);
    }
}

/* --- Sizes --- */

static void a_wide_context_is_refused(void **state)
{
    (void)state;
    arena_reset(&arena);
    struct object back,
        wide = {.context = {ARENA_ARRAY(&arena, struct dot, VV_ENTRIES_MAX + 1), VV_ENTRIES_MAX}};
    for (uint64_t i = 0; i <= VV_ENTRIES_MAX; i++) wide.context.entries[i] = (struct dot){i + 1, UINT64_MAX};
    assert_int_equal(decode(object_encode(&wide, &arena), &back), STATUS_OK);
    assert_same(&wide, &back);
    wide.context.count++;
    assert_int_equal(decode(object_encode(&wide, &arena), &back), STATUS_CORRUPT);
}

static void many_siblings_read_back(void **state)
{
    (void)state;
    enum { COUNT = 100000, HELD = OBJECT_SIBLINGS_HELD_MAX };
    arena_reset(&arena);
    struct dot entry = {.clock = 1, .counter = COUNT};
    struct object back, object = {{&entry, 1}, ARENA_ARRAY(&arena, struct sibling, COUNT), HELD};
    for (uint64_t i = 0; i < COUNT; i++)
        object.siblings[i] = (struct sibling){.dot = {1, i + 1}, .stamp = i + 1, .value = bytes_str("v")};
    assert_int_equal(decode(object_encode(&object, &arena), &back), STATUS_OK);
    assert_same(&object, &back);
    object.count = HELD + 1;
    assert_int_equal(decode(object_encode(&object, &arena), &back), STATUS_CORRUPT);
    object.count = COUNT;
    assert_int_equal(decode(object_encode(&object, &arena), &back), STATUS_CORRUPT);

    /* As many that are empty take 2 bytes each and would unpack to fifty times as much. */
    uint8_t *empty = arena_alloc(&arena, 2 * (size_t)COUNT);
    for (size_t i = 0; i < COUNT; i++) empty[2 * i] = 0x1a, empty[2 * i + 1] = 0;
    size_t before = arena.used_bytes;
    assert_int_not_equal(decode(bytes_of(empty, 2 * (size_t)COUNT), &back), STATUS_OK);
    assert_in_range(arena.used_bytes - before, 0, 8 * 2 * (size_t)COUNT + 1024 * 1024);
}

/* Whatever the bound, want of memory is called by its name: CORRUPT would give up an object that is sound. */
static void a_full_arena_is_not_corruption(void **state)
{
    (void)state;
    arena_reset(&arena);
    static uint8_t large[100000];
    struct object object = any_object(), back;
    while (object.count == 0 || object.siblings[0].tombstone) object = any_object();
    object.siblings[0].value = bytes_of(large, sizeof(large));
    struct bytes encoded = object_encode(&object, &arena);
    enum status status = STATUS_NO_MEMORY;
    for (size_t bytes_max = 16; bytes_max < 2 * sizeof(large); bytes_max += bytes_max < 4096 ? 16 : 1024) {
        struct arena small;
        arena_init(&small, bytes_max);
        enum status last = status;
        status = object_decode(encoded, &small, &back);
        if (status != STATUS_OK || last == STATUS_OK) assert_int_equal(status, last);
        arena_fini(&small);
    }
    assert_int_equal(status, STATUS_OK);
}

static void store_keys_sort_and_read_back(void **state)
{
    (void)state;
    struct bytes last = {0};
    struct store_place last_place = {0}, back;
    arena_reset(&arena);
    for (int i = 0; i < 1000; i++) {
        struct store_place place = {.vnode = (uint32_t)prng_below(&prng, 3) * 32767,
                                    .hash = prng_below(&prng, 3) << 62,
                                    .tag = prng_below(&prng, 3) << 62,
                                    .key = any_bytes(3)};
        struct bytes key = store_key_encode(&place, &arena);
        assert_int_equal(store_key_decode(key, &back), place.key.size > 0);
        if (place.key.size == 0) continue;
        assert_true(back.vnode == place.vnode && back.hash == place.hash && back.tag == place.tag);
        assert_true(bytes_equal(back.key, place.key));
        if (last.size > 0) {
            int order = place.vnode != last_place.vnode ? (place.vnode < last_place.vnode ? -1 : 1)
                        : place.hash != last_place.hash ? (place.hash < last_place.hash ? -1 : 1)
                        : place.tag != last_place.tag   ? (place.tag < last_place.tag ? -1 : 1)
                                                        : bytes_compare(place.key, last_place.key);
            int got = bytes_compare(key, last);
            assert_true((order < 0) == (got < 0) && (order > 0) == (got > 0));
        }
        last = key, last_place = place;
    }
    assert_false(store_key_decode(bytes_of(NULL, 0), &back));
}

int main(int argc, char **argv)
{
    uint64_t seed = argc > 1 ? strtoull(argv[1], NULL, 0) : prng_entropy();
    printf("seed %" PRIu64 "\n", seed);
    fflush(stdout);
    prng_init(&prng, seed);
    arena_init(&arena, 0);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written_reads_back),
        cmocka_unit_test(a_cut_is_found),
        cmocka_unit_test(a_flipped_bit_is_found),
        cmocka_unit_test(every_broken_rule_is_refused),
        cmocka_unit_test(only_the_canonical_encoding_is_taken),
        cmocka_unit_test(a_wide_context_is_refused),
        cmocka_unit_test(many_siblings_read_back),
        cmocka_unit_test(a_full_arena_is_not_corruption),
        cmocka_unit_test(store_keys_sort_and_read_back),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    arena_fini(&arena);
    return failed;
}
