#include "few_nodes.h"

#include <stdio.h>

#include "actors/copies.h"
#include "base/check.h"
#include "base/hash.h"
#include "wire/batch.h"
#include "wire/object_wire.h"

static const uint64_t ms = 1000000;

void few_begin(struct few *few, const struct few_options *options)
{
    *few = (struct few){.options = *options, .now_ns = 1000 * ms, .wall_ms = 1700000000000};
    prng_init(&few->prng, options->seed);
    arena_init(&few->arena, 0);
    few->cluster = (struct cluster){.id = 99, .vnodes = options->vnodes};
    for (uint32_t i = 0; i < options->nodes; i++) {
        struct few_node *node = &few->nodes[i];
        node->id = 0xa + i;
        struct member member = {
            .id = node->id, .weight = RING_WEIGHT_DEFAULT, .shards = options->shards[i], .incarnation = 1};
        snprintf(member.name, sizeof(member.name), "%c", (char)('A' + i));
        cluster_merge_member(&few->cluster, &member);
        for (uint32_t s = 0; s < options->shards[i]; s++) node->stores[s] = store_mem_open();
    }
    const char *why;
    struct table table = {.id = 1,
                          .name = "t",
                          .rule = options->rule,
                          .n = options->n,
                          .r = options->n / 2 + 1,
                          .w = options->n / 2 + 1,
                          .alter_stamp = 1};
    CHECK(cluster_create_table(&few->cluster, &table, &why) == STATUS_OK);
    few->table = cluster_find_table(&few->cluster, bytes_str("t"));
}

void few_end(struct few *few)
{
    for (uint32_t i = 0; i < few->options.nodes; i++) {
        few_stop(few, i);
        for (uint32_t s = 0; s < few->options.shards[i]; s++) store_close(few->nodes[i].stores[s]);
    }
    cluster_fini(&few->cluster);
    arena_fini(&few->arena);
}

static void deliver(struct few *few, uint32_t to, uint32_t shard, uint64_t from, uint32_t from_shard,
                    const Dynode__Peer__Message *message)
{
    struct buffer batch = {0};
    batch_begin(&batch, from, from_shard);
    batch_add(&batch, message);
    shard_deliver(few->nodes[to].shards[shard], from, buffer_bytes(&batch), NULL, NULL);
    buffer_fini(&batch);
}

void few_deliver(struct few *few, uint32_t to, uint32_t shard, uint64_t from,
                 const Dynode__Peer__Message *message)
{
    deliver(few, to, shard, from, from == few->nodes[to].id ? shard : 0, message);
}

void few_merge(struct few *few, uint32_t node, uint64_t from, const struct store_place *place, uint32_t n,
               struct bytes encoded)
{
    Dynode__Peer__Place at = DYNODE__PEER__PLACE__INIT;
    Dynode__Peer__Merge merge = DYNODE__PEER__MERGE__INIT;
    Dynode__Peer__Message message = DYNODE__PEER__MESSAGE__INIT;
    at.vnode = place->vnode;
    at.hash = place->hash;
    at.tag = place->tag;
    at.key = (ProtobufCBinaryData){.data = (uint8_t *)(uintptr_t)place->key.data, .len = place->key.size};
    merge.place = &at;
    merge.n = n;
    merge.object = (ProtobufCBinaryData){.data = (uint8_t *)(uintptr_t)encoded.data, .len = encoded.size};
    message.body_case = DYNODE__PEER__MESSAGE__BODY_MERGE;
    message.merge = &merge;
    message.to_shard = place->vnode;
    few_deliver(few, node, place->vnode % few->options.shards[node], from, &message);
}

/* Both ends of the link between two nodes come up or go down. */
static void link(struct few *few, uint32_t a, uint32_t b, bool up)
{
    const uint32_t ends[2] = {a, b};
    for (uint32_t i = 0; i < 2; i++) {
        const struct few_node *node = &few->nodes[ends[i]];
        uint64_t peer = few->nodes[ends[1 - i]].id;
        for (uint32_t s = 0; node->up && s < few->options.shards[ends[i]]; s++) {
            shard_link_changed(node->shards[s], peer, up);
            if (!up) continue;
            Dynode__Peer__Ping ping = DYNODE__PEER__PING__INIT;
            Dynode__Peer__Message message = DYNODE__PEER__MESSAGE__INIT;
            message.body_case = DYNODE__PEER__MESSAGE__BODY_PING;
            message.ping = &ping;
            message.to_shard = s;
            deliver(few, ends[i], s, peer, 0, &message);
        }
    }
}

