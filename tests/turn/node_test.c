/* What a node does for itself: scans, page by page; whose store a store is; changes of tables. */
#include <stdio.h>
#include <stdlib.h>

#include "actors/gossip.h"
#include "one_shard.h"
#include "wire/cluster_wire.h"

enum { KEYS = 50 };

static const Dynode__Client__Result *scan(struct one_shard *one, struct bytes cursor, uint32_t limit,
                                          bool count_only, bool primary_only)
{
    Dynode__Client__Operation operation = DYNODE__CLIENT__OPERATION__INIT, *operations[] = {&operation};
    Dynode__Client__Scan message = DYNODE__CLIENT__SCAN__INIT;
    operation.kind_case = DYNODE__CLIENT__OPERATION__KIND_SCAN;
    operation.scan = &message;
    message.table = "t";
    message.cursor = to_pb(cursor);
    message.limit = limit;
    message.count_only = count_only;
    message.primary_only = primary_only;
    one_shard_forget(one);
    one_shard_ask(one, 1, 1, 1000, operations, 1);
    return one_shard_result(one);
}

static void put(struct one_shard *one, const char *table, const char *key)
{
    one_shard_write(one, one_shard_put(one, table, key, bytes_str("x"), (struct bytes){0}));
}

static void pages(void **state)
{
    (void)state;
    struct one_shard one;
    one_shard_begin(&one, (struct one_shard_options){0});
    uint32_t primary = 0;
    for (int i = 0; i < KEYS; i++) {
        char *key = arena_alloc(&one.arena, 16);
        snprintf(key, 16, "key%d", i);
        put(&one, "t", key);
        put(&one, "last", key); /* another table's are not listed */
        const struct ring *ring = shard_turn_context(one.shard)->ring;
        primary += ring_preference_list(ring, one_shard_place(&one, "t", key)->vnode)[0] == NODE_A;
    }
    one_shard_damage(&one, "t", "damaged"); /* nor what can't be read */
    for (uint32_t limit = 1; limit <= KEYS + 1; limit += 7) {
        bool seen[KEYS] = {false};
        uint32_t count = 0, pages_seen = 0;
        struct bytes cursor = {0};
        do {
            const Dynode__Client__Result *result = scan(&one, cursor, limit, false, false);
            assert_int_equal(result->status, STATUS_OK);
            assert_true(result->scan->n_keys <= limit);
            assert_int_equal(result->scan->count, result->scan->n_keys);
            for (size_t k = 0; k < result->scan->n_keys; k++) {
                char text[16] = {0};
                memcpy(text, result->scan->keys[k].data, result->scan->keys[k].len);
                int number = atoi(text + 3);
                assert_false(seen[number]);
                seen[number] = true;
                count++;
            }
            cursor = bytes_of(result->scan->cursor.data, result->scan->cursor.len);
            assert_true(++pages_seen <= 3 * KEYS);
        } while (cursor.size > 0);
        assert_int_equal(count, KEYS);
    }
    assert_int_equal(scan(&one, (struct bytes){0}, 1000, true, false)->scan->count, KEYS);
    assert_int_equal(scan(&one, (struct bytes){0}, 1000, true, false)->scan->n_keys, 0);
    assert_int_equal(scan(&one, (struct bytes){0}, 1000, true, true)->scan->count, primary);
    /* Cursors of somebody's own making. */
    assert_int_equal(scan(&one, bytes_str("x"), 10, false, false)->status, STATUS_INVALID);
    assert_int_equal(scan(&one, bytes_str("\xff\xff"), 10, false, false)->status, STATUS_INVALID);
    assert_int_equal(scan(&one, bytes_of("\0\0\xff\xff\xff", 5), 10, false, false)->scan->n_keys, 0);
    one_shard_end(&one);
}

static uint64_t expires_ms(struct one_shard *one, const char *key, uint64_t ttl_ms, bool for_ever)
{
    Dynode__Client__Operation *operation = one_shard_put(one, "t", key, (struct bytes){0}, (struct bytes){0});
    struct object object;
    operation->put->ttl_ms = ttl_ms;
    operation->put->for_ever = for_ever;
    assert_int_equal(one_shard_write(one, operation)->status, STATUS_OK);
    assert_int_equal(one_shard_stored(one, "t", key, &object), STATUS_OK);
    assert_int_equal(object.count, 1);
    return object.siblings[0].expires_ms;
}

