/* The nodes of a world: their starts and ends, their turns, and the heap of events that drives all. */
#include "world/world.h"

#include <stdio.h>
#include <stdlib.h>

#include "actors/hints.h"
#include "base/check.h"
#include "base/hash.h"
#include "wire/frame.h"
#include "wire/varint.h"
#include "world/world_state.h"

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
        .stall_ns = 10000 * ms,
        .late = {1 * ms, 400 * ms},
    };
}

uint64_t world_draw(struct world *world, struct span span)
{
    if (span.max_ns <= span.min_ns) return span.min_ns;
    return span.min_ns + prng_below(&world->prng, span.max_ns - span.min_ns + 1);
}

/* In one byte order: the hash is the same on any machine. */
void world_mix(struct world *world, uint64_t a, struct bytes bytes)
{
    uint8_t words[4 * FIXED64_BYTES], *to = fixed64_write(words, world->hash);
    to = fixed64_write(to, world->now_ns);
    to = fixed64_write(to, a);
    fixed64_write(to, hash64(bytes, 0));
    world->hash = hash64(bytes_of(words, sizeof(words)), 0);
}

void world_count(struct world *world, enum world_fault fault, uint32_t node)
{
    world->counts.faults[fault]++;
    if (world->first_fault_ns == UINT64_MAX) world->first_fault_ns = world->now_ns;
    world_mix(world, node, bytes_str(world_fault_name(fault)));
}

/* --- starts and ends of nodes --- */

static struct member member_of(struct world *world, uint32_t node)
{
    struct member member = {.id = world->nodes[node].id, .weight = RING_WEIGHT_DEFAULT};
    snprintf(member.name, sizeof(member.name), "n%u", node + 1);
    return member;
}

void world_start_shard(struct world *world, uint32_t number, uint32_t shard, const struct cluster *cluster)
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
        .born = sim->born,
        .replaced = sim->replaced,
        .repair_pass_ns = world->options.repair_pass_ns,
        .reap_after_ns = world->options.reap_after_ns,
        .hint_bytes_max = world->options.hint_bytes_max,
        .audit_pass_ns = world->options.audit_pass_ns,
        .silent = world->options.silent,
        .started_wall_ms = node->incarnation,
    };
    node_options.self.incarnation = node->incarnation;
    node_options.self.shards = node->shard_count;
    node_init(sim->shard, &node_options);
    sim->life = ++world->lives;
    sim->turn_ns = UINT64_MAX;
    sim->alarm_ns = 0;
    sim->busy_ns = 0;
    sim->mail_ns = UINT64_MAX;
    sim->syncing = false;
    sim->synced_turn = 0;
}

/* What a node knows before anybody has told it anything. */
static void configuration(struct world *world, uint32_t number, struct cluster *cluster)
{
    if (!world->options.seeded || number == 0) {
        cluster_copy(&world->cluster, cluster);
        return;
    }
    *cluster = (struct cluster){.id = world->cluster.id, .vnodes = world->cluster.vnodes};
    const struct member seed = member_of(world, 0);
    cluster_merge_member(cluster, &seed);
}

static void start_node(struct world *world, uint32_t number)
{
    struct sim_node *node = &world->nodes[number];
    CHECK(!node->up);
    node->up = true;
    node->life++;
    node->incarnation = world_wall_ms(world, number);
    struct cluster cluster;
    configuration(world, number, &cluster);
    for (uint32_t shard = 0; shard < node->shard_count; shard++) {
        node->shards[shard].replaced = false;
        disk_claim(world, number, shard);
    }
    CHECK(cluster_load(node->shards[CLUSTER_OWNER_SHARD].store, &cluster) == STATUS_OK);
    for (uint32_t shard = 0; shard < node->shard_count; shard++) {
        world_start_shard(world, number, shard, &cluster);
        world_wake(world, number, shard);
    }
    cluster_fini(&cluster);
    network_start(world, number);
}

static void stop_node(struct world *world, uint32_t number)
{
    struct sim_node *node = &world->nodes[number];
    if (node->paused) world_stood_still(world, number, node->paused_ns, world->now_ns);
    node->up = node->paused = false;
    node->life++;
    for (uint32_t shard = 0; shard < node->shard_count; shard++) {
        shard_free(node->shards[shard].shard);
        node->shards[shard].shard = NULL;
        node->shards[shard].life = 0;
        disk_crash(world, number, shard);
    }
}

