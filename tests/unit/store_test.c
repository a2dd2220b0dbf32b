/* One suite for all engines: what store.h promises, whoever keeps the bytes. What only WiredTiger has to
 * promise (a directory, a lock, damage) is in store_wt_test.c. */
#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "store_test.h"

static const char *const engine_names[ENGINES] = {"memory", "btree", "lsm"};
static const struct bytes nothing = {NULL, 0};
static uint64_t seed;

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    f->engine = (enum engine)(uintptr_t)*state;
    f->seed = seed;
    fixture_init(f);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    fixture_fini(*state);
    free(*state);
    return 0;
}

static void put(struct fixture *f, struct bytes key, struct bytes value)
{
    assert_int_equal(store_put(f->store, STORE_OBJECTS, key, value), STATUS_OK);
}

static void put_str(struct fixture *f, const char *key, const char *value)
{
    put(f, bytes_str(key), bytes_str(value));
}

static void commit(struct fixture *f)
{
    assert_int_equal(store_commit(f->store), STATUS_OK);
    assert_int_equal(store_staged_bytes(f->store), 0);
}

/* @value NULL: nothing may be there. */
static void expect_in(struct fixture *f, enum store_table table, struct bytes key, const struct bytes *value)
{
    struct bytes untouched = bytes_str("untouched"), found = untouched;
    enum status status = store_get(f->store, table, key, &f->arena, &found);
    if (value == NULL) {
        assert_int_equal(status, STATUS_NOT_FOUND);
        assert_ptr_equal(found.data, untouched.data);
        return;
    }
    assert_int_equal(status, STATUS_OK);
    assert_int_equal(found.size, value->size);
    assert_true(bytes_equal(found, *value));
}

static void expect(struct fixture *f, struct bytes key, struct bytes value)
{
    expect_in(f, STORE_OBJECTS, key, &value);
}

static void expect_str(struct fixture *f, const char *key, const char *value)
{
    expect(f, bytes_str(key), bytes_str(value));
}

static void expect_none(struct fixture *f, const char *key)
{
    expect_in(f, STORE_OBJECTS, bytes_str(key), NULL);
}

struct seen {
    char text[512];
    int left; /* stop after so many */
};

static bool see(void *context, struct bytes key, struct bytes value)
{
    struct seen *seen = context;
    size_t used = strlen(seen->text);
    snprintf(seen->text + used, sizeof seen->text - used, "%.*s=%.*s ", (int)key.size, (const char *)key.data,
             (int)value.size, (const char *)value.data);
    return --seen->left > 0;
}

static void expect_scan(struct fixture *f, const char *from, const char *to, int stop_after,
                        const char *expected)
{
    struct seen seen = {.left = stop_after};
    assert_int_equal(store_scan(f->store, STORE_OBJECTS, bytes_str(from), bytes_str(to), see, &seen),
                     STATUS_OK);
    assert_string_equal(seen.text, expected);
}

static void test_one_key(void **state)
{
    struct fixture *f = *state;
    expect_none(f, "k");
    put_str(f, "k", "one");
    expect_str(f, "k", "one");
    put_str(f, "k", "two");
    expect_str(f, "k", "two");
    commit(f);
    expect_str(f, "k", "two");
    put_str(f, "k", "three");
    expect_str(f, "k", "three");
    commit(f);
    expect_str(f, "k", "three");
    store_remove(f->store, STORE_OBJECTS, bytes_str("k"));
    expect_none(f, "k");
    commit(f);
    expect_none(f, "k");
    store_remove(f->store, STORE_OBJECTS, bytes_str("k"));
    put_str(f, "k", "back");
    commit(f);
    expect_str(f, "k", "back");
    put_str(f, "k", "never");
    store_remove(f->store, STORE_OBJECTS, bytes_str("k"));
    store_remove(f->store, STORE_OBJECTS, bytes_str("absent"));
    commit(f);
    expect_none(f, "k");
    expect_none(f, "absent");
    commit(f);
}

