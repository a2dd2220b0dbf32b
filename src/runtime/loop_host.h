/* Loop, for who starts and stops it (node_runtime.c): the other half of loop.h. */
#pragma once

#include "actors/node.h"
#include "runtime/acceptor.h"
#include "runtime/loop.h"
#include "runtime/mailbox.h"
#include "runtime/shard_store.h"

struct loop_options {
    uint32_t index;
    struct node_options node;                 /* its cluster is copied; `born` is of this shard's store */
    const struct cluster *configured;         /* where members are by configuration; borrowed likewise */
    struct store *store;                      /* moved: the loop closes it */
    struct shard_store_options store_options; /* to open a new one when it is lost */
    struct mailbox *const *mailboxes;         /* of all shards: borrowed until the last loop has ended */
    struct acceptor *acceptor;                /* borrowed; NULL: the node has no peers, and dials none */
    struct loop_hooks hooks;
    int cpu; /* pin the thread to it; -1: do not */
    uint64_t seed;
};

/* Make the loop and start its thread. Errors of the machine (threads, descriptors) end the process. */
struct loop *loop_start(const struct loop_options *options);

/* Begin to stop: no new requests. Any thread; so the others. */
void loop_drain(struct loop *loop);

/* While draining: has everything been answered and sent? It may become false again while another loop is not
 * quiet. */
bool loop_is_quiet(const struct loop *loop);

/* End the thread: handles and links closed, the store synced and closed. */
void loop_stop(struct loop *loop);

/* Wait for the end; then nobody sends to the others' mailboxes from here any more. */
void loop_join(struct loop *loop);
void loop_free(struct loop *loop);
