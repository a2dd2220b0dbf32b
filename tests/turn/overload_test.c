/* Overload on the bench: peers that owe too much, work whose time is up, and speculation when everything is
 * slow. */
#include "one_shard.h"

#include <stdio.h>
#include <stdlib.h>

#include "actors/antientropy.h"
#include "actors/coordinator.h"
#include "actors/slot.h"
#include "actors/speculation.h"

/* Homes of a key that are not A, in the order in which A asks them. */
static void others_of(struct one_shard *one, const char *key, uint64_t others[2])
{
    const uint64_t *list =
        ring_preference_list(shard_turn_context(one->shard)->ring, one_shard_place(one, "t", key)->vnode);
    uint32_t count = 0;
    for (uint32_t i = 0; i < 3; i++)
        if (list[i] != NODE_A && count < 2) others[count++] = list[i];
}

static void ask_get(struct one_shard *one, const char *key, uint64_t id)
{
    Dynode__Client__Operation *operation = one_shard_get(one, "t", key, 0);
    one_shard_ask(one, 1, id, 1000, &operation, 1);
}

static void ask_put(struct one_shard *one, const char *key, uint64_t id)
{
    Dynode__Client__Operation *operation =
        one_shard_put(one, "t", key, bytes_str("value"), (struct bytes){0});
    one_shard_ask(one, 1, id, 1000, &operation, 1);
}

static void answer_read(struct one_shard *one, uint64_t from, uint64_t request)
{
    Dynode__Peer__ReadAnswer answer = DYNODE__PEER__READ_ANSWER__INIT;
    answer.status = STATUS_NOT_FOUND;
    one_shard_receive(one, from, request, DYNODE__PEER__MESSAGE__BODY_READ_ANSWER, &answer);
}

static void beat(struct one_shard *one, uint64_t from)
{
    Dynode__Peer__Pong pong = DYNODE__PEER__PONG__INIT;
    one_shard_receive(one, from, 0, DYNODE__PEER__MESSAGE__BODY_PONG, &pong);
}

static struct counters *counters(const struct one_shard *one)
{
    return shard_counters(one->shard);
}

static const struct peer *peer(const struct one_shard *one, uint64_t node)
{
    return peers_find(shard_turn_context(one->shard)->peers, node);
}

/* As if so many answers were waited for. */
static void owe(struct one_shard *one, uint64_t node, uint32_t count, size_t bytes)
{
    for (uint32_t i = 0; i < count; i++) turn_owe(shard_turn_context(one->shard), node, bytes);
}

static void settle(struct one_shard *one, uint64_t node, uint32_t count, size_t bytes)
{
    for (uint32_t i = 0; i < count; i++) turn_settle(shard_turn_context(one->shard), node, bytes);
}

/* --- peers that owe --- */

static void a_peer_that_owes_too_much_is_asked_no_more(void **state)
{
    (void)state;
    struct one_shard one;
    uint64_t others[2];
    one_shard_begin(&one, (struct one_shard_options){0});
    others_of(&one, "k", others);
    owe(&one, others[0], PEER_OWED_MAX - 1, 0);
    ask_get(&one, "k", 1);
    assert_non_null(one_shard_find(&one, others[0], DYNODE__PEER__MESSAGE__BODY_READ, 0));
    one_shard_forget(&one);
    ask_get(&one, "k", 2); /* now it owes as many as it may */
    assert_null(one_shard_find(&one, others[0], DYNODE__PEER__MESSAGE__BODY_READ, 0));
    const Dynode__Peer__Message *read = one_shard_find(&one, others[1], DYNODE__PEER__MESSAGE__BODY_READ, 0);
    assert_non_null(read);
    answer_read(&one, others[1], read->request);
    assert_int_equal(one_shard_result(&one)->status, STATUS_NOT_FOUND);

    /* Bytes count as well as answers do; and with both at their bound there is no quorum, at once. */
    owe(&one, others[1], 1, PEER_OWED_BYTES_MAX);
    one_shard_forget(&one);
    ask_get(&one, "k", 3);
    assert_int_equal(one_shard_result(&one)->status, STATUS_OVERLOADED);
    one_shard_forget(&one);
    ask_put(&one, "k", 4);
    assert_int_equal(one_shard_result(&one)->status, STATUS_OVERLOADED);
    assert_int_equal(one_shard_result(&one)->applied, DYNODE__CLIENT__APPLIED__NO);
    assert_int_equal(one.sent_count, 0);

    /* It is no matter of reachability: when it has answered it is asked again. */
    settle(&one, others[1], 1, PEER_OWED_BYTES_MAX);
    one_shard_forget(&one);
    ask_put(&one, "k", 5);
    assert_non_null(one_shard_find(&one, others[1], DYNODE__PEER__MESSAGE__BODY_MERGE, 0));
    settle(&one, others[0], PEER_OWED_MAX - 1, 0);
    one_shard_end(&one);
}

