/* The nodes of a world: their starts and ends, their turns and their disks, and what clients send them. */
#include "world/world.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/hash.h"
#include "wire/frame.h"
#include "world/world_state.h"

static const uint64_t wall_start_ms = 1700000000000;
static const uint64_t us = 1000, ms = 1000000;

struct world_options world_options_default(uint64_t seed)
{
    return (struct world_options){
        .seed = seed,
        .nodes = 5,
        .shards = 2,
        .vnodes = 64,
        .network = {100 * us, 900 * us},
        .local = {5 * us, 50 * us},
        .sync = {200 * us, 2 * ms},
        .turn = {5 * us, 100 * us},
        .redial = {50 * ms, 300 * ms},
    };
}

uint64_t world_draw(struct world *world, struct span span)
{
    if (span.max_ns <= span.min_ns) return span.min_ns;
    return span.min_ns + prng_below(&world->prng, span.max_ns - span.min_ns + 1);
}

void world_mix(struct world *world, uint64_t a, struct bytes bytes)
{
    uint64_t words[] = {world->hash, world->now_ns, a, hash64(bytes, 0)};
    world->hash = hash64(bytes_of(words, sizeof(words)), 0);
}

void world_note(struct world *world, const char *format, ...)
{
    char line[512];
    int size = snprintf(line, sizeof(line), "%9.2f  ", (double)world->now_ns / (double)ms);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(line + size, sizeof(line) - (size_t)size, format, arguments);
    va_end(arguments);
    if (world->watch.line != NULL) world->watch.line(world->watch.context, line);
}

/* --- starts and ends of nodes --- */

static struct member member_of(struct world *world, uint32_t node)
{
    struct member member = {.id = world->nodes[node].id, .weight = RING_WEIGHT_DEFAULT};
    snprintf(member.name, sizeof(member.name), "n%u", node + 1);
    return member;
}

static void start_shard(struct world *world, uint32_t number, uint32_t shard, const struct cluster *cluster)
{
    struct sim_node *node = &world->nodes[number];
    struct sim_shard *sim = &node->shards[shard];
    struct shard_options options = {.self = {.node = node->id, .shard = shard},
                                    .shards = node->shard_count,
                                    .store = sim->store,
                                    .seed = prng_next(&world->prng)};
    sim->shard = shard_alloc(&options);
    uint32_t operations_max = world->options.operations_max;
    struct node_options node_options = {
        .cluster = *cluster,
        .self = member_of(world, number),
        .secret = context_secret_derive(bytes_of(NULL, 0), cluster->id),
        .name = "simulated",
        .software = "dynode",
        .operations_max = operations_max != 0 ? operations_max : NODE_OPERATIONS_MAX_DEFAULT,
        .connection_operations_max = NODE_CONNECTION_OPERATIONS_MAX_DEFAULT,
        .filled = true,
        .started_wall_ms = world_wall_ms(world, number),
    };
    node_options.self.incarnation = world_wall_ms(world, number);
    node_options.self.shards = node->shard_count;
    node_init(sim->shard, &node_options);
    sim->turn_ns = UINT64_MAX;
    sim->busy_ns = 0;
    sim->syncing = false;
    sim->synced_turn = 0;
}

static void start_node(struct world *world, uint32_t number)
{
    struct sim_node *node = &world->nodes[number];
    CHECK(!node->up);
    node->up = true;
    node->life++;
    char why[128];
    struct cluster cluster;
    cluster_copy(&world->cluster, &cluster);
    for (uint32_t shard = 0; shard < node->shard_count; shard++) {
        struct identity identity = {.cluster = cluster.id,
                                    .node = node->id,
                                    .shard = shard,
                                    .shards = node->shard_count,
                                    .vnodes = cluster.vnodes,
                                    .filled = true};
        CHECK(identity_claim(node->shards[shard].store, &identity, why, sizeof(why), &identity) == STATUS_OK);
    }
    CHECK(cluster_load(node->shards[CLUSTER_OWNER_SHARD].store, &cluster) == STATUS_OK);
    for (uint32_t shard = 0; shard < node->shard_count; shard++) {
        start_shard(world, number, shard, &cluster);
        world_wake(world, number, shard);
    }
    cluster_fini(&cluster);
    network_start(world, number);
}

