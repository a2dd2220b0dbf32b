/* The cluster state: its merge is a join, its tables keep their rules, whatever the order of events. */
#include "ring/cluster.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/prng.h"

static struct prng prng;

static struct bytes str(const char *string)
{
    return bytes_str(string);
}

static struct member member(uint64_t id, uint64_t incarnation)
{
    struct member made = {.id = id, .incarnation = incarnation, .weight = 100, .shards = 2};
    snprintf(made.name, sizeof(made.name), "node-%" PRIu64, id);
    snprintf(made.peer_address, sizeof(made.peer_address), "tcp://127.0.0.%" PRIu64 ":7000", id);
    snprintf(made.client_address, sizeof(made.client_address), "tcp://127.0.0.%" PRIu64 ":7001", id);
    return made;
}

static struct table table(const char *name, uint64_t id, enum table_rule rule, uint32_t n, uint32_t r,
                          uint32_t w)
{
    struct table made = {.id = id, .rule = rule, .n = n, .r = r, .w = w, .alter_stamp = 1, .alter_node = 1};
    snprintf(made.name, sizeof(made.name), "%s", name);
    return made;
}

static struct cluster cluster_of(uint32_t members)
{
    struct cluster made = {.id = 77, .vnodes = 64};
    for (uint32_t i = 1; i <= members; i++) {
        struct member m = member(i, 0);
        assert_true(cluster_merge_member(&made, &m));
    }
    return made;
}

static void create(struct cluster *cluster, const struct table *made)
{
    const char *why = NULL;
    assert_int_equal(cluster_create_table(cluster, made, &why), STATUS_OK);
}

static struct cluster joined(const struct cluster *a, const struct cluster *b)
{
    struct cluster both;
    cluster_copy(a, &both);
    cluster_merge(&both, b);
    return both;
}

/* Equal in every field, by a hand other than the one that merges; and cluster_equal says the same. */
static bool same(const struct cluster *a, const struct cluster *b)
{
    bool equal = a->id == b->id && a->vnodes == b->vnodes && a->member_count == b->member_count &&
                 a->table_count == b->table_count;
    for (uint32_t i = 0; equal && i < a->member_count; i++) {
        const struct member *x = &a->members[i], *y = &b->members[i];
        equal = x->id == y->id && x->incarnation == y->incarnation && strcmp(x->name, y->name) == 0 &&
                strcmp(x->zone, y->zone) == 0 && strcmp(x->peer_address, y->peer_address) == 0 &&
                strcmp(x->client_address, y->client_address) == 0 && x->weight == y->weight &&
                x->shards == y->shards && x->given_up_below == y->given_up_below;
    }
    for (uint32_t i = 0; equal && i < a->table_count; i++) {
        const struct table *x = &a->tables[i], *y = &b->tables[i];
        equal = strcmp(x->name, y->name) == 0 && x->generation == y->generation && x->id == y->id &&
                x->rule == y->rule && x->n == y->n && x->r == y->r && x->w == y->w &&
                x->ttl_ms == y->ttl_ms && x->alter_stamp == y->alter_stamp &&
                x->alter_node == y->alter_node && x->dropped == y->dropped && x->tag == y->tag;
    }
    assert_int_equal(cluster_equal(a, b), equal);
    return equal;
}

/* What must hold of any state, however it came about. */
static void check_rules(const struct cluster *cluster)
{
    const char *why;
    for (uint32_t i = 0; i < cluster->member_count; i++) {
        assert_true(member_valid(&cluster->members[i], &why));
        if (i > 0) assert_true(cluster->members[i - 1].id < cluster->members[i].id);
        assert_ptr_equal(cluster_find_member(cluster, cluster->members[i].id), &cluster->members[i]);
    }
    for (uint32_t i = 0; i < cluster->table_count; i++) {
        const struct table *at = &cluster->tables[i];
        assert_true(table_valid(at, &why));
        assert_true(at->r <= at->n);
        assert_true(at->w <= at->n);
        assert_int_equal(at->tag, table_tag(at->name, at->generation));
        assert_ptr_equal(cluster_find_tag(cluster, at->tag), at);
        if (i > 0) {
            int c = strcmp(at[-1].name, at->name);
            assert_true(c < 0 || (c == 0 && at[-1].generation < at->generation));
            if (c == 0) assert_true(at[-1].dropped); /* only the newest generation can live */
        }
        const struct table *found = cluster_find_table(cluster, str(at->name));
        if (!at->dropped) assert_ptr_equal(found, at);
    }
}

