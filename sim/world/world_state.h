/* The inside of a world, shared by world.c (nodes and turns), network.c (links), ways.c, disk.c, connection.c
 * (clients) and look.c. */
#pragma once

#include "actors/node.h"
#include "base/map.h"
#include "world/world.h"

/* A batch that has arrived and is not let through. */
struct sim_held {
    enum link_lane lane;
    uint32_t number; /* of its link's batches */
    uint64_t sent_ns;
    struct buffer batch;
};

/* The links that a shard has dialled to one peer, one for each lane: they come and go together, and order is
 * kept within a lane only. */
struct sim_link {
    bool up;
    uint32_t life;              /* raised when it is lost: what was under way arrives in no other life */
    uint32_t sent;              /* batches, in all its lives, ... */
    uint32_t delivered[LANES];  /* ... and the number of the last that arrived in its place in the stream */
    uint64_t arrival_ns[LANES]; /* of the last batch: what follows comes later */
    struct sim_held *held;      /* arrived while the way was clogged or cut */
    uint32_t held_count;
};

/* The way from one node to another, for all links on it. */
struct sim_way {
    uint64_t delay_max_ns; /* 0: as the options say */
    bool cut, clogged;
    enum world_fault cut_by; /* WORLD_CUT: both ways; WORLD_CUT_WAY: this one; or WORLD_SPLIT */
    bool cut_met, clog_met;  /* something met it, and it was counted */
    uint64_t stall;          /* counts when it stopped carrying: an EVENT_STALLED of another time is void */
};

struct sim_shard {
    struct store *store;    /* outlives crashes */
    bool born;              /* false: it replaced one that was lost */
    bool replaced;          /* ... while its node was up */
    uint64_t life;          /* of @shard: no two have the same */
    struct shard *shard;    /* NULL while the node is down */
    uint64_t turn_ns;       /* when its next turn is due; UINT64_MAX: none */
    uint64_t alarm_ns;      /* the latest of its turns in the heap, if that is still to come */
    uint64_t busy_ns;       /* the last turn takes until then */
    uint64_t mail_ns;       /* when the oldest of its mail was sent; UINT64_MAX: it has none */
    bool syncing, early;    /* early: what the sync under way covers is on the disk already */
    uint64_t synced_turn;   /* covered by a sync that ended while it was held up */
    struct sim_link *links; /* by peer */
};

struct sim_node {
    uint64_t id;
    bool up, paused, hold_syncs, full;
    struct span slow;                  /* how much longer a sync takes */
    bool hold_met, slow_met, full_met; /* something met that, and it was counted */
    int64_t clock_jump_ms;             /* all its jumps, added up */
    uint64_t paused_ns;                /* since then, if it is */
    uint64_t life;                     /* raised by every start and crash */
    uint64_t incarnation;              /* its wall clock when it started */
    uint32_t shard_count;
    struct sim_shard shards[WORLD_SHARDS_MAX];
};

struct sim_connection {
    uint64_t id;
    uint32_t node, shard;
    bool open;
    const char *hung_up; /* by its node, and why */
    uint64_t request_ns, answer_ns; /* of the last frame under way */
};

struct world {
    struct world_options options;
    struct world_watch watch;
    void (*trace)(void *context, const char *line);
    void *trace_context;
    struct world_counts counts;
    struct prng prng;
    struct events events;
    uint64_t now_ns, hash, first_fault_ns;
    uint64_t longest_mail_ns;
    struct cluster cluster; /* the configuration's */
    struct sim_node *nodes;
    struct sim_way *ways; /* from, to; an idle one is never written, and takes no memory */
    uint64_t lives;
    struct sim_connection **connections; /* by id - 1 */
    uint32_t connection_count;
    struct standstill *standstills;
    uint32_t standstill_count;
    struct arena arena;           /* for what is decoded here */
    struct traced_request *asked; /* what was described and is not answered yet */
    uint32_t asked_count;
};

uint64_t world_draw(struct world *world, struct span span);

/* Mix what happened into the hash. */
void world_mix(struct world *world, uint64_t a, struct bytes bytes);

static inline bool world_traced(const struct world *world)
{
    return world->watch.line != NULL || world->trace != NULL;
}

/* Nothing happened on a node in that time. */
void world_stood_still(struct world *world, uint32_t node, uint64_t from_ns, uint64_t until_ns);

/* A shard has something to do: it gets a turn. */
void world_wake(struct world *world, uint32_t node, uint32_t shard);

/* The same for mail that was sent at @sent_ns. */
void world_wake_for_mail(struct world *world, uint32_t node, uint32_t shard, uint64_t sent_ns);

