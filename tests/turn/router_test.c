/* The router on the bench: admission, deadlines, answers that span frames, clients and peers that misbehave.
 */
#include <stdio.h>
#include <stdlib.h>

#include "one_shard.h"
#include "wire/client_wire.h"
#include "wire/frame.h"

enum { MIB = 1048576 };

static void put_alone(struct one_shard *one, uint64_t connection, uint64_t id, const char *key,
                      struct bytes value)
{
    Dynode__Client__Operation *operation = one_shard_put(one, "t", key, value, (struct bytes){0});
    one_shard_ask(one, connection, id, 1000, &operation, 1);
}

static uint32_t count_status(const struct one_shard *one, enum status status)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < one->answer_count; i++)
        for (size_t r = 0; r < one->answers[i].response->n_results; r++)
            count += one->answers[i].response->results[r]->status == (Dynode__Client__Status)status;
    return count;
}

static void overloaded_shard(void **state)
{
    (void)state;
    struct one_shard one;
    one_shard_begin(&one, (struct one_shard_options){.operations_max = 3});
    for (uint64_t id = 1; id <= 5; id++) put_alone(&one, id, id, "k", bytes_str("x"));
    assert_int_equal(node_in_flight(one.shard), 3);
    assert_int_equal(one.answer_count, 2);
    assert_int_equal(count_status(&one, STATUS_OVERLOADED), 2);
    assert_int_equal(shard_counters(one.shard)->overloaded, 2);
    one_shard_forget(&one);
    one_shard_pass_ms(&one, 1000); /* the slots come back */
    assert_int_equal(node_in_flight(one.shard), 0);
    assert_int_equal(count_status(&one, STATUS_TIMEOUT), 3);
    one_shard_forget(&one);
    put_alone(&one, 9, 9, "k", bytes_str("x"));
    assert_int_equal(count_status(&one, STATUS_OVERLOADED), 0);
    one_shard_end(&one);
}

static void overloaded_connection(void **state)
{
    (void)state;
    struct one_shard one;
    one_shard_begin(&one, (struct one_shard_options){.connection_operations_max = 2});
    put_alone(&one, 1, 1, "k1", bytes_str("x"));
    put_alone(&one, 1, 2, "k2", bytes_str("x"));
    put_alone(&one, 1, 3, "k3", bytes_str("x"));
    assert_int_equal(count_status(&one, STATUS_OVERLOADED), 1);
    assert_int_equal(one.answers[0].response->id, 3);
    put_alone(&one, 2, 1, "k4", bytes_str("x")); /* another client is not concerned */
    assert_int_equal(one.answer_count, 1);
    one_shard_end(&one);
}

static void stopping(void **state)
{
    (void)state;
    struct one_shard one;
    one_shard_begin(&one, (struct one_shard_options){0});
    put_alone(&one, 1, 1, "k", bytes_str("x"));
    node_drain(one.shard);
    put_alone(&one, 1, 2, "k", bytes_str("x"));
    assert_int_equal(one_shard_result(&one)->status, STATUS_STOPPING);
    one_shard_forget(&one);
    one_shard_sync(&one);
    one_shard_pass_ms(&one, 1000);
    assert_int_equal(one.answer_count, 1);
    assert_int_equal(node_in_flight(one.shard), 0);
    one_shard_end(&one);
}

