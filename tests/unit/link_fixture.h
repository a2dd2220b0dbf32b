/* Two ends of a link in this process, and a plain socket that is neither: for the tests of links. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/prng.h"
#include "runtime/inbound.h"
#include "runtime/links.h"

enum { CLUSTER = 77, VNODES = 64, HERE = 11, THERE = 22, STRANGER = 33, SHARDS = 2, WAIT_MS = 30000 };

/* --- the accepting end: node HERE with two shards --- */

/* A shard's thread: it reads the links that it is lent. */
struct reader {
    struct here *here;
    uint32_t shard;
    pthread_t thread;
    atomic_bool stop, hold;
    atomic_bool stuck; /* it does not look into its mailbox */

    /* What must come: batches of this stream, each at most so large. Set before any is sent. */
    struct prng expected;
    atomic_size_t bytes_max; /* set last */
    atomic_uint_fast64_t got;
    atomic_uint_fast64_t beats; /* frames on links for heartbeats */
    atomic_bool wrong;
};

struct here {
    struct mailbox *mailboxes[SHARDS];
    struct acceptor *acceptor;
    char address[128];
    uint32_t silence_ms, frame_ms;
    struct reader readers[SHARDS];
};

/* With the limits of the server; here_start: with those that @here has. */
void here_init(struct here *here, const char *address);
void here_start(struct here *here, const char *address);
void here_stop(struct here *here);
void here_fini(struct here *here);

/* From now on shard 1 of @here must get batches of this stream; how many it has got. */
void here_expect(struct here *here, uint64_t seed, size_t bytes_max);
uint64_t here_got(struct here *here);

/* --- the dialling end: shard 1 of node THERE --- */

struct there {
    uv_loop_t uv;
    struct links *links;
    bool up;
    uint32_t ups, downs;

    struct prng prng; /* makes the batches */
    size_t batch_bytes_max;
    uint64_t to_send, sent;
};

void there_init(struct there *there, const char *address, uint64_t node, uint64_t seed);
void there_init_lane(struct there *there, const char *address, uint64_t node, uint64_t seed, bool beats);
void there_fini(struct there *there);

/* Wait until the link is up, or is not. False: it did not come so far. */
bool there_until(struct there *there, bool up);

/* --- a stranger: a plain socket --- */

int stranger_connect(const struct here *here);
void stranger_put(int fd, const void *data, size_t size);

/* The connection ends, without a byte. Closes it. */
void stranger_expect_end(int fd);

/* Send a hello; the answer. */
struct hello stranger_hello(int fd, const struct hello *hello);
