#include "world/options.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const struct option options_list[] = {
#define OPTIONS_ENTRY(name, least, most, text)                                                               \
    {#name, text, least, most, false, offsetof(struct options, name)},
    OPTIONS_SHAPE(OPTIONS_ENTRY)
#undef OPTIONS_ENTRY
#define OPTIONS_ENTRY(name, least, most, text)                                                               \
    {#name, text, least, most, true, offsetof(struct options, name)},
        OPTIONS_FAULTS(OPTIONS_ENTRY)
#undef OPTIONS_ENTRY
};
const uint32_t options_count = sizeof(options_list) / sizeof(options_list[0]);

static uint32_t draw(struct prng *prng, uint32_t least, uint32_t most)
{
    return least + (uint32_t)prng_below(prng, most - least + 1);
}

/* Off in some worlds, rare in most, and dense in some: a fault shows other things alone than in a crowd. */
static uint32_t draw_rate(struct prng *prng, uint32_t most)
{
    switch (prng_below(prng, 4)) {
    case 0:
        return 0;
    case 1:
        return draw(prng, 1, most);
    default:
        return draw(prng, 1, most / 8 + 1);
    }
}

static void draw_quorums(struct options *options, struct prng *prng)
{
    options->n = options->nodes < 3 ? options->nodes : 3;
    options->r = options->w = options->n / 2 + 1;
    if (prng_chance(prng, 1, 2)) return; /* the usual ones; else anything that overlaps */
    options->n = options->nodes < 3 || prng_chance(prng, 1, 4) ? draw(prng, 1, options->nodes)
                                                               : draw(prng, 3, options->nodes);
    options->w = draw(prng, 1, options->n);
    /* Where all homes have to write, or to be read, no core can do without one: that is rarer. */
    if (options->n >= 3 && prng_chance(prng, 3, 4)) options->w = draw(prng, 2, options->n - 1);
    options->r = options->n + 1 - options->w;
}

/* So many homes may lose their copy without a loss: what W have is still on one, R can be asked, and a
 * majority. */
static uint32_t bearable_losses(const struct options *options)
{
    uint32_t most = (options->n - 1) / 2;
    if (options->w - 1 < most) most = options->w - 1;
    if (options->n - options->r < most) most = options->n - options->r;
    return most;
}

static void draw_shape(struct options *options, struct prng *prng)
{
    options->nodes = prng_chance(prng, 2, 3) ? draw(prng, 3, 5) : draw(prng, 1, 7);
    options->shards = prng_chance(prng, 1, 2) ? draw(prng, 1, 4) : 0;
    options->vnodes = 16U << prng_below(prng, 3);
    options->lww = prng_chance(prng, 1, 4) ? 1 : 0;
    draw_quorums(options, prng);
    options->delay_us = prng_chance(prng, 1, 3) ? 30000 : 900;
    options->uneven = prng_chance(prng, 1, 2) ? 1 : 0;
    options->sync_us = prng_chance(prng, 1, 3) ? 100000 : 2000;
    /* Ten seconds in the product; most worlds do not live much longer. */
    options->stall_ms = prng_chance(prng, 1, 2) ? draw(prng, 200, 1500) : 10000;
    options->safety_ms = prng_chance(prng, 1, 8) ? 20000 : 3000;
    options->core_ms = 1000;
    options->settle_ms = 4000;
    options->fault_ms = prng_chance(prng, 1, 8) ? 15000 : 1500;
    options->lost_max = bearable_losses(options);
    options->antientropy = 1;
    /* Ten seconds and a minute in the product: here all must be equal before settle_ms is over. */
    options->pass_ms = 500;
    options->audit_ms = 2000;
    /* Jumps of seconds make an lww table's clocks say little: half of those have smaller ones. */
    options->jump_ms = options->lww && prng_chance(prng, 1, 2) ? 300 : 10000;
    options->checks = 1;
}

static void draw_clients(struct options *options)
{
    const struct clients_options clients = clients_options_draw(options->seed);
    options->registers = clients.kinds[CLIENT_REGISTER];
    options->carts = clients.kinds[CLIENT_CART];
    options->counters = clients.kinds[CLIENT_COUNTER];
    options->recreates = clients.kinds[CLIENT_RECREATE];
    options->sessions = clients.sessions;
    options->keys = clients.keys;
    options->deadline_ms = clients.deadline_ms;
    options->quorum = clients.quorum;
    options->moves = clients.moves;
    options->batching = clients.batching;
    options->tokens = clients.tokens;
    options->impatient = clients.impatient;
    options->weak = clients.weak;
    options->levels = clients.levels;
    options->think_us = (uint32_t)(clients.think_ns / 1000);
    options->gets = clients.habits.gets;
    options->puts = clients.habits.puts;
    options->deletes = clients.habits.deletes;
    options->contexts = clients.habits.contexts;
    options->conditions = clients.habits.conditions;
    options->blinds = clients.habits.blinds;
    options->hot = clients.habits.hot;
    options->ttl_ms = clients.habits.ttl_ms;
    options->value_bytes = clients.habits.value_bytes;
}

static void draw_faults(struct options *options, struct prng *prng)
{
    if (prng_chance(prng, 1, 2)) options->skew_ms = draw(prng, 1, options->lww ? 300 : 10000);
    if (prng_chance(prng, 1, 2)) options->drift_ppm = draw(prng, 1, 500);
    options->resets = draw_rate(prng, 3000);
    options->losses = draw_rate(prng, 20000);
    options->strays = prng_chance(prng, 1, 2) ? draw(prng, 1, 1000000) : 0;
    options->client_resets = draw_rate(prng, 10000);
    options->crashes = draw_rate(prng, 12000);
    options->power_cuts = draw_rate(prng, 3000);
    options->pauses = draw_rate(prng, 6000);
    options->cuts = draw_rate(prng, 6000);
    options->splits = draw_rate(prng, 3000);
    options->way_cuts = draw_rate(prng, 6000);
    options->clogs = draw_rate(prng, 6000);
    options->link_resets = draw_rate(prng, 9000);
    options->held_disks = draw_rate(prng, 6000);
    options->slow_disks = draw_rate(prng, 6000);
    options->full_disks = draw_rate(prng, 4000);
    options->read_errors = draw_rate(prng, 6000);
    options->commit_errors = draw_rate(prng, 6000);
    options->sync_errors = draw_rate(prng, 6000);
    options->repeats = draw_rate(prng, 20000);
    options->overtakings = draw_rate(prng, 20000);
    options->clock_jumps = draw_rate(prng, 12000);
    if (prng_chance(prng, 1, 4)) options->rots = draw(prng, 1, 6000);
    options->wipes = draw_rate(prng, 6000);
}

/* One world of eight has no fault before its core: so long conditional writes have to be linearizable. */
static bool draw_calm(struct options *options, struct prng *prng)
{
    if (!prng_chance(prng, 1, 8)) return false;
    for (uint32_t i = 0; i < options_count; i++)
        if (options_list[i].fault) *option_value(options, &options_list[i]) = 0;
    return true;
}

/* The bound of hints, in some of the worlds with faults; from a stream of its own, so that all other worlds
 * are what they were before there was one. */
static void draw_hint_bound(struct options *options, bool calm)
{
    struct prng prng;
    prng_init(&prng, options->seed ^ 0x417b07d);
    if (!prng_chance(&prng, 1, 16) || calm) return;
    options->hint_bytes = prng_chance(&prng, 1, 2) ? 1 : draw(&prng, 1, 4000);
}

struct options options_draw(uint64_t seed)
{
    struct options options = {.seed = seed};
    struct prng prng;
    prng_init(&prng, seed ^ 0x0b71045);
    draw_shape(&options, &prng);
    draw_clients(&options);
    /* What one home has acknowledged is lost with that home's disk. */
    if (options.weak > 0 || options.quorum > 0) options.lost_max = 0;
    draw_faults(&options, &prng);
    draw_hint_bound(&options, draw_calm(&options, &prng));
    /* A third of the worlds has none: there every operation is judged. */
    if (!prng_chance(&prng, 1, 3)) options.sloppy = prng_chance(&prng, 1, 2) ? 30 : draw(&prng, 1, 100);
    options.blank = prng_chance(&prng, 1, 2) ? 1 : 0;
    options.reap = prng_chance(&prng, 1, 2) ? 1 : 0;
    return options;
}

const char *options_set(struct options *options, const char *text, char *why, size_t why_bytes)
{
    const char *equals = strchr(text, '=');
    size_t length = equals != NULL ? (size_t)(equals - text) : strlen(text);
    for (uint32_t i = 0; i < options_count; i++) {
        const struct option *option = &options_list[i];
        if (strlen(option->name) != length || memcmp(option->name, text, length) != 0) continue;
        char *end = NULL;
        errno = 0;
        unsigned long long value = equals != NULL ? strtoull(equals + 1, &end, 10) : 0;
        bool number = end != NULL && end != equals + 1 && *end == 0 && equals[1] != '-' && errno == 0;
        if (number && value >= option->least && value <= option->most) {
            *option_value(options, option) = (uint32_t)value;
            return NULL;
        }
        snprintf(why, why_bytes, "%s is a number from %u to %u: %s", option->name, option->least,
                 option->most, option->text);
        return why;
    }
    snprintf(why, why_bytes, "%.*s is no option", (int)length, text);
    return why;
}

const char *options_check(const struct options *options)
{
    if (options->n > options->nodes) return "n is above nodes";
    if (options->r > options->n || options->w > options->n) return "r or w is above n";
    if ((options->vnodes & (options->vnodes - 1)) != 0) return "vnodes is no power of two";
    if (options->gets + options->puts + options->deletes == 0) return "gets, puts and deletes are all 0";
    if (options->registers + options->carts + options->counters + options->recreates == 0)
        return "no key is of any kind: registers, carts, counters and recreates are all 0";
    return NULL;
}

void options_print_changes(const struct options *options, struct buffer *out)
{
    struct options drawn = options_draw(options->seed), own = *options;
    char text[64];
    for (uint32_t i = 0; i < options_count; i++) {
        uint32_t value = *option_value(&own, &options_list[i]);
        if (value == *option_value(&drawn, &options_list[i])) continue;
        snprintf(text, sizeof(text), " --set %s=%u", options_list[i].name, value);
        buffer_append(out, text, strlen(text));
    }
}

void options_print(const struct options *options, bool all, struct buffer *out)
{
    struct options own = *options;
    char text[64];
    snprintf(text, sizeof(text), "seed=%llu", (unsigned long long)options->seed);
    buffer_append(out, text, strlen(text));
    for (uint32_t i = 0; i < options_count; i++) {
        uint32_t value = *option_value(&own, &options_list[i]);
        if (!all && options_list[i].fault && value == 0) continue;
        snprintf(text, sizeof(text), " %s=%u", options_list[i].name, value);
        buffer_append(out, text, strlen(text));
    }
}

/* No run takes longer (run.c): clocks drift apart all the time. A minute is for the last reads. */
static uint64_t longest_ms(const struct options *options)
{
    return UINT64_C(60000) + options->safety_ms + options->core_ms + UINT64_C(4) * options->settle_ms +
           UINT64_C(2) * options->deadline_ms;
}

struct clients_options options_clients(const struct options *options)
{
    uint64_t jumps_ms = options->clock_jumps > 0 ? 2 * (uint64_t)options->jump_ms : 0;
    return (struct clients_options){
        .seed = options->seed,
        .sessions = options->sessions,
        .keys = options->keys,
        .kinds = {[CLIENT_REGISTER] = options->registers,
                  [CLIENT_CART] = options->carts,
                  [CLIENT_COUNTER] = options->counters,
                  [CLIENT_RECREATE] = options->recreates},
        .n = options->n,
        .r = options->r,
        .w = options->w,
        .lww = options->lww != 0,
        .quorum = options->quorum,
        .think_ns = options->think_us * UINT64_C(1000),
        .deadline_ms = options->deadline_ms,
        .moves = options->moves,
        .batching = options->batching,
        .tokens = options->tokens,
        .impatient = options->impatient,
        .weak = options->weak,
        .levels = options->levels,
        .lost_max = options->lost_max,
        .sloppy = options->sloppy,
        .sloppy_is_weak = options->strict == 0,
        .habits = {.gets = options->gets,
                   .puts = options->puts,
                   .deletes = options->deletes,
                   .contexts = options->contexts,
                   .conditions = options->conditions,
                   .blinds = options->blinds,
                   .hot = options->hot,
                   .ttl_ms = options->ttl_ms,
                   .value_bytes = options->value_bytes},
        /* They count whole milliseconds: what one says lies up to one behind its time. */
        .skew_ns = (options->skew_ms + jumps_ms + 2) * UINT64_C(1000000) +
                   2 * options->drift_ppm * longest_ms(options), /* a millionth of a millisecond */
        .grace_ns = 2 * options->delay_us * UINT64_C(1000) +
                    options->deadline_ms * UINT64_C(2) * options->drift_ppm + 10000000,
    };
}

struct world_options options_world(const struct options *options)
{
    struct prng prng;
    prng_init(&prng, options->seed ^ 0xc10c5);
    struct world_options world = world_options_default(options->seed);
    world.nodes = options->nodes;
    world.shards = options->shards;
    world.vnodes = options->vnodes;
    for (uint32_t i = 0; i < options->nodes; i++) {
        if (options->shards == 0) world.shards_of[i] = draw(&prng, 1, 4);
        world.skew_ms[i] = draw(&prng, 0, options->skew_ms);
        world.drift_ppm[i] = (int32_t)draw(&prng, 0, 2 * options->drift_ppm) - (int32_t)options->drift_ppm;
    }
    world.network.max_ns = options->delay_us * UINT64_C(1000);
    if (world.network.min_ns > world.network.max_ns) world.network.min_ns = world.network.max_ns;
    world.sync.max_ns = options->sync_us * UINT64_C(1000);
    if (world.sync.min_ns > world.sync.max_ns) world.sync.min_ns = world.sync.max_ns;
    world.stall_ns = options->stall_ms * UINT64_C(1000000);
    world.uneven = options->uneven != 0;
    world.unchecked = options->checks == 0;
    if (options->antientropy) {
        world.repair_pass_ns = options->pass_ms * UINT64_C(1000000);
        /* Longer deadlines are given where all is well. */
        if (options->reap) world.reap_after_ns = options->deadline_ms * UINT64_C(1000000);
        world.audit_pass_ns = options->audit_ms * UINT64_C(1000000);
        world.blank = options->blank != 0;
    }
    world.hint_bytes_max = options->hint_bytes;
    world.resets = options->resets;
    world.losses = options->losses;
    world.repeats = options->repeats;
    world.overtakings = options->overtakings;
    world.strays = options->strays;
    world.client_resets = options->client_resets;
    return world;
}
