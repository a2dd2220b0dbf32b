/* Actor: a state machine on one shard that sees plain data and leaves plain data.
 *
 * It has no clock, socket, file, lock, thread or unseeded randomness: all it may use is in `struct turn`.
 * What it wants done it leaves in the outbox (turn_send...), in the store's write set, or as a timer; the
 * shard (shard.h) carries that out when the turn ends. The same object code runs in a server and in the
 * simulator.
 *
 * Messages to an actor of the same shard are delivered within the turn, as pointers into the turn's arena;
 * all others are packed at once. Which actor gets a message is a matter of its kind: each body of
 * peer.proto's Message belongs to one actor. */
#pragma once

#include <stdbool.h>

#include "actor/counters.h"
#include "actor/peers.h"
#include "actor/timers.h"
#include "base/arena.h"
#include "base/prng.h"
#include "peer.pb-c.h"
#include "ring/cluster.h"
#include "ring/ring.h"
#include "store/store.h"

struct shard;

struct address {
    uint64_t node;
    uint32_t shard; /* modulo the receiver's shards, so a request to a vnode's shard simply names the vnode */
};

/* What all actors of a turn see. */
struct turn {
    uint64_t now_ns;  /* monotonic, read once a turn */
    uint64_t wall_ms; /* since 1970, read once a turn */
    struct address self;
    uint32_t shards; /* of this node */
    struct shard *shard;
    struct arena *arena; /* reset when the turn ends */
    struct store *store;
    struct prng *prng;
    const struct cluster *cluster; /* members and tables; may be newer in the next turn */
    const struct ring *ring;
    const struct peers *peers; /* who can be reached, in this shard's opinion */
    struct counters *counters;
    uint64_t waited_ns; /* how long the mail that is delivered now lay here (see shard.h); 0: it did not */
    bool store_broken;  /* an actor saw the store fail: nothing of this turn leaves, and the shard starts anew
                         */
};

/* A message as its receiver sees it: borrowed until the turn ends. */
struct mail {
    struct address from;
    uint64_t request; /* of Message, as it was sent: echo it in the answer */
    Dynode__Peer__Message__BodyCase kind;
    const void *body; /* the struct that @kind names */
};

/* What an actor is to its shard: its state's first member. NULL for what it has no use for. */
struct actor {
    const char *name;
    void (*receive)(struct actor *actor, struct turn *turn, const struct mail *mail);
    void (*timeout)(struct actor *actor, struct turn *turn, uint64_t argument);
    void (*peer_changed)(struct actor *actor, struct turn *turn, uint64_t node, bool reachable);
    void (*linked)(struct actor *actor, struct turn *turn, uint64_t node); /* our links to it came up */
    void (*client_frame)(struct actor *actor, struct turn *turn, uint64_t connection, struct bytes payload);
    void (*client_closed)(struct actor *actor, struct turn *turn, uint64_t connection);
    void (*check)(const struct actor *actor); /* ends the process if a promise of its own is broken */
    void (*free)(struct actor *actor);
};

/* Send a message; it may leave at once. @body and all it points at must live until the turn ends. An @to of
 * this shard is delivered in this turn, after what was sent before it. A node without a link, or a node
 * or shard whose queue is at its bound, gets nothing: silence. */
void turn_send(struct turn *turn, struct address to, uint64_t request, Dynode__Peer__Message__BodyCase kind,
               const void *body);

/* Would a message leave now? The node can be reached, the queue is below its bound, and the peer does not owe
 * too many answers: what turn_send is given next in this turn is not dropped here. */
bool turn_reaches(const struct turn *turn, struct address to);

/* An answer from @node is waited for, to something of so many bytes; or it is not any more, for whatever
 * reason. Each turn_owe has its turn_settle, with the same bytes. Nothing for ourselves. */
void turn_owe(struct turn *turn, uint64_t node, size_t bytes);
void turn_settle(struct turn *turn, uint64_t node, size_t bytes);

/* Send what says that a write is done: it waits until everything this turn (and each turn before it) wrote is
 * durable. Also to this shard itself: delivered in a later turn. */
void turn_send_durable(struct turn *turn, struct address to, uint64_t request,
                       Dynode__Peer__Message__BodyCase kind, const void *body);

/* Answer a client: @response, a packed Response, is copied and leaves when the turn ends. */
void turn_answer(struct turn *turn, uint64_t connection, struct bytes response);

/* End a client's connection, after what was answered before. @why goes to the log (static memory). */
void turn_hang_up(struct turn *turn, uint64_t connection, const char *why);

/* Call the actor's timeout with @argument once now_ns has reached @at_ns. The id is never 0. */
uint64_t turn_arm(struct turn *turn, struct actor *actor, uint64_t at_ns, uint64_t argument);

/* Take a timer back. A timer that has fired, or 0, is ignored. */
void turn_disarm(struct turn *turn, uint64_t timer);

/* Judge all peers at this turn's time; those that changed are told to every actor (peer_changed). */
void turn_judge_peers(struct turn *turn);

/* A peer has answered a Ping, on the lane of heartbeats or (@data) of data. If it could not be reached it can
 * now: every actor is told. */
void turn_peer_beat(struct turn *turn, uint64_t node, bool data);

/* This shard stood still until now: nobody's silence meanwhile counts. */
void turn_excuse_peers(struct turn *turn);

/* The owner of the cluster state, or the news from it, gives the shard a new snapshot (moved into the shard).
 * Seen by the messages that follow. */
void turn_adopt_cluster(struct turn *turn, struct cluster *cluster);

/* How much time is left until @deadline_ns, in ms, rounded up; never 0. */
static inline uint32_t turn_ms_left(const struct turn *turn, uint64_t deadline_ns)
{
    uint64_t left_ns = deadline_ns > turn->now_ns ? deadline_ns - turn->now_ns : 1;
    return (uint32_t)((left_ns + 999999) / 1000000);
}

/* Has the mail that is delivered now lain here for longer than it had left when it was sent? 0: it had no
 * deadline. */
static inline bool turn_is_late(const struct turn *turn, uint32_t deadline_ms)
{
    return deadline_ms != 0 && turn->waited_ns >= (uint64_t)deadline_ms * 1000000;
}

static inline bool address_is(struct address a, struct address b)
{
    return a.node == b.node && a.shard == b.shard;
}
