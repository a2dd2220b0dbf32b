#include "client_fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

uint64_t seed;
struct fake_cluster cluster;
struct fake_node nodes[FAKE_NODES_MAX];
struct dynode_client *client;

void draw_seed(int argc, char **argv)
{
    seed = argc > 1 ? strtoull(argv[1], NULL, 0) : prng_entropy();
    printf("seed %llu\n", (unsigned long long)seed);
}

int64_t now_ms(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

void open_client(uint32_t count, uint32_t deadline_ms)
{
    char addresses[FAKE_NODES_MAX * 128] = "";
    char why[256];
    for (uint32_t i = 0; i < count; i++) {
        if (i > 0) strcat(addresses, ",");
        strcat(addresses, nodes[i].address);
    }
    struct dynode_options options = {.deadline_ms = deadline_ms, .grace_ms = 100, .connect_timeout_ms = 300};
    assert_int_equal(dynode_open(addresses, &options, &client, why, sizeof(why)), DYNODE_OK);
}

void start(uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) fake_start(&nodes[i], &cluster, seed + i);
}

int stop(void **state)
{
    (void)state;
    dynode_close(client);
    client = NULL;
    for (int i = 0; i < FAKE_NODES_MAX; i++) fake_stop(&nodes[i]);
    memset(nodes, 0, sizeof(nodes));
    fake_forget(&cluster);
    return 0;
}

enum dynode_status put(const char *key, const char *value, enum dynode_applied *applied)
{
    struct dynode_bytes none = {NULL, 0};
    struct dynode_reply *reply = dynode_put(client, "t", dynode_string(key), dynode_string(value), none);
    enum dynode_status status = reply->status;
    if (applied != NULL) *applied = reply->results[0].applied;
    dynode_reply_free(reply);
    return status;
}

enum dynode_status get(const char *key)
{
    struct dynode_reply *reply = dynode_get(client, "t", dynode_string(key));
    enum dynode_status status = reply->status;
    dynode_reply_free(reply);
    return status;
}
