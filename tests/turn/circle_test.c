/* Queues that are full in a circle: two nodes of two shards each are driven into one another, past every
 * bound, over wires that carry little and to shards that take no mail above theirs. Nobody may wait for
 * anybody else's room: everything asked is answered, once, and then all is as before. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/check.h"
#include "few_nodes.h"
#include "wire/frame.h"
#include "wire/unpack.h"

enum {
    NODES = 2,
    SHARDS = 2,
    REQUESTS = 220, /* to each shard */
    VALUE_BYTES = 1024 * 1024,
    MAIL_BYTES_MAX = 64 << 20, /* as a loop has it (runtime/loop.c) */
    WIRE_BYTES = 2 << 20,      /* that one queue carries in a millisecond */
    DEADLINE_MS = 2000,
};

static const uint64_t ms = 1000000;

struct circle {
    struct few few;
    uint8_t answered[NODES][SHARDS][2 * REQUESTS];
    uint32_t by_status[64];
    size_t most;  /* in one queue, of all that were seen */
    bool stopped; /* nothing is carried */
};

static struct shard *shard_at(struct circle *circle, uint32_t node, uint32_t shard)
{
    return circle->few.nodes[node].shards[shard];
}

static void ask(struct circle *circle, uint32_t node, uint32_t shard, uint64_t id, bool write)
{
    static uint8_t value[VALUE_BYTES];
    char key[32];
    snprintf(key, sizeof(key), "key%u", (unsigned)(id % 16));
    Dynode__Client__Operation operation = DYNODE__CLIENT__OPERATION__INIT, *operations[] = {&operation};
    Dynode__Client__Put put = DYNODE__CLIENT__PUT__INIT;
    Dynode__Client__Get get = DYNODE__CLIENT__GET__INIT;
    Dynode__Client__Request request = DYNODE__CLIENT__REQUEST__INIT;
    operation.kind_case = write ? DYNODE__CLIENT__OPERATION__KIND_PUT : DYNODE__CLIENT__OPERATION__KIND_GET;
    put.table = get.table = (char *)(uintptr_t) "t";
    put.key = get.key = to_pb(bytes_str(key));
    put.value = to_pb(bytes_of(value, sizeof(value)));
    if (write)
        operation.put = &put;
    else
        operation.get = &get;
    request.id = id;
    request.deadline_ms = DEADLINE_MS;
    request.n_operations = 1;
    request.operations = operations;
    size_t size = dynode__client__request__get_packed_size(&request);
    uint8_t *packed = malloc(size);
    assert_non_null(packed);
    dynode__client__request__pack(&request, packed);
    shard_client_frame(shard_at(circle, node, shard), 1, bytes_of(packed, size));
    free(packed);
}

static void collect(struct circle *circle, uint32_t node, uint32_t shard)
{
    struct outbox *outbox = shard_outbox(shard_at(circle, node, shard));
    for (uint32_t i = 0; i < outbox->answer_count; i++) {
        const struct answer *answer = &outbox->answers[i];
        assert_null(answer->hang_up);
        struct bytes payload;
        size_t size;
        assert_int_equal(frame_next(bytes_of(outbox->answer_bytes.data + answer->offset, answer->size),
                                    FRAME_CLIENT_BYTES_MAX, &payload, &size),
                         FRAME_WHOLE);
        Dynode__Client__Response *response =
            dynode__client__response__unpack(arena_allocator(&circle->few.arena), payload.size, payload.data);
        assert_non_null(response);
        assert_true(response->id < 2 * REQUESTS);
        if (!response->last) continue;
        assert_int_equal(response->n_results, 1);
        assert_int_equal(circle->answered[node][shard][response->id]++, 0);
        circle->by_status[response->results[0]->status]++;
        arena_reset(&circle->few.arena);
    }
    outbox_clear_answers(outbox);
}

static void carry(struct circle *circle, uint32_t node, uint32_t number)
{
    const struct few_node *from = &circle->few.nodes[node];
    struct outbox *outbox = shard_outbox(from->shards[number]);
    for (uint32_t i = 0; i < outbox->queue_count; i++) {
        const struct outbox_queue queue = outbox->queues[i];
        struct buffer batch = {0};
        if (queue.batch.size > circle->most) circle->most = queue.batch.size;
        bool near = queue.node == from->id;
        struct shard *to = near ? from->shards[queue.shard] : circle->few.nodes[1 - node].shards[number];
        bool beats = queue.lane == LANE_BEATS;
        if (!beats && (circle->stopped || shard_mail_bytes(to) > MAIL_BYTES_MAX)) continue;
        if (outbox_take(outbox, i, beats ? SIZE_MAX : WIRE_BYTES, &batch))
            shard_deliver_lane(to, from->id, queue.lane, buffer_bytes(&batch), NULL, NULL);
        buffer_fini(&batch);
    }
}

