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
 * Faults may break even that: batches that come twice, late or from a link that is lost.
 * A crash takes a node's memory and what its disks had not synced, or all but the first of it; a pause
 * (SIGSTOP) takes its turns only. Nothing is a process global: many worlds may live in one process. */
#pragma once

#include "actor/shard.h"
#include "client.pb-c.h"
#include "store/store.h"
#include "world/event.h"

enum { WORLD_NODES_MAX = RING_NODES_MAX, WORLD_SHARDS_MAX = 8 };

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
    int32_t drift_ppm[WORLD_NODES_MAX];             /* and how much faster it runs */
    struct span network, local, sync, turn, redial; /* how long each takes */
    bool uneven;             /* each way from node to node has a longest time of its own, within network */
    uint64_t stall_ns;       /* a way that carries nothing for so long loses its links */
    struct span late;        /* how much later than the others a repeated, overtaken or stray batch comes */
    uint32_t resets;         /* of a million batches so many lose their link, */
    uint32_t losses;         /* ... are lost, as where an outbox is full, */
    uint32_t repeats;        /* ... come twice (no stream does that), */
    uint32_t overtakings;    /* ... come late, after those behind them (no stream does that either) */
    uint32_t strays;         /* of a million batches on a link that is lost so many arrive yet, late */
    uint32_t client_resets;  /* of a million answers so many are lost with their connection */
    uint32_t operations_max; /* node_options; 0: the default */
    uint64_t repair_pass_ns, audit_pass_ns; /* the same; 0: no anti-entropy */
    uint64_t reap_after_ns;                 /* node.h */
    uint64_t hint_bytes_max;                /* of a shard; 0: the default */
    bool unchecked;                         /* no shard_check after each turn */
    bool silent;                            /* no heartbeats: a node can be reached while it is linked */
    bool blank;  /* stores have to find out that they are the first of their shard */
    bool seeded; /* the first node's configuration has all members, the others' only the first */
};

/* What befell the nodes, disks, links and clocks of a world. */
enum world_fault {
    WORLD_CRASH, /* a node ... */
    WORLD_POWER, /* all of them at once */
    WORLD_PAUSE,
    WORLD_WIPE,
    WORLD_CUT,     /* two nodes, both ways ... */
    WORLD_CUT_WAY, /* and one way */
    WORLD_SPLIT,   /* some nodes from all others */
    WORLD_CLOG,
    WORLD_STALL, /* a way carried nothing for so long that its links were given up */
    WORLD_RESET,
    WORLD_LOSS, /* a batch ... */
    WORLD_REPEAT,
    WORLD_OVERTAKING,
    WORLD_STRAY,
    WORLD_CLIENT_RESET,
    WORLD_FORGOTTEN, /* a store lost commits in a crash ... */
    WORLD_MID_SYNC,  /* and a sync was under way */
    WORLD_HELD_DISK,
    WORLD_SLOW_DISK,
    WORLD_FULL_DISK,
    WORLD_READ_ERROR,
    WORLD_COMMIT_ERROR,
    WORLD_SYNC_ERROR,
    WORLD_ROT,
    WORLD_REFUSED_HINT,
    WORLD_CLOCK_JUMP,
    WORLD_FAULTS
};

/* In lower case, with dashes. */
const char *world_fault_name(enum world_fault fault);

/* Who is told what happens. Any may be NULL. What is handed over is borrowed for the call. */
struct world_watch {
    void *context;
    void (*answer)(void *context, uint64_t connection, const Dynode__Client__Response *response);
    void (*closed)(void *context, uint64_t connection);
    void (*line)(void *context,
                 const char *line); /* the trace: what the network carries and what befalls nodes */
};

struct world_counts {
    uint64_t turns, batches, bytes, syncs, restarts;
    uint64_t reaped;               /* objects with nothing but tombstones left */
    uint64_t faults[WORLD_FAULTS]; /* that took effect: a cut that nothing met, say, is none */
};

/* A node that was paused, or of which a shard was making a new store: it could not look at its clock. */
struct standstill {
    uint32_t node;
    uint64_t from_ns, until_ns;
};

struct world;

/* What most tests want: delays as on a local network with NVMe disks, drawn from the seed. */
struct world_options world_options_default(uint64_t seed);

/* Build and start it; all nodes begin at time 0, their links a moment later. */
struct world *world_alloc(const struct world_options *options, const struct world_watch *watch);
void world_free(struct world *world);

/* Somebody else wants the lines of the trace too, or instead. */
void world_trace(struct world *world, void (*line)(void *context, const char *line), void *context);

/* Run all that is due until @until_ns, which becomes the time. */
void world_run(struct world *world, uint64_t until_ns);

/* Run the next event. */
void world_step(struct world *world);

