/* Operations of libdynode against a cluster that is there, slow, silent or gone. What is asserted: every
 * operation is answered once, by its deadline and a grace; a write is made once unless a node said that it
 * was not made; keys go to their homes. What wrong answers do is client_answers_test.c's. */
#include <netdb.h>
#include <stdio.h>
#include <unistd.h>

#include "client/address.h"
#include "client_fixture.h"

static void assert_holds(struct dynode_bytes key, struct dynode_bytes value)
{
    struct dynode_reply *reply = dynode_get(client, "t", key);
    assert_int_equal(reply->status, DYNODE_OK);
    const struct dynode_result *result = &reply->results[0];
    assert_int_equal(result->sibling_count, 1);
    assert_int_equal(result->siblings[0].value.size, value.size);
    if (value.size > 0) assert_memory_equal(result->siblings[0].value.data, value.data, value.size);
    assert_int_equal(result->context.size, 3);
    dynode_reply_free(reply);
}

static void test_values_come_back(void **state)
{
    (void)state;
    start(1);
    open_client(1, 5000);
    static uint8_t large[1048576];
    for (size_t i = 0; i < sizeof(large); i++) large[i] = (uint8_t)(i * 7 + (i >> 8));
    struct dynode_bytes none = {NULL, 0};
    struct dynode_bytes keys[] = {{"\0", 1}, {"a\0b", 3}, {large, 1024}, {"\xff\xff", 2}};
    struct dynode_bytes values[] = {{"v", 1}, {NULL, 0}, {large, sizeof(large)}, {"\0\0", 2}};
    for (size_t i = 0; i < 4; i++) {
        struct dynode_reply *reply = dynode_put(client, "t", keys[i], values[i], none);
        assert_int_equal(reply->status, DYNODE_OK);
        assert_true(reply->results[0].sequence != 0);
        dynode_reply_free(reply);
        assert_holds(keys[i], values[i]);
    }
    dynode_reply_free(dynode_delete(client, "t", keys[0], none));
    struct dynode_reply *reply = dynode_get(client, "t", keys[0]);
    assert_int_equal(reply->status, DYNODE_NOT_FOUND);
    dynode_reply_free(reply);
}

static void test_what_must_not_leave(void **state)
{
    (void)state;
    start(1);
    open_client(1, 5000);
    static uint8_t large[1048577];
    struct dynode_operation operations[] = {
        {.kind = DYNODE_GET, .table = "t", .key = {NULL, 0}},
        {.kind = DYNODE_GET, .table = "t", .key = {large, 1025}},
        {.kind = DYNODE_PUT, .table = "t", .key = {"k", 1}, .value = {large, sizeof(large)}},
        {.kind = DYNODE_GET, .table = NULL, .key = {"k", 1}},
        {.kind = (enum dynode_kind)99, .table = "t", .key = {"k", 1}},
    };
    enum dynode_status statuses[] = {DYNODE_INVALID, DYNODE_TOO_LARGE, DYNODE_TOO_LARGE, DYNODE_INVALID,
                                     DYNODE_INVALID};
    struct dynode_reply *reply = dynode_batch(client, operations, 5, 0);
    for (size_t i = 0; i < 5; i++) {
        assert_int_equal(reply->results[i].status, statuses[i]);
        assert_true(reply->results[i].message[0] != '\0');
    }
    dynode_reply_free(reply);
    assert_int_equal(nodes[0].requests, 0);
}