/* A batch is answered by operation; what is wrong with one does not concern the others. */
static void batch_of_operations(void **state)
{
    (void)state;
    struct one_shard one;
    one_shard_begin(&one, (struct one_shard_options){0});
    Dynode__Client__Operation unset = DYNODE__CLIENT__OPERATION__INIT;
    Dynode__Client__Operation *operations[] = {
        one_shard_get(&one, "t", "k", 1),
        one_shard_get(&one, "nowhere", "k", 1),
        one_shard_get(&one, "t", "", 1),
        one_shard_get(&one, "t", "k", 9),
        &unset,
        one_shard_get(&one, "t", "k", 2),
    };
    one_shard_ask(&one, 1, 77, 100, operations, 6);
    one_shard_pass_ms(&one, 100);
    static const int expected[] = {STATUS_NOT_FOUND, STATUS_NO_SUCH_TABLE, STATUS_INVALID,
                                   STATUS_INVALID,   STATUS_INVALID,       STATUS_TIMEOUT};
    uint32_t seen = 0, lasts = 0;
    for (uint32_t i = 0; i < one.answer_count; i++) {
        const Dynode__Client__Response *response = one.answers[i].response;
        assert_int_equal(response->id, 77);
        lasts += (uint32_t)response->last;
        assert_true(response->last == (i + 1 == one.answer_count));
        for (size_t r = 0; r < response->n_results; r++) {
            uint32_t index = response->results[r]->operation;
            assert_in_range(index, 0, 5);
            assert_int_equal((int)response->results[r]->status, expected[index]);
            if (response->results[r]->status != DYNODE__CLIENT__STATUS__OK)
                assert_true(strlen(response->results[r]->message) > 3);
            assert_int_equal(seen & 1U << index, 0);
            seen |= 1U << index;
        }
    }
    assert_int_equal(seen, 0x3f);
    assert_int_equal(lasts, 1);
    one_shard_end(&one);
}

/* A few bytes may ask for megabytes: of a request only so many operations may be of that kind. */
static void cheap_to_ask(void **state)
{
    (void)state;
    struct one_shard one;
    one_shard_begin(&one, (struct one_shard_options){0});
    Dynode__Client__ClusterInfo info = DYNODE__CLIENT__CLUSTER_INFO__INIT;
    Dynode__Client__Operation operation = DYNODE__CLIENT__OPERATION__INIT, *operations[OPERATIONS_MAX];
    operation.kind_case = DYNODE__CLIENT__OPERATION__KIND_CLUSTER_INFO;
    operation.cluster_info = &info;
    for (uint32_t i = 0; i < OPERATIONS_MAX; i++) operations[i] = &operation;
    one_shard_ask(&one, 1, 1, 1000, operations, OPERATIONS_MAX);
    assert_int_equal(count_status(&one, STATUS_OK), OPERATIONS_OTHER_MAX);
    assert_int_equal(count_status(&one, STATUS_INVALID), OPERATIONS_MAX - OPERATIONS_OTHER_MAX);
    one_shard_end(&one);
}

/* A frame that names a large value hundreds of times: what does not fit into its turn was not done, and says
 * so; everything is answered, and smaller requests are served as before. */
static void more_than_a_turn_holds(void **state)
{
    (void)state;
    struct one_shard one;
    uint8_t *large = calloc(1, MIB);
    one_shard_begin(&one, (struct one_shard_options){0});
    Dynode__Client__Operation *operations[200] = {
        one_shard_put(&one, "t", "k", bytes_of(large, MIB), (struct bytes){0})};
    assert_int_equal(one_shard_write(&one, operations[0])->status, STATUS_OK);
    one_shard_forget(&one);
    for (uint32_t i = 0; i < 200; i++) operations[i] = one_shard_get(&one, "t", "k", 1);
    one_shard_ask(&one, 1, 2, 1000, operations, 200);
    uint32_t ok = count_status(&one, STATUS_OK);
    assert_in_range(ok, 16, 64);
    assert_int_equal(count_status(&one, STATUS_OVERLOADED), 200 - ok);
    assert_int_equal(node_in_flight(one.shard), 0);
    one_shard_forget(&one);
    for (uint32_t i = 0; i < 60; i++)
        operations[i] = one_shard_put(&one, "t", "k", bytes_str("small"), (struct bytes){0});
    one_shard_ask(&one, 1, 3, 1000, operations, 60); /* each reads and writes a megabyte */
    one_shard_pass_ms(&one, 1000);                   /* the others wait for B and C */
    assert_in_range(count_status(&one, STATUS_OVERLOADED), 1, 59);
    assert_int_equal(count_status(&one, STATUS_OVERLOADED) + count_status(&one, STATUS_TIMEOUT), 60);
    for (uint32_t i = 0; i < one.answer_count; i++)
        for (size_t r = 0; r < one.answers[i].response->n_results; r++) {
            const Dynode__Client__Result *result = one.answers[i].response->results[r];
            if (result->status == DYNODE__CLIENT__STATUS__OVERLOADED)
                assert_int_equal(result->applied, DYNODE__CLIENT__APPLIED__NO);
        }
    one_shard_forget(&one);
    one_shard_ask(&one, 1, 4, 1000, (Dynode__Client__Operation *[]){one_shard_get(&one, "t", "k", 1)}, 1);
    assert_int_equal(count_status(&one, STATUS_OK), 1);
    one_shard_end(&one);
    free(large);
}

