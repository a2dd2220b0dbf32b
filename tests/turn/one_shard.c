#include "one_shard.h"

#include <stdio.h>
#include <stdlib.h>

#include "wire/frame.h"

static const uint64_t ms = 1000000;

static void add_member(struct cluster *cluster, uint64_t id, uint32_t shards)
{
    struct member member = {.id = id, .weight = RING_WEIGHT_DEFAULT, .shards = shards, .incarnation = 1};
    snprintf(member.name, sizeof(member.name), "%c", (char)('A' + id - NODE_A));
    cluster_merge_member(cluster, &member);
}

static void add_table(struct cluster *cluster, const char *name, enum table_rule rule, uint32_t n)
{
    const char *why;
    struct table table = {.id = 1, .rule = rule, .n = n, .r = n / 2 + 1, .w = n / 2 + 1, .alter_stamp = 1};
    snprintf(table.name, sizeof(table.name), "%s", name);
    assert_int_equal(cluster_create_table(cluster, &table, &why), STATUS_OK);
}

static void deliver(struct one_shard *one, uint64_t from, const Dynode__Peer__Message *message)
{
    struct buffer batch = {0};
    batch_begin(&batch, from, 0);
    batch_add(&batch, message);
    shard_deliver(one->shard, from, buffer_bytes(&batch), NULL, NULL);
    buffer_fini(&batch);
}

/* Our link to it is up, and it has answered a heartbeat. */
void one_shard_link(struct one_shard *one, uint64_t node, bool up)
{
    Dynode__Peer__Pong pong = DYNODE__PEER__PONG__INIT;
    Dynode__Peer__Message message = DYNODE__PEER__MESSAGE__INIT;
    message.body_case = DYNODE__PEER__MESSAGE__BODY_PONG;
    message.pong = &pong;
    shard_link_changed(one->shard, node, up);
    if (up) deliver(one, node, &message);
    one_shard_turn(one);
}

void one_shard_begin(struct one_shard *one, struct one_shard_options options)
{
    uint32_t shards = options.shards != 0 ? options.shards : 1;
    *one = (struct one_shard){.now_ns = 1000 * ms, .wall_ms = 1700000000000};
    arena_init(&one->arena, 0);
    one->store = store_mem_open();
    one->cluster = (struct cluster){.id = 99, .vnodes = 16};
    add_member(&one->cluster, NODE_A, shards);
    uint32_t nodes = options.nodes != 0 ? options.nodes : 3;
    for (uint64_t node = NODE_B; node < NODE_A + nodes; node++) add_member(&one->cluster, node, 1);
    add_table(&one->cluster, "t", RULE_SIBLINGS, 3);
    add_table(&one->cluster, "solo", RULE_SIBLINGS, 1);
    add_table(&one->cluster, "last", RULE_LWW, 3);
    one->secret = context_secret_derive(bytes_of(NULL, 0), one->cluster.id);
    struct shard_options shard_options = {
        .self = {.node = NODE_A}, .shards = shards, .store = one->store, .seed = options.seed};
    one->shard = shard_alloc(&shard_options);
    uint32_t operations = options.operations_max, of_connection = options.connection_operations_max;
    struct node_options node_options = {
        .cluster = one->cluster,
        .self = *cluster_find_member(&one->cluster, NODE_A),
        .secret = one->secret,
        .name = "A",
        .software = "dynode",
        .operations_max = operations != 0 ? operations : NODE_OPERATIONS_MAX_DEFAULT,
        .connection_operations_max =
            of_connection != 0 ? of_connection : NODE_CONNECTION_OPERATIONS_MAX_DEFAULT,
        .born = !options.unfilled,
        .hint_bytes_max = options.hint_bytes_max,
        .started_wall_ms = one->wall_ms,
    };
    node_init(one->shard, &node_options);
    for (uint64_t node = NODE_B; node < NODE_A + nodes; node++) one_shard_link(one, node, true);
    one_shard_forget(one);
}

