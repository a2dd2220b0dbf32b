#include "runtime/shard_store.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "base/log.h"

static enum status open_and_claim(const struct shard_store_options *options, const struct identity *identity,
                                  struct cluster *cluster, char *why, size_t why_bytes, struct store **store,
                                  bool *born)
{
    struct store_wt_options engine = options->engine;
    struct identity have;
    engine.path = options->path;
    why[0] = 0;
    enum status status = store_wt_open(&engine, why, why_bytes, store);
    if (status == STATUS_OK) {
        status = identity_claim(*store, identity, why, why_bytes, &have);
        if (status == STATUS_OK && cluster != NULL) status = cluster_load(*store, cluster);
        if (status == STATUS_OK) {
            *born = have.born;
            return STATUS_OK;
        }
        if (status == STATUS_NO_SPACE && why[0] == 0)
            snprintf(why, why_bytes, "%s: there is no room for a store: the disk %s", options->path,
                     store_full_text(*store));
        store_close(*store);
    }
    *store = NULL;
    if (why[0] == 0) snprintf(why, why_bytes, "%s: %s", options->path, status_text(status));
    return status;
}

enum status shard_store_open(const struct shard_store_options *options, struct cluster *cluster, char *why,
                             size_t why_bytes, struct store **store, bool *born)
{
    enum status status = open_and_claim(options, &options->identity, cluster, why, why_bytes, store, born);
    if (status == STATUS_STORE_BROKEN || status == STATUS_CORRUPT) {
        struct identity empty = options->identity;
        empty.born = false;
        status = shard_store_set_aside(options, why, why, why_bytes);
        if (status == STATUS_OK) status = open_and_claim(options, &empty, NULL, why, why_bytes, store, born);
    }
    return status == STATUS_OK || status == STATUS_IN_USE ? status : STATUS_INVALID;
}

enum status shard_store_set_aside(const struct shard_store_options *options, const char *reason, char *why,
                                  size_t why_bytes)
{
    char moved[SHARD_STORE_PATH_BYTES + 64];
    uint32_t shard = options->identity.shard;
    if (access(options->path, F_OK) != 0 && errno == ENOENT) {
        log_line(LOG_LEVEL_ERROR, "shard %u: its store is broken (%s) and gone", shard, reason);
        return STATUS_OK;
    }
    if (store_wt_set_aside(options->path, moved, sizeof(moved)) != STATUS_OK) {
        log_line(LOG_LEVEL_ERROR, "shard %u: its store is broken (%s)", shard, reason);
        snprintf(why, why_bytes, "%s is broken and can't be moved aside", options->path);
        return STATUS_INVALID;
    }
    log_line(LOG_LEVEL_ERROR,
             "shard %u: its store is broken (%s) and now %s (an operator may salvage it); the shard goes on "
             "with an empty one that counts for no read until it is filled",
             shard, reason, moved);
    return STATUS_OK;
}
