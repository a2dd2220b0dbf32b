/* Flusher: the thread of a shard that waits for the disk, while the shard is already in its next turns.
 *
 *      shard:    turn 7 | turn 8 | turn 9 |     durable(7), turn 10 ...   durable(9) ...
 *      flusher:         [---- sync, for 7 ----] [------ sync, for 9 ------]
 *
 * One sync at a time: what is committed meanwhile shares the next one. The flusher touches nothing of the
 * shard but store_sync, which may be called from one thread beside the shard's (store.h). So a sync that is
 * slow for once (the log's next file, a checkpoint) holds up the votes of this shard, but not what it
 * coordinates: others' votes are enough. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"

struct flusher;
struct store;

/* @ended(@context) is called on the flusher's thread whenever a sync has ended. */
struct flusher *flusher_start(void (*ended)(void *context), void *context);

/* Sync @store, for everything up to @turn. Not while it is busy (CHECK). */
void flusher_begin(struct flusher *flusher, struct store *store, uint64_t turn);

/* Between flusher_begin and the flusher_take or flusher_wait that ends it. */
bool flusher_busy(const struct flusher *flusher);

/* How the sync ended; once. False: it has not, or none was begun. */
bool flusher_take(struct flusher *flusher, uint64_t *turn, enum status *status);

/* Wait for the end of a sync that may be under way, and forget how it ended: the store is about to go. */
void flusher_wait(struct flusher *flusher);

/* As flusher_wait, and the end of the thread: @ended is not called afterwards. Frees it. */
void flusher_stop(struct flusher *flusher);
