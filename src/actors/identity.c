#include "actors/identity.h"

#include <stdio.h>

#include "peer.pb-c.h"
#include "wire/cluster_wire.h"
#include "wire/unpack.h"

/* The record: six big-endian numbers, so that a hex dump of it can be read. */
enum { IDENTITY_BYTES = 8 + 8 + 4 + 4 + 4 + 1 };

static struct bytes identity_key(void)
{
    return bytes_str("identity");
}

static struct bytes cluster_key(void)
{
    return bytes_str("cluster");
}

enum status identity_read(struct store *store, struct identity *out)
{
    struct arena arena;
    arena_init(&arena, 0);
    struct bytes bytes;
    enum status status = store_get(store, STORE_META, identity_key(), &arena, &bytes);
    if (status == STATUS_OK && bytes.size != IDENTITY_BYTES) status = STATUS_CORRUPT;
    if (status == STATUS_OK) {
        const uint8_t *at = bytes.data;
        *out = (struct identity){.cluster = get_be64(at),
                                 .node = get_be64(at + 8),
                                 .shard = get_be32(at + 16),
                                 .shards = get_be32(at + 20),
                                 .vnodes = get_be32(at + 24),
                                 .born = at[28] != 0};
    }
    arena_fini(&arena);
    return status;
}

static enum status identity_write(struct store *store, const struct identity *identity)
{
    uint8_t bytes[IDENTITY_BYTES];
    put_be64(bytes, identity->cluster);
    put_be64(bytes + 8, identity->node);
    put_be32(bytes + 16, identity->shard);
    put_be32(bytes + 20, identity->shards);
    put_be32(bytes + 24, identity->vnodes);
    bytes[28] = identity->born;
    enum status status = store_put(store, STORE_META, identity_key(), bytes_of(bytes, sizeof(bytes)));
    if (status == STATUS_OK) status = store_commit(store);
    if (status == STATUS_OK) status = store_sync(store);
    return status;
}

enum status identity_claim(struct store *store, const struct identity *want, char *why, size_t why_bytes,
                           struct identity *out)
{
    struct identity have;
    enum status status = identity_read(store, &have);
    if (status == STATUS_NOT_FOUND) {
        status = identity_write(store, want);
        if (status == STATUS_OK) *out = *want;
        return status;
    }
    if (status != STATUS_OK) return status;
    if (have.cluster != want->cluster)
        snprintf(why, why_bytes, "the store belongs to cluster %016llx, the configuration says %016llx",
                 (unsigned long long)have.cluster, (unsigned long long)want->cluster);
    else if (have.node != want->node)
        snprintf(why, why_bytes, "the store belongs to node %016llx, the configuration says %016llx",
                 (unsigned long long)have.node, (unsigned long long)want->node);
    else if (have.shards != want->shards)
        snprintf(why, why_bytes, "the store was made with shards: %u, the configuration says %u", have.shards,
                 want->shards);
    else if (have.vnodes != want->vnodes)
        snprintf(why, why_bytes, "the store was made with vnodes: %u, the configuration says %u", have.vnodes,
                 want->vnodes);
    else if (have.shard != want->shard)
        snprintf(why, why_bytes, "the store is of shard %u, but lies where shard %u's should be", have.shard,
                 want->shard);
    else {
        *out = have;
        return STATUS_OK;
    }
    return STATUS_INVALID;
}

enum status cluster_load(struct store *store, struct cluster *cluster)
{
    struct arena arena;
    arena_init(&arena, 0);
    struct bytes bytes;
    ProtobufCMessage *message;
    struct cluster stored = {0};
    enum status status = store_get(store, STORE_META, cluster_key(), &arena, &bytes);
    if (status == STATUS_NOT_FOUND) {
        arena_fini(&arena);
        return STATUS_OK;
    }
    if (status == STATUS_OK &&
        unpack(&dynode__peer__cluster_state__descriptor, bytes, &arena, &message) != STATUS_OK)
        status = STATUS_CORRUPT;
    if (status == STATUS_OK && cluster_unpack((Dynode__Peer__ClusterState *)message, &stored) != STATUS_OK)
        status = STATUS_CORRUPT;
    if (status == STATUS_OK) {
        if (stored.id != cluster->id || stored.vnodes != cluster->vnodes)
            status = STATUS_INVALID;
        else
            cluster_merge(cluster, &stored);
        cluster_fini(&stored);
    }
    arena_fini(&arena);
    return status;
}

enum status cluster_save(struct store *store, const struct cluster *cluster, struct arena *arena)
{
    return store_put(store, STORE_META, cluster_key(), cluster_pack(cluster, arena));
}
