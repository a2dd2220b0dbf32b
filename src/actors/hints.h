/* Hints: what this shard keeps for homes that were away, in a table of the store of its own.
 *
 *      key:    target node (8) | vnode (2) | key hash (8) | table tag (8) | key     all big-endian
 *      value:  wall time of its first write, ms (8, big-endian) | sealed object (wire/object_wire.h)
 *
 * So the hints of one target are one range, in the order of the vnodes, and there is one for each key: a
 * later write of the key is merged into it. Only the replica writes the table. Count and bytes of each target
 * are kept in memory and come from a scan when the shard starts.
 *
 * A hint is a durable copy of an acknowledged write: it goes when its target, or every present home, has it
 * on disk, and never for its age. The table is bounded in bytes; at the bound a new hint is refused, while
 * one that is there may still grow by what is merged into it.
 *
 * One whose bytes are as they were written, and say nothing all the same, would be refused by its target for
 * ever. It is set aside, for somebody to look at: under target 0, which no node is, and its whole former key.
 * It counts as the others do, and goes nowhere. */
#pragma once

#include "base/arena.h"
#include "store/store.h"
#include "wire/object_wire.h"

enum { HINT_PLACE_BYTES = 8 + STORE_PLACE_BYTES, HINTS_ASIDE = 0 /* a target */ };

/* All hints for one node. */
struct hint_target {
    uint64_t node;
    uint64_t count, bytes; /* of keys and values */
    uint64_t oldest_ms;    /* none is older: exact after a start, and until the oldest one goes */
};

struct hints {
    struct hint_target *list; /* sorted by node; one whose hints have gone stays, with a count of 0 */
    uint32_t count, capacity;
    uint64_t bytes, bytes_max;
    uint64_t refused; /* at the bound */
};

struct hint {
    struct bytes store_key;
    uint64_t first_ms;
    struct bytes encoded; /* the object; size 0: there is none */
};

/* Count what is in the store. @hints is zeroed. STATUS_STORE_BROKEN */
enum status hints_load(struct hints *hints, struct store *store, uint64_t bytes_max);
void hints_fini(struct hints *hints);

/* NULL: there never was one for that node. */
const struct hint_target *hints_of(const struct hints *hints, uint64_t target);

/* Read the hint for @target. *out belongs to @arena, and has the store key whatever the answer.
 * STATUS_NOT_FOUND
 * STATUS_CORRUPT  Its checksum differs: it may be put anew, or removed.
 * STATUS_STORE_BROKEN, STATUS_NO_MEMORY */
enum status hints_get(struct store *store, uint64_t target, const struct store_place *place,
                      struct arena *arena, struct hint *out);

/* What a scan finds, taken apart; it borrows from both. STATUS_CORRUPT */
enum status hint_open(struct bytes store_key, struct bytes value, struct hint *out);

/* Stage the hint that hints_get gave, or one in the place of what it did not find, with @encoded in it.
 * STATUS_NO_SPACE  The disk is full; or the hint is new, and the bound would be passed (counted). */
enum status hints_put(struct hints *hints, struct store *store, const struct hint *before,
                      struct bytes encoded, uint64_t wall_ms, struct arena *arena);

/* Stage the removal of what lies under @store_key. Nothing there: nothing happens. */
enum status hints_remove(struct hints *hints, struct store *store, struct bytes store_key,
                         struct arena *arena);

/* Stage that what lies under @store_key is set aside. Nothing there: nothing happens. STATUS_NO_SPACE */
enum status hints_set_aside(struct hints *hints, struct store *store, struct bytes store_key,
                            struct arena *arena);

/* The key of a hint, taken apart; place->key borrows from it. False: it is none. */
bool hint_key_decode(struct bytes store_key, uint64_t *target, struct store_place *place);

/* The range of one target's hints is [hint_from(target), hint_from(target + 1)), to the end of the table for
 * the last. */
struct bytes hint_from(uint64_t target, struct arena *arena);
