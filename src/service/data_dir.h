/* Data directory: what a node owns on disk, and the proof that it is this node's and nobody else's.
 *
 *      DATA/lock      held (flock) while a process uses the directory; says its pid
 *      DATA/node      who lives here: cluster id, node id, vnodes, shards; written once, when the directory
 * is first used DATA/shard-N/  the store of one shard
 *
 * The ids are drawn here when the configuration leaves them to chance. What cannot change without losing
 * sight of the data (ids, vnodes, the number of shards) is compared at each start: a difference is told, and
 * nothing is touched. */
#pragma once

#include "base/config.h"

enum { DATA_PATH_BYTES_MAX = 1024 + 32 };

struct data_dir {
    char path[DATA_PATH_BYTES_MAX];
    uint64_t cluster, node; /* 0 from data_dir_check: still to be drawn */
    uint32_t vnodes, shards;
    bool fresh;  /* nobody lived here before */
    int lock_fd; /* -1: not held */
};

/* Take the directory: make it (mode 0700) if it is missing, lock it, read who lives here or write it down.
 * STATUS_IN_USE   Another process has it. STATUS_INVALID  It can't be made or written, is another node's, or
 * the configuration says otherwise than it. *why: one line. */
enum status data_dir_open(const struct config *config, struct data_dir *out, char *why, size_t why_bytes);

/* Would data_dir_open agree? Nothing is made, written or locked. */
enum status data_dir_check(const struct config *config, struct data_dir *out, char *why, size_t why_bytes);

/* The directory of one shard's store. */
void data_dir_shard_path(const struct data_dir *dir, uint32_t shard, char path[DATA_PATH_BYTES_MAX]);

/* Give it up to other processes. */
void data_dir_close(struct data_dir *dir);
