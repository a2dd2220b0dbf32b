/* Whole nodes in this process, their threads, stores and links real; only the client port is the fixture's.
 * Also run under ThreadSanitizer. */
#include <fcntl.h>
#include <glob.h>
#include <inttypes.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/log.h"
#include "base/prng.h"
#include "node_runtime_fixture.h"
#include "runtime/node_record.h"
#include "runtime/shard_store.h"

enum { KEYS = 300, VALUE_BYTES_MAX = 2000 };

static struct bytes value_of(uint8_t value[VALUE_BYTES_MAX], uint64_t seed, uint64_t key)
{
    struct prng prng;
    prng_init(&prng, seed + key);
    size_t size = (size_t)prng_below(&prng, VALUE_BYTES_MAX + 1);
    for (size_t i = 0; i < size; i++) value[i] = (uint8_t)prng_next(&prng);
    return bytes_of(value, size);
}

/* A client on one shard's connection: its own keys, half of which live on the other shard. */
struct client {
    struct fixture fixture; /* a view: its own request numbers */
    uint32_t shard;
    uint64_t seed;
    uint32_t failures;
};

static void *put_and_get(void *argument)
{
    struct client *client = argument;
    uint8_t bytes[VALUE_BYTES_MAX];
    for (uint64_t i = 0; i < KEYS; i++) {
        uint64_t key = i * 2 + client->shard;
        struct bytes value = value_of(bytes, client->seed, key);
        client->failures += fixture_put(&client->fixture, client->shard, "things", key, value) != STATUS_OK;
        client->failures += fixture_get(&client->fixture, client->shard, "things", key, value) != STATUS_OK;
    }
    return NULL;
}

static void two_shards_and_a_restart(void **state)
{
    (void)state;
    struct fixture fixture;
    uint8_t bytes[VALUE_BYTES_MAX];
    uint64_t seed = prng_entropy();
    printf("seed %" PRIu64 "\n", seed);
    fixture_init(&fixture, 2, 5);
    fixture_start(&fixture);
    assert_int_equal(fixture_create_table(&fixture, "things", 1), STATUS_OK);
    struct client clients[2];
    pthread_t threads[2];
    for (uint32_t i = 0; i < 2; i++) {
        clients[i] = (struct client){.shard = i, .seed = seed};
        clients[i].fixture.clients[i] = fixture.clients[i];
        clients[i].fixture.next_request = 1000;
        assert_int_equal(pthread_create(&threads[i], NULL, put_and_get, &clients[i]), 0);
    }
    for (uint32_t i = 0; i < 2; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(clients[i].failures, 0);
    }
    assert_true(fixture_stop(&fixture));
    assert_int_equal(fixture.drained, 2);

    /* All is there again, through the other shard's connection too; the table was kept. */
    fixture_start(&fixture);
    for (uint64_t key = 0; key < 2 * KEYS; key++) {
        struct bytes value = value_of(bytes, seed, key);
        assert_int_equal(fixture_get(&fixture, (uint32_t)(key / 2 % 2), "things", key, value), STATUS_OK);
    }
    assert_int_equal(fixture_get(&fixture, 0, "things", 2 * KEYS, bytes_of(NULL, 0)), STATUS_NOT_FOUND);
    assert_true(fixture_stop(&fixture));
    fixture_fini(&fixture);
}

static void expect_start(const struct fixture *fixture, enum status status, const char *text)
{
    char why[NODE_WHY_BYTES];
    struct node_runtime *node;
    assert_int_equal(node_runtime_start(&fixture->options, why, &node), status);
    if (strstr(why, text) == NULL) fail_msg("\"%s\" does not say \"%s\"", why, text);
    assert_null(strchr(why, '\n'));
}

