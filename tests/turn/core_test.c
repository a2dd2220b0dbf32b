/* put_core and get_core: quorums as values. */
#include "actors/get_core.h"
#include "one_shard.h"

static void put_core_table(void **state)
{
    (void)state;
    static const struct {
        uint32_t n, w;
        const char *events; /* lower case: home a, b, ... acknowledges; upper case: it fails */
        enum quorum result;
        uint32_t got;
    } rows[] = {
        {1, 1, "", QUORUM_PENDING, 0},    {1, 1, "a", QUORUM_ENOUGH, 1},
        {1, 1, "A", QUORUM_FAILED, 0},    {3, 2, "a", QUORUM_PENDING, 1},
        {3, 2, "aa", QUORUM_PENDING, 1},  {3, 2, "aaa", QUORUM_PENDING, 1},
        {3, 2, "ac", QUORUM_ENOUGH, 2},   {3, 2, "A", QUORUM_PENDING, 0},
        {3, 2, "AA", QUORUM_PENDING, 0},  {3, 2, "AB", QUORUM_FAILED, 0},
        {3, 2, "aBC", QUORUM_FAILED, 1},  {3, 2, "ABa", QUORUM_PENDING, 1},
        {3, 2, "aAB", QUORUM_PENDING, 1}, {3, 2, "ABab", QUORUM_ENOUGH, 2},
        {3, 3, "ab", QUORUM_PENDING, 2},  {3, 3, "abC", QUORUM_FAILED, 2},
        {3, 3, "abc", QUORUM_ENOUGH, 3},  {3, 1, "AB", QUORUM_PENDING, 0},
        {3, 1, "ABC", QUORUM_FAILED, 0},  {15, 15, "abcdefghijklmno", QUORUM_ENOUGH, 15},
    };
    for (size_t row = 0; row < sizeof(rows) / sizeof(rows[0]); row++) {
        struct put_core core;
        put_core_init(&core, rows[row].n, rows[row].w, false);
        for (const char *at = rows[row].events; *at != 0; at++) {
            if (*at >= 'a')
                put_core_ack(&core, (uint32_t)(*at - 'a'));
            else
                put_core_fail(&core, (uint32_t)(*at - 'A'));
        }
        if (put_core_result(&core) != rows[row].result || put_core_got(&core) != rows[row].got)
            fail_msg("row %zu: n %u w %u '%s'", row, rows[row].n, rows[row].w, rows[row].events);
    }
}

/* The same with stand-ins, for n=3, w=2: 1, 2, 3: one is asked for home a, b, c; 4, 5, 6: it keeps it; 7, 8,
 * 9: it fails. */
