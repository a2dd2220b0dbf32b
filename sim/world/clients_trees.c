/* What the trees say of the stores: anti-entropy compares nothing else. A tree that is wrong in the same way
 * everywhere hides a difference, one that is wrong at one home has it compared for ever; and an audit mends
 * either, so they are looked at while writes are fresh too. */
#include <stdlib.h>

#include "actors/node.h"
#include "actors/table_homes.h"
#include "base/check.h"
#include "merkle/forest.h"
#include "wire/object_wire.h"
#include "world/checker.h"
#include "world/clients_state.h"

/* A vnode's tree as it should be, from the objects themselves. */
struct rebuild {
    const struct turn *turn;
    uint32_t n; /* the tree is of the tables with so many homes */
    struct tree tree;
    uint32_t unknown; /* objects that can't be read, or are of no table that is known here */
};

static bool add_object(void *context, struct bytes key, struct bytes value)
{
    struct rebuild *rebuild = context;
    struct store_place place;
    struct bytes encoded;
    CHECK(store_key_decode(key, &place));
    const struct cluster *cluster = rebuild->turn->cluster;
    uint32_t n = table_homes_count(cluster_find_tag(cluster, place.tag), rebuild->turn);
    if (n == rebuild->n && object_unseal(key, value, &encoded) == STATUS_OK)
        tree_replace(&rebuild->tree, tree_leaf(place.hash, cluster->vnodes), 0, object_checksum(value));
    else
        rebuild->unknown++;
    return true;
}

static enum status scan_vnode(struct store *store, uint32_t vnode, struct rebuild *rebuild)
{
    uint8_t from[2] = {(uint8_t)(vnode >> 8), (uint8_t)vnode};
    uint8_t to[2] = {(uint8_t)((vnode + 1) >> 8), (uint8_t)(vnode + 1)};
    size_t to_bytes = vnode < UINT16_MAX ? sizeof(to) : 0;
    return store_scan(store, STORE_OBJECTS, bytes_of(from, sizeof(from)), bytes_of(to, to_bytes), add_object,
                      rebuild);
}

/* @equal: it has to be as those of other homes. False: nothing can be said of it. */
static bool look(struct clients *clients, uint32_t node, uint32_t vnode, bool equal, struct tree_copy *out)
{
    struct world *world = clients->world;
    uint32_t number = vnode % world_shards(world, node);
    struct shard *shard = world_shard(world, node, number);
    struct store *store = world_store(world, node, number);
    if (shard == NULL || store_error(store)[0] != 0) return false;
    const struct turn *turn = shard_turn_context(shard);
    struct forest *forest = node_forest(shard);
    const struct table *table = cluster_find_table(turn->cluster, bytes_str("t"));
    if (table == NULL) return false;
    struct rebuild rebuild = {.turn = turn, .n = table_homes_count(table, turn)};
    tree_init(&rebuild.tree);
    if (scan_vnode(store, vnode, &rebuild) != STATUS_OK || rebuild.unknown > 0) return false;
    *out = (struct tree_copy){.vnode = vnode, .node = node, .rebuilt = tree_root(&rebuild.tree)};
    out->built = node_is_tree_sure(shard, vnode);
    if (out->built) out->root = forest_root(forest, vnode, rebuild.n);
    out->compared = equal && ring_is_home(turn->ring, vnode, rebuild.n, turn->self.node) &&
                    world_is_copy_filled(world, node, vnode, rebuild.n);
    return true;
}

void clients_judge_trees(struct clients *clients, uint32_t nodes, bool equal)
{
    struct world *world = clients->world;
    uint32_t all = world_nodes(world), count = 0, up = 0;
    while ((nodes >> up & 1) == 0) up++;
    uint32_t vnodes = shard_turn_context(world_shard(world, up, 0))->cluster->vnodes;
    struct tree_copy *trees = calloc((size_t)vnodes * all, sizeof(*trees));
    CHECK(trees != NULL);
    for (uint32_t vnode = 0; vnode < vnodes; vnode++) {
        uint32_t compared = 0;
        for (uint32_t node = 0; node < all; node++) {
            if ((nodes >> node & 1) == 0 || !look(clients, node, vnode, equal, &trees[count])) continue;
            compared += trees[count++].compared;
        }
        clients->judged[CLIENTS_TREES] += compared > 1;
    }
    checker_trees(trees, count, &clients->verdict);
    free(trees);
}
