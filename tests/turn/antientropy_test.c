/* Anti-entropy between whole nodes: whatever gets lost, comes twice or is damaged on its way, and whoever
 * restarts, homes become equal in the end; and nothing that a peer says does any harm. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/check.h"
#include "few_nodes.h"
#include "wire/object_wire.h"

static const uint64_t ms = 1000000;

static struct few few;

static uint64_t seed_from(const char *name)
{
    uint64_t seed = prng_entropy() >> 20;
    printf("%s: seed %llu\n", name, (unsigned long long)seed);
    return seed;
}

static struct few_options options_of(uint64_t seed)
{
    return (struct few_options){.nodes = 3,
                                .shards = {1, 2, 3},
                                .vnodes = 8,
                                .n = 3,
                                .pass_ns = 1000 * ms,
                                .audit_ns = 5000 * ms,
                                .seed = seed};
}

static struct bytes key_of(uint32_t number, char text[16])
{
    return bytes_of(text, (size_t)snprintf(text, 16, "key%u", number));
}

/* Most keys are equal everywhere; some differ, some are missing here or there, some values are large. */
static void plant(uint32_t keys)
{
    static uint8_t value[40000];
    char text[16];
    for (uint32_t key = 0; key < keys; key++) {
        uint32_t kind = (uint32_t)prng_below(&few.prng, 4);
        size_t size = prng_chance(&few.prng, 1, 10) ? prng_below(&few.prng, sizeof(value)) : 20;
        for (uint32_t node = 0; node < few.options.nodes; node++) {
            if (kind == 1 && prng_chance(&few.prng, 1, 2)) continue;
            struct dot dot = {.clock = 1 + (kind == 2 ? node : 0), .counter = 1};
            if (kind == 3) dot.counter += prng_below(&few.prng, 2);
            value[0] = (uint8_t)(dot.clock * 16 + dot.counter);
            few_plant(&few, node, key_of(key, text), dot, bytes_of(value, size));
        }
    }
}

static void start_all(void)
{
    for (uint32_t node = 0; node < few.options.nodes; node++) few_start(&few, node);
}

static void assert_equal_at_last(uint64_t within_ms, uint64_t keys)
{
    uint64_t count, passed_ms = 0;
    while (!few_is_equal(&few, &count) && passed_ms < within_ms) {
        few_pass_ms(&few, 250);
        passed_ms += 250;
    }
    assert_true(few_is_equal(&few, &count));
    if (keys != 0) assert_int_equal(count, keys);
}

static bool is_repair(const Dynode__Peer__Message *message)
{
    return message->body_case >= DYNODE__PEER__MESSAGE__BODY_TREE_ROOTS &&
           message->body_case <= DYNODE__PEER__MESSAGE__BODY_OBJECTS_PUSHED;
}

static enum few_fate lose_and_repeat(void *context, uint32_t from, uint32_t to,
                                     Dynode__Peer__Message *message)
{
    (void)context, (void)from, (void)to;
    if (!is_repair(message)) return FEW_PASS;
    uint64_t draw = prng_below(&few.prng, 8);
    return draw == 0 ? FEW_DROP : draw == 1 ? FEW_TWICE : FEW_PASS;
}

static void homes_become_equal_whatever_is_lost_or_comes_twice(void **state)
{
    (void)state;
    uint64_t seed = seed_from("lost and repeated");
    for (uint64_t round = 0; round < 6; round++) {
        struct few_options options = options_of(seed + round);
        options.rule = round % 2 == 0 ? RULE_SIBLINGS : RULE_LWW;
        few_begin(&few, &options);
        plant(400);
        few.hook = round > 0 ? lose_and_repeat : NULL;
        start_all();
        assert_equal_at_last(120000, 0);
        /* Equal homes tell each other nothing but that. */
        few.hook = NULL;
        few_pass_ms(&few, 10000);
        uint64_t fetches = few.messages[DYNODE__PEER__MESSAGE__BODY_FETCH_OBJECTS];
        uint64_t nodes = few.messages[DYNODE__PEER__MESSAGE__BODY_TREE_NODES];
        few_pass_ms(&few, 10000);
        assert_int_equal(few.messages[DYNODE__PEER__MESSAGE__BODY_FETCH_OBJECTS], fetches);
        assert_int_equal(few.messages[DYNODE__PEER__MESSAGE__BODY_TREE_NODES], nodes);
        few_end(&few);
    }
}