static void stop_node(struct world *world, uint32_t number)
{
    struct sim_node *node = &world->nodes[number];
    node->up = node->paused = false;
    node->life++;
    for (uint32_t shard = 0; shard < node->shard_count; shard++) {
        shard_free(node->shards[shard].shard);
        node->shards[shard].shard = NULL;
        node->shards[shard].synced_turn = 0;
        store_mem_crash(node->shards[shard].store);
    }
}

static void post_closed(struct world *world, struct sim_connection *connection)
{
    connection->open = false;
    uint64_t at_ns = world->now_ns + world_draw(world, world->options.network);
    if (at_ns < connection->answer_ns) at_ns = connection->answer_ns;
    events_post(&world->events,
                (struct event){.at_ns = at_ns, .kind = EVENT_CLOSED, .number = connection->id});
}

void world_crash(struct world *world, uint32_t node)
{
    CHECK(world->nodes[node].up);
    world->counts.crashes++;
    world_mix(world, node, bytes_str("crash"));
    if (world_traced(world)) world_note(world, "n%u crashes", node + 1);
    stop_node(world, node);
    network_crash(world, node);
    for (uint32_t i = 0; i < world->connection_count; i++) {
        struct sim_connection *connection = world->connections[i];
        if (connection->open && connection->node == node) post_closed(world, connection);
    }
}

void world_restart(struct world *world, uint32_t node)
{
    world->counts.restarts++;
    if (world_traced(world)) world_note(world, "n%u starts", node + 1);
    start_node(world, node);
}

void world_pause(struct world *world, uint32_t node)
{
    CHECK(world->nodes[node].up);
    world->counts.pauses++;
    if (world_traced(world)) world_note(world, "n%u stands still", node + 1);
    world->nodes[node].paused = true;
}

void world_resume(struct world *world, uint32_t node)
{
    struct sim_node *sim = &world->nodes[node];
    CHECK(sim->paused);
    if (world_traced(world)) world_note(world, "n%u goes on", node + 1);
    sim->paused = false;
    for (uint32_t shard = 0; shard < sim->shard_count; shard++) {
        sim->shards[shard].turn_ns = UINT64_MAX;
        world_wake(world, node, shard);
    }
}

struct world *world_alloc(const struct world_options *options, const struct world_watch *watch)
{
    CHECK(options->nodes >= 1);
    CHECK(options->nodes <= WORLD_NODES_MAX);
    struct world *world = calloc(1, sizeof(*world));
    CHECK(world != NULL);
    world->options = *options;
    if (watch != NULL) world->watch = *watch;
    prng_init(&world->prng, options->seed);
    arena_init(&world->arena, 0);
    world->cluster.id = prng_next(&world->prng) | 1;
    world->cluster.vnodes = options->vnodes;
    for (uint32_t i = 0; i < options->nodes; i++) {
        struct sim_node *node = &world->nodes[i];
        node->id = prng_next(&world->prng) | 1;
        node->shard_count = options->shards_of[i] != 0 ? options->shards_of[i] : options->shards;
        CHECK(node->shard_count >= 1);
        CHECK(node->shard_count <= WORLD_SHARDS_MAX);
        struct member member = member_of(world, i);
        cluster_merge_member(&world->cluster, &member);
        for (uint32_t shard = 0; shard < node->shard_count; shard++)
            node->shards[shard].store = store_mem_open();
    }
    for (uint32_t i = 0; i < options->nodes; i++) start_node(world, i);
    return world;
}

void world_free(struct world *world)
{
    for (uint32_t i = 0; i < world->options.nodes; i++) {
        if (world->nodes[i].up) stop_node(world, i);
        for (uint32_t shard = 0; shard < world->nodes[i].shard_count; shard++)
            store_close(world->nodes[i].shards[shard].store);
    }
    for (uint32_t i = 0; i < world->connection_count; i++) free(world->connections[i]);
    free(world->connections);
    events_fini(&world->events);
    cluster_fini(&world->cluster);
    arena_fini(&world->arena);
    free(world);
}

/* --- turns and disks --- */