/* A millisecond: a turn of each shard, and what the wires carry. */
static void step(struct circle *circle)
{
    struct few *few = &circle->few;
    few->now_ns += ms;
    few->wall_ms++;
    for (uint32_t node = 0; node < NODES; node++)
        for (uint32_t s = 0; s < SHARDS; s++) {
            struct shard *shard = shard_at(circle, node, s);
            assert_int_equal(shard_turn(shard, few->now_ns, few->wall_ms), STATUS_OK);
            shard_check(shard);
            assert_int_equal(store_sync(few->nodes[node].stores[s]), STATUS_OK);
            shard_durable(shard, shard_committed_turn(shard));
            collect(circle, node, s);
            carry(circle, node, s);
        }
}

static void all_is_answered(struct circle *circle, uint64_t from_id, uint64_t to_id)
{
    for (uint32_t node = 0; node < NODES; node++)
        for (uint32_t s = 0; s < SHARDS; s++) {
            for (uint64_t id = from_id; id < to_id; id++) assert_int_equal(circle->answered[node][s][id], 1);
            assert_int_equal(node_in_flight(shard_at(circle, node, s)), 0);
        }
}

static uint64_t sum(struct circle *circle, bool dropped)
{
    uint64_t total = 0;
    for (uint32_t node = 0; node < NODES; node++)
        for (uint32_t s = 0; s < SHARDS; s++) {
            const struct counters *counters = shard_counters(shard_at(circle, node, s));
            total += dropped ? counters->dropped : counters->owed;
        }
    return total;
}

static void full_queues_in_a_circle(void **state)
{
    (void)state;
    struct circle *circle = calloc(1, sizeof(*circle));
    struct few_options options = {
        .nodes = NODES, .shards = {SHARDS, SHARDS}, .vnodes = 16, .n = 2, .rule = RULE_LWW, .seed = 1};
    few_begin(&circle->few, &options);
    for (uint32_t node = 0; node < NODES; node++) few_start(&circle->few, node);
    for (int i = 0; i < 1000; i++) step(circle); /* all know one another */

    /* The wires stand still while everybody asks, so that all queues reach their bounds together. */
    circle->stopped = true;
    for (uint64_t id = 1; id < REQUESTS; id++) {
        for (uint32_t node = 0; node < NODES; node++)
            for (uint32_t s = 0; s < SHARDS; s++) ask(circle, node, s, id, id % 3 != 0);
        if (id % 4 == 0) step(circle);
    }
    assert_true(circle->most > OUTBOX_QUEUE_BYTES_MAX);
    circle->stopped = false;
    for (int i = 0; i < DEADLINE_MS + 500; i++) step(circle);
    all_is_answered(circle, 1, REQUESTS);
    assert_true(circle->most <= OUTBOX_ANSWERS_BYTES_MAX + 2 * FRAME_CLIENT_BYTES_MAX);
    assert_true(circle->by_status[STATUS_OVERLOADED] > 0);
    assert_true(circle->by_status[STATUS_OK] > 100);            /* what was under way is finished */
    assert_int_equal(circle->by_status[STATUS_UNAVAILABLE], 0); /* nobody is away */
    assert_int_equal(sum(circle, true), 0);                     /* and nothing of it was dropped */
    printf("OK %u, NOT_FOUND %u, OVERLOADED %u, TIMEOUT %u, UNAVAILABLE %u; at most %zu bytes in a queue\n",
           circle->by_status[STATUS_OK], circle->by_status[STATUS_NOT_FOUND],
           circle->by_status[STATUS_OVERLOADED], circle->by_status[STATUS_TIMEOUT],
           circle->by_status[STATUS_UNAVAILABLE], circle->most);

    /* Then all is as before. */
    memset(circle->by_status, 0, sizeof(circle->by_status));
    for (uint64_t id = REQUESTS; id < REQUESTS + 10; id++) {
        for (uint32_t node = 0; node < NODES; node++)
            for (uint32_t s = 0; s < SHARDS; s++) ask(circle, node, s, id, true);
        for (int i = 0; i < 50; i++) step(circle);
    }
    all_is_answered(circle, REQUESTS, REQUESTS + 10);
    assert_int_equal(circle->by_status[STATUS_OK], 10 * NODES * SHARDS);
    assert_int_equal(sum(circle, false), 0);
    few_end(&circle->few);
    free(circle);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(full_queues_in_a_circle)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
