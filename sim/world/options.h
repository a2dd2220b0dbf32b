/* Options: what one run of a world is made of, all drawn from its seed, and each to be set by hand.
 *
 * They are numbers with names, so that they can be printed, set on a command line, and turned off one by one
 * when a failing run is made smaller. An option of a fault is 0 where that fault is off. */
#pragma once

#include "world/clients.h"

enum {
    /* Faults and clients know nodes as bits; a world without them holds WORLD_NODES_MAX. */
    FAULTS_NODES_MAX = 16,
    /* Each may have CLIENTS_BATCH_MAX clients, and so has who sweeps: elements of counters name one. */
    SESSIONS_MAX = COUNTER_SESSIONS_MAX / CLIENTS_BATCH_MAX - 1,
};

/*    name, least, most, what it is */
#define OPTIONS_SHAPE(X)                                                                                     \
    X(nodes, 1, FAULTS_NODES_MAX, "nodes")                                                                   \
    X(shards, 0, WORLD_SHARDS_MAX, "shards of each node; 0: each its own number, 1 to 4")                    \
    X(vnodes, 1, 65536, "arcs of the ring, a power of two")                                                  \
    X(n, 1, FAULTS_NODES_MAX, "the table's homes of a key")                                                  \
    X(r, 1, FAULTS_NODES_MAX, "... of which a read waits for so many")                                       \
    X(w, 1, FAULTS_NODES_MAX, "... and a write for so many")                                                 \
    X(lww, 0, 1, "the table's rule: 0 siblings, 1 last write wins")                                          \
    X(sessions, 1, SESSIONS_MAX, "sessions, each with one request at a time")                                \
    X(keys, 1, 1000000, "keys")                                                                              \
    X(registers, 0, 1000, "how many keys are plain registers, against ...")                                  \
    X(carts, 0, 1000, "... shopping carts ...")                                                              \
    X(counters, 0, 1000, "... counters by compare-and-put ...")                                              \
    X(recreates, 0, 1000, "... and keys that are deleted and made again")                                    \
    X(think_us, 0, 60000000, "the longest rest of a session between two requests")                           \
    X(deadline_ms, 20, 60000, "the longest deadline; the shortest is a tenth of it")                         \
    X(quorum, 0, 16, "r and w of every request; 0: as the table says")                                       \
    X(moves, 0, 100, "of a hundred requests so many are the first to another node")                          \
    X(batching, 0, 100, "of a hundred sessions so many send batches, ...")                                   \
    X(tokens, 0, 100, "... so many have write tokens and send a write again, ...")                           \
    X(impatient, 0, 100, "... and so many hang up on one request of eight")                                  \
    X(weak, 0, 100, "of a hundred operations so many ask one home only")                                     \
    X(levels, 0, 100, "of a hundred operations so many have an R or W (and maybe N) of their own")           \
    X(sloppy, 0, 100, "of a hundred operations without precondition so many are sloppy")                     \
    X(gets, 0, 1000, "of a register: how often it is read, against ...")                                     \
    X(puts, 0, 1000, "... written ...")                                                                      \
    X(deletes, 0, 1000, "... and deleted")                                                                   \
    X(contexts, 0, 100, "of a hundred of its writes so many carry a context, ...")                           \
    X(conditions, 0, 100, "... and so many a precondition")                                                  \
    X(blinds, 0, 100, "of a hundred deletes so many have no context")                                        \
    X(hot, 0, 100, "of a hundred operations so many are on one key")                                         \
    X(ttl_ms, 0, 86400000, "the time to live of some puts; 0: none")                                         \
    X(value_bytes, 1, 1000000, "the longest value")                                                          \
    X(delay_us, 1, 10000000, "the longest way between two nodes")                                            \
    X(uneven, 0, 1, "1: each way has a longest time of its own")                                             \
    X(sync_us, 1, 10000000, "the longest sync of a disk")                                                    \
    X(stall_ms, 10, 3600000, "a way that carries nothing for so long loses its links")                       \
    X(safety_ms, 0, 86400000, "how long everything fails together")                                          \
    X(core_ms, 0, 86400000, "how long a core of nodes must then do its work; 0: no such phase")              \
    X(settle_ms, 100, 600000, "within what time all must be well after a healing")                           \
    X(fault_ms, 1, 600000, "the longest time that a fault lasts")                                            \
    X(jump_ms, 1, 3600000, "a clock is set to at most so much before or after where it was at first")        \
    X(lost_max, 0, FAULTS_NODES_MAX, "so many nodes may lose what is on a disk of theirs")                   \
    X(reap, 0, 1, "1: tombstones go for good, by proof")                                                     \
    X(antientropy, 0, 1, "1: homes become equal by themselves, and are judged before anybody reads")         \
    X(pass_ms, 1, 3600000, "... what lies between two of their passes ...")                                  \
    X(audit_ms, 1, 3600000, "... and, at least, between the beginnings of two audits")                       \
    X(blank, 0, 1, "1: the first stores have to find out that they are the first")                           \
    X(checks, 0, 1, "1: every actor looks at its own state after each turn")                                 \
    X(strict, 0, 1, "1: judge as if the quorums overlapped, whether they do or not, sloppy ones too")

