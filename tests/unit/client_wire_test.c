/* What clients send, against the rules of client.proto: each limit and the step beyond it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "wire/client_wire.h"
#include "wire/context.h"
#include "wire/frame.h"
#include "wire_input.h"

static uint8_t zeros[VALUE_BYTES_MAX + 1];

static ProtobufCBinaryData bytes(size_t size)
{
    return (ProtobufCBinaryData){.data = zeros, .len = size};
}

static enum status check(Dynode__Client__Operation__KindCase kind, void *body)
{
    Dynode__Client__Operation operation = DYNODE__CLIENT__OPERATION__INIT;
    operation.kind_case = kind;
    operation.get = body;
    const char *why = NULL;
    enum status status = operation_check(&operation, &why);
    if (status != STATUS_OK) assert_non_null(why);
    return status;
}

static Dynode__Client__Get a_get(void)
{
    Dynode__Client__Get get = DYNODE__CLIENT__GET__INIT;
    get.table = (char *)(uintptr_t) "table";
    get.key = bytes(1);
    return get;
}

static Dynode__Client__Put a_put(void)
{
    Dynode__Client__Put put = DYNODE__CLIENT__PUT__INIT;
    put.table = (char *)(uintptr_t) "table";
    put.key = bytes(1);
    return put;
}

#define CHECK_GET(status, change)                                                                            \
    do {                                                                                                     \
        Dynode__Client__Get get = a_get();                                                                   \
        change;                                                                                              \
        assert_int_equal(check(DYNODE__CLIENT__OPERATION__KIND_GET, &get), status);                          \
    } while (0)

#define CHECK_PUT(status, change)                                                                            \
    do {                                                                                                     \
        Dynode__Client__Put put = a_put();                                                                   \
        change;                                                                                              \
        assert_int_equal(check(DYNODE__CLIENT__OPERATION__KIND_PUT, &put), status);                          \
    } while (0)

static void test_keys_and_values(void **state)
{
    (void)state;
    CHECK_GET(STATUS_INVALID, get.key = bytes(0));
    CHECK_GET(STATUS_OK, get.key = bytes(KEY_BYTES_MAX)); /* of NULs */
    CHECK_GET(STATUS_TOO_LARGE, get.key = bytes(KEY_BYTES_MAX + 1));
    CHECK_GET(STATUS_INVALID, get.table = (char *)(uintptr_t) "");
    CHECK_PUT(STATUS_OK, put.value = bytes(0));
    CHECK_PUT(STATUS_OK, put.value = bytes(VALUE_BYTES_MAX));
    CHECK_PUT(STATUS_TOO_LARGE, put.value = bytes(VALUE_BYTES_MAX + 1));
    CHECK_PUT(STATUS_OK, put.context = bytes(CONTEXT_BYTES_MAX));
    CHECK_PUT(STATUS_TOO_LARGE, put.context = bytes(CONTEXT_BYTES_MAX + 1));
    memset(zeros, 0xff, KEY_BYTES_MAX);
    CHECK_PUT(STATUS_OK, put.key = bytes(KEY_BYTES_MAX)); /* not UTF-8 */
}

static void test_quorums(void **state)
{
    (void)state;
    static const struct {
        uint32_t number, n;
        int level;
        enum status status;
    } cases[] = {
        {0, 0, 0, STATUS_OK},
        {15, 15, 0, STATUS_OK},
        {16, 0, 0, STATUS_INVALID},
        {0, 16, 0, STATUS_INVALID},
        {255, 0, 0, STATUS_INVALID},
        {256, 0, 0, STATUS_INVALID},
        {0, 257, 0, STATUS_INVALID},
        {UINT32_MAX, 0, 0, STATUS_INVALID},
        {0, UINT32_MAX, 3, STATUS_INVALID},
        {0, 0, 3, STATUS_OK},
        {0, 0, 4, STATUS_INVALID},
        {0, 0, -1, STATUS_INVALID},
        {1, 0, 1, STATUS_INVALID}, /* a number and a level */
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        CHECK_GET(cases[i].status, {
            get.r = cases[i].number;
            get.n = cases[i].n;
            get.level = (Dynode__Client__Level)cases[i].level;
        });
        CHECK_PUT(cases[i].status, {
            put.w = cases[i].number;
            put.n = cases[i].n;
            put.level = (Dynode__Client__Level)cases[i].level;
        });
    }
}