static void writes_to_a_peer_that_owes_too_much_become_hints(void **state)
{
    (void)state;
    struct one_shard one;
    uint64_t others[2];
    char key[16];
    one_shard_begin(&one, (struct one_shard_options){.nodes = 5});
    const struct ring *ring = shard_turn_context(one.shard)->ring;
    uint32_t vnode = 0;
    for (uint32_t i = 0;; i++) {
        snprintf(key, sizeof(key), "key%u", i);
        vnode = one_shard_place(&one, "t", key)->vnode;
        if (ring_is_home(ring, vnode, 3, NODE_A)) break;
    }
    others_of(&one, key, others);
    uint64_t fallback = ring_preference_list(ring, vnode)[3];
    owe(&one, others[0], PEER_OWED_MAX, 0);
    ask_put(&one, key, 1);
    assert_null(one_shard_find(&one, others[0], DYNODE__PEER__MESSAGE__BODY_MERGE, 0));
    assert_non_null(one_shard_find(&one, others[1], DYNODE__PEER__MESSAGE__BODY_MERGE, 0));
    const Dynode__Peer__Message *merge = one_shard_find(&one, fallback, DYNODE__PEER__MESSAGE__BODY_MERGE, 0);
    assert_non_null(merge);
    assert_int_equal(merge->merge->hint_for, others[0]);
    settle(&one, others[0], PEER_OWED_MAX, 0);
    one_shard_end(&one);
}

static void answer_at_random(struct one_shard *one, struct prng *prng, const struct sent *sent)
{
    if (sent->message->body_case == DYNODE__PEER__MESSAGE__BODY_READ) {
        answer_read(one, sent->node, sent->message->request);
    } else if (sent->message->body_case == DYNODE__PEER__MESSAGE__BODY_MERGE) {
        Dynode__Peer__Merged merged = DYNODE__PEER__MERGED__INIT;
        merged.status = prng_below(prng, 4) == 0 ? STATUS_NO_SPACE : STATUS_OK;
        one_shard_receive(one, sent->node, sent->message->request, DYNODE__PEER__MESSAGE__BODY_MERGED,
                          &merged);
    }
}

/* Whatever becomes of operations, what peers are counted to owe goes back to nothing. */
static void what_is_owed_comes_to_nothing(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 30; seed++) {
        printf("seed %llu\n", (unsigned long long)seed);
        struct prng prng;
        struct one_shard one;
        uint64_t most = 0;
        prng_init(&prng, seed);
        one_shard_begin(&one, (struct one_shard_options){.nodes = 5, .seed = seed});
        for (uint64_t step = 1; step <= 200; step++) {
            char key[16];
            snprintf(key, sizeof(key), "key%u", (unsigned)prng_below(&prng, 10));
            if (one.sent_count > SENT_MAX / 2 || one.answer_count > SENT_MAX / 2) one_shard_forget(&one);
            uint64_t node = NODE_B + prng_below(&prng, 4);
            switch (prng_below(&prng, 8)) {
            case 0:
            case 1:
                ask_put(&one, key, step);
                break;
            case 2:
                ask_get(&one, key, step);
                break;
            case 3:
                one_shard_link(&one, node, prng_below(&prng, 3) != 0);
                break;
            case 4:
                one_shard_pass_ms(&one, prng_below(&prng, 150));
                break;
            case 5:
                one_shard_sync(&one);
                break;
            default:
                if (one.sent_count > 0)
                    answer_at_random(&one, &prng, &one.sent[prng_below(&prng, one.sent_count)]);
            }
            if (counters(&one)->owed > most) most = counters(&one)->owed;
        }
        assert_true(most > 0);
        one_shard_forget(&one);
        for (int i = 0; i < 30; i++) {
            one_shard_pass_ms(&one, 50);
            one_shard_forget(&one);
        }
        assert_int_equal(counters(&one)->owed, 0);
        for (uint64_t node = NODE_B; node <= NODE_E; node++) {
            assert_int_equal(peer(&one, node)->owed, 0);
            assert_int_equal(peer(&one, node)->owed_bytes, 0);
        }
        one_shard_end(&one);
    }
}