static void homes_become_equal_though_one_restarts_all_the_time(void **state)
{
    (void)state;
    struct few_options options = options_of(seed_from("restarts"));
    few_begin(&few, &options);
    plant(600);
    start_all();
    for (int i = 0; i < 20; i++) {
        uint32_t node = (uint32_t)prng_below(&few.prng, 3);
        few_pass_ms(&few, prng_below(&few.prng, 300));
        few_stop(&few, node);
        few_pass_ms(&few, prng_below(&few.prng, 100));
        few_start(&few, node);
    }
    assert_equal_at_last(30000, 0);
    few_end(&few);
}

/* Numbers and lists are other than they should be; objects themselves are whole, as streams are. */
static enum few_fate lie(void *context, uint32_t from, uint32_t to, Dynode__Peer__Message *message)
{
    (void)context, (void)from, (void)to;
    if (!is_repair(message) || prng_chance(&few.prng, 1, 2)) return FEW_PASS;
    uint64_t any = prng_chance(&few.prng, 1, 2) ? prng_below(&few.prng, 40) : prng_next(&few.prng);
    switch (message->body_case) {
    case DYNODE__PEER__MESSAGE__BODY_TREE_ROOTS:
        if (message->tree_roots->n_vnodes == 0) break;
        if (any % 2 == 0) message->tree_roots->n_ns--;
        message->tree_roots->vnodes[any % message->tree_roots->n_vnodes] = (uint32_t)any;
        if (message->tree_roots->n_ns > 0) message->tree_roots->ns[0] = (uint32_t)any;
        break;
    case DYNODE__PEER__MESSAGE__BODY_TREE_ROOTS_ANSWER: {
        static uint32_t places[3];
        for (int i = 0; i < 3; i++) places[i] = (uint32_t)prng_below(&few.prng, 200);
        message->tree_roots_answer->differing = places;
        message->tree_roots_answer->n_differing = any % 4;
        break;
    }
    case DYNODE__PEER__MESSAGE__BODY_TREE_NODES:
        message->tree_nodes->vnode = (uint32_t)any;
        if (message->tree_nodes->n_inners > 0) message->tree_nodes->inners[0] = (uint32_t)(any >> 7);
        break;
    case DYNODE__PEER__MESSAGE__BODY_TREE_NODES_ANSWER:
        if (message->tree_nodes_answer->n_sums == 0) break;
        message->tree_nodes_answer->sums[any % message->tree_nodes_answer->n_sums] ^= any;
        if (any % 3 == 0) message->tree_nodes_answer->n_sums /= 2;
        if (any % 5 == 0) message->tree_nodes_answer->status = (uint32_t)any;
        if (any % 7 == 0) message->tree_nodes_answer->rest_ms = UINT32_MAX;
        break;
    case DYNODE__PEER__MESSAGE__BODY_LEAF_KEYS:
        if (message->leaf_keys->n_leaves > 1) message->leaf_keys->leaves[0] = (uint32_t)any;
        if (message->leaf_keys->after.len > 0) message->leaf_keys->after.data[0] ^= (uint8_t)any;
        message->leaf_keys->n = (uint32_t)(any % 20);
        break;
    case DYNODE__PEER__MESSAGE__BODY_LEAF_KEYS_ANSWER: {
        Dynode__Peer__LeafKeysAnswer *answer = message->leaf_keys_answer;
        if (any % 4 == 0)
            answer->cursor = (ProtobufCBinaryData){.data = (uint8_t *)(uintptr_t) "x", .len = 1};
        if (answer->n_keys == 0) break;
        Dynode__Peer__LeafKey *key = answer->keys[any % answer->n_keys];
        if (any % 4 == 1) key->checksum = any;
        if (any % 4 == 2 && key->key.len > 0) key->key.data[any % key->key.len] ^= 1;
        if (any % 4 == 3) answer->keys[0] = answer->keys[answer->n_keys - 1];
        break;
    }
    case DYNODE__PEER__MESSAGE__BODY_FETCH_OBJECTS:
        if (message->fetch_objects->n_keys == 0) break;
        if (any % 2 == 0) message->fetch_objects->keys[0].len /= 2;
        if (any % 2 == 1) message->fetch_objects->vnode = (uint32_t)any;
        break;
    case DYNODE__PEER__MESSAGE__BODY_OBJECTS_FETCHED:
        if (message->objects_fetched->n_objects == 0) break;
        if (any % 3 == 0) message->objects_fetched->n_objects--;
        if (any % 3 == 1) message->objects_fetched->objects[0]->object.len /= 2;
        if (any % 3 == 2) message->objects_fetched->status = (uint32_t)any;
        if (any % 7 == 0) message->objects_fetched->rest_ms = UINT32_MAX;
        break;
    case DYNODE__PEER__MESSAGE__BODY_PUSH_OBJECTS:
        if (message->push_objects->n_objects == 0) break;
        if (any % 3 == 0) message->push_objects->objects[0]->object.len /= 2;
        if (any % 3 == 1) message->push_objects->objects[0]->key.len /= 2;
        if (any % 3 == 2) message->push_objects->n = (uint32_t)any;
        break;
    default:
        message->request ^= any % 4;
    }
    return FEW_PASS;
}

