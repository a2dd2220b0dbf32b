/* History: what clients asked and heard. It only records; the checkers judge it (checker.h).
 *
 * Every write gets a token, and the value of a put names its token, so that a read tells which writes it saw.
 * A write made with the context of an answer *covers* the tokens of that answer; covers* is the transitive
 * closure (cover.h). A write whose outcome is unknown (INFO) may take effect at any time, or never.
 *
 * A write that its client sends again, under the same write token, is one operation: it began with the first
 * attempt and ends with the last. Each attempt was answered by itself, though, and is kept (struct attempt).
 *
 * It must cost less than what it watches: an operation is one fixed record, and all lists of tokens lie in
 * one pool. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum op_kind { OP_GET, OP_PUT, OP_DELETE };
enum outcome { OUTCOME_INFO, OUTCOME_OK, OUTCOME_FAIL }; /* FAIL: certainly not applied */

enum op_flag {
    OP_BLIND = 1,      /* a delete without context: covers what its coordinator holds */
    OP_IF_CONTEXT = 2, /* happens only if the version is the one that was read */
    OP_IF_ABSENT = 4,  /* ... if there is none */
    OP_REPEATED = 8,   /* sent again though it may have been applied: two homes may have minted it */
    OP_WEAK = 16,      /* asked fewer homes than make its quorums overlap */
    OP_FLOOR = 32,     /* a read that told what it must not be older than */
    OP_REJECTED = 64,  /* its precondition was said not to hold */
    OP_LOST = 128,     /* it got no answer: its connection closed, ... */
    OP_HUNG_UP = 256,  /* ... and it was the node that closed it */
};

/* How many of a key's first so many homes an operation waits for. */
struct quorum {
    uint8_t needs, homes;
};

/* Borrowed. */
struct tokens {
    const uint32_t *list;
    uint32_t count;
};

/* A list in the history's pool. */
struct token_run {
    uint32_t at, count;
};

struct op {
    uint8_t kind, outcome, status; /* status: what the last answer said */
    uint16_t flags, session, node;
    struct quorum quorum; /* where history.n is not 0 */
    uint32_t key;
    uint64_t invoked_ns, returned_ns;  /* returned: UINT64_MAX while unknown */
    uint64_t ended_ns, deadline_ns;    /* when its client stopped to wait, and by when it had to */
    uint64_t tried_ns;                 /* when the last attempt began */
    uint64_t patience_ns;              /* the latest deadline of any attempt */
    uint64_t ttl_ns;                   /* PUT: lives so long after it is minted; 0: for ever */
    uint64_t written_ms;               /* PUT: its stamp, as answers tell it; 0: none has told it */
    struct token_run covers, elements; /* PUT, DELETE: and what a cart or a counter holds */
    struct token_run seen;
};

/* One sending of an operation, and what it was answered. */
struct attempt {
    uint32_t token;
    uint16_t node;
    uint8_t status;
    bool lost, hung_up;
    uint64_t begun_ns, ended_ns, deadline_ns;
    struct token_run seen;
};

/* What a key holds in the end, as @node tells it. */
struct final {
    uint32_t key, node;
    bool whole; /* what is OP_WEAK has to be there too: no home lost its disk, or no such write was on one
                   node */
    struct token_run seen;
};

struct history {
    struct op *ops; /* a token is the place + 1 */
    uint32_t count, capacity;
    struct attempt *attempts; /* but for the last of each operation, which is in its record */
    uint32_t attempt_count, attempt_capacity;
    uint32_t *pool;
    uint32_t pool_count, pool_capacity;
    struct final *finals;
    uint32_t final_count, final_capacity;
    uint32_t keys, sessions; /* above all that occur */
    uint32_t n; /* homes of a key; 0: operations do not tell how many they ask, and all that are not OP_WEAK
                   do so of enough that any two meet at one */
    bool lww;
    bool all_homes; /* a write is acknowledged by all homes: a blind delete covers what was there before it */
    uint64_t skew_ns; /* how far two nodes' clocks may be apart */
    uint64_t late_ns; /* so long after its deadline an attempt may yet be minted; UINT64_MAX: nobody knows */
};

void history_fini(struct history *history);

/* An operation begins; its token. Of @op count kind, flags, session, node, quorum, key, ttl and deadline.
 * Lists are copied. */
uint32_t history_invoke(struct history *history, const struct op *op, uint64_t now_ns, struct tokens covers,
                        struct tokens elements);

/* It is tried again, at @node. @maybe: an attempt before may have been applied. */
void history_again(struct history *history, uint32_t token, uint32_t node, uint64_t now_ns,
                   uint64_t deadline_ns, bool maybe);

/* It ends, or one attempt of it does. @flags are added. */
void history_return(struct history *history, uint32_t token, enum outcome outcome, uint64_t now_ns,
                    struct tokens seen, uint32_t flags);

/* An answer says when @token was written. False: another one said something else. */
bool history_written(struct history *history, uint32_t token, uint64_t written_ms);

void history_final(struct history *history, uint32_t key, uint32_t node, bool whole, struct tokens seen);

static inline struct tokens history_list(const struct history *history, struct token_run run)
{
    return (struct tokens){.list = history->pool + run.at, .count = run.count};
}

/* Is one home at least among those that answered both who asked for @quorum and @op? Of two that ask the
 * first homes, and the first few of these, all are among the former. */
static inline bool history_meets(const struct history *history, struct quorum quorum, const struct op *op)
{
    uint32_t homes = quorum.homes > op->quorum.homes ? quorum.homes : op->quorum.homes;
    if (op->flags & OP_WEAK) return false;
    return history->n == 0 || quorum.homes == 0 || (uint32_t)quorum.needs + op->quorum.needs > homes;
}

static inline const struct op *history_op(const struct history *history, uint32_t token)
{
    return &history->ops[token - 1];
}

static inline struct attempt history_last_attempt(const struct history *history, uint32_t token)
{
    const struct op *op = history_op(history, token);
    return (struct attempt){.token = token,
                            .node = op->node,
                            .status = op->status,
                            .lost = (op->flags & OP_LOST) != 0,
                            .hung_up = (op->flags & OP_HUNG_UP) != 0,
                            .begun_ns = op->tried_ns,
                            .ended_ns = op->ended_ns,
                            .deadline_ns = op->deadline_ns,
                            .seen = op->seen};
}

/* By when it is minted, if it is at all: by its answer, or where that does not tell (nobody heard it, or it
 * was that of another attempt) when the last message that asks for it has been looked at. */
static inline uint64_t history_minted_by(const struct history *history, const struct op *op)
{
    if (op->outcome == OUTCOME_OK && (op->flags & OP_REPEATED) == 0) return op->returned_ns;
    return history->late_ns < UINT64_MAX - op->patience_ns ? op->patience_ns + history->late_ns : UINT64_MAX;
}

static inline bool tokens_have(struct tokens tokens, uint32_t token)
{
    for (uint32_t i = 0; i < tokens.count; i++)
        if (tokens.list[i] == token) return true;
    return false;
}
