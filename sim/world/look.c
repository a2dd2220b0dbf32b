/* Looking inside a world: what scripts, checkers and tests may know that no client could. */
#include "base/check.h"
#include "base/hash.h"
#include "world/world_state.h"

static const uint64_t wall_start_ms = 1700000000000;

uint64_t world_now(const struct world *world)
{
    return world->now_ns;
}

uint64_t world_wall_ms(const struct world *world, uint32_t node)
{
    return wall_start_ms + world_monotonic_ns(world, node) / 1000000 + world->options.skew_ms[node] +
           (uint64_t)world->nodes[node].clock_jump_ms;
}

static uint64_t clock_rate(const struct world *world, uint32_t node)
{
    return (uint64_t)(1000000 + world->options.drift_ppm[node]);
}

uint64_t world_monotonic_ns(const struct world *world, uint32_t node)
{
    uint64_t rate = clock_rate(world, node);
    return world->now_ns / 1000000 * rate + world->now_ns % 1000000 * rate / 1000000;
}

uint64_t world_time_at(const struct world *world, uint32_t node, uint64_t monotonic_ns)
{
    uint64_t rate = clock_rate(world, node);
    return monotonic_ns / rate * 1000000 + (monotonic_ns % rate * 1000000 + rate - 1) / rate;
}

const char *world_fault_name(enum world_fault fault)
{
    static const char *const names[WORLD_FAULTS] = {
        [WORLD_CRASH] = "crash",
        [WORLD_POWER] = "power-cut",
        [WORLD_PAUSE] = "pause",
        [WORLD_WIPE] = "wipe",
        [WORLD_CUT] = "cut",
        [WORLD_CUT_WAY] = "one-way-cut",
        [WORLD_SPLIT] = "split",
        [WORLD_CLOG] = "clog",
        [WORLD_STALL] = "stall",
        [WORLD_RESET] = "reset",
        [WORLD_LOSS] = "loss",
        [WORLD_REPEAT] = "repeat",
        [WORLD_OVERTAKING] = "overtaking",
        [WORLD_STRAY] = "stray",
        [WORLD_CLIENT_RESET] = "client-reset",
        [WORLD_FORGOTTEN] = "forgotten-commit",
        [WORLD_MID_SYNC] = "crash-in-sync",
        [WORLD_HELD_DISK] = "held-disk",
        [WORLD_SLOW_DISK] = "slow-disk",
        [WORLD_FULL_DISK] = "full-disk",
        [WORLD_READ_ERROR] = "read-error",
        [WORLD_COMMIT_ERROR] = "commit-error",
        [WORLD_SYNC_ERROR] = "sync-error",
        [WORLD_ROT] = "rot",
        [WORLD_REFUSED_HINT] = "refused-hint",
        [WORLD_CLOCK_JUMP] = "clock-jump",
    };
    return names[fault];
}

uint64_t world_hash(const struct world *world)
{
    return world->hash;
}

struct world_counts world_counts(const struct world *world)
{
    return world->counts;
}

uint64_t world_first_fault_ns(const struct world *world)
{
    return world->first_fault_ns;
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

const struct standstill *world_standstills(const struct world *world, uint32_t *count)
{
    *count = world->standstill_count;
    return world->standstills;
}

uint64_t world_longest_mail_ns(const struct world *world)
{
    return world->longest_mail_ns;
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
    const struct turn *turn = NULL;
    const struct table *table = NULL;
    for (uint32_t node = 0; node < world->options.nodes && table == NULL; node++) {
        if (!world->nodes[node].up) continue; /* and one that was wiped may know of no table yet */
        turn = shard_turn_context(world->nodes[node].shards[0].shard);
        table = cluster_find_table(turn->cluster, bytes_str(name));
    }
    if (table == NULL) return 0;
    const uint64_t *list = ring_preference_list(turn->ring, ring_vnode(turn->ring, hash64(key, table->tag)));
    for (uint32_t i = 0; i < table->n; i++) homes[i] = world_node_of(world, list[i]);
    return table->n;
}