/* A turn at the earliest moment that @at_ns and the turn before it allow. */
static void schedule(struct world *world, uint32_t node, uint32_t shard, uint64_t at_ns)
{
    struct sim_shard *sim = &world->nodes[node].shards[shard];
    if (at_ns < sim->busy_ns) at_ns = sim->busy_ns;
    if (at_ns < world->now_ns) at_ns = world->now_ns;
    if (at_ns >= sim->turn_ns) return;
    sim->turn_ns = at_ns;
    events_post(&world->events, (struct event){.at_ns = at_ns,
                                               .kind = EVENT_TURN,
                                               .node = node,
                                               .shard = shard,
                                               .life = world->nodes[node].life});
}

void world_wake(struct world *world, uint32_t node, uint32_t shard)
{
    schedule(world, node, shard, world->now_ns);
}

static void send_answers(struct world *world, struct outbox *outbox)
{
    for (uint32_t i = 0; i < outbox->answer_count; i++) {
        const struct answer *answer = &outbox->answers[i];
        struct sim_connection *connection = world->connections[answer->connection - 1];
        if (!connection->open) continue;
        uint64_t at_ns = world->now_ns + world_draw(world, world->options.network);
        if (at_ns < connection->answer_ns) at_ns = connection->answer_ns;
        connection->answer_ns = at_ns;
        if (answer->size > 0) {
            struct event event = {.at_ns = at_ns, .kind = EVENT_ANSWER, .number = connection->id};
            buffer_append(&event.bytes, outbox->answer_bytes.data + answer->offset, answer->size);
            events_post(&world->events, event);
        }
        if (answer->hang_up != NULL) world_disconnect(world, connection->id);
    }
    outbox_clear_answers(outbox);
}

/* Hand on all that a shard has for others. */
static void drain(struct world *world, uint32_t node, uint32_t shard)
{
    struct outbox *outbox = shard_outbox(world->nodes[node].shards[shard].shard);
    for (uint32_t i = 0; i < outbox->queue_count; i++) {
        struct buffer batch = {0};
        uint64_t to = outbox->queues[i].node;
        while (outbox_take(outbox, i, FRAME_PEER_BYTES_MAX, &batch)) {
            if (to != world->nodes[node].id) {
                network_send(world, node, shard, world_node_of(world, to), &batch);
            } else {
                events_post(&world->events,
                            (struct event){.at_ns = world->now_ns + world_draw(world, world->options.local),
                                           .kind = EVENT_LOCAL,
                                           .node = node,
                                           .shard = outbox->queues[i].shard,
                                           .life = world->nodes[node].life,
                                           .bytes = batch});
            }
            batch = (struct buffer){0};
        }
    }
    send_answers(world, outbox);
}

static void start_sync(struct world *world, uint32_t node, uint32_t shard)
{
    struct sim_shard *sim = &world->nodes[node].shards[shard];
    uint64_t turn = shard_committed_turn(sim->shard);
    if (sim->syncing || turn == shard_durable_turn(sim->shard)) return;
    sim->syncing = true;
    world->counts.syncs++;
    /* The bytes may reach the disk early within a sync, or late and with what was committed meanwhile: only
     * that the turns before its beginning are there at its end may be relied on. */
    sim->early = prng_chance(&world->prng, 1, 2) && !world->nodes[node].hold_syncs;
    if (sim->early) CHECK(store_sync(sim->store) == STATUS_OK);
    events_post(&world->events,
                (struct event){.at_ns = world->now_ns + world_draw(world, world->options.sync),
                               .kind = EVENT_SYNCED,
                               .node = node,
                               .shard = shard,
                               .life = world->nodes[node].life,
                               .number = turn});
}

static void end_sync(struct world *world, uint32_t node, uint32_t shard, uint64_t turn)
{
    struct sim_shard *sim = &world->nodes[node].shards[shard];
    sim->syncing = false;
    sim->synced_turn = 0;
    if (!sim->early) CHECK(store_sync(sim->store) == STATUS_OK);
    shard_durable(sim->shard, turn);
    drain(world, node, shard);
    if (shard_has_mail(sim->shard)) world_wake(world, node, shard);
    start_sync(world, node, shard);
}

static void synced(struct world *world, const struct event *event)
{
    struct sim_node *node = &world->nodes[event->node];
    if (node->life != event->life) return;
    if (node->paused || node->hold_syncs)
        node->shards[event->shard].synced_turn = event->number;
    else
        end_sync(world, event->node, event->shard, event->number);
}

