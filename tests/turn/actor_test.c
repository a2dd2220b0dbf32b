/* What an actor stands on: timers, peers, the release queue, the outbox, and mail that is no mail. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "actor/outbox.h"
#include "actor/peers.h"
#include "actor/release.h"
#include "actor/timers.h"
#include "base/prng.h"
#include "one_shard.h"

/* --- timers: against a list that is searched --- */

enum { MODEL_MAX = 400 };

struct model {
    uint64_t id, at_ns, order, argument;
};

static void timers_as_a_list(void **state)
{
    (void)state;
    struct prng prng;
    uint64_t seed = prng_entropy() >> 32;
    printf("seed %" PRIu64 "\n", seed);
    prng_init(&prng, seed);
    struct timers timers = {0};
    struct model model[MODEL_MAX];
    struct actor actor = {.name = "a"}, *fired;
    uint32_t count = 0;
    uint64_t now = 0, argument, old = 0;
    for (uint64_t step = 1; step < 20000; step++) {
        uint32_t first = 0;
        for (uint32_t i = 1; i < count; i++)
            if (model[i].at_ns < model[first].at_ns ||
                (model[i].at_ns == model[first].at_ns && model[i].order < model[first].order))
                first = i;
        assert_true(timers_next(&timers) == (count > 0 ? model[first].at_ns : UINT64_MAX));
        switch (prng_below(&prng, 4)) {
        case 0:
        case 1:
            if (count == MODEL_MAX) break;
            model[count] =
                (struct model){.at_ns = now + prng_below(&prng, 20), .order = step, .argument = step};
            model[count].id = timers_arm(&timers, &actor, model[count].at_ns, step);
            assert_true(model[count].id != 0);
            count++;
            break;
        case 2:
            if (count == 0) break;
            {
                uint32_t i = (uint32_t)prng_below(&prng, count);
                old = model[i].id;
                timers_disarm(&timers, old);
                model[i] = model[--count];
            }
            timers_disarm(&timers, old); /* twice, and never armed: nothing happens */
            timers_disarm(&timers, 0);
            timers_disarm(&timers, 0xffffffffffff);
            break;
        default:
            now += prng_below(&prng, 4);
            if (!timers_take_due(&timers, now, &fired, &argument)) {
                assert_true(count == 0 || model[first].at_ns > now);
                break;
            }
            assert_true(count > 0);
            assert_true(model[first].at_ns <= now);
            assert_true(argument == model[first].argument);
            old = model[first].id;
            model[first] = model[--count];
            timers_disarm(&timers, old); /* one that has fired */
        }
    }
    timers_fini(&timers);
}

/* --- peers --- */

static void peers_are_judged(void **state)
{
    (void)state;
    struct peers peers = {.self = 5};
    assert_null(peers_find_or_add(&peers, 5));
    for (uint64_t node = 9; node > 0; node--)
        if (node != 5) assert_non_null(peers_find_or_add(&peers, node));
    assert_int_equal(peers.count, 8);
    for (uint32_t i = 1; i < peers.count; i++) assert_true(peers.list[i - 1].node < peers.list[i].node);
    assert_true(peers_reachable(&peers, 5));
    assert_false(peers_reachable(&peers, 3));
    assert_false(peers_reachable(&peers, 77));
    struct peer *peer = peers_find_or_add(&peers, 3);
    assert_false(peers_judge(&peers, peer, 10)); /* no link */
    phi_beat(&peer->phi, 10);
    assert_false(peers_judge(&peers, peer, 10));
    peer_set_link(peer, true, 10);
    assert_true(peers_judge(&peers, peer, 10));
    assert_true(peers_reachable(&peers, 3));
    assert_false(peers_judge(&peers, peer, PEER_PING_NS));
    assert_true(peers_judge(&peers, peer, 10 + PEER_SILENCE_NS));
    assert_false(peers_reachable(&peers, 3));
    phi_beat(&peer->phi, 10 + PEER_SILENCE_NS);
    assert_true(peers_judge(&peers, peer, 10 + PEER_SILENCE_NS));
    peer_set_link(peer, false, 12 + PEER_SILENCE_NS); /* a hint that is believed at once ... */
    assert_true(peers_judge(&peers, peer, 12 + PEER_SILENCE_NS));
    peer_set_link(peer, true, 13 + PEER_SILENCE_NS); /* ... and a link alone is no heartbeat, */
    assert_false(peers_judge(&peers, peer, 13 + PEER_SILENCE_NS));
    peers.silent = true; /* but where there are none */
    assert_true(peers_judge(&peers, peer, 13 + PEER_SILENCE_NS));
    peers_fini(&peers);
}

