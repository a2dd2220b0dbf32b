/* The cluster state on the wire: what goes out comes back, and what breaks a rule is refused, field by field.
 */
#include "wire/cluster_wire.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/check.h"
#include "base/prng.h"

static struct prng prng;
static struct arena arena;

static struct cluster some_cluster(uint32_t members, uint32_t tables)
{
    struct cluster made = {.id = prng_next(&prng), .vnodes = 64};
    for (uint32_t i = 0; i < members; i++) {
        struct member m = {.id = prng_next(&prng) | 1,
                           .incarnation = prng_next(&prng),
                           .weight = 1 + (uint32_t)prng_below(&prng, RING_WEIGHT_MAX),
                           .shards = (uint32_t)prng_below(&prng, 9),
                           .given_up_below = prng_next(&prng)};
        snprintf(m.name, sizeof(m.name), "node-%u", (unsigned)i);
        snprintf(m.zone, sizeof(m.zone), "zone %u", (unsigned)(i % 3));
        snprintf(m.peer_address, sizeof(m.peer_address), "tcp://10.0.0.%u:7000", (unsigned)i);
        snprintf(m.client_address, sizeof(m.client_address), "unix:///run/%u", (unsigned)i);
        assert_true(cluster_merge_member(&made, &m));
    }
    for (uint32_t i = 0; i < tables; i++) {
        struct table t = {.id = prng_next(&prng),
                          .rule = (enum table_rule)prng_below(&prng, 2),
                          .n = 1 + (uint32_t)prng_below(&prng, members < TABLE_N_MAX ? members : TABLE_N_MAX),
                          .ttl_ms = prng_next(&prng),
                          .alter_stamp = prng_next(&prng),
                          .alter_node = prng_next(&prng)};
        t.r = 1 + (uint32_t)prng_below(&prng, t.n);
        t.w = 1 + (uint32_t)prng_below(&prng, t.n);
        snprintf(t.name, sizeof(t.name), "table_%u", (unsigned)(i / 2)); /* two generations of each */
        const char *why;
        assert_int_equal(cluster_create_table(&made, &t, &why), STATUS_OK);
        if (i % 2 == 0) assert_int_equal(cluster_drop_table(&made, bytes_str(t.name)), STATUS_OK);
    }
    return made;
}

static Dynode__Peer__ClusterState *unpacked(struct bytes packed)
{
    Dynode__Peer__ClusterState *message =
        dynode__peer__cluster_state__unpack(arena_allocator(&arena), packed.size, packed.data);
    CHECK(message != NULL);
    return message;
}

static void round_trip(void **state)
{
    (void)state;
    static const uint32_t sizes[][2] = {{0, 0}, {1, 0}, {1, 1}, {5, 7}, {40, 30}};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        struct cluster sent = some_cluster(sizes[i][0], sizes[i][1]), got;
        assert_int_equal(cluster_unpack(unpacked(cluster_pack(&sent, &arena)), &got), STATUS_OK);
        assert_true(cluster_equal(&sent, &got));
        for (uint32_t k = 0; k < got.table_count; k++)
            assert_int_equal(got.tables[k].tag, sent.tables[k].tag);
        struct bytes again = cluster_pack(&got, &arena);
        assert_true(bytes_equal(again, cluster_pack(&sent, &arena)));
        cluster_fini(&got);
        cluster_fini(&sent);
        arena_reset(&arena);
    }
}

static void records_come_in_any_order(void **state)
{
    (void)state;
    struct cluster sent = some_cluster(9, 8), got;
    Dynode__Peer__ClusterState *message = cluster_to_message(&sent, &arena);
    for (size_t i = message->n_members; i > 1; i--) {
        size_t j = prng_below(&prng, i);
        Dynode__Peer__MemberRecord *other = message->members[i - 1];
        message->members[i - 1] = message->members[j];
        message->members[j] = other;
    }
    for (size_t i = message->n_tables; i > 1; i--) {
        size_t j = prng_below(&prng, i);
        Dynode__Peer__TableRecord *other = message->tables[i - 1];
        message->tables[i - 1] = message->tables[j];
        message->tables[j] = other;
    }
    assert_int_equal(cluster_unpack(message, &got), STATUS_OK);
    assert_true(cluster_equal(&sent, &got));
    cluster_fini(&got);
    cluster_fini(&sent);
}