/* Objects that wait for silent homes are bounded in bytes, not only in number. */
static void bytes_that_wait(void **state)
{
    (void)state;
    struct one_shard one;
    uint8_t *large = calloc(1, MIB);
    one_shard_begin(&one, (struct one_shard_options){.nodes = 5}); /* no peer has all of it to answer */
    uint32_t sent = 0;
    for (uint32_t number = 0; sent < 400 && one.answer_count == 0; number++) {
        char key[16];
        snprintf(key, sizeof(key), "k%u", number);
        const struct ring *ring = shard_turn_context(one.shard)->ring;
        if (!ring_is_home(ring, one_shard_place(&one, "t", key)->vnode, 3, NODE_A)) continue;
        sent++;
        put_alone(&one, 1, sent, key, bytes_of(large, MIB));
        one.sent_count = 0;
        arena_reset(&one.arena);
    }
    assert_in_range(sent, 250, 260);
    assert_int_equal(one_shard_result(&one)->status, STATUS_OVERLOADED);
    one_shard_forget(&one);
    one_shard_pass_ms(&one, 1000);
    one_shard_forget(&one);
    put_alone(&one, 1, 1, "k", bytes_of(large, MIB));
    one_shard_pass_ms(&one, 1000);
    assert_int_equal(one.answer_count, 1);
    assert_int_equal(count_status(&one, STATUS_OVERLOADED), 0);
    one_shard_end(&one);
    free(large);
}

/* Siblings above a frame come in parts, each a frame of its own; the context comes with the last. */
static void answer_in_parts(void **state)
{
    (void)state;
    struct one_shard one;
    one_shard_begin(&one, (struct one_shard_options){0});
    uint8_t *megabyte = calloc(1, MIB);
    assert_non_null(megabyte);
    for (uint64_t i = 1; i <= 9; i++) { /* merging has no limit, only minting has */
        megabyte[0] = (uint8_t)i;
        struct bytes object = one_shard_object(&one, i, 1, bytes_of(megabyte, MIB));
        one_shard_receive(&one, NODE_B, 0, DYNODE__PEER__MESSAGE__BODY_MERGE,
                          one_shard_merge(&one, "t", "k", object));
    }
    Dynode__Client__Operation *operations[] = {one_shard_get(&one, "t", "k", 1),
                                               one_shard_get(&one, "t", "j", 1)};
    one_shard_ask(&one, 1, 5, 1000, operations, 2);
    uint32_t values = 0, seen = 0;
    bool ended = false;
    for (uint32_t i = 0; i < one.answer_count; i++) {
        assert_true(one.answers[i].bytes <= FRAME_CLIENT_BYTES_MAX);
        for (size_t r = 0; r < one.answers[i].response->n_results; r++) {
            const Dynode__Client__Result *result = one.answers[i].response->results[r];
            if (result->operation == 1) continue;
            assert_false(ended);
            values += (uint32_t)result->n_siblings;
            for (size_t s = 0; s < result->n_siblings; s++) {
                assert_int_equal(result->siblings[s]->value.len, MIB);
                seen |= 1U << result->siblings[s]->value.data[0];
            }
            assert_true(result->more == (result->context.len == 0));
            ended = !result->more;
        }
    }
    assert_true(ended);
    assert_true(one.answer_count >= 3);
    assert_int_equal(values, 9);
    assert_int_equal(seen, 0x3fe);
    free(megabyte);
    one_shard_end(&one);
}