/* ---- random histories ---- */

enum { NODES = 5, STEPS = 120 };

static void random_step(struct cluster *cluster, uint64_t time)
{
    static const char *const names[] = {"a", "b", "carts"};
    const char *name = names[prng_below(&prng, 3)];
    const char *why;
    uint32_t n = 1 + (uint32_t)prng_below(&prng, NODES);
    /* Stamps and nodes from a small range: even what only a broken peer would send, other values under the
     * same stamp of the same node, must end alike everywhere. */
    uint64_t node = 1 + prng_below(&prng, 2);
    uint64_t stamp = time / 4 + prng_below(&prng, 3);
    switch (prng_below(&prng, 5)) {
    case 0: {
        struct table made = table(name, 1 + prng_below(&prng, 3), (enum table_rule)prng_below(&prng, 2), n,
                                  1 + (uint32_t)prng_below(&prng, n), 1 + (uint32_t)prng_below(&prng, n));
        made.alter_stamp = stamp;
        made.alter_node = node;
        const struct table *before = cluster_find_table(cluster, str(name));
        assert_int_equal(cluster_create_table(cluster, &made, &why),
                         before ? STATUS_TABLE_EXISTS : STATUS_OK);
        break;
    }
    case 1: {
        uint32_t r = 1 + (uint32_t)prng_below(&prng, n), w = 1 + (uint32_t)prng_below(&prng, n);
        uint64_t ttl_ms = prng_below(&prng, 3);
        cluster_alter_table(cluster, str(name), prng_chance(&prng, 1, 2) ? &r : NULL,
                            prng_chance(&prng, 1, 2) ? &w : NULL, prng_chance(&prng, 1, 2) ? &ttl_ms : NULL,
                            stamp, node, &why);
        break;
    }
    case 2:
        if (prng_chance(&prng, 1, 3)) cluster_drop_table(cluster, str(name));
        break;
    case 3:
        cluster_give_up(cluster, 1 + prng_below(&prng, 8));
        break;
    default: {
        struct member m = member(1 + prng_below(&prng, 8), prng_below(&prng, 3));
        m.shards = (uint32_t)prng_below(&prng, 3);
        m.weight = 1 + (uint32_t)prng_below(&prng, 2);
        snprintf(m.zone, sizeof(m.zone), "z%u", (unsigned)prng_below(&prng, 2));
        snprintf(m.name, sizeof(m.name), "n%u", (unsigned)prng_below(&prng, 2));
        snprintf(m.client_address, sizeof(m.client_address), "tcp://h:%u", (unsigned)prng_below(&prng, 2));
        snprintf(m.peer_address, sizeof(m.peer_address), "tcp://h:%u", (unsigned)prng_below(&prng, 2));
        cluster_merge_member(cluster, &m);
    }
    }
}

/* Several nodes, each changing its own copy and now and then hearing of another's. */
static void random_states(struct cluster states[NODES])
{
    for (uint32_t i = 0; i < NODES; i++) states[i] = cluster_of(NODES);
    uint32_t steps = 1 + (uint32_t)prng_below(&prng, STEPS);
    for (uint32_t t = 0; t < steps; t++) {
        uint32_t i = (uint32_t)prng_below(&prng, NODES);
        random_step(&states[i], t);
        if (prng_chance(&prng, 1, 20)) cluster_merge(&states[i], &states[prng_below(&prng, NODES)]);
        check_rules(&states[i]);
    }
}

static void fini_all(struct cluster *states, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) cluster_fini(&states[i]);
}

