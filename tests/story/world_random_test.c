/* Random worlds: clients that put, get and delete, with contexts and without, under crashes, pauses, cuts and
 * lost links; then all is healed, every key is read, and the history is checked.
 *
 *      world_random_test                 the seeds of every run, and fresh ones
 *      world_random_test SEED            one of them, with its trace on stderr if DYNODE_TRACE is set
 *      world_random_test FROM TO         many */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/check.h"
#include "base/hash.h"
#include "world/call.h"
#include "world/history.h"

enum { KEYS = 8, SESSIONS = 8, VALUE_HEAD_BYTES = 16, FIXED_SEEDS = 150, FRESH_SEEDS = 50 };

static const uint64_t ms = 1000000;

struct run;

struct session {
    struct run *run;
    uint32_t number, node;
    uint64_t connection;
    uint32_t token, key; /* of the operation under way */
    enum op_kind kind;
    struct buffer context[KEYS]; /* of the last answer for the key, and the tokens it stands for */
    struct tokens known[KEYS];
};

struct run {
    uint64_t seed;
    struct world *world;
    struct calls calls;
    struct history history;
    struct session sessions[SESSIONS];
    uint64_t network_ns; /* the longest way */
    uint32_t n, r, w;    /* the table\'s */
    uint32_t quorum;     /* of every request; 0: the table's */
    bool quiet;          /* no new operations */
    uint64_t resumed_ns[WORLD_NODES_MAX];
    uint32_t answered, lost;
    char fault[256]; /* the first that was found; empty: none */
};

static uint64_t below(struct run *run, uint64_t bound)
{
    return prng_below(world_prng(run->world), bound);
}

static bool chance(struct run *run, uint64_t percent)
{
    return below(run, 100) < percent;
}

__attribute__((format(printf, 2, 3))) static void found(struct run *run, const char *format, ...)
{
    if (run->fault[0] != 0) return;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(run->fault, sizeof(run->fault), format, arguments);
    va_end(arguments);
}

/* --- values that tell what they are: token, key, and a hash over all --- */

static struct bytes value_of(uint32_t token, uint32_t key, size_t size, uint8_t *to)
{
    CHECK(size >= VALUE_HEAD_BYTES);
    memset(to, (int)(token & 0xff), size);
    put_be32(to, token);
    put_be32(to + 4, key);
    put_be64(to + 8, 0);
    put_be64(to + 8, hash64(bytes_of(to, size), size));
    return bytes_of(to, size);
}

static bool token_of(struct bytes value, uint32_t key, uint32_t *token)
{
    uint8_t copy[16384];
    if (value.size < VALUE_HEAD_BYTES || value.size > sizeof(copy)) return false;
    *token = get_be32(value.data);
    return get_be32(value.data + 4) == key && bytes_equal(value_of(*token, key, value.size, copy), value);
}

static struct tokens tokens_of(struct run *run, const struct call *call, uint32_t key)
{
    struct tokens seen = {0};
    uint32_t token;
    for (uint32_t i = 0; i < call->value_count; i++) {
        if (token_of(buffer_bytes(&call->values[i]), key, &token))
            tokens_add(&seen, token);
        else
            found(run, "a value of key %u is damaged or another key's", key);
    }
    return seen;
}

/* --- sessions --- */

static void act(void *context, uint64_t argument);

static void act_later(struct session *session)
{
    struct run *run = session->run;
    world_at(run->world, world_now(run->world) + below(run, 30 * ms), act, session, 0);
}

/* The answer's context, and the tokens it stands for, are what the session knows of the key from now on. */
static void learn(struct session *session, const struct call *call, const struct tokens *seen, uint32_t own)
{
    struct buffer *context = &session->context[session->key];
    struct tokens *known = &session->known[session->key];
    buffer_clear(context);
    buffer_append(context, call->sealed.data, call->sealed.size);
    tokens_fini(known);
    for (uint32_t i = 0; i < seen->count; i++) tokens_add(known, seen->list[i]);
    if (own != 0 && seen->count == 0) tokens_add(known, own);
}

static void judge_time(struct run *run, const struct session *session, const struct call *call)
{
    /* The time counts from when the node reads the request; one that stands still reads it when it goes on.
     */
    uint64_t until = call->deadline_ns, resumed_ns = run->resumed_ns[session->node];
    if (resumed_ns > call->invoked_ns) until += resumed_ns - call->invoked_ns;
    if (call->returned_ns > until + 2 * run->network_ns + 5 * ms)
        found(run, "operation %u on n%u, begun at %.1f ms, was answered %s %.1f ms after its deadline",
              session->token, session->node + 1, (double)call->invoked_ns / 1e6, status_name(call->status),
              (double)(call->returned_ns - call->deadline_ns) / 1e6);
}