/* What a get lent is valid until the turn ends, even if the key is written again. */
static void test_lent_value_stays(void **state)
{
    struct fixture *f = *state;
    struct bytes committed, staged;
    put_str(f, "k", "old");
    commit(f);
    assert_int_equal(store_get(f->store, STORE_OBJECTS, bytes_str("k"), &f->arena, &committed), STATUS_OK);
    put_str(f, "k", "new");
    assert_int_equal(store_get(f->store, STORE_OBJECTS, bytes_str("k"), &f->arena, &staged), STATUS_OK);
    put(f, bytes_str("k"), staged); /* from the write set into itself */
    put_str(f, "k", "newest");
    for (int i = 0; i < 3000; i++) {
        char key[16];
        snprintf(key, sizeof key, "%d", i);
        put_str(f, key, "filler");
    }
    assert_true(bytes_equal(committed, bytes_str("old")));
    assert_true(bytes_equal(staged, bytes_str("new")));
    commit(f);
    assert_true(bytes_equal(committed, bytes_str("old")));
    expect_str(f, "k", "newest");
    expect_str(f, "2999", "filler");
}

static void test_tables_are_apart(void **state)
{
    struct fixture *f = *state;
    struct bytes key = bytes_str("k"), object = bytes_str("object"), meta = bytes_str("meta");
    for (int committed = 0; committed < 2; committed++) {
        assert_int_equal(store_put(f->store, STORE_META, key, meta), STATUS_OK);
        expect_in(f, STORE_OBJECTS, key, committed ? &object : NULL);
        assert_int_equal(store_put(f->store, STORE_OBJECTS, key, object), STATUS_OK);
        expect_in(f, STORE_META, key, &meta);
        expect_scan(f, "", "", 9, "k=object ");
        commit(f);
        expect_scan(f, "", "", 9, "k=object ");
    }
    store_remove(f->store, STORE_META, key);
    commit(f);
    expect_in(f, STORE_OBJECTS, key, &object);
    expect_in(f, STORE_META, key, NULL);
}

static void test_empty_value_is_not_absent(void **state)
{
    struct fixture *f = *state;
    put(f, bytes_str("empty"), nothing);
    expect(f, bytes_str("empty"), nothing);
    commit(f);
    expect(f, bytes_str("empty"), nothing);
    fixture_reopen(f);
    expect(f, bytes_str("empty"), nothing);
    expect_scan(f, "", "", 9, "empty= ");
    expect_none(f, "empt");
    expect_none(f, "emptyy");
}

static void test_scan_merges(void **state)
{
    struct fixture *f = *state;
    expect_scan(f, "", "", 9, "");
    put_str(f, "b", "1"), put_str(f, "d", "1"), put_str(f, "f", "1"), put_str(f, "h", "1");
    expect_scan(f, "", "", 9, "b=1 d=1 f=1 h=1 ");
    commit(f);
    expect_scan(f, "", "", 9, "b=1 d=1 f=1 h=1 ");
    expect_scan(f, "b", "h", 9, "b=1 d=1 f=1 ");
    expect_scan(f, "bb", "e", 9, "d=1 ");
    expect_scan(f, "i", "", 9, "");
    expect_scan(f, "d", "d", 9, "");
    expect_scan(f, "h", "b", 9, "");
    expect_scan(f, "", "", 2, "b=1 d=1 ");

    put_str(f, "a", "2"), put_str(f, "d", "2"), put_str(f, "g", "2"), put_str(f, "z", "2");
    store_remove(f->store, STORE_OBJECTS, bytes_str("f"));
    store_remove(f->store, STORE_OBJECTS, bytes_str("c"));
    assert_int_equal(store_put(f->store, STORE_META, bytes_str("e"), bytes_str("elsewhere")), STATUS_OK);
    expect_scan(f, "", "", 9, "a=2 b=1 d=2 g=2 h=1 z=2 ");
    expect_scan(f, "b", "h", 9, "b=1 d=2 g=2 ");
    expect_scan(f, "d", "g", 9, "d=2 ");
    expect_scan(f, "", "", 1, "a=2 ");
    expect_scan(f, "", "", 3, "a=2 b=1 d=2 ");
    expect_scan(f, "", "", 5, "a=2 b=1 d=2 g=2 h=1 ");
    put_str(f, "c", "3"); /* the order is made anew */
    expect_scan(f, "b", "e", 9, "b=1 c=3 d=2 ");
    commit(f);
    expect_scan(f, "", "", 9, "a=2 b=1 c=3 d=2 g=2 h=1 z=2 ");
}

