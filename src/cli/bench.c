/* dynode bench: load a cluster, measure it, and measure redis with the same generator. */
#include "cli/bench.h"

#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#include "base/check.h"

static const char help[] =
    "usage: dynode bench [OPTIONS] [MIX ...]\n\n"
    "Load records, then run the mixes one after the other (default: put get), and print for each the rate, "
    "latencies\n"
    "and errors. Mixes: put, get, a, b, c, f (YCSB's; zipfian keys) and siblings (reads, then writes with "
    "the context,\n"
    "on a `siblings` table).\n\n"
    "  dynode bench                                      100,000 records, 64 connections, 16 in flight each\n"
    "  dynode bench --in-flight 1 --connections 1 get    the round trip of one read at a time\n"
    "  dynode bench --rate 20000 a                       open loop: 20,000 operations a second, come what "
    "may\n"
    "  dynode bench --no-load --check get                read what an earlier run wrote, and verify every "
    "value\n"
    "  dynode bench --protocol resp -a tcp://127.0.0.1:6379 put get       the same, of redis\n\n"
    "How to read it. Without --rate the loop is closed: a new request leaves when an answer has come. That "
    "finds the\n"
    "highest rate; its latencies hide every pause, because while the server pauses nobody asks (Gil Tene "
    "calls that\n"
    "coordinated omission). With --rate the loop is open: requests are due at fixed times whether or not the "
    "server\n"
    "keeps up, and latency counts from when a request was due. Judge latencies with --rate at about half of "
    "the closed\n"
    "loop's rate, and rates without it. The generator shares the machine with a local server: its own CPU is "
    "shown.\n"
    "A connection that breaks stays broken until the next mix; other nodes take its keys.\n\n"
    "What is asked:\n"
    "      --records NUMBER          (default 100000)\n"
    "      --key-bytes NUMBER        (default 20)\n"
    "      --value-bytes NUMBER      random, hence incompressible (default 200)\n"
    "      --distribution NAME       uniform or zipfian (0.99, scrambled); default: as the mix says\n"
    "      --duration TIME           of each mix (default 10s)\n"
    "      --operations NUMBER       of each mix, instead of a duration\n"
    "      --no-load                 the records are there already\n"
    "      --check                   verify each value that is read (24 bytes or more)\n"
    "      --seed NUMBER             of all that is random (default: another one each time)\n"
    "How:\n"
    "  -c, --connections NUMBER      in all, spread over all shards of all nodes (default 64)\n"
    "  -f, --in-flight NUMBER        requests in flight on each connection (default 16)\n"
    "      --operations-per-request NUMBER   (default 1)\n"
    "      --rate NUMBER             operations a second of each mix: an open loop; the load is closed "
    "(default:\n"
    "                                a closed loop)\n"
    "      --threads NUMBER          of the generator (default 1)\n"
    "      --any-node                spread requests without regard to where keys live; only the given "
    "addresses\n"
    "      --own-keys                with fewer connections than shards: only keys whose home a connection\n"
    "                                leads to, so that no request hops within the cluster\n"
    "Where:\n"
    "      --protocol NAME           dynode (default) or resp, redis' protocol\n"
    "      --table NAME              (default bench, or bench-siblings); made if it is not there\n"
    "      --n, --r, --w NUMBER      of a table that is made (default: as dynode table create)\n"
    "      --server-pid PID          of a local server, to show its CPU time per operation; may be "
    "repeated\n"
    "                                (default: it is not shown)\n" CLI_HELP
    "\nExit status: 0 measured, 2 wrong usage or no such table, 3 nothing was answered any more, every "
    "operation "
    "of a mix\nfailed, or --check found a wrong value.\n";

