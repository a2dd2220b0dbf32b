#include "runtime/neighbours.h"

#include <stdlib.h>

#include "base/check.h"

enum { BATCH_BYTES_MAX = 16 << 20 /* of one parcel */ };

/* What waits for one mailbox, besides the outbox. */
struct parked {
    nng_msg *msg; /* did not fit: tried again first */
    nng_msg **descriptors;
    uint32_t count, capacity;
};

struct neighbours {
    struct mailbox *const *mailboxes;
    uint32_t shards, self;
    struct buffer scratch;
    struct parked parked[]; /* for each shard */
};

struct neighbours *neighbours_alloc(struct mailbox *const *mailboxes, uint32_t shards, uint32_t self)
{
    struct neighbours *neighbours = calloc(1, sizeof(*neighbours) + shards * sizeof(struct parked));
    CHECK(neighbours != NULL);
    neighbours->mailboxes = mailboxes;
    neighbours->shards = shards;
    neighbours->self = self;
    return neighbours;
}

void neighbours_free(struct neighbours *neighbours)
{
    for (uint32_t i = 0; i < neighbours->shards; i++) {
        struct parked *parked = &neighbours->parked[i];
        if (parked->msg != NULL) parcel_discard(parked->msg);
        for (uint32_t d = 0; d < parked->count; d++) parcel_discard(parked->descriptors[d]);
        free(parked->descriptors);
    }
    buffer_fini(&neighbours->scratch);
    free(neighbours);
}

/* What is to be sent next; NULL: nothing. */
static nng_msg *next_parcel(struct neighbours *neighbours, struct outbox *outbox, uint32_t to)
{
    struct parked *parked = &neighbours->parked[to];
    if (parked->count > 0) {
        nng_msg *msg = parked->descriptors[0];
        parked->count--;
        memmove(parked->descriptors, parked->descriptors + 1, parked->count * sizeof(parked->descriptors[0]));
        return msg;
    }
    for (uint32_t i = 0; i < outbox->queue_count; i++) {
        const struct outbox_queue *queue = &outbox->queues[i];
        if (queue->node != outbox->self_node || queue->shard != to) continue;
        buffer_clear(&neighbours->scratch);
        if (!outbox_take(outbox, i, BATCH_BYTES_MAX, &neighbours->scratch)) return NULL;
        return parcel_pack(
            &(struct parcel){.kind = PARCEL_SHARD_BATCH, .payload = buffer_bytes(&neighbours->scratch)});
    }
    return NULL;
}

static bool ship_to(struct neighbours *neighbours, struct outbox *outbox, uint32_t to)
{
    struct parked *parked = &neighbours->parked[to];
    for (;;) {
        if (parked->msg == NULL) parked->msg = next_parcel(neighbours, outbox, to);
        if (parked->msg == NULL) return true;
        if (!mailbox_try_send(neighbours->mailboxes[to], neighbours->self, &parked->msg)) return false;
    }
}

bool neighbours_ship(struct neighbours *neighbours, struct outbox *outbox)
{
    bool all = true;
    for (uint32_t to = 0; to < neighbours->shards; to++)
        if (to != neighbours->self && !ship_to(neighbours, outbox, to)) all = false;
    return all;
}

void neighbours_pass_descriptor(struct neighbours *neighbours, uint32_t to, int fd, struct bytes facts)
{
    CHECK(to < neighbours->shards);
    CHECK(to != neighbours->self);
    struct parked *parked = &neighbours->parked[to];
    if (parked->count == parked->capacity) {
        parked->capacity = parked->capacity == 0 ? 16 : 2 * parked->capacity;
        parked->descriptors = realloc(parked->descriptors, parked->capacity * sizeof(parked->descriptors[0]));
        CHECK(parked->descriptors != NULL);
    }
    parked->descriptors[parked->count++] =
        parcel_pack(&(struct parcel){.kind = PARCEL_DESCRIPTOR, .fd = fd, .payload = facts});
}

bool neighbours_all_sent(const struct neighbours *neighbours)
{
    for (uint32_t i = 0; i < neighbours->shards; i++)
        if (neighbours->parked[i].msg != NULL || neighbours->parked[i].count > 0) return false;
    return true;
}
