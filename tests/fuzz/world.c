#include "world.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "wire/batch.h"
#include "wire/client_wire.h"
#include "wire/frame.h"
#include "wire/unpack.h"

enum { ROUNDS_MAX = 20000 };

uint64_t world_node_id(uint32_t node)
{
    return 0x11 * (uint64_t)(node + 1);
}

struct context_secret world_secret(void)
{
    return context_secret_derive(bytes_of(NULL, 0), WORLD_CLUSTER_ID);
}

static struct member member_of(uint32_t node)
{
    struct member member = {.id = world_node_id(node), .incarnation = 1, .weight = 100, .shards = 1};
    snprintf(member.name, sizeof(member.name), "n%u", node);
    return member;
}

static void add_table(struct cluster *cluster, const char *name, enum table_rule rule, uint32_t n,
                      uint64_t id)
{
    struct table table = {.id = id, .rule = rule, .n = n, .r = n / 2 + 1, .w = n / 2 + 1, .alter_stamp = 1};
    table.alter_node = world_node_id(0);
    snprintf(table.name, sizeof(table.name), "%s", name);
    const char *why;
    CHECK(cluster_create_table(cluster, &table, &why) == STATUS_OK);
}

static void start_node(struct world *world, uint32_t node, const struct cluster *cluster)
{
    struct store *store = store_mem_open();
    world->stores[node] = store;
    struct identity identity = {.cluster = WORLD_CLUSTER_ID,
                                .node = world_node_id(node),
                                .shards = 1,
                                .vnodes = WORLD_VNODES,
                                .born = true},
                    claimed;
    char why[256];
    CHECK(identity_claim(store, &identity, why, sizeof(why), &claimed) == STATUS_OK);
    world->shards[node] = shard_alloc(&(struct shard_options){
        .self = {.node = world_node_id(node)}, .shards = 1, .store = store, .seed = node + 1});
    node_init(world->shards[node],
              &(struct node_options){.cluster = *cluster,
                                     .self = member_of(node),
                                     .secret = world_secret(),
                                     .name = "fuzz",
                                     .software = "dynode",
                                     .operations_max = WORLD_OPERATIONS_MAX,
                                     .connection_operations_max = WORLD_OPERATIONS_MAX / 2,
                                     .born = true});
}

/* A shard's link to @node is up, and @node has answered a heartbeat. */
static void peer_comes(struct shard *shard, uint64_t node)
{
    Dynode__Peer__Pong pong = DYNODE__PEER__PONG__INIT;
    Dynode__Peer__Message message = DYNODE__PEER__MESSAGE__INIT;
    message.body_case = DYNODE__PEER__MESSAGE__BODY_PONG;
    message.pong = &pong;
    struct buffer batch = {0};
    batch_begin(&batch, node, 0);
    batch_add(&batch, &message);
    shard_link_changed(shard, node, true);
    shard_deliver(shard, node, buffer_bytes(&batch), NULL, NULL);
    buffer_fini(&batch);
}

void world_init(struct world *world, uint32_t members, uint32_t real, bool trusting)
{
    CHECK(members <= WORLD_NODES && real <= members);
    *world = (struct world){.members = members,
                            .real = real,
                            .trusting = trusting,
                            .now_ns = 1000000000,
                            .wall_ms = 1700000000000};
    struct cluster cluster = {.id = WORLD_CLUSTER_ID, .vnodes = WORLD_VNODES};
    for (uint32_t i = 0; i < members; i++) {
        struct member member = member_of(i);
        cluster_merge_member(&cluster, &member);
    }
    add_table(&cluster, "s", RULE_SIBLINGS, members, 1);
    add_table(&cluster, "l", RULE_LWW, members, 2);
    for (uint32_t i = 0; i < real; i++) start_node(world, i, &cluster);
    cluster_fini(&cluster);
    for (uint32_t i = 0; i < real; i++)
        for (uint32_t j = 0; j < members; j++)
            if (i != j) peer_comes(world->shards[i], world_node_id(j));
    world_run(world, 0);
}

/* --- clients --- */

static struct asked *asked_find(struct world *world, uint32_t node, uint64_t connection, uint64_t id)
{
    for (uint32_t i = 0; i < world->asked_count; i++) {
        struct asked *asked = &world->asked[i];
        if (asked->node == node && asked->connection == connection && asked->id == id) return asked;
    }
    return NULL;
}

static void forget_connection(struct world *world, uint32_t node, uint64_t connection)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < world->asked_count; i++)
        if (world->asked[i].node != node || world->asked[i].connection != connection)
            world->asked[kept++] = world->asked[i];
    world->asked_count = kept;
    for (uint32_t i = 0; i < WORLD_CONNECTIONS; i++)
        if (world->connections[node][i] == connection) world->connections[node][i] = 0;
}

