/* Mailbox: how batches reach a shard from other threads: nng inproc, one queue for each sender.
 *
 *      sender's outbox -> parcel -> PAIR0 --inproc--> PAIR0 -> descriptor in the shard's loop -> mailbox_take
 *
 * Each sender has a pair of PAIR0 sockets of its own, with a short buffer at both ends: that was the quickest
 * pattern at rest and with many writers (README.md, tests/bench/mailbox_bench.c), it keeps each sender's
 * order and loses nothing. A queue is bounded in parcels and in bytes; what does not fit stays with the
 * sender, whose batch grows meanwhile: nobody ever blocks. A sender learns that its queue is free again by
 * trying.
 *
 * Senders are numbered: 0 to shards - 1 are the shards of this node, the last one is the acceptor
 * (acceptor.h). */
#pragma once

#include <nng/nng.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/status.h"

enum {
    MAILBOX_BUFFER = 32,                  /* parcels, at either end of each queue */
    MAILBOX_BYTES_MAX = 32 * 1024 * 1024, /* in one queue; a parcel always finds room in an empty one */
};

enum parcel_kind {
    PARCEL_SHARD_BATCH, /* a batch from a shard of this node */
    PARCEL_LINK,        /* a link that is open now, for the shard to read: @link */
    PARCEL_DESCRIPTOR,  /* a client's socket @fd, and what is known of it */
};

struct accepted; /* acceptor.h */

/* What one nng message carries. @payload points into @msg: free it with nng_msg_free. */
struct parcel {
    enum parcel_kind kind;
    int fd;
    struct accepted *link; /* the acceptor's, lent */
    struct bytes payload;
    nng_msg *msg;
};

/* A message that carries what @parcel names; its payload is copied (parcel->msg is not looked at). */
nng_msg *parcel_pack(const struct parcel *parcel);
void parcel_unpack(nng_msg *msg, struct parcel *out);

/* Free one that nobody takes, and close a descriptor in it. */
void parcel_discard(nng_msg *msg);

struct mailbox;

/* STATUS_NO_MEMORY  nng could not make a queue: out of memory or of descriptors. */
enum status mailbox_alloc(uint32_t senders, struct mailbox **out);

/* No sender may be sending. What was not taken is freed, also what is still
 * between the two buffers, and the descriptors in it are closed. */
void mailbox_free(struct mailbox *mailbox);

/* --- the shard --- */

uint32_t mailbox_senders(const struct mailbox *mailbox);

/* Readable while something has come from @sender. Level-triggered. */
int mailbox_descriptor(const struct mailbox *mailbox, uint32_t sender);

/* Take the next parcel of a sender. False: none is there now (or nng says so although one is: the descriptor
 * stays readable then). */
bool mailbox_take(struct mailbox *mailbox, uint32_t sender, struct parcel *out);

/* --- a sender: calls for one number come from one thread at a time --- */

/* Send it now or not at all. True: *msg has gone and is NULL. False: the queue is full; keep it and try
 * again. */
bool mailbox_try_send(struct mailbox *mailbox, uint32_t sender, nng_msg **msg);