uint64_t world_now(const struct world *world);
uint64_t world_wall_ms(const struct world *world, uint32_t node);      /* its clock's time of day */
uint64_t world_monotonic_ns(const struct world *world, uint32_t node); /* and what its timers go by */
uint64_t
world_hash(const struct world *world); /* of all that happened: the same for the same seed and script */
struct world_counts world_counts(const struct world *world);
uint64_t
world_first_fault_ns(const struct world *world); /* when the first took effect; UINT64_MAX: none did */
struct prng *world_prng(struct world *world);

/* Call @call at @at_ns. */
void world_at(struct world *world, uint64_t at_ns, world_call *call, void *context, uint64_t argument);

/* --- what befalls nodes --- */

void world_crash(struct world *world, uint32_t node);   /* kill -9, and the disks' caches with it */
void world_restart(struct world *world, uint32_t node); /* after a crash */
void world_cut_power(struct world *world);              /* every node that is up crashes */
void world_pause(struct world *world, uint32_t node);
void world_resume(struct world *world, uint32_t node);
bool world_is_up(const struct world *world, uint32_t node);
bool world_is_paused(const struct world *world, uint32_t node);

/* All pauses that are over, and new stores, in the order of their ends. */
const struct standstill *world_standstills(const struct world *world, uint32_t *count);

/* How long any message, of a client too, was under way at most before a turn took it: through cuts, clogs and
 * pauses. */
uint64_t world_longest_mail_ns(const struct world *world);

/* Its clock is set: by so much forward, or back. */
void world_jump_clock(struct world *world, uint32_t node, int64_t by_ms);

/* --- what befalls the ways between them (ways.c) --- */

/* Lose all links between two nodes, once; they come back by themselves. */
void world_reset(struct world *world, uint32_t a, uint32_t b);

/* Keep two nodes apart until they are mended. Their links are lost at once. */
void world_cut(struct world *world, uint32_t a, uint32_t b);
void world_mend(struct world *world, uint32_t a, uint32_t b);

/* The same between the nodes of @side (bits) and all others. */
void world_split(struct world *world, uint32_t side);

/* Let nothing through from one node to the other, as a stream sees it: what is sent waits, nobody can dial
 * either way, and after stall_ns the links both ways are lost. Mending lets through what still waits. */
void world_cut_way(struct world *world, uint32_t from, uint32_t to);
void world_mend_way(struct world *world, uint32_t from, uint32_t to);

/* Hold back what is sent from one node to the other, and then let all of it go at once. */
void world_clog(struct world *world, uint32_t from, uint32_t to);
void world_unclog(struct world *world, uint32_t from, uint32_t to);

/* From now on no batch meets with a fault of its own (resets, losses, ... client_resets). */
void world_calm_network(struct world *world);

/* --- what befalls disks (disk.c) --- */

/* Let no sync of a node's disks finish until they are freed again. */
void world_hold_syncs(struct world *world, uint32_t node, bool hold);

/* Each sync takes so much longer; {0}: as it should be. */
void world_slow_disks(struct world *world, uint32_t node, struct span longer);

/* No store of the node takes a write until there is room again. */
void world_fill_disks(struct world *world, uint32_t node, bool full);

/* The next read (or commit, or sync) of a shard's store fails: the store is set aside, and the shard starts
 * anew with an empty one that counts for no read. False: the node is down. */
bool world_fail_disk(struct world *world, uint32_t node, uint32_t shard, enum store_mem_operation operation);

/* Nothing is held, slow, full or about to fail. */
void world_mend_disks(struct world *world, uint32_t node);

/* A bit of one stored object turns. False: there is none. */
bool world_rot(struct world *world, uint32_t node, uint32_t shard);

/* The disks of a node that is down are replaced by empty ones. */
void world_wipe(struct world *world, uint32_t node);

/* Does the node's copy count for reads, or has it lost its store (a failure, a wipe) and was not filled since
 * (actors/copies.h)? @n: homes of the table. Of a node that is down: what its disk says. */
bool world_is_copy_filled(const struct world *world, uint32_t node, uint32_t vnode, uint32_t n);

/* The same of all copies of the node. */
bool world_is_filled(const struct world *world, uint32_t node, uint32_t n);

/* ... and it is up, a crash would change nothing of that, and no disk of it is about to fail. */
bool world_is_safe(const struct world *world, uint32_t node, uint32_t n);

/* --- rumours --- */

/* Node @to hears from node @from what @records say, as if @from had known it: nobody else has heard of it. */
void world_tell(struct world *world, uint32_t from, uint32_t to, const struct cluster *records);

/* --- clients --- */

/* Connect to a node's shard; 0 if the node is down. Names are never used twice. */
uint64_t world_connect(struct world *world, uint32_t node, uint32_t shard);
bool world_is_open(const struct world *world, uint64_t connection);

/* Why its node closed it, which it does only with who does not keep to the protocol; NULL: it did not. A
 * crash, a store that is lost, a fault of the network and its client close it otherwise. */
const char *world_hung_up(const struct world *world, uint64_t connection);
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
