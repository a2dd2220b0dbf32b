#include "actors/put_core.h"

#include "base/check.h"
#include "ring/cluster.h"

void put_core_init(struct put_core *core, uint32_t n, uint32_t w, bool sloppy)
{
    CHECK(w >= 1);
    CHECK(w <= n);
    CHECK(n <= TABLE_N_MAX);
    *core = (struct put_core){.n = n, .w = w, .sloppy = sloppy};
}

void put_core_ack(struct put_core *core, uint32_t position)
{
    CHECK(position < core->n);
    core->acked |= 1U << position;
    core->failed &= ~(1U << position);
}

void put_core_fail(struct put_core *core, uint32_t position)
{
    CHECK(position < core->n);
    if ((core->acked & 1U << position) == 0) core->failed |= 1U << position;
}

void put_core_stand(struct put_core *core, uint32_t position)
{
    CHECK(position < core->n);
    core->standing |= 1U << position;
}

void put_core_keep(struct put_core *core, uint32_t position)
{
    CHECK(position < core->n);
    core->standing |= 1U << position;
    core->kept |= 1U << position;
}

void put_core_stand_failed(struct put_core *core, uint32_t position)
{
    CHECK(position < core->n);
    if ((core->kept & 1U << position) == 0) core->standing &= ~(1U << position);
}

uint32_t put_core_taken(const struct put_core *core)
{
    return core->sloppy ? core->acked | core->kept : core->acked;
}

uint32_t put_core_got(const struct put_core *core)
{
    return (uint32_t)__builtin_popcount(put_core_taken(core));
}

uint32_t put_core_missing(const struct put_core *core)
{
    return ((1U << core->n) - 1) & ~(core->acked | core->kept);
}

uint32_t put_core_lost(const struct put_core *core)
{
    return put_core_missing(core) & core->failed & ~core->standing;
}

enum quorum put_core_result(const struct put_core *core)
{
    if (put_core_got(core) >= core->w) return QUORUM_ENOUGH;
    uint32_t gone = core->sloppy ? core->failed & ~core->standing : core->failed;
    return core->n - (uint32_t)__builtin_popcount(gone) < core->w ? QUORUM_FAILED : QUORUM_PENDING;
}
