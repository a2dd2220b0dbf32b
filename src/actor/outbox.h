/* Outbox: what a shard's turns have left for others, one growing batch per destination, and the answers to
 * clients.
 *
 * A destination's batch grows while its queue is busy: batches adapt to load by themselves. A batch at its
 * bound, to a node or to a shard of this one that stands still, drops what is added: who must not take that
 * for silence asks turn_reaches first.
 *
 * Requests have one bound and answers another, twice as far: so that two who drown each other in requests are
 * not deprived of their answers, and what was asked is finished before more is asked. Nobody waits for room
 * in a queue: so queues that are full in a circle don't stand still. */
#pragma once

#include "base/bytes.h"
#include "client.pb-c.h"
#include "peer.pb-c.h"

enum {
    OUTBOX_QUEUE_BYTES_MAX = 64 * 1024 * 1024,
    OUTBOX_ANSWERS_BYTES_MAX = 2 * OUTBOX_QUEUE_BYTES_MAX, /* what is there and an answer are at most this */
};

/* Between nodes there are two lanes, each with queues and links of its own. What is on the one never waits
 * for the other: no order is kept between them. */
enum link_lane {
    LANE_DATA,
    LANE_BEATS, /* heartbeats and gossip: they are few, and read before all data */
    LANES
};

struct outbox_queue {
    uint64_t
        node; /* this node's id: then @shard is the destination; else another node, whichever its shard */
    uint32_t shard;
    enum link_lane lane; /* to another node; within a node there is only LANE_DATA */
    struct buffer batch; /* empty, or a packed peer.proto Batch */
    uint64_t dropped;    /* messages */
};

/* One answer: a whole frame with its length, in outbox.answer_bytes. */
struct answer {
    uint64_t connection;
    size_t offset, size;
    const char *hang_up; /* not NULL: end the connection after this; the reason */
};

struct outbox {
    uint64_t self_node;
    uint32_t self_shard;
    struct outbox_queue *queues; /* in the order of their first use: a destination keeps its index */
    uint32_t queue_count;
    struct answer *answers;
    uint32_t answer_count, answer_capacity;
    struct buffer answer_bytes;
};

/* Hosts: take a queue's batch: swapped with *batch, which must be empty (its memory is reused). False if
 * there is none. A batch longer than @bytes_max is cut between messages and the rest stays (each message is
 * below FRAME_PEER_BYTES_MAX); then the part is copied. */
bool outbox_take(struct outbox *outbox, uint32_t queue, size_t bytes_max, struct buffer *batch);

/* Hosts: forget the answers once they have been handed on. */
void outbox_clear_answers(struct outbox *outbox);

size_t outbox_bytes(const struct outbox *outbox);

/* The shard: */
void outbox_init(struct outbox *outbox, uint64_t node, uint32_t shard);
void outbox_fini(struct outbox *outbox);

/* The queue for a destination, made if it is new: that of its data, or of a lane. */
struct outbox_queue *outbox_queue(struct outbox *outbox, uint64_t node, uint32_t shard);
struct outbox_queue *outbox_lane(struct outbox *outbox, uint64_t node, uint32_t shard, enum link_lane lane);

/* For requests. */
bool outbox_is_full(const struct outbox_queue *queue);

/* For what says how something that was asked has ended. */
bool outbox_is_full_of_answers(const struct outbox_queue *queue);

/* Data, an answer. False: dropped, the queue is at its bound. @field is one packed message (wire/batch.h). */
bool outbox_add(struct outbox *outbox, uint64_t node, uint32_t shard, struct bytes field);
