/* The ways of a world: what lies between two nodes in one direction, for all links on it. How long it takes,
 * and whether it carries anything.
 *
 *      cut        nothing passes, one way or both; a link can't be dialled again
 *      clogged    nothing passes, and nobody is told
 *      stalled    it carried nothing for stall_ns: the links on it are given up
 *
 * A cut that is seen at once (a refused connection) loses the links; one that swallows packets makes them
 * stall: what waits arrives when the way is open again (network.c). A fault counts from when something met
 * it. */
#include <stdlib.h>

#include "base/check.h"
#include "world/world_state.h"

static struct sim_way *way_of(const struct world *world, uint32_t from, uint32_t to)
{
    return &world->ways[(size_t)from * world->options.nodes + to];
}

uint64_t way_draw_delay(struct world *world, uint32_t from, uint32_t to)
{
    struct span delay = world->options.network;
    uint64_t max_ns = way_of(world, from, to)->delay_max_ns;
    if (max_ns != 0) delay.max_ns = max_ns;
    return world_draw(world, delay);
}

bool way_holds(const struct world *world, uint32_t from, uint32_t to)
{
    const struct sim_way *way = way_of(world, from, to);
    return way->cut || way->clogged;
}

bool ways_are_cut(const struct world *world, uint32_t a, uint32_t b)
{
    return way_of(world, a, b)->cut || way_of(world, b, a)->cut;
}

void way_meet(struct world *world, uint32_t from, uint32_t to)
{
    struct sim_way *way = way_of(world, from, to), *back = way_of(world, to, from);
    if (way->clogged && !way->clog_met) {
        way->clog_met = true;
        world_count(world, WORLD_CLOG, from);
    }
    if (!way->cut || way->cut_met) return;
    way->cut_met = true;
    if (way->cut_by == WORLD_SPLIT) return;
    if (way->cut_by == WORLD_CUT && back->cut && back->cut_by == WORLD_CUT) back->cut_met = true;
    world_count(world, way->cut_by, from);
}

void ways_init(struct world *world)
{
    uint32_t nodes = world->options.nodes;
    world->ways = calloc((size_t)nodes * nodes, sizeof(*world->ways));
    CHECK(world->ways != NULL);
    for (uint32_t from = 0; from < nodes && world->options.uneven; from++)
        for (uint32_t to = 0; to < nodes; to++)
            way_of(world, from, to)->delay_max_ns = world_draw(world, world->options.network);
}

void ways_fini(struct world *world)
{
    free(world->ways);
}

/* --- what befalls them --- */

/* It may be open again. */
static void let_go(struct world *world, uint32_t from, uint32_t to)
{
    way_of(world, from, to)->stall++;
    if (!way_holds(world, from, to)) network_let_go(world, from, to);
}

static void post_stalled(struct world *world, uint32_t from, uint32_t to)
{
    events_post(&world->events, &(struct event){.at_ns = world->now_ns + world->options.stall_ns,
                                                .kind = EVENT_STALLED,
                                                .node = from,
                                                .peer = to,
                                                .life = ++way_of(world, from, to)->stall});
}

void ways_stalled(struct world *world, const struct event *event)
{
    const struct sim_way *way = way_of(world, event->node, event->peer);
    bool still = way_holds(world, event->node, event->peer) || world->nodes[event->node].paused ||
                 world->nodes[event->peer].paused;
    if (way->stall != event->life || !still) return;
    if (network_lose_both(world, event->node, event->peer)) world_count(world, WORLD_STALL, event->node);
}

void ways_pause(struct world *world, uint32_t node)
{
    for (uint32_t peer = 0; peer < world->options.nodes; peer++)
        if (peer != node) post_stalled(world, node, peer);
}

/* A way that is cut already stays as it is: @by would change nothing. */
static void cut_way(struct world *world, uint32_t from, uint32_t to, enum world_fault by)
{
    struct sim_way *way = way_of(world, from, to);
    if (way->cut) return;
    way->cut = true;
    way->cut_by = by;
    way->cut_met = false;
}

void world_cut_way(struct world *world, uint32_t from, uint32_t to)
{
    if (world_traced(world)) world_note(world, "nothing passes from n%u to n%u", from + 1, to + 1);
    cut_way(world, from, to, WORLD_CUT_WAY);
    post_stalled(world, from, to);
}

void world_mend_way(struct world *world, uint32_t from, uint32_t to)
{
    if (!way_of(world, from, to)->cut) return;
    if (world_traced(world)) world_note(world, "n%u can reach n%u again", from + 1, to + 1);
    way_of(world, from, to)->cut = false;
    let_go(world, from, to);
}

void world_clog(struct world *world, uint32_t from, uint32_t to)
{
    struct sim_way *way = way_of(world, from, to);
    if (world_traced(world)) world_note(world, "the way from n%u to n%u is clogged", from + 1, to + 1);
    if (!way->clogged) way->clog_met = false;
    way->clogged = true;
    post_stalled(world, from, to);
}

void world_unclog(struct world *world, uint32_t from, uint32_t to)
{
    if (!way_of(world, from, to)->clogged) return;
    if (world_traced(world)) world_note(world, "the way from n%u to n%u is free again", from + 1, to + 1);
    way_of(world, from, to)->clogged = false;
    let_go(world, from, to);
}

static bool reset(struct world *world, uint32_t a, uint32_t b)
{
    if (world_traced(world)) world_note(world, "the links between n%u and n%u are lost", a + 1, b + 1);
    return network_lose_both(world, a, b);
}

void world_reset(struct world *world, uint32_t a, uint32_t b)
{
    if (reset(world, a, b)) world_count(world, WORLD_RESET, a);
}

/* Returns whether a link was lost by it. */
static bool cut(struct world *world, uint32_t a, uint32_t b, enum world_fault by)
{
    cut_way(world, a, b, by);
    cut_way(world, b, a, by);
    return reset(world, a, b);
}

void world_cut(struct world *world, uint32_t a, uint32_t b)
{
    if (!cut(world, a, b, WORLD_CUT)) return;
    way_meet(world, a, b);
    way_meet(world, b, a);
}

void world_split(struct world *world, uint32_t side)
{
    bool any = false;
    CHECK(world->options.nodes <= 32);
    for (uint32_t a = 0; a < world->options.nodes; a++)
        for (uint32_t b = 0; b < a; b++)
            if ((side >> a & 1) != (side >> b & 1)) any |= cut(world, a, b, WORLD_SPLIT);
    if (any) world_count(world, WORLD_SPLIT, 0);
}

void world_mend(struct world *world, uint32_t a, uint32_t b)
{
    if (world_traced(world)) world_note(world, "n%u and n%u can see one another again", a + 1, b + 1);
    way_of(world, a, b)->cut = way_of(world, b, a)->cut = false;
    let_go(world, a, b);
    let_go(world, b, a);
}