static void frames_that_are_no_requests(void **state)
{
    (void)state;
    struct one_shard one;
    one_shard_begin(&one, (struct one_shard_options){0});
    Dynode__Client__Operation *operation =
        one_shard_put(&one, "t", "k", bytes_str("value"), (struct bytes){0});
    Dynode__Client__Request request = DYNODE__CLIENT__REQUEST__INIT;
    request.id = 3;
    request.n_operations = 1;
    request.operations = &operation;
    uint8_t packed[256];
    size_t size = dynode__client__request__pack(&request, packed);
    for (size_t cut = 0; cut < size; cut++) {
        one_shard_forget(&one);
        shard_client_frame(one.shard, 10 + cut, bytes_of(packed, cut));
        one_shard_turn(&one);
        if (one.answer_count == 1 && one.answers[0].hang_up != NULL) continue;
        assert_true(cut > 2); /* a shorter request that is one */
    }
    for (size_t bit = 0; bit < size * 8; bit++) {
        packed[bit / 8] ^= (uint8_t)(1 << bit % 8);
        shard_client_frame(one.shard, 1000 + bit, bytes_of(packed, size));
        packed[bit / 8] ^= (uint8_t)(1 << bit % 8);
        one_shard_turn(&one);
        one_shard_forget(&one);
        shard_client_closed(one.shard, 1000 + bit);
    }
    one_shard_sync(&one);
    one_shard_pass_ms(&one, 300);
    one_shard_end(&one); /* with writes under way whose clients have gone */
}

/* A client that goes takes its answers with it, not its writes. */
static void client_goes(void **state)
{
    (void)state;
    struct one_shard one;
    struct object object;
    one_shard_begin(&one, (struct one_shard_options){0});
    put_alone(&one, 1, 1, "k", bytes_str("x"));
    shard_client_closed(one.shard, 1);
    one_shard_turn(&one);
    uint64_t request = one_shard_find(&one, NODE_B, DYNODE__PEER__MESSAGE__BODY_MERGE, 0)->request;
    Dynode__Peer__Merged merged = DYNODE__PEER__MERGED__INIT;
    one_shard_receive(&one, NODE_B, request, DYNODE__PEER__MESSAGE__BODY_MERGED, &merged);
    one_shard_sync(&one);
    assert_int_equal(one.answer_count, 0);
    assert_int_equal(node_in_flight(one.shard), 0);
    assert_int_equal(one_shard_stored(&one, "t", "k", &object), STATUS_OK);
    one_shard_end(&one);
}

/* A put for another node: sent once, answered by that node alone, MAYBE when its link is lost. */
static void forwarded_put(void **state)
{
    (void)state;
    struct one_shard one;
    char key[ONE_SHARD_KEY_BYTES];
    one_shard_begin(&one, (struct one_shard_options){0});
    const uint64_t *list = one_shard_far_key(&one, "solo", key), home = list[0], other = list[1];
    Dynode__Client__Operation *operation =
        one_shard_put(&one, "solo", key, bytes_str("x"), (struct bytes){0});
    one_shard_ask(&one, 1, 1, 1000, &operation, 1);
    const Dynode__Peer__Message *sent = one_shard_find(&one, home, DYNODE__PEER__MESSAGE__BODY_COORDINATE, 0);
    assert_non_null(sent);
    Dynode__Client__Result result = DYNODE__CLIENT__RESULT__INIT;
    Dynode__Peer__Coordinated coordinated = DYNODE__PEER__COORDINATED__INIT;
    coordinated.result = &result;
    one_shard_receive(&one, other, sent->request, DYNODE__PEER__MESSAGE__BODY_COORDINATED, &coordinated);
    one_shard_receive(&one, home, sent->request + 1, DYNODE__PEER__MESSAGE__BODY_COORDINATED, &coordinated);
    assert_int_equal(one.answer_count, 0); /* not theirs to answer */
    one_shard_receive(&one, home, sent->request, DYNODE__PEER__MESSAGE__BODY_COORDINATED, &coordinated);
    assert_int_equal(one_shard_result(&one)->status, STATUS_OK);
    one_shard_receive(&one, home, sent->request, DYNODE__PEER__MESSAGE__BODY_COORDINATED, &coordinated);
    assert_int_equal(one.answer_count, 1);

    one_shard_forget(&one);
    one_shard_ask(&one, 1, 2, 1000, &operation, 1);
    shard_link_changed(one.shard, home, false);
    one_shard_turn(&one);
    one_shard_pass_ms(&one, 20); /* there is no other home to ask */
    assert_int_equal(one_shard_result(&one)->status, STATUS_UNAVAILABLE);
    assert_int_equal(one_shard_result(&one)->applied, DYNODE__CLIENT__APPLIED__MAYBE);
    assert_int_equal(one.sent_count, 1);
    one_shard_forget(&one);
    operation->put->quorum = DYNODE__CLIENT__QUORUM__STRICT;
    one_shard_ask(&one, 1, 3, 1000, &operation, 1); /* nobody is there: certainly not */
    assert_int_equal(one_shard_result(&one)->status, STATUS_UNAVAILABLE);
    assert_int_equal(one_shard_result(&one)->applied, DYNODE__CLIENT__APPLIED__NO);
    one_shard_forget(&one);
    operation->put->quorum = DYNODE__CLIENT__QUORUM__DEFAULT;
    one_shard_ask(&one, 1, 4, 1000, &operation, 1); /* the next of the preference list does it, maybe we */
    one_shard_sync(&one);
    uint32_t vnode = one_shard_place(&one, "solo", key)->vnode;
    uint64_t next = ring_preference_list(shard_turn_context(one.shard)->ring, vnode)[1];
    if (next != NODE_A) {
        assert_non_null(one_shard_find(&one, next, DYNODE__PEER__MESSAGE__BODY_OFFER, 0));
    } else {
        assert_int_equal(one_shard_result(&one)->status, STATUS_OK);
        assert_int_equal(one_shard_result(&one)->n_stand_ins, 1);
    }
    one_shard_end(&one);
}

