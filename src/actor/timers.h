/* Timers of one shard: a binary heap by (time, order of arming), so that equal times fire in the order they
 * were armed. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct actor;

struct timer {
    uint64_t at_ns;
    uint64_t order; /* of arming */
    struct actor *actor;
    uint64_t argument;
    uint32_t place;      /* in the heap */
    uint32_t generation; /* of the slot: upper half of the id */
};

struct timers {
    struct timer *slots; /* lower half of the id */
    uint32_t *heap;      /* slots, the earliest first */
    uint32_t *unused;    /* slots that are free, as a stack */
    uint32_t count, unused_count, slot_count;
    uint64_t order;
};

void timers_fini(struct timers *timers);

/* The id is never 0. */
uint64_t timers_arm(struct timers *timers, struct actor *actor, uint64_t at_ns, uint64_t argument);

/* An id that has fired, was taken back, or is 0 is ignored. */
void timers_disarm(struct timers *timers, uint64_t id);

/* Take the first timer that is due at @now_ns. */
bool timers_take_due(struct timers *timers, uint64_t now_ns, struct actor **actor, uint64_t *argument);

/* When the first is due; UINT64_MAX without any. */
uint64_t timers_next(const struct timers *timers);