struct in_order {
    struct bytes *keys;
    int at;
};

static bool next_in_order(void *context, struct bytes key, struct bytes value)
{
    struct in_order *order = context;
    assert_true(bytes_equal(key, order->keys[order->at]));
    assert_true(bytes_equal(value, order->keys[order->at]));
    order->at++;
    return true;
}

/* In the order of memcmp, a prefix before what it begins, and none confused with another. */
static void test_binary_keys(void **state)
{
    static uint8_t zeros[STORE_KEY_BYTES_MAX], ones[STORE_KEY_BYTES_MAX], mixed[1100];
    memset(ones, 0xff, sizeof ones);
    memset(mixed, 0x80, sizeof mixed);
    struct bytes keys[] = {bytes_of(zeros, 1),         bytes_of(zeros, 2),
                           bytes_of(zeros, 1100),      bytes_of(zeros, sizeof zeros),
                           bytes_of("\0\1", 2),        bytes_of("\0\xff", 2),
                           bytes_of("a\0b", 3),        bytes_of("a\0c", 3),
                           bytes_of(mixed, 1099),      bytes_of(mixed, 1100),
                           bytes_of("\xff\0", 2),      bytes_of(ones, 2),
                           bytes_of(ones, sizeof ones)};
    struct fixture *f = *state;
    int count = (int)(sizeof keys / sizeof keys[0]);
    for (int round = 0; round < 3; round++) {
        for (int i = count; i-- > 0 && round == 0;) put(f, keys[i], keys[i]);
        for (int i = 0; i < count; i++) expect(f, keys[i], keys[i]);
        struct in_order order = {.keys = keys};
        assert_int_equal(store_scan(f->store, STORE_OBJECTS, nothing, nothing, next_in_order, &order),
                         STATUS_OK);
        assert_int_equal(order.at, count);
        order.at = 2;
        assert_int_equal(store_scan(f->store, STORE_OBJECTS, keys[2], keys[11], next_in_order, &order),
                         STATUS_OK);
        assert_int_equal(order.at, 11);
        if (round == 0) commit(f);
        if (round == 1) fixture_reopen(f);
    }
}

static struct bytes make_value(struct fixture *f, uint64_t of, size_t size)
{
    struct prng prng;
    prng_init(&prng, of);
    uint8_t *value = arena_alloc(&f->arena, size + 8);
    for (size_t i = 0; i < size; i += 8) put_be64(value + i, prng_next(&prng));
    return bytes_of(value, size);
}

static void test_large_values(void **state)
{
    struct fixture *f = *state;
    size_t sizes[] = {1, 4096, 16384, 32767, 65536, 65537, 1048576 + 65536, 2 * 1048576};
    size_t count = sizeof sizes / sizeof sizes[0];
    for (int round = 0; round < 3; round++) {
        for (size_t i = 0; i < count; i++) {
            uint8_t key[] = {(uint8_t)i};
            struct bytes value = make_value(f, i, sizes[(i + (size_t)round) % count]);
            put(f, bytes_of(key, 1), value);
            expect(f, bytes_of(key, 1), value);
        }
        commit(f);
        assert_int_equal(store_sync(f->store), STATUS_OK);
        if (round == 1) fixture_power_cut(f);
        for (size_t i = 0; i < count; i++) {
            uint8_t key[] = {(uint8_t)i};
            expect(f, bytes_of(key, 1), make_value(f, i, sizes[(i + (size_t)round) % count]));
        }
        arena_reset(&f->arena);
    }
}

/* A value that the arena has no room for is refused, and the store goes on. */
static void test_arena_bound(void **state)
{
    struct fixture *f = *state;
    struct arena small;
    struct bytes out;
    put(f, bytes_str("k"), make_value(f, 1, 10000));
    commit(f);
    arena_init(&small, 9999);
    assert_int_equal(store_get(f->store, STORE_OBJECTS, bytes_str("k"), &small, &out), STATUS_NO_MEMORY);
    arena_fini(&small);
    expect(f, bytes_str("k"), make_value(f, 1, 10000));
}