static void what_keeps_a_node_from_starting(void **state)
{
    (void)state;
    struct fixture fixture, changed;
    char path[256], why[NODE_WHY_BYTES];
    fixture_init(&fixture, 2, 5);
    fixture_start(&fixture);
    expect_start(&fixture, STATUS_IN_USE, "in use by another process");
    assert_true(fixture_stop(&fixture));

    changed = fixture, changed.options.self.shards = 3;
    expect_start(&changed, STATUS_INVALID, "shards: 2, not 3");
    changed = fixture, changed.options.self.id = 6;
    expect_start(&changed, STATUS_INVALID, "is that of node 0000000000000005");
    changed = fixture, changed.cluster.id = 98, changed.options.cluster = &changed.cluster;
    expect_start(&changed, STATUS_INVALID, "in cluster 0000000000000063");
    changed = fixture, changed.cluster.vnodes = 128, changed.options.cluster = &changed.cluster;
    expect_start(&changed, STATUS_INVALID, "vnodes: 64, not 128");
    changed = fixture, changed.options.peer_address = "tcp://256.0.0.1:1";
    expect_start(&changed, STATUS_INVALID, "can't listen for peers");
    snprintf(path, sizeof(path), "%s/node/below", fixture.data);
    changed = fixture, changed.options.data = path;
    expect_start(&changed, STATUS_INVALID, "can't be made");
    changed = fixture, changed.options.data = "/proc";
    expect_start(&changed, STATUS_INVALID, "can't be written");

    /* The record is damaged: said, not mended. */
    struct node_record record;
    snprintf(path, sizeof(path), "%s/node", fixture.data);
    assert_int_equal(node_record_read(fixture.data, &record, why, sizeof(why)), STATUS_OK);
    assert_true(record.complete);
    assert_int_equal(truncate(path, 40), 0);
    expect_start(&fixture, STATUS_INVALID, "is damaged");
    assert_int_equal(node_record_write(fixture.data, &record, why, sizeof(why)), STATUS_OK);

    /* None of it has harmed anything. */
    fixture_start(&fixture);
    assert_true(fixture_stop(&fixture));
    fixture_fini(&fixture);
}

static void damage(const char *pattern)
{
    glob_t found;
    uint8_t garbage[65536];
    memset(garbage, 0xa5, sizeof(garbage));
    assert_int_equal(glob(pattern, 0, NULL, &found), 0);
    for (size_t i = 0; i < found.gl_pathc; i++) {
        struct stat stat;
        int fd = open(found.gl_pathv[i], O_WRONLY);
        assert_true(fd >= 0);
        assert_int_equal(fstat(fd, &stat), 0);
        for (off_t at = 0; at < stat.st_size; at += (off_t)sizeof(garbage))
            assert_true(pwrite(fd, garbage, sizeof(garbage), at) > 0);
        close(fd);
    }
    globfree(&found);
}

static bool is_there(const char *pattern)
{
    glob_t found;
    bool there = glob(pattern, 0, NULL, &found) == 0;
    globfree(&found);
    return there;
}

/* A store that was damaged while the node was down: moved aside; its shard has nothing (with N=1 nobody else
 * has either, so that it is filled: what it held is gone), the other one serves. */
