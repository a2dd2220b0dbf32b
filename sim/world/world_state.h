/* The inside of a world, shared by world.c (nodes, turns, disks, clients) and network.c (links). */
#pragma once

#include "actors/node.h"
#include "base/map.h"
#include "world/world.h"

/* The link that a shard has dialled to one peer. */
struct sim_link {
    bool up;
    uint64_t life;       /* raised when it is lost: what was under way arrives in no other life */
    uint64_t arrival_ns; /* of the last batch: what follows comes later */
};

struct sim_shard {
    struct store *store;  /* outlives crashes */
    struct shard *shard;  /* NULL while the node is down */
    uint64_t turn_ns;     /* when its next turn is due; UINT64_MAX: none */
    uint64_t busy_ns;     /* the last turn takes until then */
    bool syncing, early;  /* early: what the sync under way covers is on the disk already */
    uint64_t synced_turn; /* covered by a sync that ended while it was held up */
    struct sim_link links[WORLD_NODES_MAX];
};

struct sim_node {
    uint64_t id;
    bool up, paused, hold_syncs;
    uint64_t life; /* raised by every start and crash */
    uint32_t shard_count;
    struct sim_shard shards[WORLD_SHARDS_MAX];
};

struct sim_connection {
    uint64_t id;
    uint32_t node, shard;
    bool open;
    uint64_t request_ns, answer_ns; /* of the last frame under way */
};

struct world {
    struct world_options options;
    struct world_watch watch;
    struct world_counts counts;
    struct prng prng;
    struct events events;
    uint64_t now_ns, hash;
    struct cluster cluster; /* the configuration's */
    struct sim_node nodes[WORLD_NODES_MAX];
    bool cut[WORLD_NODES_MAX][WORLD_NODES_MAX];
    struct sim_connection **connections; /* by id - 1 */
    uint32_t connection_count;
    struct arena arena; /* for what is decoded here */
};

uint64_t world_draw(struct world *world, struct span span);

/* Mix what happened into the hash. */
void world_mix(struct world *world, uint64_t a, struct bytes bytes);

static inline bool world_traced(const struct world *world)
{
    return world->watch.line != NULL;
}

/* A shard has mail: it gets a turn. */
void world_wake(struct world *world, uint32_t node, uint32_t shard);

/* --- network.c --- */

/* All links of a node that has started are to be dialled. */
void network_start(struct world *world, uint32_t node);

/* A node has crashed: what it dialled is gone, and what others dialled to it breaks. */
void network_crash(struct world *world, uint32_t node);

/* Put a batch (moved) on the link of node.shard to @peer. */
void network_send(struct world *world, uint32_t node, uint32_t shard, uint32_t peer, struct buffer *batch);

void network_arrival(struct world *world, struct event *event);
void network_link_lost(struct world *world, const struct event *event);
void network_dial(struct world *world, const struct event *event);

/* --- describe.c: lines of a trace --- */

/* The messages of a batch that comes from node.shard to node.shard, but for pings. */
void describe_batch(struct world *world, uint32_t from, uint32_t from_shard, uint32_t to, uint32_t to_shard,
                    struct bytes batch);