void one_shard_end(struct one_shard *one)
{
    shard_free(one->shard);
    store_close(one->store);
    cluster_fini(&one->cluster);
    arena_fini(&one->arena);
}

void one_shard_forget(struct one_shard *one)
{
    one->sent_count = one->answer_count = one->state_count = 0;
}

static bool is_gossip(const Dynode__Peer__Message *message)
{
    return message->body_case == DYNODE__PEER__MESSAGE__BODY_PING ||
           message->body_case == DYNODE__PEER__MESSAGE__BODY_PONG ||
           message->body_case == DYNODE__PEER__MESSAGE__BODY_GOSSIP ||
           message->body_case == DYNODE__PEER__MESSAGE__BODY_CLUSTER_STATE;
}

static void collect_batch(struct one_shard *one, uint64_t to, uint32_t to_shard, struct bytes batch)
{
    uint64_t node;
    uint32_t shard;
    struct bytes rest, packed;
    assert_int_equal(batch_open(batch, &node, &shard, &rest), STATUS_OK);
    assert_int_equal(node, NODE_A);
    while (batch_next(&rest, &packed) == STATUS_OK) {
        struct sent *sent = &one->sent[one->sent_count];
        *sent = (struct sent){.node = to, .shard = to_shard};
        packed = bytes_copy(&one->arena, packed);
        assert_int_equal(message_unpack(packed, &one->arena, &sent->message), STATUS_OK);
        one->state_count += sent->message->body_case == DYNODE__PEER__MESSAGE__BODY_CLUSTER_STATE;
        if (!one->with_gossip && is_gossip(sent->message)) continue;
        assert_true(++one->sent_count < SENT_MAX);
    }
    assert_int_equal(rest.size, 0);
}

static void collect(struct one_shard *one)
{
    struct outbox *outbox = shard_outbox(one->shard);
    for (uint32_t i = 0; i < outbox->queue_count; i++) {
        struct buffer batch = {0};
        if (outbox->queues[i].batch.size > OUTBOX_QUEUE_BYTES_MAX) continue; /* one_shard_clog */
        if (outbox_take(outbox, i, SIZE_MAX, &batch))
            collect_batch(one, outbox->queues[i].node, outbox->queues[i].shard, buffer_bytes(&batch));
        buffer_fini(&batch);
    }
    for (uint32_t i = 0; i < outbox->answer_count; i++) {
        const struct answer *from = &outbox->answers[i];
        struct answered *to = &one->answers[one->answer_count++];
        assert_true(one->answer_count < SENT_MAX);
        *to =
            (struct answered){.connection = from->connection, .hang_up = from->hang_up, .bytes = from->size};
        if (from->size == 0) continue;
        struct bytes frame =
            bytes_copy(&one->arena, bytes_of(outbox->answer_bytes.data + from->offset, from->size));
        struct bytes payload;
        size_t size;
        assert_int_equal(frame_next(frame, FRAME_CLIENT_BYTES_MAX, &payload, &size), FRAME_WHOLE);
        to->response =
            dynode__client__response__unpack(arena_allocator(&one->arena), payload.size, payload.data);
        assert_non_null(to->response);
    }
    outbox_clear_answers(outbox);
}

void one_shard_turn(struct one_shard *one)
{
    do {
        assert_int_equal(shard_turn(one->shard, one->now_ns, one->wall_ms), STATUS_OK);
        shard_check(one->shard);
        collect(one);
    } while (shard_has_mail(one->shard));
}

void one_shard_sync(struct one_shard *one)
{
    assert_int_equal(store_sync(one->store), STATUS_OK);
    shard_durable(one->shard, shard_committed_turn(one->shard));
    collect(one);
    one_shard_turn(one);
}

void one_shard_clog(struct one_shard *one, uint64_t node, uint32_t shard, bool clogged)
{
    struct buffer *batch = &outbox_queue(shard_outbox(one->shard), node, shard)->batch;
    assert_int_equal(batch->size, clogged ? 0 : OUTBOX_QUEUE_BYTES_MAX + 1);
    buffer_clear(batch);
    if (!clogged) return;
    buffer_reserve(batch, OUTBOX_QUEUE_BYTES_MAX + 1);
    batch->size = OUTBOX_QUEUE_BYTES_MAX + 1;
}

