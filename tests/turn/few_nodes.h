/* Few nodes: up to five whole nodes, each with its shards and in-memory stores, in one process: what one
 * leaves in its outbox is delivered to the other at once, through the codec, past a hook that may lose,
 * repeat or change it. Every turn is durable when it ends. Time passes by command. */
#pragma once

#include "actors/antientropy.h"
#include "actors/node.h"
#include "base/prng.h"
#include "wire/object_wire.h"

enum { FEW_NODES_MAX = 5, FEW_SHARDS_MAX = 3 };

enum few_fate { FEW_PASS, FEW_DROP, FEW_TWICE };

struct few_options {
    uint32_t nodes;
    uint32_t shards[FEW_NODES_MAX]; /* of each */
    uint32_t vnodes;
    uint32_t n; /* homes of table "t" */
    enum table_rule rule;
    uint64_t pass_ns, audit_ns;
    uint64_t reap_after_ns; /* node.h */
    uint64_t seed;
};

struct few_node {
    uint64_t id;
    bool up;
    bool silent; /* no anti-entropy when it starts */
    bool lost;   /* its stores: few_lose */
    struct store *stores[FEW_SHARDS_MAX];
    struct shard *shards[FEW_SHARDS_MAX];
};

/* One message between nodes; what it points to may be changed. */
typedef enum few_fate few_hook(void *context, uint32_t from, uint32_t to, Dynode__Peer__Message *message);

struct few {
    struct few_options options;
    struct cluster cluster;
    const struct table *table;
    struct few_node nodes[FEW_NODES_MAX];
    uint64_t now_ns, wall_ms, lives;
    struct prng prng;
    struct arena arena;
    few_hook *hook;
    void *context;
    uint64_t messages[64], bytes[64]; /* between nodes, by kind */
};

/* Stores are there and empty; no node is up. */
void few_begin(struct few *few, const struct few_options *options);
void few_end(struct few *few);

void few_start(struct few *few, uint32_t node);
void few_stop(struct few *few, uint32_t node);

/* Replace the stores of a node that is down by empty ones. */
void few_lose(struct few *few, uint32_t node);

/* How many copies of table "t" count on a node that is up, and how many of its own do not. */
void few_copies(struct few *few, uint32_t node, uint32_t *filled, uint32_t *unfilled);

/* Let time pass; all mail and timers run. */
void few_pass_ms(struct few *few, uint64_t ms);

/* Mail to a shard from one of @from's. */
void few_deliver(struct few *few, uint32_t to, uint32_t shard, uint64_t from,
                 const Dynode__Peer__Message *message);

/* A Merge of @encoded to @node, as a home of @n, from one of @from's coordinators that then dies. */
void few_merge(struct few *few, uint32_t node, uint64_t from, const struct store_place *place, uint32_t n,
               struct bytes encoded);

/* The store key of @key; the shard of @node that it belongs to. */
struct bytes few_store_key(struct few *few, struct bytes key, struct store_place *place);
struct store *few_store(struct few *few, uint32_t node, const struct store_place *place);

/* Put an object of one sibling straight into a node's store, which is down. @value without data: a tombstone.
 */
void few_plant(struct few *few, uint32_t node, struct bytes key, struct dot dot, struct bytes value);

/* Bytes between nodes of anti-entropy's kinds. */
uint64_t few_repair_bytes(const struct few *few);

/* Do all stores hold the same? Objects; *keys of them. */
bool few_is_equal(struct few *few, uint64_t *keys);