static void test_commits_of_256(void **state)
{
    struct fixture *f = *state;
    enum { KEYS = 4096 };
    uint8_t key[38] = {0};
    for (uint32_t i = 0; i < KEYS; i++) {
        put_be32(key, i * 2654435761u);
        put(f, bytes_of(key, sizeof key), make_value(f, i, 260));
        if (i % 256 == 255) commit(f);
    }
    fixture_reopen(f);
    for (uint32_t i = 0; i < KEYS; i++) {
        put_be32(key, i * 2654435761u);
        expect(f, bytes_of(key, sizeof key), make_value(f, i, 260));
    }
}

/* The bound is kept, nothing is staged beyond it, a removal is never refused, and all of it can be committed.
 */
static void test_write_set_bound(void **state)
{
    struct fixture *f = *state;
    uint8_t key[4];
    size_t staged;
    uint32_t count = 0;
    struct bytes value = make_value(f, 1, 1048576);
    enum status status;
    do {
        put_be32(key, count);
        staged = store_staged_bytes(f->store);
        status = store_put(f->store, STORE_OBJECTS, bytes_of(key, 4), value);
    } while (status == STATUS_OK && ++count < 1000);
    assert_int_equal(status, STATUS_NO_SPACE);
    assert_int_equal(store_staged_bytes(f->store), staged);
    assert_true(staged <= STORE_WRITE_SET_BYTES_MAX);
    assert_in_range(count, 60, 64);
    expect_in(f, STORE_OBJECTS, bytes_of(key, 4), NULL);
    store_remove(f->store, STORE_OBJECTS, bytes_of("\0\0\0\0", 4));
    commit(f);
    expect_in(f, STORE_OBJECTS, bytes_of("\0\0\0\0", 4), NULL);
    put_be32(key, count - 1);
    expect(f, bytes_of(key, 4), value);
}

static void test_synced_survives(void **state)
{
    struct fixture *f = *state;
    put_str(f, "kept", "1"), put_str(f, "changed", "1"), put_str(f, "removed", "1");
    commit(f);
    assert_int_equal(store_sync(f->store), STATUS_OK);
    put_str(f, "staged", "1");
    if (f->engine == ENGINE_MEMORY) {
        put_str(f, "new", "2"), put_str(f, "changed", "2");
        store_remove(f->store, STORE_OBJECTS, bytes_str("removed"));
        commit(f);
        put_str(f, "changed", "3"), put_str(f, "removed", "3");
        commit(f);
        put_str(f, "kept", "staged");
    }
    fixture_power_cut(f);
    expect_scan(f, "", "", 9, "changed=1 kept=1 removed=1 ");
    put_str(f, "kept", "4");
    commit(f);
    assert_int_equal(store_sync(f->store), STATUS_OK);
    fixture_power_cut(f);
    expect_scan(f, "", "", 9, "changed=1 kept=4 removed=1 ");
}

static void test_stats(void **state)
{
    struct fixture *f = *state;
    put(f, bytes_str("a"), make_value(f, 1, 100000)), put_str(f, "b", "1");
    commit(f);
    assert_int_equal(store_sync(f->store), STATUS_OK);
    expect_none(f, "c");
    struct store_stats stats = store_stats(f->store);
    assert_int_equal(stats.puts, 2);
    assert_int_equal(stats.gets, 1);
    assert_int_equal(stats.commits, 1);
    assert_int_equal(stats.syncs, 1);
    assert_true(stats.bytes_on_disk >= 100000);
    if (f->engine == ENGINE_MEMORY) return;
    assert_int_equal(stats.cache_bytes_max, f->options.cache_bytes);
    assert_in_range(stats.cache_bytes, 1, 2 * f->options.cache_bytes);
    assert_in_range(stats.log_bytes, 1, stats.bytes_on_disk);
}

/* --- a random run against a model: sorted keys, each with the number of its version (0: absent) --- */

enum { MODEL_KEYS = 96, MODEL_HISTORY = 64, MODEL_STEPS = 1200 };

struct version_map {
    uint32_t version[MODEL_KEYS];
};

struct model {
    struct fixture *f;
    struct bytes keys[MODEL_KEYS];
    struct version_map now;                    /* with what is staged */
    struct version_map history[MODEL_HISTORY]; /* after the last sync and each commit since */
    int history_count;
    uint32_t minted;
};