static void test_addresses(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool good;
    } cases[] = {
        {"tcp://127.0.0.1:7400", true},
        {"tcp://[::1]:7400", true},
        {"tcp://host.name:1", true},
        {"unix:///run/dynode.sock", true},
        {"", false},
        {"127.0.0.1:7400", false},
        {"tcp://host", false},
        {"tcp://:7400", false},
        {"tcp://host:", false},
        {"tcp://host:0", false},
        {"tcp://host:65536", false},
        {"tcp://host:7x", false},
        {"tcp://host:-1", false},
        {"tcp://host: 1", false},
        {"tcp://::1:7400", false},
        {"tcp://[]:1", false},
        {"tcp://[::1:1", false},
        {"unix://relative", false},
        {"unix:///", true},
        {"http://host:80", false},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct address address;
        const char *why = NULL;
        bool good = address_parse(cases[i].text, strlen(cases[i].text), &address, &why);
        if (good != cases[i].good) fail_msg("%s", cases[i].text);
    }
    char path[200] = "unix:///";
    memset(path + 8, 'x', 108);
    char why[256];
    assert_int_equal(dynode_open(path, NULL, &client, why, sizeof(why)), DYNODE_INVALID);
    assert_non_null(strstr(why, "107"));
    assert_int_equal(dynode_open("tcp://a:1,", NULL, &client, why, sizeof(why)), DYNODE_INVALID);
}

static void ignore_reply(void *data, struct dynode_reply *reply)
{
    (void)data;
    dynode_reply_free(reply);
}

struct tally {
    uint32_t replies, wrong;
    uint32_t expected; /* value of the key asked */
};

static void count_reply(void *data, struct dynode_reply *reply)
{
    struct tally *tally = data;
    tally->replies++;
    char want[32];
    snprintf(want, sizeof(want), "value %u", tally->expected);
    if (tally->replies != 1 || reply->status != DYNODE_OK || reply->results[0].sibling_count != 1 ||
        reply->results[0].siblings[0].value.size != strlen(want) ||
        memcmp(reply->results[0].siblings[0].value.data, want, strlen(want)) != 0)
        tally->wrong++;
    dynode_reply_free(reply);
}

/* A thousand reads at once, answered last first, in pieces of a few bytes: each gets its own answer, once,
 * and the node never sees more in flight on a connection than it allowed. */
static void test_answers_in_any_order(void **state)
{
    (void)state;
    enum { COUNT = 1000 };
    start(2);
    open_client(2, 30000);
    char key[32], value[32];
    for (uint32_t i = 0; i < COUNT; i++) {
        snprintf(key, sizeof(key), "key %u", i);
        snprintf(value, sizeof(value), "value %u", i);
        assert_int_equal(put(key, value, NULL), DYNODE_OK);
    }
    for (int i = 0; i < 2; i++) nodes[i].reverse = nodes[i].dribble = true;
    static struct tally tallies[COUNT];
    memset(tallies, 0, sizeof(tallies));
    for (uint32_t i = 0; i < COUNT; i++) {
        snprintf(key, sizeof(key), "key %u", i);
        tallies[i].expected = i;
        struct dynode_operation operation = {.kind = DYNODE_GET, .table = "t", .key = dynode_string(key)};
        assert_int_equal(dynode_submit(client, &operation, 1, 0, count_reply, &tallies[i]), DYNODE_OK);
    }
    assert_int_equal(dynode_in_flight(client), COUNT);
    size_t replies = 0;
    while (dynode_in_flight(client) > 0) replies += dynode_poll(client, 1000);
    assert_int_equal(replies, COUNT);
    for (uint32_t i = 0; i < COUNT; i++) {
        assert_int_equal(tallies[i].replies, 1);
        assert_int_equal(tallies[i].wrong, 0);
    }
    for (int i = 0; i < 2; i++) assert_true(nodes[i].in_flight_most <= FAKE_REQUESTS_MAX);
}

static void test_bound_in_flight(void **state)
{
    (void)state;
    start(1);
    char why[256];
    struct dynode_options options = {.in_flight_max = 10};
    assert_int_equal(dynode_open(nodes[0].address, &options, &client, why, sizeof(why)), DYNODE_OK);
    struct dynode_operation operation = {.kind = DYNODE_GET, .table = "t", .key = {"k", 1}};
    static struct tally tallies[11];
    for (int i = 0; i < 10; i++)
        assert_int_equal(dynode_submit(client, &operation, 1, 0, count_reply, &tallies[i]), DYNODE_OK);
    assert_int_equal(dynode_submit(client, &operation, 1, 0, count_reply, &tallies[10]), DYNODE_OVERLOADED);
    while (dynode_in_flight(client) > 0) dynode_poll(client, 1000);
    assert_int_equal(tallies[10].replies, 0);
    assert_int_equal(get("k"), DYNODE_NOT_FOUND);
}

