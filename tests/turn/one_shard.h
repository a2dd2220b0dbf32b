/* One shard: node A of a cluster of three, alone on the bench: its mail is written by the test, and what it
 * leaves in its outbox is read, decoded, by the test. B and C are played by the test too.
 *
 * The table "t" keeps siblings with N=3, R=W=2 (so all three nodes are homes of every key); "solo" has N=1;
 * "last" is lww with N=3. Time stands still unless the test moves it. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "actors/node.h"
#include "base/check.h"
#include "base/hash.h"
#include "wire/batch.h"
#include "wire/object_wire.h"
#include "wire/unpack.h"

enum { NODE_A = 0xa, NODE_B, NODE_C, NODE_D, NODE_E, SENT_MAX = 512 };

struct sent {
    uint64_t node;
    uint32_t shard;
    Dynode__Peer__Message *message;
};

struct answered {
    uint64_t connection;
    Dynode__Client__Response *response; /* NULL: only a hang-up */
    const char *hang_up;
    size_t bytes;
};

struct one_shard {
    struct shard *shard;
    struct store *store;
    struct arena arena; /* of what is decoded */
    uint64_t now_ns, wall_ms;
    struct cluster cluster;
    struct context_secret secret;
    struct sent sent[SENT_MAX];
    uint32_t sent_count;
    uint32_t state_count; /* cluster states sent */
    bool with_gossip;     /* heartbeats, gossip and cluster states are among what is sent */
    struct answered answers[SENT_MAX];
    uint32_t answer_count;
};

struct one_shard_options {
    uint32_t shards; /* of A; 0: 1 */
    uint64_t seed;
    uint32_t operations_max, connection_operations_max; /* 0: the defaults */
    bool unfilled;
    uint32_t nodes; /* 3 to 5; 0: 3 */
    uint64_t hint_bytes_max;
};

/* The link to another node is up, and it says something; or it is lost. */
void one_shard_link(struct one_shard *one, uint64_t node, bool up);

/* Links to B and C (and D and E, if they are there) are up. */
void one_shard_begin(struct one_shard *one, struct one_shard_options options);
void one_shard_end(struct one_shard *one);

/* Forget what was sent and answered so far. */
void one_shard_forget(struct one_shard *one);

/* Turns until there is no mail; what they leave is added to sent and answers. */
void one_shard_turn(struct one_shard *one);

/* A sync: what waited for it is released and added too; then turns. */
void one_shard_sync(struct one_shard *one);

/* The queue to a node, or to shard @shard of A itself, is at its bound from now on (nothing of it is
 * collected), or empty again. */
void one_shard_clog(struct one_shard *one, uint64_t node, uint32_t shard, bool clogged);

/* Time passes; due timers run. */
void one_shard_pass_ms(struct one_shard *one, uint64_t ms);

/* Mail from another node; a turn. */
void one_shard_receive(struct one_shard *one, uint64_t from, uint64_t request,
                       Dynode__Peer__Message__BodyCase kind, const void *body);

/* A request of these operations on @connection; a turn. */
void one_shard_ask(struct one_shard *one, uint64_t connection, uint64_t id, uint32_t deadline_ms,
                   Dynode__Client__Operation *const *operations, size_t count);

/* Forget the rest; this put with W=1, and a sync. Returns its result. */
const Dynode__Client__Result *one_shard_write(struct one_shard *one, Dynode__Client__Operation *put);

/* Operations and bodies, in the arena. */
Dynode__Client__Operation *one_shard_get(struct one_shard *one, const char *table, const char *key,
                                         uint32_t r);
Dynode__Client__Operation *one_shard_put(struct one_shard *one, const char *table, const char *key,
                                         struct bytes value, struct bytes context);
Dynode__Client__Operation *one_shard_delete(struct one_shard *one, const char *table, const char *key);
Dynode__Peer__Place *one_shard_place(struct one_shard *one, const char *table, const char *key);
Dynode__Peer__Merge *one_shard_merge(struct one_shard *one, const char *table, const char *key,
                                     struct bytes object);

/* Find a key of which A is the last in the preference list, B and C come first. Returns that list. */
enum { ONE_SHARD_KEY_BYTES = 16 };
const uint64_t *one_shard_far_key(struct one_shard *one, const char *table, char key[ONE_SHARD_KEY_BYTES]);

/* An object of one sibling, encoded. */
struct bytes one_shard_object(struct one_shard *one, uint64_t clock, uint64_t counter, struct bytes value);

/* What lies in the store under the key: STATUS_NOT_FOUND, STATUS_CORRUPT, or the object. */
enum status one_shard_stored(struct one_shard *one, const char *table, const char *key, struct object *out);

/* Write damaged bytes under the key. */
void one_shard_damage(struct one_shard *one, const char *table, const char *key);

/* The @nth message of a kind to a node; NULL if there is none. */
const Dynode__Peer__Message *one_shard_find(const struct one_shard *one, uint64_t node,
                                            Dynode__Peer__Message__BodyCase kind, uint32_t nth);

/* The only answer so far, of one result. */
const Dynode__Client__Result *one_shard_result(const struct one_shard *one);
