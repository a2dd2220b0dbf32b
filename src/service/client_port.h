/* Client port: where clients connect (proto/client.proto, TRANSPORT), on the shards' own loops
 * (runtime/loop.h).
 *
 *      shard 0's loop                                  the loop of the shard it named, or the next in turn
 *      accept -> ClientHello within 5 s, 1 KiB   ==>   ServerHello -> frames to the shard, answers from it
 *                                        the descriptor, with what was read after the hello
 *
 * It moves bytes only: what a frame means, how many may be in flight and when they time out is the router
 * actor's. A request is read, served and written by one thread in one round of its loop: the socket is
 * written to at once, and watched for room only when it has none.
 *
 * What a client can do is bounded: connections of the node; the time for a hello, for a frame, and for
 * reading an answer; input read at once from one connection, and from all while the shard has mail enough;
 * unsent answers of one connection (then it is not read, then ended); and memory held for all connections of
 * a shard (then the one that wants more is ended). */
#pragma once

#include "base/status.h"
#include "runtime/loop.h"
#include "service/connection.h"

struct client_port_options {
    const char *const *addresses; /* tcp://HOST:PORT, unix:///PATH */
    uint32_t address_count;
    uint32_t shards;
    uint32_t connections_max;           /* of the node; above: OVERLOADED */
    uint32_t connection_operations_max; /* said in the ServerHello */
    uint64_t cluster, node;
    const char *software;  /* static or outliving the port */
    size_t mail_bytes_max; /* of a shard: above, its clients are not read in this round. 0: 8 MiB */
    size_t held_bytes_max; /* of a shard: unfinished input and unsent answers. 0: 256 MiB */
    struct connection_limits limits;
};

struct client_port;

/* Listen at all addresses; nothing is accepted before the loops run.
 * STATUS_INVALID  *why is one line: which address can't be had, and why. */
enum status client_port_alloc(const struct client_port_options *options, char *why, size_t why_bytes,
                              struct client_port **out);

/* After all loops have ended, or before the first began. */
void client_port_free(struct client_port *port);

/* What hangs it into the loops. */
struct loop_hooks client_port_hooks(struct client_port *port);

/* The addresses it listens at, as they can be connected to (a port 0 replaced by the one found). */
const char *client_port_address(const struct client_port *port, uint32_t index);
