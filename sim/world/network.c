/* The network of a world: links that keep order, take time, and are lost with what is under way.
 *
 *      node.shard --link--> peer.shard     a link is one stream: TCP's promises, until it is lost
 *      node =======way=====> peer          what befalls all links in one direction (ways.c)
 *
 * What arrives where the way carries nothing waits in its order, as TCP goes on sending, unless the link is
 * given up. On top of what streams do there are batches that come twice or late: whoever merges must not
 * care. */
#include <stdlib.h>

#include "base/check.h"
#include "wire/batch.h"
#include "wire/cluster_wire.h"
#include "wire/frame.h"
#include "world/world_state.h"

/* Instead of a link's life, which begins at 1 and never comes so far: batches that no link's end stops. */
enum {
    HELD_UP_NS = 1000 * 1000,      /* at least, until what a cut or clog holds up looks again */
    LIFE_LATE = 0,                 /* those behind it overtake it */
    LIFE_STRAY = UINT32_MAX,       /* its link was lost */
    LIFE_REPEAT = UINT32_MAX - 1U, /* it was here before: it reaches no node of which a shard has started anew
                                      since, and could not know it any more (batches are passed on within a
                                      node) */
};

static struct sim_link *link_of(struct world *world, uint32_t node, uint32_t shard, uint32_t peer)
{
    return &world->nodes[node].shards[shard].links[peer];
}

/* Of its shards: lives are counted upwards in all the world. */
static uint64_t newest_life(const struct sim_node *node)
{
    uint64_t newest = 0;
    for (uint32_t shard = 0; shard < node->shard_count; shard++)
        if (node->shards[shard].life > newest) newest = node->shards[shard].life;
    return newest;
}

static bool one_in(struct world *world, uint32_t per_million)
{
    return per_million > 0 && prng_chance(&world->prng, per_million, 1000000);
}

static void drop_held(struct sim_link *link)
{
    for (uint32_t i = 0; i < link->held_count; i++) buffer_fini(&link->held[i].batch);
    free(link->held);
    link->held = NULL;
    link->held_count = 0;
}

void network_fini(struct world *world)
{
    for (uint32_t node = 0; node < world->options.nodes; node++)
        for (uint32_t shard = 0; shard < world->nodes[node].shard_count; shard++)
            for (uint32_t peer = 0; peer < world->options.nodes; peer++)
                drop_held(link_of(world, node, shard, peer));
}

static void forget_arrivals(struct sim_link *link)
{
    for (int lane = 0; lane < LANES; lane++) link->arrival_ns[lane] = 0;
}

/* --- links come and go --- */

static void post_dial(struct world *world, uint32_t node, uint32_t shard, uint32_t peer, struct span after)
{
    events_post(&world->events, &(struct event){.at_ns = world->now_ns + world_draw(world, after),
                                                .kind = EVENT_DIAL,
                                                .node = node,
                                                .shard = shard,
                                                .peer = peer,
                                                .life = world->nodes[node].life});
}

void network_start(struct world *world, uint32_t node)
{
    for (uint32_t shard = 0; shard < world->nodes[node].shard_count; shard++)
        for (uint32_t peer = 0; peer < world->options.nodes; peer++)
            if (peer != node) post_dial(world, node, shard, peer, world->options.network);
}

/* The link breaks. Its dialler learns of it a little later. False: it was down. */
static bool lose(struct world *world, uint32_t node, uint32_t shard, uint32_t peer)
{
    struct sim_link *link = link_of(world, node, shard, peer);
    link->life++;
    drop_held(link);
    if (!link->up) return false;
    link->up = false;
    forget_arrivals(link);
    events_post(&world->events, &(struct event){.at_ns = world->now_ns + way_draw_delay(world, peer, node),
                                                .kind = EVENT_LINK_LOST,
                                                .node = node,
                                                .shard = shard,
                                                .peer = peer,
                                                .life = world->nodes[node].life});
    return true;
}

/* All links that one node has dialled to another; was any up? */
static bool lose_all(struct world *world, uint32_t node, uint32_t peer)
{
    bool any = false;
    for (uint32_t shard = 0; shard < world->nodes[node].shard_count; shard++)
        any |= lose(world, node, shard, peer);
    return any;
}

bool network_lose_both(struct world *world, uint32_t a, uint32_t b)
{
    bool there = lose_all(world, a, b);
    return lose_all(world, b, a) || there;
}

void network_crash(struct world *world, uint32_t node)
{
    for (uint32_t peer = 0; peer < world->options.nodes; peer++) {
        if (peer != node) network_lose_both(world, node, peer);
    }
}

void network_link_lost(struct world *world, const struct event *event)
{
    struct sim_node *node = &world->nodes[event->node];
    if (!node->up || node->life != event->life) return;
    shard_link_changed(node->shards[event->shard].shard, world->nodes[event->peer].id, false);
    world_wake(world, event->node, event->shard);
    post_dial(world, event->node, event->shard, event->peer, world->options.redial);
}

