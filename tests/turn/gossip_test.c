/* Gossip, one step at a time: what each answers, what is refused, whose record wins, and who is believed
 * dead. */
#include <stdio.h>
#include <stdlib.h>

#include "actors/gossip.h"
#include "one_shard.h"
#include "ring/digest.h"
#include "wire/cluster_wire.h"

static const uint64_t ms = 1000000;

static void begin(struct one_shard *one, struct one_shard_options options)
{
    one_shard_begin(one, options);
    one->with_gossip = true;
}

static Dynode__Peer__Gossip gossip_of(const struct one_shard *one)
{
    Dynode__Peer__Gossip message = DYNODE__PEER__GOSSIP__INIT;
    message.cluster = one->cluster.id;
    message.vnodes = one->cluster.vnodes;
    return message;
}

static void say(struct one_shard *one, const Dynode__Peer__Gossip *message)
{
    one_shard_forget(one);
    one_shard_receive(one, NODE_B, 0, DYNODE__PEER__MESSAGE__BODY_GOSSIP, message);
}

/* What B was answered; NULL: nothing. */
static const Dynode__Peer__Gossip *answered(const struct one_shard *one)
{
    const Dynode__Peer__Message *message = one_shard_find(one, NODE_B, DYNODE__PEER__MESSAGE__BODY_GOSSIP, 0);
    assert_null(one_shard_find(one, NODE_B, DYNODE__PEER__MESSAGE__BODY_GOSSIP, 1));
    return message == NULL ? NULL : message->gossip;
}

static const struct cluster *known(const struct one_shard *one)
{
    return shard_turn_context(one->shard)->cluster;
}

/* As A's, and a table more. */
static struct cluster more(const struct one_shard *one, const char *name)
{
    struct cluster cluster;
    const char *why;
    struct table table = {.id = 5, .n = 3, .r = 2, .w = 2, .alter_stamp = 1};
    cluster_copy(known(one), &cluster);
    snprintf(table.name, sizeof(table.name), "%s", name);
    assert_int_equal(cluster_create_table(&cluster, &table, &why), STATUS_OK);
    return cluster;
}

/* Who knows the same says nothing, and is told nothing; who knows otherwise gets the buckets. */
static void digests(void **state)
{
    (void)state;
    struct one_shard one;
    begin(&one, (struct one_shard_options){0});
    struct cluster other = more(&one, "new");
    struct digest mine = digest_of(known(&one)), theirs = digest_of(&other);
    assert_true(mine.whole != theirs.whole);
    Dynode__Peer__Gossip message = gossip_of(&one);
    message.whole = mine.whole;
    say(&one, &message);
    assert_null(answered(&one));
    message.whole = theirs.whole;
    for (int repeat = 0; repeat < 2; repeat++) {
        say(&one, &message);
        const Dynode__Peer__Gossip *answer = answered(&one);
        assert_non_null(answer);
        assert_true(answer->whole == mine.whole);
        assert_int_equal(answer->n_buckets, DIGEST_BUCKETS);
        assert_memory_equal(answer->buckets, mine.buckets, sizeof(mine.buckets));
        assert_null(answer->records);
        assert_int_equal(answer->n_names, 0);
    }
    /* One record more is one bucket that differs. */
    uint32_t differ = 0;
    for (uint32_t i = 0; i < DIGEST_BUCKETS; i++) differ += mine.buckets[i] != theirs.buckets[i];
    assert_int_equal(differ, 1);
    cluster_fini(&other);
    one_shard_end(&one);
}

/* The whole of it, B's part played from its own state: A learns the table that B has more, and tells what it
 * changed itself; nothing that both have travels. */