/* The message is the arena's own: it holds what was said when it was made. */
static void a_message_outlives_changes(void **state)
{
    (void)state;
    struct cluster sent = some_cluster(3, 2), before, got;
    cluster_copy(&sent, &before);
    const Dynode__Peer__ClusterState *message = cluster_to_message(&sent, &arena);
    cluster_fini(&sent);
    assert_int_equal(cluster_unpack(message, &got), STATUS_OK);
    assert_true(cluster_equal(&before, &got));
    cluster_fini(&before);
    cluster_fini(&got);
}

static char text[256]; /* of 'x', cut to size by the cases below */

static char *text_of(size_t size)
{
    memset(text, 'x', sizeof(text));
    text[size] = 0;
    return text;
}

/* Each case breaks one field of a good message; `good` is the boundary beside it, which must pass. */
#define REFUSED(field, bad)                                                                                  \
    do {                                                                                                     \
        Dynode__Peer__ClusterState *m = cluster_to_message(&sent, &arena);                                   \
        m->field = (bad);                                                                                    \
        struct cluster got = {.id = 4711};                                                                   \
        assert_int_equal(cluster_unpack(m, &got), STATUS_INVALID);                                           \
        assert_true(got.id == 4711 && got.vnodes == 0 && got.members == NULL && got.tables == NULL);         \
    } while (0)
#define TAKEN(field, good)                                                                                   \
    do {                                                                                                     \
        Dynode__Peer__ClusterState *m = cluster_to_message(&sent, &arena);                                   \
        m->field = (good);                                                                                   \
        struct cluster got;                                                                                  \
        assert_int_equal(cluster_unpack(m, &got), STATUS_OK);                                                \
        cluster_fini(&got);                                                                                  \
    } while (0)

static void every_bad_field_is_refused(void **state)
{
    (void)state;
    struct cluster sent = some_cluster(4, 4);
    for (uint32_t i = 0; i < 4; i++) sent.tables[i].n = 4, sent.tables[i].r = 2, sent.tables[i].w = 2;

    REFUSED(vnodes, 0);
    REFUSED(vnodes, 63);
    REFUSED(vnodes, 2 * RING_VNODES_MAX);
    REFUSED(vnodes, UINT32_MAX);
    TAKEN(vnodes, 1);
    TAKEN(vnodes, RING_VNODES_MAX);

    REFUSED(members[2]->id, 0);
    REFUSED(members[2]->id, sent.members[0].id);
    REFUSED(members[0]->name, text_of(0));
    REFUSED(members[0]->name, NULL);
    REFUSED(members[0]->name, text_of(NAME_BYTES_MAX + 1));
    REFUSED(members[0]->name, "a/b");
    TAKEN(members[0]->name, text_of(NAME_BYTES_MAX));
    REFUSED(members[3]->zone, text_of(ZONE_BYTES_MAX + 1));
    REFUSED(members[3]->zone, "a\nb");
    REFUSED(members[3]->zone, "\xff");
    TAKEN(members[3]->zone, text_of(ZONE_BYTES_MAX));
    TAKEN(members[3]->zone, NULL);
    REFUSED(members[1]->peer_address, text_of(ADDRESS_BYTES_MAX + 1));
    REFUSED(members[1]->peer_address, "tcp://\x1b[2J");
    TAKEN(members[1]->peer_address, text_of(ADDRESS_BYTES_MAX));
    REFUSED(members[1]->client_address, text_of(ADDRESS_BYTES_MAX + 1));
    REFUSED(members[1]->client_address, "\x7f");
    TAKEN(members[1]->client_address, text_of(ADDRESS_BYTES_MAX));
    REFUSED(members[1]->weight, 0);
    REFUSED(members[1]->weight, RING_WEIGHT_MAX + 1);
    TAKEN(members[1]->weight, RING_WEIGHT_MAX);

    REFUSED(tables[0]->name, text_of(0));
    REFUSED(tables[0]->name, NULL);
    REFUSED(tables[0]->name, text_of(NAME_BYTES_MAX + 1));
    REFUSED(tables[0]->name, "a b");
    TAKEN(tables[0]->name, text_of(NAME_BYTES_MAX));
    REFUSED(tables[0]->generation, 0);
    REFUSED(tables[0]->generation, 2); /* is there already */
    TAKEN(tables[0]->generation, UINT32_MAX);
    REFUSED(tables[1]->rule, 2);
    REFUSED(tables[1]->rule, UINT32_MAX);
    REFUSED(tables[1]->n, 0);
    REFUSED(tables[1]->n, 1); /* below r and w */
    REFUSED(tables[1]->n, TABLE_N_MAX + 1);
    TAKEN(tables[1]->n, TABLE_N_MAX);
    REFUSED(tables[2]->r, 0);
    REFUSED(tables[2]->r, 5);
    TAKEN(tables[2]->r, 4);
    REFUSED(tables[3]->w, 0);
    REFUSED(tables[3]->w, 5);
    REFUSED(tables[3]->w, UINT32_MAX);
    TAKEN(tables[3]->w, 4);
    cluster_fini(&sent);
}