/* 4 MiB and more in one batch, over two nodes: split into frames that are allowed. */
static void test_large_batch(void **state)
{
    (void)state;
    enum { COUNT = 12 };
    start(2);
    open_client(1, 20000);
    static uint8_t large[900000];
    memset(large, 'x', sizeof(large));
    struct dynode_operation operations[COUNT] = {0};
    char keys[COUNT][32];
    for (int i = 0; i < COUNT; i++) {
        snprintf(keys[i], sizeof(keys[i]), "large %d", i);
        operations[i] = (struct dynode_operation){
            .kind = DYNODE_PUT, .table = "t", .key = dynode_string(keys[i]), .value = {large, sizeof(large)}};
    }
    struct dynode_reply *reply = dynode_batch(client, operations, COUNT, 0);
    assert_int_equal(reply->status, DYNODE_OK);
    dynode_reply_free(reply);
    for (int i = 0; i < COUNT; i++) operations[i].kind = DYNODE_GET;
    reply = dynode_batch(client, operations, COUNT, 0);
    assert_int_equal(reply->status, DYNODE_OK);
    for (int i = 0; i < COUNT; i++) assert_int_equal(reply->results[i].siblings[0].value.size, sizeof(large));
    dynode_reply_free(reply);
}

static void test_siblings_in_parts(void **state)
{
    (void)state;
    start(1);
    open_client(1, 5000);
    assert_int_equal(put("parts", "abc", NULL), DYNODE_OK);
    struct dynode_reply *reply = dynode_get(client, "t", dynode_string("parts"));
    assert_int_equal(reply->status, DYNODE_OK);
    assert_int_equal(reply->results[0].sibling_count, 3);
    for (size_t i = 0; i < 3; i++) assert_memory_equal(reply->results[0].siblings[i].value.data, "abc", 3);
    dynode_reply_free(reply);
}

int __real_getaddrinfo(const char *node, const char *service, const struct addrinfo *hints,
                       struct addrinfo **found);
int __wrap_getaddrinfo(const char *node, const char *service, const struct addrinfo *hints,
                       struct addrinfo **found);

/* "slow.test" is this machine, after longer than connecting may take. */
int __wrap_getaddrinfo(const char *node, const char *service, const struct addrinfo *hints,
                       struct addrinfo **found)
{
    bool slow = strcmp(node, "slow.test") == 0;
    if (slow) usleep(400 * 1000);
    return __real_getaddrinfo(slow ? "127.0.0.1" : node, service, hints, found);
}

static void test_slow_lookup(void **state)
{
    (void)state;
    start(1);
    char address[256], why[256];
    snprintf(address, sizeof(address), "tcp://slow.test:%s", strrchr(nodes[0].address, ':') + 1);
    struct dynode_options options = {.connect_timeout_ms = 300, .any_node = true};
    assert_int_equal(dynode_open(address, &options, &client, why, sizeof(why)), DYNODE_OK);
    assert_int_equal(get("missing"), DYNODE_NOT_FOUND);
}

