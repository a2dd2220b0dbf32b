/* What the tests of whole nodes share: a client port of the smallest kind (a socket pair for each shard) and
 * a blocking client on its other end. */
#pragma once

#include <stdatomic.h>

#include "client.pb-c.h"
#include "runtime/node_runtime.h"

enum { FIXTURE_SHARDS_MAX = 4 };

/* The end of one shard's connection on its own loop. */
struct port {
    uv_poll_t poll;
    bool open;
    int fd;
    struct buffer in;
    struct loop *loop;
};

struct fixture {
    char data[128];
    struct cluster cluster;
    struct node_runtime_options options;
    struct node_runtime *node;
    struct port ports[FIXTURE_SHARDS_MAX];
    int servers[FIXTURE_SHARDS_MAX]; /* the node's ends */
    int clients[FIXTURE_SHARDS_MAX]; /* the client's ends */
    atomic_uint restarts, drained;
    uint64_t next_request;
};

/* A new directory, a cluster of one; change fixture->options before fixture_start. */
void fixture_init(struct fixture *fixture, uint32_t shards, uint64_t node);
void fixture_fini(struct fixture *fixture);

void fixture_start(struct fixture *fixture);
bool fixture_stop(struct fixture *fixture);

/* Send one operation to shard @shard and wait for its whole answer (free it). */
Dynode__Client__Response *fixture_call(struct fixture *fixture, uint32_t shard,
                                       Dynode__Client__Operation *operation);

/* Its status; INTERNAL if the connection ended. */
enum status fixture_create_table(struct fixture *fixture, const char *name, uint32_t n);
enum status fixture_put(struct fixture *fixture, uint32_t shard, const char *table, uint64_t key,
                        struct bytes value);

/* @value as fixture_put has got it, or not: NOT_FOUND, or fails the test if it is another. */
enum status fixture_get(struct fixture *fixture, uint32_t shard, const char *table, uint64_t key,
                        struct bytes value);