/* --- time that is up --- */

/* More than a turn takes, and a turn that took long: the rest has expired, and is not begun. */
static void expired_requests_are_not_begun(void **state)
{
    (void)state;
    struct one_shard one;
    enum { COUNT = SHARD_TURN_MESSAGES + 40 };
    one_shard_begin(&one, (struct one_shard_options){0});
    Dynode__Client__Operation *operation =
        one_shard_put(&one, "solo", "k", bytes_str("value"), (struct bytes){0});
    Dynode__Client__Request request = DYNODE__CLIENT__REQUEST__INIT;
    request.n_operations = 1;
    request.operations = &operation;
    request.deadline_ms = 1000;
    for (request.id = 1; request.id <= COUNT; request.id++) {
        uint8_t packed[256];
        size_t size = dynode__client__request__pack(&request, packed);
        assert_true(size <= sizeof(packed));
        shard_client_frame(one.shard, 1, bytes_of(packed, size));
    }
    assert_int_equal(shard_turn(one.shard, one.now_ns, one.wall_ms), STATUS_OK);
    uint64_t begun = counters(&one)->puts + one.sent_count;
    outbox_clear_answers(shard_outbox(one.shard));
    one.now_ns += 1500 * 1000000ULL;
    one_shard_turn(&one);
    assert_int_equal(shard_has_mail(one.shard), false);
    uint32_t expired = 0;
    for (uint32_t i = 0; i < one.answer_count; i++) {
        const Dynode__Client__Result *result = one.answers[i].response->results[0];
        bool no = result->applied == DYNODE__CLIENT__APPLIED__NO;
        assert_true(no || one.answers[i].response->id <= SHARD_TURN_MESSAGES);
        if (no) assert_int_equal(result->status, DYNODE__CLIENT__STATUS__TIMEOUT);
        expired += no;
    }
    assert_true(expired >= 40);
    assert_int_equal(counters(&one)->expired, expired);
    assert_int_equal(counters(&one)->puts, begun);
    assert_int_equal(node_in_flight(one.shard), 0);
    one_shard_end(&one);
}

/* What waited for less has that much less time. The same for what comes from other nodes. */
static void forwarded_work_expires_too(void **state)
{
    (void)state;
    struct one_shard one;
    struct buffer batch = {0};
    enum { COUNT = SHARD_TURN_MESSAGES + 2 };
    one_shard_begin(&one, (struct one_shard_options){0});
    Dynode__Peer__Coordinate coordinate = DYNODE__PEER__COORDINATE__INIT;
    Dynode__Peer__Message message = DYNODE__PEER__MESSAGE__INIT;
    message.body_case = DYNODE__PEER__MESSAGE__BODY_COORDINATE;
    message.coordinate = &coordinate;
    batch_begin(&batch, NODE_B, 0);
    for (message.request = 1; message.request <= COUNT; message.request++) {
        coordinate.operation = one_shard_get(&one, "t", "nothing", 1);
        if (message.request > SHARD_TURN_MESSAGES)
            coordinate.operation = one_shard_put(&one, "t", "k", bytes_str("value"), (struct bytes){0});
        coordinate.deadline_ms = message.request == COUNT ? 1500 : 1000;
        batch_add(&batch, &message);
    }
    shard_deliver(one.shard, NODE_B, buffer_bytes(&batch), NULL, NULL);
    buffer_fini(&batch);
    assert_int_equal(shard_turn(one.shard, one.now_ns, one.wall_ms), STATUS_OK);
    one.now_ns += 1000 * 1000000ULL;
    while (shard_has_mail(one.shard)) {
        struct buffer sent = {0};
        for (uint32_t i = 0; i < shard_outbox(one.shard)->queue_count; i++) {
            outbox_take(shard_outbox(one.shard), i, SIZE_MAX, &sent);
            buffer_clear(&sent);
        }
        buffer_fini(&sent);
        one_shard_turn(&one);
    }
    const Dynode__Peer__Message *answer = NULL;
    for (uint32_t i = 0; (answer = one_shard_find(&one, NODE_B, DYNODE__PEER__MESSAGE__BODY_COORDINATED, i));
         i++)
        if (answer->request == COUNT - 1) break;
    assert_non_null(answer);
    assert_int_equal(answer->coordinated->result->status, DYNODE__CLIENT__STATUS__TIMEOUT);
    assert_int_equal(answer->coordinated->result->applied, DYNODE__CLIENT__APPLIED__NO);
    assert_int_equal(counters(&one)->puts, 1); /* the last, which has 480 ms left */
    one_shard_forget(&one);
    one_shard_pass_ms(&one, 470);
    assert_null(one_shard_find(&one, NODE_B, DYNODE__PEER__MESSAGE__BODY_COORDINATED, 0));
    one_shard_pass_ms(&one, 30);
    answer = one_shard_find(&one, NODE_B, DYNODE__PEER__MESSAGE__BODY_COORDINATED, 0);
    assert_non_null(answer);
    assert_int_equal(answer->request, COUNT);
    one_shard_end(&one);
}

