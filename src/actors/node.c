#include "actors/node.h"

#include <stdlib.h>

#include "actor/shard_state.h"
#include "actors/antientropy.h"
#include "actors/coordinator.h"
#include "actors/copies.h"
#include "actors/gossip.h"
#include "actors/handoff.h"
#include "actors/proofs.h"
#include "actors/reap.h"
#include "actors/replica.h"
#include "actors/router.h"
#include "base/check.h"

void node_init(struct shard *shard, const struct node_options *options)
{
    struct cluster *cluster = calloc(1, sizeof(*cluster));
    CHECK(cluster != NULL);
    cluster_copy(&options->cluster, cluster);
    struct member self = options->self;
    cluster_assert_member(cluster, &self);
    shard_set_cluster(shard, cluster);
    struct hints *hints = calloc(1, sizeof(*hints));
    CHECK(hints != NULL);
    uint64_t bytes_max = options->hint_bytes_max;
    if (bytes_max == 0) bytes_max = NODE_HINT_BYTES_MAX_DEFAULT / shard->options.shards;
    if (hints_load(hints, shard->options.store, bytes_max) != STATUS_OK) shard->turn.store_broken = true;
    struct copies *copies = calloc(1, sizeof(*copies));
    CHECK(copies != NULL);
    if (copies_load(copies, shard->options.store, options->born, cluster->vnodes, prng_next(&shard->prng)) !=
        STATUS_OK)
        shard->turn.store_broken = true;
    copies->ripe_ns = options->reap_after_ns;
    struct reap *reap = calloc(1, sizeof(*reap));
    CHECK(reap != NULL);
    if (reap_load(reap, shard->options.store, cluster->vnodes) != STATUS_OK) shard->turn.store_broken = true;
    reap->on = options->reap_after_ns != 0;
    struct proofs *proofs = calloc(1, sizeof(*proofs));
    CHECK(proofs != NULL);
    proofs_init(proofs, options->cluster.vnodes);
    router_add(shard, options, hints, copies, reap, proofs);
    struct forest *forest = forest_alloc(options->cluster.vnodes);
    struct governor *governor = malloc(sizeof(*governor));
    CHECK(governor != NULL);
    governor_init(governor);
    coordinator_add(shard, &options->secret, governor);
    replica_add(shard, options->cluster.vnodes, forest, hints, copies, reap);
    handoff_add(shard, hints, governor);
    gossip_add(shard, &(struct gossip_options){
                          .self = self, .unpublished = options->replaced, .silent = options->silent});
    shard->peers.silent = options->silent;
    struct antientropy_options antientropy = {.pass_ns = options->repair_pass_ns,
                                              .audit_ns = options->audit_pass_ns};
    antientropy_add(shard, &antientropy, forest, governor, copies, reap, proofs);
}

void node_drain(struct shard *shard)
{
    router_drain(shard->client_actor);
}

const struct copies *node_copies(const struct shard *shard)
{
    return router_copies(shard->client_actor);
}

const struct hints *node_hints(const struct shard *shard)
{
    return router_hints(shard->client_actor);
}

struct forest *node_forest(const struct shard *shard)
{
    return antientropy_forest(shard_actor_for(shard, DYNODE__PEER__MESSAGE__BODY_TREE_ROOTS));
}

bool node_is_tree_sure(const struct shard *shard, uint32_t vnode)
{
    return antientropy_is_sure(shard_actor_for(shard, DYNODE__PEER__MESSAGE__BODY_TREE_ROOTS), vnode);
}

uint32_t node_in_flight(const struct shard *shard)
{
    return router_in_flight(shard->client_actor);
}