/* The first address is of every bad kind; the second answers. */
static void test_fail_over(void **state)
{
    (void)state;
    enum fake_hello kinds[] = {FAKE_HELLO_SILENT, FAKE_HELLO_CLOSE, FAKE_HELLO_HTTP, FAKE_HELLO_BUSY};
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        start(2);
        nodes[0].hello = kinds[i];
        open_client(2, 5000);
        enum dynode_applied applied;
        for (int k = 0; k < 8; k++) {
            char key[16];
            snprintf(key, sizeof(key), "key %d", k);
            assert_int_equal(put(key, "v", &applied), DYNODE_OK);
            assert_int_equal(get(key), DYNODE_OK);
        }
        assert_int_equal(nodes[0].operations, 0);
        stop(NULL);
    }
    /* Nobody listens there at all. */
    start(1);
    char addresses[256], why[256];
    snprintf(addresses, sizeof(addresses), "tcp://127.0.0.1:1,unix:///nonexistent/socket,%s",
             nodes[0].address);
    assert_int_equal(dynode_open(addresses, NULL, &client, why, sizeof(why)), DYNODE_OK);
    assert_int_equal(put("k", "v", NULL), DYNODE_OK);
    dynode_close(client);
    assert_int_equal(
        dynode_open("tcp://127.0.0.1:1,unix:///nonexistent/socket", NULL, &client, why, sizeof(why)),
        DYNODE_OK);
    int64_t began = now_ms();
    struct dynode_bytes none = {NULL, 0};
    struct dynode_reply *reply = dynode_put(client, "t", dynode_string("k"), none, none);
    assert_int_equal(reply->status, DYNODE_UNAVAILABLE);
    assert_int_equal(reply->results[0].applied, DYNODE_APPLIED_NO);
    assert_non_null(strstr(reply->results[0].message, "127.0.0.1:1: Connection refused"));
    assert_non_null(strstr(reply->results[0].message, "/nonexistent/socket: No such file"));
    assert_true(now_ms() - began < 4000); /* not the deadline: there was nobody to wait for */
    dynode_reply_free(reply);
}

/* Clients that lose the same node in the same moment do not come back to it in the same moment. */
static void test_reconnects_are_spread(void **state)
{
    (void)state;
    enum { CLIENTS = 200, FAILURES = 6, SPAN_MS = 1600 }; /* 50 ms, doubled five times */
    bool seen[SPAN_MS + 1] = {false};
    uint32_t distinct = 0;
    for (int i = 0; i < CLIENTS; i++) {
        char why[256];
        assert_int_equal(dynode_open("tcp://127.0.0.1:1", NULL, &client, why, sizeof(why)), DYNODE_OK);
        struct endpoint *endpoint = client->endpoints[0];
        for (int k = 0; k < FAILURES; k++) endpoint_failed(client, endpoint, "lost");
        int64_t delay = endpoint->down_until_ms - client->now_ms;
        assert_in_range(delay, SPAN_MS / 2, SPAN_MS);
        distinct += !seen[delay];
        seen[delay] = true;
        dynode_close(client);
        client = NULL;
    }
    assert_in_range(distinct, CLIENTS / 2, CLIENTS); /* some 177 of 200 drawn from 801 */
}

static uint32_t all_tries(void)
{
    uint32_t tries = 0;
    for (int i = 0; i < FAKE_NODES_MAX; i++) tries += nodes[i].tries;
    return tries;
}