static void merge_is_a_join(void **state)
{
    (void)state;
    uint32_t tables = 0, conflicts = 0;
    for (int round = 0; round < 400; round++) {
        struct cluster s[NODES];
        random_states(s);
        const struct cluster *a = &s[0], *b = &s[1], *c = &s[2];
        struct cluster ab = joined(a, b), ba = joined(b, a), bc = joined(b, c);
        struct cluster ab_c = joined(&ab, c), a_bc = joined(a, &bc), aa = joined(a, a);
        assert_true(same(&ab, &ba));
        assert_true(same(&ab_c, &a_bc));
        assert_true(same(&aa, a));
        check_rules(&ab_c);
        /* It says whether it changed anything, and truly. */
        struct cluster again;
        cluster_copy(a, &again);
        assert_int_equal(cluster_merge(&again, b), !same(a, &ab));
        assert_false(cluster_merge(&again, b));
        assert_false(cluster_merge(&again, a));
        for (uint32_t i = 0; i < a->table_count; i++) {
            const struct table *other = cluster_find_tag(b, a->tables[i].tag);
            tables++;
            if (other == NULL) continue;
            if (other->id != a->tables[i].id) conflicts++;
            assert_int_equal(cluster_find_tag(&ab, other->tag)->dropped,
                             other->dropped || a->tables[i].dropped);
        }
        struct cluster *made[] = {&ab, &ba, &bc, &ab_c, &a_bc, &aa, &again};
        for (size_t i = 0; i < sizeof(made) / sizeof(made[0]); i++) cluster_fini(made[i]);
        fini_all(s, NODES);
    }
    assert_true(tables > 200); /* else the histories show nothing */
    assert_true(conflicts > 50);
}

static void any_order_of_gossip_ends_alike(void **state)
{
    (void)state;
    for (int round = 0; round < 200; round++) {
        struct cluster s[NODES];
        random_states(s);
        /* Random pushes, with repeats, then a ring of pushes often enough that everybody has heard of
         * everybody. */
        for (int i = 0; i < 10; i++)
            cluster_merge(&s[prng_below(&prng, NODES)], &s[prng_below(&prng, NODES)]);
        for (uint32_t i = 0; i < 2 * NODES; i++) cluster_merge(&s[(i + 1) % NODES], &s[i % NODES]);
        for (uint32_t i = 1; i < NODES; i++) {
            assert_true(same(&s[0], &s[i]));
            assert_int_equal(cluster_ring_version(&s[0]), cluster_ring_version(&s[i]));
        }
        fini_all(s, NODES);
    }
}

/* ---- what wins ---- */

