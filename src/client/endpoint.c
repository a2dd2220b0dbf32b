#include <stdio.h>
#include <stdlib.h>

#include "base/backoff.h"
#include "base/check.h"
#include "client/internal.h"

enum { BACKOFF_MS_MIN = 50, BACKOFF_MS_MAX = 2000 };

struct endpoint *endpoint_add(struct dynode_client *client, const struct address *address)
{
    for (uint32_t i = 0; i < client->endpoint_count; i++) {
        if (strcmp(client->endpoints[i]->address.text, address->text) == 0) return client->endpoints[i];
    }
    if (client->endpoint_count == CLIENT_ENDPOINTS_MAX) return NULL;
    struct endpoint *endpoint = calloc(1, sizeof(*endpoint));
    struct endpoint **endpoints =
        realloc(client->endpoints, (client->endpoint_count + 1) * sizeof(*client->endpoints));
    CHECK(endpoint != NULL);
    CHECK(endpoints != NULL);
    endpoint->address = *address;
    endpoint->number = ++client->next_endpoint_number;
    client->endpoints = endpoints;
    client->endpoints[client->endpoint_count++] = endpoint;
    return endpoint;
}

static void endpoint_free(struct endpoint *endpoint)
{
    free(endpoint->by_shard);
    free(endpoint);
}

void endpoints_free(struct dynode_client *client)
{
    for (uint32_t i = 0; i < client->endpoint_count; i++) endpoint_free(client->endpoints[i]);
    free(client->endpoints);
    free(client->member_endpoints);
}

void endpoint_failed(struct dynode_client *client, struct endpoint *endpoint, const char *why)
{
    endpoint->down_until_ms = client->now_ms + (int64_t)backoff_draw(&client->prng, BACKOFF_MS_MIN,
                                                                     BACKOFF_MS_MAX, endpoint->failures++);
    snprintf(endpoint->why, sizeof(endpoint->why), "%s", why);
    if (client->preferred == endpoint) client->preferred = NULL;
    if (endpoint->member) client->doubted = true;
}

static struct channel **shard_slot(struct endpoint *endpoint, uint32_t shard)
{
    CHECK(shard >= 1 && shard <= CLIENT_SHARDS_MAX);
    if (shard > endpoint->by_shard_count) {
        struct channel **by_shard = realloc(endpoint->by_shard, shard * sizeof(struct channel *));
        CHECK(by_shard != NULL);
        for (uint32_t i = endpoint->by_shard_count; i < shard; i++) by_shard[i] = NULL;
        endpoint->by_shard = by_shard;
        endpoint->by_shard_count = shard;
    }
    return &endpoint->by_shard[shard - 1];
}

struct channel *endpoint_channel(struct dynode_client *client, struct endpoint *endpoint, uint32_t shard)
{
    if (shard == 0) {
        if (endpoint->any != NULL) return endpoint->any;
        endpoint->any = channel_open(client, endpoint, 0);
        return endpoint->any;
    }
    struct channel **slot = shard_slot(endpoint, shard);
    if (*slot == NULL) {
        *slot = channel_open(client, endpoint, shard);
        if (*slot != NULL && endpoint->any == NULL) endpoint->any = *slot;
    }
    return *slot;
}

void endpoint_learn_shard(struct endpoint *endpoint, struct channel *channel, uint32_t shard)
{
    if (shard < 1 || shard > endpoint->shards) return;
    struct channel **slot = shard_slot(endpoint, shard);
    if (*slot == NULL) *slot = channel;
}

void endpoint_forget_channel(struct endpoint *endpoint, struct channel *channel)
{
    if (endpoint->any == channel) endpoint->any = NULL;
    for (uint32_t i = 0; i < endpoint->by_shard_count; i++) {
        if (endpoint->by_shard[i] == channel) endpoint->by_shard[i] = NULL;
        if (endpoint->by_shard[i] != NULL && endpoint->any == NULL) endpoint->any = endpoint->by_shard[i];
    }
}

/* The endpoint for a member: one that said hello with its id, or one at its address, or a new one. */
static struct endpoint *endpoint_of_member(struct dynode_client *client, const struct dynode_member *member)
{
    for (uint32_t i = 0; i < client->endpoint_count; i++) {
        if (client->endpoints[i]->id == member->id) return client->endpoints[i];
    }
    struct address address;
    const char *why;
    if (!address_parse(member->client_address, strlen(member->client_address), &address, &why)) return NULL;
    return endpoint_add(client, &address);
}

/* Endpoints that are neither given nor members any more go, once nothing is under way on them. */
static void drop_strangers(struct dynode_client *client)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < client->endpoint_count; i++) {
        struct endpoint *endpoint = client->endpoints[i];
        bool busy = false;
        struct channel *channel;
        TAILQ_FOREACH(channel, &client->channels, link) busy |= channel->endpoint == endpoint;
        bool stranger = !endpoint->seed && !endpoint->member;
        if (stranger && client->preferred == endpoint) client->preferred = NULL;
        if (stranger && !busy)
            endpoint_free(endpoint);
        else
            client->endpoints[kept++] = endpoint;
    }
    client->endpoint_count = kept;
}