static void both_ways(void **state)
{
    (void)state;
    struct one_shard one;
    begin(&one, (struct one_shard_options){.shards = 2});
    struct cluster b = more(&one, "of-b");
    struct member changed = *cluster_find_member(&b, NODE_B);
    changed.incarnation = 7;
    assert_true(cluster_merge_member(&b, &changed));
    assert_true(b.members[2].id == NODE_C);
    b.member_count--; /* B has not heard of C */

    struct digest digest = digest_of(&b);
    Dynode__Peer__Gossip message = gossip_of(&one);
    message.whole = digest.whole;
    message.n_buckets = DIGEST_BUCKETS;
    message.buckets = digest.buckets;
    say(&one, &message);
    const Dynode__Peer__Gossip *answer = answered(&one);
    assert_non_null(answer);
    assert_int_equal(answer->n_buckets, 0);
    assert_in_range(__builtin_popcountll(answer->listed), 1, 3);
    assert_int_equal(answer->n_names, answer->n_digests);

    struct record records[16];
    uint32_t count = digest_records(&b, answer->listed, records);
    assert_in_range(count, 2, 16);
    uint64_t names[16], digests_of[16];
    for (uint32_t i = 0; i < count; i++) {
        names[count - 1 - i] = records[i].name; /* in any order */
        digests_of[count - 1 - i] = records[i].digest;
    }
    message = gossip_of(&one);
    message.listed = answer->listed;
    message.n_names = message.n_digests = count;
    message.names = names;
    message.digests = digests_of;
    say(&one, &message);
    answer = answered(&one);
    assert_non_null(answer);
    assert_int_equal(answer->n_wanted, 2); /* the table, and what is new of B */
    assert_int_equal(answer->records->n_tables, 0);
    assert_int_equal(answer->records->n_members, 2); /* C, and what A believed of B */

    message = gossip_of(&one);
    message.n_wanted = answer->n_wanted;
    message.wanted = answer->wanted; /* A does not have them either, or has them otherwise */
    message.records = cluster_to_message(&b, &one.arena);
    say(&one, &message);
    answer = answered(&one); /* learned first: so it can be told */
    assert_non_null(answer);
    assert_int_equal(answer->records->n_tables, 1);
    assert_int_equal(answer->records->n_members, 1);
    assert_string_equal(answer->records->tables[0]->name, "of-b");
    assert_true(answer->records->members[0]->incarnation == 7);
    assert_non_null(cluster_find_table(known(&one), bytes_str("of-b")));
    assert_non_null(cluster_find_member(known(&one), NODE_C));
    assert_true(cluster_find_member(known(&one), NODE_B)->incarnation == 7);
    /* Kept, told to A's other shard, and to no peer before the next round. */
    struct cluster loaded;
    cluster_copy(&one.cluster, &loaded);
    assert_int_equal(cluster_load(one.store, &loaded), STATUS_OK);
    assert_non_null(cluster_find_table(&loaded, bytes_str("of-b")));
    assert_int_equal(one.state_count, 1);
    assert_non_null(one_shard_find(&one, NODE_A, DYNODE__PEER__MESSAGE__BODY_CLUSTER_STATE, 0));
    /* The same once more, late: nothing new, nothing sent. */
    message.n_wanted = 0;
    say(&one, &message);
    assert_null(answered(&one));
    assert_int_equal(one.state_count, 0);
    b.member_count++;
    cluster_fini(&loaded);
    cluster_fini(&b);
    one_shard_end(&one);
}

/* Every second three members that can be reached are told, each another; who has just come is told at once.
 */
static void rounds(void **state)
{
    (void)state;
    struct one_shard one;
    begin(&one, (struct one_shard_options){.seed = 3});
    one_shard_pass_ms(&one, 1);
    shard_link_changed(one.shard, NODE_B, false);
    one_shard_turn(&one);
    one_shard_forget(&one);
    Dynode__Peer__Pong pong = DYNODE__PEER__PONG__INIT;
    shard_link_changed(one.shard, NODE_B, true);
    one_shard_turn(&one);
    assert_null(answered(&one)); /* linked, and not heard yet */
    one_shard_receive(&one, NODE_B, 0, DYNODE__PEER__MESSAGE__BODY_PONG, &pong);
    assert_non_null(answered(&one));
    assert_true(answered(&one)->whole == digest_of(known(&one)).whole);
    uint32_t told = 0;
    for (uint32_t i = 0; i < 100; i++) { /* ten seconds */
        one_shard_forget(&one);
        one_shard_pass_ms(&one, 100);
        told += one_shard_find(&one, NODE_B, DYNODE__PEER__MESSAGE__BODY_GOSSIP, 0) != NULL;
        assert_null(one_shard_find(&one, NODE_A, DYNODE__PEER__MESSAGE__BODY_GOSSIP, 0));
        one_shard_receive(&one, NODE_B, 0, DYNODE__PEER__MESSAGE__BODY_PONG, &pong);
    }
    assert_in_range(told, 9, 10); /* there are but two, of which C has fallen silent */
    one_shard_end(&one);
}