/* A put's own time to live, the table's, or none; what has expired is absent, also from a scan. The values
 * are empty, and yet there. */
static void time_to_live(void **state)
{
    (void)state;
    struct one_shard one;
    one_shard_begin(&one, (struct one_shard_options){0});
    assert_true(expires_ms(&one, "before", 0, false) == 0);
    Dynode__Client__AlterTable alter = DYNODE__CLIENT__ALTER_TABLE__INIT;
    Dynode__Client__Operation operation = DYNODE__CLIENT__OPERATION__INIT;
    alter.name = "t";
    alter.ttl_ms = 50;
    operation.kind_case = DYNODE__CLIENT__OPERATION__KIND_ALTER_TABLE;
    operation.alter_table = &alter;
    one_shard_ask(&one, 1, 1, 1000, (Dynode__Client__Operation *[]){&operation}, 1);
    assert_true(expires_ms(&one, "table's", 0, false) == one.wall_ms + 50);
    assert_true(expires_ms(&one, "own", 70, false) == one.wall_ms + 70);
    assert_true(expires_ms(&one, "never", 0, true) == 0);
    static const struct {
        uint64_t pass_ms, count;
    } rows[] = {{0, 4}, {49, 4}, {1, 3}, {19, 3}, {1, 2}, {100, 2}};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        one_shard_pass_ms(&one, rows[i].pass_ms);
        assert_int_equal(scan(&one, (struct bytes){0}, 10, false, false)->scan->n_keys, rows[i].count);
    }
    one_shard_forget(&one);
    one_shard_ask(&one, 1, 1, 100, (Dynode__Client__Operation *[]){one_shard_get(&one, "t", "own", 1)}, 1);
    assert_int_equal(one_shard_result(&one)->status, STATUS_NOT_FOUND);
    assert_true(one_shard_result(&one)->context.len > 0);
    one_shard_forget(&one);
    one_shard_ask(&one, 1, 1, 100, (Dynode__Client__Operation *[]){one_shard_get(&one, "t", "never", 1)}, 1);
    assert_int_equal(one_shard_result(&one)->status, STATUS_OK);
    assert_int_equal(one_shard_result(&one)->siblings[0]->value.len, 0);
    one_shard_end(&one);
}

static void identity(void **state)
{
    (void)state;
    struct store *store = store_mem_open();
    char why[200];
    const struct identity mine = {
        .cluster = 1, .node = 2, .shard = 3, .shards = 4, .vnodes = 64, .born = true};
    struct identity out;
    assert_int_equal(identity_read(store, &out), STATUS_NOT_FOUND);
    assert_int_equal(identity_claim(store, &mine, why, sizeof(why), &out), STATUS_OK);
    store_mem_crash(store); /* it was synced */
    assert_int_equal(identity_claim(store, &mine, why, sizeof(why), &out), STATUS_OK);
    assert_true(out.node == 2);
    assert_true(out.born);
    struct identity others[] = {mine, mine, mine, mine, mine};
    others[0].cluster = 9;
    others[1].node = 9;
    others[2].shard = 2;
    others[3].shards = 9;
    others[4].vnodes = 128;
    static const char *const words[] = {"cluster", "node", "of shard 3", "shards: 4", "vnodes: 64"};
    for (int i = 0; i < 5; i++) {
        assert_int_equal(identity_claim(store, &others[i], why, sizeof(why), &out), STATUS_INVALID);
        assert_non_null(strstr(why, words[i]));
    }
    assert_int_equal(store_put(store, STORE_META, bytes_str("identity"), bytes_str("short")), STATUS_OK);
    assert_int_equal(identity_claim(store, &mine, why, sizeof(why), &out), STATUS_CORRUPT);
    store_close(store);
}