/* What our own queue would drop has certainly not left: another home is asked, or the answer is NO, at once.
 */
static void queue_at_its_bound(void **state)
{
    (void)state;
    struct one_shard one;
    char key[ONE_SHARD_KEY_BYTES];
    one_shard_begin(&one, (struct one_shard_options){0});
    uint64_t home = one_shard_far_key(&one, "solo", key)[0];
    Dynode__Client__Operation *operation =
        one_shard_put(&one, "solo", key, bytes_str("x"), (struct bytes){0});
    one_shard_clog(&one, home, 0, true);
    one_shard_ask(&one, 1, 1, 1000, &operation, 1);
    assert_int_equal(one_shard_result(&one)->status, STATUS_OVERLOADED);
    assert_int_equal(one_shard_result(&one)->applied, DYNODE__CLIENT__APPLIED__NO);
    assert_int_equal(shard_counters(one.shard)->dropped, 0);
    one_shard_clog(&one, home, 0, false);
    one_shard_forget(&one);
    one_shard_ask(&one, 1, 2, 1000, &operation, 1);
    assert_int_equal(one.answer_count, 0);
    assert_non_null(one_shard_find(&one, home, DYNODE__PEER__MESSAGE__BODY_COORDINATE, 0));

    /* Of two homes the second is asked. */
    const uint64_t *homes = one_shard_far_key(&one, "t", key);
    operation = one_shard_put(&one, "t", key, bytes_str("x"), (struct bytes){0});
    operation->put->n = 2;
    one_shard_forget(&one);
    one_shard_clog(&one, homes[0], 0, true);
    one_shard_ask(&one, 1, 3, 1000, &operation, 1);
    assert_int_equal(one.answer_count, 0);
    assert_non_null(one_shard_find(&one, homes[1], DYNODE__PEER__MESSAGE__BODY_COORDINATE, 0));
    one_shard_clog(&one, homes[0], 0, false);
    one_shard_end(&one);
}