static void test_conditions(void **state)
{
    (void)state;
    const uint64_t century_ms = 100ULL * 366 * 24 * 3600 * 1000;
    Dynode__Client__WriteToken token = DYNODE__CLIENT__WRITE_TOKEN__INIT;
    CHECK_PUT(STATUS_OK, put.precondition = DYNODE__CLIENT__PRECONDITION__IF_ABSENT);
    CHECK_PUT(STATUS_INVALID, put.precondition = DYNODE__CLIENT__PRECONDITION__IF_CONTEXT);
    CHECK_PUT(STATUS_OK, {
        put.precondition = DYNODE__CLIENT__PRECONDITION__IF_CONTEXT;
        put.context = bytes(1);
    });
    CHECK_PUT(STATUS_INVALID, put.precondition = (Dynode__Client__Precondition)3);
    CHECK_PUT(STATUS_INVALID, put.precondition = (Dynode__Client__Precondition)INT32_MIN);
    CHECK_PUT(STATUS_INVALID, put.token = &token);
    token.client = 1;
    CHECK_PUT(STATUS_OK, put.token = &token);
    CHECK_PUT(STATUS_OK, put.ttl_ms = century_ms);
    CHECK_PUT(STATUS_INVALID, put.ttl_ms = century_ms + 1);
    CHECK_PUT(STATUS_INVALID, put.ttl_ms = UINT64_MAX);
    CHECK_PUT(STATUS_INVALID, {
        put.ttl_ms = 1;
        put.for_ever = true;
    });
    Dynode__Client__Delete delete = DYNODE__CLIENT__DELETE__INIT;
    assert_int_equal(check(DYNODE__CLIENT__OPERATION__KIND_DELETE, &delete), STATUS_INVALID);
    delete.table = (char *)(uintptr_t) "table";
    delete.key = bytes(1);
    assert_int_equal(check(DYNODE__CLIENT__OPERATION__KIND_DELETE, &delete), STATUS_OK);
}

static void test_tables_and_scans(void **state)
{
    (void)state;
    Dynode__Client__CreateTable create = DYNODE__CLIENT__CREATE_TABLE__INIT;
    Dynode__Client__TableInfo table = DYNODE__CLIENT__TABLE_INFO__INIT;
    assert_int_equal(check(DYNODE__CLIENT__OPERATION__KIND_CREATE_TABLE, &create), STATUS_INVALID);
    create.table = &table;
    char name[65] = {0};
    for (size_t length = 0; length < 65; length++) {
        table.name = name;
        enum status expected = length >= 1 && length <= 63 ? STATUS_OK : STATUS_INVALID;
        assert_int_equal(check(DYNODE__CLIENT__OPERATION__KIND_CREATE_TABLE, &create), expected);
        if (length < 64) name[length] = 'a';
    }
    table.name = (char *)(uintptr_t) "a/b";
    assert_int_equal(check(DYNODE__CLIENT__OPERATION__KIND_CREATE_TABLE, &create), STATUS_INVALID);
    table.name = (char *)(uintptr_t) "ab";
    table.rule = (Dynode__Client__Rule)2;
    assert_int_equal(check(DYNODE__CLIENT__OPERATION__KIND_CREATE_TABLE, &create), STATUS_INVALID);
    Dynode__Client__Scan scan = DYNODE__CLIENT__SCAN__INIT;
    scan.table = (char *)(uintptr_t) "table";
    scan.limit = SCAN_LIMIT_MAX;
    scan.cursor = bytes(SCAN_CURSOR_BYTES_MAX);
    assert_int_equal(check(DYNODE__CLIENT__OPERATION__KIND_SCAN, &scan), STATUS_OK);
    scan.limit++;
    assert_int_equal(check(DYNODE__CLIENT__OPERATION__KIND_SCAN, &scan), STATUS_INVALID);
    scan.limit = 0;
    scan.cursor = bytes(SCAN_CURSOR_BYTES_MAX + 1);
    assert_int_equal(check(DYNODE__CLIENT__OPERATION__KIND_SCAN, &scan), STATUS_INVALID);
    assert_int_equal(check(DYNODE__CLIENT__OPERATION__KIND__NOT_SET, NULL), STATUS_INVALID);
    Dynode__Client__AcceptLoss loss = DYNODE__CLIENT__ACCEPT_LOSS__INIT;
    assert_int_equal(check(DYNODE__CLIENT__OPERATION__KIND_ACCEPT_LOSS, &loss), STATUS_OK);
    assert_int_equal(check((Dynode__Client__Operation__KindCase)12, &scan), STATUS_INVALID);
}