static void done(void *context, struct call *call)
{
    struct session *session = context;
    struct run *run = session->run;
    enum outcome outcome = OUTCOME_INFO;
    struct tokens seen = tokens_of(run, call, session->key);
    bool good = !call->lost && (call->status == STATUS_OK || call->status == STATUS_NOT_FOUND);
    if (good)
        outcome = OUTCOME_OK;
    else if (call_not_applied(call))
        outcome = OUTCOME_FAIL;
    if (!call->lost && call->status == STATUS_INTERNAL)
        found(run, "INTERNAL: %.*s", (int)call->message.size, (const char *)call->message.data);
    if (!call->lost && call->status == STATUS_INVALID)
        found(run, "INVALID: %.*s", (int)call->message.size, (const char *)call->message.data);
    history_return(&run->history, session->token, outcome, world_now(run->world), &seen);
    if (good) learn(session, call, &seen, session->kind == OP_PUT ? session->token : 0);
    tokens_fini(&seen);
    if (call->lost) {
        run->lost++;
        session->connection = 0;
    } else {
        run->answered++;
        judge_time(run, session, call);
    }
    act_later(session);
}

static bool connect_session(struct session *session)
{
    struct run *run = session->run;
    if (session->connection != 0 && !chance(run, 2)) return true;
    if (session->connection != 0) world_disconnect(run->world, session->connection);
    session->node = (uint32_t)below(run, world_nodes(run->world));
    session->connection = world_connect(run->world, session->node, (uint32_t)below(run, 4));
    return session->connection != 0;
}

static void act(void *context, uint64_t argument)
{
    (void)argument;
    struct session *session = context;
    struct run *run = session->run;
    if (run->quiet) return;
    if (!connect_session(session)) {
        act_later(session);
        return;
    }
    static const enum op_kind kinds[] = {OP_GET, OP_GET, OP_GET, OP_GET,   OP_PUT,
                                         OP_PUT, OP_PUT, OP_PUT, OP_DELETE};
    uint32_t key = session->key = (uint32_t)below(run, KEYS);
    session->kind = kinds[below(run, sizeof(kinds) / sizeof(kinds[0]))];
    bool with_context = session->context[key].size > 0 && chance(run, 80);
    bool blind = session->kind == OP_DELETE && !with_context;
    Dynode__Client__Precondition precondition = DYNODE__CLIENT__PRECONDITION__NONE;
    if (session->kind != OP_GET && chance(run, 15))
        precondition =
            with_context ? DYNODE__CLIENT__PRECONDITION__IF_CONTEXT : DYNODE__CLIENT__PRECONDITION__IF_ABSENT;
    const struct tokens none = {0};
    session->token =
        history_invoke(&run->history, session->kind, key, world_now(run->world),
                       with_context && session->kind != OP_GET ? &session->known[key] : &none, blind);

    char key_text[16];
    uint8_t value[8192];
    snprintf(key_text, sizeof(key_text), "key%u", key);
    ProtobufCBinaryData key_pb = {.data = (uint8_t *)key_text, .len = strlen(key_text)};
    ProtobufCBinaryData context_pb = {0};
    if (with_context)
        context_pb =
            (ProtobufCBinaryData){.data = session->context[key].data, .len = session->context[key].size};
    Dynode__Client__Operation operation = DYNODE__CLIENT__OPERATION__INIT;
    Dynode__Client__Get get = DYNODE__CLIENT__GET__INIT;
    Dynode__Client__Put put = DYNODE__CLIENT__PUT__INIT;
    Dynode__Client__Delete delete = DYNODE__CLIENT__DELETE__INIT;
    switch (session->kind) {
    case OP_GET:
        operation.kind_case = DYNODE__CLIENT__OPERATION__KIND_GET;
        operation.get = &get;
        get.table = "t";
        get.key = key_pb;
        get.r = run->quorum;
        break;
    case OP_PUT: {
        size_t size = chance(run, 25) ? 1200 + below(run, 4000) : VALUE_HEAD_BYTES + below(run, 100);
        struct bytes bytes = value_of(session->token, key, size, value);
        operation.kind_case = DYNODE__CLIENT__OPERATION__KIND_PUT;
        operation.put = &put;
        put.table = "t";
        put.key = key_pb;
        put.value = (ProtobufCBinaryData){.data = (uint8_t *)(uintptr_t)bytes.data, .len = bytes.size};
        put.context = context_pb;
        put.w = run->quorum;
        put.precondition = precondition;
        break;
    }
    case OP_DELETE:
        operation.kind_case = DYNODE__CLIENT__OPERATION__KIND_DELETE;
        operation.delete_ = &delete;
        delete.table = "t";
        delete.key = key_pb;
        delete.context = context_pb;
        delete.w = run->quorum;
        delete.precondition = precondition;
        break;
    }
    call_start(&run->calls, session->connection, &operation, 100 + (uint32_t)below(run, 900), done, session);
}

