#include "actors/node.h"

#include <stdlib.h>

#include "actor/shard_state.h"
#include "actors/coordinator.h"
#include "actors/gossip.h"
#include "actors/replica.h"
#include "actors/router.h"
#include "base/check.h"

void node_init(struct shard *shard, const struct node_options *options)
{
    struct cluster *cluster = calloc(1, sizeof(*cluster));
    CHECK(cluster != NULL);
    cluster_copy(&options->cluster, cluster);
    cluster_merge_member(cluster, &options->self);
    shard_set_cluster(shard, cluster);
    router_add(shard, options);
    coordinator_add(shard, &options->secret);
    replica_add(shard, options->filled, options->cluster.vnodes);
    gossip_add(shard, options->replaced);
}

void node_drain(struct shard *shard)
{
    router_drain(shard->client_actor);
}

uint32_t node_in_flight(const struct shard *shard)
{
    return router_in_flight(shard->client_actor);
}