static void give_context(const struct world *world, ProtobufCBinaryData *context)
{
    if (context->len == 1 && context->data[0] == '@')
        *context = (ProtobufCBinaryData){.data = world->context.data, .len = world->context.size};
}

/* Puts the last context where the request asks for it. Packs @request again into @out if it does decode. */
static void put_in_contexts(const struct world *world, Dynode__Client__Request *request, struct buffer *out)
{
    for (size_t i = 0; i < request->n_operations; i++) {
        Dynode__Client__Operation *operation = request->operations[i];
        if (operation->kind_case == DYNODE__CLIENT__OPERATION__KIND_PUT)
            give_context(world, &operation->put->context);
        if (operation->kind_case == DYNODE__CLIENT__OPERATION__KIND_DELETE)
            give_context(world, &operation->delete_->context);
    }
    size_t size = dynode__client__request__get_packed_size(request);
    dynode__client__request__pack(request, buffer_reserve(out, size + 1));
    out->size += size;
}

void world_client_frame(struct world *world, uint32_t node, uint32_t number, struct bytes payload)
{
    if (payload.size == 0 || world->asked_count == WORLD_ASKED_MAX) return;
    uint64_t *connection = &world->connections[node][number];
    if (*connection == 0) *connection = ++world->next_connection;
    struct arena arena;
    arena_init(&arena, 0);
    struct buffer filled = {0};
    Dynode__Client__Request *request;
    const char *why;
    if (request_unpack(payload, &arena, &request, &why) == STATUS_OK) {
        put_in_contexts(world, request, &filled);
        payload = buffer_bytes(&filled);
        struct asked *asked = asked_find(world, node, *connection, request->id);
        if (asked == NULL) {
            asked = &world->asked[world->asked_count++];
            *asked = (struct asked){.node = node, .connection = *connection, .id = request->id};
        }
        asked->requests++;
        asked->operations += (uint32_t)request->n_operations;
    }
    shard_client_frame(world->shards[node], *connection, payload);
    buffer_fini(&filled);
    arena_fini(&arena);
}

void world_client_closed(struct world *world, uint32_t node, uint32_t number)
{
    uint64_t connection = world->connections[node][number];
    if (connection == 0) return;
    shard_client_closed(world->shards[node], connection);
    forget_connection(world, node, connection);
}

static void check_result(struct world *world, struct asked *asked, const Dynode__Client__Result *result)
{
    if (result->context.len > 0) {
        buffer_clear(&world->context);
        buffer_append(&world->context, result->context.data, result->context.len);
    }
    world->results++;
    world->last_status = result->status;
    if (world->trusting) return;
    CHECK(result->status <= DYNODE__CLIENT__STATUS__STOPPING ||
          result->status == DYNODE__CLIENT__STATUS__INTERNAL);
    CHECK((result->status == DYNODE__CLIENT__STATUS__OK) == (result->message[0] == '\0'));
    CHECK(result->operation < asked->operations);
    if (result->more) return;
    asked->results++;
    if (asked->requests > 1) return;
    uint32_t byte = result->operation / 8;
    uint8_t bit = (uint8_t)(1U << result->operation % 8);
    CHECK((asked->answered[byte] & bit) == 0);
    asked->answered[byte] = (uint8_t)(asked->answered[byte] | bit);
}

static void check_response(struct world *world, uint32_t node, uint64_t connection, struct bytes payload)
{
    struct arena arena;
    arena_init(&arena, 0);
    ProtobufCMessage *message;
    CHECK(unpack(&dynode__client__response__descriptor, payload, &arena, &message) == STATUS_OK);
    const Dynode__Client__Response *response = (Dynode__Client__Response *)message;
    struct asked *asked = asked_find(world, node, connection, response->id);
    CHECK(asked != NULL);
    for (size_t i = 0; i < response->n_results; i++) check_result(world, asked, response->results[i]);
    asked->lasts += response->last ? 1 : 0;
    if (asked->lasts == asked->requests) {
        CHECK(world->trusting || asked->results == asked->operations);
        *asked = world->asked[--world->asked_count];
    }
    arena_fini(&arena);
}