/* What another cluster says, or one with other vnodes, or what is malformed, is not looked at. */
static void strangers(void **state)
{
    (void)state;
    struct one_shard one;
    begin(&one, (struct one_shard_options){0});
    struct cluster other = more(&one, "strange");
    uint64_t numbers[100] = {1, 2, 3};
    Dynode__Peer__Gossip good = gossip_of(&one), rows[8];
    good.records = cluster_to_message(&other, &one.arena);
    good.whole = 5;
    for (int i = 0; i < 8; i++) rows[i] = good;
    rows[0].cluster++;
    rows[1].vnodes *= 2;
    rows[2].n_buckets = DIGEST_BUCKETS - 1, rows[2].buckets = numbers;
    rows[3].n_names = 2, rows[3].names = numbers, rows[3].n_digests = 1, rows[3].digests = numbers;
    other.id++;
    rows[4].records = cluster_to_message(&other, &one.arena);
    other.id--, other.vnodes *= 2;
    rows[5].records = cluster_to_message(&other, &one.arena);
    other.vnodes /= 2, other.tables[0].n = 0;
    rows[6].records = cluster_to_message(&other, &one.arena);
    rows[7].n_wanted = RING_NODES_MAX + CLUSTER_TABLES_MAX + 1;
    rows[7].wanted = calloc(rows[7].n_wanted, sizeof(uint64_t));
    for (int i = 0; i < 8; i++) {
        uint64_t invalid = shard_counters(one.shard)->invalid;
        say(&one, &rows[i]);
        assert_null(answered(&one));
        assert_true(shard_counters(one.shard)->invalid == invalid + 1);
        assert_null(cluster_find_table(known(&one), bytes_str("strange")));
    }
    say(&one, &good);
    assert_non_null(cluster_find_table(known(&one), bytes_str("strange")));
    free(rows[7].wanted);
    cluster_fini(&other);
    one_shard_end(&one);
}

static uint64_t rumour(struct one_shard *one, uint64_t incarnation, const char *address)
{
    struct cluster cluster;
    cluster_copy(&one->cluster, &cluster);
    struct member *self = (struct member *)(uintptr_t)cluster_find_member(&cluster, NODE_A);
    self->incarnation = incarnation;
    snprintf(self->peer_address, sizeof(self->peer_address), "%s", address);
    Dynode__Peer__Gossip message = gossip_of(one);
    message.records = cluster_to_message(&cluster, &one->arena);
    say(one, &message);
    cluster_fini(&cluster);
    assert_string_equal(cluster_find_member(known(one), NODE_A)->peer_address, "");
    return cluster_find_member(known(one), NODE_A)->incarnation;
}

/* What is said of A that A does not say itself is overruled, by an incarnation above it. */
static void own_record_wins(void **state)
{
    (void)state;
    struct one_shard one;
    begin(&one, (struct one_shard_options){0}); /* it begins with incarnation 1 */
    assert_true(rumour(&one, 0, "tcp://old") == 1);
    assert_true(rumour(&one, 1, "") == 1); /* its own */
    assert_true(rumour(&one, 1, "tcp://same") == 2);
    assert_true(rumour(&one, 2, "") == 2);
    assert_true(rumour(&one, 900, "") == 901); /* of before its clock was set back */
    assert_true(rumour(&one, 5000, "tcp://new") == 5001);
    assert_true(rumour(&one, 2, "tcp://late") == 5001);
    /* It is kept, and wins against what the store of a former life says, too. */
    struct cluster loaded;
    cluster_copy(&one.cluster, &loaded);
    assert_int_equal(cluster_load(one.store, &loaded), STATUS_OK);
    struct member self = *cluster_find_member(&one.cluster, NODE_A);
    snprintf(self.client_address, sizeof(self.client_address), "tcp://moved");
    assert_true(cluster_assert_member(&loaded, &self));
    assert_true(self.incarnation == 5002);
    assert_string_equal(cluster_find_member(&loaded, NODE_A)->client_address, "tcp://moved");
    assert_false(cluster_assert_member(&loaded, &self));
    cluster_fini(&loaded);
    one_shard_end(&one);
}

