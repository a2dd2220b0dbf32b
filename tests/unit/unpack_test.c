/* Unpacking what was never packed: every kind of broken protobuf ends in a status, within the bound for its
 * size. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "client.pb-c.h"
#include "wire/unpack.h"
#include "wire_input.h"

/* Unpacks a Request, and asserts the bound on the way. */
static enum status unpack_request(const struct buffer *packed, struct arena *arena,
                                  Dynode__Client__Request **out)
{
    ProtobufCMessage *message;
    /* Of its very size, so that a read behind it is seen. */
    uint8_t *copy = malloc(packed->size + 1);
    if (packed->size > 0) memcpy(copy, packed->data, packed->size);
    copy = realloc(copy, packed->size == 0 ? 1 : packed->size);
    size_t before = arena->used_bytes;
    enum status status =
        unpack(&dynode__client__request__descriptor, bytes_of(copy, packed->size), arena, &message);
    assert_true(arena->used_bytes - before <= UNPACK_FACTOR * packed->size + UNPACK_SLACK_BYTES);
    assert_int_equal(arena->bytes_max, 0);
    free(copy);
    if (status == STATUS_OK) *out = (Dynode__Client__Request *)message;
    return status;
}

static enum status status_of(const struct buffer *packed)
{
    struct arena arena;
    Dynode__Client__Request *request;
    arena_init(&arena, 0);
    enum status status = unpack_request(packed, &arena, &request);
    arena_fini(&arena);
    return status;
}

static void append_put(struct buffer *to)
{
    struct buffer put = {0}, operation = {0};
    put_bytes(&put, 1, bytes_str("table"));
    put_bytes(&put, 2, bytes_str("key"));
    put_bytes(&put, 3, bytes_str("value"));
    put_bytes(&operation, 2, buffer_bytes(&put));
    put_number(to, 1, 7);
    put_bytes(to, 4, buffer_bytes(&operation));
    buffer_fini(&put);
    buffer_fini(&operation);
}

static void test_cut_at_every_offset(void **state)
{
    (void)state;
    struct buffer whole = {0};
    append_put(&whole);
    size_t decoded = 0;
    for (size_t size = 0; size <= whole.size; size++) {
        struct buffer cut = whole;
        cut.size = size;
        enum status status = status_of(&cut);
        /* Between two fields of the outermost message, and nowhere else. */
        assert_int_equal(status, size == 0 || size == 2 || size == whole.size ? STATUS_OK : STATUS_INVALID);
        decoded += status == STATUS_OK;
    }
    assert_int_equal(decoded, 3);
    buffer_fini(&whole);
}

static void test_broken_fields(void **state)
{
    (void)state;
    static const struct {
        const char *what;
        uint8_t bytes[16];
        size_t size;
        enum status status;
    } cases[] = {
        {"a varint of ten bytes",
         {0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01},
         11,
         STATUS_OK},
        {"a varint of eleven",
         {0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01},
         12,
         STATUS_INVALID},
        {"a tag of six bytes", {0x88, 0x80, 0x80, 0x80, 0x80, 0x01, 0x00}, 7, STATUS_INVALID},
        {"tag 0", {0x00, 0x00}, 2, STATUS_INVALID},
        {"tag 0 with a length", {0x02, 0x00}, 2, STATUS_INVALID},
        {"wire type 3", {0x0b, 0x00}, 2, STATUS_INVALID},
        {"wire type 4", {0x0c, 0x00}, 2, STATUS_INVALID},
        {"wire type 6", {0x0e, 0x00}, 2, STATUS_INVALID},
        {"wire type 7", {0x0f, 0x00}, 2, STATUS_INVALID},
        {"a length one past the end", {0x22, 0x02, 0x0a}, 3, STATUS_INVALID},
        {"a length of 2^32 - 1", {0x22, 0xff, 0xff, 0xff, 0xff, 0x0f}, 6, STATUS_INVALID},
        {"a length of 2^64 - 1",
         {0x22, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01},
         11,
         STATUS_INVALID},
        {"an unknown field", {0xf8, 0x06, 0x01}, 3, STATUS_OK},
        {"a number where a message should be", {0x20, 0x01}, 2, STATUS_INVALID},
        {"a length where a number should be", {0x0a, 0x01, 0x41}, 3, STATUS_INVALID},
        {"a singular field twice", {0x08, 0x01, 0x08, 0x02}, 4, STATUS_OK},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct buffer packed = {.data = (uint8_t *)(uintptr_t)cases[i].bytes, .size = cases[i].size};
        enum status status = status_of(&packed);
        if (status != cases[i].status) fail_msg("%s: %s", cases[i].what, status_name(status));
    }
}