void one_shard_pass_ms(struct one_shard *one, uint64_t pass)
{
    for (uint64_t i = 0; i < pass; i++) {
        one->now_ns += ms;
        one->wall_ms++;
        if (shard_next_timer_ns(one->shard) <= one->now_ns) one_shard_turn(one);
    }
}

void one_shard_receive(struct one_shard *one, uint64_t from, uint64_t request,
                       Dynode__Peer__Message__BodyCase kind, const void *body)
{
    Dynode__Peer__Message message = DYNODE__PEER__MESSAGE__INIT;
    message.request = request;
    message.body_case = kind;
    message.ping = (void *)(uintptr_t)body;
    deliver(one, from, &message);
    one_shard_turn(one);
}

void one_shard_ask(struct one_shard *one, uint64_t connection, uint64_t id, uint32_t deadline_ms,
                   Dynode__Client__Operation *const *operations, size_t count)
{
    Dynode__Client__Request request = DYNODE__CLIENT__REQUEST__INIT;
    request.id = id;
    request.deadline_ms = deadline_ms;
    request.n_operations = count;
    request.operations = (Dynode__Client__Operation **)(uintptr_t)operations;
    size_t size = dynode__client__request__get_packed_size(&request);
    uint8_t *packed = arena_alloc(&one->arena, size);
    dynode__client__request__pack(&request, packed);
    shard_client_frame(one->shard, connection, bytes_of(packed, size));
    one_shard_turn(one);
}

const Dynode__Client__Result *one_shard_write(struct one_shard *one, Dynode__Client__Operation *put)
{
    put->put->w = 1;
    one_shard_forget(one);
    one_shard_ask(one, 1, 1, 1000, &put, 1);
    one_shard_sync(one);
    return one_shard_result(one);
}

Dynode__Client__Operation *one_shard_get(struct one_shard *one, const char *table, const char *key,
                                         uint32_t r)
{
    Dynode__Client__Operation *operation = ARENA_NEW(&one->arena, Dynode__Client__Operation);
    Dynode__Client__Get *get = ARENA_NEW(&one->arena, Dynode__Client__Get);
    dynode__client__operation__init(operation);
    dynode__client__get__init(get);
    operation->kind_case = DYNODE__CLIENT__OPERATION__KIND_GET;
    operation->get = get;
    get->table = (char *)(uintptr_t)table;
    get->key = to_pb(bytes_str(key));
    get->r = r;
    return operation;
}

Dynode__Client__Operation *one_shard_put(struct one_shard *one, const char *table, const char *key,
                                         struct bytes value, struct bytes context)
{
    Dynode__Client__Operation *operation = ARENA_NEW(&one->arena, Dynode__Client__Operation);
    Dynode__Client__Put *put = ARENA_NEW(&one->arena, Dynode__Client__Put);
    dynode__client__operation__init(operation);
    dynode__client__put__init(put);
    operation->kind_case = DYNODE__CLIENT__OPERATION__KIND_PUT;
    operation->put = put;
    put->table = (char *)(uintptr_t)table;
    put->key = to_pb(bytes_str(key));
    put->value = to_pb(value);
    put->context = to_pb(context);
    return operation;
}

Dynode__Client__Operation *one_shard_delete(struct one_shard *one, const char *table, const char *key)
{
    Dynode__Client__Operation *operation = ARENA_NEW(&one->arena, Dynode__Client__Operation);
    Dynode__Client__Delete *delete = ARENA_NEW(&one->arena, Dynode__Client__Delete);
    dynode__client__operation__init(operation);
    dynode__client__delete__init(delete);
    operation->kind_case = DYNODE__CLIENT__OPERATION__KIND_DELETE;
    operation->delete_ = delete;
    delete->table = (char *)(uintptr_t)table;
    delete->key = to_pb(bytes_str(key));
    return operation;
}

