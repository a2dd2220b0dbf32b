/* Call: one operation of a client in a world, from its sending to its answer, and what the answer said.
 *
 * A call goes over a connection as a request of its own; its answer may come in several frames. A connection
 * that closes ends its calls without an answer: the outcome of a write is then unknown. */
#pragma once

#include "base/status.h"
#include "world/world.h"

enum { CALL_REPLICAS_MAX = 16 };

struct call;

/* The call has ended; new ones may be started. */
typedef void call_done(void *context, struct call *call);

struct call {
    uint64_t connection, invoked_ns, returned_ns, deadline_ns;
    bool done; /* answered, or lost */
    bool lost; /* no answer: the connection closed */
    enum status status;
    Dynode__Client__Applied applied;
    uint32_t got, needed;
    struct buffer message;
    struct buffer sealed;  /* the context for the next write */
    struct buffer *values; /* of the siblings, in the order of their bytes */
    uint32_t value_count;
    uint32_t parts; /* results that made up the answer */
    uint64_t replicas[CALL_REPLICAS_MAX];
    uint32_t replica_count;
    uint64_t stand_ins[CALL_REPLICAS_MAX]; /* those of them that are no homes */
    uint32_t stand_in_count;
    uint64_t scan_count; /* of a ScanPage */
    call_done *on_done;
    void *context;
};

/* All calls of one world: the watch of the world is this (calls_watch). */
struct calls {
    struct world *world;
    struct call **list; /* a request's id is its place + 1 */
    uint32_t count;
    void *line_context;
    void (*line)(void *context, const char *line);
};

/* The watch that feeds @calls; set calls->world once the world is there. */
struct world_watch calls_watch(struct calls *calls);
void calls_fini(struct calls *calls);

/* Send @operation over @connection (0 or one that is gone: it is lost at once). @on_done (NULL: none) is
 * called when it ends, maybe within. The call lives until calls_fini. */
struct call *call_start(struct calls *calls, uint64_t connection, Dynode__Client__Operation *operation,
                        uint32_t deadline_ms, call_done *on_done, void *context);

/* Does an answer say that its operation was certainly not applied? */
bool answer_not_applied(enum status status, Dynode__Client__Applied applied);

/* ... and has the call such an answer? */
bool call_not_applied(const struct call *call);
