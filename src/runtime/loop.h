/* Loop: one shard's thread. It owns the shard, its store, its libuv loop, its mailbox, its clients' sockets,
 * the links that it dialled, and while they are open those that others dialled to it; no other thread touches
 * them.
 *
 *      poll:          client sockets (service), the mailbox's descriptor, the wakes of the links, the timer
 *      work:          shard_turn while there is mail or a due timer, up to LOOP_TURNS_MAX turns
 *        ship:        what may leave at once: other shards' mailboxes, links, clients (hooks.answers)
 *        flush:       if any of them wrote, the flusher (flusher.h) begins one sync for all of them
 *      a sync's end:  ship what waited for it
 *
 * and again; with more to do the poll does not wait.
 *
 * So a get is read, served and answered by one thread in one round; a put's answer follows the end of a sync.
 *
 * The layer above (src/service) lives on the same loop through `struct loop_hooks`: it brings its own handles
 * to loop_uv(), gives frames to loop_shard(), and gets the answers back. It must not run the loop, and must
 * not block. */
#pragma once

#include <uv.h>

#include "actor/shard.h"
#include "base/bytes.h"

struct loop;

enum {
    LOOP_TURNS_MAX = 16,
    LOOP_STUCK_STATUS = 3, /* the process' exit status when a store can't be written (store_is_stuck) */
};

/* What the layer above hangs into each shard's loop. All are called on that shard's thread, none from within
 * another. The same @context comes to all shards' threads: what is kept there per shard is indexed by
 * loop_index(), and nothing else in it may change once the first loop has started. All hooks must be set. */
struct loop_hooks {
    void *context;

    /* The loop is about to run for the first time: add handles to loop_uv(), a listening socket for example.
     */
    void (*start)(void *context, struct loop *loop);

    /* Answers to clients, in the order in which the shard gave them. Frame i is bytes.data +
     * answers[i].offset, of answers[i].size bytes, with its length in front; size 0 with a hang_up is only
     * that. All is borrowed until return: write it to the socket at once and copy what the socket does not
     * take. Gather all answers of one connection into one write. Answers to a connection that is gone are to
     * be ignored. */
    void (*answers)(void *context, struct loop *loop, const struct answer *answers, uint32_t count,
                    struct bytes bytes);

    /* A descriptor has come from another shard (loop_pass_descriptor), with what that one said of it. The fd
     * is now the hook's to close. @facts is borrowed until return. */
    void (*descriptor)(void *context, struct loop *loop, int fd, struct bytes facts);

    /* The shard was lost with its store and a new, empty one stands in its place: loop_shard() is new. Close
     * every client connection of this loop; do not tell the new shard of them (shard_client_closed).
     * Listening sockets stay. */
    void (*restarted)(void *context, struct loop *loop);

    /* The node stops: accept no more connections. Those that are there go on; their new requests are answered
     * STOPPING. */
    void (*drain)(void *context, struct loop *loop);

    /* While draining: are bytes of answers left that a socket has not taken yet? The stop waits for them, to
     * its bound. */
    bool (*unsent)(void *context, struct loop *loop);

    /* The last call: uv_close every handle that was brought to loop_uv(), close every socket. The loop runs
     * on until the handles' close callbacks were called. */
    void (*stop)(void *context, struct loop *loop);
};

/* --- for the hooks, on the loop's own thread --- */

uv_loop_t *loop_uv(struct loop *loop);

/* This loop's shard: shard_client_frame, shard_client_closed, shard_mail_bytes,
 * shard_counters()->connections. Ask anew each time: it is replaced when its store is lost. What is given to
 * it is served in this round, after the poll. */
struct shard *loop_shard(struct loop *loop);

uint32_t loop_index(const struct loop *loop);  /* the shard's number */
uint32_t loop_shards(const struct loop *loop); /* of this node */

/* Wall time: ms since 1970. On any thread. */
uint64_t loop_wall_ms(void);

/* Hand a socket to the loop of shard @to (not this one), with what is known of it, up to LOOP_FACTS_BYTES_MAX
 * (copied). It must no longer be in loop_uv(). Never blocks and never fails; if the node stops first the fd
 * is closed. */
void loop_pass_descriptor(struct loop *loop, uint32_t to, int fd, struct bytes facts);

enum { LOOP_FACTS_BYTES_MAX = 65536 };
