/* Events: what is still to happen in a world, the earliest first, and in the order of posting where times are
 * equal: so that a run depends on its seed and on nothing else. */
#pragma once

#include <stdbool.h>

#include "base/bytes.h"

struct world;

typedef void world_call(void *context, uint64_t argument);

enum event_kind {
    EVENT_TURN,      /* a shard has something to do */
    EVENT_SYNCED,    /* a shard's disk has finished a sync; number: the turn it covers */
    EVENT_LOCAL,     /* a batch from a shard of the same node */
    EVENT_ARRIVAL,   /* a batch over a link */
    EVENT_LINK_LOST, /* the dialler learns that its link is gone */
    EVENT_DIAL,      /* the dialler tries again */
    EVENT_STALLED,   /* a way has carried nothing for too long */
    EVENT_REQUEST,   /* a client's frame reaches its node */
    EVENT_ANSWER,    /* a node's frame reaches its client */
    EVENT_CLOSED,    /* a client learns that its connection is gone */
    EVENT_CALL,      /* a script's own */
};

struct event {
    uint64_t at_ns;
    enum event_kind kind;
    uint32_t node, shard,
        peer;      /* LOCAL: to node.shard; ARRIVAL, LINK_LOST, DIAL: the link node.shard to peer */
    uint32_t lane; /* ARRIVAL: enum link_lane */
    uint64_t life; /* of the node or link it belongs to: in another life it is void */
    uint64_t number;
    uint64_t sent_ns;    /* LOCAL, ARRIVAL, REQUEST: the bytes */
    struct buffer bytes; /* owned */
    world_call *call;
    void *context;
};

/* Where an event is, and what its place in the heap depends on: small, as a heap moves them often. */
struct event_key {
    uint64_t at_ns, order;
    uint32_t slot;
};

/* Zeroed is empty and valid. */
struct events {
    struct event_key *heap;
    struct event *slots;
    uint32_t *vacant; /* slots without an event: capacity - count of them */
    uint32_t count, capacity;
    uint64_t order;
};

void events_fini(struct events *events);

/* The event's bytes are moved in. */
void events_post(struct events *events, const struct event *event);

/* Take the first; the caller owns its bytes. False: nothing is left. */
bool events_take(struct events *events, struct event *out);

/* When the first is due; UINT64_MAX without any. */
uint64_t events_next_ns(const struct events *events);