static int compare_keys(const void *a, const void *b)
{
    return bytes_compare(*(const struct bytes *)a, *(const struct bytes *)b);
}

static void model_init(struct model *m, struct fixture *f)
{
    *m = (struct model){.f = f, .history_count = 1};
    for (int i = 0; i < MODEL_KEYS; i++) {
        size_t size = 2 + prng_below(&f->prng, i % 8 == 0 ? 1100 : 6);
        uint8_t *key = malloc(size);
        /* Few letters, so that prefixes are shared; the index keeps them apart. */
        for (size_t j = 0; j < size; j++) key[j] = (uint8_t[]){0, 1, 'a', 0xff}[prng_below(&f->prng, 4)];
        key[size - 1] = (uint8_t)i;
        m->keys[i] = bytes_of(key, size);
    }
    qsort(m->keys, MODEL_KEYS, sizeof m->keys[0], compare_keys);
}

static struct bytes model_value(struct fixture *f, uint32_t version)
{
    size_t size = version % 31 == 0 ? 40000 : version % 7 == 0 ? 0 : version % 300;
    return make_value(f, version, size);
}

struct model_scan {
    struct model *m;
    const struct version_map *map;
    int at, end, left;
    bool differs;
};

static bool model_visit(void *context, struct bytes key, struct bytes value)
{
    struct model_scan *scan = context;
    while (scan->at < scan->end && scan->map->version[scan->at] == 0) scan->at++;
    if (scan->at == scan->end || !bytes_equal(key, scan->m->keys[scan->at]) ||
        !bytes_equal(value, model_value(scan->m->f, scan->map->version[scan->at])))
        scan->differs = true;
    scan->at++;
    return !scan->differs && --scan->left > 0;
}

static bool model_scan_equals(struct model *m, const struct version_map *map, int begin, int end,
                              int stop_after)
{
    struct model_scan scan = {.m = m, .map = map, .at = begin, .end = end, .left = stop_after};
    struct bytes from = begin == 0 ? nothing : m->keys[begin],
                 to = end == MODEL_KEYS ? nothing : m->keys[end];
    assert_int_equal(store_scan(m->f->store, STORE_OBJECTS, from, to, model_visit, &scan), STATUS_OK);
    while (scan.at < scan.end && map->version[scan.at] == 0) scan.at++;
    return !scan.differs && (scan.left == 0 || scan.at >= scan.end);
}

/* After a power cut the store must be what it was after the last sync or some commit since: all or nothing of
 * each commit, in their order. The memory engine forgets everything since the sync. */
static void model_power_cut(struct model *m)
{
    fixture_power_cut(m->f);
    int count = m->f->engine == ENGINE_MEMORY ? 1 : m->history_count;
    for (int i = 0; i < count; i++) {
        if (!model_scan_equals(m, &m->history[i], 0, MODEL_KEYS, INT32_MAX)) continue;
        m->now = m->history[0] = m->history[i];
        m->history_count = 1;
        return;
    }
    fail_msg("the store is in no state that it was in since the last sync");
}

static void model_commit(struct model *m)
{
    commit(m->f);
    arena_reset(&m->f->arena);
    if (m->history_count == MODEL_HISTORY) {
        assert_int_equal(store_sync(m->f->store), STATUS_OK);
        m->history_count = 0;
    }
    m->history[m->history_count++] = m->now;
}

static void model_sync(struct model *m)
{
    assert_int_equal(store_sync(m->f->store), STATUS_OK);
    m->history[0] = m->history[m->history_count - 1];
    m->history_count = 1;
}