void world_count(struct world *world, enum world_fault fault, uint32_t node);

/* A turn at the earliest moment that @at_ns and the turn before it allow. */
void world_schedule(struct world *world, uint32_t node, uint32_t shard, uint64_t at_ns);

/* Hand on all that a shard has for others. */
void world_drain(struct world *world, uint32_t node, uint32_t shard);

/* Make a shard on its store. @cluster: what it begins with. */
void world_start_shard(struct world *world, uint32_t node, uint32_t shard, const struct cluster *cluster);

/* The time on a node's monotonic clock, and when that clock shows a time. */
uint64_t world_time_at(const struct world *world, uint32_t node, uint64_t monotonic_ns);

/* --- network.c --- */

void network_fini(struct world *world);

/* All links of a node that has started are to be dialled. */
void network_start(struct world *world, uint32_t node);

/* A node has crashed: what it dialled is gone, and what others dialled to it breaks. */
void network_crash(struct world *world, uint32_t node);

/* Put a batch (moved) on the link of node.shard to @peer. */
void network_send(struct world *world, uint32_t node, uint32_t shard, uint32_t peer, enum link_lane lane,
                  struct buffer *batch);

void network_arrival(struct world *world, struct event *event);
void network_link_lost(struct world *world, const struct event *event);
void network_dial(struct world *world, const struct event *event);

/* All links between two nodes break. False: none was up. */
bool network_lose_both(struct world *world, uint32_t a, uint32_t b);

/* The way is open: what waited for that arrives, in its order. */
void network_let_go(struct world *world, uint32_t from, uint32_t to);

/* A shard has started anew on a node that stays up: it is told which of its links are. */
void network_tell(struct world *world, uint32_t node, uint32_t shard);

/* --- ways.c --- */

/* All are open and as long as the options say. */
void ways_init(struct world *world);
void ways_fini(struct world *world);

uint64_t way_draw_delay(struct world *world, uint32_t from, uint32_t to);

/* Does nothing pass now? */
bool way_holds(const struct world *world, uint32_t from, uint32_t to);

/* Is one of the two ways between them cut? */
bool ways_are_cut(const struct world *world, uint32_t a, uint32_t b);

/* Something met what befell the way: a cut is counted once, for both of its directions, and a split for all
 * of them. */
void way_meet(struct world *world, uint32_t from, uint32_t to);

void ways_stalled(struct world *world, const struct event *event);

/* A node that stands still: after stall_ns its links are lost. */
void ways_pause(struct world *world, uint32_t node);

/* --- disk.c --- */

/* Open the store of a shard for the first time, or open it again after a crash; replace it if it is broken.
 */
void disk_claim(struct world *world, uint32_t node, uint32_t shard);

/* Forget what was not durable: all of it, or all but some of the first commits. */
void disk_crash(struct world *world, uint32_t node, uint32_t shard);

/* Begin a sync if something waits for one. */
void disk_sync(struct world *world, uint32_t node, uint32_t shard);
void disk_synced(struct world *world, const struct event *event);

/* End a sync that was held up, if one was. */
void disk_catch_up(struct world *world, uint32_t node, uint32_t shard);

/* After a turn: a full disk is a fault from when it refuses something. */
void disk_refused(struct world *world, uint32_t node, uint32_t shard);

/* The shard's store is broken: it gets an empty one, and starts anew. */
void disk_replace(struct world *world, uint32_t node, uint32_t shard);

/* --- connection.c --- */

void connection_send_answers(struct world *world, struct outbox *outbox);

/* A shard (UINT32_MAX: every one) of a node has gone, and the connections to it with it. */
void connection_lose(struct world *world, uint32_t node, uint32_t shard);
void connection_request(struct world *world, const struct event *event);
void connection_answer(struct world *world, const struct event *event);

/* --- describe.c: lines of a trace --- */

/* The messages of a batch that comes from node.shard to node.shard, but for pings. */
void describe_batch(struct world *world, uint32_t from, uint32_t from_shard, uint32_t to, uint32_t to_shard,
                    struct bytes batch);

/* What a shard has stored since there were so many @commits: the only line about what it asks of itself. Like
 * the two that follow it is for world_trace only. */
void describe_stored(struct world *world, uint32_t node, uint32_t shard, size_t commits);

/* What a client asks, and what it is told, with the key it asked for: stories say it in their own words. */
void describe_request(struct world *world, const struct sim_connection *connection, struct bytes payload);
void describe_response(struct world *world, const struct sim_connection *connection,
                       const Dynode__Client__Response *response);
void describe_fini(struct world *world);
