/* A put's quorum as a value: no process, no time (after riak's put core; etcd's quorum package).
 *
 * A write has n positions, one for each home, numbered as the homes are asked. A position is taken by its
 * home (acked), or by a node that stands in for it and keeps a hint (kept). It counts once, whoever answers,
 * and a node stands for one position only: so w positions are w distinct nodes. In a strict quorum only homes
 * count.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum quorum { QUORUM_PENDING, QUORUM_ENOUGH, QUORUM_FAILED };

struct put_core {
    uint32_t n, w; /* 1 <= w <= n <= TABLE_N_MAX */
    bool sloppy;
    /* Positions, as bits: */
    uint32_t acked;    /* the home has it durably */
    uint32_t failed;   /* the home will not, or can't be reached */
    uint32_t standing; /* a stand-in was asked and has not failed */
    uint32_t kept;     /* of them: it has it durably, as a hint */
};

void put_core_init(struct put_core *core, uint32_t n, uint32_t w, bool sloppy);

/* The home of @position answered, or failed. Repeats change nothing, and an answer after a failure counts. */
void put_core_ack(struct put_core *core, uint32_t position);
void put_core_fail(struct put_core *core, uint32_t position);

/* A stand-in was asked for @position; it answered; it failed. */
void put_core_stand(struct put_core *core, uint32_t position);
void put_core_keep(struct put_core *core, uint32_t position);
void put_core_stand_failed(struct put_core *core, uint32_t position);

/* ENOUGH: w positions are taken. FAILED: so many failed, with none who stands in for them, that w can't be
 * reached any more. */
enum quorum put_core_result(const struct put_core *core);

/* The positions that are taken, and count. */
uint32_t put_core_taken(const struct put_core *core);
uint32_t put_core_got(const struct put_core *core);

/* The positions that nobody has durably, home or hint. */
uint32_t put_core_missing(const struct put_core *core);

/* Those of them from whom no answer is to be expected any more. */
uint32_t put_core_lost(const struct put_core *core);
