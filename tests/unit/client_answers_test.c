/* What libdynode does with answers that are wrong: cut off, damaged, against the protocol, about another
 * cluster, or with a ring that leads nowhere. What is asserted: nothing of them is handed on or kept, and a
 * node that answers well again is heard again. */
#include <stdio.h>

#include "client_fixture.h"

/* Half an answer is none: nothing of it is left in what says that there was no answer. */
static void test_half_an_answer(void **state)
{
    (void)state;
    start(1);
    open_client(1, 5000);
    static const char *const words[] = {"half", "flood"};
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        assert_int_equal(put(words[i], "abc", NULL), DYNODE_OK);
        struct dynode_reply *reply = dynode_get(client, "t", dynode_string(words[i]));
        assert_int_equal(reply->status, DYNODE_UNAVAILABLE);
        assert_int_equal(reply->results[0].sibling_count, 0);
        assert_int_equal(reply->results[0].context.size, 0);
        dynode_reply_free(reply);
    }
}

static void test_breaches_of_the_protocol(void **state)
{
    (void)state;
    start(1);
    open_client(1, 1000);
    static const char *const words[] = {"alien", "gone", "short", "garbage", "endless"};
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        enum dynode_applied applied;
        enum dynode_status status = put(words[i], "v", &applied);
        assert_true(status == DYNODE_UNAVAILABLE || status == DYNODE_INTERNAL || status == DYNODE_TIMEOUT);
        assert_int_equal(applied, DYNODE_APPLIED_MAYBE);
        for (int k = 0; k < 8; k++) { /* on every shard, also the one where it broke the rule */
            char key[32];
            snprintf(key, sizeof(key), "fine %d", k);
            assert_int_equal(get(key), DYNODE_NOT_FOUND);
        }
    }
}

static bool any_node_comes_back(void)
{
    for (int i = 0; i < 5; i++) {
        if (get("missing") == DYNODE_NOT_FOUND) return true;
    }
    return false;
}

/* The first hello may be wrong about its cluster, and is not believed for ever; what a second frame has
 * confirmed is: a client does not wander to another cluster because its own has gone. */
static void test_the_cluster_is_confirmed(void **state)
{
    (void)state;
    start(1);
    nodes[0].claims = 8;
    open_client(1, 300);
    get("missing"); /* one hello: a second one that says the same would confirm it */
    nodes[0].claims = 0;
    nodes[0].drop_all = true;
    assert_true(any_node_comes_back());
    while (client->cluster == NULL) get("missing");
    nodes[0].claims = 8;
    nodes[0].drop_all = true;
    while (nodes[0].drop_all) {
    }
    for (int i = 0; i < 10; i++) assert_int_not_equal(get("missing"), DYNODE_NOT_FOUND);
    nodes[0].claims = 0;
    assert_true(any_node_comes_back());
}

/* A ring whose members all accept connections and say nothing. While the address that was given is silent
 * too, the client lets go of the ring; then it goes back to that address and learns another ring there. */
static void test_a_ring_that_leads_nowhere(void **state)
{
    (void)state;
    start(3);
    nodes[0].astray = true;
    nodes[1].hello = nodes[2].hello = FAKE_HELLO_SILENT;
    open_client(1, 300);
    while (client->cluster == NULL) get("missing");
    nodes[0].hello = FAKE_HELLO_SILENT;
    nodes[0].drop_all = true;
    for (int i = 0; i < 20 && client->cluster != NULL; i++) get("missing");
    assert_null(client->cluster);
    nodes[0].hello = FAKE_HELLO_OK;
    nodes[0].astray = false;
    assert_true(any_node_comes_back());
    int64_t until = now_ms() + 20000;
    while (client->cluster == NULL && now_ms() < until) get("missing");
    assert_non_null(client->cluster);
    assert_int_equal(client->cluster->member_count, 3);
}

/* Keys that are hashed in an unknown way cannot be placed: that is said, of every operation that the ring
 * would route, and of the description itself; what needs no ring goes on. When the cluster says otherwise, so
 * does the client. */
