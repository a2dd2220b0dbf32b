/* What a peer could send that is too large for a fuzzer to find: a shard lives on, in bounded memory, and its
 * clients are answered. The shard is the first of three nodes; the test plays the others
 * (tests/fuzz/world.h). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/hash.h"
#include "steps.h"
#include "wire/batch.h"
#include "wire/object_wire.h"
#include "wire/unpack.h"

static struct world world;
static struct arena arena;

static void send(uint64_t request, Dynode__Peer__Message__BodyCase kind, void *body)
{
    Dynode__Peer__Message message = DYNODE__PEER__MESSAGE__INIT;
    message.request = request;
    message.body_case = kind;
    message.ping = body;
    struct buffer batch = {0};
    batch_begin(&batch, world_node_id(1), 0);
    batch_add(&batch, &message);
    world_batch(&world, 1, buffer_bytes(&batch));
    buffer_fini(&batch);
    world_run(&world, 0);
}

static void merge(struct bytes encoded)
{
    Dynode__Peer__Place place = DYNODE__PEER__PLACE__INIT;
    place.tag = table_tag("s", 1);
    place.key = to_pb(bytes_of("k", 1));
    place.hash = hash64(bytes_of("k", 1), place.tag);
    place.vnode = (uint32_t)(place.hash >> 61); /* of eight */
    Dynode__Peer__Merge message = DYNODE__PEER__MERGE__INIT;
    message.place = &place;
    message.n = 3;
    message.object = to_pb(encoded);
    send(1, DYNODE__PEER__MESSAGE__BODY_MERGE, &message);
}

static void client(Dynode__Client__Operation__KindCase kind, void *body)
{
    Dynode__Client__Operation operation = DYNODE__CLIENT__OPERATION__INIT, *list = &operation;
    operation.kind_case = kind;
    operation.get = body;
    Dynode__Client__Request request = DYNODE__CLIENT__REQUEST__INIT;
    request.id = 1;
    request.n_operations = 1;
    request.operations = &list;
    uint8_t packed[256];
    assert_true(dynode__client__request__get_packed_size(&request) <= sizeof(packed));
    world_client_frame(&world, 0, 0, bytes_of(packed, dynode__client__request__pack(&request, packed)));
    world_run(&world, 0);
}

/* Read what this node alone holds. */
static uint32_t get(void)
{
    Dynode__Client__Get get = DYNODE__CLIENT__GET__INIT;
    get.table = (char *)(uintptr_t) "s";
    get.key = to_pb(bytes_of("k", 1));
    get.level = DYNODE__CLIENT__LEVEL__ONE;
    uint32_t before = world.results;
    client(DYNODE__CLIENT__OPERATION__KIND_GET, &get);
    assert_int_equal(world.results, before + 1);
    return world.last_status;
}

static struct bytes object_of(uint32_t siblings, uint64_t clock, size_t value_bytes)
{
    struct dot entry = {.clock = clock, .counter = siblings};
    struct object object = {
        .context = {&entry, 1}, .siblings = ARENA_ARRAY(&arena, struct sibling, siblings), .count = siblings};
    uint8_t *value = arena_zalloc(&arena, value_bytes);
    for (uint32_t i = 0; i < siblings; i++)
        object.siblings[i] = (struct sibling){
            .dot = {clock, i + 1}, .stamp = 1, .token = {1, 1}, .value = bytes_of(value, value_bytes)};
    return object_encode(&object, &arena);
}

static int set_up(void **state)
{
    (void)state;
    arena_init(&arena, 0);
    world_init(&world, 3, 1, true);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    world_fini(&world);
    arena_fini(&arena);
    return 0;
}

static void test_object_that_is_no_client_frame(void **state)
{
    (void)state;
    merge(object_of(1, 1, 5 * 1024 * 1024));
    assert_int_equal(shard_counters(world.shards[0])->replica_writes, 1);
    assert_int_equal(get(), STATUS_INTERNAL);
}