/* A change of a table is told to all that can be reached, and is OK when they have it, or are gone; when they
 * are there and do not say so it is TIMEOUT, and made all the same. */
static void change_of_tables(void **state)
{
    (void)state;
    struct one_shard one;
    one_shard_begin(&one, (struct one_shard_options){0});
    Dynode__Client__Operation operation = DYNODE__CLIENT__OPERATION__INIT, *operations[] = {&operation};
    Dynode__Client__DropTable drop = DYNODE__CLIENT__DROP_TABLE__INIT;
    operation.kind_case = DYNODE__CLIENT__OPERATION__KIND_DROP_TABLE;
    operation.drop_table = &drop;
    drop.name = "last";
    one_shard_ask(&one, 1, 1, 1000, operations, 1);
    one_shard_sync(&one);
    assert_int_equal(one.answer_count, 0);
    Dynode__Peer__ClusterStateAck ack = DYNODE__PEER__CLUSTER_STATE_ACK__INIT;
    const uint64_t kind = DYNODE__PEER__MESSAGE__BODY_CLUSTER_STATE_ACK;
    one_shard_receive(&one, NODE_B, one.wall_ms - 1, (Dynode__Peer__Message__BodyCase)kind, &ack);
    one_shard_receive(&one, NODE_B, 3, (Dynode__Peer__Message__BodyCase)kind, &ack); /* of earlier states */
    shard_link_changed(one.shard, NODE_C, false);
    one_shard_turn(&one);
    one_shard_sync(&one);
    assert_int_equal(one.answer_count, 0);
    one_shard_receive(&one, NODE_B, one.wall_ms, (Dynode__Peer__Message__BodyCase)kind, &ack);
    one_shard_sync(&one);
    assert_int_equal(one_shard_result(&one)->status, STATUS_OK);

    one_shard_forget(&one); /* who is there and does not confirm is waited for, but not for ever */
    drop.name = "solo";
    Dynode__Peer__Pong here = DYNODE__PEER__PONG__INIT;
    one_shard_ask(&one, 1, 2, 3000, operations, 1);
    one_shard_sync(&one);
    for (uint32_t i = 0; i < 29; i++) {
        assert_int_equal(one.answer_count, 0);
        assert_in_range(one.state_count, 1 + i / 2, 2 + i / 2); /* and asked again with each ping */
        one_shard_receive(&one, NODE_B, 0, DYNODE__PEER__MESSAGE__BODY_PONG, &here);
        one_shard_pass_ms(&one, 100);
    }
    one_shard_pass_ms(&one, 99);
    one_shard_sync(&one);
    assert_int_equal(one_shard_result(&one)->status, STATUS_TIMEOUT);
    assert_int_equal(one_shard_result(&one)->applied, DYNODE__CLIENT__APPLIED__MAYBE);
    one_shard_forget(&one); /* what it confirms now is nobody's any more */
    one_shard_receive(&one, NODE_B, one.wall_ms, DYNODE__PEER__MESSAGE__BODY_CLUSTER_STATE_ACK, &ack);
    one_shard_sync(&one);
    assert_int_equal(one.answer_count, 0);
    one_shard_ask(&one, 1, 3, 1000, operations, 1);
    one_shard_sync(&one);
    assert_int_equal(one_shard_result(&one)->status, STATUS_NO_SUCH_TABLE);
    one_shard_forget(&one); /* who falls silent is gone: nobody is left to wait for */
    drop.name = "t";
    one_shard_ask(&one, 1, 4, 3000, operations, 1);
    one_shard_sync(&one);
    assert_int_equal(one.answer_count, 0);
    one_shard_pass_ms(&one, PEER_SILENCE_NS / 1000000 + PEER_PING_NS / 1000000);
    one_shard_sync(&one);
    assert_int_equal(one_shard_result(&one)->status, STATUS_OK);
    /* It is in the store: a shard that starts anew knows it. */
    struct cluster loaded;
    cluster_copy(&one.cluster, &loaded);
    assert_non_null(cluster_find_table(&loaded, bytes_str("solo")));
    assert_int_equal(cluster_load(one.store, &loaded), STATUS_OK);
    assert_null(cluster_find_table(&loaded, bytes_str("solo")));
    cluster_fini(&loaded);
    one_shard_end(&one);
}

