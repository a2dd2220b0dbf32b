/* A node that is not one: a thread that speaks client.proto from a script, for tests of libdynode and of the
 * command line. It keeps values in memory, without versions; what it shall do wrong is said by the key's
 * first word:
 *
 *  - hang      no answer, ever
 *  - late      answered after 300 ms
 *  - close     the connection ends in place of an answer
 *  - no K      UNAVAILABLE, applied NO, for the first K tries of the key
 *  - maybe     UNAVAILABLE, MAYBE
 *  - busy K    OVERLOADED for the first K tries
 *  - garbage   random bytes
 *  - endless   the head of a frame of 4 MiB, into which all later answers fall
 *  - alien     a result for an operation that was not asked
 *  - short     `last` without a result
 *  - parts     three siblings, each in a frame of its own
 *  - half      the first of two parts, then the connection ends
 *  - flood     a read in 12 parts, each with a context of 1 MiB
 *  - gone      an answer to a request that was never made
 */
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum fake_hello { FAKE_HELLO_OK, FAKE_HELLO_SILENT, FAKE_HELLO_CLOSE, FAKE_HELLO_HTTP, FAKE_HELLO_BUSY };
enum {
    FAKE_CLUSTER = 7, /* its id */
    FAKE_SHARDS = 2,
    FAKE_VNODES = 64,
    FAKE_REQUESTS_MAX = 64,
    FAKE_RECORDS_MAX = 4096,
    FAKE_NODES_MAX = 4
};

struct fake_node;

struct fake_record {
    uint8_t key[1024];
    size_t key_size;
    uint8_t *value;
    size_t value_size;
    bool live;
    uint32_t tries;
};

/* Nodes that know one another; node i of n is the first home of the vnodes v with (v + turn) mod n = i. */
struct fake_cluster {
    struct fake_node *nodes[FAKE_NODES_MAX];
    uint32_t count;
    _Atomic uint32_t turn;
    pthread_mutex_t lock; /* of the records, which all nodes share */
    struct fake_record *records;
    uint32_t record_count;
};

struct fake_node {
    struct fake_cluster *cluster;
    uint32_t index;
    uint64_t id;
    char address[128];
    int listener;
    pthread_t thread;
    atomic_bool stop;
    atomic_bool drop_all; /* close every connection now, as a restart does */
    enum fake_hello hello;
    atomic_uint stall_at; /* before this operation, counted from 1, pause once, for stall_ms; 0: never */
    uint32_t stall_ms;
    bool reverse;               /* keep answers until nothing comes for 5 ms, then send them last first */
    atomic_bool mute;           /* accept and read, but say nothing */
    bool prompt;                /* the end of a response at once */
    bool dribble;               /* write a few bytes at a time */
    _Atomic uint64_t claims;    /* the cluster that its hello names; 0: the true one */
    atomic_bool astray;         /* describe a cluster of all nodes but the first */
    _Atomic(const char *) hash; /* describe a cluster whose keys are hashed so; NULL: as they are */
    uint32_t flip;              /* flip bits in one of so many answers; 0: never */
    uint64_t seed;
    atomic_uint connections, requests, operations, misrouted, in_flight_most, infos, tries, with_context;
    atomic_uint greeted[FAKE_SHARDS]; /* connections that chose this shard */
};

void fake_start(struct fake_node *node, struct fake_cluster *cluster, uint64_t seed);
void fake_stop(struct fake_node *node);

/* After its last node has stopped: forget the records. */
void fake_forget(struct fake_cluster *cluster);