/* --- faults --- */

static void heal_node(void *context, uint64_t node)
{
    struct run *run = context;
    if (!world_is_up(run->world, (uint32_t)node)) {
        world_restart(run->world, (uint32_t)node);
    } else if (world_is_paused(run->world, (uint32_t)node)) {
        run->resumed_ns[node] = world_now(run->world);
        world_resume(run->world, (uint32_t)node);
    }
}

static void heal_disks(void *context, uint64_t node)
{
    struct run *run = context;
    world_hold_syncs(run->world, (uint32_t)node, false);
}

static void crash(struct run *run, uint32_t node, uint64_t until_ns)
{
    if (!world_is_up(run->world, node) || world_is_paused(run->world, node)) return;
    world_crash(run->world, node);
    world_at(run->world, until_ns, heal_node, run, node);
}

/* The power fails: what no disk has is gone. */
static void cut_power(struct run *run)
{
    for (uint32_t node = 0; node < world_nodes(run->world); node++)
        crash(run, node, world_now(run->world) + 5 * ms + below(run, 300 * ms));
}

static void heal_link(void *context, uint64_t pair)
{
    struct run *run = context;
    world_mend(run->world, (uint32_t)(pair / WORLD_NODES_MAX), (uint32_t)(pair % WORLD_NODES_MAX));
}

static void break_something(void *context, uint64_t argument)
{
    (void)argument;
    struct run *run = context;
    struct world *world = run->world;
    if (run->quiet) return;
    world_at(world, world_now(world) + below(run, 600 * ms), break_something, run, 0);
    uint32_t a = (uint32_t)below(run, world_nodes(world)), b = (uint32_t)below(run, world_nodes(world));
    uint64_t until = world_now(world) + 5 * ms + below(run, 1500 * ms);
    switch (below(run, 8)) {
    case 0:
    case 1:
        crash(run, a, until);
        return;
    case 5:
        cut_power(run);
        return;
    case 6: /* a disk that stands still, maybe until its node dies */
        world_hold_syncs(world, a, true);
        world_at(world, until, heal_disks, run, a);
        return;
    case 2:
        if (!world_is_up(world, a) || world_is_paused(world, a)) return;
        world_pause(world, a);
        world_at(world, until, heal_node, run, a);
        return;
    case 3:
        if (a == b) return;
        world_cut(world, a, b);
        world_at(world, until, heal_link, run, a * WORLD_NODES_MAX + b);
        return;
    default:
        if (a != b) world_reset(world, a, b);
    }
}

/* --- a run --- */

static struct call *settle(struct run *run, struct call *call)
{
    uint64_t limit = world_now(run->world) + 20000 * ms;
    while (!call->done && world_now(run->world) < limit) world_step(run->world);
    if (!call->done) found(run, "an operation was never answered");
    return call;
}

static void create_table(struct run *run)
{
    Dynode__Client__Operation operation = DYNODE__CLIENT__OPERATION__INIT;
    Dynode__Client__CreateTable create = DYNODE__CLIENT__CREATE_TABLE__INIT;
    Dynode__Client__TableInfo info = DYNODE__CLIENT__TABLE_INFO__INIT;
    operation.kind_case = DYNODE__CLIENT__OPERATION__KIND_CREATE_TABLE;
    operation.create_table = &create;
    create.table = &info;
    info.name = "t";
    info.n = run->n;
    info.r = run->r;
    info.w = run->w;
    info.rule = run->history.lww ? DYNODE__CLIENT__RULE__LWW : DYNODE__CLIENT__RULE__SIBLINGS;
    struct call *call =
        settle(run, call_start(&run->calls, world_connect(run->world, 0, 0), &operation, 5000, NULL, NULL));
    if (call->status != STATUS_OK) found(run, "the table could not be made: %s", status_name(call->status));
}

