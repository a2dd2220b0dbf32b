/* The network of a world: links that keep order, take time, and are lost with what is under way. */
#include <stdlib.h>

#include "base/check.h"
#include "wire/frame.h"
#include "world/world_state.h"

static struct sim_link *link_of(struct world *world, uint32_t node, uint32_t shard, uint32_t peer)
{
    return &world->nodes[node].shards[shard].links[peer];
}

static void post_dial(struct world *world, uint32_t node, uint32_t shard, uint32_t peer, struct span after)
{
    events_post(&world->events, (struct event){.at_ns = world->now_ns + world_draw(world, after),
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

/* The link breaks. Its dialler learns of it a little later. */
static void lose(struct world *world, uint32_t node, uint32_t shard, uint32_t peer)
{
    struct sim_link *link = link_of(world, node, shard, peer);
    link->life++;
    if (!link->up) return;
    link->up = false;
    link->arrival_ns = 0;
    events_post(&world->events,
                (struct event){.at_ns = world->now_ns + world_draw(world, world->options.network),
                               .kind = EVENT_LINK_LOST,
                               .node = node,
                               .shard = shard,
                               .peer = peer,
                               .life = world->nodes[node].life});
}

static void lose_all(struct world *world, uint32_t node, uint32_t peer)
{
    for (uint32_t shard = 0; shard < world->nodes[node].shard_count; shard++) lose(world, node, shard, peer);
}

void network_crash(struct world *world, uint32_t node)
{
    for (uint32_t peer = 0; peer < world->options.nodes; peer++) {
        if (peer == node) continue;
        lose_all(world, node, peer);
        lose_all(world, peer, node);
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

void network_dial(struct world *world, const struct event *event)
{
    struct sim_node *node = &world->nodes[event->node];
    const struct sim_node *peer = &world->nodes[event->peer];
    if (!node->up || node->life != event->life) return;
    struct sim_link *link = link_of(world, event->node, event->shard, event->peer);
    CHECK(!link->up);
    /* A process that is stopped answers no hello, and is not there to dial either. */
    if (!peer->up || peer->paused || node->paused || world->cut[event->node][event->peer]) {
        post_dial(world, event->node, event->shard, event->peer, world->options.redial);
        return;
    }
    link->up = true;
    link->life++;
    link->arrival_ns = 0;
    shard_link_changed(node->shards[event->shard].shard, peer->id, true);
    world_wake(world, event->node, event->shard);
}

void network_send(struct world *world, uint32_t node, uint32_t shard, uint32_t peer, struct buffer *batch)
{
    struct sim_link *link = link_of(world, node, shard, peer);
    CHECK(batch->size <= FRAME_PEER_BYTES_MAX);
    world->counts.batches++;
    world->counts.bytes += batch->size;
    if (link->up && prng_chance(&world->prng, world->options.resets_per_million, 1000000)) {
        world->counts.resets++;
        if (world_traced(world)) world_note(world, "n%u.%u loses its link to n%u", node + 1, shard, peer + 1);
        lose(world, node, shard, peer);
    }
    if (!link->up) {
        buffer_fini(batch);
        return;
    }
    uint64_t at_ns = world->now_ns + world_draw(world, world->options.network);
    if (at_ns < link->arrival_ns) at_ns = link->arrival_ns;
    link->arrival_ns = at_ns;
    events_post(&world->events, (struct event){.at_ns = at_ns,
                                               .kind = EVENT_ARRIVAL,
                                               .node = node,
                                               .shard = shard,
                                               .peer = peer,
                                               .life = link->life,
                                               .bytes = *batch});
    *batch = (struct buffer){0};
}

void network_arrival(struct world *world, struct event *event)
{
    const struct sim_link *link = link_of(world, event->node, event->shard, event->peer);
    struct sim_node *to = &world->nodes[event->peer];
    if (link->life != event->life || !to->up) {
        buffer_fini(&event->bytes);
        return;
    }
    uint32_t shard = event->shard % to->shard_count;
    world_mix(world, event->node, buffer_bytes(&event->bytes));
    if (world_traced(world))
        describe_batch(world, event->node, event->shard, event->peer, shard, buffer_bytes(&event->bytes));
    shard_deliver(to->shards[shard].shard, world->nodes[event->node].id, buffer_bytes(&event->bytes), free,
                  event->bytes.data);
    world_wake(world, event->peer, shard);
}

void world_reset(struct world *world, uint32_t a, uint32_t b)
{
    world->counts.resets++;
    if (world_traced(world)) world_note(world, "the links between n%u and n%u are lost", a + 1, b + 1);
    lose_all(world, a, b);
    lose_all(world, b, a);
}

void world_set_resets(struct world *world, uint32_t per_million)
{
    world->options.resets_per_million = per_million;
}

void world_cut(struct world *world, uint32_t a, uint32_t b)
{
    world->cut[a][b] = world->cut[b][a] = true;
    world_reset(world, a, b);
}

void world_mend(struct world *world, uint32_t a, uint32_t b)
{
    if (world_traced(world)) world_note(world, "n%u and n%u can see one another again", a + 1, b + 1);
    world->cut[a][b] = world->cut[b][a] = false;
}