static void lies_do_no_harm(void **state)
{
    (void)state;
    uint64_t seed = seed_from("lies");
    for (uint64_t round = 0; round < 4; round++) {
        struct few_options options = options_of(seed + round);
        few_begin(&few, &options);
        plant(300);
        few.hook = lie;
        start_all();
        few_pass_ms(&few, 20000);
        few.hook = NULL;
        assert_equal_at_last(30000, 0);
        few_end(&few);
    }
}

/* Questions and answers that nobody asked for. */
static void strangers_are_not_heard(void **state)
{
    (void)state;
    struct few_options options = options_of(seed_from("strangers"));
    few_begin(&few, &options);
    plant(50);
    few_start(&few, 0);
    few_pass_ms(&few, 100);
    Dynode__Peer__ObjectsFetched fetched = DYNODE__PEER__OBJECTS_FETCHED__INIT;
    Dynode__Peer__TreeNodesAnswer nodes = DYNODE__PEER__TREE_NODES_ANSWER__INIT;
    Dynode__Peer__LeafKeysAnswer keys = DYNODE__PEER__LEAF_KEYS_ANSWER__INIT;
    Dynode__Peer__TreeRootsAnswer roots = DYNODE__PEER__TREE_ROOTS_ANSWER__INIT;
    Dynode__Peer__ObjectsPushed pushed = DYNODE__PEER__OBJECTS_PUSHED__INIT;
    for (int i = 0; i < 2000; i++) {
        Dynode__Peer__Message message = DYNODE__PEER__MESSAGE__INIT;
        message.request = prng_chance(&few.prng, 1, 2)
                              ? prng_below(&few.prng, 12)
                              : prng_next(&few.prng) << 32 | prng_below(&few.prng, 12);
        switch (prng_below(&few.prng, 5)) {
        case 0:
            message.body_case = DYNODE__PEER__MESSAGE__BODY_OBJECTS_FETCHED;
            message.objects_fetched = &fetched;
            break;
        case 1:
            message.body_case = DYNODE__PEER__MESSAGE__BODY_TREE_NODES_ANSWER;
            message.tree_nodes_answer = &nodes;
            break;
        case 2:
            message.body_case = DYNODE__PEER__MESSAGE__BODY_LEAF_KEYS_ANSWER;
            message.leaf_keys_answer = &keys;
            break;
        case 3:
            message.body_case = DYNODE__PEER__MESSAGE__BODY_TREE_ROOTS_ANSWER;
            message.tree_roots_answer = &roots;
            break;
        default:
            message.body_case = DYNODE__PEER__MESSAGE__BODY_OBJECTS_PUSHED;
            message.objects_pushed = &pushed;
        }
        few_deliver(&few, 0, 0, 0xc, &message);
        few_pass_ms(&few, 1);
    }
    /* A mark comes from the shard itself, or not at all. */
    struct counters *counters = shard_counters(few.nodes[0].shards[0]);
    uint64_t invalid = counters->invalid;
    Dynode__Peer__MarkDirty dirty = DYNODE__PEER__MARK_DIRTY__INIT;
    Dynode__Peer__Message message = DYNODE__PEER__MESSAGE__INIT;
    message.body_case = DYNODE__PEER__MESSAGE__BODY_MARK_DIRTY;
    message.mark_dirty = &dirty;
    few_deliver(&few, 0, 0, 0xb, &message);
    few_pass_ms(&few, 10);
    assert_int_equal(counters->invalid, invalid + 1);
    few_start(&few, 1);
    few_start(&few, 2);
    assert_equal_at_last(30000, 0);
    few_end(&few);
}

