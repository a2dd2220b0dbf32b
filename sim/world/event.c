#include "world/event.h"

#include <stdlib.h>

#include "base/check.h"

static bool before(const struct event *a, const struct event *b)
{
    return a->at_ns != b->at_ns ? a->at_ns < b->at_ns : a->order < b->order;
}

void events_fini(struct events *events)
{
    for (uint32_t i = 0; i < events->count; i++) buffer_fini(&events->heap[i].bytes);
    free(events->heap);
    *events = (struct events){0};
}

void events_post(struct events *events, struct event event)
{
    if (events->count == events->capacity) {
        events->capacity = events->capacity == 0 ? 256 : events->capacity * 2;
        events->heap = realloc(events->heap, events->capacity * sizeof(*events->heap));
        CHECK(events->heap != NULL);
    }
    event.order = ++events->order;
    uint32_t place = events->count++;
    for (; place > 0 && before(&event, &events->heap[(place - 1) / 2]); place = (place - 1) / 2)
        events->heap[place] = events->heap[(place - 1) / 2];
    events->heap[place] = event;
}

bool events_take(struct events *events, struct event *out)
{
    if (events->count == 0) return false;
    *out = events->heap[0];
    struct event last = events->heap[--events->count];
    uint32_t place = 0;
    for (;;) {
        uint32_t child = place * 2 + 1;
        if (child >= events->count) break;
        if (child + 1 < events->count && before(&events->heap[child + 1], &events->heap[child])) child++;
        if (!before(&events->heap[child], &last)) break;
        events->heap[place] = events->heap[child];
        place = child;
    }
    if (events->count > 0) events->heap[place] = last;
    return true;
}

uint64_t events_next_ns(const struct events *events)
{
    return events->count == 0 ? UINT64_MAX : events->heap[0].at_ns;
}