void world_crash(struct world *world, uint32_t node)
{
    CHECK(world->nodes[node].up);
    world_count(world, WORLD_CRASH, node);
    if (world_traced(world)) world_note(world, "n%u crashes", node + 1);
    stop_node(world, node);
    network_crash(world, node);
    connection_lose(world, node, UINT32_MAX);
}

void world_cut_power(struct world *world)
{
    bool any = false;
    for (uint32_t node = 0; node < world->options.nodes; node++) {
        if (!world->nodes[node].up) continue;
        world_crash(world, node);
        any = true;
    }
    if (any) world_count(world, WORLD_POWER, 0);
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
    CHECK(!world->nodes[node].paused);
    world_count(world, WORLD_PAUSE, node);
    if (world_traced(world)) world_note(world, "n%u stands still", node + 1);
    world->nodes[node].paused = true;
    world->nodes[node].paused_ns = world->now_ns;
    ways_pause(world, node);
}

void world_jump_clock(struct world *world, uint32_t node, int64_t by_ms)
{
    if (by_ms == 0) return;
    world_count(world, WORLD_CLOCK_JUMP, node);
    if (world_traced(world))
        world_note(world, "the clock of n%u is set by %+lld ms", node + 1, (long long)by_ms);
    world->nodes[node].clock_jump_ms += by_ms;
}

void world_stood_still(struct world *world, uint32_t node, uint64_t from_ns, uint64_t until_ns)
{
    world->standstills =
        realloc(world->standstills, (world->standstill_count + 1) * sizeof(*world->standstills));
    CHECK(world->standstills != NULL);
    uint32_t place = world->standstill_count++;
    for (; place > 0 && world->standstills[place - 1].until_ns > until_ns; place--)
        world->standstills[place] = world->standstills[place - 1];
    world->standstills[place] = (struct standstill){.node = node, .from_ns = from_ns, .until_ns = until_ns};
}

void world_resume(struct world *world, uint32_t node)
{
    struct sim_node *sim = &world->nodes[node];
    CHECK(sim->paused);
    if (world_traced(world)) world_note(world, "n%u goes on", node + 1);
    sim->paused = false;
    world_stood_still(world, node, sim->paused_ns, world->now_ns);
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
    world->first_fault_ns = UINT64_MAX;
    if (watch != NULL) world->watch = *watch;
    prng_init(&world->prng, options->seed);
    arena_init(&world->arena, 0);
    world->nodes = calloc(options->nodes, sizeof(*world->nodes));
    CHECK(world->nodes != NULL);
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
        for (uint32_t shard = 0; shard < node->shard_count; shard++) {
            node->shards[shard].store = store_mem_open();
            node->shards[shard].born = !options->blank;
            node->shards[shard].links = calloc(options->nodes, sizeof(struct sim_link));
            CHECK(node->shards[shard].links != NULL);
        }
    }
    ways_init(world);
    for (uint32_t i = 0; i < options->nodes; i++) start_node(world, i);
    return world;
}

void world_free(struct world *world)
{
    network_fini(world);
    ways_fini(world);
    for (uint32_t i = 0; i < world->options.nodes; i++) {
        if (world->nodes[i].up) stop_node(world, i);
        for (uint32_t shard = 0; shard < world->nodes[i].shard_count; shard++) {
            store_close(world->nodes[i].shards[shard].store);
            free(world->nodes[i].shards[shard].links);
        }
    }
    free(world->nodes);
    for (uint32_t i = 0; i < world->connection_count; i++) free(world->connections[i]);
    free(world->connections);
    free(world->standstills);
    describe_fini(world);
    events_fini(&world->events);
    cluster_fini(&world->cluster);
    arena_fini(&world->arena);
    free(world);
}

/* --- turns --- */

void world_schedule(struct world *world, uint32_t node, uint32_t shard, uint64_t at_ns)
{
    struct sim_shard *sim = &world->nodes[node].shards[shard];
    if (at_ns < sim->busy_ns) at_ns = sim->busy_ns;
    if (at_ns < world->now_ns) at_ns = world->now_ns;
    if (at_ns >= sim->turn_ns) return;
    sim->turn_ns = at_ns;
    /* A timer that is not due yet is asked for after every turn before it. */
    if (at_ns == sim->alarm_ns && at_ns > world->now_ns) return;
    if (at_ns > sim->alarm_ns) sim->alarm_ns = at_ns;
    events_post(
        &world->events,
        &(struct event){.at_ns = at_ns, .kind = EVENT_TURN, .node = node, .shard = shard, .life = sim->life});
}

