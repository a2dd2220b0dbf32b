/* What a home has seen of another's mints: all of it once an exchange has brought it all, and nothing before,
 * nor if the copy was disturbed meanwhile. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "actors/copies.h"
#include "base/check.h"
#include "few_nodes.h"

static const uint64_t ms = 1000000;

enum { KEYS = 200, VNODES = 8, MINTER = 1 };

static struct few few;
static struct dot last;
static bool drop, disturb;

static struct copies *copies_of(uint32_t node)
{
    return (struct copies *)(uintptr_t)node_copies(few.nodes[node].shards[0]);
}

static enum few_fate hook(void *context, uint32_t from, uint32_t to, Dynode__Peer__Message *message)
{
    (void)context;
    (void)from;
    bool brings = message->body_case == DYNODE__PEER__MESSAGE__BODY_OBJECTS_FETCHED ||
                  message->body_case == DYNODE__PEER__MESSAGE__BODY_PUSH_OBJECTS;
    if (!brings) return FEW_PASS;
    for (uint32_t vnode = 0; disturb && vnode < VNODES; vnode++) copies_disturb(copies_of(to), vnode, 3);
    return drop ? FEW_DROP : FEW_PASS;
}

/* One home has minted all there is. */
static void begin(const char *name)
{
    uint64_t seed = prng_entropy() >> 20;
    printf("%s: seed %llu\n", name, (unsigned long long)seed);
    const struct few_options options = {.nodes = 3,
                                        .shards = {1, 1, 1},
                                        .vnodes = VNODES,
                                        .n = 3,
                                        .pass_ns = 1000 * ms,
                                        .audit_ns = 5000 * ms,
                                        .seed = seed};
    few_begin(&few, &options);
    few.hook = hook;
    struct store *store = few.nodes[MINTER].stores[0];
    struct mints mints = {0};
    assert_int_equal(mints_load(&mints, store), STATUS_OK);
    for (uint32_t key = 0; key < KEYS; key++) {
        char text[16];
        assert_int_equal(mints_next(&mints, store, &few.prng, &last), STATUS_OK);
        few_plant(&few, MINTER, bytes_of(text, (size_t)snprintf(text, sizeof(text), "key%u", key)), last,
                  bytes_str("x"));
    }
    assert_int_equal(store_commit(store), STATUS_OK);
    assert_int_equal(store_sync(store), STATUS_OK);
    mints_fini(&mints);
    for (uint32_t node = 0; node < 3; node++) few_start(&few, node);
}

/* In how many vnodes a node has seen the last of the mints. */
static uint32_t seen_by(uint32_t node)
{
    uint32_t count = 0;
    for (uint32_t vnode = 0; vnode < VNODES; vnode++) {
        struct vv seen = copies_seen(copies_of(node), vnode, 3, &few.arena);
        count += vv_covers(&seen, last);
    }
    return count;
}

static void brought_before_it_is_seen(void **state)
{
    (void)state;
    drop = true, disturb = false;
    begin("brought");
    assert_int_equal(seen_by(MINTER), VNODES);
    for (uint32_t i = 0; i < 40; i++) {
        few_pass_ms(&few, 100);
        assert_int_equal(seen_by(0), 0);
        assert_int_equal(seen_by(2), 0);
    }
    drop = false;
    few_pass_ms(&few, 10000);
    assert_int_equal(seen_by(0), VNODES);
    assert_int_equal(seen_by(2), VNODES);
    few_end(&few);
}

static void disturbed(void **state)
{
    (void)state;
    uint64_t keys;
    drop = false, disturb = true;
    begin("disturbed");
    few_pass_ms(&few, 10000);
    assert_true(few_is_equal(&few, &keys));
    assert_int_equal(keys, KEYS);
    assert_int_equal(seen_by(0), 0);
    assert_int_equal(seen_by(2), 0);
    few_end(&few);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(brought_before_it_is_seen),
        cmocka_unit_test(disturbed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