static void test_writes_are_repeated_only_when_not_applied(void **state)
{
    (void)state;
    start(2);
    open_client(2, 2000);
    enum dynode_applied applied;
    uint32_t before = all_tries();
    assert_int_equal(put("maybe", "v", &applied), DYNODE_UNAVAILABLE);
    assert_int_equal(applied, DYNODE_APPLIED_MAYBE);
    assert_int_equal(all_tries(), before + 1);
    assert_int_equal(put("close", "v", &applied), DYNODE_UNAVAILABLE);
    assert_int_equal(applied, DYNODE_APPLIED_MAYBE);
    assert_int_equal(all_tries(), before + 2);
    assert_int_equal(put("garbage", "v", &applied), DYNODE_UNAVAILABLE);
    assert_int_equal(applied, DYNODE_APPLIED_MAYBE);
    assert_int_equal(all_tries(), before + 3);
    assert_int_equal(put("no 1", "v", &applied), DYNODE_OK);
    assert_int_equal(all_tries(), before + 5);
    assert_int_equal(put("busy 3", "v", &applied), DYNODE_OK);
    assert_int_equal(all_tries(), before + 9);
    /* Every node has said no: so does the client, with what they said. */
    struct dynode_bytes none = {NULL, 0};
    struct dynode_reply *reply = dynode_put(client, "t", dynode_string("no 9"), none, none);
    assert_int_equal(reply->status, DYNODE_UNAVAILABLE);
    assert_int_equal(reply->results[0].applied, DYNODE_APPLIED_NO);
    assert_int_equal(reply->results[0].got, 1);
    assert_int_equal(reply->results[0].needed, 2);
    dynode_reply_free(reply);
    assert_int_equal(all_tries(), before + 11);
    /* Reads go on to the other node, and end when there is none. */
    assert_int_equal(get("close"), DYNODE_UNAVAILABLE);
    assert_true(all_tries() >= before + 13);
    assert_int_equal(get("fine"), DYNODE_NOT_FOUND);
}

/* A node that restarts between two writes costs nothing: the second never left on the dead connection. */
static void test_restart_between_writes(void **state)
{
    (void)state;
    start(1);
    open_client(1, 2000);
    for (int i = 0; i < 10; i++) {
        assert_int_equal(put("k", "v", NULL), DYNODE_OK);
        nodes[0].drop_all = true;
        while (nodes[0].drop_all) {
        }
    }
}

static void test_a_silent_node_times_out(void **state)
{
    (void)state;
    start(1);
    open_client(1, 300);
    enum dynode_applied applied;
    int64_t began = now_ms();
    assert_int_equal(put("hang", "v", &applied), DYNODE_TIMEOUT);
    assert_int_equal(applied, DYNODE_APPLIED_MAYBE);
    assert_true(now_ms() - began >= 300);
    assert_int_equal(get("hang"), DYNODE_TIMEOUT);
    /* An answer after the client has given up belongs to nobody. */
    struct dynode_operation late = {.kind = DYNODE_GET, .table = "t", .key = dynode_string("late")};
    struct dynode_reply *reply = dynode_call(client, &late, 50);
    assert_int_equal(reply->status, DYNODE_TIMEOUT);
    dynode_reply_free(reply);
    for (int i = 0; i < 30; i++) assert_int_equal(get("key"), DYNODE_NOT_FOUND);
    /* In a batch the others have their answers. */
    struct dynode_operation operations[] = {{.kind = DYNODE_GET, .table = "t", .key = dynode_string("fine")},
                                            {.kind = DYNODE_GET, .table = "t", .key = dynode_string("hang")}};
    reply = dynode_batch(client, operations, 2, 200);
    assert_int_equal(reply->results[0].status, DYNODE_NOT_FOUND);
    assert_int_equal(reply->results[1].status, DYNODE_TIMEOUT);
    dynode_reply_free(reply);
}

static void note(void *data, struct dynode_reply *reply)
{
    static int done;
    if (data == NULL) {
        done = 0;
        return;
    }
    *(int *)data = reply->status == DYNODE_NOT_FOUND ? ++done : -1;
    dynode_reply_free(reply);
}

/* A machine that has lost its power ends no connection. Reads leave it before their deadline, on the
 * connection that was there and on new ones; writes that it may have do not. And when it is to be asked
 * again, one operation finds out, and the others do not wait for it. */