static void test_last_of_a_field_counts(void **state)
{
    (void)state;
    struct buffer packed = {0};
    struct arena arena;
    Dynode__Client__Request *request;
    put_number(&packed, 1, 5);
    put_number(&packed, 1, 6);
    arena_init(&arena, 0);
    assert_int_equal(unpack_request(&packed, &arena, &request), STATUS_OK);
    assert_int_equal(request->id, 6);
    arena_fini(&arena);
    buffer_fini(&packed);
}

/* One operation of @count kinds, one after the other in the oneof. */
static void append_kinds(struct buffer *to, const uint32_t *kinds, size_t count)
{
    struct buffer operation = {0}, get = {0};
    put_bytes(&get, 1, bytes_str("table"));
    for (size_t i = 0; i < count; i++) put_bytes(&operation, kinds[i], buffer_bytes(&get));
    put_number(to, 1, 7);
    put_bytes(to, 4, buffer_bytes(&operation));
    buffer_fini(&operation);
    buffer_fini(&get);
}

static void test_oneof(void **state)
{
    (void)state;
    static const uint32_t kinds[] = {1, 2, 2, 1};
    for (size_t count = 0; count <= 4; count++) {
        struct buffer packed = {0};
        struct arena arena;
        Dynode__Client__Request *request;
        append_kinds(&packed, kinds, count);
        arena_init(&arena, 0);
        assert_int_equal(unpack_request(&packed, &arena, &request), STATUS_OK);
        const Dynode__Client__Operation *operation = request->operations[0];
        assert_int_equal(operation->kind_case, count == 0 ? 0 : kinds[count - 1]);
        if (operation->kind_case == DYNODE__CLIENT__OPERATION__KIND_GET)
            assert_string_equal(operation->get->table, "table");
        if (operation->kind_case == DYNODE__CLIENT__OPERATION__KIND_PUT)
            assert_string_equal(operation->put->table, "table");
        arena_fini(&arena);
        buffer_fini(&packed);
    }
}

/* Tens of bytes of tree for two of input: refused before they are there. */
static void test_a_million_fields(void **state)
{
    (void)state;
    struct buffer unknown = {0}, empty = {0}, known = {0};
    for (int i = 0; i < 1000000; i++) {
        put_number(&unknown, 15, 1);
        put_bytes(&empty, 4, bytes_of(NULL, 0));
        put_number(&known, 1, 1);
    }
    assert_int_equal(status_of(&unknown), STATUS_NO_MEMORY);
    assert_int_equal(status_of(&empty), STATUS_NO_MEMORY);
    assert_int_equal(status_of(&known),
                     STATUS_NO_MEMORY); /* protobuf-c lists each before it takes the last */
    buffer_fini(&unknown);
    buffer_fini(&empty);
    buffer_fini(&known);
}

static void test_arena_that_is_full(void **state)
{
    (void)state;
    struct buffer packed = {0};
    append_put(&packed);
    bool ok = false;
    for (size_t bound = 1; bound < 4096; bound += 7) {
        struct arena arena;
        ProtobufCMessage *message = NULL;
        arena_init(&arena, bound);
        enum status status =
            unpack(&dynode__client__request__descriptor, buffer_bytes(&packed), &arena, &message);
        assert_true(status == (ok ? STATUS_OK : STATUS_NO_MEMORY) || status == STATUS_OK);
        ok = ok || status == STATUS_OK;
        assert_true(arena.used_bytes <= bound);
        assert_int_equal(arena.bytes_max, bound);
        arena_fini(&arena);
    }
    assert_true(ok);
    buffer_fini(&packed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cut_at_every_offset),    cmocka_unit_test(test_broken_fields),
        cmocka_unit_test(test_last_of_a_field_counts), cmocka_unit_test(test_oneof),
        cmocka_unit_test(test_a_million_fields),       cmocka_unit_test(test_arena_that_is_full),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