static void take_answers(struct world *world, uint32_t node)
{
    struct outbox *outbox = shard_outbox(world->shards[node]);
    for (uint32_t i = 0; i < outbox->answer_count; i++) {
        const struct answer *answer = &outbox->answers[i];
        struct bytes payload;
        bool open = false;
        for (uint32_t c = 0; c < WORLD_CONNECTIONS; c++)
            open |= world->connections[node][c] == answer->connection;
        if (open && answer->hang_up == NULL) {
            size_t bytes;
            struct bytes rest = bytes_of(outbox->answer_bytes.data + answer->offset, answer->size);
            CHECK(frame_next(rest, FRAME_CLIENT_BYTES_MAX, &payload, &bytes) == FRAME_WHOLE);
            CHECK(bytes == rest.size);
            check_response(world, node, answer->connection, payload);
        } else if (open) {
            shard_client_closed(world->shards[node], answer->connection);
            forget_connection(world, node, answer->connection);
        }
    }
    outbox_clear_answers(outbox);
}

/* --- peers --- */

void world_batch(struct world *world, uint32_t from, struct bytes batch)
{
    shard_deliver(world->shards[0], world_node_id(from), batch, NULL, NULL);
}

void world_link(struct world *world, uint32_t node, uint32_t other, bool up)
{
    if (node < world->real && node != other)
        shard_link_changed(world->shards[node], world_node_id(other), up);
}

static void note_sent(struct world *world, uint64_t request)
{
    if (request == 0 || world_sent(world, 0) == request) return;
    world->sent[world->sent_count++ % WORLD_SENT_MAX] = request;
}

uint64_t world_sent(const struct world *world, uint32_t back)
{
    if (back >= world->sent_count || back >= WORLD_SENT_MAX) return 0;
    return world->sent[(world->sent_count - 1 - back) % WORLD_SENT_MAX];
}

/* What a shard sends is well-formed whoever gets it. */
static void check_batch(struct world *world, struct bytes batch, uint64_t from)
{
    uint64_t node;
    uint32_t shard;
    struct bytes rest, message;
    struct arena arena;
    arena_init(&arena, 0);
    CHECK(batch_open(batch, &node, &shard, &rest) == STATUS_OK);
    CHECK(node == from);
    enum status status;
    while ((status = batch_next(&rest, &message)) == STATUS_OK) {
        Dynode__Peer__Message *unpacked;
        CHECK(message.size <= FRAME_PEER_BYTES_MAX);
        CHECK(message_unpack(message, &arena, &unpacked) == STATUS_OK);
        note_sent(world, unpacked->request);
        arena_reset(&arena);
    }
    CHECK(status == STATUS_NOT_FOUND);
    arena_fini(&arena);
}

static void take_batches(struct world *world, uint32_t node)
{
    struct outbox *outbox = shard_outbox(world->shards[node]);
    for (uint32_t i = 0; i < outbox->queue_count; i++) {
        struct buffer batch = {0};
        while (outbox_take(outbox, i, FRAME_PEER_BYTES_MAX / 4, &batch)) {
            check_batch(world, buffer_bytes(&batch), world_node_id(node));
            for (uint32_t to = 0; to < world->real; to++)
                if (world_node_id(to) == outbox->queues[i].node)
                    shard_deliver(world->shards[to], world_node_id(node), buffer_bytes(&batch), NULL, NULL);
            buffer_fini(&batch);
            batch = (struct buffer){0};
        }
    }
}

/* One turn of one node, and what it leaves. */
static void turn_node(struct world *world, uint32_t node)
{
    struct shard *shard = world->shards[node];
    CHECK(shard_turn(shard, world->now_ns, world->wall_ms) == STATUS_OK);
    shard_check(shard);
    take_answers(world, node);
    if (!world->hold) {
        CHECK(store_sync(world->stores[node]) == STATUS_OK);
        shard_durable(shard, shard_committed_turn(shard));
    }
    take_batches(world, node);
}

static bool is_busy(const struct world *world)
{
    for (uint32_t i = 0; i < world->real; i++)
        if (shard_has_mail(world->shards[i]) || shard_next_timer_ns(world->shards[i]) <= world->now_ns)
            return true;
    return false;
}

void world_run(struct world *world, uint64_t ms)
{
    world->now_ns += ms * 1000000;
    world->wall_ms += ms;
    uint32_t rounds = 0;
    do {
        for (uint32_t i = 0; i < world->real; i++) turn_node(world, i);
        CHECK(++rounds < ROUNDS_MAX);
    } while (is_busy(world));
}

void world_fini(struct world *world)
{
    world->hold = false;
    world_run(world, 0);
    for (int i = 0; i < 8; i++) world_run(world, DEADLINE_MS_MAX / 4);
    CHECK(world->asked_count == 0);
    for (uint32_t i = 0; i < world->real; i++) {
        CHECK(node_in_flight(world->shards[i]) == 0);
        CHECK(world->trusting || shard_counters(world->shards[i])->coordinating == 0);
        CHECK(shard_counters(world->shards[i])->in_flight == 0);
        shard_free(world->shards[i]);
        store_close(world->stores[i]);
    }
    buffer_fini(&world->context);
}