static void test_a_node_that_falls_silent(void **state)
{
    (void)state;
    enum { KEYS = 20 };
    start(2);
    open_client(2, 1200);
    while (client->cluster == NULL) get("missing");
    nodes[0].mute = true;
    struct dynode_operation operations[KEYS];
    char keys[KEYS][32];
    for (int i = 0, number = 0; i < KEYS; number++) {
        struct dynode_place place;
        snprintf(keys[i], sizeof(keys[i]), "k%d", number);
        operations[i] =
            (struct dynode_operation){.kind = DYNODE_GET, .table = "t", .key = dynode_string(keys[i])};
        assert_int_equal(dynode_place_find(client->cluster, "t", operations[i].key, &place), DYNODE_OK);
        if (place.nodes[0]->id == nodes[0].id && place.vnode % FAKE_SHARDS == 0) i++;
    }
    enum dynode_applied applied;
    assert_int_equal(get(keys[0]), DYNODE_NOT_FOUND); /* on a connection that may be new */
    nodes[0].mute = false;
    int64_t until = now_ms() + 20000;
    for (unsigned before = nodes[0].tries; nodes[0].tries < before + 2 && now_ms() < until;)
        for (int i = 0; i < KEYS; i++) assert_int_equal(get(keys[i]), DYNODE_NOT_FOUND);
    nodes[0].mute = true;
    struct dynode_reply *reply = dynode_batch(client, operations, KEYS, 0); /* on those that were there */
    assert_int_equal(reply->status, DYNODE_NOT_FOUND);
    dynode_reply_free(reply);
    nodes[0].mute = false;
    for (unsigned before = nodes[0].tries; nodes[0].tries < before + 2 && now_ms() < until;)
        for (int i = 0; i < KEYS; i++) assert_int_equal(get(keys[i]), DYNODE_NOT_FOUND);
    nodes[0].mute = true;
    assert_int_equal(put(keys[0], "v", &applied), DYNODE_TIMEOUT);
    assert_int_equal(applied, DYNODE_APPLIED_MAYBE);

    int64_t down_until_ms = 0;
    for (uint32_t i = 0; i < client->endpoint_count; i++)
        if (client->endpoints[i]->id == nodes[0].id) down_until_ms = client->endpoints[i]->down_until_ms;
    assert_true(down_until_ms > 0);
    while (now_ms() <= down_until_ms) usleep(1000);
    int order[KEYS] = {0};
    note(NULL, NULL);
    for (int i = 1; i < KEYS; i++) {
        assert_int_equal(dynode_submit(client, &operations[i], 1, 0, note, &order[i]), DYNODE_OK);
        if (i == 1) dynode_poll(client, 0);
    }
    while (dynode_in_flight(client) > 0) dynode_poll(client, -1);
    for (int i = 2; i < KEYS; i++) assert_in_range(order[i], 1, KEYS - 2);
    assert_int_equal(order[1], KEYS - 1);
}

static void test_keys_go_home(void **state)
{
    (void)state;
    start(3);
    open_client(1, 5000);
    assert_int_equal(get("first"), DYNODE_NOT_FOUND); /* learns the ring meanwhile */
    while (nodes[0].infos + nodes[1].infos + nodes[2].infos == 0) get("first");
    for (int i = 0; i < 20; i++) get("first");
    uint32_t misrouted = nodes[0].misrouted + nodes[1].misrouted + nodes[2].misrouted;
    char key[32];
    for (int i = 0; i < 200; i++) {
        snprintf(key, sizeof(key), "key %d", i);
        assert_int_equal(get(key), DYNODE_NOT_FOUND);
    }
    assert_int_equal(nodes[0].misrouted + nodes[1].misrouted + nodes[2].misrouted, misrouted);
    for (int i = 0; i < 3; i++) {
        assert_true(nodes[i].operations > 20);
        assert_true(nodes[i].connections <= FAKE_SHARDS);
    }
    /* Another ring: the next answers say so, and the client asks for it (at most twice a second). */
    cluster.turn = 1;
    int64_t until = now_ms() + 5000;
    uint32_t infos = nodes[0].infos + nodes[1].infos + nodes[2].infos;
    while (nodes[0].infos + nodes[1].infos + nodes[2].infos == infos && now_ms() < until) get("first");
    for (int i = 0; i < 20; i++) get("first");
    misrouted = nodes[0].misrouted + nodes[1].misrouted + nodes[2].misrouted;
    for (int i = 0; i < 200; i++) {
        snprintf(key, sizeof(key), "key %d", i);
        assert_int_equal(get(key), DYNODE_NOT_FOUND);
    }
    assert_int_equal(nodes[0].misrouted + nodes[1].misrouted + nodes[2].misrouted, misrouted);
    /* A home that is gone is passed over. */
    fake_stop(&nodes[2]);
    for (int i = 0; i < 100; i++) {
        snprintf(key, sizeof(key), "key %d", i);
        assert_int_equal(get(key), DYNODE_NOT_FOUND);
    }
    cluster.count = 2;
}