void world_hold_syncs(struct world *world, uint32_t node, bool hold)
{
    struct sim_node *sim = &world->nodes[node];
    sim->hold_syncs = hold;
    if (hold || sim->paused) return;
    for (uint32_t shard = 0; shard < sim->shard_count; shard++)
        if (sim->shards[shard].synced_turn != 0) end_sync(world, node, shard, sim->shards[shard].synced_turn);
}

static void run_turn(struct world *world, const struct event *event)
{
    struct sim_node *node = &world->nodes[event->node];
    struct sim_shard *sim = &node->shards[event->shard];
    if (node->life != event->life || sim->turn_ns != event->at_ns || node->paused) return;
    sim->turn_ns = UINT64_MAX;
    if (sim->synced_turn != 0 && !node->hold_syncs)
        end_sync(world, event->node, event->shard, sim->synced_turn);
    world->counts.turns++;
    if (shard_turn(sim->shard, world->now_ns, world_wall_ms(world, event->node)) != STATUS_OK) {
        world_crash(world, event->node);
        return;
    }
    shard_check(sim->shard);
    sim->busy_ns = world->now_ns + world_draw(world, world->options.turn);
    drain(world, event->node, event->shard);
    start_sync(world, event->node, event->shard);
    if (shard_has_mail(sim->shard)) world_wake(world, event->node, event->shard);
    schedule(world, event->node, event->shard, shard_next_timer_ns(sim->shard));
}

static void local_arrival(struct world *world, struct event *event)
{
    struct sim_node *node = &world->nodes[event->node];
    if (node->life != event->life) {
        buffer_fini(&event->bytes);
        return;
    }
    shard_deliver(node->shards[event->shard].shard, 0, buffer_bytes(&event->bytes), free, event->bytes.data);
    world_wake(world, event->node, event->shard);
}

/* --- clients --- */

uint64_t world_connect(struct world *world, uint32_t node, uint32_t shard)
{
    if (!world->nodes[node].up) return 0;
    struct sim_connection *connection = calloc(1, sizeof(*connection));
    CHECK(connection != NULL);
    world->connections =
        realloc(world->connections, (world->connection_count + 1) * sizeof(*world->connections));
    CHECK(world->connections != NULL);
    world->connections[world->connection_count++] = connection;
    *connection = (struct sim_connection){.id = world->connection_count,
                                          .node = node,
                                          .shard = shard % world->nodes[node].shard_count,
                                          .open = true};
    return connection->id;
}

bool world_is_open(const struct world *world, uint64_t id)
{
    return world->connections[id - 1]->open;
}

void world_disconnect(struct world *world, uint64_t id)
{
    struct sim_connection *connection = world->connections[id - 1];
    if (!connection->open) return;
    shard_client_closed(world->nodes[connection->node].shards[connection->shard].shard, id);
    world_wake(world, connection->node, connection->shard);
    post_closed(world, connection);
}

bool world_send(struct world *world, uint64_t id, const Dynode__Client__Request *request)
{
    struct sim_connection *connection = world->connections[id - 1];
    if (!connection->open) return false;
    uint64_t at_ns = world->now_ns + world_draw(world, world->options.network);
    if (at_ns < connection->request_ns) at_ns = connection->request_ns;
    connection->request_ns = at_ns;
    struct event event = {.at_ns = at_ns, .kind = EVENT_REQUEST, .number = id};
    size_t size = dynode__client__request__get_packed_size(request);
    event.bytes.size += dynode__client__request__pack(request, buffer_reserve(&event.bytes, size));
    events_post(&world->events, event);
    return true;
}

static void request_arrival(struct world *world, const struct event *event)
{
    const struct sim_connection *connection = world->connections[event->number - 1];
    if (!connection->open) return;
    world_mix(world, event->number, buffer_bytes(&event->bytes));
    shard_client_frame(world->nodes[connection->node].shards[connection->shard].shard, event->number,
                       buffer_bytes(&event->bytes));
    world_wake(world, connection->node, connection->shard);
}

