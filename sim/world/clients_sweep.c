/* The beginning and the end of clients: their table, and the sweep of reads that heals, and tells what is
 * there.
 *
 * Where only reads repair, copies become equal when every key has been read at all its homes. */
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

/* --- what the stores hold --- */

/* A key's homes, and how many of them answer when it is read: those among the nodes that are there, with a
 * copy that is filled, and that can be read. */
struct homes {
    struct store_place place;
    char text[16];
    uint32_t nodes[WORLD_NODES_MAX], count;
    uint32_t filled, sound; /* of those that are there: how many count, and hold no rotten copy */
};

static struct store *store_of(struct clients *clients, const struct homes *homes, uint32_t node)
{
    uint32_t shard = homes->place.vnode % world_shards(clients->world, node);
    return world_store(clients->world, node, shard);
}

/* What @node has of the key; 0: nothing. *rotten: that can't be read. */
static uint64_t digest_of(struct clients *clients, const struct homes *homes, uint32_t node, bool *rotten)
{
    struct arena arena;
    arena_init(&arena, 0);
    struct bytes stored, encoded, key = store_key_encode(&homes->place, &arena);
    bool there = store_get(store_of(clients, homes, node), STORE_OBJECTS, key, &arena, &stored) == STATUS_OK;
    *rotten = there && object_unseal(key, stored, &encoded) != STATUS_OK;
    uint64_t digest = there ? hash64(stored, 1) | 1 : 0;
    arena_fini(&arena);
    return digest;
}

static bool is_home(const struct homes *homes, uint32_t node)
{
    for (uint32_t i = 0; i < homes->count; i++)
        if (homes->nodes[i] == node) return true;
    return false;
}

/* May @node's copy be compared with others? */
static bool counts(struct clients *clients, const struct homes *homes, uint32_t node, uint32_t nodes)
{
    return (nodes >> node & 1) != 0 &&
           world_is_copy_filled(clients->world, node, homes->place.vnode, homes->count);
}

static void find_homes(struct clients *clients, uint32_t key, uint32_t nodes, struct homes *out)
{
    struct world *world = clients->world;
    uint32_t up = 0;
    while ((nodes >> up & 1) == 0) up++;
    const struct turn *turn = shard_turn_context(world_shard(world, up, 0));
    const struct table *table = cluster_find_table(turn->cluster, bytes_str("t"));
    CHECK(table != NULL);
    *out = (struct homes){0};
    key_text(key, out->text);
    struct bytes text = bytes_str(out->text);
    out->count = world_homes(world, "t", text, out->nodes);
    out->place = (struct store_place){.hash = hash64(text, table->tag), .tag = table->tag, .key = text};
    out->place.vnode = ring_vnode(turn->ring, out->place.hash);
    for (uint32_t i = 0; i < out->count; i++) {
        bool rotten;
        if (!counts(clients, out, out->nodes[i], nodes)) continue;
        digest_of(clients, out, out->nodes[i], &rotten);
        out->filled++;
        out->sound += !rotten;
    }
}

/* A key's copies that can be compared, at most one a node; how many. */
static uint32_t list_copies(struct clients *clients, const struct homes *homes, uint32_t key, uint32_t nodes,
                            struct copy *copies)
{
    uint32_t count = 0;
    for (uint32_t node = 0; node < world_nodes(clients->world); node++) {
        bool home = is_home(homes, node), rotten;
        if (home && !counts(clients, homes, node, nodes)) continue;
        copies[count] = (struct copy){
            .key = key, .node = node, .home = home, .digest = digest_of(clients, homes, node, &rotten)};
        /* What is damaged is fetched anew when all other homes have told what they hold. */
        if (!rotten || homes->filled == homes->count) count++;
    }
    return count;
}

/* Is all that @node has of the key deleted or expired? */
static bool is_dead(struct clients *clients, const struct homes *homes, uint32_t node)
{
    struct arena arena;
    arena_init(&arena, 0);
    struct object object;
    struct bytes stored, encoded, key = store_key_encode(&homes->place, &arena);
    bool dead = store_get(store_of(clients, homes, node), STORE_OBJECTS, key, &arena, &stored) == STATUS_OK &&
                object_unseal(key, stored, &encoded) == STATUS_OK &&
                object_decode(encoded, &arena, &object) == STATUS_OK &&
                object_live_count(&object, world_wall_ms(clients->world, node)) == 0;
    arena_fini(&arena);
    return dead;
}

