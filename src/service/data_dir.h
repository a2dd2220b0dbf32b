/* Data directory: does the configuration agree with who lives there (runtime/node_record.h)? What cannot
 * change without losing sight of the data, the ids, vnodes, the number of shards and the engine of their
 * stores, is compared before any store or port is opened: a difference is told, and nothing is touched. In a
 * new directory the ids that are left to chance are drawn. */
#pragma once

#include "base/config.h"

struct data_dir {
    uint64_t cluster, node;
    uint32_t vnodes, shards;
    bool fresh; /* nobody lived here before */
};

/* Nothing is made, written or locked: that is node_runtime_start's.
 * STATUS_INVALID  The directory can't be made or written, is another node's, or is damaged. *why: one line.
 */
enum status data_dir_read(const struct config *config, struct data_dir *out, char *why, size_t why_bytes);