static void too_many_records_are_refused(void **state)
{
    (void)state;
    for (uint32_t over = 0; over < 2; over++) {
        Dynode__Peer__ClusterState message = DYNODE__PEER__CLUSTER_STATE__INIT;
        struct cluster got = {0};
        message.vnodes = 1;
        message.n_members = RING_NODES_MAX + over;
        message.members = ARENA_ARRAY(&arena, Dynode__Peer__MemberRecord *, message.n_members);
        for (size_t i = 0; i < message.n_members; i++) {
            message.members[i] = ARENA_NEW(&arena, Dynode__Peer__MemberRecord);
            dynode__peer__member_record__init(message.members[i]);
            message.members[i]->id = i + 1;
            message.members[i]->weight = 1;
            message.members[i]->name = "n";
        }
        assert_int_equal(cluster_unpack(&message, &got), over ? STATUS_INVALID : STATUS_OK);
        cluster_fini(&got);
        message.n_members = 0;
        message.n_tables = CLUSTER_TABLES_MAX + over;
        message.tables = ARENA_ARRAY(&arena, Dynode__Peer__TableRecord *, message.n_tables);
        for (size_t i = 0; i < message.n_tables; i++) {
            message.tables[i] = ARENA_NEW(&arena, Dynode__Peer__TableRecord);
            dynode__peer__table_record__init(message.tables[i]);
            message.tables[i]->name = "t";
            message.tables[i]->generation = (uint32_t)i + 1;
            message.tables[i]->n = message.tables[i]->r = message.tables[i]->w = 1;
        }
        assert_int_equal(cluster_unpack(&message, &got), over ? STATUS_INVALID : STATUS_OK);
        cluster_fini(&got);
    }
}

