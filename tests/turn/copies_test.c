/* Copies: which count is kept in the store, in the commit of what made them so. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "actors/copies.h"

enum { VNODES = 8, SELF = 1, NODES = 5 };

static struct ring *ring_of(uint32_t nodes)
{
    struct ring_node list[NODES] = {{0}};
    for (uint32_t i = 0; i < nodes; i++)
        list[i] = (struct ring_node){.id = SELF + i, .weight = RING_WEIGHT_DEFAULT};
    return ring_build(list, nodes, VNODES, nodes);
}

/* The @nth home other than SELF. */
static uint64_t other_home(const struct ring *ring, uint32_t vnode, uint32_t nth)
{
    const uint64_t *list = ring_preference_list(ring, vnode);
    for (;; list++)
        if (*list != SELF && nth-- == 0) return *list;
}

static uint32_t a_vnode(const struct ring *ring, uint32_t n, bool home)
{
    uint32_t vnode = 0;
    while (ring_is_home(ring, vnode, n, SELF) != home) vnode++;
    return vnode;
}

static struct copies loaded(struct store *store, bool born)
{
    struct copies copies = {0};
    assert_int_equal(copies_load(&copies, store, born, VNODES), STATUS_OK);
    return copies;
}

/* What a new process knows after a crash. */
static void reload(struct copies *copies, struct store *store, bool crash)
{
    copies_fini(copies);
    if (crash)
        store_mem_crash(store);
    else
        assert_int_equal(store_commit(store), STATUS_OK);
    *copies = loaded(store, false);
}

static void hear(struct copies *copies, struct store *store, const struct ring *ring, uint32_t vnode,
                 uint32_t n, uint64_t home, enum status expected)
{
    assert_int_equal(copies_hear(copies, store, ring, SELF, vnode, n, home), expected);
}

static void born_filled(void **state)
{
    (void)state;
    struct store *store = store_mem_open();
    struct copies copies = loaded(store, true);
    for (uint32_t vnode = 0; vnode < VNODES; vnode++)
        for (uint32_t n = 0; n <= COPIES_N_MAX; n++) {
            assert_true(copies_is_filled(&copies, vnode, n));
            assert_false(copies_waits_for(&copies, vnode, n, 2));
        }
    copies_fini(&copies);
    copies = loaded(store, false);
    for (uint32_t vnode = 0; vnode < VNODES; vnode++)
        for (uint32_t n = 0; n <= COPIES_N_MAX; n++) {
            assert_true(copies_is_filled(&copies, vnode, n) == (n == 1)); /* nobody else holds anything */
            assert_true(copies_waits_for(&copies, vnode, n, 2) == (n != 1));
        }
    copies_fini(&copies);
    store_close(store);
}

static void every_home_is_heard(void **state)
{
    (void)state;
    struct store *store = store_mem_open();
    struct ring *ring = ring_of(NODES);
    struct copies copies = loaded(store, false);
    uint32_t vnode = a_vnode(ring, 3, true);
    uint64_t first = other_home(ring, vnode, 0), second = other_home(ring, vnode, 1);
    uint64_t stranger = other_home(ring, vnode, 3);
    hear(&copies, store, ring, vnode, 3, first, STATUS_OK);
    hear(&copies, store, ring, vnode, 3, first, STATUS_OK); /* twice is once */
    hear(&copies, store, ring, vnode, 3, stranger, STATUS_OK);
    hear(&copies, store, ring, vnode, 3, SELF, STATUS_OK);
    assert_false(copies_is_filled(&copies, vnode, 3));
    assert_false(copies_waits_for(&copies, vnode, 3, first));
    assert_true(copies_waits_for(&copies, vnode, 3, second));
    assert_true(copies_waits_for(&copies, vnode, 2, first)); /* another copy */
    /* What was not committed is not known any more, like the objects that came with it. */
    reload(&copies, store, true);
    assert_true(copies_waits_for(&copies, vnode, 3, first));
    hear(&copies, store, ring, vnode, 3, first, STATUS_OK);
    reload(&copies, store, false);
    assert_false(copies_waits_for(&copies, vnode, 3, first));
    hear(&copies, store, ring, vnode, 3, second, STATUS_OK);
    assert_true(copies_is_filled(&copies, vnode, 3));
    reload(&copies, store, false);
    assert_true(copies_is_filled(&copies, vnode, 3));
    for (uint32_t v = 0; v < VNODES; v++)
        for (uint32_t n = 2; n <= COPIES_N_MAX; n++)
            assert_true(copies_is_filled(&copies, v, n) == (v == vnode && n == 3));
    copies_fini(&copies);
    ring_free(ring);
    store_close(store);
}

