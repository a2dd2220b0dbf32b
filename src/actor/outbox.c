#include "actor/outbox.h"

#include <stdlib.h>

#include "base/check.h"
#include "wire/batch.h"

void outbox_init(struct outbox *outbox, uint64_t node, uint32_t shard)
{
    *outbox = (struct outbox){.self_node = node, .self_shard = shard};
}

void outbox_fini(struct outbox *outbox)
{
    for (uint32_t i = 0; i < outbox->queue_count; i++) buffer_fini(&outbox->queues[i].batch);
    free(outbox->queues);
    free(outbox->answers);
    buffer_fini(&outbox->answer_bytes);
    *outbox = (struct outbox){0};
}

struct outbox_queue *outbox_lane(struct outbox *outbox, uint64_t node, uint32_t shard, enum link_lane lane)
{
    CHECK(lane == LANE_DATA || node != outbox->self_node);
    for (uint32_t i = 0; i < outbox->queue_count; i++) {
        struct outbox_queue *queue = &outbox->queues[i];
        if (queue->node == node && queue->lane == lane &&
            (node != outbox->self_node || queue->shard == shard))
            return queue;
    }
    outbox->queues = realloc(outbox->queues, (outbox->queue_count + 1) * sizeof(*outbox->queues));
    CHECK(outbox->queues != NULL);
    struct outbox_queue *queue = &outbox->queues[outbox->queue_count++];
    *queue = (struct outbox_queue){.node = node, .shard = shard, .lane = lane};
    return queue;
}

struct outbox_queue *outbox_queue(struct outbox *outbox, uint64_t node, uint32_t shard)
{
    return outbox_lane(outbox, node, shard, LANE_DATA);
}

bool outbox_is_full(const struct outbox_queue *queue)
{
    return queue->batch.size > OUTBOX_QUEUE_BYTES_MAX;
}

bool outbox_is_full_of_answers(const struct outbox_queue *queue)
{
    return queue->batch.size > OUTBOX_ANSWERS_BYTES_MAX;
}

bool outbox_add(struct outbox *outbox, uint64_t node, uint32_t shard, struct bytes field)
{
    struct outbox_queue *queue = outbox_queue(outbox, node, shard);
    if (queue->batch.size + field.size > OUTBOX_ANSWERS_BYTES_MAX) {
        queue->dropped++;
        return false;
    }
    if (queue->batch.size == 0) batch_begin(&queue->batch, outbox->self_node, outbox->self_shard);
    batch_add_packed(&queue->batch, field);
    return true;
}

/* The size of the longest run of whole messages, from the batch's start, that is at most @bytes_max; at least
 * one. *head: what is in front of the first. */
static size_t cut(const struct buffer *batch, size_t bytes_max, size_t *head)
{
    uint64_t node;
    uint32_t shard;
    struct bytes rest, message;
    CHECK(batch_open(buffer_bytes(batch), &node, &shard, &rest) == STATUS_OK);
    *head = batch->size - rest.size;
    CHECK(batch_next(&rest, &message) == STATUS_OK);
    size_t size = batch->size - rest.size;
    while (batch_next(&rest, &message) == STATUS_OK && batch->size - rest.size <= bytes_max)
        size = batch->size - rest.size;
    return size;
}

bool outbox_take(struct outbox *outbox, uint32_t index, size_t bytes_max, struct buffer *batch)
{
    CHECK(index < outbox->queue_count);
    CHECK(batch->size == 0);
    struct buffer *from = &outbox->queues[index].batch;
    if (from->size == 0) return false;
    size_t head = 0, size = from->size > bytes_max ? cut(from, bytes_max, &head) : from->size;
    if (size < from->size) { /* the rest may be large, and is cut many times: it stays in its memory */
        buffer_append(batch, from->data, size);
        memmove(from->data + head, from->data + size, from->size - size);
        from->size -= size - head;
    } else {
        struct buffer taken = *from;
        *from = *batch;
        *batch = taken;
    }
    return true;
}

void outbox_clear_answers(struct outbox *outbox)
{
    outbox->answer_count = 0;
    buffer_clear(&outbox->answer_bytes);
}

size_t outbox_bytes(const struct outbox *outbox)
{
    size_t bytes = outbox->answer_bytes.size;
    for (uint32_t i = 0; i < outbox->queue_count; i++) bytes += outbox->queues[i].batch.size;
    return bytes;
}
