/* Shard: one core's actors, mail, timers and store, and the turn that runs them. It knows no concrete actor,
 * no thread, no clock: a host calls it (runtime/ with a thread, sim/world with an event heap).
 *
 *      shard_deliver, shard_client_frame ...  what has arrived
 *      shard_turn                             due timers, then mail; then the commit
 *      outbox_take, the answers               what may leave at once: take it now
 *      (sync the store, here or on a flusher's thread)
 *      shard_durable(turn)                    releases what waited for that turn
 *      outbox_take, the answers
 *
 * A turn ends at SHARD_TURN_MESSAGES, SHARD_TURN_WRITE_BYTES or SHARD_TURN_ARENA_BYTES. If its commit fails
 * the shard is broken: nothing of that turn leaves, and the host frees it and starts anew as after a crash.
 */
#pragma once

#include "actor/actor.h"
#include "actor/outbox.h"

enum {
    SHARD_TURN_MESSAGES = 256,
    SHARD_TURN_WRITE_BYTES = 1048576,
    SHARD_TURN_ARENA_BYTES = 16 * 1048576, /* 256 reads of large values would take a gigabyte, and seconds */
    SHARD_KINDS_MAX = 64,                  /* above every field number of peer.proto's Message body */
};

struct shard_options {
    struct address self; /* node and shard */
    uint32_t shards;
    struct store *store; /* borrowed; must outlive the shard */
    uint64_t seed;       /* of its random stream */
};

struct shard;

struct shard *shard_alloc(const struct shard_options *options);
void shard_free(struct shard *shard); /* frees its actors too */

/* Give the shard an actor (moved) and the kinds of messages that are its. Before the first turn. */
void shard_add_actor(struct shard *shard, struct actor *actor, const Dynode__Peer__Message__BodyCase *kinds,
                     uint32_t kind_count);

/* The actor for clients' frames. */
void shard_set_client_actor(struct shard *shard, struct actor *actor);

/* The first snapshot, before the first turn (moved). */
void shard_set_cluster(struct shard *shard, struct cluster *cluster);

/* A batch has come from a shard of this node or over a link from @from_node (0: from this node). Its sender
 * is checked against the batch's own word. @release(@owner) is called once it has been read; NULL: @batch is
 * copied. */
void shard_deliver(struct shard *shard, uint64_t from_node, struct bytes batch, void (*release)(void *owner),
                   void *owner);

/* The same, from another node, with the lane that it came on. */
void shard_deliver_lane(struct shard *shard, uint64_t from_node, enum link_lane lane, struct bytes batch,
                        void (*release)(void *owner), void *owner);

/* A frame of a client, without its length: copied. @connection is the host's name for it, never used twice.
 */
void shard_client_frame(struct shard *shard, uint64_t connection, struct bytes payload);
void shard_client_closed(struct shard *shard, uint64_t connection);

/* The links that we dialled to @node are up, all lanes of them, or one of them is lost: then they are down.
 */
void shard_link_changed(struct shard *shard, uint64_t node, bool up);

/* How long mail has waited is counted from the first turn that found it there: what came while the shard was
 * idle has not waited, and what is behind more than one turn can take has, from then on (turn.waited_ns). */

/* Is there mail that a turn could deliver now? */
bool shard_has_mail(const struct shard *shard);
size_t shard_mail_bytes(const struct shard *shard);
size_t shard_lane_bytes(const struct shard *shard, enum link_lane lane);

/* When the first timer is due, UINT64_MAX without any. */
uint64_t shard_next_timer_ns(const struct shard *shard);

/* Run one turn.
 * STATUS_STORE_BROKEN  The store failed: the outbox is empty and the shard can only be freed. */
enum status shard_turn(struct shard *shard, uint64_t now_ns, uint64_t wall_ms);

/* The number of the last turn that must be synced before its answers may leave; equal to the last one given
 * to shard_durable when nothing waits. */
uint64_t shard_committed_turn(const struct shard *shard);
uint64_t shard_durable_turn(const struct shard *shard);

/* Everything up to @turn is durable: release what waited for it, in the order of the turns. */
void shard_durable(struct shard *shard, uint64_t turn);

struct outbox *shard_outbox(struct shard *shard);
struct counters *shard_counters(struct shard *shard);

/* What actors and tests see of a turn: the last one's, outside of any. */
struct turn *shard_turn_context(struct shard *shard);

/* Run every actor's check(). */
void shard_check(const struct shard *shard);
