/* Release: what says that a write is done waits here until its turn is durable, and leaves in the order of
 * the turns.
 *
 *      turn 7 stages  ack A        turn 8 stages  ack B, ack C          durable(8)
 *      release: (7: A)             release: (7: A) (8: B, C)            release: -      outbox: A B C
 */
#pragma once

#include <stdbool.h>

#include "base/bytes.h"

/* One packed message (a field of a batch) and where it goes. */
struct held {
    uint64_t turn;
    uint64_t node;
    uint32_t shard;
    size_t offset, size; /* in release.bytes */
};

/* Zeroed is empty and valid. */
struct release {
    struct held *list;
    uint32_t first, count, capacity; /* list[first .. count) waits */
    struct buffer bytes;
};

void release_fini(struct release *release);

/* Hold the message that was appended to release->bytes from @offset on. @turn never falls. */
void release_hold(struct release *release, uint64_t turn, uint64_t node, uint32_t shard, size_t offset);

/* Does any message wait for @turn (the latest held)? */
static inline bool release_holds(const struct release *release, uint64_t turn)
{
    return release->count > release->first && release->list[release->count - 1].turn == turn;
}

/* Take the next message of a turn up to @turn. Its bytes live until the next release_hold. */
bool release_take(struct release *release, uint64_t turn, struct held *held, struct bytes *field);