/* --- the release queue --- */

static void hold(struct release *release, uint64_t turn, uint64_t node, const char *text)
{
    size_t offset = release->bytes.size;
    buffer_append(&release->bytes, text, strlen(text));
    release_hold(release, turn, node, 0, offset);
}

static void expect_released(struct release *release, uint64_t turn, const char *const *texts)
{
    struct held held;
    struct bytes field;
    for (; *texts != NULL; texts++) {
        assert_true(release_take(release, turn, &held, &field));
        assert_true(bytes_equal(field, bytes_str(*texts)));
    }
    assert_false(release_take(release, turn, &held, &field));
}

static void release_in_the_order_of_turns(void **state)
{
    (void)state;
    struct release release = {0};
    hold(&release, 7, 1, "a");
    hold(&release, 8, 2, "bb");
    hold(&release, 8, 1, "ccc");
    hold(&release, 11, 1, "d");
    assert_true(release_holds(&release, 11));
    assert_false(release_holds(&release, 8));
    expect_released(&release, 6, (const char *const[]){NULL});
    expect_released(&release, 7, (const char *const[]){"a", NULL});
    hold(&release, 11, 3, "ee"); /* after the dead part was given back */
    expect_released(&release, 10, (const char *const[]){"bb", "ccc", NULL});
    expect_released(&release, 12, (const char *const[]){"d", "ee", NULL});
    assert_int_equal(release.bytes.size, 0);
    release_fini(&release);
}

static void ask_put(struct one_shard *one, uint64_t id, const char *key)
{
    Dynode__Client__Operation *operation = one_shard_put(one, "t", key, bytes_str("x"), (struct bytes){0});
    operation->put->w = 1;
    one_shard_ask(one, 1, id, 1000, &operation, 1);
}

/* Nothing says done before its turn is durable; a turn that wrote nothing, but stands behind one that did,
 * waits for that one. */
static void done_is_said_when_durable(void **state)
{
    (void)state;
    struct one_shard one;
    one_shard_begin(&one, (struct one_shard_options){0});
    struct shard *shard = one.shard;
    one_shard_sync(&one);
    uint64_t start = shard_committed_turn(shard);
    ask_put(&one, 1, "k1");
    uint64_t first = shard_committed_turn(shard);
    assert_true(first == start + 1);
    /* The write itself goes out at once. */
    assert_non_null(one_shard_find(&one, NODE_B, DYNODE__PEER__MESSAGE__BODY_MERGE, 0));
    ask_put(&one, 2, "k2");
    uint64_t second = shard_committed_turn(shard);
    assert_true(second == first + 1);
    /* A merge of what is here already writes nothing, but what it acknowledges is not durable yet. */
    const Dynode__Peer__Message *sent = one_shard_find(&one, NODE_B, DYNODE__PEER__MESSAGE__BODY_MERGE, 1);
    one_shard_receive(&one, NODE_B, 9, DYNODE__PEER__MESSAGE__BODY_MERGE,
                      one_shard_merge(&one, "t", "k2", from_pb(sent->merge->object)));
    uint64_t third = shard_committed_turn(shard);
    assert_true(third == second + 1);
    assert_null(one_shard_find(&one, NODE_B, DYNODE__PEER__MESSAGE__BODY_MERGED, 0));
    assert_int_equal(one.answer_count, 0);
    shard_durable(shard, first);
    one_shard_turn(&one);
    assert_int_equal(one.answer_count, 1);
    assert_int_equal(one.answers[0].response->id, 1);
    assert_null(one_shard_find(&one, NODE_B, DYNODE__PEER__MESSAGE__BODY_MERGED, 0));
    shard_durable(shard, third);
    one_shard_turn(&one);
    assert_int_equal(one.answer_count, 2);
    assert_non_null(one_shard_find(&one, NODE_B, DYNODE__PEER__MESSAGE__BODY_MERGED, 0));
    assert_true(shard_durable_turn(shard) == third);
    one_shard_end(&one);
}