static enum status request(uint64_t id, size_t operations, Dynode__Client__Request **out, struct arena *arena)
{
    struct buffer packed = {0};
    if (id != 0) put_number(&packed, 1, id);
    for (size_t i = 0; i < operations; i++) put_bytes(&packed, 4, bytes_of(NULL, 0));
    const char *why = NULL;
    enum status status = request_unpack(buffer_bytes(&packed), arena, out, &why);
    if (status != STATUS_OK) assert_non_null(why);
    buffer_fini(&packed);
    return status;
}

static void test_requests(void **state)
{
    (void)state;
    static const struct {
        uint64_t id;
        size_t operations;
        enum status status;
    } cases[] = {
        {0, 1, STATUS_INVALID},
        {1, 0, STATUS_INVALID},
        {1, 1, STATUS_OK},
        {UINT64_MAX, OPERATIONS_MAX, STATUS_OK},
        {1, OPERATIONS_MAX + 1, STATUS_INVALID},
        {1, 1000000, STATUS_NO_MEMORY},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct arena arena;
        Dynode__Client__Request *out;
        arena_init(&arena, 0);
        assert_int_equal(request(cases[i].id, cases[i].operations, &out, &arena), cases[i].status);
        assert_true(arena.used_bytes < 20 * 1024 * 1024);
        arena_fini(&arena);
    }
}

/* What a client adds of its own goes no further. */
static void test_unknown_fields_are_dropped(void **state)
{
    (void)state;
    struct buffer get = {0}, operation = {0}, packed = {0};
    put_bytes(&get, 77, bytes_str("unknown"));
    put_bytes(&operation, 1, buffer_bytes(&get));
    put_bytes(&operation, 78, bytes_str("unknown"));
    put_number(&packed, 1, 1);
    put_bytes(&packed, 4, buffer_bytes(&operation));
    struct arena arena;
    Dynode__Client__Request *out;
    const char *why;
    arena_init(&arena, 0);
    assert_int_equal(request_unpack(buffer_bytes(&packed), &arena, &out, &why), STATUS_OK);
    assert_int_equal(dynode__client__operation__get_packed_size(out->operations[0]), 2);
    arena_fini(&arena);
    buffer_fini(&get);
    buffer_fini(&operation);
    buffer_fini(&packed);
}

static void test_hello(void **state)
{
    (void)state;
    static const struct {
        uint32_t magic, version, name_bytes;
        enum status status;
    } cases[] = {
        {CLIENT_HELLO_MAGIC, CLIENT_PROTOCOL_VERSION, 0, STATUS_OK},
        {CLIENT_HELLO_MAGIC, CLIENT_PROTOCOL_VERSION, 63, STATUS_OK},
        {CLIENT_HELLO_MAGIC, CLIENT_PROTOCOL_VERSION, 64, STATUS_TOO_LARGE},
        {CLIENT_HELLO_MAGIC, CLIENT_PROTOCOL_VERSION, 900, STATUS_TOO_LARGE},
        {CLIENT_HELLO_MAGIC, 0, 0, STATUS_WRONG_VERSION},
        {CLIENT_HELLO_MAGIC, UINT32_MAX, 64, STATUS_WRONG_VERSION}, /* another version has other bounds */
        {PEER_HELLO_MAGIC, CLIENT_PROTOCOL_VERSION, 0, STATUS_INVALID},
        {0, CLIENT_PROTOCOL_VERSION, 0, STATUS_INVALID},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        Dynode__Client__ClientHello hello = DYNODE__CLIENT__CLIENT_HELLO__INIT, *out = NULL;
        hello.magic = cases[i].magic;
        hello.version = cases[i].version;
        char name[901] = "";
        memset(name, 'n', cases[i].name_bytes);
        hello.client = name;
        uint8_t packed[1024];
        size_t size = dynode__client__client_hello__pack(&hello, packed);
        struct arena arena;
        arena_init(&arena, 0);
        assert_int_equal(client_hello_unpack(bytes_of(packed, size), &arena, &out), cases[i].status);
        assert_int_equal(out != NULL, cases[i].status != STATUS_INVALID);
        assert_int_equal(client_hello_unpack(bytes_str("GET / HTTP/1.1\r\n"), &arena, &out), STATUS_INVALID);
        arena_fini(&arena);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_keys_and_values), cmocka_unit_test(test_quorums),
        cmocka_unit_test(test_conditions),      cmocka_unit_test(test_tables_and_scans),
        cmocka_unit_test(test_requests),        cmocka_unit_test(test_unknown_fields_are_dropped),
        cmocka_unit_test(test_hello),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
