/* Batches: what was added comes out again; what is no batch, or no message, is a status. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "wire/batch.h"
#include "wire_input.h"

static void make(struct buffer *batch, uint32_t shard)
{
    batch_begin(batch, 0x1122334455667788, shard);
    Dynode__Peer__Ping ping = DYNODE__PEER__PING__INIT;
    Dynode__Peer__Merged merged = DYNODE__PEER__MERGED__INIT;
    merged.status = 66;
    for (uint32_t i = 0; i < 3; i++) {
        Dynode__Peer__Message message = DYNODE__PEER__MESSAGE__INIT;
        message.to_shard = i;
        message.request = UINT64_MAX - i;
        message.origin_node = i;
        message.origin_shard = 200 * i;
        message.body_case = i == 1 ? DYNODE__PEER__MESSAGE__BODY_MERGED : DYNODE__PEER__MESSAGE__BODY_PING;
        if (i == 1)
            message.merged = &merged;
        else
            message.ping = &ping;
        batch_add(batch, &message);
    }
}

static void test_round_trip(void **state)
{
    (void)state;
    static const uint32_t shards[] = {0, 1, 127, 128, UINT32_MAX};
    for (size_t s = 0; s < sizeof(shards) / sizeof(shards[0]); s++) {
        struct buffer batch = {0};
        struct arena arena;
        struct bytes rest, packed;
        uint64_t node;
        uint32_t shard;
        Dynode__Peer__Message *message;
        arena_init(&arena, 0);
        make(&batch, shards[s]);
        assert_int_equal(batch_open(buffer_bytes(&batch), &node, &shard, &rest), STATUS_OK);
        assert_int_equal(node, 0x1122334455667788);
        assert_int_equal(shard, shards[s]);
        for (uint32_t i = 0; i < 3; i++) {
            assert_int_equal(batch_next(&rest, &packed), STATUS_OK);
            assert_int_equal(message_unpack(packed, &arena, &message), STATUS_OK);
            assert_int_equal(message->to_shard, i);
            assert_int_equal(message->request, UINT64_MAX - i);
            assert_int_equal(message->origin_node, i);
            assert_int_equal(message->origin_shard, 200 * i);
            if (i == 1) assert_int_equal(message->merged->status, 66);
        }
        assert_int_equal(batch_next(&rest, &packed), STATUS_NOT_FOUND);
        arena_fini(&arena);
        buffer_fini(&batch);
    }
}

/* It is also what protobuf makes of peer.proto's Batch. */
static void test_is_protobuf(void **state)
{
    (void)state;
    struct buffer batch = {0};
    make(&batch, 300);
    Dynode__Peer__Batch *unpacked = dynode__peer__batch__unpack(NULL, batch.size, batch.data);
    assert_non_null(unpacked);
    assert_int_equal(unpacked->from_node, 0x1122334455667788);
    assert_int_equal(unpacked->from_shard, 300);
    assert_int_equal(unpacked->n_messages, 3);
    for (uint32_t i = 0; i < 3; i++) {
        assert_int_equal(unpacked->messages[i]->to_shard, i);
        assert_int_equal(unpacked->messages[i]->request, UINT64_MAX - i);
        assert_int_equal(unpacked->messages[i]->origin_node, i);
        assert_int_equal(unpacked->messages[i]->origin_shard, 200 * i);
    }
    uint8_t *packed = malloc(batch.size);
    assert_int_equal(dynode__peer__batch__get_packed_size(unpacked), batch.size);
    dynode__peer__batch__pack(unpacked, packed);
    assert_memory_equal(packed, batch.data, batch.size);
    free(packed);
    dynode__peer__batch__free_unpacked(unpacked, NULL);
    buffer_fini(&batch);
}

static void test_cut_at_every_offset(void **state)
{
    (void)state;
    struct buffer batch = {0};
    make(&batch, 300);
    for (size_t size = 0; size < batch.size; size++) {
        uint8_t *copy = malloc(size + 1);
        memcpy(copy, batch.data, size);
        struct bytes rest = {0}, packed;
        uint64_t node;
        uint32_t shard;
        enum status status = batch_open(bytes_of(copy, size), &node, &shard, &rest);
        size_t messages = 0;
        if (status == STATUS_OK)
            while ((status = batch_next(&rest, &packed)) == STATUS_OK) messages++;
        assert_true(messages < 3);
        assert_true(status == STATUS_INVALID || status == STATUS_NOT_FOUND);
        free(copy);
    }
    buffer_fini(&batch);
}

