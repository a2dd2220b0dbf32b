/* Our packer and our reader against protobuf-c: random messages of every type that travels, whole and broken,
 * mean the same to both. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/prng.h"
#include "object.pb-c.h"
#include "peer.pb-c.h"
#include "wire/pack.h"
#include "wire/unpack.h"

enum { ROUNDS = 3000, DEPTH_MAX = 4 };

static const ProtobufCMessageDescriptor *const types[] = {
    &dynode__client__request__descriptor,
    &dynode__client__response__descriptor,
    &dynode__client__result__descriptor,
    &dynode__peer__batch__descriptor,
    &dynode__peer__coordinate__descriptor,
    &dynode__peer__coordinated__descriptor,
    &dynode__peer__mint__descriptor,
    &dynode__peer__merge__descriptor,
    &dynode__peer__read_answer__descriptor,
    &dynode__peer__scan_answer__descriptor,
    &dynode__peer__cluster_state__descriptor,
    &dynode__peer__shard_reported__descriptor,
    &dynode__peer__peer_hello__descriptor,
    &dynode__object__stored_object__descriptor,
    &dynode__object__sealed_context__descriptor,
};

static uint64_t draw_number(struct prng *prng)
{
    return prng_chance(prng, 1, 4) ? 0 : prng_next(prng) >> prng_below(prng, 64);
}

static ProtobufCMessage *draw(struct prng *prng, const ProtobufCMessageDescriptor *type, struct arena *arena,
                              unsigned depth);

static void draw_value(struct prng *prng, const ProtobufCFieldDescriptor *field, struct arena *arena,
                       unsigned depth, void *value)
{
    /* Lengths on both sides of where they take a second byte. */
    size_t size = prng_chance(prng, 1, 8) ? 100 + prng_below(prng, 60) : prng_below(prng, 4);
    uint8_t *bytes = arena_alloc(arena, size + 1);
    for (size_t i = 0; i < size; i++) bytes[i] = (uint8_t)(1 + prng_below(prng, 255));
    bytes[size] = 0;
    switch (field->type) {
    case PROTOBUF_C_TYPE_BOOL:
        *(protobuf_c_boolean *)value = prng_chance(prng, 1, 2);
        break;
    case PROTOBUF_C_TYPE_ENUM: /* negative ones too */
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_FIXED32:
        *(uint32_t *)value = (uint32_t)draw_number(prng);
        break;
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
        *(uint64_t *)value = draw_number(prng);
        break;
    case PROTOBUF_C_TYPE_STRING:
        *(char **)value = (char *)bytes;
        break;
    case PROTOBUF_C_TYPE_BYTES:
        *(ProtobufCBinaryData *)value = (ProtobufCBinaryData){.data = bytes, .len = size};
        break;
    default:
        assert_int_equal(field->type, PROTOBUF_C_TYPE_MESSAGE);
        *(ProtobufCMessage **)value = draw(prng, field->descriptor, arena, depth + 1);
    }
}

static size_t value_bytes(ProtobufCType type)
{
    if (type == PROTOBUF_C_TYPE_BYTES) return sizeof(ProtobufCBinaryData);
    return type == PROTOBUF_C_TYPE_UINT32 ? sizeof(uint32_t) : sizeof(uint64_t);
}

static ProtobufCMessage *draw(struct prng *prng, const ProtobufCMessageDescriptor *type, struct arena *arena,
                              unsigned depth)
{
    ProtobufCMessage *message = arena_alloc(arena, type->sizeof_message);
    type->message_init(message);
    for (unsigned i = 0; i < type->n_fields; i++) {
        const ProtobufCFieldDescriptor *field = &type->fields[i];
        char *value = (char *)message + field->offset, *quantifier = (char *)message;
        quantifier += field->quantifier_offset;
        bool oneof = (field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) != 0;
        if (prng_chance(prng, 1, 3) || (field->type == PROTOBUF_C_TYPE_MESSAGE && depth == DEPTH_MAX))
            continue;
        if (oneof && !prng_chance(prng, 1, 4)) continue;
        if (oneof) *(uint32_t *)(void *)quantifier = field->id;
        if (field->label != PROTOBUF_C_LABEL_REPEATED) {
            draw_value(prng, field, arena, depth, value);
            continue;
        }
        size_t count = prng_below(prng, 4), size = value_bytes(field->type);
        char *values = arena_zalloc(arena, count * size);
        for (size_t k = 0; k < count; k++) draw_value(prng, field, arena, depth, values + k * size);
        *(size_t *)(void *)quantifier = count;
        *(void **)(void *)value = values;
    }
    return message;
}

