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
    uint64_t connections;   /* a gauge, set by the host */
    uint64_t in_flight;     /* a gauge: operations taken and not answered */
    uint64_t coordinating;  /* a gauge: coordinator slots whose asker waits */
    uint64_t lingering;     /* a gauge: those that are answered and wait for the rest of their homes */
    uint64_t dirty;         /* writes that a home lacks and no hint has */
    uint64_t owed;          /* a gauge: answers that all peers together owe (peers.h) */
    uint64_t results_bytes; /* a gauge: results that wait for the rest of their requests */
    uint64_t expired;       /* operations, and reads for others, that were not begun, because their time was up */
    uint64_t mail_wait_us;  /* a gauge: how long the oldest mail had lain when the last turn began */
    uint64_t repairs_shed;  /* copies that a read found stale, and background work had no room to mend */
    uint64_t speculated;    /* reads that asked one home more (actors/speculation.h) ... */
    uint64_t speculations_withheld; /* ... and times that it was not allowed */
    uint64_t speculation_wait_us;   /* a gauge: after how long one is asked */

    /* anti-entropy (actors/antientropy.h) */
    uint64_t vnodes_built; /* a gauge: vnodes whose trees are there */
    uint64_t exchanges;    /* vnodes compared with another home's and found to differ, to the end */
    uint64_t differing;    /* keys found to */
    uint64_t objects_in;   /* fetched from other homes ... */
    uint64_t objects_out;  /* ... and pushed to them */
    uint64_t audits;       /* times that all objects were read through */
    uint64_t audited;      /* objects, in all */
    uint64_t damaged;      /* a gauge: copies that can't be read and wait to be fetched anew */
    uint64_t mended;       /* that were */
    uint64_t reaped;       /* objects of which only tombstones were left, that went */
    uint64_t repair_bytes; /* packed, of what anti-entropy has sent */
    uint64_t repair_reads; /* objects read for exchanges and mending, audits apart */
};