/* Copies that differ: do they because some homes have reaped, and the others have not yet? Then those have
 * the same still, without a value. */
static bool is_half_reaped(struct clients *clients, const struct homes *homes, const struct copy *copies,
                           uint32_t count)
{
    uint64_t digest = 0;
    bool reaped = false;
    for (uint32_t i = 0; i < count; i++) {
        const struct copy *copy = &copies[i];
        if (!copy->home && copy->digest != 0) return false;
        reaped = reaped || (copy->home && copy->digest == 0);
        if (copy->digest == 0) continue;
        if (digest != 0 && copy->digest != digest) return false;
        if (!is_dead(clients, homes, copy->node)) return false;
        digest = copy->digest;
    }
    return reaped;
}

/* Are some keys just being reaped, and the copies of all others equal? */
static bool only_reaping_differs(struct clients *clients, uint32_t nodes)
{
    struct copy copies[WORLD_NODES_MAX];
    bool any = false;
    for (uint32_t key = 0; key < clients->options.keys; key++) {
        struct homes homes;
        struct verdict now = {0};
        find_homes(clients, key, nodes, &homes);
        uint32_t count = list_copies(clients, &homes, key, nodes, copies);
        if (checker_copies(copies, count, &now)) continue;
        if (!is_half_reaped(clients, &homes, copies, count)) return false;
        any = true;
    }
    return any;
}

/* Homes reap one after the other, whenever it is time: that may just be under way. Nothing else is waited
 * for. */
static void await_reaping(struct clients *clients, uint32_t nodes)
{
    struct world *world = clients->world;
    if (world_counts(world).reaped == 0) return;
    for (uint32_t times = 0; times < 20 && only_reaping_differs(clients, nodes); times++)
        world_run(world, world_now(world) + 100 * ms);
}

/* @core: while nodes are away. */
static void judge_copies(struct clients *clients, uint32_t nodes, bool core)
{
    struct copy copies[WORLD_NODES_MAX];
    bool equal = true;
    for (uint32_t key = 0; key < clients->options.keys; key++) {
        struct homes homes;
        find_homes(clients, key, nodes, &homes);
        uint32_t count = list_copies(clients, &homes, key, nodes, copies);
        equal = equal && checker_copies(copies, count, &clients->verdict);
        if (homes.filled < 2) continue;
        bool whole = homes.filled == homes.count;
        clients->judged[core ? CLIENTS_COPIES_CORE : whole ? CLIENTS_COPIES : CLIENTS_COPIES_SOME]++;
    }
}

/* --- reads of every key --- */

/* How a sweep reads. */
struct sweep {
    uint32_t nodes; /* that are there */
    uint32_t r;     /* 0: all sound homes of a key */
    bool finals;    /* what is read is the history's end */
};

/* May a disk have lost what was on it, in this world? */
static bool any_lost(const struct world *world)
{
    static const enum world_fault kinds[] = {WORLD_WIPE, WORLD_ROT, WORLD_READ_ERROR, WORLD_COMMIT_ERROR,
                                             WORLD_SYNC_ERROR};
    const struct world_counts counts = world_counts(world);
    uint64_t lost = 0;
    for (uint32_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) lost += counts.faults[kinds[i]];
    return lost > 0;
}

/* Of how many homes: never below the table's R, so that it shows where a key can't be read. */
static uint32_t quorum_of(struct clients *clients, const struct sweep *sweep, uint32_t key, bool *whole)
{
    struct homes homes;
    find_homes(clients, key, sweep->nodes, &homes);
    /* A sloppy write is on W nodes all the same: where each is asked for W, none may be missed. */
    const struct clients_options *options = &clients->options;
    bool by_table = options->weak == 0 && options->quorum == 0 && options->levels == 0;
    *whole = by_table || (homes.filled == homes.count && !any_lost(clients->world));
    if (sweep->r != 0) return sweep->r;
    return homes.sound > clients->options.r ? homes.sound : clients->options.r;
}