static void test_broken_heads(void **state)
{
    (void)state;
    static const struct {
        uint8_t bytes[24];
        size_t size;
    } cases[] = {
        {{0}, 0},
        {{0x09, 1, 2, 3, 4, 5, 6, 7, 8, 0x10}, 10},                               /* no shard */
        {{0x0a, 1, 2, 3, 4, 5, 6, 7, 8, 0x10, 0}, 11},                            /* the node's type */
        {{0x09, 1, 2, 3, 4, 5, 6, 7, 8, 0x18, 0}, 11},                            /* another field */
        {{0x09, 1, 2, 3, 4, 5, 6, 7, 8, 0x10, 0x80, 0x80, 0x80, 0x80, 0x10}, 15}, /* shard 2^32 */
        {{0x09, 1, 2, 3, 4, 5, 6, 7, 8, 0x10, 0x80, 0x80}, 12},                   /* a shard that is cut */
        {{0x09, 1, 2, 3, 4, 5, 6, 7, 8, 0x10, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0},
         21},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        uint64_t node;
        uint32_t shard;
        struct bytes rest;
        assert_int_equal(batch_open(bytes_of(cases[i].bytes, cases[i].size), &node, &shard, &rest),
                         STATUS_INVALID);
    }
}

static void test_broken_messages(void **state)
{
    enum {
        PING = DYNODE__PEER__MESSAGE__BODY_PING,
        PONG = DYNODE__PEER__MESSAGE__BODY_PONG,
        LAST = DYNODE__PEER__MESSAGE__BODY_REAP_ON
    };
    (void)state;
    static const struct {
        uint8_t bytes[16];
        size_t size;
    } lists[] = {
        {{0x1a}, 1},             /* no length */
        {{0x1a, 0x02, 0x08}, 3}, /* a length past the end */
        {{0x18, 0x00}, 2},       /* a number */
        {{0x22, 0x00}, 2},       /* a field that a batch has not */
        {{0x1b, 0x00}, 2},       /* a group */
        {{0x1a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01}, 11}, /* 2^64 - 1 */
    };
    for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
        struct bytes rest = bytes_of(lists[i].bytes, lists[i].size), message;
        assert_int_equal(batch_next(&rest, &message), STATUS_INVALID);
    }
    struct arena arena;
    Dynode__Peer__Message *message;
    struct buffer packed = {0};
    arena_init(&arena, 0);
    put_number(&packed, 2, 1);
    assert_int_equal(message_unpack(buffer_bytes(&packed), &arena, &message), STATUS_INVALID); /* no body */
    put_bytes(&packed, 63, bytes_of(NULL, 0)); /* a body from the future */
    assert_int_equal(message_unpack(buffer_bytes(&packed), &arena, &message), STATUS_INVALID);
    put_bytes(&packed, PING, bytes_of(NULL, 0));
    assert_int_equal(message_unpack(buffer_bytes(&packed), &arena, &message), STATUS_OK);
    buffer_clear(&packed);
    put_bytes(&packed, PING, bytes_of(NULL, 0));
    put_bytes(&packed, PONG, bytes_of(NULL, 0)); /* two bodies */
    assert_int_equal(message_unpack(buffer_bytes(&packed), &arena, &message), STATUS_INVALID);
    for (uint32_t field = 1; field <= LAST + 1; field++) { /* each of them as what it is not */
        buffer_clear(&packed);
        put_bytes(&packed, PING, bytes_of(NULL, 0));
        if (field < PING) /* those before any body */
            put_bytes(&packed, field, bytes_of(NULL, 0));
        else
            put_number(&packed, field, 1);
        enum status status = message_unpack(buffer_bytes(&packed), &arena, &message);
        assert_int_equal(status, field > LAST ? STATUS_OK : STATUS_INVALID); /* that is none */
    }
    /* There is no number between them without a meaning. */
    assert_int_equal(dynode__peer__message__descriptor.n_fields, LAST);
    /* What is not known costs nothing. */
    buffer_clear(&packed);
    put_bytes(&packed, PING, bytes_of(NULL, 0));
    for (int i = 0; i < 1000000; i++) put_number(&packed, LAST + 1, 1);
    size_t before = arena.used_bytes;
    assert_int_equal(message_unpack(buffer_bytes(&packed), &arena, &message), STATUS_OK);
    assert_in_range(arena.used_bytes - before, 0, 4096);
    buffer_fini(&packed);
    arena_fini(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),          cmocka_unit_test(test_is_protobuf),
        cmocka_unit_test(test_cut_at_every_offset), cmocka_unit_test(test_broken_heads),
        cmocka_unit_test(test_broken_messages),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