static void test_an_unknown_hash_is_refused(void **state)
{
    (void)state;
    start(2);
    nodes[0].hash = nodes[1].hash = "md5";
    open_client(2, 3000);
    struct dynode_operation info = {.kind = DYNODE_CLUSTER_INFO}, page = {.kind = DYNODE_SCAN, .table = "t"},
                            report = {.kind = DYNODE_NODE_STATUS, .node = nodes[1].id};
    const struct {
        struct dynode_operation *operation;
        enum dynode_status status;
    } asked[] = {{&info, DYNODE_WRONG_VERSION}, {&report, DYNODE_WRONG_VERSION}, {&page, DYNODE_OK}};
    for (size_t i = 0; i < sizeof(asked) / sizeof(asked[0]); i++) {
        struct dynode_reply *reply = dynode_call(client, asked[i].operation, 0);
        print_message("%zu: %s: %s\n", i, dynode_status_name(reply->status), reply->results[0].message);
        assert_int_equal(reply->status, asked[i].status);
        if (asked[i].status == DYNODE_WRONG_VERSION) {
            assert_null(reply->results[0].cluster);
            assert_non_null(strstr(reply->results[0].message, "hashes keys with md5"));
            assert_non_null(strstr(reply->results[0].message, "xxh3-64"));
        }
        dynode_reply_free(reply);
    }
    assert_null(client->cluster);
    unsigned before = nodes[0].operations + nodes[1].operations;
    unsigned infos = nodes[0].infos + nodes[1].infos;
    for (int i = 0; i < 3; i++) {
        enum dynode_applied applied;
        assert_int_equal(put("fine", "v", &applied), DYNODE_WRONG_VERSION);
        assert_int_equal(applied, DYNODE_APPLIED_NO);
    }
    /* None of them left: all that was asked is for the ring. */
    assert_int_equal(nodes[0].operations + nodes[1].operations - before,
                     nodes[0].infos + nodes[1].infos - infos);
    nodes[0].hash = nodes[1].hash = NULL;
    assert_int_equal(get("missing"), DYNODE_NOT_FOUND);
    assert_string_equal(client->cluster->hash, "xxh3-64");
}

/* A description is judged as a whole before any of it is used. */
static void test_descriptions_are_judged(void **state)
{
    (void)state;
    enum { MEMBERS = 3, VNODES = 4, CASES = 25 };
    for (int broken = -1; broken < CASES; broken++) {
        Dynode__Client__Result result = DYNODE__CLIENT__RESULT__INIT;
        Dynode__Client__ClusterDescription cluster_ = DYNODE__CLIENT__CLUSTER_DESCRIPTION__INIT;
        Dynode__Client__Member members[MEMBERS], *member_list[MEMBERS];
        Dynode__Client__TableInfo tables[2], *table_list[2] = {&tables[0], &tables[1]};
        char *names[] = {"a", "b", "c"}, *addresses[] = {"tcp://10.0.0.1:7400", "unix:///run/dynode", ""};
        char hash[] = "xxh3-64", escape[] = "\033[2J";
        uint32_t lists[VNODES * MEMBERS] = {0, 1, 2, 1, 2, 0, 2, 0, 1, 2, 1, 0};
        for (uint32_t i = 0; i < MEMBERS; i++) {
            dynode__client__member__init(&members[i]);
            members[i].id = i + 1;
            members[i].name = names[i];
            members[i].client_address = addresses[i];
            members[i].shards = i; /* 0: not known yet */
            member_list[i] = &members[i];
        }
        for (uint32_t i = 0; i < 2; i++) {
            dynode__client__table_info__init(&tables[i]);
            tables[i].name = names[i];
            tables[i].n = 15; /* more than there are members */
            tables[i].r = 1;
            tables[i].w = 15;
        }
        cluster_.id = cluster_.ring_version = 7;
        cluster_.vnodes = VNODES;
        cluster_.hash = hash;
        cluster_.members = member_list;
        cluster_.n_members = MEMBERS;
        cluster_.tables = table_list;
        cluster_.n_tables = 2;
        cluster_.preference_lists = lists;
        cluster_.n_preference_lists = VNODES * MEMBERS;
        bool good = false;
        switch (broken) {
        case 0:
            cluster_.ring_version = 0;
            break;
        case 1:
            cluster_.vnodes = 0;
            break;
        case 2:
            cluster_.vnodes = 3, cluster_.n_preference_lists = 9;
            break;
        case 3:
            cluster_.vnodes = 8;
            break;
        case 4:
            cluster_.n_preference_lists--;
            break;
        case 5:
            cluster_.n_members = 0, cluster_.n_preference_lists = 0;
            break;
        case 6:
            lists[11] = MEMBERS;
            break;
        case 7:
            lists[11] = UINT32_MAX;
            break;
        case 8:
            lists[11] = 1;
            break;
        case 9:
            members[2].id = 0;
            break;
        case 10:
            members[2].id = 1;
            break;
        case 11:
            members[2].name = "not a name";
            break;
        case 12:
            members[2].name = "";
            break;
        case 13:
            members[2].client_address = "tcp://10.0.0.1";
            break;
        case 14:
            members[2].client_address = addresses[0];
            break;
        case 15:
            members[2].shards = CLIENT_SHARDS_MAX + 1;
            break;
        case 16:
            tables[1].name = "";
            break;
        case 17:
            tables[1].name = names[0];
            break;
        case 18:
            tables[1].n = 16;
            break;
        case 19:
            tables[1].r = 0;
            break;
        case 20:
            tables[1].w = 0;
            break;
        case 21:
            tables[1].w = 16;
            break;
        case 22:
            tables[1].rule = (Dynode__Client__Rule)2;
            break;
        case 23:
            cluster_.hash = escape;
            break;
        case 24:
            cluster_.hash = hash + strlen(hash);
            break;
        default:
            good = true;
            break;
        }
        result.answer_case = DYNODE__CLIENT__RESULT__ANSWER_CLUSTER;
        result.cluster = &cluster_;
        struct reply *reply = reply_new(1);
        const char *why = NULL;
        if (reply_add(reply, 0, &result, &why) != good) fail_msg("case %d: %s", broken, why);
        reply_free(reply);
    }
}