/* A message from a shard, ours or another node's. */
static void shard_says(struct one_shard *one, struct address from, uint64_t request,
                       Dynode__Peer__Message__BodyCase kind, const void *body)
{
    Dynode__Peer__Message message = DYNODE__PEER__MESSAGE__INIT;
    struct buffer batch = {0};
    message.request = request;
    message.body_case = kind;
    message.ping = (void *)(uintptr_t)body;
    batch_begin(&batch, from.node, from.shard);
    batch_add(&batch, &message);
    shard_deliver(one->shard, from.node, buffer_bytes(&batch), NULL, NULL);
    buffer_fini(&batch);
    one_shard_turn(one);
    one_shard_sync(one);
}

static void shard_of_ours_says(struct one_shard *one, uint32_t shard, uint64_t request)
{
    Dynode__Peer__ClusterStateAck ack = DYNODE__PEER__CLUSTER_STATE_ACK__INIT;
    shard_says(one, (struct address){.node = NODE_A, .shard = shard}, request,
               DYNODE__PEER__MESSAGE__BODY_CLUSTER_STATE_ACK, &ack);
}

static void peer_tells_of_a_table(struct one_shard *one, struct cluster *cluster, uint64_t peer,
                                  const char *name, uint64_t request)
{
    const char *why;
    struct table table = {.id = 5, .n = 3, .r = 2, .w = 2, .alter_stamp = 1};
    snprintf(table.name, sizeof(table.name), "%s", name);
    if (cluster_find_table(cluster, bytes_str(name)) == NULL)
        assert_int_equal(cluster_create_table(cluster, &table, &why), STATUS_OK);
    one_shard_receive(one, peer, request, DYNODE__PEER__MESSAGE__BODY_CLUSTER_STATE,
                      cluster_to_message(cluster, &one->arena));
    one_shard_sync(one);
}

static uint64_t confirmed(const struct one_shard *one, uint64_t peer, uint32_t nth)
{
    const Dynode__Peer__Message *message =
        one_shard_find(one, peer, DYNODE__PEER__MESSAGE__BODY_CLUSTER_STATE_ACK, nth);
    return message != NULL ? message->request : 0;
}

