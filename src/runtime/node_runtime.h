/* Node runtime: one whole node in this process: its data directory, stores, shards' threads and peer port.
 *
 *      DATA/lock            held (flock) while the node runs: a second process is refused
 *      DATA/node            whose directory it is (node_record.h)
 *      DATA/shard-000/      a store for each shard; shard-NNN.broken-UTC: one that was moved aside
 *
 * Start: lock, mailboxes, peer port (what may be lacking comes before what is kept), whose the directory is,
 * stores, whose they are (identity), the cluster state, threads.
 *
 * Stop: accept no more, finish what is in flight (to a bound), end the threads, close the stores.
 *
 * A store that does not open, is unreadable or has gone is moved aside and replaced by an empty one, which
 * counts for no read: the other shards, and the node, go on. */
#pragma once

#include "actors/node.h"
#include "runtime/loop.h"

enum {
    NODE_STOP_DRAIN_MS = 5000, /* for what is in flight */
    NODE_WHY_BYTES = 512,
};

struct node_runtime_options {
    const char *data; /* made with mode 0700 if it is missing */
    bool pin;         /* each shard to a core, if the process may use as many */

    /* What the configuration knows: id, vnodes, members (this node among them or not) and tables. Borrowed.
     */
    const struct cluster *cluster;
    struct member self;       /* its shards and, 0: taken from the clock, its incarnation */
    const char *peer_address; /* to listen on. NULL or "": no peers, neither dialled nor let in */

    struct store_wt_options store; /* of each shard; path is not looked at */
    struct context_secret secret;
    const char *software; /* for NodeReport: outlives the node */
    uint32_t operations_max, connection_operations_max;
    uint64_t hint_bytes_max; /* of each shard; 0: the default of a node, shared out */

    struct loop_hooks hooks;
};

struct node_runtime;

/* Start a node.
 * STATUS_IN_USE   Another process has the data directory, or listens on the peer address.
 * STATUS_INVALID  The data directory can't be used, is another node's, or was made with other shards or
 * vnodes; or the peer address is no address. In each case *why is one line and nothing was changed. */
enum status node_runtime_start(const struct node_runtime_options *options, char why[NODE_WHY_BYTES],
                               struct node_runtime **out);

/* Stop, within NODE_STOP_DRAIN_MS and the time the stores' checkpoints take, and free it. True: everything in
 * flight was answered. */
bool node_runtime_stop(struct node_runtime *node);

/* How many cores this process may use: what `shards: auto` means. */
uint32_t node_cores(void);

/* The end of a process that has used nng: stdio flushed, leaks checked (under ASan), and then _exit, for
 * nng's own clean-up at exit may hang. */
_Noreturn void process_exit(int status);
