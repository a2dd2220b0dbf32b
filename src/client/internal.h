/* What the parts of libdynode share. The way of an operation:
 *
 *                 dynode_submit
 *                       |
 *                       v      no node is left, or its time is up
 *      +----------> waiting ------------------------------------------> finished
 *      |                | route: home's shard, another home, any node       ^
 *      |                v                                                   |
 *      |  lost      pending (in a channel's queue)                          |
 *      +----------------+                                                   |
 *      |                | packed into a request                             |
 *      |                v                                                   |
 *      +------------- sent -------------------------------------------------+
 *        lost and a read, lost before the frame had left whole,      an answer, or lost and a write (MAYBE)
 *        or a status that says that nothing was done
 *
 * A call is what was submitted together: its callback comes when all its operations are finished. A channel
 * is one connection, to one shard of one endpoint. An endpoint is a node, known by an address, once it said
 * hello by its id. */
#pragma once

#include <sys/queue.h>

#include "base/arena.h"
#include "base/bytes.h"
#include "base/prng.h"
#include "client.pb-c.h"
#include "client/address.h"
#include "client/dynode.h"

enum {
    CLIENT_ENDPOINTS_MAX = 2048,
    CLIENT_SHARDS_MAX = 1024,       /* of a node */
    CLIENT_ATTEMPTS_MAX = 16,       /* of one operation */
    CLIENT_LOSSES_MAX = 6,          /* connections that worked and broke under one operation */
    CLIENT_REFUSALS_MAX = 5,        /* answers OVERLOADED or UNAVAILABLE that one operation swallows */
    CLIENT_OUT_BYTES_MAX = 1 << 20, /* packed and not written; the rest stays pending, provably not sent */
    CLIENT_REQUEST_BYTES_MAX = 3 << 20,
    CLIENT_REQUEST_OPERATIONS_MAX = 1024,
    CLIENT_RESULT_BYTES_MAX =
        8 << 20, /* siblings and parts of one result: 2 MiB by the protocol, and much air */
    CLIENT_SIBLINGS_MAX = 1024,
    CLIENT_DEADLINE_MS_MAX = 60000,
    CLIENT_WHY_BYTES = 160,
};

struct call;
struct channel;
struct request;
struct endpoint;

struct operation {
    TAILQ_ENTRY(operation) link; /* in client->waiting or channel->pending */
    struct call *call;
    uint32_t index; /* in the call */
    bool write;
    bool done;
    bool answered; /* results[index] holds a node's whole answer, to be given out if there is no better one */
    bool partial;  /* it holds the first parts of one */
    bool routed;   /* has a key, so that the ring says where it belongs */
    uint8_t attempts;
    uint8_t refusals;
    uint8_t losses;
    uint8_t tried_count;
    uint32_t tried[CLIENT_ATTEMPTS_MAX]; /* endpoints that will not be asked again, by number */
    int64_t not_before_ms;
    uint64_t node; /* only this one; 0: any */
    char *table;
    struct bytes key;
    struct bytes packed;     /* client.proto's Operation; one allocation with table and key */
    struct channel *channel; /* while pending or sent */
    struct request *request; /* while sent */
    uint32_t position;       /* in the request */
};
TAILQ_HEAD(operations, operation);

struct call {
    TAILQ_ENTRY(call) link; /* in client->calls or client->finished */
    struct dynode_client *client;
    struct reply *reply;
    dynode_callback callback;
    void *data;
    bool internal; /* the client's own: not counted */
    int64_t began_ms, deadline_ms, give_up_ms;
    int64_t doubt_ms; /* when reads leave a node that has not said a word since; INT64_MAX: they have, or do
                         not */
    uint32_t deadline_after_ms; /* as asked, for messages */
    size_t count, open;
    size_t bytes;
    struct operation operations[];
};
TAILQ_HEAD(calls, call);