static void births_conflict(void **state)
{
    (void)state;
    const struct {
        struct table left, right;
        bool left_wins;
    } cases[] = {
        {table("t", 9, RULE_SIBLINGS, 1, 1, 1), table("t", 1, RULE_LWW, 5, 5, 5), true},
        {table("t", 9, RULE_LWW, 5, 1, 1), table("t", 1, RULE_LWW, 3, 3, 3), true},
        {table("t", 9, RULE_SIBLINGS, 3, 1, 1), table("t", 8, RULE_SIBLINGS, 3, 3, 3), false},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        for (int swapped = 0; swapped < 2; swapped++) {
            struct cluster a = cluster_of(5), b = cluster_of(5);
            const struct table *left = swapped ? &cases[i].right : &cases[i].left;
            const struct table *right = swapped ? &cases[i].left : &cases[i].right;
            const struct table *winner = cases[i].left_wins ? &cases[i].left : &cases[i].right;
            create(&a, left);
            create(&b, right);
            /* The loser was altered last: still the winner's r and w stand, and they fit its n. */
            uint32_t one = 1;
            const char *why;
            cluster_alter_table(winner == left ? &b : &a, str("t"), &one, NULL, NULL, 1000, 3, &why);
            cluster_merge(&a, &b);
            const struct table *found = cluster_find_table(&a, str("t"));
            assert_int_equal(found->id, winner->id);
            assert_int_equal(found->rule, winner->rule);
            assert_int_equal(found->n, winner->n);
            assert_int_equal(found->r, winner->r);
            assert_int_equal(found->w, winner->w);
            cluster_fini(&a);
            cluster_fini(&b);
        }
}

static void alterations(void **state)
{
    (void)state;
    const char *why = NULL;
    struct cluster a = cluster_of(5), b;
    struct table made = table("t", 9, RULE_LWW, 3, 2, 2);
    create(&a, &made);
    cluster_copy(&a, &b);
    uint32_t one = 1, three = 3, four = 4, zero = 0;
    uint64_t ttl_ms = 5000;
    assert_int_equal(cluster_alter_table(&a, str("t"), &one, NULL, NULL, 10, 1, &why), STATUS_OK);
    assert_int_equal(cluster_alter_table(&b, str("t"), NULL, &three, &ttl_ms, 10, 2, &why), STATUS_OK);
    cluster_merge(&a, &b);
    cluster_merge(&b, &a);
    assert_true(same(&a, &b));
    const struct table *found = cluster_find_table(&a, str("t"));
    assert_int_equal(found->r, 2); /* the higher node's, whole */
    assert_int_equal(found->w, 3);
    assert_int_equal(found->ttl_ms, 5000);

    why = NULL;
    assert_int_equal(cluster_alter_table(&a, str("t"), &four, NULL, NULL, 11, 1, &why), STATUS_INVALID);
    assert_string_equal(why, "r must be 1 to n");
    assert_int_equal(cluster_alter_table(&a, str("t"), NULL, &zero, NULL, 11, 1, &why), STATUS_INVALID);
    assert_string_equal(why, "w must be 1 to n");
    assert_int_equal(cluster_alter_table(&a, str("t"), &one, NULL, NULL, 10, 7, &why), STATUS_INVALID);
    assert_non_null(strstr(why, "stamp"));
    assert_int_equal(cluster_alter_table(&a, str("u"), &one, NULL, NULL, 11, 1, &why), STATUS_NO_SUCH_TABLE);
    assert_true(same(&a, &b)); /* untouched by all that */
    cluster_fini(&a);
    cluster_fini(&b);
}

static void members(void **state)
{
    (void)state;
    struct cluster a = cluster_of(2);
    struct member m = member(2, 50);
    m.shards = 8;
    assert_true(cluster_merge_member(&a, &m));
    assert_false(cluster_merge_member(&a, &m));
    struct member old = member(2, 49);
    old.shards = 16;
    assert_false(cluster_merge_member(&a, &old));
    assert_int_equal(cluster_find_member(&a, 2)->shards, 8);
    assert_null(cluster_find_member(&a, 3));
    assert_null(cluster_find_member(&a, 0));
    cluster_fini(&a);
}

/* The word holds for the life that it was said of: neither what the node itself says nor what others say of
 * it takes it back, and its next start does. */
static void a_member_is_given_up(void **state)
{
    (void)state;
    struct cluster a = cluster_of(3), b = cluster_of(3);
    assert_int_equal(cluster_give_up(&a, 9), STATUS_NOT_FOUND);
    assert_false(member_is_given_up(cluster_find_member(&a, 2)));
    assert_int_equal(cluster_give_up(&a, 2), STATUS_OK); /* it was never started */
    assert_int_equal(cluster_give_up(&a, 2), STATUS_OK);
    assert_false(cluster_equal(&a, &b));
    assert_true(cluster_merge(&b, &a));
    assert_true(cluster_equal(&a, &b));
    assert_false(cluster_merge(&b, &a));
    assert_true(member_is_given_up(cluster_find_member(&b, 2)));
    struct member own = member(2, 50);
    assert_true(cluster_assert_member(&b, &own));
    assert_int_equal(own.incarnation, 50);
    assert_false(member_is_given_up(cluster_find_member(&b, 2)));
    assert_int_equal(cluster_give_up(&b, 2), STATUS_OK); /* this life too */
    assert_true(member_is_given_up(cluster_find_member(&b, 2)));
    assert_false(cluster_assert_member(&b, &own)); /* it is no rumour about the node's own record */
    assert_int_equal(own.incarnation, 50);
    assert_true(cluster_merge(&a, &b));
    assert_true(cluster_equal(&a, &b));
    own.incarnation = 51;
    assert_true(cluster_merge_member(&a, &own));
    assert_false(member_is_given_up(cluster_find_member(&a, 2)));
    cluster_fini(&a);
    cluster_fini(&b);
}

/* Clusters of one record, which is borrowed. */
static struct cluster of_member(struct member *only)
{
    return (struct cluster){.id = 1, .vnodes = 1, .members = only, .member_count = 1};
}

static struct cluster of_table(struct table *only)
{
    return (struct cluster){.id = 1, .vnodes = 1, .tables = only, .table_count = 1};
}

/* Records of one name that differ in one field alone, each against each: no field is left to the order of
 * arrival. */
static void each_field_decides(void **state)
{
    (void)state;
    struct member m[8];
    for (uint32_t i = 0; i < 8; i++) m[i] = member(1, 5);
    m[1].incarnation = 6;
    strcpy(m[2].name, "other");
    strcpy(m[3].zone, "other");
    strcpy(m[4].peer_address, "other");
    strcpy(m[5].client_address, "other");
    m[6].weight = 7;
    m[7].shards = 7;
    struct table t[10];
    for (uint32_t i = 0; i < 10; i++) {
        t[i] = table("t", 5, RULE_LWW, 3, 2, 2);
        t[i].generation = 1;
        t[i].tag = table_tag("t", 1);
    }
    t[1].id = 4;
    t[2].rule = RULE_SIBLINGS;
    t[3].n = 4;
    t[4].r = 1;
    t[5].w = 3;
    t[6].ttl_ms = 9;
    t[7].alter_stamp = 2;
    t[8].alter_node = 2;
    t[9].dropped = true;
    for (uint32_t i = 0; i < 18; i++)
        for (uint32_t k = 0; k < 18; k++) {
            struct cluster a = i < 8 ? of_member(&m[i]) : of_table(&t[i - 8]);
            struct cluster b = k < 8 ? of_member(&m[k]) : of_table(&t[k - 8]);
            struct cluster ab = joined(&a, &b), ba = joined(&b, &a);
            assert_true(same(&ab, &ba));
            assert_int_equal(same(&a, &b), i == k);
            cluster_fini(&ab);
            cluster_fini(&ba);
        }
}

/* ---- create, drop ---- */

static void creation_is_checked(void **state)
{
    (void)state;
    const struct {
        struct table table;
        const char *why;
    } cases[] = {
        {table("", 1, RULE_LWW, 3, 2, 2), "a table's name must be 1 to 63 letters, digits, '-', '_' or '.'"},
        {table("a b", 1, RULE_LWW, 3, 2, 2),
         "a table's name must be 1 to 63 letters, digits, '-', '_' or '.'"},
        {table("t", 1, (enum table_rule)2, 3, 2, 2), "a table's rule must be siblings or lww"},
        {table("t", 1, RULE_LWW, 0, 1, 1), "n must be 1 to 15"},
        {table("t", 1, RULE_LWW, 16, 1, 1), "n must be 1 to 15"},
        {table("t", 1, RULE_LWW, 3, 0, 1), "r must be 1 to n"},
        {table("t", 1, RULE_LWW, 3, 4, 1), "r must be 1 to n"},
        {table("t", 1, RULE_LWW, 3, 1, 0), "w must be 1 to n"},
        {table("t", 1, RULE_LWW, 3, 1, UINT32_MAX), "w must be 1 to n"},
        {table("t", 1, RULE_LWW, 6, 1, 1), "n must not exceed the number of nodes in the cluster"},
    };
    struct cluster a = cluster_of(5);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const char *why = NULL;
        assert_int_equal(cluster_create_table(&a, &cases[i].table, &why), STATUS_INVALID);
        assert_string_equal(why, cases[i].why);
        assert_int_equal(a.table_count, 0);
    }
    struct table whole = table("t", 1, RULE_LWW, 5, 5, 5);
    create(&a, &whole);
    const char *why = NULL;
    assert_int_equal(cluster_create_table(&a, &whole, &why), STATUS_TABLE_EXISTS);
    assert_null(why);
    cluster_fini(&a);
}

