#include "actors/put_core.h"

#include "base/check.h"
#include "ring/cluster.h"

void put_core_init(struct put_core *core, uint32_t n, uint32_t w)
{
    CHECK(w >= 1);
    CHECK(w <= n);
    CHECK(n <= TABLE_N_MAX);
    *core = (struct put_core){.n = n, .w = w};
}

void put_core_ack(struct put_core *core, uint32_t home)
{
    CHECK(home < core->n);
    core->acked |= 1U << home;
    core->failed &= ~(1U << home);
}

void put_core_fail(struct put_core *core, uint32_t home)
{
    CHECK(home < core->n);
    if ((core->acked & 1U << home) == 0) core->failed |= 1U << home;
}

uint32_t put_core_got(const struct put_core *core)
{
    return (uint32_t)__builtin_popcount(core->acked);
}

enum quorum put_core_result(const struct put_core *core)
{
    if (put_core_got(core) >= core->w) return QUORUM_ENOUGH;
    if (core->n - (uint32_t)__builtin_popcount(core->failed) < core->w) return QUORUM_FAILED;
    return QUORUM_PENDING;
}