struct request {
    uint64_t id;
    uint64_t end; /* of its frame in the channel's stream: once so much is written, the node may have it */
    int64_t packed_ms;
    uint32_t count, open;
    struct operation *operations[]; /* NULL: given up or answered */
};

enum channel_state { CHANNEL_CONNECTING, CHANNEL_HELLO, CHANNEL_READY, CHANNEL_CLOSED };

struct channel {
    TAILQ_ENTRY(channel) link;
    struct endpoint *endpoint;
    enum channel_state state;
    bool retired;   /* no longer its endpoint's: writes nothing more, and goes with its last operation */
    uint32_t shard; /* asked for, from 1; 0: any */
    int fd;
    int64_t heard_ms;   /* when the last whole frame came */
    int64_t expires_ms; /* until ready */
    struct address_list addresses;
    size_t address_next;
    struct buffer in, out;
    size_t out_written;
    uint64_t written; /* of the stream, in all */
    uint64_t packed;
    uint32_t operations_max; /* in flight, as the node said */
    uint32_t operations_sent;
    uint64_t next_id;
    struct request **requests; /* by id modulo the capacity */
    uint32_t request_count, request_capacity;
    struct operations pending;
};
TAILQ_HEAD(channels, channel);

struct endpoint {
    struct address address;
    uint32_t number; /* never used twice */
    uint64_t id;     /* 0 until it is known */
    uint32_t shards;
    bool seed; /* given by the user: stays */
    bool member;
    int64_t down_until_ms;
    uint32_t failures;          /* in a row */
    char why[CLIENT_WHY_BYTES]; /* of the last failure */
    struct channel *any;        /* one that is usable whatever the shard */
    struct channel **by_shard;  /* from 0 */
    uint32_t by_shard_count;
};

struct reply {
    struct dynode_reply public;
    struct arena arena;
    size_t *result_bytes;
};

struct dynode_client {
    struct dynode_options options;
    char name[64];
    struct prng prng;
    int64_t now_ms;
    uint64_t token_client, next_sequence;
    uint64_t cluster_id;    /* 0 until the first hello */
    bool cluster_confirmed; /* a second frame said so too: for good */
    int64_t heard_ms;       /* when a node last answered an operation */
    struct endpoint **endpoints;
    uint32_t endpoint_count, next_endpoint_number;
    struct endpoint *preferred; /* the last that worked, for what has no home */
    struct channels channels;
    struct operations waiting;
    struct calls calls, finished;
    int64_t next_give_up_ms;
    size_t in_flight, in_flight_bytes;
    struct reply *topology; /* owns *cluster */
    const struct dynode_cluster *cluster;
    struct endpoint **member_endpoints; /* of each member; NULL: its address cannot be used */
    bool refreshing, refresh_wanted;
    int64_t refresh_not_before_ms, refresh_at_ms; /* when it may be asked for, and when it is old */
    uint32_t refresh_failures;                    /* in a row */
    char refused[CLIENT_WHY_BYTES]; /* why the ring that was described last cannot be used; "": it can be */
    int64_t refused_ms;             /* when that was heard */
    bool doubted;           /* a member cannot be reached, or is not what the ring says: ask, but not often */
    uint32_t doubts;        /* in a row that found the same ring again */
    int64_t doubt_after_ms; /* before that a doubt has to wait */
    struct arena scratch;   /* of one frame */
};

int64_t client_clock_ms(void);

/* reply.c: what a node answers, copied and checked. */
struct reply *reply_new(size_t count);
void reply_free(struct reply *reply);
/* A result made here, in place of what was there. @message is copied. */
void reply_set(struct reply *reply, uint32_t index, enum dynode_status status, enum dynode_applied applied,
               const char *message);
/* Forget what an earlier node said of this operation. */
void reply_clear(struct reply *reply, uint32_t index);
/* Add what @result says. False: it breaks the protocol, *why says how (static memory). */
bool reply_add(struct reply *reply, uint32_t index, const Dynode__Client__Result *result, const char **why);