static void a_broken_store_at_the_start(void **state)
{
    (void)state;
    struct fixture fixture;
    char pattern[512];
    uint8_t bytes[VALUE_BYTES_MAX];
    fixture_init(&fixture, 2, 5);
    fixture_start(&fixture);
    assert_int_equal(fixture_create_table(&fixture, "things", 1), STATUS_OK);
    for (uint64_t key = 0; key < 40; key++)
        assert_int_equal(fixture_put(&fixture, 0, "things", key, value_of(bytes, 1, key)), STATUS_OK);
    assert_true(fixture_stop(&fixture));
    snprintf(pattern, sizeof(pattern), "%s/shard-001/*", fixture.data);
    damage(pattern);
    fixture_start(&fixture);
    snprintf(pattern, sizeof(pattern), "%s/shard-001.broken-*", fixture.data);
    assert_true(is_there(pattern));
    uint32_t served = 0, gone = 0;
    for (uint64_t key = 0; key < 40; key++) {
        enum status status = fixture_get(&fixture, 0, "things", key, value_of(bytes, 1, key));
        served += status == STATUS_OK;
        gone += status == STATUS_NOT_FOUND;
    }
    assert_int_equal(served + gone, 40);
    assert_true(served > 0);
    assert_true(gone > 0);
    assert_true(fixture_stop(&fixture));

    /* One that a crash left before it could say whose it is opens, and says now that it replaced another. */
    snprintf(pattern, sizeof(pattern), "mv %s/shard-001 %s/half-made && mkdir %s/shard-001", fixture.data,
             fixture.data, fixture.data);
    assert_int_equal(system(pattern), 0);
    fixture_start(&fixture);
    assert_true(fixture_stop(&fixture));
    struct identity identity;
    char half_made[512], why[NODE_WHY_BYTES];
    struct store_wt_options half = fixture.options.store;
    struct store *store;
    snprintf(half_made, sizeof(half_made), "%s/shard-001", fixture.data);
    half.path = half_made;
    assert_int_equal(store_wt_open(&half, why, sizeof(why), &store), STATUS_OK);
    assert_int_equal(identity_read(store, &identity), STATUS_OK);
    assert_false(identity.born);
    store_close(store);

    /* One whose cluster state cannot be read is broken like any other: the node starts, with the state it is
     * told. */
    struct store_wt_options options = fixture.options.store;
    char path[512];
    snprintf(path, sizeof(path), "%s/shard-000", fixture.data);
    options.path = path;
    assert_int_equal(store_wt_open(&options, why, sizeof(why), &store), STATUS_OK);
    assert_int_equal(store_put(store, STORE_META, bytes_str("cluster"), bytes_str("\xff is no state")),
                     STATUS_OK);
    assert_int_equal(store_commit(store), STATUS_OK);
    assert_int_equal(store_sync(store), STATUS_OK);
    store_close(store);
    fixture_start(&fixture);
    snprintf(pattern, sizeof(pattern), "%s/shard-000.broken-*", fixture.data);
    assert_true(is_there(pattern));
    assert_true(fixture_stop(&fixture));

    /* One that is gone altogether. */
    snprintf(pattern, sizeof(pattern), "mv %s/shard-000 %s/elsewhere", fixture.data, fixture.data);
    assert_int_equal(system(pattern), 0);
    fixture_start(&fixture);
    assert_int_not_equal(fixture_get(&fixture, 0, "things", 0, bytes_of(NULL, 0)), STATUS_OK);
    assert_true(fixture_stop(&fixture));
    fixture_fini(&fixture);
}

/* A store that breaks while it is used: that shard's clients are let go, it starts anew, the other shard goes
 * on. */