/* Each home has its clients, as the router would say. */
static void load(uint32_t node, uint64_t operations)
{
    shard_counters(few.nodes[node].shards[0])->in_flight = operations;
}

/* The one that is asked: what it gives, and what it is given, keeps to what its governor has for others. The
 * one that asks has nothing else to do. */
static void asked_home_gives_way_to_its_clients(void **state)
{
    (void)state;
    enum { KEYS = 600, VALUE = 10000, SECONDS = 4 };
    static uint8_t value[VALUE];
    char text[16];
    uint64_t keys, seed = seed_from("asked");
    for (uint32_t gives = 0; gives < 2; gives++) {
        struct few_options options = {.nodes = 2,
                                      .shards = {1, 1},
                                      .vnodes = 1,
                                      .n = 2,
                                      .pass_ns = 3600000 * ms,
                                      .audit_ns = 3600000 * ms,
                                      .seed = seed};
        few_begin(&few, &options);
        for (uint32_t key = 0; key < KEYS; key++)
            few_plant(&few, gives, key_of(key, text), (struct dot){.clock = 1, .counter = 1},
                      bytes_of(value, sizeof(value)));
        start_all(); /* of vnode 0 the lower id begins: node 0 */
        load(1, 10000);
        uint32_t kind =
            gives ? DYNODE__PEER__MESSAGE__BODY_OBJECTS_FETCHED : DYNODE__PEER__MESSAGE__BODY_PUSH_OBJECTS;
        while (few.bytes[kind] == 0) few_pass_ms(&few, 100);
        uint64_t before = few.bytes[kind];
        few_pass_ms(&few, SECONDS * 1000);
        /* It begins with the rate of a start, which has to come down. */
        printf("%s: %llu bytes\n", gives ? "gives" : "takes", (unsigned long long)(few.bytes[kind] - before));
        assert_in_range(few.bytes[kind] - before, SECONDS * GOVERNOR_BYTES_FLOOR / 4,
                        SECONDS * GOVERNOR_BYTES_FLOOR * 3 / 2);
        assert_false(few_is_equal(&few, &keys));
        load(1, 0);
        assert_equal_at_last(5000, KEYS);
        few_end(&few);
    }
}

static void a_home_without_trees_is_passed_over_until_it_has_them(void **state)
{
    (void)state;
    uint64_t keys;
    struct few_options options = options_of(seed_from("unbuilt"));
    options.nodes = 2;
    options.n = 2;
    few_begin(&few, &options);
    plant(200);
    few.nodes[1].silent = true;
    start_all();
    few_pass_ms(&few, 10000);
    assert_false(few_is_equal(&few, &keys));
    assert_true(few.messages[DYNODE__PEER__MESSAGE__BODY_TREE_ROOTS_ANSWER] > 5);
    assert_int_equal(few.messages[DYNODE__PEER__MESSAGE__BODY_LEAF_KEYS], 0);
    few_stop(&few, 1);
    few.nodes[1].silent = false;
    few_start(&few, 1);
    assert_equal_at_last(10000, 0);
    few_end(&few);
}

