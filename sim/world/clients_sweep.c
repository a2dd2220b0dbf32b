/* The beginning and the end of clients: their table, and the sweep of reads that heals, and tells what is
 * there.
 *
 * Where only reads repair, copies become equal when every key has been read at all its homes. */
#include <stdlib.h>

#include "base/check.h"
#include "base/hash.h"
#include "base/status.h"
#include "wire/object_wire.h"
#include "world/clients_state.h"

static const uint64_t ms = 1000000;

static void wait_idle(struct clients *clients, const char *what)
{
    struct session *sweeper = &clients->sessions[clients->session_count];
    uint64_t limit_ns = world_now(clients->world) + 20000 * ms;
    while (sweeper->busy && world_now(clients->world) < limit_ns) world_step(clients->world);
    if (sweeper->busy) verdict_fault(&clients->verdict, "%s was never answered", what);
}

/* --- the table --- */

/* Ask once; how it was answered. */
static enum status create_table(struct clients *clients)
{
    const struct clients_options *options = &clients->options;
    struct session *sweeper = &clients->sessions[clients->session_count];
    Dynode__Client__Operation operation = DYNODE__CLIENT__OPERATION__INIT, *operations = &operation;
    Dynode__Client__CreateTable create = DYNODE__CLIENT__CREATE_TABLE__INIT;
    Dynode__Client__TableInfo info = DYNODE__CLIENT__TABLE_INFO__INIT;
    Dynode__Client__Request request = DYNODE__CLIENT__REQUEST__INIT;
    char name[] = "t";
    operation.kind_case = DYNODE__CLIENT__OPERATION__KIND_CREATE_TABLE;
    operation.create_table = &create;
    create.table = &info;
    info.name = name;
    info.n = options->n;
    info.r = options->r;
    info.w = options->w;
    info.rule = options->lww ? DYNODE__CLIENT__RULE__LWW : DYNODE__CLIENT__RULE__SIBLINGS;
    request.id = ++sweeper->request;
    request.n_operations = 1;
    request.operations = &operations;
    struct lane *lane = &sweeper->lanes[0];
    lane_clear(lane);
    sweeper->active = 1;
    sweeper->busy =
        session_connect(sweeper, 0, 0) && world_send(clients->world, sweeper->connection, &request);
    wait_idle(clients, "the making of the table");
    return lane->heard.lost ? STATUS_UNAVAILABLE : (enum status)lane->heard.status;
}

void clients_begin(struct clients *clients, struct world *world)
{
    clients->world = world;
    enum status status = create_table(clients);
    /* A lost batch is enough for a time-out, after which the table may be there. */
    for (uint32_t i = 0; i < 10 && status != STATUS_OK && status != STATUS_TABLE_EXISTS; i++)
        status = create_table(clients);
    if (status != STATUS_OK && status != STATUS_TABLE_EXISTS)
        verdict_fault(&clients->verdict, "the table could not be made: %s", status_name(status));
    clients_stop(clients, false);
}

/* --- reads of every key --- */

/* Read up to a batch of keys from @first on; how many. */
static uint32_t read_batch(struct clients *clients, uint32_t first, uint32_t r)
{
    struct session *sweeper = &clients->sessions[clients->session_count];
    uint64_t now_ns = world_now(clients->world);
    uint32_t count = clients->options.keys - first;
    if (count > CLIENTS_BATCH_MAX) count = CLIENTS_BATCH_MAX;
    for (uint32_t i = 0; i < count; i++) {
        struct lane *lane = &sweeper->lanes[i];
        lane->ask = (struct ask){.kind = OP_GET, .key = first + i};
        lane->quorum = r;
        struct op op = {.kind = OP_GET,
                        .flags = r < clients->options.r ? OP_WEAK : 0,
                        .session = lane->client.number,
                        .node = (uint16_t)sweeper->node,
                        .key = first + i,
                        .deadline_ns = now_ns + 5000 * ms};
        lane->token = history_invoke(&clients->history, &op, now_ns, (struct tokens){0}, (struct tokens){0});
        lane_clear(lane);
    }
    sweeper->active = count;
    session_send(sweeper, 5000);
    wait_idle(clients, "a last read");
    for (uint32_t i = 0; i < count; i++) {
        const struct heard *heard = &sweeper->lanes[i].heard;
        if (heard->lost || !heard->good)
            verdict_fault(&clients->verdict, "the last read of key %u at n%u ended %s", first + i,
                          sweeper->node + 1, heard->lost ? "lost" : status_name((enum status)heard->status));
    }
    return count;
}