static void a_dropped_name_begins_anew(void **state)
{
    (void)state;
    struct cluster a = cluster_of(3), late;
    struct table made = table("t", 1, RULE_LWW, 3, 2, 2), other = table("t", 2, RULE_SIBLINGS, 2, 1, 1);
    create(&a, &made);
    cluster_copy(&a, &late);
    uint64_t tag = cluster_find_table(&a, str("t"))->tag;
    assert_int_equal(cluster_drop_table(&a, str("t")), STATUS_OK);
    assert_int_equal(cluster_drop_table(&a, str("t")), STATUS_NO_SUCH_TABLE);
    assert_null(cluster_find_table(&a, str("t")));
    assert_true(cluster_find_tag(&a, tag)->dropped);

    /* A peer that did not hear of it alters it, and even so does not bring it back. */
    uint32_t one = 1;
    const char *why;
    assert_int_equal(cluster_alter_table(&late, str("t"), &one, NULL, NULL, 99, 1, &why), STATUS_OK);
    cluster_merge(&a, &late);
    assert_null(cluster_find_table(&a, str("t")));

    create(&a, &other);
    const struct table *found = cluster_find_table(&a, str("t"));
    assert_int_equal(found->generation, 2);
    assert_int_equal(found->id, 2);
    assert_true(found->tag != tag);
    cluster_merge(&late, &a);
    assert_int_equal(cluster_find_table(&late, str("t"))->id, 2);
    assert_null(cluster_find_table(&a, str("")));
    assert_null(cluster_find_table(&a, bytes_of("t\0", 2)));
    assert_null(cluster_find_tag(&a, 0));
    cluster_fini(&a);
    cluster_fini(&late);
}