/* What a broken store leaves is nothing: the turn's outbox is empty. */
static void broken_store_sends_nothing(void **state)
{
    (void)state;
    struct one_shard one;
    one_shard_begin(&one, (struct one_shard_options){0});
    Dynode__Client__Operation *operation = one_shard_get(&one, "t", "k", 1);
    Dynode__Client__Request request = DYNODE__CLIENT__REQUEST__INIT;
    request.id = 1;
    request.n_operations = 1;
    request.operations = &operation;
    uint8_t packed[256];
    size_t size = dynode__client__request__pack(&request, packed);
    store_mem_break(one.store);
    shard_client_frame(one.shard, 1, bytes_of(packed, size));
    assert_int_equal(shard_turn(one.shard, one.now_ns, one.wall_ms), STATUS_STORE_BROKEN);
    assert_int_equal(shard_outbox(one.shard)->queue_count, 0);
    assert_int_equal(shard_outbox(one.shard)->answer_count, 0);
    one_shard_end(&one);
}

/* --- the bounds of a turn --- */

/* One batch of @count merges, with requests from @first on, of new objects under keys of their own. */
static void deliver_merges(struct one_shard *one, uint64_t from, uint64_t first, uint32_t count,
                           size_t value_bytes)
{
    struct buffer batch = {0};
    batch_begin(&batch, from, 0);
    uint8_t *value = arena_alloc(&one->arena, value_bytes);
    memset(value, 'v', value_bytes);
    for (uint64_t request = first; request < first + count; request++) {
        char *key = arena_alloc(&one->arena, 24);
        snprintf(key, 24, "k%" PRIu64, request);
        struct bytes object = one_shard_object(one, 1, request, bytes_of(value, value_bytes));
        Dynode__Peer__Message message = DYNODE__PEER__MESSAGE__INIT;
        message.request = request;
        message.body_case = DYNODE__PEER__MESSAGE__BODY_MERGE;
        message.merge = one_shard_merge(one, "t", key, object);
        batch_add(&batch, &message);
    }
    shard_deliver(one->shard, from, buffer_bytes(&batch), NULL, NULL);
    buffer_fini(&batch);
}

/* Turn after turn until the mail is used up; returns how many merges each has applied. */
static uint32_t count_turns(struct one_shard *one, uint64_t *applied, uint32_t most)
{
    uint32_t turns = 0;
    while (shard_has_mail(one->shard)) {
        assert_true(turns < most);
        uint64_t before = shard_counters(one->shard)->replica_writes;
        uint64_t committed = shard_committed_turn(one->shard);
        assert_int_equal(shard_turn(one->shard, one->now_ns, one->wall_ms), STATUS_OK);
        applied[turns++] = shard_counters(one->shard)->replica_writes - before;
        assert_true(shard_committed_turn(one->shard) == committed + 1); /* each is a transaction of its own */
        assert_int_equal(store_staged_bytes(one->store), 0);
    }
    assert_int_equal(shard_mail_bytes(one->shard), 0);
    one_shard_sync(one);
    return turns;
}

/* Every merge is acknowledged once, to its sender, in the order in which they came. */
static void expect_acknowledged(const struct one_shard *one, uint64_t to, uint64_t first, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        const Dynode__Peer__Message *merged = one_shard_find(one, to, DYNODE__PEER__MESSAGE__BODY_MERGED, i);
        assert_non_null(merged);
        assert_true(merged->request == first + i);
        assert_int_equal(merged->merged->status, STATUS_OK);
    }
    assert_null(one_shard_find(one, to, DYNODE__PEER__MESSAGE__BODY_MERGED, count));
}

