/* The disks of a world: one in-memory store a shard (store_mem), whose syncs take time, and what goes wrong
 * with it.
 *
 *      turn: commit ... [ sync under way ] ... shard_durable
 *                         |  a crash here forgets what was committed, or all but the first commits of it
 *
 * A store whose read, commit or sync failed is not tried again: as in runtime/, it is set aside, and its
 * shard starts anew on an empty one that counts for no read, while the rest of the node goes on. */
#include <stdlib.h>

#include "actors/copies.h"
#include "base/check.h"
#include "world/world_state.h"

/* An empty store in the place of one that is lost. An error is counted here, as it takes place only if
 * somebody asks the store before it is mended. */
static void renew(struct world *world, uint32_t node, uint32_t shard)
{
    static const enum world_fault faults[] = {[STORE_MEM_READ] = WORLD_READ_ERROR,
                                              [STORE_MEM_COMMIT] = WORLD_COMMIT_ERROR,
                                              [STORE_MEM_SYNC] = WORLD_SYNC_ERROR};
    struct sim_shard *sim = &world->nodes[node].shards[shard];
    for (uint32_t operation = STORE_MEM_READ; operation <= STORE_MEM_SYNC; operation++)
        if (store_mem_has_failed(sim->store, (enum store_mem_operation)operation))
            world_count(world, faults[operation], node);
    store_close(sim->store);
    sim->store = store_mem_open();
    sim->born = false;
}

void disk_claim(struct world *world, uint32_t node, uint32_t shard)
{
    const struct sim_node *owner = &world->nodes[node];
    struct sim_shard *sim = &world->nodes[node].shards[shard];
    struct identity identity = {.cluster = world->cluster.id,
                                .node = owner->id,
                                .shard = shard,
                                .shards = owner->shard_count,
                                .vnodes = world->cluster.vnodes,
                                .born = sim->born};
    char why[128];
    if (store_error(sim->store)[0] != 0) { /* it broke, and the node ended before it noticed */
        renew(world, node, shard);
        identity.born = false;
    }
    store_mem_set_full(sim->store, false); /* a few bytes are found for a new store's name */
    CHECK(identity_claim(sim->store, &identity, why, sizeof(why), &identity) == STATUS_OK);
    store_mem_set_full(sim->store, owner->full);
    sim->born = identity.born;
}

void disk_crash(struct world *world, uint32_t node, uint32_t shard)
{
    struct sim_shard *sim = &world->nodes[node].shards[shard];
    size_t unsynced = store_mem_unsynced(sim->store);
    size_t kept = unsynced > 0 && prng_chance(&world->prng, 1, 2) ? prng_below(&world->prng, unsynced) : 0;
    if (unsynced > kept) world_count(world, WORLD_FORGOTTEN, node);
    if (sim->syncing) world_count(world, WORLD_MID_SYNC, node);
    sim->syncing = false;
    sim->synced_turn = 0;
    store_mem_crash_after(sim->store, kept);
}

/* --- syncs --- */

void disk_sync(struct world *world, uint32_t node, uint32_t shard)
{
    struct sim_node *owner = &world->nodes[node];
    struct sim_shard *sim = &owner->shards[shard];
    uint64_t turn = shard_committed_turn(sim->shard);
    if (sim->syncing || turn == shard_durable_turn(sim->shard)) return;
    sim->syncing = true;
    world->counts.syncs++;
    /* The bytes may reach the disk early within a sync, or late and with what was committed meanwhile: only
     * that the turns before its beginning are there at its end may be relied on. */
    sim->early = prng_chance(&world->prng, 1, 2) && !owner->hold_syncs && store_sync(sim->store) == STATUS_OK;
    if (owner->slow.max_ns > 0 && !owner->slow_met) {
        owner->slow_met = true;
        world_count(world, WORLD_SLOW_DISK, node);
    }
    uint64_t takes_ns = world_draw(world, world->options.sync);
    takes_ns += world_draw(world, owner->slow); /* C leaves open which of two draws in one sum comes first */
    events_post(&world->events, &(struct event){.at_ns = world->now_ns + takes_ns,
                                                .kind = EVENT_SYNCED,
                                                .node = node,
                                                .shard = shard,
                                                .life = sim->life,
                                                .number = turn});
}

