#include "world/event.h"

#include <stdlib.h>

#include "base/check.h"

/* As one number of 128 bits: no branch that is taken or not by chance. */
static bool before(const struct event_key *a, const struct event_key *b)
{
    return ((unsigned __int128)a->at_ns << 64 | a->order) < ((unsigned __int128)b->at_ns << 64 | b->order);
}

/* Put @key into the gap at @place, or above. */
static void rise(struct event_key *heap, uint32_t place, const struct event_key *key)
{
    for (; place > 0 && before(key, &heap[(place - 1) / 2]); place = (place - 1) / 2)
        heap[place] = heap[(place - 1) / 2];
    heap[place] = *key;
}

void events_fini(struct events *events)
{
    for (uint32_t i = 0; i < events->count; i++) buffer_fini(&events->slots[events->heap[i].slot].bytes);
    free(events->heap);
    free(events->slots);
    free(events->vacant);
    *events = (struct events){0};
}

static void grow(struct events *events)
{
    uint32_t capacity = events->capacity == 0 ? 256 : events->capacity * 2;
    events->heap = realloc(events->heap, capacity * sizeof(*events->heap));
    events->slots = realloc(events->slots, capacity * sizeof(*events->slots));
    events->vacant = realloc(events->vacant, capacity * sizeof(*events->vacant));
    CHECK(events->heap != NULL);
    CHECK(events->slots != NULL);
    CHECK(events->vacant != NULL);
    for (uint32_t slot = events->capacity; slot < capacity; slot++)
        events->vacant[slot - events->capacity] = slot;
    events->capacity = capacity;
}

void events_post(struct events *events, const struct event *event)
{
    if (events->count == events->capacity) grow(events);
    struct event_key key = {.at_ns = event->at_ns,
                            .order = ++events->order,
                            .slot = events->vacant[events->capacity - events->count - 1]};
    events->slots[key.slot] = *event;
    rise(events->heap, events->count++, &key);
}

bool events_take(struct events *events, struct event *out)
{
    if (events->count == 0) return false;
    uint32_t slot = events->heap[0].slot;
    *out = events->slots[slot];
    struct event_key last = events->heap[--events->count];
    events->vacant[events->capacity - events->count - 1] = slot;
    /* The gap sinks to the bottom, where the last one came from; it has rarely to rise again. */
    uint32_t place = 0, count = events->count;
    struct event_key *heap = events->heap;
    for (uint32_t child = 1; child < count; child = place * 2 + 1) {
        child += child + 1 < count && before(&heap[child + 1], &heap[child]);
        heap[place] = heap[child];
        place = child;
    }
    if (count > 0) rise(heap, place, &last);
    return true;
}

uint64_t events_next_ns(const struct events *events)
{
    return events->count == 0 ? UINT64_MAX : events->heap[0].at_ns;
}
