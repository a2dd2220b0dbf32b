/* The inside of a shard, shared by shard.c (mail and turns) and turn.c (what actors call). */
#pragma once

#include "actor/release.h"
#include "actor/shard.h"

enum { SHARD_ACTORS_MAX = 16 };

/* turn.c: is there no room in a queue for a message of this kind? */
bool turn_has_no_room(const struct outbox_queue *queue, Dynode__Peer__Message__BodyCase kind);

enum item_kind { ITEM_BATCH, ITEM_CLIENT_FRAME, ITEM_CLIENT_CLOSED, ITEM_LINK_UP, ITEM_LINK_DOWN };

/* One arrival. A batch is read message by message and may be left half read by the end of a turn. */
struct item {
    enum item_kind kind;
    uint64_t from;      /* BATCH, LINK: the node. CLIENT: the connection. */
    struct bytes bytes; /* BATCH, CLIENT_FRAME */
    bool opened;        /* BATCH: its head was read; bytes is what is left */
    struct address sender;
    uint64_t since_ns; /* the turn that found it waiting; 0: none yet */
    void (*release)(void *owner);
    void *owner;
};

/* What has arrived, in its order: a ring. */
struct arrivals {
    struct item *items;
    uint32_t first, count, capacity;
    uint32_t fresh; /* of them: the last that no turn has seen yet */
    size_t bytes;
};

struct shard {
    struct shard_options options;
    struct turn turn;
    struct arena arena;
    struct prng prng;
    struct timers timers;
    struct peers peers;
    struct counters counters;
    struct outbox outbox;
    struct release release;
    uint64_t committed_turn, durable_turn;

    struct actor *actors[SHARD_ACTORS_MAX];
    uint32_t actor_count;
    struct actor *by_kind[SHARD_KINDS_MAX];
    struct actor *client_actor;

    struct arrivals mail;
    struct arrivals beats; /* what came on LANE_BEATS: delivered before the mail */

    struct mail *local; /* messages to this shard's own actors, of this turn */
    uint32_t local_count, local_capacity;

    /* The snapshot, and those that this turn has replaced: actors may still hold what they borrowed. */
    struct cluster *cluster;
    struct ring *ring;
    struct retired {
        struct cluster *cluster;
        struct ring *ring;
    } * retired;
    uint32_t retired_count, retired_capacity;
};

/* The actor whose kind of message it is; NULL for none. */
static inline struct actor *shard_actor_for(const struct shard *shard, Dynode__Peer__Message__BodyCase kind)
{
    return (unsigned)kind < SHARD_KINDS_MAX ? shard->by_kind[kind] : NULL;
}
