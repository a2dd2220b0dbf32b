/* The benchmark's parts. One thread drives many connections with one epoll loop:
 *
 *      keys (which record, which operation)
 *        |                                                     ^
 *        v                                                     | answers, latencies
 *      group queues: one group per shard of each node  --> connections, packed straight into their output
 *
 * A group is where a key is at home, so that the load is what a client that knows the ring would make. Keys
 * that are drawn for a group whose connections are all busy wait in its queue: the distribution of the keys
 * is never bent by who happens to be free. */
#pragma once

#include <stdatomic.h>

#include "base/histogram.h"
#include "base/prng.h"
#include "cli/cli.h"

enum {
    BENCH_PIDS_MAX = 64,
    BENCH_STATUSES = 66, /* of client.proto, and one more: */
    BENCH_LOST = 65,     /* the connection broke */
    BENCH_VALUE_HEADER_BYTES = 24,
};

enum bench_protocol { BENCH_DYNODE, BENCH_RESP };
enum bench_distribution { BENCH_BY_MIX, BENCH_UNIFORM, BENCH_ZIPFIAN };

/* Percentages of a mix. The rest of 100 are reads. */
struct bench_mix {
    const char *name;
    const char *summary;
    unsigned puts;
    unsigned rmws; /* read, then write */
    bool zipfian;
    bool siblings; /* the write carries the context of the read, on a `siblings` table */
    bool load;     /* each record once, in order */
};

struct bench_options {
    struct cli cli;
    enum bench_protocol protocol;
    enum bench_distribution distribution;
    const char *table;
    uint32_t table_n, table_r, table_w;
    uint64_t records;
    uint32_t key_bytes, value_bytes;
    uint32_t connections, in_flight, operations_per_request, threads;
    double rate; /* operations a second in all; 0: closed loop */
    uint64_t duration_ms, operations;
    bool any_node, own_keys, check, no_load;
    int pids[BENCH_PIDS_MAX];
    uint32_t pid_count;
    uint64_t seed;
};

/* bench_keys.c */
struct bench_keys {
    struct prng prng;
    uint64_t records;
    bool zipfian;
    double theta, zeta, alpha, eta, half; /* of the zipfian generator */
};
void bench_keys_init(struct bench_keys *keys, uint64_t records, bool zipfian, double zeta, uint64_t seed);
uint64_t bench_keys_next(struct bench_keys *keys);
double bench_zeta(uint64_t records);
/* "user0000000000001234", of exactly @size bytes. */
void bench_key_write(uint8_t *to, uint32_t size, uint64_t record);
/* Random bytes; where there is room, they begin with the record, a sequence and a hash of all the rest. */
void bench_value_init(uint64_t seed);
void bench_value_write(uint8_t *to, uint32_t size, uint64_t record, uint64_t sequence, struct prng *prng);
bool bench_value_good(const uint8_t *value, size_t size, uint64_t record);
const struct bench_mix *bench_mix_find(const char *name);
extern const struct bench_mix bench_mix_load;

/* What was measured: one per worker, then merged. */
enum bench_kind { BENCH_READ, BENCH_PUT, BENCH_RMW, BENCH_KINDS };
struct bench_result {
    struct histogram latency[BENCH_KINDS];
    uint64_t statuses[BENCH_STATUSES];
    uint64_t wrong;    /* values that were not what was written, with --check */
    uint64_t siblings; /* reads that returned more than one */
    uint64_t began_ns, ended_ns;
    double generator_cpu_us, server_cpu_us;
    bool stalled; /* nothing was answered for too long, or every connection broke */
};

/* bench_wire.c: both protocols, straight into and out of buffers. */
struct bench_answer {
    uint64_t id;        /* of the request; RESP: 0, answers come in order */
    uint32_t operation; /* in the request */
    int status;
    struct bytes value; /* of the first sibling */
    struct bytes context;
    uint32_t siblings;
};
struct bench_wire {
    enum bench_protocol protocol;
    uint8_t table_field[80]; /* a Get's or Put's field `table`, packed */
    uint32_t table_field_bytes;
    uint64_t ring_version;
};
void bench_wire_init(struct bench_wire *wire, enum bench_protocol protocol, const char *table,
                     uint64_t ring_version);
/* Begin a request at the end of @out; returns where, for bench_request_end. */
size_t bench_request_begin(const struct bench_wire *wire, struct buffer *out, uint64_t id);
void bench_request_end(const struct bench_wire *wire, struct buffer *out, size_t begin);
/* Leave room for a key and write it there; a put also gets room for its value at the returned place. */
void bench_add_get(const struct bench_wire *wire, struct buffer *out, uint32_t key_bytes, uint64_t record);
uint8_t *bench_add_put(const struct bench_wire *wire, struct buffer *out, uint32_t key_bytes, uint64_t record,
                       uint32_t value_bytes, struct bytes context);
/* Take the answers at the start of @input, handing each to @answer and, when a request has all of its own,
 * its id to
 * @last (not for RESP). Returns how many bytes were taken, or -1 for what is no answer. */
typedef void (*bench_answer_handler)(void *data, const struct bench_answer *answer);
typedef void (*bench_last_handler)(void *data, uint64_t id);
long bench_take_answers(const struct bench_wire *wire, struct bytes input, bench_answer_handler answer,
                        bench_last_handler last, void *data);

/* bench_dial.c: a socket that does not block, and with @hello one that @shard has welcomed. Not NULL: why
 * not. */
const char *bench_dial(const char *address, uint32_t shard, bool hello, int *out);

/* bench_worker.c: one thread, its connections and its loop. */
struct bench_target {
    char address[256];
    uint32_t shard; /* to name in the hello */
};
struct bench_ring { /* what the workers share, read only */
    struct bench_wire wire;
    struct bench_target *targets; /* one per group */
    uint32_t target_count;
    uint32_t vnodes;
    uint32_t *group_of_vnode;
    uint64_t tag;
};
struct bench_worker {
    const struct bench_options *options;
    const struct bench_ring *ring;
    const struct bench_mix *mix;
    uint32_t index;
    uint64_t first, count; /* load: the records of this worker. Otherwise count is the bound, 0 for none. */
    uint32_t connection_count;
    double zeta;
    _Atomic uint64_t done, failed, latency_sum; /* for the progress line */
    struct bench_result result;
    char why[256];
};
/* False: *why says what is wrong. */
bool bench_worker_connect(struct bench_worker *worker, void **state);
void bench_worker_run(struct bench_worker *worker, void *state);
void bench_worker_close(void *state);

/* bench_report.c */
/* Some failed, and none came back as it should. */
bool bench_failed(const struct bench_result *result);
void bench_report(const struct bench_options *options, const char *phase, const struct bench_result *result);
json_t *bench_json(const struct bench_options *options, const char *phase, const struct bench_result *result);
uint64_t bench_now_ns(void);
/* Of the processes given by --server-pid, in microseconds. */
double bench_server_cpu_us(const struct bench_options *options);