/* Read up to a batch of keys from @first on; how many. */
static uint32_t read_batch(struct clients *clients, uint32_t first, const struct sweep *sweep)
{
    struct session *sweeper = &clients->sessions[clients->session_count];
    uint64_t now_ns = world_now(clients->world);
    uint32_t count = clients->options.keys - first;
    bool whole[CLIENTS_BATCH_MAX];
    if (count > CLIENTS_BATCH_MAX) count = CLIENTS_BATCH_MAX;
    for (uint32_t i = 0; i < count; i++) {
        struct lane *lane = &sweeper->lanes[i];
        lane->ask = (struct ask){.kind = OP_GET, .key = first + i};
        lane->quorum = quorum_of(clients, sweep, first + i, &whole[i]);
        struct op op = {.kind = OP_GET,
                        .flags = lane->quorum < clients->options.r ? OP_WEAK : 0,
                        .session = lane->client.number,
                        .node = (uint16_t)sweeper->node,
                        .quorum = {(uint8_t)lane->quorum, (uint8_t)clients->options.n},
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
        else if (sweep->finals)
            history_final(&clients->history, first + i, sweeper->node, whole[i], tokens_of(&heard->seen));
    }
    return count;
}

/* Read every key through @node. */
static void read_all(struct clients *clients, uint32_t node, const struct sweep *sweep)
{
    struct session *sweeper = &clients->sessions[clients->session_count];
    if (sweeper->connection != 0) world_disconnect(clients->world, sweeper->connection);
    if (!session_connect(sweeper, node, 0)) {
        verdict_fault(&clients->verdict, "n%u is down at the end", node + 1);
        return;
    }
    for (uint32_t key = 0; key < clients->options.keys && !sweeper->busy;)
        key += read_batch(clients, key, sweep);
}

static void read_through(struct clients *clients, const struct sweep *sweep)
{
    for (uint32_t node = 0; node < world_nodes(clients->world); node++)
        if (sweep->nodes >> node & 1) read_all(clients, node, sweep);
}

static bool any_is_rotten(struct clients *clients, uint32_t nodes)
{
    struct homes homes;
    for (uint32_t key = 0; key < clients->options.keys; key++) {
        find_homes(clients, key, nodes, &homes);
        if (homes.sound < homes.filled) return true;
    }
    return false;
}

static bool count_hint(void *context, struct bytes key, struct bytes value)
{
    (void)key;
    (void)value;
    ++*(uint32_t *)context;
    return true;
}

static void judge_hints(struct clients *clients)
{
    struct world *world = clients->world;
    uint32_t hints[WORLD_NODES_MAX] = {0};
    for (uint32_t node = 0; node < world_nodes(world); node++)
        for (uint32_t shard = 0; shard < world_shards(world, node); shard++)
            store_scan(world_store(world, node, shard), STORE_HINTS, bytes_of(NULL, 0), bytes_of(NULL, 0),
                       count_hint, &hints[node]);
    checker_hints(hints, world_nodes(world), &clients->verdict);
}

/* Reads that repair. */
static void repair(struct clients *clients, uint32_t nodes)
{
    struct world *world = clients->world;
    struct sweep sweep = {.nodes = nodes};
    uint32_t first = 0;
    while ((nodes >> first & 1) == 0) first++;
    read_all(clients, first, &sweep);
    world_run(world, world_now(world) + 500 * ms);
    /* Who was not among those that were asked is stale no more, but may be rotten: each home is asked by
     * itself first. */
    if (!any_is_rotten(clients, nodes)) return;
    read_through(clients, &sweep);
    world_run(world, world_now(world) + 500 * ms);
}

void clients_sweep(struct clients *clients, uint32_t nodes, bool equal)
{
    struct world *world = clients->world;
    bool core = nodes != (UINT32_C(1) << world_nodes(world)) - 1;
    clients->history.final_count = 0; /* what a sweep before this one saw was not the end */
    if (!clients_are_idle(clients)) verdict_fault(&clients->verdict, "an operation was never answered");
    if (!equal) repair(clients, nodes);
    await_reaping(clients, nodes);
    judge_copies(clients, nodes, core);
    if (equal) clients_judge_trees(clients, nodes, true);
    /* A core's reads are judged like any client's; in the end each home tells what it has. */
    struct sweep sweep = {.nodes = nodes, .finals = !core, .r = core ? clients->options.r : 1};
    read_through(clients, &sweep);
    world_run(world, world_now(world) + 500 * ms);
    if (!core) judge_hints(clients);
    for (uint32_t node = 0; node < world_nodes(world) && !core && equal; node++)
        if (!world_is_filled(world, node, clients->options.n))
            verdict_fault(&clients->verdict, "n%u is not filled at the end", node + 1);
}