static void a_dirty_vnode_goes_first_whoever_should_begin(void **state)
{
    (void)state;
    char text[16];
    struct store_place place;
    uint64_t keys;
    struct few_options options = options_of(seed_from("dirty"));
    options.pass_ns = 3600000 * ms;
    few_begin(&few, &options);
    start_all();
    few_pass_ms(&few, 20000); /* the first pass is over */
    for (uint32_t key = 0; key < 20; key++) {
        /* One home merges something, as from a coordinator that then dies. */
        few_store_key(&few, key_of(key, text), &place);
        struct dot dot = {.clock = 7, .counter = 1};
        struct sibling sibling = {.dot = dot, .stamp = 1, .value = bytes_str("x")};
        struct object object = {.context = {.entries = &dot, .count = 1}, .siblings = &sibling, .count = 1};
        struct bytes encoded = object_encode(&object, &few.arena);
        uint32_t node = key % 3;
        few_merge(&few, node, few.nodes[(node + 1) % 3].id, &place, 3, encoded);
        few_pass_ms(&few, 1000);
        assert_false(few_is_equal(&few, &keys));
        Dynode__Peer__MarkDirty dirty = DYNODE__PEER__MARK_DIRTY__INIT;
        dirty.vnode = place.vnode;
        Dynode__Peer__Message message = DYNODE__PEER__MESSAGE__INIT;
        message.body_case = DYNODE__PEER__MESSAGE__BODY_MARK_DIRTY;
        message.mark_dirty = &dirty;
        message.to_shard = place.vnode;
        few_deliver(&few, node, place.vnode % few.options.shards[node], few.nodes[node].id, &message);
        few_pass_ms(&few, 100);
        assert_true(few_is_equal(&few, &keys));
        assert_int_equal(keys, key + 1);
    }
    few_end(&few);
}

/* A home is away, and its vnode is marked with each write: that is no exchange a write with the one that is
 * there. When marks end, the last has been looked at. */
static void marks_are_paced(void **state)
{
    (void)state;
    struct few_options options = options_of(seed_from("marks"));
    options.pass_ns = 3600000 * ms;
    few_begin(&few, &options);
    few_start(&few, 0);
    few_start(&few, 1);
    few_pass_ms(&few, 20000); /* the first pass is over */
    memset(few.messages, 0, sizeof(few.messages));
    for (uint32_t i = 0; i < 3000; i++) {
        Dynode__Peer__MarkDirty dirty = DYNODE__PEER__MARK_DIRTY__INIT;
        Dynode__Peer__Message message = DYNODE__PEER__MESSAGE__INIT;
        message.body_case = DYNODE__PEER__MESSAGE__BODY_MARK_DIRTY;
        message.mark_dirty = &dirty;
        few_deliver(&few, 0, 0, few.nodes[0].id, &message);
        few_pass_ms(&few, 1);
    }
    assert_in_range(few.messages[DYNODE__PEER__MESSAGE__BODY_TREE_NODES], 3, 4);
    few_pass_ms(&few, 1001);
    assert_in_range(few.messages[DYNODE__PEER__MESSAGE__BODY_TREE_NODES], 4, 5);
    few_pass_ms(&few, 5000);
    assert_in_range(few.messages[DYNODE__PEER__MESSAGE__BODY_TREE_NODES], 4, 5);
    few_end(&few);
}

static enum few_fate lose_pages_of_1(void *context, uint32_t from, uint32_t to,
                                     Dynode__Peer__Message *message)
{
    (void)context;
    (void)to;
    return from == 1 && message->body_case == DYNODE__PEER__MESSAGE__BODY_LEAF_KEYS_ANSWER ? FEW_DROP
                                                                                           : FEW_PASS;
}

/* All exchanges are with a home that dies: those with the others begin at once. */
static void a_home_that_dies_frees_its_places(void **state)
{
    (void)state;
    char text[16];
    struct few_options options = options_of(seed_from("places"));
    options.shards[0] = options.shards[1] = options.shards[2] = 1;
    options.vnodes = 64;
    options.pass_ns = options.audit_ns = 3600000 * ms;
    few_begin(&few, &options);
    few.hook = lose_pages_of_1;
    for (uint32_t key = 0; key < 300; key++)
        few_plant(&few, 0, key_of(key, text), (struct dot){1, 1}, bytes_str("x"));
    start_all();
    uint64_t asked_ms = 0;
    while (few.messages[DYNODE__PEER__MESSAGE__BODY_LEAF_KEYS] < ANTIENTROPY_EXCHANGES && asked_ms++ < 10000)
        few_pass_ms(&few, 1);
    few_pass_ms(&few, 200);
    uint64_t pushed = few.messages[DYNODE__PEER__MESSAGE__BODY_PUSH_OBJECTS];
    few_stop(&few, 1);
    few_pass_ms(&few, 500);
    assert_true(few.messages[DYNODE__PEER__MESSAGE__BODY_PUSH_OBJECTS] > pushed);
    few_end(&few);
}

