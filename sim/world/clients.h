/* Clients: all clients of one world, what they ask of it over the same path as real ones, and the judgement
 * on what they heard.
 *
 *      clients_alloc -> world_alloc(watch) -> clients_begin -> ... -> clients_stop, until all is answered
 *      -> clients_sweep -> clients_judge -> clients_fault -> clients_free
 *
 * A session is one connection at a time, to one node after the other, and has one request under way. Most
 * have one client each; the batching ones have many, and send what all of them want next in one request. A
 * session with write tokens sends a write again, at another node, when its outcome is unknown. An impatient
 * one hangs up before the answer comes. Keys belong to kinds of clients (client.h), so that each can be
 * judged by what is done to it.
 *
 * All is drawn from a seed of its own: the same clients may be let loose on different worlds. */
#pragma once

#include "world/client.h"
#include "world/world.h"

enum { CLIENTS_BATCH_MAX = 32, CLIENTS_DUTIES_MAX = 2 };

struct clients_options {
    uint64_t seed;
    uint32_t sessions, keys;
    uint32_t kinds[CLIENT_KINDS]; /* how many keys are of which kind, against one another */
    uint32_t n, r, w;             /* of the table */
    bool lww;
    uint32_t quorum;      /* r and w of every request; 0: the table's */
    uint64_t think_ns;    /* the longest rest between two requests */
    uint32_t deadline_ms; /* the longest; the shortest is a tenth of it */
    uint32_t moves;       /* of a hundred requests so many are the first to another node */
    uint32_t batching;    /* of a hundred sessions: they send batches, */
    uint32_t tokens;      /* ... have write tokens, */
    uint32_t impatient;   /* ... hang up on one request of eight */
    uint32_t weak;        /* of a hundred operations so many ask one home only */
    uint32_t levels; /* ... so many say themselves how many homes, by a number or a level, and of the first of
                        them; then each is judged by what it asked for */
    uint32_t lost_max; /* so many homes may lose their disk: then a write on no more may be lost */
    uint32_t sloppy;   /* ... without precondition so many are sloppy: who reads them is judged as if weak */
    bool sloppy_is_weak; /* false: judged as if it were strict, to see that this is found */
    struct client_habits habits;
    uint64_t skew_ns;  /* how far two clocks may be apart */
    uint64_t grace_ns; /* how long after its deadline an answer may come: the way there and back */
};

/* What suits a small world; the mix is drawn from the seed. */
struct clients_options clients_options_draw(uint64_t seed);

struct clients;

/* *watch is what the world is to be made with; its line is left alone. */
struct clients *clients_alloc(const struct clients_options *options, struct world_watch *watch);
void clients_free(struct clients *clients);

/* The world is there, and calm: make the table, and let the sessions begin. */
void clients_begin(struct clients *clients, struct world *world);

/* From now on connect to these nodes (bits) only, and leave the others. */
void clients_keep_to(struct clients *clients, uint32_t nodes);

/* From now on (true) every operation on those nodes must succeed, until it is said again (false). So often at
 * most: CLIENTS_DUTIES_MAX. */
void clients_expect(struct clients *clients, bool success);

/* No new operations (true), or go on. */
void clients_stop(struct clients *clients, bool stop);

/* Is nothing under way? */
bool clients_are_idle(const struct clients *clients);

/* After clients_stop, when all is idle, and only @nodes are up and see one another: the copies of every key
 * at those of its homes that are among them must be equal; if not yet by themselves (@equal), then after a
 * read of every key at all of them that did not lose their disk, which repairs. With @equal their trees too.
 * Then every key is read through each of @nodes, for the history's finals; where those are all nodes, no
 * hints may be left. */
void clients_sweep(struct clients *clients, uint32_t nodes, bool equal);

/* Each tree of those of @nodes that are up must be that of the objects beside it, at any moment between
 * turns; with @equal each home among them that counts must have one, and all of them the same. What can't be
 * read is not in it: then nothing is said. */
void clients_judge_trees(struct clients *clients, uint32_t nodes, bool equal);

/* Judge the whole history. @strict: as if the quorums overlapped, whether they do or not; else as they do. */
void clients_judge(struct clients *clients, bool strict);

/* What was judged, for the count of it: a checker that never gets to judge finds nothing. */
enum clients_judged {
    CLIENTS_COPIES,      /* of all homes, in the end */
    CLIENTS_COPIES_SOME, /* ... of those that did not lose their disk, where others did */
    CLIENTS_COPIES_CORE, /* of the core's homes, while the others were away */
    CLIENTS_TREES,       /* of two homes or more */
    CLIENTS_REGISTER,
    CLIENTS_SESSION,
    CLIENTS_MERGE,
    CLIENTS_CHAIN,
    CLIENTS_CONDITION,
    CLIENTS_GONE, /* a key read in the end, of which something had been covered */
    CLIENTS_JUDGED
};

/* How often: of the copies how many keys, of trees how many vnodes, of the chain how many writes. */
uint64_t clients_judged(const struct clients *clients, enum clients_judged what);
const char *clients_judged_name(enum clients_judged what);

/* What was found to be wrong first; "" if nothing was. */
const char *clients_fault(const struct clients *clients);

/* Operations that were answered. */
uint64_t clients_operations(const struct clients *clients);

const struct history *clients_history(const struct clients *clients);