static struct call *read_key(struct run *run, uint32_t node, uint32_t key, uint32_t r)
{
    char text[16];
    snprintf(text, sizeof(text), "key%u", key);
    Dynode__Client__Operation operation = DYNODE__CLIENT__OPERATION__INIT;
    Dynode__Client__Get get = DYNODE__CLIENT__GET__INIT;
    operation.kind_case = DYNODE__CLIENT__OPERATION__KIND_GET;
    operation.get = &get;
    get.table = "t";
    get.key = (ProtobufCBinaryData){.data = (uint8_t *)text, .len = strlen(text)};
    get.r = r;
    struct call *call = settle(
        run, call_start(&run->calls, world_connect(run->world, node, 0), &operation, 5000, NULL, NULL));
    if (call->lost || (call->status != STATUS_OK && call->status != STATUS_NOT_FOUND))
        found(run, "the last read of key %u ended %s", key, call->lost ? "lost" : status_name(call->status));
    return call;
}

static bool same_tokens(const struct tokens *a, const struct tokens *b)
{
    if (a->count != b->count) return false;
    for (uint32_t i = 0; i < a->count; i++)
        if (!tokens_have(b, a->list[i])) return false;
    return true;
}

/* All homes of every key are read and repaired; then each node must tell the same, and nothing is missing. */
static void sweep(struct run *run)
{
    char why[200];
    for (uint32_t key = 0; key < KEYS; key++) read_key(run, 0, key, run->n);
    world_run(run->world, world_now(run->world) + 100 * ms);
    for (uint32_t key = 0; key < KEYS; key++) {
        struct tokens first = {0};
        for (uint32_t node = 0; node < world_nodes(run->world); node++) {
            struct tokens seen = tokens_of(run, read_key(run, node, key, 1), key);
            if (!history_check_final(&run->history, key, &seen, why, sizeof(why)))
                found(run, "in the end: %s", why);
            if (node > 0 && !same_tokens(&first, &seen)) found(run, "key %u is not the same everywhere", key);
            if (node == 0)
                first = seen;
            else
                tokens_fini(&seen);
        }
        tokens_fini(&first);
    }
}

static void trace_line(void *context, const char *line)
{
    (void)context;
    fprintf(stderr, "%s\n", line);
}

static struct world_options options_of(uint64_t seed)
{
    struct prng prng;
    prng_init(&prng, seed ^ 0x5eed);
    struct world_options options = world_options_default(seed);
    options.nodes = 3 + (uint32_t)prng_below(&prng, 3);
    options.vnodes = 16U << prng_below(&prng, 3);
    for (uint32_t i = 0; i < options.nodes; i++) options.shards_of[i] = 1 + (uint32_t)prng_below(&prng, 3);
    for (uint32_t i = 0; i < options.nodes; i++)
        if (prng_chance(&prng, 1, 4)) options.skew_ms[i] = (uint32_t)prng_below(&prng, 5000);
    if (prng_chance(&prng, 1, 2)) options.resets = (uint32_t)prng_below(&prng, 2000);
    if (prng_chance(&prng, 1, 3)) options.network.max_ns = 30 * ms;
    if (prng_chance(&prng, 1, 3)) options.sync.max_ns = 100 * ms;
    return options;
}

/* Half of the tables are the usual ones, the others anything whose quorums overlap. */
static void draw_quorums(struct run *run, uint32_t nodes)
{
    struct prng prng;
    prng_init(&prng, run->seed ^ 0x9a9a);
    run->n = 3;
    run->r = run->w = 2;
    if (run->quorum != 0 || prng_chance(&prng, 1, 2)) return;
    run->n = 1 + (uint32_t)prng_below(&prng, nodes);
    run->w = 1 + (uint32_t)prng_below(&prng, run->n);
    run->r = run->n + 1 - run->w;
}

static void run_begin(struct run *run, uint64_t seed, uint32_t quorum, bool lww)
{
    *run = (struct run){.seed = seed, .quorum = quorum, .history.lww = lww};
    struct world_options options = options_of(seed);
    if (lww) memset(options.skew_ms, 0, sizeof(options.skew_ms)); /* its checker goes by one clock */
    draw_quorums(run, options.nodes);
    run->network_ns = options.network.max_ns;
    if (getenv("DYNODE_TRACE") != NULL) run->calls.line = trace_line;
    struct world_watch watch = calls_watch(&run->calls);
    run->world = world_alloc(&options, &watch);
    run->calls.world = run->world;
    world_run(run->world, 500 * ms);
    create_table(run);
    for (uint32_t i = 0; i < SESSIONS; i++) {
        run->sessions[i] = (struct session){.run = run, .number = i};
        act_later(&run->sessions[i]);
    }
}