/* What one turn does not take is delivered by the next, behind nothing that came later. */
static void turn_ends_at_256_messages(void **state)
{
    (void)state;
    struct one_shard one;
    uint64_t applied[4];
    one_shard_begin(&one, (struct one_shard_options){0});
    deliver_merges(&one, NODE_B, 1, 300, 10);
    deliver_merges(&one, NODE_C, 301, 1, 10);
    deliver_merges(&one, NODE_B, 302, 1, 10);
    deliver_merges(&one, NODE_C, 303, 198, 10);
    assert_int_equal(count_turns(&one, applied, 4), 2);
    assert_int_equal(applied[0], SHARD_TURN_MESSAGES);
    assert_int_equal(applied[1], 500 - SHARD_TURN_MESSAGES);
    for (uint32_t i = 0; i < 300; i++) assert_int_equal(one.sent[i].node, NODE_B);
    const Dynode__Peer__Message *late = one_shard_find(&one, NODE_B, DYNODE__PEER__MESSAGE__BODY_MERGED, 300);
    assert_non_null(late);
    assert_true(late->request == 302);
    const Dynode__Peer__Message *first = one_shard_find(&one, NODE_C, DYNODE__PEER__MESSAGE__BODY_MERGED, 0);
    assert_non_null(first);
    assert_true(first->request == 301);

    /* What an actor sends another of its shard counts too: a put is a frame, its coordination, a mint, and
     * the object minted. */
    one_shard_forget(&one);
    for (uint64_t id = 1; id <= 100; id++) {
        Dynode__Client__Operation *operation =
            one_shard_put(&one, "solo", "k", bytes_str("x"), (struct bytes){0});
        Dynode__Client__Request request = DYNODE__CLIENT__REQUEST__INIT;
        uint8_t packed[256];
        operation->put->table = "t";
        request.id = id;
        request.n_operations = 1;
        request.operations = &operation;
        size_t size = dynode__client__request__pack(&request, packed);
        shard_client_frame(one.shard, id, bytes_of(packed, size));
    }
    uint64_t before = shard_counters(one.shard)->puts;
    assert_int_equal(shard_turn(one.shard, one.now_ns, one.wall_ms), STATUS_OK);
    assert_int_equal(shard_counters(one.shard)->puts - before, SHARD_TURN_MESSAGES / 4);
    assert_true(shard_has_mail(one.shard));
    one_shard_end(&one);
}

static void turn_ends_at_1_mib_of_writes(void **state)
{
    (void)state;
    struct one_shard one;
    uint64_t applied[8];
    one_shard_begin(&one, (struct one_shard_options){0});
    const size_t third = SHARD_TURN_WRITE_BYTES / 3; /* with their keys three are just above the bound */
    deliver_merges(&one, NODE_B, 1, 10, third);
    assert_int_equal(count_turns(&one, applied, 8), 4);
    for (uint32_t i = 0; i < 3; i++) assert_int_equal(applied[i], 3);
    assert_int_equal(applied[3], 1);
    expect_acknowledged(&one, NODE_B, 1, 10);
    one_shard_forget(&one); /* and one that is larger than a turn's writes is a turn of its own */
    deliver_merges(&one, NODE_C, 20, 3, SHARD_TURN_WRITE_BYTES);
    assert_int_equal(count_turns(&one, applied, 8), 3);
    expect_acknowledged(&one, NODE_C, 20, 3);
    one_shard_end(&one);
}

/* --- the outbox --- */

