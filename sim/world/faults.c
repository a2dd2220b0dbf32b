#include "world/faults.h"

#include "base/check.h"

static const uint64_t ms = 1000000;

typedef void fault_begin(struct faults *faults, uint32_t a, uint32_t b);
typedef void fault_end(struct faults *faults, uint32_t a, uint32_t b);

/* A kind of fault, on one node (a) or a pair (a, b). @end NULL: it is over at once. */
struct kind {
    size_t rate; /* where in the options */
    bool pair;
    fault_begin *begin;
    fault_end *end;
};

static uint64_t below(struct faults *faults, uint64_t bound)
{
    return prng_below(world_prng(faults->world), bound);
}

static uint32_t all_nodes(const struct faults *faults)
{
    return (UINT32_C(1) << faults->options->nodes) - 1;
}

/* --- nodes --- */

static void crash(struct faults *faults, uint32_t a, uint32_t b)
{
    (void)b;
    if (world_is_up(faults->world, a)) world_crash(faults->world, a);
}

static void restart(struct faults *faults, uint32_t a, uint32_t b)
{
    (void)b;
    if (!world_is_up(faults->world, a)) world_restart(faults->world, a);
}

static void cut_power(struct faults *faults, uint32_t a, uint32_t b)
{
    (void)a;
    (void)b;
    world_cut_power(faults->world);
}

static void restart_all(struct faults *faults, uint32_t a, uint32_t b)
{
    (void)a;
    for (uint32_t node = 0; node < faults->options->nodes; node++) restart(faults, node, b);
}

static void pause_node(struct faults *faults, uint32_t a, uint32_t b)
{
    (void)b;
    if (world_is_up(faults->world, a) && !world_is_paused(faults->world, a)) world_pause(faults->world, a);
}

static void resume(struct faults *faults, uint32_t a, uint32_t b)
{
    (void)b;
    if (world_is_paused(faults->world, a)) world_resume(faults->world, a);
}

static void jump_clock(struct faults *faults, uint32_t a, uint32_t b)
{
    (void)b;
    int64_t most_ms = faults->options->jump_ms;
    int64_t to_ms = (int64_t)below(faults, 2 * (uint64_t)most_ms + 1) - most_ms;
    world_jump_clock(faults->world, a, to_ms - faults->jumped_ms[a]);
    faults->jumped_ms[a] = to_ms;
}

/* --- the network --- */

static void cut(struct faults *faults, uint32_t a, uint32_t b)
{
    world_cut(faults->world, a, b);
}

static void mend(struct faults *faults, uint32_t a, uint32_t b)
{
    world_mend(faults->world, a, b);
}

/* Some nodes, drawn as bits, see only one another, and the others likewise. */
static void split(struct faults *faults, uint32_t a, uint32_t b)
{
    (void)a;
    (void)b;
    world_split(faults->world, (uint32_t)below(faults, all_nodes(faults) + 1));
}

static void mend_all(struct faults *faults, uint32_t a, uint32_t b)
{
    for (a = 0; a < faults->options->nodes; a++)
        for (b = 0; b < a; b++) world_mend(faults->world, a, b);
}

static void cut_way(struct faults *faults, uint32_t a, uint32_t b)
{
    world_cut_way(faults->world, a, b);
}

static void mend_way(struct faults *faults, uint32_t a, uint32_t b)
{
    world_mend_way(faults->world, a, b);
}

static void clog_way(struct faults *faults, uint32_t a, uint32_t b)
{
    world_clog(faults->world, a, b);
}

static void unclog_way(struct faults *faults, uint32_t a, uint32_t b)
{
    world_unclog(faults->world, a, b);
}

static void reset(struct faults *faults, uint32_t a, uint32_t b)
{
    world_reset(faults->world, a, b);
}

/* --- disks --- */

static void hold(struct faults *faults, uint32_t a, uint32_t b)
{
    (void)b;
    world_hold_syncs(faults->world, a, true);
}

static void unhold(struct faults *faults, uint32_t a, uint32_t b)
{
    (void)b;
    world_hold_syncs(faults->world, a, false);
}

