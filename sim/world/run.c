#include "world/run.h"

#include <stdio.h>

#include "world/clients.h"
#include "world/faults.h"

static const uint64_t ms = 1000000;

struct run {
    const struct options *options;
    struct world *world;
    struct clients *clients;
    struct faults faults;
    bool core; /* nodes were left out of one */
    void (*line)(void *context, const char *line);
    void *context;
    uint64_t trace_from_ns;
};

static void trace(void *context, const char *line)
{
    const struct run *run = context;
    if (run->world != NULL && world_now(run->world) >= run->trace_from_ns) run->line(run->context, line);
}

static void pass(struct run *run, uint64_t time_ms)
{
    world_run(run->world, world_now(run->world) + time_ms * ms);
}

/* How long all nodes do the work once they are back. */
static const uint64_t reunion_ms = 500;

static uint32_t all_nodes(const struct run *run)
{
    return (UINT32_C(1) << run->options->nodes) - 1;
}

/* Those whose stores are the first ever have found that out, as far as they can be reached. */
static void await_births(struct run *run)
{
    for (uint32_t node = 0, times = 0; node < run->options->nodes && times < 20;) {
        if (!world_is_filled(run->world, node, run->options->n))
            pass(run, 250), times++;
        else
            node++;
    }
}

/* No operation is under way any more. */
static void calm(struct run *run)
{
    clients_stop(run->clients, true);
    pass(run, run->options->deadline_ms + run->options->settle_ms);
}

static void note_core(struct world *world, uint32_t core)
{
    char names[WORLD_NODES_MAX * 4 + 1] = "";
    for (uint32_t node = 0, at = 0; node < world_nodes(world); node++)
        if (core >> node & 1) at += (uint32_t)snprintf(names + at, sizeof(names) - at, " n%u", node + 1);
    world_note(world, "--- the core, which must answer alone, is%s", names);
}

/* A core alone does the work, with the others dead or cut off. */
static void live_on_core(struct run *run)
{
    const struct options *options = run->options;
    if (options->core_ms == 0) return;
    uint32_t core = faults_draw_core(&run->faults);
    run->core = core != all_nodes(run);
    faults_heal(&run->faults, core);
    clients_judge_trees(run->clients, core, false);
    faults_cut_off(&run->faults, core);
    clients_keep_to(run->clients, core);
    note_core(run->world, core);
    pass(run, options->settle_ms);
    clients_expect(run->clients, true);
    pass(run, options->core_ms);
    calm(run);
    clients_sweep(run->clients, core, options->antientropy != 0);
    clients_expect(run->clients, false);
    clients_keep_to(run->clients, all_nodes(run));
}

/* All are back and do the work; what differs among them is found and judged. */
static void live_on_all(struct run *run)
{
    const struct options *options = run->options;
    world_note(run->world, "--- all are healed");
    faults_heal(&run->faults, all_nodes(run));
    clients_judge_trees(run->clients, all_nodes(run), false);
    clients_stop(run->clients, true);
    pass(run, options->settle_ms);
    clients_expect(run->clients, true);
    clients_stop(run->clients, false);
    pass(run, reunion_ms);
    calm(run);
    if (options->antientropy != 0) pass(run, options->settle_ms);
    clients_sweep(run->clients, all_nodes(run), options->antientropy != 0);
    clients_expect(run->clients, false);
}

void run_world(const struct options *options, void (*line)(void *context, const char *line), void *context,
               uint64_t trace_from_ns, struct run_result *out)
{
    struct run run = {.options = options, .line = line, .context = context, .trace_from_ns = trace_from_ns};
    struct world_watch watch = {0};
    struct world_options world = options_world(options);
    struct clients_options clients = options_clients(options);
    run.clients = clients_alloc(&clients, &watch);
    run.world = world_alloc(&world, &watch);
    if (line != NULL) world_trace(run.world, trace, &run);
    pass(&run, 500);
    await_births(&run);
    clients_begin(run.clients, run.world);
    faults_start(&run.faults, run.world, options);
    pass(&run, options->safety_ms);
    faults_stop(&run.faults);
    live_on_core(&run);
    live_on_all(&run);
    clients_judge(run.clients, options->strict != 0);
    *out = (struct run_result){.operations = clients_operations(run.clients),
                               .virtual_ns = world_now(run.world),
                               .hash = world_hash(run.world),
                               .counts = world_counts(run.world),
                               .core = run.core};
    for (uint32_t i = 0; i < CLIENTS_JUDGED; i++)
        out->judged[i] = clients_judged(run.clients, (enum clients_judged)i);
    snprintf(out->fault, sizeof(out->fault), "%s", clients_fault(run.clients));
    world_free(run.world);
    clients_free(run.clients);
}