/* A node confirms a peer's state once all its shards go by it: who was told OK may ask any of them. */
static void state_of_a_peer(void **state)
{
    (void)state;
    struct one_shard one;
    one_shard_begin(&one, (struct one_shard_options){.shards = 3});
    struct cluster cluster;
    cluster_copy(&one.cluster, &cluster);
    peer_tells_of_a_table(&one, &cluster, NODE_B, "new", 71);
    peer_tells_of_a_table(&one, &cluster, NODE_C, "new", 72); /* no news, and not done yet all the same */
    const uint64_t first = one.wall_ms;                       /* the first round of a process */
    shard_of_ours_says(&one, 1, first);
    shard_of_ours_says(&one, 1, first);
    one_shard_pass_ms(&one, PEER_PING_NS / 1000000); /* a ping tells those again that have said nothing */
    assert_int_equal(one.state_count, 2 + 1); /* at first its shards, then shard 2; peers by gossip only */
    shard_of_ours_says(&one, 2, first - 1);   /* of an earlier state */
    shard_of_ours_says(&one, 7, first);       /* there is none */
    assert_int_equal(confirmed(&one, NODE_B, 0), 0);
    assert_int_equal(confirmed(&one, NODE_C, 0), 0);
    shard_of_ours_says(&one, 2, first);
    assert_int_equal(confirmed(&one, NODE_B, 0), 71);
    assert_int_equal(confirmed(&one, NODE_C, 0), 72);
    peer_tells_of_a_table(&one, &cluster, NODE_B, "new", 73); /* known and done: at once */
    assert_int_equal(confirmed(&one, NODE_B, 1), 73);
    one_shard_pass_ms(&one, PEER_PING_NS / 1000000);
    assert_int_equal(one.state_count, 3); /* and nobody who has */
    /* One state more before the shards have the last: the newer confirms the older. */
    const uint64_t second = one.wall_ms;
    peer_tells_of_a_table(&one, &cluster, NODE_B, "newer", 74);
    peer_tells_of_a_table(&one, &cluster, NODE_C, "newest", 75);
    for (uint32_t shard = 1; shard <= 2; shard++) shard_of_ours_says(&one, shard, second);
    assert_int_equal(confirmed(&one, NODE_B, 2), 0);
    for (uint32_t shard = 1; shard <= 2; shard++) shard_of_ours_says(&one, shard, second + 1);
    assert_int_equal(confirmed(&one, NODE_B, 2), 74);
    assert_int_equal(confirmed(&one, NODE_C, 1), 75);
    /* Who tells it again meanwhile waits once, and takes nobody's place. */
    one_shard_forget(&one);
    for (uint64_t i = 0; i < 2 * GOSSIP_WAITERS_MAX; i++)
        peer_tells_of_a_table(&one, &cluster, NODE_B, "last-one", 100 + i);
    peer_tells_of_a_table(&one, &cluster, NODE_C, "last-one", 99);
    for (uint32_t shard = 1; shard <= 2; shard++) shard_of_ours_says(&one, shard, second + 2);
    assert_int_equal(confirmed(&one, NODE_B, 0), 100 + 2 * GOSSIP_WAITERS_MAX - 1);
    assert_int_equal(confirmed(&one, NODE_B, 1), 0);
    assert_int_equal(confirmed(&one, NODE_C, 0), 99);
    /* How many are kept waiting is bounded; the others ask again. */
    one_shard_forget(&one);
    peer_tells_of_a_table(&one, &cluster, NODE_C, "the-very-last", 1);
    for (uint32_t i = 0; i < 2 * GOSSIP_WAITERS_MAX; i++)
        shard_says(&one, (struct address){.node = NODE_B, .shard = i}, 1000 + i,
                   DYNODE__PEER__MESSAGE__BODY_CLUSTER_STATE, cluster_to_message(&cluster, &one.arena));
    for (uint32_t shard = 1; shard <= 2; shard++) shard_of_ours_says(&one, shard, second + 3);
    assert_int_equal(confirmed(&one, NODE_B, GOSSIP_WAITERS_MAX - 2), 1000 + GOSSIP_WAITERS_MAX - 2);
    assert_int_equal(confirmed(&one, NODE_B, GOSSIP_WAITERS_MAX - 1), 0);
    cluster_fini(&cluster);
    one_shard_end(&one);
}

/* On a full disk a state is known and not confirmed; it is kept with the first ping that finds room. */
static void state_without_room(void **state)
{
    (void)state;
    struct one_shard one;
    one_shard_begin(&one, (struct one_shard_options){0});
    struct cluster cluster, kept;
    cluster_copy(&one.cluster, &cluster);
    cluster_copy(&one.cluster, &kept);
    store_mem_set_full(one.store, true);
    peer_tells_of_a_table(&one, &cluster, NODE_B, "new", 5);
    peer_tells_of_a_table(&one, &cluster, NODE_B, "new", 6); /* no news */
    assert_int_equal(confirmed(&one, NODE_B, 0), 0);
    assert_non_null(cluster_find_table(shard_turn_context(one.shard)->cluster, bytes_str("new")));
    store_mem_set_full(one.store, false);
    one_shard_pass_ms(&one, PEER_PING_NS / 1000000);
    assert_int_equal(cluster_load(one.store, &kept), STATUS_OK);
    assert_non_null(cluster_find_table(&kept, bytes_str("new")));
    peer_tells_of_a_table(&one, &cluster, NODE_B, "new", 7);
    assert_int_equal(confirmed(&one, NODE_B, 0), 7);
    cluster_fini(&kept);
    cluster_fini(&cluster);
    one_shard_end(&one);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pages),           cmocka_unit_test(time_to_live),
        cmocka_unit_test(identity),        cmocka_unit_test(change_of_tables),
        cmocka_unit_test(state_of_a_peer), cmocka_unit_test(state_without_room)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