static void put_core_stand_ins(void **state)
{
    (void)state;
    static const struct {
        const char *events;
        enum quorum sloppy, strict;
        uint32_t got, missing, lost; /* got: of the sloppy one */
    } rows[] = {
        {"AB12", QUORUM_PENDING, QUORUM_FAILED, 0, 7, 0},
        {"AB1245", QUORUM_ENOUGH, QUORUM_FAILED, 2, 4, 0},
        {"AB1245c", QUORUM_ENOUGH, QUORUM_FAILED, 3, 0, 0},
        {"a14", QUORUM_PENDING, QUORUM_PENDING, 1, 6, 0}, /* a position counts once, whoever answers */
        {"14a", QUORUM_PENDING, QUORUM_PENDING, 1, 6, 0},
        {"1444", QUORUM_PENDING, QUORUM_PENDING, 1, 6, 0},
        {"a25", QUORUM_ENOUGH, QUORUM_PENDING, 2, 4, 0}, /* the silent are replaced too */
        {"A17B", QUORUM_FAILED, QUORUM_FAILED, 0, 7, 3},
        {"A17Bab", QUORUM_ENOUGH, QUORUM_ENOUGH, 2, 4, 0}, /* they answer after all */
        {"A171B", QUORUM_PENDING, QUORUM_FAILED, 0, 7, 2}, /* another stands in where the first failed */
        {"A147B", QUORUM_PENDING, QUORUM_FAILED, 1, 6, 2}, /* what is kept stays kept */
        {"aAbC", QUORUM_ENOUGH, QUORUM_ENOUGH, 2, 4, 4},
    };
    for (size_t row = 0; row < sizeof(rows) / sizeof(rows[0]); row++) {
        for (int sloppy = 0; sloppy < 2; sloppy++) {
            struct put_core core;
            put_core_init(&core, 3, 2, sloppy != 0);
            for (const char *at = rows[row].events; *at != 0; at++) {
                if (*at >= 'a')
                    put_core_ack(&core, (uint32_t)(*at - 'a'));
                else if (*at >= 'A')
                    put_core_fail(&core, (uint32_t)(*at - 'A'));
                else if (*at >= '7')
                    put_core_stand_failed(&core, (uint32_t)(*at - '7'));
                else if (*at >= '4')
                    put_core_keep(&core, (uint32_t)(*at - '4'));
                else
                    put_core_stand(&core, (uint32_t)(*at - '1'));
            }
            enum quorum expected = sloppy != 0 ? rows[row].sloppy : rows[row].strict;
            uint32_t got = sloppy != 0 ? rows[row].got : (uint32_t)__builtin_popcount(core.acked);
            if (put_core_result(&core) != expected || put_core_got(&core) != got ||
                put_core_missing(&core) != rows[row].missing || put_core_lost(&core) != rows[row].lost)
                fail_msg("row %zu: '%s'%s", row, rows[row].events, sloppy != 0 ? ", sloppy" : "");
        }
    }
}

/* Answers: a-c the object 'x' whole, d-f the same by digest, g-i another object whole, j-l another by digest,
 * n-p nothing there, A-C failed. */
static void feed(struct get_core *core, const char *events, struct bytes x, struct bytes y)
{
    const struct bytes none = {0};
    for (; *events != 0; events++) {
        char at = *events;
        if (at >= 'a' && at <= 'c')
            get_core_add(core, (uint32_t)(at - 'a'), STATUS_OK, object_digest(x), x);
        else if (at >= 'd' && at <= 'f')
            get_core_add(core, (uint32_t)(at - 'd'), STATUS_OK, object_digest(x), none);
        else if (at >= 'g' && at <= 'i')
            get_core_add(core, (uint32_t)(at - 'g'), STATUS_OK, object_digest(y), y);
        else if (at >= 'j' && at <= 'l')
            get_core_add(core, (uint32_t)(at - 'j'), STATUS_OK, object_digest(y), none);
        else if (at >= 'n' && at <= 'p')
            get_core_add(core, (uint32_t)(at - 'n'), STATUS_NOT_FOUND, 0, none);
        else
            get_core_fail(core, (uint32_t)(at - 'A'));
    }
}