/* Read every key at @r homes through @node; with @finals it is the history's end, after all homes were
 * read if @whole. */
static void read_all(struct clients *clients, uint32_t node, uint32_t r, bool finals, bool whole)
{
    struct session *sweeper = &clients->sessions[clients->session_count];
    if (sweeper->connection != 0) world_disconnect(clients->world, sweeper->connection);
    if (!session_connect(sweeper, node, 0)) {
        verdict_fault(&clients->verdict, "n%u is down at the end", node + 1);
        return;
    }
    for (uint32_t key = 0, count; key < clients->options.keys && !sweeper->busy; key += count) {
        count = read_batch(clients, key, r);
        for (uint32_t i = 0; i < count && finals; i++)
            if (sweeper->lanes[i].heard.good)
                history_final(&clients->history, key + i, node, whole,
                              tokens_of(&sweeper->lanes[i].heard.seen));
    }
}

/* --- what the stores hold --- */

static uint64_t digest_of(struct clients *clients, const struct store_place *place, uint32_t node,
                          struct arena *arena)
{
    struct world *world = clients->world;
    struct store *store = world_store(world, node, place->vnode % world_shards(world, node));
    struct bytes stored, key = store_key_encode(place, arena);
    if (store_get(store, STORE_OBJECTS, key, arena, &stored) != STATUS_OK) return 0;
    return hash64(stored, 1) | 1;
}

static bool count_hint(void *context, struct bytes key, struct bytes value)
{
    (void)key;
    (void)value;
    ++*(uint32_t *)context;
    return true;
}

static void collect_hints(struct clients *clients)
{
    struct world *world = clients->world;
    for (uint32_t node = 0; node < world_nodes(world); node++) {
        clients->hints[node] = 0;
        for (uint32_t shard = 0; shard < world_shards(world, node); shard++)
            store_scan(world_store(world, node, shard), STORE_HINTS, bytes_of(NULL, 0), bytes_of(NULL, 0),
                       count_hint, &clients->hints[node]);
    }
}

void clients_look_at_copies(struct clients *clients)
{
    struct world *world = clients->world;
    const struct turn *turn = shard_turn_context(world_shard(world, 0, 0));
    const struct table *table = cluster_find_table(turn->cluster, bytes_str("t"));
    uint32_t nodes = world_nodes(world);
    struct arena arena;
    arena_init(&arena, 0);
    free(clients->copies);
    clients->copies = calloc((size_t)clients->options.keys * nodes + 1, sizeof(*clients->copies));
    CHECK(clients->copies != NULL);
    CHECK(table != NULL);
    clients->copy_count = 0;
    for (uint32_t key = 0; key < clients->options.keys; key++) {
        char text[16];
        uint32_t homes[WORLD_NODES_MAX];
        key_text(key, text);
        uint32_t count = world_homes(world, "t", bytes_str(text), homes);
        struct store_place place = {
            .hash = hash64(bytes_str(text), table->tag), .tag = table->tag, .key = bytes_str(text)};
        place.vnode = ring_vnode(turn->ring, place.hash);
        for (uint32_t node = 0; node < nodes; node++) {
            struct copy copy = {.key = key, .node = node, .digest = digest_of(clients, &place, node, &arena)};
            for (uint32_t i = 0; i < count; i++) copy.home |= homes[i] == node;
            clients->copies[clients->copy_count++] = copy;
        }
        arena_reset(&arena);
    }
    arena_fini(&arena);
}

void clients_sweep(struct clients *clients, uint32_t nodes, uint32_t repair_r, bool equal)
{
    struct world *world = clients->world;
    bool all = repair_r == clients->options.n;
    clients->history.final_count = 0; /* what a sweep before this one saw was not the end */
    if (!clients_are_idle(clients)) verdict_fault(&clients->verdict, "an operation was never answered");
    uint32_t first = 0;
    while ((nodes >> first & 1) == 0) first++;
    if (!equal) {
        read_all(clients, first, repair_r, false, false);
        world_run(world, world_now(world) + 500 * ms);
    }
    for (uint32_t node = 0; node < world_nodes(world); node++)
        if (nodes >> node & 1) read_all(clients, node, all ? 1 : clients->options.r, true, all);
    if (!all) return;
    if (!equal) {
        world_run(world, world_now(world) + 500 * ms);
        clients_look_at_copies(clients);
    }
    collect_hints(clients);
}
