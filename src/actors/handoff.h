/* Handoff: the actor that brings hints home.
 *
 *      scan the hints of a target  -- HandOff -->   the target's replica: merge    <-- HandedOff, durable
 *                                  -- DropHint -->  our replica: remove, if it still is what was sent
 *
 * A target gets its hints when it can be reached again, and every HANDOFF_TICK_NS while there are any: those
 * that came meanwhile, or were refused, or whose answer was lost. They go in the order of their keys, so many
 * at a time (a window for each target, in messages and bytes), and go on where the last answer left off; a
 * target that goes away begins anew when it is back. Merging is idempotent, so a repeat does no harm.
 *
 * A target that is no home of the key any more will not take it: then every present home has to. The hints of
 * a table that was dropped go; those of one that this node has not heard of wait until it has. Age is no
 * reason. The governor paces it all. */
#pragma once

#include "actor/shard.h"
#include "actors/governor.h"
#include "actors/hints.h"

enum {
    HANDOFF_TICK_NS = 500 * 1000 * 1000,
    HANDOFF_PATIENCE_NS = 2000 * 1000 * 1000, /* then an answer is given up on */
    HANDOFF_WINDOW = 64,                      /* hints under way to one target */
    HANDOFF_WINDOW_BYTES = 1048576,           /* and bytes of them, or one hint */
};

/* Make it and add it to the shard. @hints is borrowed from the replica, @governor from the anti-entropy. */
void handoff_add(struct shard *shard, const struct hints *hints, struct governor *governor);