static void get_core_table(void **state)
{
    (void)state;
    static const struct {
        uint32_t n, r;
        const char *events;
        enum get_result result;
        uint32_t missing; /* homes, as bits */
    } rows[] = {
        {3, 2, "", GET_PENDING, 0},
        {3, 2, "a", GET_PENDING, 0},
        {3, 2, "aa", GET_PENDING, 0},
        {3, 2, "ab", GET_ENOUGH, 0},
        {3, 2, "ae", GET_ENOUGH, 0},       /* the digest agrees */
        {3, 2, "ak", GET_NEED_OBJECTS, 2}, /* it does not */
        {3, 2, "akh", GET_ENOUGH, 0},      /* now the object is here */
        {3, 2, "akc", GET_ENOUGH, 2},      /* a third agrees with the first: nobody waits for the second */
        {3, 2, "akC", GET_NEED_OBJECTS, 2},
        {3, 2, "akB", GET_PENDING, 0}, /* the one that differs is gone: there is a third */
        {3, 2, "akBC", GET_FAILED, 0},
        {3, 2, "de", GET_NEED_OBJECTS, 3}, /* only digests */
        {3, 2, "dea", GET_ENOUGH, 0},
        {3, 2, "nA", GET_PENDING, 0}, /* nothing there counts, and stays */
        {3, 2, "no", GET_ENOUGH, 0},
        {3, 2, "ao", GET_ENOUGH, 0},
        {3, 2, "nj", GET_PENDING, 0},  /* a second answer of the same home changes nothing */
        {3, 2, "ABa", GET_PENDING, 0}, /* a late answer after a failure counts */
        {3, 2, "ABab", GET_ENOUGH, 0},
        {3, 2, "AB", GET_FAILED, 0},
        {3, 1, "d", GET_NEED_OBJECTS, 1},
        {3, 1, "AB", GET_PENDING, 0},
        {3, 3, "abC", GET_FAILED, 0},
        {1, 1, "a", GET_ENOUGH, 0},
    };
    struct one_shard one;
    one_shard_begin(&one, (struct one_shard_options){0});
    struct bytes x = one_shard_object(&one, 1, 1, bytes_str("x")),
                 y = one_shard_object(&one, 2, 1, bytes_str("y"));
    struct get_core core = {0};
    for (size_t row = 0; row < sizeof(rows) / sizeof(rows[0]); row++) {
        get_core_init(&core, rows[row].n, rows[row].r);
        feed(&core, rows[row].events, x, y);
        if (get_core_result(&core) != rows[row].result || get_core_missing(&core) != rows[row].missing)
            fail_msg("row %zu: n %u r %u '%s': result %d, missing %x", row, rows[row].n, rows[row].r,
                     rows[row].events, (int)get_core_result(&core), get_core_missing(&core));
        assert_int_equal(get_core_fetch(&core), rows[row].missing);
        assert_int_equal(get_core_fetch(&core), 0); /* asked once */
    }
    get_core_fini(&core);
    one_shard_end(&one);
}

static void get_core_merges(void **state)
{
    (void)state;
    struct one_shard one;
    one_shard_begin(&one, (struct one_shard_options){0});
    struct bytes x = one_shard_object(&one, 1, 1, bytes_str("x")),
                 y = one_shard_object(&one, 2, 1, bytes_str("y"));
    struct get_core core = {0};
    struct object out;
    struct bytes encoded;
    uint32_t stale;

    get_core_init(&core, 3, 3);
    feed(&core, "ahp", x, y); /* three opinions: x, y, nothing */
    assert_int_equal(get_core_merge(&core, RULE_SIBLINGS, &one.arena, &out, &encoded, &stale), STATUS_OK);
    assert_int_equal(out.count, 2);
    assert_int_equal(stale, 7);
    get_core_init(&core, 3, 3);
    feed(&core, "abp", x, y);
    assert_int_equal(get_core_merge(&core, RULE_SIBLINGS, &one.arena, &out, &encoded, &stale), STATUS_OK);
    assert_int_equal(out.count, 1);
    assert_int_equal(stale, 4);
    assert_true(bytes_equal(encoded, x));
    get_core_init(&core, 3, 2);
    feed(&core, "no", x, y);
    assert_int_equal(get_core_merge(&core, RULE_SIBLINGS, &one.arena, &out, &encoded, &stale),
                     STATUS_NOT_FOUND);
    assert_int_equal(stale, 0);

    get_core_init(&core, 3, 2); /* an answer that does not decode is a failure */
    get_core_add(&core, 0, STATUS_OK, 7, bytes_str("not an object"));
    feed(&core, "b", x, y);
    assert_int_equal(get_core_merge(&core, RULE_SIBLINGS, &one.arena, &out, &encoded, &stale),
                     STATUS_CORRUPT);
    assert_int_equal(get_core_result(&core), GET_PENDING);
    uint32_t home;
    assert_int_equal(get_core_wanting(&core), 1);
    assert_true(get_core_ask(&core, &home));
    assert_int_equal(home, 2);
    feed(&core, "c", x, y);
    assert_int_equal(get_core_merge(&core, RULE_SIBLINGS, &one.arena, &out, &encoded, &stale), STATUS_OK);
    get_core_fini(&core);
    one_shard_end(&one);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(put_core_table),
        cmocka_unit_test(put_core_stand_ins),
        cmocka_unit_test(get_core_table),
        cmocka_unit_test(get_core_merges),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
