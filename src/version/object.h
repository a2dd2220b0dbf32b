/* Object: all that is known of one key: a context and its siblings.
 *
 * The context is the set of every dot ever seen for the key; the siblings are the dots that are still wanted, with
 * their values. A sibling is obsolete when another copy's context covers its dot and that copy does not hold it.
 * So merging is a join: commutative, associative, idempotent, and siblings never multiply by being read and written
 * back. In an `lww` table the join keeps the greatest sibling alone, by (stamp, clock, counter).
 *
 *      a: {x:2} [x2]          b: {x:1 y:1} [x1 y1]
 *      merge: x1 is covered by a and not held there: gone.   {x:2 y:1} [x2 y1]
 *
 * Everything here is a value: no store, no time but what is passed in. Objects live in arenas and share value bytes
 * with what they were made from; nothing is changed in place. */
#pragma once

#include "base/bytes.h"
#include "base/status.h"
#include "version/dvv.h"

enum table_rule { RULE_SIBLINGS = 0, RULE_LWW = 1 };

/* Names one write of one client, so that a retry can recognise itself. client 0: no token. */
struct write_token {
    uint64_t client;
    uint64_t sequence;
};

struct sibling {
    struct dot dot;
    uint64_t stamp; /* hlc.h */
    struct write_token token;
    uint64_t expires_ms; /* wall time, 0: never. Fixed at mint. */
    bool tombstone;      /* then value is empty */
    struct bytes value;
};

/* Siblings are sorted by dot, no dot twice, each covered by the context. No context entry: never written. */
struct object {
    struct vv context;
    struct sibling *siblings;
    uint32_t count;
};

enum {
    OBJECT_SIBLINGS_MAX = 64,             /* a mint that would pass this is refused ... */
    OBJECT_VALUE_BYTES_MAX = 2 * 1048576, /* ... or this, for the values together. Merging has no such limit. */
};

/* What a peer or a disk sends may hold at most this many siblings: a read compares each with each. */
enum { OBJECT_SIBLINGS_HELD_MAX = 4096 };

/* True when the rules above hold and there are at most OBJECT_SIBLINGS_HELD_MAX siblings. What a peer or a disk sends is checked once, when it is decoded. */
bool object_valid(const struct object *object);

/* The join of @a and @b under @rule. It shares what it can with them and is otherwise in @arena. Its context may have
 * more than VV_ENTRIES_MAX entries, and it may have more siblings than OBJECT_SIBLINGS_HELD_MAX (up to the sums of both):
 * then it must not be stored, for it would not decode (object_fits). */
struct object object_merge(const struct object *a, const struct object *b, enum table_rule rule, struct arena *arena);

/* Is the object, merged from valid ones, within the bounds of a valid one? */
static inline bool object_fits(const struct object *object)
{
    return object->context.count <= VV_ENTRIES_MAX && object->count <= OBJECT_SIBLINGS_HELD_MAX;
}

/* A new write on top of @current: what @context covers is superseded, the rest stays beside it.
 *
 * @write carries the value, kind, expiry and token; its dot and stamp must already be set (replica mints them).
 * STATUS_TOO_MANY_SIBLINGS  the result would pass the limits above; *out is untouched. A write that leaves no more
 *                           siblings and no more bytes than before is always taken, so that a client can resolve.
 * STATUS_TOO_LARGE          the context would pass VV_ENTRIES_MAX; *out is untouched. */
enum status object_write(const struct object *current, const struct vv *context, const struct sibling *write,
                         enum table_rule rule, struct arena *arena, struct object *out);

/* Does the sibling hold a value at @now_ms? An expired one reads as absent and counts as a tombstone. */
static inline bool sibling_live(const struct sibling *sibling, uint64_t now_ms)
{
    return !sibling->tombstone && (sibling->expires_ms == 0 || now_ms < sibling->expires_ms);
}

/* How many siblings are live at @now_ms. 0: the key is absent. */
uint32_t object_live_count(const struct object *object, uint64_t now_ms);

/* The greatest stamp among the siblings, 0 for none. */
uint64_t object_stamp_max(const struct object *object);

/* The sibling that carries @token, NULL for none or for the empty token. */
const struct sibling *object_find_token(const struct object *object, struct write_token token);

/* The same context and the same dots (values follow from dots). */
bool object_equal(const struct object *a, const struct object *b);
