/* Exchange: what one shard does to become equal with another home of one vnode (antientropy.h). Only the one
 * that begins it has a state; the other answers what it is asked.
 *
 *      INNERS --> LEAVES --> KEYS --> OBJECTS --> KEYS (the next page) ... --> end
 *         \__________\__ equal: end    \__ fetch some, merge, push; some more ...
 *
 * Each request has an id of its own, so that an answer which is late or comes twice finds nobody. */
#pragma once

#include "actor/actor.h"
#include "actors/clocks.h"
#include "merkle/tree.h"

struct antientropy;
struct job;

enum { EXCHANGE_ATTEMPTS = 4 };

enum exchange_phase { EXCHANGE_FREE, EXCHANGE_INNERS, EXCHANGE_LEAVES, EXCHANGE_KEYS, EXCHANGE_OBJECTS };

/* A key of the present page that differs. */
struct want {
    size_t offset, size; /* of its store key, in exchange.keys */
    bool fetch;          /* the other has something; else it only lacks ours */
};

struct exchange {
    enum exchange_phase phase;
    uint64_t id; /* of its last request */
    bool waits;  /* for the answer */
    uint64_t timer;
    uint64_t rest_ns; /* it goes on then; and whoever has its place next does not begin before that */
    uint64_t node;
    uint32_t vnode, n;
    bool whole;                  /* so far nothing that the other holds can have been missed ... */
    bool complete;               /* ... nor was anything damaged, ... */
    bool given;                  /* ... and the other has all that we held */
    uint64_t ring;               /* by which both went, where it is */
    uint64_t reaped;             /* hash of the reaped clock of both */
    struct clocks mine, theirs;  /* as they were before the first leaf; on the heap */
    bool same;                   /* ... has been so far */
    bool peer_whole;             /* as the last answer says */
    uint32_t attempts;           /* to begin with one reaped clock on both sides */
    uint32_t inners;             /* that differ, as bits */
    uint32_t leaves[TREE_INNER]; /* below each of them, as bits */

    struct buffer after; /* store key: the end of the pages so far */
    bool last;           /* the present page is */
    struct buffer keys;
    struct want *wants;
    uint32_t want_count, want_capacity, want_next;
    uint32_t asked; /* how many of them the present request is about */
};

void exchange_fini(struct exchange *exchange);

void exchange_begin(struct exchange *exchange, const struct job *job);
void exchange_end(struct turn *turn, struct exchange *exchange);

static inline bool exchange_is_ready(const struct exchange *exchange, uint64_t now_ns)
{
    return exchange->phase != EXCHANGE_FREE && !exchange->waits && exchange->rest_ns <= now_ns;
}

/* Send the next request; or it is over. */
void exchange_step(struct antientropy *self, struct turn *turn, struct exchange *exchange);

/* Take an answer to the request under way. */
void exchange_answered(struct antientropy *self, struct turn *turn, struct exchange *exchange,
                       const struct mail *mail);

/* --- what exchange.c and exchange_objects.c know of one another --- */

void exchange_ask(struct antientropy *self, struct turn *turn, struct exchange *exchange,
                  Dynode__Peer__Message__BodyCase kind, const ProtobufCMessage *body);
void exchange_ask_keys(struct antientropy *self, struct turn *turn, struct exchange *exchange);

/* It has come to its end. */
void exchange_complete(struct turn *turn, struct exchange *exchange);

/* What the other sent can't be: it is no use to go on with it. */
void exchange_refuse(struct turn *turn, struct exchange *exchange);

/* What the other says of its reaped clock as it answers: if it is not ours we don't know what has gone. */
void exchange_look_at_reaped(struct antientropy *self, struct exchange *exchange, uint64_t theirs,
                             bool whole);

/* Fetch, or push, the next of what differs on this page; or ask for the next page; or it is over. */
void exchange_step_objects(struct antientropy *self, struct turn *turn, struct exchange *exchange);
void exchange_objects_answered(struct antientropy *self, struct turn *turn, struct exchange *exchange,
                               const Dynode__Peer__ObjectsFetched *answer);
void exchange_objects_pushed(struct antientropy *self, struct turn *turn, struct exchange *exchange,
                             const Dynode__Peer__ObjectsPushed *answer);