enum {
    OPTION_RECORDS = 1600,
    OPTION_KEY_BYTES,
    OPTION_VALUE_BYTES,
    OPTION_DISTRIBUTION,
    OPTION_DURATION,
    OPTION_OPERATIONS,
    OPTION_NO_LOAD,
    OPTION_CHECK,
    OPTION_SEED,
    OPTION_PER_REQUEST,
    OPTION_RATE,
    OPTION_THREADS,
    OPTION_ANY_NODE,
    OPTION_OWN_KEYS,
    OPTION_PROTOCOL,
    OPTION_TABLE,
    OPTION_N,
    OPTION_R,
    OPTION_W,
    OPTION_PID,
};

static const struct option long_options[] = {
    CLI_LONG,
    {"connections", required_argument, NULL, 'c'},
    {"in-flight", required_argument, NULL, 'f'},
    {"records", required_argument, NULL, OPTION_RECORDS},
    {"key-bytes", required_argument, NULL, OPTION_KEY_BYTES},
    {"value-bytes", required_argument, NULL, OPTION_VALUE_BYTES},
    {"distribution", required_argument, NULL, OPTION_DISTRIBUTION},
    {"duration", required_argument, NULL, OPTION_DURATION},
    {"operations", required_argument, NULL, OPTION_OPERATIONS},
    {"no-load", no_argument, NULL, OPTION_NO_LOAD},
    {"check", no_argument, NULL, OPTION_CHECK},
    {"seed", required_argument, NULL, OPTION_SEED},
    {"operations-per-request", required_argument, NULL, OPTION_PER_REQUEST},
    {"rate", required_argument, NULL, OPTION_RATE},
    {"threads", required_argument, NULL, OPTION_THREADS},
    {"any-node", no_argument, NULL, OPTION_ANY_NODE},
    {"own-keys", no_argument, NULL, OPTION_OWN_KEYS},
    {"protocol", required_argument, NULL, OPTION_PROTOCOL},
    {"table", required_argument, NULL, OPTION_TABLE},
    {"n", required_argument, NULL, OPTION_N},
    {"r", required_argument, NULL, OPTION_R},
    {"w", required_argument, NULL, OPTION_W},
    {"server-pid", required_argument, NULL, OPTION_PID},
    {NULL, 0, NULL, 0},
};

static void take(struct bench_options *o, int option)
{
    const struct cli *cli = &o->cli;
    switch (option) {
    case 'c':
        o->connections = cli_number(cli, "--connections", optarg, 1, 16384);
        break;
    case 'f':
        o->in_flight = cli_number(cli, "--in-flight", optarg, 1, 65536);
        break;
    case OPTION_RECORDS:
        o->records = cli_number(cli, "--records", optarg, 1, 1000000000);
        break;
    case OPTION_KEY_BYTES:
        o->key_bytes = cli_number(cli, "--key-bytes", optarg, 10, 1024);
        break;
    case OPTION_VALUE_BYTES:
        o->value_bytes = cli_number(cli, "--value-bytes", optarg, 0, 1048576);
        break;
    case OPTION_DISTRIBUTION:
        if (strcmp(optarg, "uniform") == 0)
            o->distribution = BENCH_UNIFORM;
        else if (strcmp(optarg, "zipfian") == 0)
            o->distribution = BENCH_ZIPFIAN;
        else
            cli_usage(cli, "--distribution must be uniform or zipfian, not \"%s\"", optarg);
        break;
    case OPTION_DURATION:
        o->duration_ms = cli_time_ms(cli, "--duration", optarg);
        break;
    case OPTION_OPERATIONS:
        o->operations = cli_number(cli, "--operations", optarg, 1, 4000000000u);
        break;
    case OPTION_NO_LOAD:
        o->no_load = true;
        break;
    case OPTION_CHECK:
        o->check = true;
        break;
    case OPTION_SEED:
        o->seed = strtoull(optarg, NULL, 0);
        break;
    case OPTION_PER_REQUEST:
        o->operations_per_request = cli_number(cli, "--operations-per-request", optarg, 1, 1024);
        break;
    case OPTION_RATE:
        o->rate = cli_number(cli, "--rate", optarg, 1, 100000000);
        break;
    case OPTION_THREADS:
        o->threads = cli_number(cli, "--threads", optarg, 1, 64);
        break;
    case OPTION_ANY_NODE:
        o->any_node = true;
        break;
    case OPTION_OWN_KEYS:
        o->own_keys = true;
        break;
    case OPTION_PROTOCOL:
        if (strcmp(optarg, "resp") == 0)
            o->protocol = BENCH_RESP;
        else if (strcmp(optarg, "dynode") != 0)
            cli_usage(cli, "--protocol must be dynode or resp, not \"%s\"", optarg);
        break;
    case OPTION_TABLE:
        if (strlen(optarg) > 63)
            cli_usage(cli, "a table's name has 1 to 63 letters, digits, '-', '_' or '.'");
        o->table = optarg;
        break;
    case OPTION_N:
        o->table_n = cli_number(cli, "--n", optarg, 1, 15);
        break;
    case OPTION_R:
        o->table_r = cli_number(cli, "--r", optarg, 1, 15);
        break;
    case OPTION_W:
        o->table_w = cli_number(cli, "--w", optarg, 1, 15);
        break;
    case OPTION_PID:
        if (o->pid_count == BENCH_PIDS_MAX) cli_usage(cli, "at most %d processes", BENCH_PIDS_MAX);
        o->pids[o->pid_count++] = (int)cli_number(cli, "--server-pid", optarg, 1, INT32_MAX);
        break;
    default:
        cli_option(&o->cli, option);
    }
}

