/* Neighbours: what a shard has for the other shards of its node, and the way there: their mailboxes.
 *
 * What does not fit into a mailbox is kept and tried first the next time; batches grow in the outbox
 * meanwhile. */
#pragma once

#include "actor/outbox.h"
#include "runtime/mailbox.h"

struct neighbours;

/* @mailboxes: of all shards of the node, borrowed. @self: this shard's number. */
struct neighbours *neighbours_alloc(struct mailbox *const *mailboxes, uint32_t shards, uint32_t self);

/* What was not sent is freed, and descriptors in it are closed. */
void neighbours_free(struct neighbours *neighbours);

/* Send what the outbox has for other shards of this node, and descriptors. False: a mailbox is full, try
 * again soon. */
bool neighbours_ship(struct neighbours *neighbours, struct outbox *outbox);

/* Take a descriptor for shard @to (not this one) with what is known of it (copied); it goes with the next
 * ship. */
void neighbours_pass_descriptor(struct neighbours *neighbours, uint32_t to, int fd, struct bytes facts);

/* Has everything that was taken gone? */
bool neighbours_all_sent(const struct neighbours *neighbours);