static void run_end(struct run *run)
{
    for (uint32_t i = 0; i < SESSIONS; i++)
        for (uint32_t key = 0; key < KEYS; key++) {
            buffer_fini(&run->sessions[i].context[key]);
            tokens_fini(&run->sessions[i].known[key]);
        }
    world_free(run->world);
    calls_fini(&run->calls);
    history_fini(&run->history);
}

/* Faults for a while, then none, then everything is looked at. */
static void run_all(struct run *run, uint64_t until_ms)
{
    char why[256];
    break_something(run, 0);
    world_run(run->world, world_now(run->world) + until_ms * ms);
    run->quiet = true;
    world_calm_network(run->world);
    world_run(run->world, world_now(run->world) + 4000 * ms); /* every fault ends, every link is back */
    for (uint32_t i = 0; i < run->calls.count; i++)
        if (!run->calls.list[i]->done) found(run, "operation %u was never answered", i);
    sweep(run);
    if (!history_check_reads(&run->history, run->quorum != 1, why, sizeof(why))) found(run, "%s", why);
}

static uint64_t total_operations;
static struct world_counts total;

static void count_up(const struct run *run)
{
    struct world_counts counts = world_counts(run->world);
    total_operations += run->answered;
    total.faults[WORLD_CRASH] += counts.faults[WORLD_CRASH];
    total.faults[WORLD_PAUSE] += counts.faults[WORLD_PAUSE];
    total.faults[WORLD_RESET] += counts.faults[WORLD_RESET];
    total.turns += counts.turns;
}

static bool run_seed(uint64_t seed)
{
    struct run run;
    run_begin(&run, seed, 0, seed % 4 == 3);
    run_all(&run, 3000);
    bool good = run.fault[0] == 0;
    if (!good)
        printf("seed %" PRIu64 " (%u nodes, N=%u R=%u W=%u%s): %s\n"
               "repeat it: build/asan/tests/story/world_random_test %" PRIu64 "\n",
               seed, world_nodes(run.world), run.n, run.r, run.w, run.history.lww ? ", lww" : "", run.fault,
               seed);
    count_up(&run);
    run_end(&run);
    return good;
}

static bool run_seeds(uint64_t from, uint64_t to)
{
    bool good = true;
    for (uint64_t seed = from; seed < to; seed++) good = run_seed(seed) && good;
    printf("%" PRIu64 " seeds: %" PRIu64 " operations answered, %" PRIu64 " crashes, %" PRIu64
           " pauses, %" PRIu64 " resets, %" PRIu64 " turns\n",
           to - from, total_operations, total.faults[WORLD_CRASH], total.faults[WORLD_PAUSE], total.faults[WORLD_RESET], total.turns);
    return good;
}

static void fixed_seeds(void **state)
{
    (void)state;
    assert_true(run_seeds(1, 1 + FIXED_SEEDS));
}

static void fresh_seeds(void **state)
{
    (void)state;
    uint64_t seed = prng_entropy() >> 20;
    printf("fresh seeds from %" PRIu64 "\n", seed);
    assert_true(run_seeds(seed, seed + FRESH_SEEDS));
}

/* With R = W = 1 a read may miss a write: a checker that does not see that is blind. */
static void register_checker_sees_weak_quorums(void **state)
{
    (void)state;
    char why[256];
    bool seen = false;
    for (uint64_t seed = 1; seed <= 20 && !seen; seed++) {
        struct run run;
        run_begin(&run, seed * 4, 1, false);
        run_all(&run, 2000);
        seen = !history_check_reads(&run.history, true, why, sizeof(why));
        run_end(&run);
    }
    assert_true(seen);
    printf("R=W=1: %s\n", why);
}

static void same_seed_same_world(void **state)
{
    (void)state;
    uint64_t hashes[3];
    for (uint32_t i = 0; i < 3; i++) {
        struct run run;
        run_begin(&run, i < 2 ? 8 : 9, 0, false);
        run_all(&run, 1000);
        hashes[i] = world_hash(run.world);
        run_end(&run);
    }
    assert_true(hashes[0] == hashes[1]);
    assert_true(hashes[0] != hashes[2]);
}

int main(int argc, char **argv)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (argc == 2) return run_seed(strtoull(argv[1], NULL, 0)) ? 0 : 1;
    if (argc == 3) return run_seeds(strtoull(argv[1], NULL, 0), strtoull(argv[2], NULL, 0)) ? 0 : 1;
    printf("seeds 1 to %d, then fresh ones\n", FIXED_SEEDS);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(same_seed_same_world),
        cmocka_unit_test(fixed_seeds),
        cmocka_unit_test(register_checker_sees_weak_quorums),
        cmocka_unit_test(fresh_seeds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