static void the_last_generation(void **state)
{
    (void)state;
    struct cluster a = cluster_of(3), peer = cluster_of(3);
    struct table made = table("t", 1, RULE_LWW, 3, 2, 2);
    create(&peer, &made);
    peer.tables[0].generation = UINT32_MAX;
    peer.tables[0].tag = table_tag("t", UINT32_MAX);
    cluster_merge(&a, &peer);
    assert_int_equal(cluster_find_table(&a, str("t"))->generation, UINT32_MAX);
    assert_int_equal(cluster_drop_table(&a, str("t")), STATUS_OK);
    const char *why = NULL;
    assert_int_equal(cluster_create_table(&a, &made, &why), STATUS_INVALID);
    assert_non_null(strstr(why, "another"));
    cluster_fini(&a);
    cluster_fini(&peer);
}

/* ---- bounds ---- */

/* As many tables as may be, with every second name from @first on, in order. */
static struct table *full_of_tables(uint32_t first)
{
    struct table *tables = calloc(CLUSTER_TABLES_MAX, sizeof(*tables));
    assert_non_null(tables);
    for (uint32_t i = 0; i < CLUSTER_TABLES_MAX; i++) {
        char name[16];
        snprintf(name, sizeof(name), "t%05u", (unsigned)(2 * i + first));
        tables[i] = table(name, 1, RULE_LWW, 1, 1, 1);
        tables[i].generation = 1;
        tables[i].tag = table_tag(name, 1);
    }
    return tables;
}

static void full_lists_merge_alike(void **state)
{
    (void)state;
    struct cluster a = {.id = 77, .vnodes = 64}, b = {.id = 77, .vnodes = 64};
    for (uint64_t i = 1; i <= RING_NODES_MAX; i++) {
        struct member even = member(2 * i, 1), odd = member(2 * i + 1, 1);
        cluster_merge_member(&a, &even);
        cluster_merge_member(&b, &odd);
    }
    a.tables = full_of_tables(0);
    b.tables = full_of_tables(1);
    a.table_count = b.table_count = CLUSTER_TABLES_MAX;
    const char *why = NULL;
    struct table more = table("more", 1, RULE_LWW, 1, 1, 1);
    assert_int_equal(cluster_create_table(&a, &more, &why), STATUS_INVALID);
    assert_non_null(strstr(why, "4096"));

    struct cluster ab = joined(&a, &b), ba = joined(&b, &a);
    assert_true(same(&ab, &ba));
    check_rules(&ab);
    assert_int_equal(ab.member_count, RING_NODES_MAX);
    assert_int_equal(ab.table_count, CLUSTER_TABLES_MAX);
    assert_int_equal(ab.members[RING_NODES_MAX - 1].id, RING_NODES_MAX + 1);
    assert_false(cluster_merge(&ab, &a));
    assert_false(cluster_merge(&ab, &b));
    struct cluster all[] = {a, b, ab, ba};
    fini_all(all, 4);
}

