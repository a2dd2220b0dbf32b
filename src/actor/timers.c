#include "actor/timers.h"

#include <stdlib.h>

#include "base/check.h"

static bool before(const struct timers *t, uint32_t a, uint32_t b)
{
    const struct timer *x = &t->slots[a], *y = &t->slots[b];
    return x->at_ns != y->at_ns ? x->at_ns < y->at_ns : x->order < y->order;
}

static void put_at(struct timers *t, uint32_t place, uint32_t slot)
{
    t->heap[place] = slot;
    t->slots[slot].place = place;
}

static void sift_up(struct timers *t, uint32_t place)
{
    uint32_t slot = t->heap[place];
    while (place > 0) {
        uint32_t parent = (place - 1) / 2;
        if (!before(t, slot, t->heap[parent])) break;
        put_at(t, place, t->heap[parent]);
        place = parent;
    }
    put_at(t, place, slot);
}

static void sift_down(struct timers *t, uint32_t place)
{
    uint32_t slot = t->heap[place];
    for (;;) {
        uint32_t child = place * 2 + 1;
        if (child >= t->count) break;
        if (child + 1 < t->count && before(t, t->heap[child + 1], t->heap[child])) child++;
        if (!before(t, t->heap[child], slot)) break;
        put_at(t, place, t->heap[child]);
        place = child;
    }
    put_at(t, place, slot);
}

static void grow(struct timers *t)
{
    uint32_t count = t->slot_count == 0 ? 64 : t->slot_count * 2;
    t->slots = realloc(t->slots, count * sizeof(*t->slots));
    t->heap = realloc(t->heap, count * sizeof(*t->heap));
    t->unused = realloc(t->unused, count * sizeof(*t->unused));
    CHECK(t->slots != NULL);
    CHECK(t->heap != NULL);
    CHECK(t->unused != NULL);
    for (uint32_t i = count; i-- > t->slot_count;) {
        t->slots[i].generation = 1;
        t->unused[t->unused_count++] = i;
    }
    t->slot_count = count;
}

static void remove_at(struct timers *t, uint32_t place)
{
    uint32_t slot = t->heap[place];
    t->slots[slot].generation++;
    t->unused[t->unused_count++] = slot;
    uint32_t last = t->heap[--t->count];
    if (place == t->count) return;
    put_at(t, place, last);
    sift_up(t, place);
    sift_down(t, t->slots[last].place);
}

void timers_fini(struct timers *timers)
{
    free(timers->slots);
    free(timers->heap);
    free(timers->unused);
    *timers = (struct timers){0};
}

uint64_t timers_arm(struct timers *timers, struct actor *actor, uint64_t at_ns, uint64_t argument)
{
    if (timers->unused_count == 0) grow(timers);
    uint32_t slot = timers->unused[--timers->unused_count];
    struct timer *timer = &timers->slots[slot];
    timer->at_ns = at_ns;
    timer->order = ++timers->order;
    timer->actor = actor;
    timer->argument = argument;
    put_at(timers, timers->count, slot);
    sift_up(timers, timers->count++);
    return (uint64_t)timer->generation << 32 | slot;
}

void timers_disarm(struct timers *timers, uint64_t id)
{
    uint32_t slot = (uint32_t)id;
    if (id == 0 || slot >= timers->slot_count || timers->slots[slot].generation != id >> 32) return;
    remove_at(timers, timers->slots[slot].place);
}

bool timers_take_due(struct timers *timers, uint64_t now_ns, struct actor **actor, uint64_t *argument)
{
    if (timers_next(timers) > now_ns) return false;
    const struct timer *timer = &timers->slots[timers->heap[0]];
    *actor = timer->actor;
    *argument = timer->argument;
    remove_at(timers, 0);
    return true;
}

uint64_t timers_next(const struct timers *timers)
{
    return timers->count == 0 ? UINT64_MAX : timers->slots[timers->heap[0]].at_ns;
}