static void test_object_that_is_no_peer_frame(void **state)
{
    (void)state;
    for (uint64_t clock = 1; clock <= 10; clock++) merge(object_of(1, clock, 4 * 1024 * 1024 - 1024));
    assert_int_equal(shard_counters(world.shards[0])->replica_writes, 3); /* 12 of at most 15 MiB */
    assert_int_equal(get(), STATUS_OK);
}

static void test_result_that_is_no_client_frame(void **state)
{
    (void)state;
    /* A write with a precondition goes to the first home: of some key, that is another node. */
    Dynode__Client__Put put = DYNODE__CLIENT__PUT__INIT;
    put.table = (char *)(uintptr_t) "s";
    put.precondition = DYNODE__CLIENT__PRECONDITION__IF_ABSENT;
    uint64_t request = 0;
    uint8_t key = 'a';
    const struct turn *turn = shard_turn_context(world.shards[0]);
    uint64_t tag = table_tag("s", 1);
    while (ring_preference_list(turn->ring, ring_vnode(turn->ring, hash64(bytes_of(&key, 1), tag)))[0] !=
           world_node_id(1))
        key++;
    put.key = to_pb(bytes_of(&key, 1));
    world_link(&world, 0, 2, false);
    client(DYNODE__CLIENT__OPERATION__KIND_PUT, &put);
    request = world_sent(&world, 0);
    assert_int_not_equal(request, 0);
    assert_int_equal(world.results, 0);

    Dynode__Client__Result result = DYNODE__CLIENT__RESULT__INIT;
    uint8_t *context = arena_zalloc(&arena, 5 * 1024 * 1024);
    result.context = to_pb(bytes_of(context, 5 * 1024 * 1024));
    Dynode__Peer__Coordinated coordinated = DYNODE__PEER__COORDINATED__INIT;
    coordinated.result = &result;
    send(request, DYNODE__PEER__MESSAGE__BODY_COORDINATED, &coordinated);
    assert_int_equal(world.results, 1);
    assert_int_equal(world.last_status, STATUS_INTERNAL);
}

static void test_too_many_siblings(void **state)
{
    (void)state;
    merge(object_of(100000, 1, 0));
    assert_int_equal(shard_counters(world.shards[0])->replica_writes, 0);
    merge(object_of(OBJECT_SIBLINGS_HELD_MAX + 1, 1, 0));
    assert_int_equal(shard_counters(world.shards[0])->replica_writes, 0);
    merge(object_of(OBJECT_SIBLINGS_HELD_MAX, 1, 0));
    assert_int_equal(shard_counters(world.shards[0])->replica_writes, 1);
    merge(object_of(1, 2, 0)); /* one more than can be read back */
    assert_int_equal(shard_counters(world.shards[0])->replica_writes, 1);
    assert_int_equal(get(), STATUS_OK);
}

static void test_deadline_without_end(void **state)
{
    (void)state;
    world_link(&world, 0, 2, true);
    Dynode__Client__Get get = DYNODE__CLIENT__GET__INIT;
    get.table = (char *)(uintptr_t) "s";
    get.key = to_pb(bytes_of("k", 1));
    get.level = DYNODE__CLIENT__LEVEL__ALL;
    Dynode__Client__Operation operation = DYNODE__CLIENT__OPERATION__INIT;
    operation.kind_case = DYNODE__CLIENT__OPERATION__KIND_GET;
    operation.get = &get;
    Dynode__Peer__Coordinate coordinate = DYNODE__PEER__COORDINATE__INIT;
    coordinate.operation = &operation;
    coordinate.deadline_ms = UINT32_MAX;
    send(1, DYNODE__PEER__MESSAGE__BODY_COORDINATE, &coordinate);
    assert_int_equal(shard_counters(world.shards[0])->coordinating, 1);
    for (int i = 0; i < 130; i++) { /* the others live on and say nothing of it */
        Dynode__Peer__Pong pong = DYNODE__PEER__PONG__INIT;
        send(0, DYNODE__PEER__MESSAGE__BODY_PONG, &pong);
        world_run(&world, 500);
    }
    assert_int_equal(shard_counters(world.shards[0])->coordinating, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_object_that_is_no_client_frame, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_object_that_is_no_peer_frame, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_result_that_is_no_client_frame, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_too_many_siblings, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_deadline_without_end, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