static struct bytes pack_by_library(const ProtobufCMessage *message, struct arena *arena)
{
    uint8_t *packed = arena_alloc(arena, protobuf_c_message_get_packed_size(message));
    return bytes_of(packed, protobuf_c_message_pack(message, packed));
}

static struct bytes pack_by_us(const ProtobufCMessage *message)
{
    size_t size = pack_size(message);
    uint8_t *packed = malloc(size + 1); /* on the heap: what is written behind it is seen */
    assert_non_null(packed);
    assert_ptr_equal(pack(message, packed), packed + size);
    struct buffer buffer = {0}; /* that grows meanwhile, and has something in it */
    buffer_append(&buffer, "before", 6);
    pack_append(&buffer, message);
    assert_int_equal(buffer.size, 6 + size);
    assert_memory_equal(buffer.data, "before", 6);
    if (size > 0) assert_memory_equal(buffer.data + 6, packed, size);
    buffer_fini(&buffer);
    return bytes_of(packed, size);
}

/* Both read the same, or neither does; and we pack what was read as it does, fields that are not known too.
 */
static bool read_alike(const ProtobufCMessageDescriptor *type, struct bytes packed, struct arena *arena)
{
    ProtobufCMessage *ours = NULL;
    uint8_t *copy = malloc(packed.size == 0 ? 1 : packed.size); /* and what is read behind it */
    assert_non_null(copy);
    if (packed.size > 0) memcpy(copy, packed.data, packed.size);
    packed.data = copy;
    ProtobufCMessage *theirs =
        protobuf_c_message_unpack(type, arena_allocator(arena), packed.size, packed.data);
    enum status status = unpack(type, packed, arena, &ours);
    assert_int_equal(status, theirs != NULL ? STATUS_OK : STATUS_INVALID);
    free(copy);
    if (theirs == NULL) return false;
    struct bytes expected = pack_by_library(theirs, arena), again = pack_by_us(ours);
    assert_true(bytes_equal(pack_by_library(ours, arena), expected));
    assert_true(bytes_equal(again, expected));
    free((void *)(uintptr_t)again.data);
    return true;
}

/* A byte is changed, left out, or comes twice; or the end is missing, or the beginning comes again. */
static struct bytes damage(struct prng *prng, struct bytes packed, struct arena *arena)
{
    uint8_t *damaged = arena_alloc(arena, 2 * packed.size + 2);
    size_t place = prng_below(prng, packed.size), rest = packed.size - place;
    memcpy(damaged, packed.data, packed.size);
    switch (prng_below(prng, 5)) {
    case 0:
        damaged[place] ^= (uint8_t)(1U << prng_below(prng, 8));
        return bytes_of(damaged, packed.size);
    case 1:
        memcpy(damaged + place, packed.data + place + 1, rest - 1);
        return bytes_of(damaged, packed.size - 1);
    case 2:
        memcpy(damaged + place + 1, packed.data + place, rest);
        return bytes_of(damaged, packed.size + 1);
    case 3:
        return bytes_of(damaged, place);
    default:
        memcpy(damaged + packed.size, packed.data, place);
        return bytes_of(damaged, packed.size + place);
    }
}