/* Mail behind as much as a turn takes: it waits. */
struct late {
    struct one_shard one;
    struct buffer batch;
    uint64_t request;
};

static void late_add(struct late *late, Dynode__Peer__Message__BodyCase kind, const void *body)
{
    Dynode__Peer__Message message = DYNODE__PEER__MESSAGE__INIT;
    message.request = ++late->request;
    message.body_case = kind;
    message.read = (Dynode__Peer__Read *)(uintptr_t)body; /* one of a union */
    batch_add(&late->batch, &message);
}

static void late_begin(struct late *late)
{
    *late = (struct late){0};
    one_shard_begin(&late->one, (struct one_shard_options){0});
    batch_begin(&late->batch, NODE_B, 0);
    Dynode__Peer__Pong pong = DYNODE__PEER__PONG__INIT;
    for (uint32_t i = 0; i < SHARD_TURN_MESSAGES; i++)
        late_add(late, DYNODE__PEER__MESSAGE__BODY_PONG, &pong);
}

static void late_run(struct late *late, uint64_t wait_ms)
{
    struct one_shard *one = &late->one;
    shard_deliver(one->shard, NODE_B, buffer_bytes(&late->batch), NULL, NULL);
    buffer_fini(&late->batch);
    assert_int_equal(shard_turn(one->shard, one->now_ns, one->wall_ms), STATUS_OK);
    assert_true(shard_has_mail(one->shard));
    one->now_ns += wait_ms * 1000000;
    one_shard_turn(one);
    one_shard_sync(one);
}

static const Dynode__Peer__Message *late_answer(const struct late *late, Dynode__Peer__Message__BodyCase kind,
                                                uint64_t request)
{
    const Dynode__Peer__Message *answer = NULL;
    for (uint32_t i = 0; (answer = one_shard_find(&late->one, NODE_B, kind, i)) != NULL; i++)
        if (answer->request == request) return answer;
    return NULL;
}

/* What nobody waits for any more is not read; what a home has to have sooner or later is taken all the same.
 */
static void expired_reads_are_dropped_and_merges_are_not(void **state)
{
    (void)state;
    struct late late;
    late_begin(&late);
    Dynode__Peer__Read read = DYNODE__PEER__READ__INIT;
    Dynode__Peer__ScanShard scan = DYNODE__PEER__SCAN_SHARD__INIT;
    Dynode__Peer__FetchObjects fetch = DYNODE__PEER__FETCH_OBJECTS__INIT;
    Dynode__Peer__Merge *merge =
        one_shard_merge(&late.one, "t", "k", one_shard_object(&late.one, 7, 1, bytes_str("late but needed")));
    uint64_t first = late.request;
    read.place = one_shard_place(&late.one, "t", "k");
    read.n = fetch.n = 3;
    scan.tag = read.place->tag;
    read.deadline_ms = scan.deadline_ms = 400; /* as long as it will have waited */
    late_add(&late, DYNODE__PEER__MESSAGE__BODY_MERGE, merge);
    late_add(&late, DYNODE__PEER__MESSAGE__BODY_READ, &read);
    late_add(&late, DYNODE__PEER__MESSAGE__BODY_SCAN_SHARD, &scan);
    read.deadline_ms = scan.deadline_ms = 401;
    late_add(&late, DYNODE__PEER__MESSAGE__BODY_READ, &read);
    late_add(&late, DYNODE__PEER__MESSAGE__BODY_SCAN_SHARD, &scan);
    read.deadline_ms = 0;
    late_add(&late, DYNODE__PEER__MESSAGE__BODY_READ, &read);
    late_add(&late, DYNODE__PEER__MESSAGE__BODY_FETCH_OBJECTS, &fetch);
    late_run(&late, 400);
    assert_non_null(late_answer(&late, DYNODE__PEER__MESSAGE__BODY_MERGED, first + 1));
    assert_null(late_answer(&late, DYNODE__PEER__MESSAGE__BODY_READ_ANSWER, first + 2));
    assert_null(late_answer(&late, DYNODE__PEER__MESSAGE__BODY_SCAN_ANSWER, first + 3));
    assert_non_null(late_answer(&late, DYNODE__PEER__MESSAGE__BODY_READ_ANSWER, first + 4));
    assert_non_null(late_answer(&late, DYNODE__PEER__MESSAGE__BODY_SCAN_ANSWER, first + 5));
    assert_non_null(late_answer(&late, DYNODE__PEER__MESSAGE__BODY_READ_ANSWER, first + 6));
    assert_non_null(late_answer(&late, DYNODE__PEER__MESSAGE__BODY_OBJECTS_FETCHED, first + 7));
    assert_int_equal(counters(&late.one)->expired, 2);
    assert_int_equal(counters(&late.one)->replica_reads, 2);
    one_shard_end(&late.one);
}