/* Would the node let the other in, and dial it? */
static bool knows(const struct world *world, uint32_t node, uint32_t other)
{
    const struct shard *shard = world->nodes[node].shards[CLUSTER_OWNER_SHARD].shard;
    const struct cluster *cluster = shard_turn_context((struct shard *)(uintptr_t)shard)->cluster;
    return cluster_find_member(cluster, world->nodes[other].id) != NULL;
}

void network_dial(struct world *world, const struct event *event)
{
    struct sim_node *node = &world->nodes[event->node];
    const struct sim_node *peer = &world->nodes[event->peer];
    if (!node->up || node->life != event->life) return;
    struct sim_link *link = link_of(world, event->node, event->shard, event->peer);
    CHECK(!link->up);
    bool apart = ways_are_cut(world, event->node, event->peer);
    /* A process that is stopped answers no hello, and is not there to dial either. */
    bool refused = world->options.seeded && peer->up &&
                   !(knows(world, event->node, event->peer) && knows(world, event->peer, event->node));
    if (!peer->up || peer->paused || node->paused || apart || refused) {
        if (apart) way_meet(world, event->node, event->peer);
        if (apart) way_meet(world, event->peer, event->node);
        post_dial(world, event->node, event->shard, event->peer, world->options.redial);
        return;
    }
    link->up = true;
    link->life++;
    forget_arrivals(link);
    shard_link_changed(node->shards[event->shard].shard, peer->id, true);
    world_wake(world, event->node, event->shard);
}

void network_tell(struct world *world, uint32_t node, uint32_t shard)
{
    for (uint32_t peer = 0; peer < world->options.nodes; peer++)
        if (link_of(world, node, shard, peer)->up)
            shard_link_changed(world->nodes[node].shards[shard].shard, world->nodes[peer].id, true);
}

/* --- batches --- */

static uint64_t life_of(uint32_t life, uint32_t number)
{
    return (uint64_t)life << 32 | number;
}

static void post_arrival(struct world *world, uint32_t node, uint32_t shard, uint32_t peer, uint32_t lane,
                         uint64_t at_ns, uint64_t sent_ns, uint64_t life, struct buffer batch)
{
    const struct sim_node *to = &world->nodes[peer];
    events_post(&world->events,
                &(struct event){.at_ns = at_ns,
                                .kind = EVENT_ARRIVAL,
                                .node = node,
                                .shard = shard,
                                .peer = peer,
                                .lane = lane,
                                .life = life,
                                .number = life >> 32 == LIFE_REPEAT ? newest_life(to) : to->life,
                                .sent_ns = sent_ns,
                                .bytes = batch});
}

/* Does the batch get lost? */
static bool befallen(struct world *world, uint32_t node, uint32_t shard, uint32_t peer)
{
    if (one_in(world, world->options.resets)) {
        world_count(world, WORLD_RESET, node);
        if (world_traced(world)) world_note(world, "n%u.%u loses its link to n%u", node + 1, shard, peer + 1);
        lose(world, node, shard, peer);
        return true;
    }
    if (one_in(world, world->options.losses)) {
        world_count(world, WORLD_LOSS, node);
        if (world_traced(world))
            world_note(world, "n%u.%u -> n%u  a batch is lost", node + 1, shard, peer + 1);
        return true;
    }
    return false;
}

void network_send(struct world *world, uint32_t node, uint32_t shard, uint32_t peer, enum link_lane lane,
                  struct buffer *batch)
{
    struct sim_link *link = link_of(world, node, shard, peer);
    CHECK(batch->size <= FRAME_PEER_BYTES_MAX);
    world->counts.batches++;
    world->counts.bytes += batch->size;
    if (!link->up || befallen(world, node, shard, peer)) {
        buffer_fini(batch);
        return;
    }
    uint64_t at_ns = world->now_ns + way_draw_delay(world, node, peer);
    if (at_ns < link->arrival_ns[lane]) at_ns = link->arrival_ns[lane];
    uint32_t number = ++link->sent;
    if (one_in(world, world->options.repeats)) {
        struct buffer copy = {0};
        buffer_append(&copy, batch->data, batch->size);
        post_arrival(world, node, shard, peer, lane, at_ns + world_draw(world, world->options.late),
                     world->now_ns, life_of(LIFE_REPEAT, number), copy);
    }
    uint32_t life = link->life;
    if (one_in(world, world->options.overtakings)) {
        at_ns += world_draw(world, world->options.late);
        life = LIFE_LATE;
    } else {
        link->arrival_ns[lane] = at_ns;
    }
    post_arrival(world, node, shard, peer, lane, at_ns, world->now_ns, life_of(life, number), *batch);
    *batch = (struct buffer){0};
}