/* Where the connections go. */

static void add_target(struct bench_ring *ring, const char *address, uint32_t shard)
{
    struct bench_target *targets = realloc(ring->targets, (ring->target_count + 1) * sizeof(*targets));
    CHECK(targets != NULL);
    ring->targets = targets;
    struct bench_target *target = &targets[ring->target_count++];
    snprintf(target->address, sizeof(target->address), "%s", address);
    target->shard = shard;
}

static void targets_of_addresses(const struct bench_options *o, struct bench_ring *ring)
{
    const char *addresses = o->cli.addresses != NULL ? o->cli.addresses : getenv("DYNODE_ADDRESS");
    if (addresses == NULL || addresses[0] == '\0')
        addresses = o->protocol == BENCH_RESP ? "tcp://127.0.0.1:6379" : "tcp://127.0.0.1:7400";
    for (const char *at = addresses; *at != '\0';) {
        char one[256];
        size_t size = strcspn(at, ",");
        snprintf(one, sizeof(one), "%.*s", (int)(size > 255 ? 255 : size), at);
        add_target(ring, one, 0);
        at += size + (at[size] == ',');
    }
}

/* A group for each shard of each member; a vnode belongs to the shard of its first home. */
static void targets_of_ring(const struct bench_options *o, const struct dynode_cluster *cluster,
                            struct bench_ring *ring)
{
    uint32_t *first = calloc(cluster->member_count, sizeof(*first));
    ring->group_of_vnode = calloc(cluster->vnodes, sizeof(*ring->group_of_vnode));
    CHECK(first != NULL && ring->group_of_vnode != NULL);
    ring->vnodes = cluster->vnodes;
    for (uint32_t i = 0; i < cluster->member_count; i++) {
        const struct dynode_member *member = &cluster->members[i];
        if (member->shards == 0 || !member->reachable)
            cli_fail(
                &o->cli, EXIT_UNAVAILABLE,
                "node %s (%s) cannot be reached by the one that answered: --any-node measures without it",
                member->name, member->client_address);
        first[i] = ring->target_count;
        for (uint32_t shard = 1; shard <= member->shards; shard++)
            add_target(ring, member->client_address, shard);
    }
    for (uint32_t v = 0; v < cluster->vnodes; v++) {
        uint32_t home = cluster->preference_lists[(size_t)v * cluster->preference_size];
        ring->group_of_vnode[v] = first[home] + v % cluster->members[home].shards;
    }
    free(first);
}