static void model_step(struct model *m)
{
    struct fixture *f = m->f;
    int i = (int)prng_below(&f->prng, MODEL_KEYS);
    uint64_t dice = prng_below(&f->prng, 1000);
    if (dice < 350) {
        m->now.version[i] = ++m->minted;
        put(f, m->keys[i], model_value(f, m->minted));
    } else if (dice < 500) {
        m->now.version[i] = 0;
        store_remove(f->store, STORE_OBJECTS, m->keys[i]);
    } else if (dice < 750) {
        struct bytes value = model_value(f, m->now.version[i]);
        expect_in(f, STORE_OBJECTS, m->keys[i], m->now.version[i] == 0 ? NULL : &value);
    } else if (dice < 850) {
        int end = i + (int)prng_below(&f->prng, (uint64_t)(MODEL_KEYS - i) + 1);
        int stop_after = prng_chance(&f->prng, 1, 2) ? INT32_MAX : 1 + (int)prng_below(&f->prng, 10);
        assert_true(model_scan_equals(m, &m->now, i, end, stop_after));
    } else if (dice < 950) {
        model_commit(m);
    } else if (dice < 985) {
        model_sync(m);
    } else if (dice < 992) {
        model_commit(m);
        model_sync(m);
        fixture_reopen(f);
        assert_true(model_scan_equals(m, &m->now, 0, MODEL_KEYS, INT32_MAX));
    } else {
        model_power_cut(m);
    }
}

static void test_random_model(void **state)
{
    struct model *m = malloc(sizeof *m);
    model_init(m, *state);
    for (int step = 0; step < MODEL_STEPS; step++) model_step(m);
    for (int i = 0; i < MODEL_KEYS; i++) free((void *)(uintptr_t)m->keys[i].data);
    free(m);
}

/* As WiredTiger after a panic: everything is refused, nothing staged is kept, and it can be closed. */
static void test_broken_on_command(void **state)
{
    (void)state;
    struct arena arena;
    struct bytes out;
    struct store *store = store_mem_open();
    struct bytes key = bytes_str("k");
    arena_init(&arena, 0);
    assert_int_equal(store_put(store, STORE_OBJECTS, key, key), STATUS_OK);
    assert_string_equal(store_error(store), "");
    store_mem_break(store);
    assert_string_not_equal(store_error(store), "");
    assert_int_equal(store_get(store, STORE_OBJECTS, key, &arena, &out), STATUS_STORE_BROKEN);
    assert_int_equal(store_put(store, STORE_OBJECTS, key, key), STATUS_STORE_BROKEN);
    assert_int_equal(store_scan(store, STORE_OBJECTS, nothing, nothing, see, NULL), STATUS_STORE_BROKEN);
    store_remove(store, STORE_OBJECTS, key);
    assert_int_equal(store_commit(store), STATUS_STORE_BROKEN);
    assert_int_equal(store_commit(store), STATUS_STORE_BROKEN);
    assert_int_equal(store_sync(store), STATUS_STORE_BROKEN);
    store_stats(store);
    store_close(store);
    arena_fini(&arena);
}

int main(void)
{
    static const struct {
        const char *name;
        CMUnitTestFunction test;
    } cases[] = {
        {"one key", test_one_key},
        {"a lent value stays", test_lent_value_stays},
        {"tables are apart", test_tables_are_apart},
        {"an empty value is not absent", test_empty_value_is_not_absent},
        {"scan merges the write set", test_scan_merges},
        {"binary keys", test_binary_keys},
        {"large values", test_large_values},
        {"arena bound", test_arena_bound},
        {"commits of 256", test_commits_of_256},
        {"write set bound", test_write_set_bound},
        {"synced survives", test_synced_survives},
        {"stats", test_stats},
        {"random model", test_random_model},
    };
    enum { CASES = sizeof cases / sizeof cases[0] };
    static char names[ENGINES][CASES][64];
    struct CMUnitTest tests[ENGINES * CASES + 1];
    size_t count = 0;
    const char *given = getenv("DYNODE_SEED");
    seed = given != NULL ? strtoull(given, NULL, 0) : prng_entropy();
    printf("DYNODE_SEED=%llu\n", (unsigned long long)seed);
    fflush(stdout);
    for (uintptr_t engine = 0; engine < ENGINES; engine++) {
        for (size_t i = 0; i < CASES; i++) {
            snprintf(names[engine][i], sizeof names[engine][i], "%s: %s", engine_names[engine],
                     cases[i].name);
            tests[count++] = (struct CMUnitTest){.name = names[engine][i],
                                                 .test_func = cases[i].test,
                                                 .setup_func = setup,
                                                 .teardown_func = teardown,
                                                 .initial_state = (void *)engine};
        }
    }
    tests[count++] = (struct CMUnitTest)cmocka_unit_test(test_broken_on_command);
    return cmocka_run_group_tests_name("store", tests, NULL, NULL);
}