static void set_busy(bool busy)
{
    for (uint32_t node = 0; node < few.options.nodes; node++)
        for (uint32_t shard = 0; shard < few.options.shards[node]; shard++)
            shard_counters(few.nodes[node].shards[shard])->in_flight =
                busy ? GOVERNOR_BUSY_OPERATIONS + 1 : 0;
}

/* Large objects are a debt of a minute at the lowest rate; when the shards are quiet again it is paid at
 * once.
 */
static void a_debt_of_busy_times_is_paid_in_quiet_ones(void **state)
{
    (void)state;
    static uint8_t value[4000000];
    char text[16];
    uint64_t keys;
    struct few_options options = options_of(seed_from("debt"));
    options.nodes = 2;
    options.n = 2;
    options.shards[1] = 1;
    options.vnodes = 1;
    options.audit_ns = 3600000 * ms;
    few_begin(&few, &options);
    few_start(&few, 0);
    few_start(&few, 1);
    few_pass_ms(&few, 3000);
    set_busy(true);
    few_pass_ms(&few, 1000);
    few_stop(&few, 0);
    for (uint32_t key = 0; key < 4; key++)
        few_plant(&few, 0, key_of(key, text), (struct dot){1, 1}, bytes_of(value, sizeof(value)));
    few_start(&few, 0);
    set_busy(true);
    few_pass_ms(&few, 4000);
    assert_false(few_is_equal(&few, &keys));
    set_busy(false);
    assert_equal_at_last(8000, 4);
    few_end(&few);
}

/* --- damage --- */

static void rot(uint32_t node, uint32_t times)
{
    for (uint32_t i = 0; i < times; i++) {
        uint32_t shard = (uint32_t)prng_below(&few.prng, few.options.shards[node]);
        store_mem_rot(few.nodes[node].stores[shard], STORE_OBJECTS, prng_next(&few.prng));
    }
}

/* Hints whose keys are no keys, or name what there is not, do no harm, and go or are passed over. */
static void rotten_keys_of_hints(void **state)
{
    (void)state;
    struct few_options options = options_of(seed_from("rotten hints"));
    few_begin(&few, &options);
    struct store *store = few.nodes[0].stores[0];
    for (uint32_t i = 0; i < 100; i++) {
        uint8_t key[40], value[40];
        size_t key_size = 8 + prng_below(&few.prng, sizeof(key) - 7);
        for (size_t k = 0; k < sizeof(key); k++) key[k] = value[k] = (uint8_t)prng_next(&few.prng);
        put_be64(key, few.nodes[1].id);
        assert_int_equal(store_put(store, STORE_HINTS, bytes_of(key, key_size),
                                   bytes_of(value, prng_below(&few.prng, sizeof(value)))),
                         STATUS_OK);
    }
    assert_int_equal(store_commit(store), STATUS_OK);
    start_all();
    few_pass_ms(&few, 5000);
    assert_true(shard_counters(few.nodes[0].shards[0])->corrupt > 0);
    few_end(&few);
}

static uint64_t mended(uint32_t node)
{
    uint64_t count = 0;
    for (uint32_t s = 0; s < few.options.shards[node]; s++)
        count += shard_counters(few.nodes[node].shards[s])->mended;
    return count;
}

static void rotten_objects_are_fetched_anew(void **state)
{
    (void)state;
    uint64_t keys, count;
    struct few_options options = options_of(seed_from("rot"));
    few_begin(&few, &options);
    plant(300);
    start_all();
    assert_equal_at_last(30000, 0);
    few_is_equal(&few, &keys);
    for (int i = 0; i < 5; i++) {
        few_pass_ms(&few, prng_below(&few.prng, 3000));
        rot((uint32_t)prng_below(&few.prng, 3), 20);
        assert_false(few_is_equal(&few, &count));
        assert_equal_at_last(60000, keys);
        few_pass_ms(&few, 12000);
    }
    /* Also when it has rotted while the node was down: then the build finds it. */
    few_stop(&few, 1);
    rot(1, 20);
    few_start(&few, 1);
    assert_equal_at_last(60000, keys);
    assert_true(mended(1) > 0);
    few_end(&few);
}

