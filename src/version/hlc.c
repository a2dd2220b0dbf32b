#include "version/hlc.h"

static uint64_t above(uint64_t stamp)
{
    return stamp == UINT64_MAX ? UINT64_MAX : stamp + 1;
}

uint64_t hlc_mint(struct hlc *hlc, uint64_t wall_ms, uint64_t floor)
{
    uint64_t wall = wall_ms > UINT64_MAX >> 16 ? UINT64_MAX : wall_ms << 16;
    uint64_t own = above(hlc->last);
    if (own < wall) own = wall;
    hlc->last = own;
    uint64_t over = above(floor);
    return own < over ? over : own;
}