#define OPTIONS_FAULTS(X)                                                                                    \
    X(skew_ms, 0, 86400000, "clocks are ahead by up to so much")                                             \
    X(drift_ppm, 0, 100000, "... and run faster or slower by up to so many millionths")                      \
    X(resets, 0, 1000000, "of a million batches so many lose their link")                                    \
    X(losses, 0, 1000000, "... are lost")                                                                    \
    X(repeats, 0, 1000000, "... come twice")                                                                 \
    X(overtakings, 0, 1000000, "... are overtaken by those behind them")                                     \
    X(strays, 0, 1000000, "of a million batches on a lost link so many arrive late")                         \
    X(client_resets, 0, 1000000, "of a million answers so many are lost with their connection")              \
    X(crashes, 0, 100000, "an hour: a node is killed")                                                       \
    X(power_cuts, 0, 100000, "an hour: all are")                                                             \
    X(pauses, 0, 100000, "an hour: a node stands still")                                                     \
    X(cuts, 0, 100000, "an hour: two nodes are cut from one another")                                        \
    X(splits, 0, 100000, "an hour: some nodes are cut from all others")                                      \
    X(way_cuts, 0, 100000, "an hour: one way is cut, the other is not")                                      \
    X(clogs, 0, 100000, "an hour: a way is clogged")                                                         \
    X(link_resets, 0, 100000, "an hour: all links between two nodes are lost")                               \
    X(held_disks, 0, 100000, "an hour: no sync of a node ends")                                              \
    X(slow_disks, 0, 100000, "an hour: a node's syncs are slow")                                             \
    X(full_disks, 0, 100000, "an hour: a node's disks are full")                                             \
    X(read_errors, 0, 100000, "an hour: a read of a store fails")                                            \
    X(commit_errors, 0, 100000, "an hour: a commit fails")                                                   \
    X(sync_errors, 0, 100000, "an hour: a sync fails")                                                       \
    X(clock_jumps, 0, 100000, "an hour: a clock is set")                                                     \
    X(hint_bytes, 0, 1000000000,                                                                             \
      "what shards keep for other nodes is refused above so many bytes; 0: far above")                       \
    X(rots, 0, 100000, "an hour: a bit of a stored object turns")                                            \
    X(wipes, 0, 100000, "an hour: a node is killed and its disks wiped")

struct options {
    uint64_t seed;
#define OPTIONS_FIELD(name, least, most, text) uint32_t name;
    OPTIONS_SHAPE(OPTIONS_FIELD)
    OPTIONS_FAULTS(OPTIONS_FIELD)
#undef OPTIONS_FIELD
};

struct option {
    const char *name, *text;
    uint32_t least, most;
    bool fault;
    size_t offset;
};

/* All of them, in the order above. */
extern const struct option options_list[];
extern const uint32_t options_count;

static inline uint32_t *option_value(struct options *options, const struct option *option)
{
    return (uint32_t *)(void *)((char *)options + option->offset);
}

/* Draw all options from a seed. */
struct options options_draw(uint64_t seed);

/* Set one from "name=value". NULL, or why not (into @why). */
const char *options_set(struct options *options, const char *text, char *why, size_t why_bytes);

/* Do they go together? NULL, or why not. */
const char *options_check(const struct options *options);

/* " --set name=value" for each that differs from what its seed draws. */
void options_print_changes(const struct options *options, struct buffer *out);

/* One line: all of them (@all), or without the faults that are off. */
void options_print(const struct options *options, bool all, struct buffer *out);

/* What its clients are made from. */
struct clients_options options_clients(const struct options *options);

/* What the world is made from. */
struct world_options options_world(const struct options *options);
