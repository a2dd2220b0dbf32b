/* Router: the actor for clients: requests in, answers out.
 *
 *      frame --> Request --> admission --> each operation to its coordinator
 *      client <-- Response, in one frame or several <-- Result <-- Coordinated
 *
 *      get                  the key's shard of this node, home or not
 *      put, delete          the key's shard of this node if it is a home;
 *                           else, once, that of the first home that says it is ready (router_forward.h);
 *                           of none, and it is sloppy: the next reachable node of the preference list
 *      with a precondition  that of the first reachable home in preference order
 *      create, alter, drop  the owner of the cluster state
 *      scan, status         this node's shards
 *
 * A get that is forwarded to a shard of this node can't be lost. A write that was sent to another node is
 * never minted again: when that node is lost, and no other home holds the write, the outcome is unknown, and
 * the answer says so. Deadlines are kept
 * here whatever happens elsewhere: every request is answered. A client that goes away cancels the answer,
 * never the write. */
#pragma once

#include "actor/shard.h"

struct copies;
struct reap;
struct proofs;
struct hints;
struct node_options;

enum {
    ROUTER_FRAME_BYTES =
        3 * 1048576, /* results are sent on once so many bytes of them wait; below a client's frame */
    ROUTER_RESULTS_BYTES_MAX = 64 * 1048576, /* of all requests: above it each is sent as it comes */
};

/* Make it and add it to the shard, as the actor for clients too. The options are copied, @hints, @copies,
 * @reap and @proofs (for reports) are borrowed. */
struct actor *router_add(struct shard *shard, const struct node_options *options, const struct hints *hints,
                         const struct copies *copies, const struct reap *reap, const struct proofs *proofs);

/* From now on new requests are answered STOPPING. */
void router_drain(struct actor *router);

uint32_t router_in_flight(const struct actor *router);
const struct copies *router_copies(const struct actor *router);
const struct hints *router_hints(const struct actor *router);
const struct reap *router_reap(const struct actor *router);