static void ring_version_names_what_the_ring_is_made_of(void **state)
{
    (void)state;
    struct cluster a = cluster_of(3), empty = {0};
    uint64_t version = cluster_ring_version(&a);
    assert_true(version != 0);
    assert_true(cluster_ring_version(&empty) != 0);

    struct table made = table("t", 1, RULE_LWW, 3, 2, 2);
    create(&a, &made);
    struct member same = member(2, 9);
    same.shards = 77;
    snprintf(same.name, sizeof(same.name), "renamed");
    snprintf(same.client_address, sizeof(same.client_address), "tcp://elsewhere:1");
    assert_true(cluster_merge_member(&a, &same));
    assert_int_equal(cluster_ring_version(&a), version);

    struct member heavier = member(2, 10), zoned = member(2, 11);
    heavier.weight = 101;
    cluster_merge_member(&a, &heavier);
    assert_true(cluster_ring_version(&a) != version);
    snprintf(zoned.zone, sizeof(zoned.zone), "z");
    cluster_merge_member(&a, &zoned);
    assert_true(cluster_ring_version(&a) != version);
    struct member back = member(2, 12), fourth = member(4, 1);
    cluster_merge_member(&a, &back);
    assert_int_equal(cluster_ring_version(&a), version);
    a.vnodes = 128;
    assert_true(cluster_ring_version(&a) != version);
    a.vnodes = 64;

    struct ring *ring = cluster_ring(&a);
    assert_int_equal(ring_version(ring), version);
    assert_int_equal(ring_vnodes(ring), 64);
    assert_int_equal(ring_nodes(ring), 3);
    for (uint32_t i = 0; i < 3; i++) assert_int_equal(ring_node_index(ring, a.members[i].id), i);
    ring_free(ring);
    cluster_merge_member(&a, &fourth);
    assert_true(cluster_ring_version(&a) != version);
    cluster_fini(&a);
}

static void names(void **state)
{
    (void)state;
    char longest[NAME_BYTES_MAX + 2];
    memset(longest, 'x', sizeof(longest));
    assert_true(name_valid(bytes_of(longest, NAME_BYTES_MAX)));
    assert_false(name_valid(bytes_of(longest, NAME_BYTES_MAX + 1)));
    assert_false(name_valid(bytes_of(NULL, 0)));
    assert_true(name_valid(str("Az09-_.")));
    assert_false(name_valid(bytes_of("a\0b", 3)));
    for (int c = 0; c < 256; c++) {
        uint8_t byte = (uint8_t)c;
        bool legal =
            c != 0 && strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.", c) != NULL;
        assert_int_equal(name_valid(bytes_of(&byte, 1)), legal);
    }
    /* What an object's key on the ring rests on: never to change. */
    assert_int_equal(table_tag("carts", 1), 0xaf5104d8e7f568cfU);
    assert_true(table_tag("carts", 2) != table_tag("carts", 1));
}

int main(void)
{
    uint64_t seed = prng_entropy();
    const char *given = getenv("SEED");
    if (given != NULL) seed = strtoull(given, NULL, 0);
    printf("SEED=0x%" PRIx64 "\n", seed);
    fflush(stdout);
    prng_init(&prng, seed);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(merge_is_a_join),
        cmocka_unit_test(any_order_of_gossip_ends_alike),
        cmocka_unit_test(births_conflict),
        cmocka_unit_test(alterations),
        cmocka_unit_test(each_field_decides),
        cmocka_unit_test(members),
        cmocka_unit_test(a_member_is_given_up),
        cmocka_unit_test(creation_is_checked),
        cmocka_unit_test(a_dropped_name_begins_anew),
        cmocka_unit_test(the_last_generation),
        cmocka_unit_test(full_lists_merge_alike),
        cmocka_unit_test(ring_version_names_what_the_ring_is_made_of),
        cmocka_unit_test(names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
