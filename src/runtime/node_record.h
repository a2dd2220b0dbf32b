/* Node record: DATA/node, a few lines of text that say whose data directory this is. Each store says so too
 * (identity.h); this file is what can be read before any store is open: ids that were drawn at random, the
 * number of shards, and whether the first start came to its end (until then a missing store is new,
 * afterwards it is lost).
 *
 *      cluster 5a0c61e3aa3f01bb
 *      node 11d2f5c08e6b9c04
 *      shards 2
 *      vnodes 1024
 *      complete 1
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

/* Beside it: the directory of each shard's store. */
#define SHARD_DIRECTORY "shard-%03u"

struct node_record {
    uint64_t cluster, node;
    uint32_t shards, vnodes;
    bool complete;
};

/* STATUS_NOT_FOUND  There is none: a new directory, or no directory.
 * STATUS_INVALID    It can't be read, or is not as above. *why: a sentence that names the file. */
enum status node_record_read(const char *data, struct node_record *out, char *why, size_t why_bytes);

/* Write it whole or not at all, and sync it. STATUS_INVALID  It can't be written; *why as above. */
enum status node_record_write(const char *data, const struct node_record *record, char *why,
                              size_t why_bytes);
