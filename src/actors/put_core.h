/* A put's quorum as a value: no process, no time (after riak's put core; etcd's quorum package).
 *
 * It counts durable answers of distinct homes. The homes are numbered by their place in the preference list.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum quorum { QUORUM_PENDING, QUORUM_ENOUGH, QUORUM_FAILED };

struct put_core {
    uint32_t n, w;   /* 1 <= w <= n <= TABLE_N_MAX */
    uint32_t acked;  /* homes that have it durably, as bits */
    uint32_t failed; /* homes that will not, or can't be reached */
};

void put_core_init(struct put_core *core, uint32_t n, uint32_t w);

/* Home @home answered, or failed. Repeats change nothing, and an answer after a failure counts. */
void put_core_ack(struct put_core *core, uint32_t home);
void put_core_fail(struct put_core *core, uint32_t home);

/* ENOUGH: w homes have it. FAILED: so many failed that w can't be reached any more. */
enum quorum put_core_result(const struct put_core *core);

uint32_t put_core_got(const struct put_core *core);