static void slow(struct faults *faults, uint32_t a, uint32_t b)
{
    (void)b;
    world_slow_disks(faults->world, a, (struct span){0, (1 + below(faults, 300)) * ms});
}

static void hurry(struct faults *faults, uint32_t a, uint32_t b)
{
    (void)b;
    world_slow_disks(faults->world, a, (struct span){0});
}

static void fill(struct faults *faults, uint32_t a, uint32_t b)
{
    (void)b;
    world_fill_disks(faults->world, a, true);
}

static void empty(struct faults *faults, uint32_t a, uint32_t b)
{
    (void)b;
    world_fill_disks(faults->world, a, false);
}

/* Who has been filled again since has what was acknowledged before: it may be another's turn to lose it.
 * Hints are not among that. */
static void forgive(struct faults *faults)
{
    for (uint32_t node = 0; node < faults->options->nodes && faults->options->sloppy == 0; node++)
        if ((faults->rotten >> node & 1) == 0 && world_is_safe(faults->world, node, faults->options->n))
            faults->lost &= ~(UINT32_C(1) << node);
}

/* May what @node has stored be lost? */
static bool may_lose(struct faults *faults, uint32_t node)
{
    forgive(faults);
    uint32_t lost = faults->lost | UINT32_C(1) << node;
    if ((uint32_t)__builtin_popcount(lost) > faults->options->lost_max) return false;
    faults->lost = lost;
    return true;
}

static void fail_disk(struct faults *faults, uint32_t node, enum store_mem_operation operation)
{
    struct world *world = faults->world;
    if (world_is_up(world, node) && may_lose(faults, node))
        world_fail_disk(world, node, (uint32_t)below(faults, world_shards(world, node)), operation);
}

static void fail_read(struct faults *faults, uint32_t a, uint32_t b)
{
    (void)b;
    fail_disk(faults, a, STORE_MEM_READ);
}

static void fail_commit(struct faults *faults, uint32_t a, uint32_t b)
{
    (void)b;
    fail_disk(faults, a, STORE_MEM_COMMIT);
}

static void fail_sync(struct faults *faults, uint32_t a, uint32_t b)
{
    (void)b;
    fail_disk(faults, a, STORE_MEM_SYNC);
}

static void rot(struct faults *faults, uint32_t a, uint32_t b)
{
    (void)b;
    if (may_lose(faults, a) &&
        world_rot(faults->world, a, (uint32_t)below(faults, world_shards(faults->world, a))))
        faults->rotten |= UINT32_C(1) << a;
}

static void wipe(struct faults *faults, uint32_t a, uint32_t b)
{
    if (!may_lose(faults, a)) return;
    crash(faults, a, b);
    world_wipe(faults->world, a);
}

/* --- when --- */

static const struct kind kinds[] = {
    {offsetof(struct options, crashes), false, crash, restart},
    {offsetof(struct options, power_cuts), false, cut_power, restart_all},
    {offsetof(struct options, pauses), false, pause_node, resume},
    {offsetof(struct options, clock_jumps), false, jump_clock, NULL},
    {offsetof(struct options, cuts), true, cut, mend},
    {offsetof(struct options, splits), false, split, mend_all},
    {offsetof(struct options, way_cuts), true, cut_way, mend_way},
    {offsetof(struct options, clogs), true, clog_way, unclog_way},
    {offsetof(struct options, link_resets), true, reset, NULL},
    {offsetof(struct options, held_disks), false, hold, unhold},
    {offsetof(struct options, slow_disks), false, slow, hurry},
    {offsetof(struct options, full_disks), false, fill, empty},
    {offsetof(struct options, read_errors), false, fail_read, NULL},
    {offsetof(struct options, commit_errors), false, fail_commit, NULL},
    {offsetof(struct options, sync_errors), false, fail_sync, NULL},
    {offsetof(struct options, rots), false, rot, NULL},
    {offsetof(struct options, wipes), false, wipe, restart},
};

enum { KINDS = sizeof(kinds) / sizeof(kinds[0]) };