/* Who asks in an exchange waits for two seconds, and not for what it has given. */
static void expired_questions_of_an_exchange_are_dropped(void **state)
{
    (void)state;
    struct late late;
    late_begin(&late);
    Dynode__Peer__FetchObjects fetch = DYNODE__PEER__FETCH_OBJECTS__INIT;
    Dynode__Peer__LeafKeys keys = DYNODE__PEER__LEAF_KEYS__INIT;
    Dynode__Peer__TreeNodes nodes = DYNODE__PEER__TREE_NODES__INIT;
    Dynode__Peer__TreeRoots roots = DYNODE__PEER__TREE_ROOTS__INIT;
    Dynode__Peer__PushObjects push = DYNODE__PEER__PUSH_OBJECTS__INIT;
    push.n = fetch.n = keys.n = nodes.n = 3;
    late_add(&late, DYNODE__PEER__MESSAGE__BODY_FETCH_OBJECTS, &fetch);
    late_add(&late, DYNODE__PEER__MESSAGE__BODY_LEAF_KEYS, &keys);
    late_add(&late, DYNODE__PEER__MESSAGE__BODY_TREE_NODES, &nodes);
    late_add(&late, DYNODE__PEER__MESSAGE__BODY_TREE_ROOTS, &roots);
    late_add(&late, DYNODE__PEER__MESSAGE__BODY_PUSH_OBJECTS, &push);
    uint64_t last = late.request;
    late_run(&late, ANTIENTROPY_TIMEOUT_NS / 1000000);
    assert_int_equal(counters(&late.one)->expired, 4);
    assert_null(one_shard_find(&late.one, NODE_B, DYNODE__PEER__MESSAGE__BODY_OBJECTS_FETCHED, 0));
    assert_null(one_shard_find(&late.one, NODE_B, DYNODE__PEER__MESSAGE__BODY_TREE_NODES_ANSWER, 0));
    assert_non_null(late_answer(&late, DYNODE__PEER__MESSAGE__BODY_OBJECTS_PUSHED, last));
    one_shard_end(&late.one);
}

/* A read that goes out has what is left of the operation's time. */
static void reads_bear_what_is_left(void **state)
{
    (void)state;
    struct one_shard one;
    uint64_t others[2];
    one_shard_begin(&one, (struct one_shard_options){0});
    others_of(&one, "k", others);
    ask_get(&one, "k", 1);
    const Dynode__Peer__Message *read = one_shard_find(&one, others[0], DYNODE__PEER__MESSAGE__BODY_READ, 0);
    assert_non_null(read);
    assert_int_equal(read->read->deadline_ms, 1000 - COORDINATOR_MARGIN_NS / 1000000);
    one_shard_pass_ms(&one, 20);
    one_shard_link(&one, others[0], false);
    read = one_shard_find(&one, others[1], DYNODE__PEER__MESSAGE__BODY_READ, 0);
    assert_non_null(read);
    assert_in_range(read->read->deadline_ms, 900, 1000 - COORDINATOR_MARGIN_NS / 1000000 - 20);
    one_shard_end(&one);
}