static void test_as_protobuf_c(void **state)
{
    (void)state;
    struct prng prng;
    struct arena arena;
    uint32_t good = 0, bad = 0;
    const uint64_t seed = 11;
    printf("seed %llu\n", (unsigned long long)seed);
    prng_init(&prng, seed);
    arena_init(&arena, 0);
    for (uint32_t round = 0; round < ROUNDS; round++) {
        const ProtobufCMessageDescriptor *type = types[round % (sizeof(types) / sizeof(types[0]))];
        const ProtobufCMessage *message = draw(&prng, type, &arena, 0);
        struct bytes expected = pack_by_library(message, &arena), packed = pack_by_us(message);
        assert_true(bytes_equal(packed, expected));
        free((void *)(uintptr_t)packed.data);
        assert_true(read_alike(type, expected, &arena));
        for (uint32_t i = 0; i < 20 && expected.size > 0; i++) {
            if (read_alike(type, damage(&prng, expected, &arena), &arena))
                good++;
            else
                bad++;
        }
        arena_reset(&arena);
    }
    assert_true(good > ROUNDS);
    assert_true(bad > ROUNDS);
    arena_fini(&arena);
}

/* The first type of each kind of packet; all others are within these. */
static const ProtobufCMessageDescriptor *const roots[] = {
    &dynode__client__client_hello__descriptor,  &dynode__client__server_hello__descriptor,
    &dynode__client__request__descriptor,       &dynode__client__response__descriptor,
    &dynode__peer__peer_hello__descriptor,      &dynode__peer__batch__descriptor,
    &dynode__object__stored_object__descriptor, &dynode__object__sealed_context__descriptor,
};

static bool is_known_kind(const ProtobufCFieldDescriptor *field)
{
    bool packed = (field->flags & PROTOBUF_C_FIELD_FLAG_PACKED) != 0;
    if (field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) return field->type == PROTOBUF_C_TYPE_MESSAGE;
    switch (field->type) {
    case PROTOBUF_C_TYPE_BOOL:
    case PROTOBUF_C_TYPE_ENUM:
    case PROTOBUF_C_TYPE_FIXED32:
    case PROTOBUF_C_TYPE_STRING:
        return field->label == PROTOBUF_C_LABEL_NONE;
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
        return field->label == PROTOBUF_C_LABEL_NONE || (field->label == PROTOBUF_C_LABEL_REPEATED && packed);
    case PROTOBUF_C_TYPE_BYTES:
    case PROTOBUF_C_TYPE_MESSAGE:
        return field->label == PROTOBUF_C_LABEL_NONE || field->label == PROTOBUF_C_LABEL_REPEATED;
    default:
        return false;
    }
}

/* A type that is within itself would let a sender choose how deep the readers recurse. */
static void walk(const ProtobufCMessageDescriptor *type, unsigned depth)
{
    if (depth == 10) fail_msg("%s lies ten types deep, or within itself", type->name);
    for (unsigned i = 0; i < type->n_fields; i++) {
        const ProtobufCFieldDescriptor *field = &type->fields[i];
        if (!is_known_kind(field)) fail_msg("%s.%s is of a kind we don't pack", type->name, field->name);
        if (field->type == PROTOBUF_C_TYPE_MESSAGE) walk(field->descriptor, depth + 1);
    }
}

/* Packer and reader know the kinds of fields that the proto files have, and no others. */
static void test_kinds_of_fields(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(roots) / sizeof(roots[0]); i++) walk(roots[i], 0);
}