static void break_while_it_runs(uint32_t shard)
{
    enum { MANY = 600, LARGE = 40000 };
    struct fixture fixture;
    char pattern[512];
    uint8_t *large = malloc(LARGE);
    struct prng prng;
    prng_init(&prng, 3);
    for (size_t i = 0; i < LARGE; i++) large[i] = (uint8_t)prng_next(&prng);
    fixture_init(&fixture, 2, 5);
    fixture.options.store.cache_bytes = 2 << 20; /* so that reads go to the disk */
    fixture_start(&fixture);
    assert_int_equal(fixture_create_table(&fixture, "things", 1), STATUS_OK);
    for (uint64_t key = 0; key < MANY; key++)
        assert_int_equal(fixture_put(&fixture, 0, "things", key, bytes_of(large, LARGE)), STATUS_OK);
    snprintf(pattern, sizeof(pattern), "%s/shard-%03u/*.wt", fixture.data, shard);
    damage(pattern);
    for (uint64_t key = 0; key < MANY && fixture.restarts == 0; key++)
        fixture_get(&fixture, 1 - shard, "things", key, bytes_of(large, LARGE));
    for (int i = 0; i < 1000 && fixture.restarts == 0; i++) usleep(10000); /* it is being replaced */
    assert_int_equal(fixture.restarts, 1);
    snprintf(pattern, sizeof(pattern), "%s/shard-%03u.broken-*", fixture.data, shard);
    assert_true(is_there(pattern));
    uint32_t served = 0, gone = 0;
    for (uint64_t key = 0; key < 60; key++) {
        enum status status = fixture_get(&fixture, 1 - shard, "things", key, bytes_of(large, LARGE));
        served += status == STATUS_OK;
        gone += status == STATUS_NOT_FOUND;
        assert_int_equal(fixture_put(&fixture, 1 - shard, "things", key, bytes_of(large, LARGE)), STATUS_OK);
    }
    assert_int_equal(served + gone, 60);
    assert_true(served > 0);
    assert_true(gone > 0);
    assert_int_equal(fixture.restarts, 1);
    assert_true(fixture_stop(&fixture));

    /* What was known of the cluster is known on. */
    fixture_start(&fixture);
    for (uint64_t key = 0; key < 60; key++)
        assert_int_equal(fixture_put(&fixture, 0, "things", key, bytes_of(large, LARGE)), STATUS_OK);
    assert_true(fixture_stop(&fixture));
    fixture_fini(&fixture);
    free(large);
}

static void a_store_breaks_while_it_runs(void **state)
{
    (void)state;
    break_while_it_runs(1);
}

static void the_store_of_the_cluster_state_breaks(void **state)
{
    (void)state;
    break_while_it_runs(CLUSTER_OWNER_SHARD);
}

/* A disk that lets no new store be made for a while: the broken one is moved aside once, and the new one is
 * made when it may. */
static void a_store_is_replaced_at_last(void **state)
{
    (void)state;
    char data[] = "/tmp/dynode-shard-store-XXXXXX", pattern[512], why[512];
    struct store *store;
    bool born = true;
    glob_t found;
    assert_non_null(mkdtemp(data));
    struct shard_store_options options = {
        .engine = {.cache_bytes = 16 << 20},
        .identity = {.cluster = 1, .node = 5, .shards = 2, .vnodes = 64, .born = true},
    };
    snprintf(options.path, sizeof(options.path), "%s/shard-000", data);
    snprintf(pattern, sizeof(pattern), "%s/shard-000.broken-*", data);
    assert_int_equal(shard_store_open(&options, NULL, why, sizeof(why), &store, &born), STATUS_OK);
    assert_true(born);
    store_close(store);
    options.identity.born = false;
    options.engine.cache_bytes = 1; /* refused */
    for (int i = 0; i < 3; i++) {
        assert_int_equal(shard_store_set_aside(&options, "a test", why, sizeof(why)), STATUS_OK);
        assert_int_equal(shard_store_open(&options, NULL, why, sizeof(why), &store, &born), STATUS_INVALID);
    }
    options.engine.cache_bytes = 16 << 20;
    assert_int_equal(shard_store_open(&options, NULL, why, sizeof(why), &store, &born), STATUS_OK);
    assert_false(born);
    store_close(store);
    assert_int_equal(glob(pattern, 0, NULL, &found), 0);
    assert_int_equal(found.gl_pathc, 1);
    globfree(&found);
    snprintf(pattern, sizeof(pattern), "rm -r %s", data);
    assert_int_equal(system(pattern), 0);
}