static void answer_arrival(struct world *world, const struct event *event)
{
    struct bytes payload;
    size_t size;
    CHECK(frame_next(buffer_bytes(&event->bytes), FRAME_CLIENT_BYTES_MAX, &payload, &size) == FRAME_WHOLE);
    CHECK(size == event->bytes.size);
    world_mix(world, event->number, payload);
    Dynode__Client__Response *response =
        dynode__client__response__unpack(arena_allocator(&world->arena), payload.size, payload.data);
    CHECK(response != NULL);
    if (world->watch.answer != NULL) world->watch.answer(world->watch.context, event->number, response);
    arena_reset(&world->arena);
}

/* --- the heap's turn --- */

void world_step(struct world *world)
{
    struct event event;
    if (!events_take(&world->events, &event)) return;
    CHECK(event.at_ns >= world->now_ns);
    world->now_ns = event.at_ns;
    switch (event.kind) {
    case EVENT_TURN:
        run_turn(world, &event);
        return;
    case EVENT_SYNCED:
        synced(world, &event);
        return;
    case EVENT_LOCAL: /* these two hand the bytes on */
        local_arrival(world, &event);
        return;
    case EVENT_ARRIVAL:
        network_arrival(world, &event);
        return;
    case EVENT_LINK_LOST:
        network_link_lost(world, &event);
        return;
    case EVENT_DIAL:
        network_dial(world, &event);
        return;
    case EVENT_REQUEST:
        request_arrival(world, &event);
        break;
    case EVENT_ANSWER:
        answer_arrival(world, &event);
        break;
    case EVENT_CLOSED:
        if (world->watch.closed != NULL) world->watch.closed(world->watch.context, event.number);
        return;
    case EVENT_CALL:
        event.call(event.context, event.number);
        return;
    }
    buffer_fini(&event.bytes);
}

void world_run(struct world *world, uint64_t until_ns)
{
    while (events_next_ns(&world->events) <= until_ns) world_step(world);
    if (until_ns > world->now_ns) world->now_ns = until_ns;
}

void world_at(struct world *world, uint64_t at_ns, world_call *call, void *context, uint64_t argument)
{
    if (at_ns < world->now_ns) at_ns = world->now_ns;
    events_post(
        &world->events,
        (struct event){
            .at_ns = at_ns, .kind = EVENT_CALL, .call = call, .context = context, .number = argument});
}

/* --- looking inside --- */

uint64_t world_now(const struct world *world)
{
    return world->now_ns;
}

uint64_t world_wall_ms(const struct world *world, uint32_t node)
{
    return wall_start_ms + world->now_ns / ms + world->options.skew_ms[node];
}

uint64_t world_hash(const struct world *world)
{
    return world->hash;
}

struct world_counts world_counts(const struct world *world)
{
    return world->counts;
}

struct prng *world_prng(struct world *world)
{
    return &world->prng;
}

bool world_is_up(const struct world *world, uint32_t node)
{
    return world->nodes[node].up;
}

bool world_is_paused(const struct world *world, uint32_t node)
{
    return world->nodes[node].paused;
}

uint64_t world_node_id(const struct world *world, uint32_t node)
{
    return world->nodes[node].id;
}

uint32_t world_node_of(const struct world *world, uint64_t id)
{
    uint32_t node = 0;
    while (node < world->options.nodes && world->nodes[node].id != id) node++;
    return node;
}

uint32_t world_nodes(const struct world *world)
{
    return world->options.nodes;
}

uint32_t world_shards(const struct world *world, uint32_t node)
{
    return world->nodes[node].shard_count;
}

struct shard *world_shard(struct world *world, uint32_t node, uint32_t shard)
{
    return world->nodes[node].shards[shard].shard;
}

struct store *world_store(struct world *world, uint32_t node, uint32_t shard)
{
    return world->nodes[node].shards[shard].store;
}

uint32_t world_homes(struct world *world, const char *name, struct bytes key, uint32_t homes[WORLD_NODES_MAX])
{
    uint32_t node = 0;
    while (node < world->options.nodes && !world->nodes[node].up) node++;
    if (node == world->options.nodes) return 0;
    const struct turn *turn = shard_turn_context(world->nodes[node].shards[0].shard);
    const struct table *table = cluster_find_table(turn->cluster, bytes_str(name));
    if (table == NULL) return 0;
    const uint64_t *list = ring_preference_list(turn->ring, ring_vnode(turn->ring, hash64(key, table->tag)));
    for (uint32_t i = 0; i < table->n; i++) homes[i] = world_node_of(world, list[i]);
    return table->n;
}