static void deliver(struct world *world, uint32_t node, uint32_t shard, uint32_t peer, enum link_lane lane,
                    uint64_t sent_ns, struct buffer *batch)
{
    struct sim_node *to = &world->nodes[peer];
    uint32_t to_shard = shard % to->shard_count;
    world_mix(world, node, buffer_bytes(batch));
    if (world_traced(world)) describe_batch(world, node, shard, peer, to_shard, buffer_bytes(batch));
    shard_deliver_lane(to->shards[to_shard].shard, world->nodes[node].id, lane, buffer_bytes(batch), free,
                       batch->data);
    world_wake_for_mail(world, peer, to_shard, sent_ns);
}

/* A batch that no link's end stops is there: a fault that takes effect, if what it is about has arrived. */
static void count_free(struct world *world, const struct event *event, const struct sim_link *link)
{
    uint32_t life = (uint32_t)(event->life >> 32), number = (uint32_t)event->life;
    if (life == LIFE_STRAY) world_count(world, WORLD_STRAY, event->node);
    if (life == LIFE_REPEAT && link->delivered[event->lane] >= number)
        world_count(world, WORLD_REPEAT, event->node);
    if (life == LIFE_LATE && link->delivered[event->lane] > number)
        world_count(world, WORLD_OVERTAKING, event->node);
}

void network_arrival(struct world *world, struct event *event)
{
    struct sim_link *link = link_of(world, event->node, event->shard, event->peer);
    const struct sim_node *to = &world->nodes[event->peer];
    uint32_t life = (uint32_t)(event->life >> 32), number = (uint32_t)event->life;
    bool free_of_link = life == LIFE_REPEAT || life == LIFE_LATE || life == LIFE_STRAY;
    bool lost = !free_of_link && life != link->life;
    bool there = to->up && event->number == (life == LIFE_REPEAT ? newest_life(to) : to->life);
    /* What an end of a link had in its hands when the link was lost may arrive yet, even after what was sent
     * on the next one; but not at another process. */
    if (lost && there && one_in(world, world->options.strays)) {
        post_arrival(world, event->node, event->shard, event->peer, event->lane,
                     world->now_ns + world_draw(world, world->options.late), event->sent_ns,
                     life_of(LIFE_STRAY, number), event->bytes);
        return;
    }
    if (lost || !there) {
        buffer_fini(&event->bytes);
        return;
    }
    bool held = way_holds(world, event->node, event->peer);
    if (free_of_link && held) { /* it is in no stream that would keep it: it looks again */
        way_meet(world, event->node, event->peer);
        post_arrival(world, event->node, event->shard, event->peer, event->lane,
                     world->now_ns + HELD_UP_NS + world_draw(world, world->options.late), event->sent_ns,
                     event->life, event->bytes);
        return;
    }
    if (!held) {
        if (free_of_link)
            count_free(world, event, link);
        else
            link->delivered[event->lane] = number;
        deliver(world, event->node, event->shard, event->peer, (enum link_lane)event->lane, event->sent_ns,
                &event->bytes);
        return;
    }
    way_meet(world, event->node, event->peer);
    link->held = realloc(link->held, (link->held_count + 1) * sizeof(*link->held));
    CHECK(link->held != NULL);
    link->held[link->held_count++] = (struct sim_held){.lane = (enum link_lane)event->lane,
                                                       .number = number,
                                                       .sent_ns = event->sent_ns,
                                                       .batch = event->bytes};
}

/* --- what waits for a way --- */

void network_let_go(struct world *world, uint32_t from, uint32_t to)
{
    for (uint32_t shard = 0; shard < world->nodes[from].shard_count; shard++) {
        struct sim_link *link = link_of(world, from, shard, to);
        for (uint32_t i = 0; i < link->held_count; i++) {
            const struct sim_held *held = &link->held[i];
            link->delivered[held->lane] = held->number;
            deliver(world, from, shard, to, held->lane, held->sent_ns, &link->held[i].batch);
        }
        link->held_count = 0;
        drop_held(link);
    }
}

void world_calm_network(struct world *world)
{
    struct world_options *options = &world->options;
    options->resets = options->losses = options->repeats = options->overtakings = 0;
    options->strays = options->client_resets = 0;
}

void world_tell(struct world *world, uint32_t from, uint32_t to, const struct cluster *records)
{
    Dynode__Peer__Gossip gossip = DYNODE__PEER__GOSSIP__INIT;
    Dynode__Peer__Message message = DYNODE__PEER__MESSAGE__INIT;
    gossip.cluster = records->id;
    gossip.vnodes = records->vnodes;
    gossip.records = cluster_to_message(records, &world->arena);
    message.to_shard = CLUSTER_OWNER_SHARD;
    message.body_case = DYNODE__PEER__MESSAGE__BODY_GOSSIP;
    message.gossip = &gossip;
    struct buffer batch = {0};
    batch_begin(&batch, world->nodes[from].id, CLUSTER_OWNER_SHARD);
    batch_add(&batch, &message);
    deliver(world, from, CLUSTER_OWNER_SHARD, to, LANE_BEATS, world->now_ns, &batch);
    arena_reset(&world->arena);
}