/* Keys of every vnode, one after the other and all at once: each node has one connection to each of its
 * shards, from the first that needed it on. */
static void test_a_connection_per_shard(void **state)
{
    (void)state;
    enum { COUNT = 500 };
    start(3);
    open_client(1, 30000);
    char key[32];
    for (int i = 0; i < COUNT; i++) {
        snprintf(key, sizeof(key), "key %d", i);
        assert_int_equal(get(key), DYNODE_NOT_FOUND);
    }
    for (int i = 0; i < COUNT; i++) {
        snprintf(key, sizeof(key), "key %d", i);
        struct dynode_operation operation = {.kind = DYNODE_GET, .table = "t", .key = dynode_string(key)};
        assert_int_equal(dynode_submit(client, &operation, 1, 0, ignore_reply, NULL), DYNODE_OK);
    }
    while (dynode_in_flight(client) > 0) dynode_poll(client, 1000);
    for (int i = 0; i < 3; i++) {
        for (int k = 0; k < FAKE_SHARDS; k++) assert_int_equal(nodes[i].greeted[k], 1);
        assert_int_equal(nodes[i].connections, FAKE_SHARDS);
    }
}

static void test_a_node_by_its_id(void **state)
{
    (void)state;
    start(3);
    open_client(1, 5000);
    struct dynode_operation operation = {.kind = DYNODE_CLUSTER_INFO, .node = 0x1002};
    uint32_t before = nodes[2].infos;
    struct dynode_reply *reply = dynode_call(client, &operation, 0);
    assert_int_equal(reply->status, DYNODE_OK);
    assert_int_equal(reply->results[0].cluster->member_count, 3);
    dynode_reply_free(reply);
    assert_int_equal(nodes[2].infos, before + 1);
    operation.node = 0x9999;
    reply = dynode_call(client, &operation, 0);
    assert_int_equal(reply->status, DYNODE_UNAVAILABLE);
    assert_non_null(strstr(reply->results[0].message, "no member"));
    dynode_reply_free(reply);
}

int main(int argc, char **argv)
{
    draw_seed(argc, argv);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_addresses, stop),
        cmocka_unit_test_teardown(test_values_come_back, stop),
        cmocka_unit_test_teardown(test_what_must_not_leave, stop),
        cmocka_unit_test_teardown(test_answers_in_any_order, stop),
        cmocka_unit_test_teardown(test_bound_in_flight, stop),
        cmocka_unit_test_teardown(test_large_batch, stop),
        cmocka_unit_test_teardown(test_siblings_in_parts, stop),
        cmocka_unit_test_teardown(test_slow_lookup, stop),
        cmocka_unit_test_teardown(test_fail_over, stop),
        cmocka_unit_test_teardown(test_reconnects_are_spread, stop),
        cmocka_unit_test_teardown(test_writes_are_repeated_only_when_not_applied, stop),
        cmocka_unit_test_teardown(test_restart_between_writes, stop),
        cmocka_unit_test_teardown(test_a_silent_node_times_out, stop),
        cmocka_unit_test_teardown(test_a_node_that_falls_silent, stop),
        cmocka_unit_test_teardown(test_keys_go_home, stop),
        cmocka_unit_test_teardown(test_a_connection_per_shard, stop),
        cmocka_unit_test_teardown(test_a_node_by_its_id, stop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