/* However many ask, a period's work is bounded; the next one goes on. */
static void bounds(void **state)
{
    (void)state;
    struct one_shard one;
    begin(&one, (struct one_shard_options){0});
    Dynode__Peer__Gossip message = gossip_of(&one);
    one_shard_pass_ms(&one, 2);
    for (int period = 0; period < 2; period++) {
        one_shard_pass_ms(&one, 1000);
        uint32_t answers = 0, steps = 0;
        for (uint32_t i = 0; i < 2 * GOSSIP_STEPS_MAX; i++) {
            message.whole = 1 + i;
            message.listed = 0;
            say(&one, &message);
            answers += answered(&one) != NULL;
            message.listed = UINT64_MAX;
            say(&one, &message);
            steps += answered(&one) != NULL;
        }
        assert_int_equal(answers, GOSSIP_ANSWERS_MAX);
        assert_int_equal(steps, GOSSIP_STEPS_MAX);
    }
    one_shard_end(&one);
}

/* --- heartbeats --- */

static void ping(struct one_shard *one, bool back, bool data)
{
    Dynode__Peer__Ping message = DYNODE__PEER__PING__INIT;
    message.back = back;
    message.data = data;
    one_shard_forget(one);
    one_shard_receive(one, NODE_B, 0, DYNODE__PEER__MESSAGE__BODY_PING, &message);
}

static uint32_t sent_to_b(const struct one_shard *one, Dynode__Peer__Message__BodyCase kind)
{
    uint32_t count = 0;
    while (one_shard_find(one, NODE_B, kind, count) != NULL) count++;
    return count;
}

static bool reachable(const struct one_shard *one, uint64_t node)
{
    return peers_reachable(shard_turn_context(one->shard)->peers, node);
}

/* A peer that I hear and that does not hear me answers nothing, and is suspected: whatever else it sends. */
static void heartbeats(void **state)
{
    (void)state;
    struct one_shard one;
    begin(&one, (struct one_shard_options){0});
    Dynode__Peer__Pong pong = DYNODE__PEER__PONG__INIT;
    ping(&one, false, false);
    assert_int_equal(sent_to_b(&one, DYNODE__PEER__MESSAGE__BODY_PONG), 1);
    assert_int_equal(sent_to_b(&one, DYNODE__PEER__MESSAGE__BODY_PING), 0); /* it is known to hear us */
    one_shard_forget(&one);
    one_shard_pass_ms(&one, PEER_DATA_PINGS * (PEER_PING_NS / ms));
    assert_in_range(sent_to_b(&one, DYNODE__PEER__MESSAGE__BODY_PING), PEER_DATA_PINGS, PEER_DATA_PINGS + 2);
    uint32_t on_data = 0;
    const Dynode__Peer__Message *sent;
    for (uint32_t i = 0; (sent = one_shard_find(&one, NODE_B, DYNODE__PEER__MESSAGE__BODY_PING, i)) != NULL;
         i++)
        on_data += sent->ping->data != 0;
    assert_int_equal(on_data, 1);
    for (uint32_t i = 0; i < 20; i++) {
        one_shard_pass_ms(&one, 100);
        ping(&one, false, true);
        ping(&one, false, false);
    }
    assert_false(reachable(&one, NODE_B));
    assert_int_equal(sent_to_b(&one, DYNODE__PEER__MESSAGE__BODY_PONG), 1);
    assert_int_equal(sent_to_b(&one, DYNODE__PEER__MESSAGE__BODY_PING),
                     1); /* asked whether it hears us, at once */
    ping(&one, true, false);
    assert_int_equal(sent_to_b(&one, DYNODE__PEER__MESSAGE__BODY_PING), 0); /* and not without end */
    ping(&one, false, true);
    assert_int_equal(sent_to_b(&one, DYNODE__PEER__MESSAGE__BODY_PING), 0);
    pong.data = true;
    one_shard_receive(&one, NODE_B, 0, DYNODE__PEER__MESSAGE__BODY_PONG, &pong);
    assert_false(reachable(&one, NODE_B));
    pong.data = false;
    one_shard_receive(&one, NODE_B, 0, DYNODE__PEER__MESSAGE__BODY_PONG, &pong);
    assert_true(reachable(&one, NODE_B));
    assert_false(reachable(&one, NODE_C));
    one_shard_end(&one);
}