/* A condition is tested by the first home that can be reached, whether or not it can take more just now. */
static void condition_stays_with_its_home(void **state)
{
    (void)state;
    struct one_shard one;
    one_shard_begin(&one, (struct one_shard_options){0});
    char key[ONE_SHARD_KEY_BYTES];
    uint64_t first = one_shard_far_key(&one, "t", key)[0];
    Dynode__Client__Operation *operation = one_shard_put(&one, "t", key, bytes_str("x"), (struct bytes){0});
    operation->put->precondition = DYNODE__CLIENT__PRECONDITION__IF_ABSENT;
    one_shard_clog(&one, first, 0, true);
    one_shard_ask(&one, 1, 1, 1000, &operation, 1);
    assert_int_equal(one_shard_result(&one)->status, STATUS_OVERLOADED);
    assert_int_equal(one_shard_result(&one)->applied, DYNODE__CLIENT__APPLIED__NO);
    assert_int_equal(one.sent_count, 0);
    one_shard_forget(&one);
    shard_link_changed(one.shard, first, false); /* now it can't */
    one_shard_ask(&one, 1, 2, 1000, &operation, 1);
    assert_int_equal(one.answer_count, 0);
    assert_int_equal(one.sent_count, 1);
    one_shard_clog(&one, first, 0, false);
    one_shard_end(&one);
}

/* What a peer calls a result may be anything: above a frame, without a result, of no known status. */
static void strange_results(void **state)
{
    (void)state;
    struct one_shard one;
    char key[ONE_SHARD_KEY_BYTES];
    one_shard_begin(&one, (struct one_shard_options){0});
    uint64_t home = one_shard_far_key(&one, "solo", key)[0];
    uint8_t *large = calloc(1, 6 * MIB);
    assert_non_null(large);
    for (int kind = 0; kind < 3; kind++) {
        Dynode__Client__Operation *operation =
            one_shard_put(&one, "solo", key, bytes_str("x"), (struct bytes){0});
        one_shard_forget(&one);
        one_shard_ask(&one, 1, 1, 1000, &operation, 1);
        uint64_t request = one_shard_find(&one, home, DYNODE__PEER__MESSAGE__BODY_COORDINATE, 0)->request;
        Dynode__Client__Result result = DYNODE__CLIENT__RESULT__INIT;
        Dynode__Client__Sibling sibling = DYNODE__CLIENT__SIBLING__INIT, *siblings[] = {&sibling};
        Dynode__Peer__Coordinated coordinated = DYNODE__PEER__COORDINATED__INIT;
        if (kind > 0) coordinated.result = &result;
        if (kind == 1) result.status = (Dynode__Client__Status)1000;
        if (kind == 2) {
            sibling.value = (ProtobufCBinaryData){.data = large, .len = 6 * MIB};
            result.siblings = siblings;
            result.n_siblings = 1;
        }
        one_shard_receive(&one, home, request, DYNODE__PEER__MESSAGE__BODY_COORDINATED, &coordinated);
        assert_int_equal(one.answer_count, 1);
        if (kind != 1) assert_int_equal(one_shard_result(&one)->status, STATUS_INTERNAL);
    }
    free(large);
    one_shard_end(&one);
}