static void outbox_is_cut_between_messages(void **state)
{
    (void)state;
    struct outbox outbox;
    outbox_init(&outbox, NODE_A, 0);
    Dynode__Peer__Message message = DYNODE__PEER__MESSAGE__INIT;
    Dynode__Peer__Merged merged = DYNODE__PEER__MERGED__INIT;
    message.body_case = DYNODE__PEER__MESSAGE__BODY_MERGED;
    message.merged = &merged;
    for (uint64_t request = 1; request <= 300; request++) {
        struct buffer field = {0};
        message.request = request;
        batch_add(&field, &message);
        assert_true(outbox_add(&outbox, NODE_B, 7, buffer_bytes(&field)));
        buffer_fini(&field);
    }
    assert_int_equal(outbox.queue_count, 1); /* a node has one queue, whichever its shard */
    uint64_t next = 1;
    struct prng prng;
    prng_init(&prng, 4);
    for (struct buffer batch = {0}; outbox_take(&outbox, 0, 1 + prng_below(&prng, 200), &batch);
         buffer_clear(&batch)) {
        uint64_t node;
        uint32_t shard;
        struct bytes rest, packed;
        struct arena arena;
        arena_init(&arena, 0);
        assert_int_equal(batch_open(buffer_bytes(&batch), &node, &shard, &rest), STATUS_OK);
        assert_true(rest.size > 0);
        while (batch_next(&rest, &packed) == STATUS_OK) {
            Dynode__Peer__Message *out;
            assert_int_equal(message_unpack(packed, &arena, &out), STATUS_OK);
            assert_true(out->request == next++);
        }
        assert_int_equal(rest.size, 0);
        arena_fini(&arena);
        buffer_fini(&batch);
    }
    assert_true(next == 301);
    assert_int_equal(outbox_bytes(&outbox), 0);
    outbox_fini(&outbox);
}

/* A node's queue is bounded, and what is above it is dropped and counted; a shard's is not. */
static void outbox_drops_at_its_bound(void **state)
{
    (void)state;
    struct outbox outbox;
    outbox_init(&outbox, NODE_A, 0);
    static uint8_t field[4 * 1024 * 1024];
    uint32_t taken = 0;
    while (outbox_add(&outbox, NODE_B, 0, bytes_of(field, sizeof(field)))) taken++;
    assert_in_range(taken, 30, 32); /* answers: requests end at half of it (turn/overload_test) */
    assert_true(outbox_bytes(&outbox) <= OUTBOX_ANSWERS_BYTES_MAX);
    assert_int_equal(outbox.queues[0].dropped, 1);
    for (uint32_t i = 0; i < taken + 2; i++) /* for a shard of this node, too */
        assert_int_equal(outbox_add(&outbox, NODE_A, 1, bytes_of(field, sizeof(field))), i < taken);
    outbox_fini(&outbox);
}

/* A node without a link gets nothing, now or later. */
static void no_link_no_mail(void **state)
{
    (void)state;
    struct one_shard one;
    one_shard_begin(&one, (struct one_shard_options){0});
    struct bytes object = one_shard_object(&one, 1, 1, bytes_str("x"));
    one_shard_receive(&one, NODE_B, 9, DYNODE__PEER__MESSAGE__BODY_MERGE,
                      one_shard_merge(&one, "t", "k", object));
    shard_link_changed(one.shard, NODE_B, false);
    one_shard_turn(&one);
    one_shard_sync(&one);
    shard_link_changed(one.shard, NODE_B, true);
    one_shard_turn(&one);
    assert_null(one_shard_find(&one, NODE_B, DYNODE__PEER__MESSAGE__BODY_MERGED, 0));
    one_shard_end(&one);
}

/* --- mail that is no mail: no end of the process, and counted --- */

static struct buffer good_batch(struct one_shard *one)
{
    struct buffer batch = {0};
    batch_begin(&batch, NODE_B, 0);
    Dynode__Peer__Message message = DYNODE__PEER__MESSAGE__INIT;
    struct bytes object = one_shard_object(one, 1, 1, bytes_str("a value"));
    message.request = 300;
    message.body_case = DYNODE__PEER__MESSAGE__BODY_MERGE;
    message.merge = one_shard_merge(one, "t", "k", object);
    batch_add(&batch, &message);
    Dynode__Peer__Coordinate coordinate = DYNODE__PEER__COORDINATE__INIT;
    coordinate.operation = one_shard_put(one, "t", "k", bytes_str("x"), (struct bytes){0});
    coordinate.deadline_ms = 100;
    message.body_case = DYNODE__PEER__MESSAGE__BODY_COORDINATE;
    message.coordinate = &coordinate;
    batch_add(&batch, &message);
    Dynode__Peer__Read read = DYNODE__PEER__READ__INIT;
    read.place = one_shard_place(one, "t", "k");
    read.n = 3;
    message.body_case = DYNODE__PEER__MESSAGE__BODY_READ;
    message.read = &read;
    batch_add(&batch, &message);
    Dynode__Peer__ScanShard scan = DYNODE__PEER__SCAN_SHARD__INIT;
    message.body_case = DYNODE__PEER__MESSAGE__BODY_SCAN_SHARD;
    message.scan_shard = &scan;
    batch_add(&batch, &message);
    return batch;
}

