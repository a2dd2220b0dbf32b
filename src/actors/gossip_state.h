/* The inside of the gossip actor, shared by gossip.c (heartbeats, the state and its keeping), spread.c and
 * change.c. */
#pragma once

#include "actors/gossip.h"
#include "ring/digest.h"
#include "version/hlc.h"

/* A change that waits until all that can be reached have it. */
struct change {
    bool used;
    struct address asker;
    uint64_t asker_request;
    uint64_t timer;
    bool member;    /* of a member was said that it is given up; else a table was changed */
    uint64_t name;  /* the member's id, or the table's tag */
    uint64_t round; /* in which it was made: an answer to this one or a later one confirms it */
    uint32_t waiting_count;
    struct address *waiting; /* who has not acknowledged yet */
};

/* A peer that waits to hear that this node has what it told. */
struct waiter {
    struct address peer;
    uint64_t request;
};

struct gossip {
    struct actor actor;
    bool owner;
    bool unpublished; /* the state is to be stored and told with the first ping */
    bool silent;
    struct member self;
    struct digest digest; /* the owner's: of the present state */
    struct hlc hlc;
    uint64_t pinged_ns, pings; /* the last time, and how often */
    uint64_t round; /* of the state's changes: the request number of what tells of it, so that an answer names
                       what it answers */
    struct change changes[GOSSIP_CHANGES_MAX];
    uint32_t change_count; /* used ones */
    /* A node has a state when all its shards go by it: until then its owner confirms it to nobody. */
    bool *behind; /* by shard: it was told of the present state, and has not said that it has it */
    uint32_t behind_count;
    struct waiter *waiters;
    uint32_t waiter_count;
    uint32_t greetings_left, answers_left, steps_left; /* of this period */
};

/* Timers: below this a change's deadline. */
enum { TIMER_PING = GOSSIP_CHANGES_MAX, TIMER_SPREAD, TIMER_BEGIN };

/* --- gossip.c --- */

struct cluster *gossip_copy(const struct cluster *cluster);
void gossip_free(struct cluster *cluster);

/* Keep a new state and adopt it (moved), and tell our own shards. If it can't be kept nothing was done, and
 * @cluster stays the caller's. */
enum status gossip_publish(struct gossip *gossip, struct turn *turn, struct cluster *cluster);

/* Merge what a peer says. False: it is not valid. */
bool gossip_learn(struct gossip *gossip, struct turn *turn, const Dynode__Peer__ClusterState *records);

/* --- spread.c --- */

/* Tell a few members what we know, in 8 bytes. */
void spread_round(struct gossip *gossip, struct turn *turn);

/* A peer can be reached now: it is told at once, unless many come at once. */
void spread_greet(struct gossip *gossip, struct turn *turn, uint64_t node);
void spread_receive(struct gossip *gossip, struct turn *turn, const struct mail *mail);

/* --- change.c --- */

void change_receive(struct gossip *gossip, struct turn *turn, const struct mail *mail);
void change_timeout(struct gossip *gossip, struct turn *turn, uint64_t place);

/* @who goes by round @round, and by all before it. */
void change_confirmed(struct gossip *gossip, struct turn *turn, struct address who, uint64_t round);

/* Nobody waits for a node that has gone. */
void change_forget(struct gossip *gossip, struct turn *turn, uint64_t node);

/* Who has not confirmed a change yet is told again. */
void change_remind(struct gossip *gossip, struct turn *turn);