/* Make the table if it is not there (and records are to be loaded), and learn the ring. */
static void prepare(const struct bench_options *o, bool siblings, struct bench_ring *ring)
{
    *ring = (struct bench_ring){0};
    const char *table = o->table != NULL ? o->table : siblings ? "bench-siblings" : "bench";
    if (o->protocol == BENCH_RESP) {
        bench_wire_init(&ring->wire, o->protocol, table, 0);
        targets_of_addresses(o, ring);
        return;
    }
    struct dynode_client *client = cli_open(&o->cli, true);
    struct dynode_operation operations[] = {
        {.kind = DYNODE_CREATE_TABLE,
         .table = table,
         .rule = siblings ? DYNODE_RULE_SIBLINGS : DYNODE_RULE_LWW,
         .table_n = o->table_n,
         .table_r = o->table_r,
         .table_w = o->table_w},
        {.kind = DYNODE_CLUSTER_INFO},
    };
    struct dynode_reply *created = o->no_load ? NULL : cli_call(&o->cli, client, &operations[0]);
    if (created != NULL && created->status != DYNODE_OK && created->status != DYNODE_TABLE_EXISTS)
        exit(cli_report(&o->cli, &created->results[0]));
    struct dynode_reply *reply = cli_call(&o->cli, client, &operations[1]);
    const struct dynode_cluster *cluster = reply->results[0].cluster;
    if (reply->status != DYNODE_OK || cluster == NULL) exit(cli_report(&o->cli, &reply->results[0]));
    struct dynode_place place;
    bool known = dynode_place_find(cluster, table, dynode_string("any"), &place) == DYNODE_OK;
    if (!known && o->no_load)
        cli_fail(&o->cli, EXIT_USAGE, "there is no table %s: it is made and loaded without --no-load", table);
    if (!known)
        cli_fail(&o->cli, EXIT_UNAVAILABLE, "the table %s was made, but the node does not know it", table);
    if ((place.table->rule == DYNODE_RULE_SIBLINGS) != siblings)
        cli_fail(&o->cli, EXIT_USAGE,
                 "the table %s exists, but not as this mix needs it (%s): name another with --table", table,
                 siblings ? "siblings" : "lww");
    ring->tag = place.table->tag;
    bench_wire_init(&ring->wire, o->protocol, table, o->any_node ? 0 : cluster->ring_version);
    if (o->any_node)
        targets_of_addresses(o, ring);
    else
        targets_of_ring(o, cluster, ring);
    if (o->any_node) {
        /* One address is one group. With several, keys are spread evenly: the ring of a cluster of their own.
         */
        ring->vnodes = cluster->vnodes;
        ring->group_of_vnode = calloc(ring->vnodes, sizeof(*ring->group_of_vnode));
        CHECK(ring->group_of_vnode != NULL);
        for (uint32_t v = 0; v < ring->vnodes; v++) ring->group_of_vnode[v] = v % ring->target_count;
    }
    dynode_reply_free(created);
    dynode_reply_free(reply);
    dynode_close(client);
}

/* A phase. */

struct thread {
    struct bench_worker worker;
    void *state;
    pthread_t id;
    _Atomic bool finished;
};

static void *run_thread(void *data)
{
    struct thread *thread = data;
    bench_worker_run(&thread->worker, thread->state);
    atomic_store(&thread->finished, true);
    return NULL;
}

