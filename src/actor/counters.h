/* Counters of one shard since its start: plain numbers, written by its thread alone, read by a message
 * (ReportShard). */
#pragma once

#include <stdint.h>

struct counters {
    uint64_t gets, puts; /* coordinated */
    uint64_t replica_reads, replica_writes;
    uint64_t repairs;
    uint64_t errors;
    uint64_t overloaded;
    uint64_t corrupt;
    uint64_t dropped; /* messages, because a queue was at its bound */
    uint64_t invalid; /* messages from peers that did not decode */
    uint64_t turns;
    uint64_t connections;  /* a gauge, set by the host */
    uint64_t in_flight;    /* a gauge: operations taken and not answered */
    uint64_t coordinating; /* a gauge: coordinator slots in use */
};
