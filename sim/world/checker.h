/* Checkers: what must be true of a history, and of the stores in the end.
 *
 *       1  checker_final      no acknowledged write is lost
 *       2  checker_siblings   what is read was written there, may have been applied, is pairwise concurrent
 *          checker_stamps     a write is later than what it covers, by its stamp
 *       3  checker_session    a session reads its own writes, and nothing older than what it told it read
 *          (where the latest stamp wins checker_register_lww says as much)
 *       4  checker_register   a read returns what was acknowledged before it began, nothing superseded
 *       5  checker_chain      conditional writes form one chain, in the order of time
 *          checker_condition  ... and where things fail, know what was acknowledged before they began
 *       6  checker_copies     all homes of a key hold the same bytes
 *          checker_trees      ... and have the same trees, which are those of what they hold
 *          checker_hints      ... and nothing that was kept for one of them is left elsewhere
 *       7  checker_gone       what was deleted or superseded has not come back
 *       8  checker_merge      carts and counters that clients merge lose nothing and invent nothing
 *      10  checker_answers    everything is answered in time; nodes that can answer with success do
 *
 * 9 (the ring while members come and go) and what follows have the same form, and come with what they judge.
 *
 * Where operations tell their quorums (history.n), 3, 4 and what 8 says of reads are of the reads and writes
 * that cover->reader has to do with: they are asked once for each way to read, 5 for who asks a majority.
 *
 * Each is a function of its input alone, takes time nearly in proportion to it, and reports the first fault
 * it finds. checker_siblings goes first: the others take for granted that tokens name writes. */
#pragma once

#include "world/cover.h"
#include "world/verdict.h"
#include "world/world.h"

bool checker_siblings(struct cover *cover, struct verdict *verdict);

/* As far as answers told the stamps. */
bool checker_stamps(struct cover *cover, struct verdict *verdict);

/* For reads and writes that are not OP_WEAK; the caller knows that the table's quorums overlap, that the
 * members were fixed and that the quorum was strict. */
bool checker_register(struct cover *cover, struct verdict *verdict);

/* The same where the latest stamp wins; stamps may differ from the time by history->skew_ns. */
bool checker_register_lww(struct cover *cover, struct verdict *verdict);

/* As for checker_register. */
bool checker_session(struct cover *cover, struct verdict *verdict);

/* Of the finals. */
bool checker_final(struct cover *cover, struct verdict *verdict);
bool checker_final_lww(struct cover *cover, struct verdict *verdict);

/* Of the finals, in a table that keeps siblings. */
bool checker_gone(struct cover *cover, struct verdict *verdict);

/* The keys of which all writes that may have happened are conditional, in a table of either rule. Only of
 * what ended by
 * @until_ns, when one home still coordinated all of them: no node had failed and no link was lost. *links:
 * how many writes were judged. */
bool checker_chain(struct cover *cover, uint64_t until_ns, uint64_t *links, struct verdict *verdict);

/* Conditional writes in any world, of a table that keeps siblings. @overlap: W homes meet every majority of
 * all homes, so that what is acknowledged without a condition is known to it too, unless it is OP_WEAK. */
bool checker_condition(struct cover *cover, bool overlap, struct verdict *verdict);

/* The same where the latest stamp wins. */
bool checker_condition_lww(struct cover *cover, bool overlap, struct verdict *verdict);

/* What the keys hold for their clients. */
enum content { CONTENT_PLAIN, CONTENT_CART, CONTENT_COUNTER };

/* An element of a counter: a session, and in the lower bits how far it has counted. */
enum { COUNTER_BITS = 20, COUNTER_SESSIONS_MAX = 4096 };

/* @contents: by key. A cart's elements are the tokens of the puts that added them; a counter's are one number
 * for each session: how often it has counted. With @strict the reads too, else the finals alone. */
bool checker_merge(struct cover *cover, const enum content *contents, bool strict, struct verdict *verdict);

/* One copy of a key in a store. Of a home that answers no read, as it lost its disk or can't be reached,
 * there is none here: nothing can say that it is equal. */
struct copy {
    uint32_t key, node;
    bool home;       /* is the node a home of the key? */
    uint64_t digest; /* of the bytes; 0: there is none */
};

/* In the order of their keys. */
bool checker_copies(const struct copy *copies, uint32_t count, struct verdict *verdict);

/* A node's tree of one vnode. */
struct tree_copy {
    uint32_t vnode, node;
    bool compared; /* the node is a home that counts: its tree has to be there, and be as the others' */
    bool built;    /* it is there, and nothing is known to be wrong in it */
    uint64_t root;
    uint64_t rebuilt; /* the root of a tree that was made from the objects alone */
};

/* In the order of their vnodes. */
bool checker_trees(const struct tree_copy *trees, uint32_t count, struct verdict *verdict);

/* How many hints each node's stores hold. */
bool checker_hints(const uint32_t *hints, uint32_t nodes, struct verdict *verdict);

/* What begins on these nodes (a bit for each) and within this time succeeds: all keys that are asked for have
 * their quorums among them, and no fault. */
struct duty {
    uint64_t from_ns, until_ns;
    uint32_t nodes;
};

struct answer_rules {
    bool prompt; /* connections end when something befalls their node or them: by when an answer was due */
    uint64_t grace_ns; /* how long after its deadline an answer may come: the way there and back */
    const struct standstill *standstills; /* in the order of their ends; they are waited for too */
    uint32_t standstill_count;
    const struct duty *duties;
    uint32_t duty_count;
};

/* Every operation ended, by its deadline; STATUS_INVALID and STATUS_INTERNAL are never the answer. */
bool checker_answers(const struct history *history, const struct answer_rules *rules,
                     struct verdict *verdict);