void topology_adopt(struct dynode_client *client, struct reply *reply)
{
    const struct dynode_cluster *cluster = reply->public.results[0].cluster;
    reply_free(client->topology);
    client->topology = reply;
    client->cluster = cluster;
    free(client->member_endpoints);
    client->member_endpoints = calloc(cluster->member_count, sizeof(struct endpoint *));
    CHECK(client->member_endpoints != NULL);
    for (uint32_t i = 0; i < client->endpoint_count; i++) client->endpoints[i]->member = false;
    for (uint32_t i = 0; i < cluster->member_count; i++) {
        struct endpoint *endpoint = endpoint_of_member(client, &cluster->members[i]);
        client->member_endpoints[i] = endpoint;
        if (endpoint == NULL) continue;
        endpoint->member = true;
        endpoint->id = cluster->members[i].id;
        /* Its own hello, if it has said one, knows better. */
        if (endpoint->shards == 0) endpoint->shards = cluster->members[i].shards;
    }
    drop_strangers(client);
}

void topology_forget(struct dynode_client *client)
{
    reply_free(client->topology);
    free(client->member_endpoints);
    client->topology = NULL;
    client->cluster = NULL;
    client->member_endpoints = NULL;
    if (!client->cluster_confirmed) client->cluster_id = 0;
    client->preferred = NULL;
    for (uint32_t i = 0; i < client->endpoint_count; i++) {
        struct endpoint *endpoint = client->endpoints[i];
        if (endpoint->any == NULL) endpoint->id = endpoint->shards = 0; /* else its own hello said so */
    }
    client->refresh_wanted = !client->options.any_node;
}

/* Not to be asked while others can be: it has failed a moment ago, or it has failed and one operation is
 * finding out whether it is back. Where a machine has lost its power that takes as long as connecting may
 * take, and all that belongs there would wait for it. */
static bool is_down(const struct dynode_client *client, const struct endpoint *endpoint, uint32_t shard)
{
    if (endpoint->down_until_ms > client->now_ms) return true;
    const struct channel *channel = endpoint->any;
    if (shard > 0) channel = shard > endpoint->by_shard_count ? NULL : endpoint->by_shard[shard - 1];
    return endpoint->failures > 0 && channel != NULL && channel->state != CHANNEL_READY;
}

static bool was_tried(const struct operation *operation, const struct endpoint *endpoint)
{
    for (uint8_t i = 0; i < operation->tried_count; i++) {
        if (operation->tried[i] == endpoint->number) return true;
    }
    return false;
}

static struct endpoint *route_to_node(struct dynode_client *client, const struct operation *operation,
                                      bool *wait)
{
    for (uint32_t i = 0; i < client->endpoint_count; i++) {
        struct endpoint *endpoint = client->endpoints[i];
        if (endpoint->id == operation->node) return was_tried(operation, endpoint) ? NULL : endpoint;
    }
    *wait = client->cluster == NULL;
    return NULL;
}

struct endpoint *topology_route(struct dynode_client *client, const struct operation *operation,
                                uint32_t *shard, bool *wait)
{
    *wait = false;
    *shard = 0;
    if (operation->node != 0) return route_to_node(client, operation, wait);
    struct dynode_place place = {.count = 0};
    const struct dynode_cluster *cluster = client->cluster;
    if (operation->routed && cluster != NULL && !client->options.any_node) {
        struct dynode_bytes key = {operation->key.data, operation->key.size};
        if (dynode_place_find(cluster, operation->table, key, &place) != DYNODE_OK) place.count = 0;
    }
    /* First those that are not known to be down, then, rather than give up, those that are. */
    for (int pass = 0; pass < 2; pass++) {
        for (uint32_t i = 0; i < place.count; i++) {
            struct endpoint *endpoint = client->member_endpoints[place.nodes[i] - cluster->members];
            if (endpoint == NULL || was_tried(operation, endpoint)) continue;
            uint32_t owner = endpoint->shards == 0 ? 0 : place.vnode % endpoint->shards + 1;
            if (pass == 0 && is_down(client, endpoint, owner)) continue;
            *shard = owner;
            return endpoint;
        }
        struct endpoint *preferred = client->preferred;
        if (preferred != NULL && !was_tried(operation, preferred)) return preferred;
        for (uint32_t i = 0; i < client->endpoint_count; i++) {
            struct endpoint *endpoint = client->endpoints[i];
            if (was_tried(operation, endpoint) || (!endpoint->seed && !endpoint->member)) continue;
            if (pass == 0 && is_down(client, endpoint, 0)) continue;
            return endpoint;
        }
    }
    return NULL;
}