void world_wake(struct world *world, uint32_t node, uint32_t shard)
{
    world_schedule(world, node, shard, world->now_ns);
}

void world_wake_for_mail(struct world *world, uint32_t node, uint32_t shard, uint64_t sent_ns)
{
    struct sim_shard *sim = &world->nodes[node].shards[shard];
    if (sent_ns < sim->mail_ns) sim->mail_ns = sent_ns;
    world_wake(world, node, shard);
}

void world_drain(struct world *world, uint32_t node, uint32_t shard)
{
    struct outbox *outbox = shard_outbox(world->nodes[node].shards[shard].shard);
    for (uint32_t i = 0; i < outbox->queue_count; i++) {
        struct buffer batch = {0};
        uint64_t to = outbox->queues[i].node;
        while (outbox_take(outbox, i, FRAME_PEER_BYTES_MAX, &batch)) {
            if (to != world->nodes[node].id) {
                network_send(world, node, shard, world_node_of(world, to), outbox->queues[i].lane, &batch);
            } else {
                events_post(&world->events,
                            &(struct event){.at_ns = world->now_ns + world_draw(world, world->options.local),
                                            .kind = EVENT_LOCAL,
                                            .node = node,
                                            .shard = outbox->queues[i].shard,
                                            .life = world->nodes[node].life,
                                            .sent_ns = world->now_ns,
                                            .bytes = batch});
            }
            batch = (struct buffer){0};
        }
    }
    connection_send_answers(world, outbox);
}

static void run_turn(struct world *world, const struct event *event)
{
    struct sim_node *node = &world->nodes[event->node];
    struct sim_shard *sim = &node->shards[event->shard];
    if (sim->life != event->life || sim->turn_ns != event->at_ns || node->paused) return;
    sim->turn_ns = UINT64_MAX;
    disk_catch_up(world, event->node, event->shard);
    if (sim->life != event->life) return;
    world->counts.turns++;
    if (sim->mail_ns < world->now_ns && world->now_ns - sim->mail_ns > world->longest_mail_ns)
        world->longest_mail_ns = world->now_ns - sim->mail_ns;
    size_t commits = store_mem_unsynced(sim->store);
    uint64_t reaped = shard_counters(sim->shard)->reaped, refused = node_hints(sim->shard)->refused;
    enum status status =
        shard_turn(sim->shard, world_monotonic_ns(world, event->node), world_wall_ms(world, event->node));
    reaped = shard_counters(sim->shard)->reaped - reaped;
    world->counts.reaped += reaped;
    if (reaped > 0 && world_traced(world))
        world_note(world, "n%u.%u reaps %llu", event->node + 1, event->shard, (unsigned long long)reaped);
    for (refused = node_hints(sim->shard)->refused - refused; refused > 0; refused--)
        world_count(world, WORLD_REFUSED_HINT, event->node);
    if (world->trace != NULL) describe_stored(world, event->node, event->shard, commits);
    disk_refused(world, event->node, event->shard);
    if (status != STATUS_OK) {
        disk_replace(world, event->node, event->shard);
        return;
    }
    if (!world->options.unchecked) shard_check(sim->shard);
    sim->busy_ns = world->now_ns + world_draw(world, world->options.turn);
    world_drain(world, event->node, event->shard);
    disk_sync(world, event->node, event->shard);
    if (shard_has_mail(sim->shard))
        world_wake(world, event->node, event->shard);
    else
        sim->mail_ns = UINT64_MAX;
    uint64_t timer_ns = shard_next_timer_ns(sim->shard);
    if (timer_ns != UINT64_MAX)
        world_schedule(world, event->node, event->shard, world_time_at(world, event->node, timer_ns));
}

static void local_arrival(struct world *world, struct event *event)
{
    struct sim_node *node = &world->nodes[event->node];
    if (node->life != event->life) {
        buffer_fini(&event->bytes);
        return;
    }
    world_mix(world, event->node, buffer_bytes(&event->bytes));
    shard_deliver(node->shards[event->shard].shard, 0, buffer_bytes(&event->bytes), free, event->bytes.data);
    world_wake_for_mail(world, event->node, event->shard, event->sent_ns);
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
        disk_synced(world, &event);
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
    case EVENT_STALLED:
        ways_stalled(world, &event);
        return;
    case EVENT_REQUEST:
        connection_request(world, &event);
        break;
    case EVENT_ANSWER:
        connection_answer(world, &event);
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
        &(struct event){
            .at_ns = at_ns, .kind = EVENT_CALL, .call = call, .context = context, .number = argument});
}