/* Random flips of packed states: whatever decodes is taken or refused, never believed half. */
static void flipped_bits(void **state)
{
    (void)state;
    struct cluster sent = some_cluster(4, 4);
    struct bytes packed = cluster_pack(&sent, &arena);
    uint8_t *bent = arena_alloc(&arena, packed.size);
    uint32_t taken = 0, refused = 0;
    for (int round = 0; round < 20000; round++) {
        struct arena own;
        arena_init(&own, 1 << 20);
        memcpy(bent, packed.data, packed.size);
        for (uint64_t flips = 1 + prng_below(&prng, 3); flips > 0; flips--)
            bent[prng_below(&prng, packed.size)] ^= (uint8_t)(1U << prng_below(&prng, 8));
        const Dynode__Peer__ClusterState *message =
            dynode__peer__cluster_state__unpack(arena_allocator(&own), packed.size, bent);
        struct cluster got;
        if (message != NULL && cluster_unpack(message, &got) == STATUS_OK) {
            taken++;
            struct cluster into = {.id = got.id, .vnodes = got.vnodes};
            cluster_merge(&into, &got); /* checks each record's rules */
            assert_true(cluster_equal(&into, &got));
            cluster_fini(&into);
            cluster_fini(&got);
        } else {
            refused++;
        }
        arena_fini(&own);
    }
    assert_true(taken > 100);
    assert_true(refused > 100);
    cluster_fini(&sent);
}

static void description(void **state)
{
    (void)state;
    static const uint32_t sizes[] = {1, 4, 15, 20};
    for (size_t s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++) {
        struct cluster cluster = some_cluster(sizes[s], 6);
        struct ring *ring = cluster_ring(&cluster);
        const Dynode__Client__ClusterDescription *to = cluster_to_description(&cluster, ring, &arena);
        assert_int_equal(to->id, cluster.id);
        assert_int_equal(to->ring_version, cluster_ring_version(&cluster));
        assert_int_equal(to->vnodes, 64);
        assert_string_equal(to->hash, "xxh3-64");
        assert_int_equal(to->n_members, sizes[s]);
        for (uint32_t i = 0; i < sizes[s]; i++) {
            assert_int_equal(to->members[i]->id, cluster.members[i].id);
            assert_string_equal(to->members[i]->name, cluster.members[i].name);
            assert_string_equal(to->members[i]->zone, cluster.members[i].zone);
            assert_string_equal(to->members[i]->peer_address, cluster.members[i].peer_address);
            assert_string_equal(to->members[i]->client_address, cluster.members[i].client_address);
            assert_int_equal(to->members[i]->weight, cluster.members[i].weight);
            assert_int_equal(to->members[i]->shards, cluster.members[i].shards);
            assert_true(to->members[i]->reachable);
        }
        assert_int_equal(to->n_tables, 3); /* the other three are dropped */
        for (uint32_t i = 0; i < 3; i++) {
            const struct table *table = cluster_find_table(&cluster, bytes_str(to->tables[i]->name));
            assert_int_equal(to->tables[i]->tag, table->tag);
            assert_int_equal(to->tables[i]->rule, table->rule);
            assert_int_equal(to->tables[i]->n, table->n);
            assert_int_equal(to->tables[i]->r, table->r);
            assert_int_equal(to->tables[i]->w, table->w);
            assert_int_equal(to->tables[i]->ttl_ms, table->ttl_ms);
        }
        uint32_t length = sizes[s] < 15 ? sizes[s] : 15;
        assert_int_equal(to->n_preference_lists, 64 * length);
        for (uint32_t v = 0; v < 64; v++)
            for (uint32_t k = 0; k < length; k++)
                assert_int_equal(to->members[to->preference_lists[v * length + k]]->id,
                                 ring_preference_list(ring, v)[k]);
        ring_free(ring);
        cluster_fini(&cluster);
        arena_reset(&arena);
    }
}

int main(void)
{
    uint64_t seed = prng_entropy();
    const char *given = getenv("SEED");
    if (given != NULL) seed = strtoull(given, NULL, 0);
    printf("SEED=0x%" PRIx64 "\n", seed);
    fflush(stdout);
    prng_init(&prng, seed);
    arena_init(&arena, 0);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(round_trip),
        cmocka_unit_test(records_come_in_any_order),
        cmocka_unit_test(a_message_outlives_changes),
        cmocka_unit_test(every_bad_field_is_refused),
        cmocka_unit_test(too_many_records_are_refused),
        cmocka_unit_test(flipped_bits),
        cmocka_unit_test(description),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    arena_fini(&arena);
    return failed;
}
