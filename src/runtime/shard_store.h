/* Shard store: the store of one shard in its directory: whose it is, and what takes its place when it is
 * broken.
 *
 * A broken store is moved aside for an operator to salvage. The empty one in its place counts for no read
 * until it is filled, and the other shards, and the node, go on. */
#pragma once

#include "actors/identity.h"

enum { SHARD_STORE_PATH_BYTES = 384 };

struct shard_store_options {
    char path[SHARD_STORE_PATH_BYTES];
    struct store_wt_options engine; /* path is not looked at */
    struct identity identity; /* what the store must be; `born`: what one without a word of itself becomes */
};

/* Open it, or an empty one if it is not there or broken. @cluster gets what is stored of it merged in; NULL:
 * another shard keeps that. *born: does the store count for reads?
 *
 * STATUS_IN_USE   Another process has it open.
 * STATUS_INVALID  It can't be made, or is another shard's.
 * *why: a line. */
enum status shard_store_open(const struct shard_store_options *options, struct cluster *cluster, char *why,
                             size_t why_bytes, struct store **store, bool *born);

/* Move the store, closed and broken as @reason says, aside: shard_store_open makes an empty one then. OK too
 * if there is none.
 *
 * STATUS_INVALID  It can't be moved. *why: a line. */
enum status shard_store_set_aside(const struct shard_store_options *options, const char *reason, char *why,
                                  size_t why_bytes);
