/* Config: all that a node is told before it starts: one YAML file, documented setting by setting in
 * configs/node.yaml.
 *
 * Reading it is pure (config_parse): bytes in, a checked value or one line that says which file, line and
 * setting is wrong and what would be right. Settings that concern the machine (does the directory exist, is
 * the port free) are tried where they are used (cli/serve.c). */
#pragma once

#include "base/arena.h"
#include "base/config_value.h"
#include "base/config_yaml.h"
#include "base/log.h"
#include "base/status.h"

enum {
    CONFIG_VNODES_MAX = 65536,
    CONFIG_SHARDS_MAX = 256,
    CONFIG_WEIGHT_MAX = 1000,
    CONFIG_N_MAX = 15,
    CONFIG_DATA_BYTES_MAX = 255, /* of the path */
    CONFIG_WHY_BYTES = 512,
};

struct config_member {
    uint64_t id;
    const char *name, *peer, *client, *zone; /* never NULL */
    uint32_t weight;
};

struct config_table {
    const char *name;
    bool lww; /* else siblings */
    uint32_t n, r, w;
    uint64_t ttl_ms; /* 0: for ever */
};

struct config {
    struct arena arena; /* all that the pointers point to */

    uint64_t cluster_id; /* 0: auto, to be drawn and kept with the data */
    uint32_t vnodes;
    const char *secret_file; /* NULL: none */

    uint64_t node_id; /* 0: auto */
    const char *name; /* "": by the id */
    const char *zone;
    uint32_t weight;

    const char *data;
    uint32_t shards; /* 0: auto; see config_shards */
    bool pin;

    const char **listen_client;
    uint32_t listen_client_count;
    const char *listen_peer;

    struct config_member *members; /* as they stand in the file */
    uint32_t member_count;         /* 0: a cluster of one */
    struct config_table *tables;
    uint32_t table_count;

    bool lsm;
    uint64_t cache_bytes; /* of the node, divided among its shards */
    uint64_t reserve_bytes;
    uint64_t hint_bytes_max; /* kept for other nodes, of the node, divided among its shards */
    uint64_t checkpoint_log_bytes;
    uint32_t checkpoint_seconds;

    uint32_t operations_max;            /* in flight, per shard */
    uint32_t connection_operations_max; /* in flight, per connection */
    uint32_t connections_max;           /* per node */

    enum log_level log_level;
};

/* Read @yaml. @file_name is for messages only. On success the caller frees *out (config_free).
 * STATUS_INVALID  *why is one line: "FILE:LINE: SETTING: what is wrong and what is allowed". */
enum status config_parse(struct bytes yaml, const char *file_name, struct config **out, char *why,
                         size_t why_bytes);

/* Read the file at @path. STATUS_INVALID  As above, or it can't be read, or is no plain file, or is above 1
 * MiB. */
enum status config_load(const char *path, struct config **out, char *why, size_t why_bytes);

void config_free(struct config *config);

/* This node's own record among the members, NULL in a cluster of one. */
const struct config_member *config_self(const struct config *config);

/* The number of shards; for auto that of the cores this process may run on, at most CONFIG_SHARDS_MAX. */
uint32_t config_shards(const struct config *config);