static void show_progress(const struct bench_options *o, const char *phase, struct thread *threads)
{
    uint64_t done = 0, failed = 0, latency = 0, began = bench_now_ns(), before = began;
    for (;;) {
        bool finished = true;
        /* Short naps, so that a phase that ends early is not waited for. */
        for (int i = 0; i < 20; i++) {
            finished = true;
            for (uint32_t t = 0; t < o->threads; t++) finished &= atomic_load(&threads[t].finished);
            if (finished) return;
            nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
        }
        uint64_t now = bench_now_ns(), done_now = 0, failed_now = 0, latency_now = 0;
        for (uint32_t t = 0; t < o->threads; t++) {
            done_now += atomic_load_explicit(&threads[t].worker.done, memory_order_relaxed);
            failed_now += atomic_load_explicit(&threads[t].worker.failed, memory_order_relaxed);
            latency_now += atomic_load_explicit(&threads[t].worker.latency_sum, memory_order_relaxed);
        }
        uint64_t delta = done_now - done;
        fprintf(stderr, "  %s %3.0f s %10.0f op/s   mean %.3f ms   %llu errors\n", phase,
                (double)(now - began) / 1e9, (double)delta * 1e9 / (double)(now - before),
                delta > 0 ? (double)(latency_now - latency) / (double)delta / 1e6 : 0,
                (unsigned long long)(failed_now - failed));
        done = done_now, failed = failed_now, latency = latency_now, before = now;
    }
}

static void merge(struct bench_result *into, const struct bench_result *from)
{
    for (int i = 0; i < BENCH_KINDS; i++) histogram_merge(&into->latency[i], &from->latency[i]);
    for (int i = 0; i < BENCH_STATUSES; i++) into->statuses[i] += from->statuses[i];
    into->wrong += from->wrong;
    into->siblings += from->siblings;
    into->generator_cpu_us += from->generator_cpu_us;
    into->stalled |= from->stalled;
    if (into->began_ns == 0 || from->began_ns < into->began_ns) into->began_ns = from->began_ns;
    if (from->ended_ns > into->ended_ns) into->ended_ns = from->ended_ns;
}

/* Number @t's part of @total. */
static uint64_t share(uint64_t total, uint32_t t, uint32_t threads)
{
    return total / threads + (t < total % threads);
}

static void run_phase(const struct bench_options *options, const struct bench_ring *ring,
                      const struct bench_mix *mix, double zeta, struct bench_result *result)
{
    struct bench_options here = *options, *o = &here;
    if (mix->load) here.rate = 0; /* it is to be done with, not to be measured at a rate */
    struct thread *threads = calloc(o->threads, sizeof(*threads));
    CHECK(threads != NULL);
    uint64_t first = 0;
    for (uint32_t t = 0; t < o->threads; t++) {
        struct bench_worker *worker = &threads[t].worker;
        worker->options = o;
        worker->ring = ring;
        worker->mix = mix;
        worker->index = t;
        worker->connection_count = (uint32_t)share(o->connections, t, o->threads);
        worker->count = share(mix->load ? o->records : o->operations, t, o->threads);
        worker->first = first;
        worker->zeta = zeta;
        first += worker->count;
        if (!bench_worker_connect(worker, &threads[t].state))
            cli_fail(&o->cli, EXIT_UNAVAILABLE, "%s", worker->why);
    }
    double cpu_us = bench_server_cpu_us(o);
    for (uint32_t t = 0; t < o->threads; t++)
        CHECK(pthread_create(&threads[t].id, NULL, run_thread, &threads[t]) == 0);
    show_progress(o, mix->name, threads);
    memset(result, 0, sizeof(*result));
    for (uint32_t t = 0; t < o->threads; t++) {
        pthread_join(threads[t].id, NULL);
        merge(result, &threads[t].worker.result);
        bench_worker_close(threads[t].state);
    }
    result->server_cpu_us = bench_server_cpu_us(o) - cpu_us;
    free(threads);
}

static void check_options(const struct bench_options *o)
{
    const struct cli *cli = &o->cli;
    if (o->check && o->value_bytes < BENCH_VALUE_HEADER_BYTES)
        cli_usage(cli, "--check needs values of at least %d bytes", BENCH_VALUE_HEADER_BYTES);
    uint64_t bytes = (uint64_t)o->operations_per_request * (o->key_bytes + o->value_bytes + 128u);
    if (bytes > 4000000)
        cli_usage(cli, "%u operations of %u bytes are more than the 4 MiB that a request may have",
                  o->operations_per_request, o->value_bytes);
    if (o->connections < o->threads) cli_usage(cli, "each of the %u threads needs a connection", o->threads);
    if (o->duration_ms == 0) cli_usage(cli, "--duration must be longer than 0");
}