void few_start(struct few *few, uint32_t number)
{
    struct few_node *node = &few->nodes[number];
    CHECK(!node->up);
    node->up = true;
    for (uint32_t s = 0; s < few->options.shards[number]; s++) {
        struct shard_options shard_options = {.self = {.node = node->id, .shard = s},
                                              .shards = few->options.shards[number],
                                              .store = node->stores[s],
                                              .seed = few->options.seed * 1000 + ++few->lives};
        node->shards[s] = shard_alloc(&shard_options);
        struct node_options node_options = {
            .cluster = few->cluster,
            .self = *cluster_find_member(&few->cluster, node->id),
            .secret = context_secret_derive(bytes_of(NULL, 0), few->cluster.id),
            .name = "few",
            .software = "dynode",
            .operations_max = NODE_OPERATIONS_MAX_DEFAULT,
            .connection_operations_max = NODE_CONNECTION_OPERATIONS_MAX_DEFAULT,
            .born = !node->lost,
            .repair_pass_ns = node->silent ? 0 : few->options.pass_ns,
            .audit_pass_ns = few->options.audit_ns,
            .reap_after_ns = few->options.reap_after_ns,
            .started_wall_ms = few->wall_ms,
        };
        node_init(node->shards[s], &node_options);
    }
    for (uint32_t i = 0; i < few->options.nodes; i++)
        if (i != number && few->nodes[i].up) link(few, number, i, true);
}

void few_stop(struct few *few, uint32_t number)
{
    struct few_node *node = &few->nodes[number];
    if (!node->up) return;
    node->up = false;
    for (uint32_t s = 0; s < few->options.shards[number]; s++) shard_free(node->shards[s]);
    for (uint32_t i = 0; i < few->options.nodes; i++)
        if (i != number && few->nodes[i].up) link(few, number, i, false);
}

void few_lose(struct few *few, uint32_t number)
{
    struct few_node *node = &few->nodes[number];
    CHECK(!node->up);
    node->lost = true;
    for (uint32_t s = 0; s < few->options.shards[number]; s++) {
        store_close(node->stores[s]);
        node->stores[s] = store_mem_open();
    }
}

void few_copies(struct few *few, uint32_t number, uint32_t *filled, uint32_t *unfilled)
{
    const struct few_node *node = &few->nodes[number];
    *filled = *unfilled = 0;
    for (uint32_t vnode = 0; vnode < few->options.vnodes; vnode++) {
        const struct shard *shard = node->shards[vnode % few->options.shards[number]];
        const struct ring *ring = shard_turn_context(node->shards[0])->ring;
        if (!ring_is_home(ring, vnode, few->options.n, node->id)) continue;
        if (copies_is_filled(node_copies(shard), vnode, few->options.n))
            ++*filled;
        else
            ++*unfilled;
    }
}

static uint32_t node_of(const struct few *few, uint64_t id)
{
    uint32_t number = 0;
    while (few->nodes[number].id != id) number++;
    return number;
}

static void pass_message(struct few *few, uint32_t from, uint32_t from_shard, uint32_t to,
                         struct bytes packed)
{
    Dynode__Peer__Message *message;
    CHECK(message_unpack(packed, &few->arena, &message) == STATUS_OK);
    few->messages[message->body_case]++;
    few->bytes[message->body_case] += packed.size;
    if (!few->nodes[to].up) return;
    enum few_fate fate = few->hook != NULL ? few->hook(few->context, from, to, message) : FEW_PASS;
    uint32_t shard = from_shard % few->options.shards[to];
    for (int times = fate == FEW_DROP ? 0 : fate == FEW_PASS ? 1 : 2; times > 0; times--)
        deliver(few, to, shard, few->nodes[from].id, from_shard, message);
}

static void ship(struct few *few, uint32_t node, uint32_t shard)
{
    struct outbox *outbox = shard_outbox(few->nodes[node].shards[shard]);
    for (uint32_t i = 0; i < outbox->queue_count; i++) {
        struct buffer batch = {0};
        const struct outbox_queue queue = outbox->queues[i];
        if (!outbox_take(outbox, i, SIZE_MAX, &batch)) continue;
        if (queue.node == few->nodes[node].id) {
            shard_deliver(few->nodes[node].shards[queue.shard], 0, buffer_bytes(&batch), NULL, NULL);
        } else {
            uint64_t sender;
            uint32_t from_shard, to = node_of(few, queue.node);
            struct bytes rest, packed;
            CHECK(batch_open(buffer_bytes(&batch), &sender, &from_shard, &rest) == STATUS_OK);
            while (batch_next(&rest, &packed) == STATUS_OK) pass_message(few, node, shard, to, packed);
        }
        buffer_fini(&batch);
    }
    outbox_clear_answers(outbox);
    arena_reset(&few->arena);
}