/* Who is no home any more was heard in vain, and who is one now is waited for. */
static void homes_of_now(void **state)
{
    (void)state;
    struct store *store = store_mem_open();
    struct ring *three = ring_of(3), *five = ring_of(5);
    struct copies copies = loaded(store, false);
    for (uint32_t vnode = 0; vnode < VNODES; vnode++) {
        if (!ring_is_home(five, vnode, 3, SELF)) {
            hear(&copies, store, five, vnode, 3, other_home(five, vnode, 0), STATUS_OK);
            hear(&copies, store, five, vnode, 3, other_home(five, vnode, 1), STATUS_OK);
            assert_false(copies_is_filled(&copies, vnode, 3)); /* it is none of ours */
            continue;
        }
        hear(&copies, store, three, vnode, 3, other_home(three, vnode, 0), STATUS_OK);
        hear(&copies, store, five, vnode, 3, other_home(five, vnode, 0), STATUS_OK);
        bool both = other_home(three, vnode, 0) == other_home(five, vnode, 1);
        assert_true(copies_is_filled(&copies, vnode, 3) == both);
        hear(&copies, store, five, vnode, 3, other_home(five, vnode, 1), STATUS_OK);
        assert_true(copies_is_filled(&copies, vnode, 3));
    }
    hear(&copies, store, three, 0, 5, 2, STATUS_OK); /* more homes than nodes: a copy that can't be */
    assert_false(copies_is_filled(&copies, 0, 5));
    copies_fini(&copies);
    ring_free(three);
    ring_free(five);
    store_close(store);
}

static void full_disk_and_strange_rows(void **state)
{
    (void)state;
    struct store *store = store_mem_open();
    struct ring *ring = ring_of(3);
    struct copies copies = loaded(store, false);
    uint32_t vnode = a_vnode(ring, 2, true);
    store_mem_set_full(store, true);
    hear(&copies, store, ring, vnode, 2, other_home(ring, vnode, 0), STATUS_NO_SPACE);
    assert_false(copies_is_filled(&copies, vnode, 2));
    store_mem_set_full(store, false);
    static const struct {
        const char *key, *value;
        size_t key_bytes, value_bytes;
    } rows[] = {
        {"copy", "\1", 4, 1},
        {"copy\0\0\3", "", 7, 0},
        {"copy\0\0\3",
         "\1"
         "123",
         7, 4},
        {"copy\xff\xff\3", "\1", 7, 1},
        {"copy\0\0\xff", "\1", 7, 1},
        {"copy\0\0\3\3", "\1", 8, 1},
        {"copy\0\0\3", "\2", 7, 1},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        store_put(store, STORE_META, bytes_of(rows[i].key, rows[i].key_bytes),
                  bytes_of(rows[i].value, rows[i].value_bytes));
        reload(&copies, store, false);
        for (uint32_t v = 0; v < VNODES; v++)
            for (uint32_t n = 2; n <= COPIES_N_MAX; n++) assert_false(copies_is_filled(&copies, v, n));
    }
    copies_fini(&copies);
    ring_free(ring);
    store_close(store);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(born_filled),
        cmocka_unit_test(every_home_is_heard),
        cmocka_unit_test(homes_of_now),
        cmocka_unit_test(full_disk_and_strange_rows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
