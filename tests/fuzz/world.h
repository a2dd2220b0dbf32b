/* World: up to three whole shards (each a node of its own) on in-memory stores, with the messages between
 * them carried at once, and clients whose answers are held against their requests: every operation that was
 * taken is answered once, in a Response that decodes, before its deadline has long passed. The nodes that are
 * not real are played by the input (peer_fuzz.c). */
#pragma once

#include "actors/node.h"

enum {
    WORLD_NODES = 3,
    WORLD_CONNECTIONS = 4,
    WORLD_VNODES = 8,
    WORLD_CLUSTER_ID = 7,
    WORLD_ASKED_MAX = 256,
    WORLD_SENT_MAX = 64,
    WORLD_OPERATIONS_MAX = 64, /* in flight on a shard */
};

/* A request that was taken and is not answered yet. */
struct asked {
    uint32_t node;
    uint64_t connection, id;
    uint32_t requests;   /* of this id at once: a client should not, but may */
    uint32_t operations; /* of all of them */
    uint32_t results, lasts;
    uint8_t answered[1024 / 8]; /* bits by operation, of a single request */
};

struct world {
    uint32_t members; /* of the cluster: 1 or 3 */
    uint32_t real;    /* of them: the first ones */
    bool trusting;    /* peers may send results of any kind: only ids and ends are held against requests */
    bool hold;        /* stores don't sync for now */
    uint64_t now_ns, wall_ms;
    struct store *stores[WORLD_NODES];
    struct shard *shards[WORLD_NODES];
    uint64_t next_connection;
    uint64_t connections[WORLD_NODES][WORLD_CONNECTIONS]; /* 0: closed */
    struct asked asked[WORLD_ASKED_MAX];
    uint32_t asked_count;
    struct buffer context;         /* the last that a client got */
    uint32_t results, last_status; /* that clients got; of the last of them */
    uint64_t sent[WORLD_SENT_MAX]; /* the requests that peers were last sent, which only they can answer */
    uint32_t sent_count;
};

uint64_t world_node_id(uint32_t node);
struct context_secret world_secret(void);

void world_init(struct world *world, uint32_t members, uint32_t real, bool trusting);

/* Everything is answered at last (CHECK), then the world ends. */
void world_fini(struct world *world);

/* A client's frame. In its puts and deletes the context "@" stands for the last one that any client got. */
void world_client_frame(struct world *world, uint32_t node, uint32_t connection, struct bytes payload);
void world_client_closed(struct world *world, uint32_t node, uint32_t connection);

/* The @back-th last different request that a node sent to another one; 0 for none. */
uint64_t world_sent(const struct world *world, uint32_t back);

/* To the first node, as over the link from @from. */
void world_batch(struct world *world, uint32_t from, struct bytes batch);
void world_link(struct world *world, uint32_t node, uint32_t other, bool up);

/* Let time pass, and everything happen that follows. */
void world_run(struct world *world, uint64_t ms);