/* --- slots --- */

/* Other nodes send more than this one may have under way: what is above it is refused at once, and nothing
 * of it was applied. */
static void operations_are_bounded_by_number(void **state)
{
    (void)state;
    struct one_shard one;
    Dynode__Peer__Coordinate coordinate = DYNODE__PEER__COORDINATE__INIT;
    Dynode__Peer__Message message = DYNODE__PEER__MESSAGE__INIT;
    one_shard_begin(&one, (struct one_shard_options){0});
    const struct ring *ring = shard_turn_context(one.shard)->ring;
    uint64_t home;
    unsigned number = 0;
    char key[16];
    coordinate.deadline_ms = 60000;
    message.body_case = DYNODE__PEER__MESSAGE__BODY_COORDINATE;
    message.coordinate = &coordinate;
    while (message.request < COORDINATOR_SLOTS_MAX) { /* none is durable yet */
        struct buffer batch = {0};
        batch_begin(&batch, NODE_B, 0);
        for (uint32_t i = 0; i < SHARD_TURN_MESSAGES; i++, message.request++) {
            do {
                snprintf(key, sizeof(key), "key%u", ++number);
                home = ring_preference_list(ring, one_shard_place(&one, "solo", key)->vnode)[0];
            } while (home != NODE_A);
            coordinate.operation = one_shard_put(&one, "solo", key, bytes_str("x"), (struct bytes){0});
            batch_add(&batch, &message);
        }
        shard_deliver(one.shard, NODE_B, buffer_bytes(&batch), NULL, NULL);
        buffer_fini(&batch);
        while (shard_has_mail(one.shard))
            assert_int_equal(shard_turn(one.shard, one.now_ns, one.wall_ms), STATUS_OK);
    }
    one_shard_forget(&one);
    assert_int_equal(counters(&one)->coordinating, COORDINATOR_SLOTS_MAX);
    one_shard_receive(&one, NODE_B, 1000000, DYNODE__PEER__MESSAGE__BODY_COORDINATE, &coordinate);
    const Dynode__Peer__Message *answer =
        one_shard_find(&one, NODE_B, DYNODE__PEER__MESSAGE__BODY_COORDINATED, 0);
    assert_non_null(answer);
    assert_int_equal(answer->coordinated->result->status, DYNODE__CLIENT__STATUS__OVERLOADED);
    assert_int_equal(answer->coordinated->result->applied, DYNODE__CLIENT__APPLIED__NO);
    assert_int_equal(counters(&one)->puts, COORDINATOR_SLOTS_MAX);
    one_shard_clog(&one, NODE_B, 0, true);
    one_shard_sync(&one);
    assert_int_equal(counters(&one)->coordinating, 0);
    one_shard_receive(&one, NODE_B, 1000001, DYNODE__PEER__MESSAGE__BODY_COORDINATE, &coordinate);
    assert_int_equal(counters(&one)->coordinating, 1);
    one_shard_end(&one);
}

/* Slots of a great moment don't keep what they had then. */
static void unused_slots_keep_little(void **state)
{
    (void)state;
    enum { SLOTS = 4000 };
    static uint8_t large[SLOT_KEPT_BYTES_MAX + 1];
    struct slots slots = {.generation = 1};
    for (int round = 0; round < 2; round++) {
        struct slot *used[SLOTS];
        for (uint32_t i = 0; i < SLOTS; i++) {
            used[i] = slots_take(&slots);
            used[i]->phase = SLOT_READING;
            buffer_append(&used[i]->key, large, 1024);
            buffer_append(&used[i]->object, large, i % 2 == 0 ? sizeof(large) : 5000);
            buffer_append(&used[i]->get.answers[i % TABLE_N_MAX].object, large, sizeof(large));
        }
        assert_int_equal(slots.kept_bytes, 0);
        for (uint32_t i = 0; i < SLOTS; i++) slots_give_back(&slots, used[i]);
        size_t kept = 0;
        for (uint32_t i = 0; i < slots.count; i++) {
            const struct slot *slot = slots.pool[i];
            kept += slot->key.capacity + slot->mint.capacity + slot->object.capacity;
            for (uint32_t k = 0; k < TABLE_N_MAX; k++) kept += slot->get.answers[k].object.capacity;
        }
        assert_int_equal(kept, slots.kept_bytes);
        assert_in_range(kept, SLOTS_KEPT_BYTES_MAX / 2, SLOTS_KEPT_BYTES_MAX);
    }
    slots_fini(&slots);
}