static struct store_place place_of(const struct one_shard *one, const char *name, const char *key)
{
    const struct table *table = cluster_find_table(&one->cluster, bytes_str(name));
    assert_non_null(table);
    uint64_t hash = hash64(bytes_str(key), table->tag);
    return (struct store_place){.vnode = ring_vnode(shard_turn_context(one->shard)->ring, hash),
                                .hash = hash,
                                .tag = table->tag,
                                .key = bytes_str(key)};
}

Dynode__Peer__Place *one_shard_place(struct one_shard *one, const char *table, const char *key)
{
    struct store_place from = place_of(one, table, key);
    Dynode__Peer__Place *place = ARENA_NEW(&one->arena, Dynode__Peer__Place);
    dynode__peer__place__init(place);
    place->vnode = from.vnode;
    place->hash = from.hash;
    place->tag = from.tag;
    place->key = to_pb(from.key);
    return place;
}

Dynode__Peer__Merge *one_shard_merge(struct one_shard *one, const char *table, const char *key,
                                     struct bytes object)
{
    Dynode__Peer__Merge *merge = ARENA_NEW(&one->arena, Dynode__Peer__Merge);
    dynode__peer__merge__init(merge);
    merge->place = one_shard_place(one, table, key);
    merge->object = to_pb(object);
    merge->n = cluster_find_table(&one->cluster, bytes_str(table))->n;
    return merge;
}

const uint64_t *one_shard_far_key(struct one_shard *one, const char *table, char key[ONE_SHARD_KEY_BYTES])
{
    for (uint32_t number = 0;; number++) {
        snprintf(key, ONE_SHARD_KEY_BYTES, "key%u", number);
        const uint64_t *list = ring_preference_list(shard_turn_context(one->shard)->ring,
                                                    one_shard_place(one, table, key)->vnode);
        if (list[2] == NODE_A) return list;
    }
}

struct bytes one_shard_object(struct one_shard *one, uint64_t clock, uint64_t counter, struct bytes value)
{
    struct dot dot = {.clock = clock, .counter = counter};
    struct sibling sibling = {.dot = dot, .stamp = one->wall_ms << 16, .value = value};
    struct object object = {.context = {.entries = &dot, .count = 1}, .siblings = &sibling, .count = 1};
    return object_encode(&object, &one->arena);
}

enum status one_shard_stored(struct one_shard *one, const char *table, const char *key, struct object *out)
{
    struct store_place place = place_of(one, table, key);
    struct bytes store_key = store_key_encode(&place, &one->arena), stored, encoded;
    enum status status = store_get(one->store, STORE_OBJECTS, store_key, &one->arena, &stored);
    if (status == STATUS_OK) status = object_unseal(store_key, stored, &encoded);
    if (status == STATUS_OK) status = object_decode(encoded, &one->arena, out);
    return status;
}

void one_shard_damage(struct one_shard *one, const char *table, const char *key)
{
    struct store_place place = place_of(one, table, key);
    struct bytes store_key = store_key_encode(&place, &one->arena);
    assert_int_equal(store_put(one->store, STORE_OBJECTS, store_key, bytes_str("twelve bytes of nothing")),
                     STATUS_OK);
    assert_int_equal(store_commit(one->store), STATUS_OK);
}

const Dynode__Peer__Message *one_shard_find(const struct one_shard *one, uint64_t node,
                                            Dynode__Peer__Message__BodyCase kind, uint32_t nth)
{
    for (uint32_t i = 0; i < one->sent_count; i++)
        if (one->sent[i].node == node && one->sent[i].message->body_case == kind && nth-- == 0)
            return one->sent[i].message;
    return NULL;
}

const Dynode__Client__Result *one_shard_result(const struct one_shard *one)
{
    assert_int_equal(one->answer_count, 1);
    assert_non_null(one->answers[0].response);
    assert_int_equal(one->answers[0].response->n_results, 1);
    return one->answers[0].response->results[0];
}