static void end_fault(void *context, uint64_t argument)
{
    struct faults *faults = context;
    if (faults->stopped) return; /* healing is somebody else's now */
    kinds[argument >> 16].end(faults, argument >> 8 & 0xff, argument & 0xff);
}

static void strike(void *context, uint64_t kind);

static void strike_later(struct faults *faults, uint32_t kind)
{
    uint32_t an_hour = *(const uint32_t *)(const void *)((const char *)faults->options + kinds[kind].rate);
    if (an_hour == 0) return;
    uint64_t longest_ns = 2 * (UINT64_C(3600000) * ms / an_hour);
    world_at(faults->world, world_now(faults->world) + below(faults, longest_ns), strike, faults, kind);
}

static void strike(void *context, uint64_t kind)
{
    struct faults *faults = context;
    if (faults->stopped) return;
    strike_later(faults, (uint32_t)kind);
    uint32_t nodes = faults->options->nodes, a = (uint32_t)below(faults, nodes), b = a;
    if (kinds[kind].pair) {
        if (nodes < 2) return;
        b = (a + 1 + (uint32_t)below(faults, nodes - 1)) % nodes;
    }
    kinds[kind].begin(faults, a, b);
    if (kinds[kind].end == NULL) return;
    uint64_t lasts_ns = below(faults, faults->options->fault_ms * ms + 1);
    world_at(faults->world, world_now(faults->world) + lasts_ns, end_fault, faults, kind << 16 | a << 8 | b);
}

void faults_start(struct faults *faults, struct world *world, const struct options *options)
{
    *faults = (struct faults){.world = world, .options = options};
    for (uint32_t kind = 0; kind < KINDS; kind++) strike_later(faults, kind);
}

void faults_stop(struct faults *faults)
{
    faults->stopped = true;
    world_calm_network(faults->world);
}

void faults_heal(struct faults *faults, uint32_t nodes)
{
    CHECK(faults->stopped);
    struct world *world = faults->world;
    for (uint32_t a = 0; a < faults->options->nodes; a++) {
        if ((nodes >> a & 1) == 0) continue;
        for (uint32_t b = 0; b < faults->options->nodes; b++) {
            if ((nodes >> b & 1) == 0 || a == b) continue;
            world_mend_way(world, a, b);
            world_unclog(world, a, b);
        }
        world_mend_disks(world, a);
        restart(faults, a, 0);
        resume(faults, a, 0);
    }
}

uint32_t faults_draw_core(struct faults *faults)
{
    const struct options *options = faults->options;
    uint32_t needed = options->n / 2 + 1;
    if (options->r > needed) needed = options->r;
    if (options->w > needed) needed = options->w;
    /* A home that has lost its data is missed no more when it is gone. */
    uint32_t out = 0, lost = faults->rotten;
    for (uint32_t node = 0; node < options->nodes; node++)
        if (!world_is_filled(faults->world, node, options->n)) lost |= UINT32_C(1) << node;
    uint32_t wanted = 1 + (uint32_t)below(faults, options->nodes),
             first = (uint32_t)below(faults, options->nodes);
    for (uint32_t i = 0; i < options->nodes && (uint32_t)__builtin_popcount(out) < wanted; i++) {
        uint32_t more = out | UINT32_C(1) << (first + i) % options->nodes;
        if ((uint32_t)__builtin_popcount(more | lost) + needed <= options->n) out = more;
    }
    return all_nodes(faults) & ~out;
}

void faults_cut_off(struct faults *faults, uint32_t core)
{
    for (uint32_t node = 0; node < faults->options->nodes; node++) {
        if (core >> node & 1) continue;
        bool told = below(faults, 2) == 0; /* else packets vanish, and who is gone has to be suspected */
        /* Who stands still answers nobody before all are healed, and the core's clients are waited for. */
        if (below(faults, 2) == 0 || world_is_paused(faults->world, node)) {
            crash(faults, node, 0);
            continue;
        }
        for (uint32_t other = 0; other < faults->options->nodes; other++)
            if (other == node) {
                continue;
            } else if (told) {
                world_cut(faults->world, node, other);
            } else {
                world_cut_way(faults->world, node, other);
                world_cut_way(faults->world, other, node);
            }
    }
}
