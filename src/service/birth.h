/* Birth: what a configuration makes a node of: its own member's record, the first state of its cluster, the
 * secret. */
#pragma once

#include "base/config.h"
#include "ring/cluster.h"
#include "wire/context.h"

struct birth {
    struct cluster cluster; /* the configured members and tables; a node's own record is `self` */
    struct member self;
    struct context_secret secret;
};

/* @cluster_id and @node_id: as the data directory has them. @client_address: where it really listens, if no
 * member's record says it. @peer_address likewise. @wall_ms: its incarnation. The caller ends with
 * birth_fini.
 *
 * STATUS_INVALID  The secret file can't be read, or is empty or above 4,096 bytes; *why: one line. */
enum status birth_init(struct birth *birth, const struct config *config, uint64_t cluster_id,
                       uint64_t node_id, uint32_t shards, const char *client_address,
                       const char *peer_address, uint64_t wall_ms, char *why, size_t why_bytes);
void birth_fini(struct birth *birth);

/* Only the secret: for --check. The same statuses. */
enum status birth_read_secret(const struct config *config, uint64_t cluster_id, struct context_secret *out,
                              char *why, size_t why_bytes);