/* Two nodes, two shards each, over real links: what one takes the other has. */
static void two_nodes(void **state)
{
    (void)state;
    struct fixture fixtures[2];
    char addresses[2][ADDRESS_BYTES_MAX + 1];
    uint8_t bytes[VALUE_BYTES_MAX];
    uint64_t seed = prng_entropy();
    printf("seed %" PRIu64 "\n", seed);
    for (int i = 0; i < 2; i++) {
        fixture_init(&fixtures[i], 2, 5 + (uint64_t)i);
        snprintf(addresses[i], sizeof(addresses[i]), "ipc://%.100s/peer", fixtures[i].data);
        struct member *self = &fixtures[i].options.self;
        memcpy(self->peer_address, addresses[i], sizeof(self->peer_address));
        fixtures[i].options.peer_address = addresses[i];
    }
    for (int i = 0; i < 2; i++) {
        struct member other = fixtures[1 - i].options.self;
        other.shards = 0;
        cluster_merge_member(&fixtures[i].cluster, &other);
        cluster_merge_member(&fixtures[i].cluster, &fixtures[i].options.self);
        fixture_start(&fixtures[i]);
    }
    enum status status = STATUS_UNAVAILABLE;
    for (int i = 0; i < 500 && status != STATUS_OK && status != STATUS_TABLE_EXISTS;
         i++) { /* links come up */
        status = fixture_create_table(&fixtures[0], "things", 2);
        usleep(10000);
    }
    /* Until every link is up in both directions an answer may be lost, and the outcome unknown. */
    for (int i = 0, good = 0; good < 20; i++) {
        assert_true(i < 1000);
        status = fixture_put(&fixtures[i % 2], (uint32_t)(i / 2 % 2), "things", 10000 + (uint64_t)i,
                             value_of(bytes, seed, 0));
        good = status == STATUS_OK ? good + 1 : 0;
        if (good == 0) usleep(10000);
    }
    for (uint64_t key = 1; key < KEYS; key++)
        assert_int_equal(fixture_put(&fixtures[key % 2], (uint32_t)(key / 2 % 2), "things", key,
                                     value_of(bytes, seed, key)),
                         STATUS_OK);
    /* Writes came before each had heard that nobody held anything: copies may have to be filled first. */
    for (uint64_t key = 1, tries = 0; key < KEYS; key++) {
        do {
            status = fixture_get(&fixtures[1 - key % 2], (uint32_t)(key / 2 % 2), "things", key,
                                 value_of(bytes, seed, key));
            if (status == STATUS_UNAVAILABLE) usleep(10000);
        } while (status == STATUS_UNAVAILABLE && ++tries < 2000);
        assert_int_equal(status, STATUS_OK);
    }

    /* With one away nothing hangs; once it is back all is served again. */
    assert_true(fixture_stop(&fixtures[1]));
    assert_int_equal(fixture_get(&fixtures[0], 0, "things", 1, bytes_of(NULL, 0)), STATUS_UNAVAILABLE);
    fixture_start(&fixtures[1]);
    status = STATUS_UNAVAILABLE;
    for (int i = 0; i < 1000 && status != STATUS_OK; i++) {
        status = fixture_get(&fixtures[0], 0, "things", 1, value_of(bytes, seed, 1));
        usleep(10000);
    }
    assert_int_equal(status, STATUS_OK);
    for (int i = 0; i < 2; i++) {
        assert_true(fixture_stop(&fixtures[i]));
        fixture_fini(&fixtures[i]);
    }
}

/* A WiredTiger connection that has panicked does not free all it had when it is closed. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
    return "leak:libwiredtiger";
}

int main(int argc, char **argv)
{
    log_set_level(getenv("DYNODE_TEST_LOG") != NULL ? LOG_LEVEL_DEBUG : LOG_LEVEL_ERROR);
    if (argc > 1) cmocka_set_test_filter(argv[1]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(two_shards_and_a_restart),
        cmocka_unit_test(what_keeps_a_node_from_starting),
        cmocka_unit_test(a_broken_store_at_the_start),
        cmocka_unit_test(a_store_breaks_while_it_runs),
        cmocka_unit_test(the_store_of_the_cluster_state_breaks),
        cmocka_unit_test(a_store_is_replaced_at_last),
        cmocka_unit_test(two_nodes),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    process_exit(failed);
}