static void malformed_mail(void **state)
{
    (void)state;
    struct one_shard one;
    one_shard_begin(&one, (struct one_shard_options){0});
    struct buffer batch = good_batch(&one);
    uint64_t invalid = shard_counters(one.shard)->invalid;
    uint32_t counted = 0;
    for (size_t size = 0; size < batch.size; size++) { /* cut at every offset */
        shard_deliver(one.shard, NODE_B, bytes_of(batch.data, size), NULL, NULL);
        one_shard_turn(&one);
        one_shard_forget(&one);
        counted += shard_counters(one.shard)->invalid > invalid;
        invalid = shard_counters(one.shard)->invalid;
        assert_int_equal(shard_mail_bytes(one.shard), 0);
    }
    assert_true(counted > batch.size - 8);              /* but for the few cuts between two messages */
    for (size_t bit = 0; bit < batch.size * 8; bit++) { /* every bit flipped */
        batch.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
        shard_deliver(one.shard, NODE_B, buffer_bytes(&batch), NULL, NULL);
        batch.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
        one_shard_turn(&one);
        one_shard_sync(&one);
        one_shard_forget(&one);
    }
    one_shard_pass_ms(&one, 200);
    /* A batch in another's name. */
    invalid = shard_counters(one.shard)->invalid;
    shard_deliver(one.shard, NODE_C, buffer_bytes(&batch), NULL, NULL);
    one_shard_turn(&one);
    assert_true(shard_counters(one.shard)->invalid == invalid + 1);
    /* All kinds of message with an empty body, from a peer, as answers to nobody's question. */
    for (unsigned kind = 3; kind <= 20; kind++) {
        uint8_t raw[] = {0x1a, 4, 0x10, 7, 0, 0};
        size_t size = 0;
        unsigned tag = kind << 3 | 2;
        struct buffer empty = {0};
        batch_begin(&empty, NODE_B, 0);
        if (tag >= 0x80) {
            raw[4] = (uint8_t)(tag | 0x80), size = 5;
            uint8_t more[] = {(uint8_t)(tag >> 7), 0};
            raw[1] = 5;
            buffer_append(&empty, raw, size);
            buffer_append(&empty, more, sizeof(more));
        } else {
            raw[4] = (uint8_t)tag;
            buffer_append(&empty, raw, 6);
        }
        shard_deliver(one.shard, NODE_B, buffer_bytes(&empty), NULL, NULL);
        one_shard_turn(&one);
        one_shard_sync(&one);
        buffer_fini(&empty);
    }
    /* And it still works. */
    one_shard_forget(&one);
    shard_deliver(one.shard, NODE_B, buffer_bytes(&batch), NULL, NULL);
    one_shard_turn(&one);
    one_shard_sync(&one);
    assert_non_null(one_shard_find(&one, NODE_B, DYNODE__PEER__MESSAGE__BODY_MERGED, 0));
    buffer_fini(&batch);
    one_shard_end(&one);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(timers_as_a_list),
        cmocka_unit_test(peers_are_judged),
        cmocka_unit_test(release_in_the_order_of_turns),
        cmocka_unit_test(done_is_said_when_durable),
        cmocka_unit_test(broken_store_sends_nothing),
        cmocka_unit_test(turn_ends_at_256_messages),
        cmocka_unit_test(turn_ends_at_1_mib_of_writes),
        cmocka_unit_test(outbox_is_cut_between_messages),
        cmocka_unit_test(outbox_drops_at_its_bound),
        cmocka_unit_test(no_link_no_mail),
        cmocka_unit_test(malformed_mail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