/* --- speculation --- */

/* Peers that answer each Read after a while, or never. */
struct slow {
    struct one_shard one;
    uint64_t after_ms[2]; /* B and C; 0: never */
    bool beats[2];
    struct {
        uint64_t node, request, at_ns;
    } due[4096];
    uint32_t due_count;
    uint64_t reads;
};

static void slow_step(struct slow *slow)
{
    struct one_shard *one = &slow->one;
    for (uint32_t i = 0; i < one->sent_count; i++) {
        const struct sent *sent = &one->sent[i];
        if (sent->message->body_case != DYNODE__PEER__MESSAGE__BODY_READ) continue;
        slow->reads++;
        uint64_t after_ms = slow->after_ms[sent->node - NODE_B];
        if (after_ms == 0) continue;
        assert_true(slow->due_count < 4096);
        slow->due[slow->due_count].node = sent->node;
        slow->due[slow->due_count].request = sent->message->request;
        slow->due[slow->due_count++].at_ns = one->now_ns + after_ms * 1000000;
    }
    one_shard_forget(one);
    arena_reset(&one->arena);
    one_shard_pass_ms(one, 1);
    uint32_t kept = 0;
    for (uint32_t i = 0; i < slow->due_count; i++) {
        if (slow->due[i].at_ns <= one->now_ns)
            answer_read(one, slow->due[i].node, slow->due[i].request);
        else
            slow->due[kept++] = slow->due[i];
    }
    slow->due_count = kept;
    for (uint32_t i = 0; i < 2; i++)
        if (slow->beats[i] && one->now_ns / 1000000 % 200 == i) beat(one, NODE_B + i);
}

static void slow_run(struct slow *slow, uint32_t steps, uint32_t gets_a_step)
{
    for (uint32_t step = 0; step < steps; step++) {
        for (uint32_t i = 0; i < gets_a_step; i++) {
            char key[16];
            snprintf(key, sizeof(key), "key%u", step * gets_a_step + i);
            ask_get(&slow->one, key, 1);
        }
        slow_step(slow);
    }
}

static void with_all_homes_slow_the_extra_reads_keep_their_share(void **state)
{
    (void)state;
    struct slow *slow = calloc(1, sizeof(*slow));
    one_shard_begin(&slow->one, (struct one_shard_options){0});
    slow->beats[0] = slow->beats[1] = true;
    slow->after_ms[0] = slow->after_ms[1] = 2;
    slow_run(slow, 200, 2); /* it learns what is usual */
    assert_in_range(counters(&slow->one)->speculation_wait_us, 2000, 4000);
    assert_true(counters(&slow->one)->speculated <= SPECULATION_BURST);
    slow->after_ms[0] = slow->after_ms[1] = 300; /* then everything is slow */
    uint64_t gets = counters(&slow->one)->gets, speculated = counters(&slow->one)->speculated;
    slow->reads = 0;
    slow_run(slow, 2000, 2);
    gets = counters(&slow->one)->gets - gets;
    speculated = counters(&slow->one)->speculated - speculated;
    assert_int_equal(gets, 4000);
    assert_true(speculated > 100);
    assert_true(speculated * 100 <= gets * SPECULATION_SHARE_PERCENT + SPECULATION_BURST * 100);
    assert_true(slow->reads <= gets + speculated + 2);
    assert_true(counters(&slow->one)->speculations_withheld > 1000);
    assert_int_equal(counters(&slow->one)->speculation_wait_us, SPECULATION_WAIT_MAX_NS / 1000);
    one_shard_end(&slow->one);
    free(slow);
}

/* One read in ten asks a slow home first, and is answered sooner by another: the wait is found as if it had
 * not been, and ends at what the slow one takes. */
static void speculation_does_not_shorten_its_own_wait(void **state)
{
    (void)state;
    struct slow *slow = calloc(1, sizeof(*slow));
    one_shard_begin(&slow->one, (struct one_shard_options){0});
    slow->beats[0] = slow->beats[1] = true;
    slow->after_ms[0] = slow->after_ms[1] = 2;
    uint32_t number = 0;
    for (uint32_t step = 0; step < 5000; step++) {
        uint64_t first = step % 10 == 0 ? NODE_B : NODE_C, others[2];
        char key[16];
        do {
            snprintf(key, sizeof(key), "key%u", number++);
            others_of(&slow->one, key, others);
        } while (others[0] != first);
        if (step == 500) slow->after_ms[0] = 20;
        ask_get(&slow->one, key, 1);
        slow_step(slow);
    }
    assert_true(counters(&slow->one)->speculated > 20);
    assert_in_range(counters(&slow->one)->speculation_wait_us, 15000, 25000);
    one_shard_end(&slow->one);
    free(slow);
}