/* A damaged copy waits for this home, which is away, and is mended with it. */
static void mends_only_with(uint32_t away)
{
    uint64_t keys;
    few_stop(&few, away);
    rot(0, 1);
    few_pass_ms(&few, 30000);
    assert_int_equal(mended(0), 0);
    assert_false(few_is_equal(&few, &keys));
    few_start(&few, away);
    assert_equal_at_last(20000, 0);
    assert_int_equal(mended(0), 1);
}

static void one_other_home_of_three_is_not_enough_to_mend(void **state)
{
    (void)state;
    struct few_options options = options_of(seed_from("alone"));
    few_begin(&few, &options);
    plant(100);
    start_all();
    assert_equal_at_last(30000, 0);
    mends_only_with(2);
    few_end(&few);
}

/* A write may have been acknowledged by the damaged copy and any one home: a majority without that proves
 * nothing. */
static void a_majority_of_five_is_not_enough_to_mend(void **state)
{
    (void)state;
    struct few_options options = options_of(seed_from("five"));
    options.nodes = options.n = 5;
    options.shards[3] = options.shards[4] = 1;
    few_begin(&few, &options);
    plant(100);
    start_all();
    assert_equal_at_last(30000, 0);
    mends_only_with(4);
    few_end(&few);
}

/* Neither waits for the other: what the sound homes hold is all there is. */
static void two_damaged_copies_of_five_are_mended(void **state)
{
    (void)state;
    uint64_t keys;
    struct few_options options = options_of(seed_from("both"));
    options.nodes = options.n = 5;
    options.shards[3] = options.shards[4] = 1;
    few_begin(&few, &options);
    plant(100);
    start_all();
    assert_equal_at_last(30000, 0);
    few_is_equal(&few, &keys);
    for (uint32_t i = 0; i < 2; i++) rot(i, (uint32_t)keys);
    assert_equal_at_last(120000, keys);
    assert_true(mended(0) > 0 && mended(1) > 0);
    few_end(&few);
}

/* A full disk: what can't be taken differs until there is room, and meanwhile nothing else stands still. */
static void a_full_disk_is_waited_for(void **state)
{
    (void)state;
    uint64_t keys;
    struct few_options options = options_of(seed_from("full"));
    few_begin(&few, &options);
    plant(200);
    for (uint32_t s = 0; s < 3; s++) store_mem_set_full(few.nodes[2].stores[s], true);
    start_all();
    few_pass_ms(&few, 20000);
    assert_false(few_is_equal(&few, &keys));
    /* It is tried again and again, but once in a pass's time from each shard, and not with all there is. */
    uint64_t pushes = few.messages[DYNODE__PEER__MESSAGE__BODY_PUSH_OBJECTS];
    few_pass_ms(&few, 60000);
    pushes = few.messages[DYNODE__PEER__MESSAGE__BODY_PUSH_OBJECTS] - pushes;
    assert_in_range(pushes, 1, 60 * 3 * ANTIENTROPY_EXCHANGES);
    for (uint32_t s = 0; s < 3; s++) store_mem_set_full(few.nodes[2].stores[s], false);
    assert_equal_at_last(20000, 0);
    few_end(&few);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(homes_become_equal_whatever_is_lost_or_comes_twice),
        cmocka_unit_test(homes_become_equal_though_one_restarts_all_the_time),
        cmocka_unit_test(lies_do_no_harm),
        cmocka_unit_test(strangers_are_not_heard),
        cmocka_unit_test(asked_home_gives_way_to_its_clients),
        cmocka_unit_test(a_home_without_trees_is_passed_over_until_it_has_them),
        cmocka_unit_test(a_dirty_vnode_goes_first_whoever_should_begin),
        cmocka_unit_test(marks_are_paced),
        cmocka_unit_test(a_home_that_dies_frees_its_places),
        cmocka_unit_test(a_debt_of_busy_times_is_paid_in_quiet_ones),
        cmocka_unit_test(rotten_objects_are_fetched_anew),
        cmocka_unit_test(rotten_keys_of_hints),
        cmocka_unit_test(one_other_home_of_three_is_not_enough_to_mend),
        cmocka_unit_test(a_majority_of_five_is_not_enough_to_mend),
        cmocka_unit_test(two_damaged_copies_of_five_are_mended),
        cmocka_unit_test(a_full_disk_is_waited_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
