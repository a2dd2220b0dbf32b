/* Timers of one shard: a binary heap by (time, order of arming), so that equal times fire in the order they were armed. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct actor;

struct timer {
    uint64_t at_ns;
    uint64_t id; /* grows */
    struct actor *actor;
    uint64_t argument;
};

struct timers {
    struct timer *heap;
    uint32_t count, capacity;
    uint64_t last_id;
    struct timer_index *index; /* id to place in the heap */
    uint32_t index_capacity;
};

void timers_fini(struct timers *timers);
uint64_t timers_arm(struct timers *timers, struct actor *actor, uint64_t at_ns, uint64_t argument);
void timers_disarm(struct timers *timers, uint64_t id);

/* Take the first timer that is due at @now_ns. */
bool timers_take_due(struct timers *timers, uint64_t now_ns, struct timer *out);

/* When the first is due; UINT64_MAX without any. */
uint64_t timers_next(const struct timers *timers);
