#include "actors/clocks.h"

void clocks_read(const struct copies *copies, uint32_t vnode, uint32_t n, struct arena *arena,
                 struct clocks *out)
{
    *out = (struct clocks){.seen = copies_seen(copies, vnode, n, arena),
                           .whole = copies_is_whole(copies, vnode, n, arena),
                           .token = copies_token(copies, vnode, n)};
}

void clocks_lists(const struct vv *vv, struct arena *arena, uint64_t **clocks, uint64_t **counters,
                  size_t *clock_count, size_t *counter_count)
{
    *clock_count = *counter_count = vv->count;
    *clocks = ARENA_ARRAY(arena, uint64_t, (size_t)vv->count + 1);
    *counters = ARENA_ARRAY(arena, uint64_t, (size_t)vv->count + 1);
    for (uint32_t i = 0; i < vv->count; i++) {
        (*clocks)[i] = vv->entries[i].clock;
        (*counters)[i] = vv->entries[i].counter;
    }
}

Dynode__Peer__Clocks *clocks_message(const struct clocks *clocks, const struct vv *reaped,
                                     struct arena *arena)
{
    Dynode__Peer__Clocks *message = ARENA_NEW(arena, Dynode__Peer__Clocks);
    dynode__peer__clocks__init(message);
    clocks_lists(&clocks->seen, arena, &message->seen_clocks, &message->seen_counters,
                 &message->n_seen_clocks, &message->n_seen_counters);
    if (reaped != NULL)
        clocks_lists(reaped, arena, &message->reaped_clocks, &message->reaped_counters,
                     &message->n_reaped_clocks, &message->n_reaped_counters);
    message->whole = clocks->whole;
    message->token = clocks->token;
    return message;
}

bool clocks_vv(const uint64_t *clocks, size_t clock_count, const uint64_t *counters, size_t counter_count,
               struct arena *arena, struct vv *out)
{
    if (clock_count != counter_count || clock_count > VV_ENTRIES_MAX) return false;
    *out = (struct vv){.entries = ARENA_ARRAY(arena, struct dot, clock_count + 1),
                       .count = (uint32_t)clock_count};
    for (uint32_t i = 0; i < out->count; i++)
        out->entries[i] = (struct dot){.clock = clocks[i], .counter = counters[i]};
    return vv_valid(out);
}

bool clocks_open(const Dynode__Peer__Clocks *message, struct arena *arena, struct clocks *out,
                 struct vv *reaped)
{
    struct clocks clocks = {.whole = message->whole, .token = message->token};
    if (!clocks_vv(message->seen_clocks, message->n_seen_clocks, message->seen_counters,
                   message->n_seen_counters, arena, &clocks.seen) ||
        !clocks_vv(message->reaped_clocks, message->n_reaped_clocks, message->reaped_counters,
                   message->n_reaped_counters, arena, reaped))
        return false;
    *out = clocks;
    return true;
}