int command_bench(int argc, char **argv)
{
    struct bench_options o = {
        .cli = {.command = "bench", .help = help},
        .records = 100000,
        .key_bytes = 20,
        .value_bytes = 200,
        .connections = 64,
        .in_flight = 16,
        .operations_per_request = 1,
        .threads = 1,
        .duration_ms = 10000,
        .seed = prng_entropy(),
    };
    int option;
    optind = 1;
    while ((option = getopt_long(argc, argv, CLI_SHORT "c:f:", long_options, NULL)) != -1) take(&o, option);
    check_options(&o);
    const struct bench_mix *mixes[64];
    size_t mix_count = 0;
    double zeta = 0;
    static const char *defaults[] = {"put", "get"};
    size_t given = (size_t)(argc - optind);
    if (given > 64) cli_usage(&o.cli, "more than 64 mixes");
    for (size_t i = 0; i < (given > 0 ? given : 2); i++) {
        const char *name = given > 0 ? argv[optind + (int)i] : defaults[i];
        mixes[mix_count] = bench_mix_find(name);
        if (mixes[mix_count] == NULL)
            cli_usage(&o.cli, "there is no mix \"%s\": put, get, a, b, c, f or siblings", name);
        bool zipfian =
            o.distribution == BENCH_BY_MIX ? mixes[mix_count]->zipfian : o.distribution == BENCH_ZIPFIAN;
        if (zipfian && zeta == 0) zeta = bench_zeta(o.records);
        if (mixes[mix_count]->siblings && o.protocol == BENCH_RESP)
            cli_usage(&o.cli, "redis has no siblings");
        mix_count++;
    }
    bench_value_init(o.seed);
    json_t *phases = json_array();
    struct bench_ring rings[2] = {0}; /* by whether the table is one of siblings */
    static struct bench_result result;
    int status = EXIT_OK;
    for (size_t i = 0; i < mix_count && !result.stalled; i++) {
        const struct bench_mix *mix = mixes[i];
        struct bench_ring *ring = &rings[mix->siblings];
        bool fresh = ring->target_count == 0;
        if (fresh) prepare(&o, mix->siblings, ring);
        const struct bench_mix *run[] = {fresh && !o.no_load ? &bench_mix_load : NULL, mix};
        for (int k = 0; k < 2 && !result.stalled; k++) {
            if (run[k] == NULL) continue;
            run_phase(&o, ring, run[k], zeta, &result);
            if (o.cli.json)
                json_array_append_new(phases, bench_json(&o, run[k]->name, &result));
            else
                bench_report(&o, run[k]->name, &result);
            if (result.stalled || result.wrong > 0 || bench_failed(&result)) status = EXIT_UNAVAILABLE;
        }
    }
    if (o.cli.json)
        cli_print_json(json_pack("{s:s, s:I, s:i, s:i, s:i, s:i, s:i, s:f, s:s, s:o}", "protocol",
                                 o.protocol == BENCH_RESP ? "resp" : "dynode", "records",
                                 (json_int_t)o.records, "key_bytes", (int)o.key_bytes, "value_bytes",
                                 (int)o.value_bytes, "connections", (int)o.connections, "in_flight",
                                 (int)o.in_flight, "operations_per_request", (int)o.operations_per_request,
                                 "rate", o.rate, "seed", cli_id(o.seed), "phases", phases));
    else
        json_decref(phases);
    for (int i = 0; i < 2; i++) {
        free(rings[i].targets);
        free(rings[i].group_of_vnode);
    }
    return status;
}