/* With several shards an operation goes to the shard of its vnode, and so does mail that came to another. */
static void shards_of_a_node(void **state)
{
    (void)state;
    struct one_shard one;
    one_shard_begin(&one, (struct one_shard_options){.shards = 4});
    uint32_t away = 0;
    for (int i = 0; i < 40; i++) {
        char key[16];
        snprintf(key, sizeof(key), "key%d", i);
        uint32_t shard = one_shard_place(&one, "t", key)->vnode % 4;
        Dynode__Client__Operation *operation = one_shard_get(&one, "t", key, 1);
        one_shard_forget(&one);
        one_shard_ask(&one, 1, 1, 1000, &operation, 1);
        if (shard == 0) {
            assert_int_equal(one.answer_count, 1);
            continue;
        }
        away++;
        assert_int_equal(one.sent_count, 1);
        assert_true(one.sent[0].node == NODE_A);
        assert_int_equal(one.sent[0].shard, shard);
    }
    assert_true(away > 10);
    /* Mail for shard 3 that came over a link of shard 0 is handed on, with its sender's name. */
    one_shard_forget(&one);
    struct buffer batch = {0};
    Dynode__Peer__Message message = DYNODE__PEER__MESSAGE__INIT;
    Dynode__Peer__Merged merged = DYNODE__PEER__MERGED__INIT;
    message.to_shard = 7;
    message.request = 12;
    message.body_case = DYNODE__PEER__MESSAGE__BODY_MERGED;
    message.merged = &merged;
    batch_begin(&batch, NODE_B, 5);
    batch_add(&batch, &message);
    shard_deliver(one.shard, NODE_B, buffer_bytes(&batch), NULL, NULL);
    one_shard_turn(&one);
    assert_int_equal(one.sent_count, 1);
    assert_int_equal(one.sent[0].shard, 3);
    assert_true(one.sent[0].message->origin_node == NODE_B);
    assert_int_equal(one.sent[0].message->origin_shard, 5);
    assert_int_equal(one.sent[0].message->request, 12);

    /* While shard 3 stands still its queue ends at the bound, and who asks for its keys is told. */
    one_shard_clog(&one, NODE_A, 3, true);
    const uint64_t dropped = shard_counters(one.shard)->dropped;
    struct buffer question = {0};
    Dynode__Peer__Read read = DYNODE__PEER__READ__INIT;
    read.place = one_shard_place(&one, "t", "k");
    message.body_case = DYNODE__PEER__MESSAGE__BODY_READ;
    message.read = &read;
    batch_begin(&question, NODE_B, 5);
    batch_add(&question, &message);
    shard_deliver(one.shard, NODE_B, buffer_bytes(&question), NULL, NULL);
    buffer_fini(&question);
    one_shard_turn(&one);
    assert_int_equal(shard_counters(one.shard)->dropped, dropped + 1);
    char key[16];
    int number = 0;
    do snprintf(key, sizeof(key), "key%d", number++);
    while (one_shard_place(&one, "t", key)->vnode % 4 != 3);
    Dynode__Client__Operation *put = one_shard_put(&one, "t", key, bytes_str("x"), (struct bytes){0});
    one_shard_forget(&one);
    one_shard_ask(&one, 1, 1, 1000, &put, 1);
    assert_int_equal(one_shard_result(&one)->status, STATUS_OVERLOADED);
    assert_int_equal(one_shard_result(&one)->applied, DYNODE__CLIENT__APPLIED__NO);
    one_shard_clog(&one, NODE_A, 3, false);

    /* A scan that it does not answer in time has nothing to have applied. */
    Dynode__Client__Operation scan = DYNODE__CLIENT__OPERATION__INIT, *scans[] = {&scan};
    Dynode__Client__Scan page = DYNODE__CLIENT__SCAN__INIT;
    scan.kind_case = DYNODE__CLIENT__OPERATION__KIND_SCAN;
    scan.scan = &page;
    page.table = "t";
    page.cursor = (ProtobufCBinaryData){.data = (uint8_t[]){0, 3}, .len = 2};
    one_shard_forget(&one);
    one_shard_ask(&one, 1, 3, 10, scans, 1);
    one_shard_pass_ms(&one, 10);
    assert_int_equal(one_shard_result(&one)->status, STATUS_TIMEOUT);
    assert_int_equal(one_shard_result(&one)->applied, DYNODE__CLIENT__APPLIED__APPLIED_NOTHING_TO_SAY);

    one_shard_forget(&one);
    one_shard_ask(&one, 1, 2, 1000, &put, 1);
    assert_int_equal(one.answer_count, 0);
    assert_int_equal(one.sent[0].shard, 3);
    buffer_fini(&batch);
    one_shard_end(&one);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(overloaded_shard),
        cmocka_unit_test(overloaded_connection),
        cmocka_unit_test(stopping),
        cmocka_unit_test(batch_of_operations),
        cmocka_unit_test(cheap_to_ask),
        cmocka_unit_test(more_than_a_turn_holds),
        cmocka_unit_test(bytes_that_wait),
        cmocka_unit_test(answer_in_parts),
        cmocka_unit_test(frames_that_are_no_requests),
        cmocka_unit_test(client_goes),
        cmocka_unit_test(forwarded_put),
        cmocka_unit_test(queue_at_its_bound),
        cmocka_unit_test(condition_stays_with_its_home),
        cmocka_unit_test(strange_results),
        cmocka_unit_test(shards_of_a_node),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