/* A link that comes up is pinged in the same turn, and the first answer makes its node reachable. */
static void asked_at_link_up(void **state)
{
    (void)state;
    struct one_shard one;
    begin(&one, (struct one_shard_options){0});
    one_shard_link(&one, NODE_B, false);
    one_shard_forget(&one);
    shard_link_changed(one.shard, NODE_B, true);
    one_shard_turn(&one);
    assert_int_equal(sent_to_b(&one, DYNODE__PEER__MESSAGE__BODY_PING), 1);
    assert_false(reachable(&one, NODE_B));
    Dynode__Peer__Pong pong = DYNODE__PEER__PONG__INIT;
    one_shard_receive(&one, NODE_B, 0, DYNODE__PEER__MESSAGE__BODY_PONG, &pong);
    assert_true(reachable(&one, NODE_B));
    one_shard_end(&one);
}

/* Who stood still itself suspects nobody for that, and finds out who is gone in the usual time. */
static void local_pause(void **state)
{
    (void)state;
    struct one_shard one;
    begin(&one, (struct one_shard_options){0});
    one_shard_pass_ms(&one, 400);
    one.now_ns += 60000 * ms;
    one_shard_turn(&one);
    assert_true(reachable(&one, NODE_B));
    one_shard_pass_ms(&one, PEER_SILENCE_NS / ms - 100);
    assert_true(reachable(&one, NODE_B));
    one_shard_pass_ms(&one, 100 + PEER_PING_NS / ms);
    assert_false(reachable(&one, NODE_B));
    one_shard_end(&one);
}

/* Heartbeats are read before all data that came earlier. */
static void before_data(void **state)
{
    (void)state;
    struct one_shard one;
    begin(&one, (struct one_shard_options){0});
    struct buffer batch = {0};
    Dynode__Peer__Message message = DYNODE__PEER__MESSAGE__INIT;
    Dynode__Peer__Merge merge = DYNODE__PEER__MERGE__INIT;
    merge.place = one_shard_place(&one, "t", "k");
    merge.n = 3;
    struct bytes object = one_shard_object(&one, 1, 1, bytes_str("x"));
    merge.object = (ProtobufCBinaryData){.data = (uint8_t *)(uintptr_t)object.data, .len = object.size};
    message.body_case = DYNODE__PEER__MESSAGE__BODY_MERGE;
    message.merge = &merge;
    batch_begin(&batch, NODE_C, 0);
    for (uint32_t i = 0; i < 4 * SHARD_TURN_MESSAGES; i++) batch_add(&batch, &message);
    shard_deliver_lane(one.shard, NODE_C, LANE_DATA, buffer_bytes(&batch), NULL, NULL);
    assert_int_equal(shard_turn(one.shard, one.now_ns, one.wall_ms), STATUS_OK); /* half read */
    buffer_clear(&batch);
    Dynode__Peer__Ping ping_message = DYNODE__PEER__PING__INIT;
    message.body_case = DYNODE__PEER__MESSAGE__BODY_PING;
    message.ping = &ping_message;
    batch_begin(&batch, NODE_B, 0);
    batch_add(&batch, &message);
    shard_deliver_lane(one.shard, NODE_B, LANE_BEATS, buffer_bytes(&batch), NULL, NULL);
    assert_true(shard_lane_bytes(one.shard, LANE_BEATS) > 0);
    assert_int_equal(shard_turn(one.shard, one.now_ns, one.wall_ms), STATUS_OK);
    assert_int_equal(shard_lane_bytes(one.shard, LANE_BEATS), 0);
    assert_true(shard_lane_bytes(one.shard, LANE_DATA) > 0);
    const struct outbox_queue *queue = outbox_lane(shard_outbox(one.shard), NODE_B, 0, LANE_BEATS);
    assert_true(queue->batch.size > 0); /* the answer waits behind no data either */
    buffer_fini(&batch);
    one_shard_turn(&one);
    one_shard_end(&one);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(digests),         cmocka_unit_test(both_ways),
                                       cmocka_unit_test(rounds),          cmocka_unit_test(strangers),
                                       cmocka_unit_test(own_record_wins), cmocka_unit_test(bounds),
                                       cmocka_unit_test(heartbeats),      cmocka_unit_test(local_pause),
                                       cmocka_unit_test(before_data),     cmocka_unit_test(asked_at_link_up)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