static void end_sync(struct world *world, uint32_t node, uint32_t shard, uint64_t turn)
{
    struct sim_shard *sim = &world->nodes[node].shards[shard];
    sim->syncing = false;
    sim->synced_turn = 0;
    if (!sim->early && store_sync(sim->store) != STATUS_OK) {
        disk_replace(world, node, shard);
        return;
    }
    shard_durable(sim->shard, turn);
    world_drain(world, node, shard);
    if (shard_has_mail(sim->shard)) world_wake(world, node, shard);
    disk_sync(world, node, shard);
}

void disk_synced(struct world *world, const struct event *event)
{
    struct sim_node *node = &world->nodes[event->node];
    struct sim_shard *sim = &world->nodes[event->node].shards[event->shard];
    if (sim->life != event->life) return;
    if (node->hold_syncs && !node->hold_met) {
        node->hold_met = true;
        world_count(world, WORLD_HELD_DISK, event->node);
    }
    if (node->paused || node->hold_syncs)
        sim->synced_turn = event->number;
    else
        end_sync(world, event->node, event->shard, event->number);
}

void disk_catch_up(struct world *world, uint32_t node, uint32_t shard)
{
    const struct sim_shard *sim = &world->nodes[node].shards[shard];
    if (sim->synced_turn != 0 && !world->nodes[node].hold_syncs)
        end_sync(world, node, shard, sim->synced_turn);
}

/* --- what goes wrong --- */

void disk_replace(struct world *world, uint32_t node, uint32_t shard)
{
    struct sim_shard *sim = &world->nodes[node].shards[shard];
    if (world_traced(world))
        world_note(world, "n%u.%u sets its store aside: %s", node + 1, shard, store_error(sim->store));
    struct cluster cluster;
    cluster_copy(shard_turn_context(sim->shard)->cluster, &cluster);
    shard_free(sim->shard);
    renew(world, node, shard);
    sim->replaced = true;
    disk_claim(world, node, shard);
    world_start_shard(world, node, shard, &cluster);
    cluster_fini(&cluster);
    connection_lose(world, node, shard);
    network_tell(world, node, shard);
    sim->busy_ns = world->now_ns + world_draw(world, world->options.redial);
    world_stood_still(world, node, world->now_ns, sim->busy_ns);
    world_wake(world, node, shard);
}

void world_hold_syncs(struct world *world, uint32_t node, bool hold)
{
    struct sim_node *sim = &world->nodes[node];
    if (hold && !sim->hold_syncs) sim->hold_met = false;
    sim->hold_syncs = hold;
    if (hold || sim->paused) return;
    for (uint32_t shard = 0; shard < sim->shard_count; shard++) disk_catch_up(world, node, shard);
}

void world_slow_disks(struct world *world, uint32_t node, struct span longer)
{
    world->nodes[node].slow = longer;
    world->nodes[node].slow_met = false;
}

void disk_refused(struct world *world, uint32_t node, uint32_t shard)
{
    struct sim_node *sim = &world->nodes[node];
    if (!sim->full || sim->full_met || !store_mem_has_refused(sim->shards[shard].store)) return;
    sim->full_met = true;
    world_count(world, WORLD_FULL_DISK, node);
}

void world_fill_disks(struct world *world, uint32_t node, bool full)
{
    struct sim_node *sim = &world->nodes[node];
    if (full && !sim->full) sim->full_met = false;
    if (world_traced(world))
        world_note(world, "the disks of n%u %s", node + 1, full ? "are full" : "have room");
    sim->full = full;
    for (uint32_t shard = 0; shard < sim->shard_count; shard++)
        store_mem_set_full(sim->shards[shard].store, full);
}

