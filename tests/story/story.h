/* Story: a script that drives a world of five nodes and whose trace is compared with a golden text.
 *
 *      n2.1 -> n4.1  merge apple: "red"         a message that arrives at n4's shard 1
 *      client -> n2  put apple = "red"          what a client asks, of a strict quorum if nothing else is
 * said client <- n2  OK from n2 n4              and what it hears
 *
 * All delays are fixed, so that a trace changes only when behaviour does: 0.5 ms over the network, 0.02 ms
 * between shards, 1 ms to sync, 0.01 ms a turn. A golden text is written anew, on purpose, by running the
 * test with DYNODE_RECORD=1; read the difference before it is kept.
 * DYNODE_TRACE=1 shows the trace as it grows. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "world/call.h"

#define VALUES(...) ((const char *const[]){__VA_ARGS__, NULL})

struct story {
    const char *name;
    struct world *world;
    struct calls calls;
    struct buffer trace, untold;
    size_t heading; /* where the trace's last heading ends */
    bool terse;     /* what was told since then is told once, at whatever time it happens again */
    uint64_t connections[WORLD_NODES_MAX]; /* one to each node's shard 0, made at need */
    uint32_t homes[WORLD_NODES_MAX];       /* of story_key's key, then all other nodes */
    const char *key, *table;
};

/* Five nodes of two shards, a table "fruit" of siblings with N=3 and R=W=2, everything connected. */
void story_begin(struct story *story, const char *name);

/* The same, and the homes become equal by themselves: a pass a second, and an audit in five. */
void story_begin_with_repair(struct story *story, const char *name);

/* Compare the trace with the golden text, and let the world end. */
void story_end(struct story *story);

/* Let the world end without a look at its trace. */
void story_discard(struct story *story);

/* The key that what follows is about; tells its homes and sets story->homes. */
void story_key(struct story *story, const char *key);

__attribute__((format(printf, 2, 3))) void story_say(struct story *story, const char *format, ...);

/* What an operation may carry beside its key. */
struct extras {
    const struct call *after; /* hand back the context of this call's answer */
    uint32_t quorum;          /* r or w */
    Dynode__Client__Precondition precondition;
    uint64_t ttl_ms;
    uint64_t token;       /* not 0: a write token */
    uint32_t deadline_ms; /* 0: 1000 */
    bool sloppy;          /* else it is strict */
};

/* Ask @node and go on at once. */
struct call *story_put(struct story *story, uint32_t node, const char *value, struct extras extras);
struct call *story_get(struct story *story, uint32_t node, struct extras extras);
struct call *story_delete(struct story *story, uint32_t node, struct extras extras);
struct call *story_create_table(struct story *story, uint32_t node, const char *table);
struct call *story_drop_table(struct story *story, uint32_t node, const char *table);

/* Run the world until the call is done. Returns it. */
struct call *story_wait(struct story *story, struct call *call);

/* Run the world for a while. */
void story_pass_ms(struct story *story, uint64_t ms);

/* Run until the next message or answer of which the trace has @text. */
void story_until(struct story *story, const char *text);

/* How often the trace has @text, and what was left out of it. */
uint32_t story_count(const struct story *story, const char *text);

/* Cut a node off from all others, or mend that. */
void story_isolate(struct story *story, uint32_t node, bool cut);

/* The nodes that are no homes die: nobody keeps hints. */
void story_without_stand_ins(struct story *story);

/* The values that an answer holds are exactly these (any order). */
void story_expect(const struct call *call, enum status status, const char *const *values);