/* One turn, if there is something to do. */
static bool turn(struct few *few, uint32_t node, uint32_t number)
{
    struct shard *shard = few->nodes[node].shards[number];
    if (!shard_has_mail(shard) && shard_next_timer_ns(shard) > few->now_ns) return false;
    CHECK(shard_turn(shard, few->now_ns, few->wall_ms) == STATUS_OK);
    shard_check(shard);
    CHECK(store_sync(few->nodes[node].stores[number]) == STATUS_OK);
    shard_durable(shard, shard_committed_turn(shard));
    ship(few, node, number);
    return true;
}

static bool turn_all(struct few *few, uint64_t *next_ns)
{
    bool any = false;
    *next_ns = UINT64_MAX;
    for (uint32_t i = 0; i < few->options.nodes; i++)
        for (uint32_t s = 0; few->nodes[i].up && s < few->options.shards[i]; s++) {
            any |= turn(few, i, s);
            uint64_t timer_ns = shard_next_timer_ns(few->nodes[i].shards[s]);
            if (timer_ns < *next_ns) *next_ns = timer_ns;
        }
    return any;
}

void few_pass_ms(struct few *few, uint64_t pass_ms)
{
    uint64_t end_ns = few->now_ns + pass_ms * ms, next_ns;
    for (;;) {
        if (turn_all(few, &next_ns)) {
            few->now_ns += 10000; /* a turn takes its time */
        } else if (next_ns < end_ns) {
            few->now_ns = next_ns > few->now_ns ? next_ns : few->now_ns;
        } else {
            break;
        }
        few->wall_ms = 1700000000000 + few->now_ns / ms;
        if (few->now_ns > end_ns + 10000 * ms) break; /* it never comes to rest */
    }
    if (few->now_ns < end_ns) few->now_ns = end_ns;
}

struct bytes few_store_key(struct few *few, struct bytes key, struct store_place *place)
{
    uint32_t shift = 64 - (uint32_t)__builtin_ctz(few->cluster.vnodes);
    *place = (struct store_place){.hash = hash64(key, few->table->tag), .tag = few->table->tag, .key = key};
    place->vnode = shift == 64 ? 0 : (uint32_t)(place->hash >> shift);
    return store_key_encode(place, &few->arena);
}

struct store *few_store(struct few *few, uint32_t node, const struct store_place *place)
{
    return few->nodes[node].stores[place->vnode % few->options.shards[node]];
}

void few_plant(struct few *few, uint32_t node, struct bytes key, struct dot dot, struct bytes value)
{
    struct store_place place;
    struct bytes store_key = few_store_key(few, key, &place);
    struct sibling sibling = {
        .dot = dot, .stamp = few->wall_ms << 16, .tombstone = value.data == NULL, .value = value};
    struct object object = {.context = {.entries = &dot, .count = 1}, .siblings = &sibling, .count = 1};
    struct bytes sealed = object_seal(store_key, object_encode(&object, &few->arena), &few->arena);
    struct store *store = few_store(few, node, &place);
    CHECK(store_put(store, STORE_OBJECTS, store_key, sealed) == STATUS_OK);
    CHECK(store_commit(store) == STATUS_OK);
    CHECK(store_sync(store) == STATUS_OK);
    arena_reset(&few->arena);
}

uint64_t few_repair_bytes(const struct few *few)
{
    uint64_t bytes = 0;
    for (uint32_t kind = DYNODE__PEER__MESSAGE__BODY_TREE_ROOTS;
         kind <= DYNODE__PEER__MESSAGE__BODY_OBJECTS_PUSHED; kind++)
        bytes += few->bytes[kind];
    return bytes;
}

struct summing {
    uint64_t sum, count;
};

static bool sum_up(void *context, struct bytes key, struct bytes value)
{
    struct summing *summing = context;
    summing->sum += hash64(value, hash64(key, 1)); /* in any order: shards differ */
    summing->count++;
    return true;
}

bool few_is_equal(struct few *few, uint64_t *keys)
{
    bool equal = true;
    struct summing first = {0};
    for (uint32_t i = 0; i < few->options.nodes; i++) {
        struct summing own = {0};
        for (uint32_t s = 0; s < few->options.shards[i]; s++)
            CHECK(store_scan(few->nodes[i].stores[s], STORE_OBJECTS, bytes_of(NULL, 0), bytes_of(NULL, 0),
                             sum_up, &own) == STATUS_OK);
        if (i == 0) first = own;
        equal = equal && own.sum == first.sum && own.count == first.count;
    }
    *keys = first.count;
    return equal;
}