static void one_slow_answer_is_not_waited_for(void **state)
{
    (void)state;
    struct slow *slow = calloc(1, sizeof(*slow));
    one_shard_begin(&slow->one, (struct one_shard_options){0});
    slow->beats[0] = slow->beats[1] = true;
    slow->after_ms[0] = slow->after_ms[1] = 2;
    slow_run(slow, 200, 2);
    uint64_t others[2];
    others_of(&slow->one, "k", others);
    one_shard_forget(&slow->one);
    ask_get(&slow->one, "k", 1);
    one_shard_forget(&slow->one);
    one_shard_pass_ms(&slow->one, 5);
    const Dynode__Peer__Message *read =
        one_shard_find(&slow->one, others[1], DYNODE__PEER__MESSAGE__BODY_READ, 0);
    assert_non_null(read);
    /* Nobody who has much to do already is asked to spare another. */
    one_shard_forget(&slow->one);
    owe(&slow->one, others[1], SPECULATION_OWED_MAX, 0);
    ask_get(&slow->one, "k", 2);
    one_shard_forget(&slow->one);
    one_shard_pass_ms(&slow->one, 60);
    assert_null(one_shard_find(&slow->one, others[1], DYNODE__PEER__MESSAGE__BODY_READ, 0));
    settle(&slow->one, others[1], SPECULATION_OWED_MAX, 0);
    one_shard_end(&slow->one);
    free(slow);
}

/* scylladb#3156: a node dies. While it is not suspected yet, its reads go elsewhere without limit once
 * nothing at all comes from it, for that spares it as much; and those others get no more than that. */
static void a_dead_home_is_replaced_and_the_rest_do_not_melt(void **state)
{
    (void)state;
    struct slow *slow = calloc(1, sizeof(*slow));
    one_shard_begin(&slow->one, (struct one_shard_options){0});
    slow->beats[0] = slow->beats[1] = true;
    slow->after_ms[0] = slow->after_ms[1] = 2;
    slow_run(slow, 200, 1);
    slow->beats[0] = false;
    slow->after_ms[0] = 0;
    slow_run(slow, 520, 1);
    uint64_t speculated = counters(&slow->one)->speculated, gets = counters(&slow->one)->gets;
    slow->reads = 0;
    assert_true(peer(&slow->one, NODE_B)->reachable); /* not suspected yet */
    slow_run(slow, 300, 1);
    gets = counters(&slow->one)->gets - gets;
    speculated = counters(&slow->one)->speculated - speculated;
    assert_int_equal(gets, 300);
    assert_true(speculated * 100 <= gets * SPECULATION_SHARE_PERCENT);
    assert_true(counters(&slow->one)->in_flight < 150); /* and none waits for long */
    assert_true(slow->reads <= 2 * gets + 400);         /* one of each to the dead at most, and the backlog */
    one_shard_end(&slow->one);
    free(slow);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_peer_that_owes_too_much_is_asked_no_more),
        cmocka_unit_test(writes_to_a_peer_that_owes_too_much_become_hints),
        cmocka_unit_test(what_is_owed_comes_to_nothing),
        cmocka_unit_test(expired_requests_are_not_begun),
        cmocka_unit_test(forwarded_work_expires_too),
        cmocka_unit_test(expired_reads_are_dropped_and_merges_are_not),
        cmocka_unit_test(expired_questions_of_an_exchange_are_dropped),
        cmocka_unit_test(reads_bear_what_is_left),
        cmocka_unit_test(operations_are_bounded_by_number),
        cmocka_unit_test(unused_slots_keep_little),
        cmocka_unit_test(with_all_homes_slow_the_extra_reads_keep_their_share),
        cmocka_unit_test(speculation_does_not_shorten_its_own_wait),
        cmocka_unit_test(one_slow_answer_is_not_waited_for),
        cmocka_unit_test(a_dead_home_is_replaced_and_the_rest_do_not_melt),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