/* Answers with flipped bits: anything may come out but a crash, a hang, or a second callback. */
static void test_flipped_bits(void **state)
{
    (void)state;
    enum { COUNT = 3000, TRIES_MAX = 5 };
    start(2);
    nodes[0].flip = 4;
    nodes[1].flip = 9;
    open_client(2, 300);
    static struct dynode_operation operations[COUNT / 10];
    struct prng prng;
    prng_init(&prng, seed);
    for (int round = 0; round < COUNT / 300; round++) {
        char keys[300][32];
        for (int i = 0; i < 300; i++) {
            snprintf(keys[i], sizeof(keys[i]), "%s%d", i % 50 == 0 ? "parts" : "k",
                     (int)prng_below(&prng, 100));
            operations[i] = (struct dynode_operation){.kind = i % 2 == 0 ? DYNODE_PUT : DYNODE_GET,
                                                      .table = "t",
                                                      .key = dynode_string(keys[i]),
                                                      .value = dynode_string("some value")};
        }
        struct dynode_reply *reply = dynode_batch(client, operations, 300, 0);
        for (int i = 0; i < 300; i++) {
            const struct dynode_result *result = &reply->results[i];
            size_t bytes = result->context.size + strlen(result->message);
            for (size_t k = 0; k < result->sibling_count; k++) {
                const uint8_t *value = result->siblings[k].value.data;
                for (size_t b = 0; b < result->siblings[k].value.size; b++) bytes += value[b];
            }
            assert_true(bytes < 1u << 30); /* all of it can be read */
        }
        dynode_reply_free(reply);
    }
    /* What was learnt from damaged bytes, of the ring or of where a frame ends, is not kept. */
    nodes[0].flip = nodes[1].flip = 0;
    enum dynode_status status = DYNODE_OK;
    for (int i = 0; i < TRIES_MAX && status != DYNODE_NOT_FOUND; i++) {
        struct dynode_reply *reply = dynode_get(client, "t", dynode_string("missing"));
        status = reply->status;
        if (status != DYNODE_NOT_FOUND)
            print_message("try %d: %s: %s\n", i, dynode_status_name(status), reply->results[0].message);
        dynode_reply_free(reply);
    }
    assert_int_equal(status, DYNODE_NOT_FOUND);
}

int main(int argc, char **argv)
{
    draw_seed(argc, argv);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_half_an_answer, stop),
        cmocka_unit_test_teardown(test_breaches_of_the_protocol, stop),
        cmocka_unit_test_teardown(test_the_cluster_is_confirmed, stop),
        cmocka_unit_test_teardown(test_a_ring_that_leads_nowhere, stop),
        cmocka_unit_test_teardown(test_an_unknown_hash_is_refused, stop),
        cmocka_unit_test(test_descriptions_are_judged),
        cmocka_unit_test_teardown(test_flipped_bits, stop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