bool world_fail_disk(struct world *world, uint32_t node, uint32_t shard, enum store_mem_operation operation)
{
    if (!world->nodes[node].up) return false;
    store_mem_fail(world->nodes[node].shards[shard].store, operation, true);
    return true;
}

void world_mend_disks(struct world *world, uint32_t node)
{
    const struct sim_node *sim = &world->nodes[node];
    for (uint32_t shard = 0; shard < sim->shard_count; shard++)
        for (uint32_t operation = STORE_MEM_READ; operation <= STORE_MEM_SYNC; operation++)
            store_mem_fail(sim->shards[shard].store, (enum store_mem_operation)operation, false);
    world_slow_disks(world, node, (struct span){0});
    world_hold_syncs(world, node, false); /* what was held ends here and now, and must not fail */
    if (sim->full) world_fill_disks(world, node, false);
}

bool world_rot(struct world *world, uint32_t node, uint32_t shard)
{
    if (!store_mem_rot(world->nodes[node].shards[shard].store, STORE_OBJECTS, prng_next(&world->prng)))
        return false;
    world_count(world, WORLD_ROT, node);
    if (world_traced(world)) world_note(world, "a bit turns on the disk of n%u.%u", node + 1, shard);
    return true;
}

void world_wipe(struct world *world, uint32_t node)
{
    CHECK(!world->nodes[node].up);
    world_count(world, WORLD_WIPE, node);
    if (world_traced(world)) world_note(world, "the disks of n%u are wiped", node + 1);
    for (uint32_t shard = 0; shard < world->nodes[node].shard_count; shard++) renew(world, node, shard);
}

/* What a shard knows of its copies; *loaded is used where it is down. */
static const struct copies *copies_of(const struct sim_shard *sim, uint32_t vnodes, struct copies *loaded)
{
    bool lost = store_error(sim->store)[0] != 0; /* though nobody may have noticed yet */
    if (sim->shard != NULL && !lost) return node_copies(sim->shard);
    CHECK(copies_load(loaded, sim->store, sim->born && !lost, vnodes, 0) == STATUS_OK || lost);
    return loaded;
}

bool world_is_copy_filled(const struct world *world, uint32_t node, uint32_t vnode, uint32_t n)
{
    struct copies loaded = {0};
    const struct sim_node *owner = &world->nodes[node];
    const struct sim_shard *sim = &owner->shards[vnode % owner->shard_count];
    bool filled = copies_is_filled(copies_of(sim, world->cluster.vnodes, &loaded), vnode, n);
    copies_fini(&loaded);
    return filled;
}

bool world_is_filled(const struct world *world, uint32_t node, uint32_t n)
{
    const struct sim_node *owner = &world->nodes[node];
    struct ring *ring = cluster_ring(&world->cluster);
    bool filled = true;
    if (n > world->options.nodes) n = world->options.nodes;
    for (uint32_t shard = 0; shard < owner->shard_count; shard++) {
        struct copies loaded = {0};
        const struct copies *copies = copies_of(&owner->shards[shard], world->cluster.vnodes, &loaded);
        for (uint32_t vnode = shard; vnode < world->cluster.vnodes; vnode += owner->shard_count)
            if (ring_is_home(ring, vnode, n, owner->id) && !copies_is_filled(copies, vnode, n))
                filled = false;
        copies_fini(&loaded);
    }
    ring_free(ring);
    return filled;
}

bool world_is_safe(const struct world *world, uint32_t node, uint32_t n)
{
    if (!world->nodes[node].up || !world_is_filled(world, node, n)) return false;
    for (uint32_t shard = 0; shard < world->nodes[node].shard_count; shard++) {
        const struct store *store = world->nodes[node].shards[shard].store;
        if (store_mem_unsynced(store) > 0 || store_mem_will_fail(store)) return false;
    }
    return true;
}