/* pack.c: what the user asks, checked and packed. */
/* OK, INVALID or TOO_LARGE and *why (static memory). Fills table, key, packed, write, routed, node of
 * *operation; to be given back with operation_release. */
enum dynode_status operation_pack(const struct dynode_operation *from, uint64_t token_client,
                                  uint64_t sequence, struct operation *operation, const char **why);
void operation_release(struct operation *operation);

/* endpoint.c: the nodes, the ring, and who gets an operation. */
struct endpoint *endpoint_add(struct dynode_client *client, const struct address *address);
void endpoints_free(struct dynode_client *client);
/* The node could not be reached, or broke off: leave it alone for a while. */
void endpoint_failed(struct dynode_client *client, struct endpoint *endpoint, const char *why);
/* A channel for @shard (from 1; 0 any), opened if there is none. NULL: it failed at once. */
struct channel *endpoint_channel(struct dynode_client *client, struct endpoint *endpoint, uint32_t shard);
/* @channel, opened for any shard, turned out to be served by @shard. */
void endpoint_learn_shard(struct endpoint *endpoint, struct channel *channel, uint32_t shard);
void endpoint_forget_channel(struct endpoint *endpoint, struct channel *channel);
/* Take over what a node says of the cluster. */
void topology_adopt(struct dynode_client *client, struct reply *reply);
/* Believe no more what nodes have said of the cluster. The addresses of members are only kept to be tried
 * after those given to dynode_open (which may be of nodes that are gone), until another description comes. */
void topology_forget(struct dynode_client *client);
/* Whom to ask next, and on which shard. NULL: nobody is left. *wait: the ring must be learnt first. */
struct endpoint *topology_route(struct dynode_client *client, const struct operation *operation,
                                uint32_t *shard, bool *wait);

/* channel.c: one connection. */
struct channel *channel_open(struct dynode_client *client, struct endpoint *endpoint, uint32_t shard);
/* Look at what poll() said. */
void channel_event(struct dynode_client *client, struct channel *channel, short revents);
/* Pack what is pending, write what can be written. */
void channel_flush(struct dynode_client *client, struct channel *channel);
/* Break off: operations go back to waiting or end. */
void channel_close(struct dynode_client *client, struct channel *channel, const char *why);
/* It has left what it was sent without an answer: nothing more goes to it. What it may have keeps waiting for
 * an answer there, the rest waits to be sent elsewhere. */
void channel_retire(struct dynode_client *client, struct channel *channel);
void channel_free(struct channel *channel);
/* Give a sent operation up: a late answer will find nobody. */
void channel_forget(struct operation *operation);

/* operation.c: the life of an operation. */
void operation_wait(struct dynode_client *client, struct operation *operation, int64_t delay_ms);
void operation_finish(struct dynode_client *client, struct operation *operation);
void operation_fail(struct dynode_client *client, struct operation *operation, enum dynode_status status,
                    const char *message);
/* The channel it was on is gone. */
void operation_lost(struct dynode_client *client, struct operation *operation, bool may_have,
                    const char *why);
/* A node has answered; results[index] is complete. */
void operation_answered(struct dynode_client *client, struct operation *operation, struct endpoint *endpoint);
/* This node is not to be asked again. */
void operation_tried(struct operation *operation, const struct endpoint *endpoint);
/* Nobody is left to ask: the last answer of a node, or why none of them could be asked. */
void operation_give_up(struct dynode_client *client, struct operation *operation);

/* client.c: calls, and the loop that drives it all. */
/* A node has named its ring. */
void client_saw_ring(struct dynode_client *client, uint64_t ring_version);
/* No node has answered an operation that began at @since_ms and has now ended: if none has answered anything
 * else since either, what was learnt of the cluster may be what is wrong. */
void client_unanswered(struct dynode_client *client, int64_t since_ms);