/* Numbers of more bits than they may have, each in ten bytes: protobuf-c says what they are. */
static void test_numbers_above_64_bits(void **state)
{
    (void)state;
    static const uint8_t flag[] = {0x30, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x02},
                         long_flag[] = {0x30, 0x81, 0x00}, other_flag[] = {0x30, 0x02},
                         number[] = {0x18, 0x83, 0x80, 0x80, 0x80, 0x90, 0x80, 0x80, 0x80, 0x80, 0x7e};
    struct arena arena;
    ProtobufCMessage *get;
    arena_init(&arena, 0);
    const ProtobufCMessageDescriptor *type = &dynode__client__get__descriptor;
    assert_true(read_alike(type, bytes_of(flag, sizeof(flag)), &arena));
    assert_true(read_alike(type, bytes_of(long_flag, sizeof(long_flag)), &arena));
    assert_true(read_alike(type, bytes_of(other_flag, sizeof(other_flag)), &arena));
    assert_true(read_alike(type, bytes_of(number, sizeof(number)), &arena));
    assert_int_equal(unpack(type, bytes_of(number, sizeof(number)), &arena, &get), STATUS_OK);
    assert_int_equal(((Dynode__Client__Get *)get)->r, 3);
    arena_fini(&arena);
}

/* What packers make is read without protobuf-c, which takes memory for a list of all fields that it has met.
 */
static void test_own_reader(void **state)
{
    (void)state;
    enum { KEYS = 100, BLOCK = alignof(max_align_t) };
    struct arena arena, theirs;
    ProtobufCBinaryData keys[KEYS];
    uint8_t key = 'k';
    Dynode__Client__ScanPage page = DYNODE__CLIENT__SCAN_PAGE__INIT;
    ProtobufCMessage *read;
    for (uint32_t i = 0; i < KEYS; i++) keys[i] = (ProtobufCBinaryData){.data = &key, .len = 1};
    page.n_keys = KEYS;
    page.keys = keys;
    struct bytes packed = pack_by_us(&page.base);
    arena_init(&arena, 0);
    arena_init(&theirs, 0);
    assert_int_equal(unpack(page.base.descriptor, packed, &arena, &read), STATUS_OK);
    size_t tree = (sizeof(page) + BLOCK - 1) / BLOCK * BLOCK + sizeof(keys) + (size_t)KEYS * BLOCK;
    assert_int_equal(arena.used_bytes, tree);
    assert_non_null(
        protobuf_c_message_unpack(page.base.descriptor, arena_allocator(&theirs), packed.size, packed.data));
    assert_true(theirs.used_bytes > tree);
    free((void *)(uintptr_t)packed.data);
    arena_fini(&arena);
    arena_fini(&theirs);
}

/* What is read at the second attempt takes no more memory than what is read at the first. */
static void test_an_attempt_leaves_nothing(void **state)
{
    (void)state;
    struct arena arena;
    ProtobufCMessage *message;
    static const uint8_t put[] = {0x0a, 0x01, 't', 0x12, 0x01, 'k'},
                         twice[] = {0x0a, 0x01, 't', 0x0a, 0x01, 'u'};
    arena_init(&arena, 0);
    arena_alloc(&arena, 100);
    size_t before = arena.used_bytes;
    struct arena_mark mark = arena_mark(&arena);
    assert_int_equal(unpack(&dynode__client__put__descriptor, bytes_of(put, sizeof(put)), &arena, &message),
                     STATUS_OK);
    size_t once = arena.used_bytes - before;
    arena_rewind(&arena, mark);
    assert_int_equal(arena.used_bytes, before);
    assert_int_equal(
        unpack(&dynode__client__put__descriptor, bytes_of(twice, sizeof(twice)), &arena, &message),
        STATUS_OK);
    assert_string_equal(((Dynode__Client__Put *)message)->table, "u");
    assert_int_equal(arena.used_bytes - before, once); /* protobuf-c's alone: two strings, not two trees */
    arena_rewind(&arena, mark);
    memset(arena_alloc(&arena, 1024 * 1024), 1, 1024 * 1024); /* a chunk that was not there */
    arena_rewind(&arena, mark);
    assert_int_equal(arena.used_bytes, before);
    memset(arena_alloc(&arena, 1000), 1, 1000);
    arena_fini(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_as_protobuf_c),
        cmocka_unit_test(test_kinds_of_fields),
        cmocka_unit_test(test_numbers_above_64_bits),
        cmocka_unit_test(test_own_reader),
        cmocka_unit_test(test_an_attempt_leaves_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
