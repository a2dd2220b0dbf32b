/* World: a whole cluster in one thread and in virtual time, from a seed.
 *
 * It runs the very actors of the server: it calls shard_turn where runtime/ has threads, moves packed batches
 * where runtime/ has queues and sockets, and keeps the stores in memory (store_mem).
 *
 *      client --frames--> shard --outbox--> batches --links, after a while--> shard ...
 *                           |
 *                           commit ... sync, after a while ... shard_durable
 *
 * Links are those of runtime/: shard i of a node dials shard (i modulo its shards) of every other node, and
 * sends only there; what arrives keeps its order, until the link is lost with all that is under way on it.
 * A crash takes a node's memory and what its disks had not synced; a pause (SIGSTOP) takes its turns only.
 * Nothing is a process global: many worlds may live in one process. */
#pragma once

#include "actor/shard.h"
#include "client.pb-c.h"
#include "world/event.h"

enum { WORLD_NODES_MAX = 16, WORLD_SHARDS_MAX = 8 };

/* A time drawn evenly from [min, max]. */
struct span {
    uint64_t min_ns, max_ns;
};

struct world_options {
    uint64_t seed;
    uint32_t nodes;
    uint32_t shards;                     /* of every node ... */
    uint32_t shards_of[WORLD_NODES_MAX]; /* ... or of this one, where it is not 0 */
    uint32_t vnodes;
    uint32_t skew_ms[WORLD_NODES_MAX];              /* how far each node's clock is ahead */
    struct span network, local, sync, turn, redial; /* how long each takes */
    uint32_t resets_per_million;                    /* how many of a million batches lose their link */
    uint32_t operations_max;                        /* node_options; 0: the default */
};

/* Who is told what happens. Any may be NULL. What is handed over is borrowed for the call. */
struct world_watch {
    void *context;
    void (*answer)(void *context, uint64_t connection, const Dynode__Client__Response *response);
    void (*closed)(void *context, uint64_t connection);
    void (*line)(void *context,
                 const char *line); /* the trace: what the network carries and what befalls nodes */
};

struct world_counts {
    uint64_t turns, batches, bytes, syncs, resets, crashes, restarts, pauses;
};

struct world;

/* What most tests want: delays as on a local network with NVMe disks, drawn from the seed. */
struct world_options world_options_default(uint64_t seed);

/* Build and start it; all nodes begin at time 0, their links a moment later. */
struct world *world_alloc(const struct world_options *options, const struct world_watch *watch);
void world_free(struct world *world);

/* Run all that is due until @until_ns, which becomes the time. */
void world_run(struct world *world, uint64_t until_ns);

/* Run the next event. */
void world_step(struct world *world);

uint64_t world_now(const struct world *world);
uint64_t world_wall_ms(const struct world *world, uint32_t node);
uint64_t
world_hash(const struct world *world); /* of all that happened: the same for the same seed and script */
struct world_counts world_counts(const struct world *world);
struct prng *world_prng(struct world *world);

/* Call @call at @at_ns. */
void world_at(struct world *world, uint64_t at_ns, world_call *call, void *context, uint64_t argument);

/* --- what befalls nodes and links --- */

void world_crash(struct world *world, uint32_t node);   /* kill -9, and the disks' caches with it */
void world_restart(struct world *world, uint32_t node); /* after a crash */
void world_pause(struct world *world, uint32_t node);
void world_resume(struct world *world, uint32_t node);
bool world_is_up(const struct world *world, uint32_t node);
bool world_is_paused(const struct world *world, uint32_t node);

/* Lose all links between two nodes, once; they come back by themselves. */
void world_reset(struct world *world, uint32_t a, uint32_t b);

/* From now on so many of a million batches lose their link. */
void world_set_resets(struct world *world, uint32_t per_million);

/* Keep two nodes apart until they are mended. */
void world_cut(struct world *world, uint32_t a, uint32_t b);
void world_mend(struct world *world, uint32_t a, uint32_t b);

/* Let no sync of a node's disks finish until they are freed again. */
void world_hold_syncs(struct world *world, uint32_t node, bool hold);

/* --- clients --- */

/* Connect to a node's shard; 0 if the node is down. Names are never used twice. */
uint64_t world_connect(struct world *world, uint32_t node, uint32_t shard);
bool world_is_open(const struct world *world, uint64_t connection);
void world_disconnect(struct world *world, uint64_t connection);

/* Send a request, packed. False: the connection is gone. */
bool world_send(struct world *world, uint64_t connection, const Dynode__Client__Request *request);

/* --- looking inside --- */

uint64_t world_node_id(const struct world *world, uint32_t node);
uint32_t world_node_of(const struct world *world, uint64_t id); /* the number of nodes if it is none's */
uint32_t world_nodes(const struct world *world);
uint32_t world_shards(const struct world *world, uint32_t node);
struct shard *world_shard(struct world *world, uint32_t node,
                          uint32_t shard); /* NULL while the node is down */
struct store *world_store(struct world *world, uint32_t node, uint32_t shard);

/* The nodes that are homes of @key in @table, in order of preference, as a node that is up sees it. Returns
 * how many; 0 if there is no such table. */
uint32_t world_homes(struct world *world, const char *table, struct bytes key,
                     uint32_t homes[WORLD_NODES_MAX]);

/* Add a line of the script's own to the trace. */
__attribute__((format(printf, 2, 3))) void world_note(struct world *world, const char *format, ...);
