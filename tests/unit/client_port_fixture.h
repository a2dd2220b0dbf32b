/* What the tests of the client port share: a port of two shards whose loops and shards are played here, on
 * one thread, and clients whose waiting pumps those loops.
 *
 *      test -> socket -> port on loop 0 -> the loop it named -> frames of the played shard
 *        ^------------------------------------- each frame again, as its answer <---'
 *
 * A test runs between set_up and tear_down, which make and end the port; what it wants otherwise it changes
 * in the variables here. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "client.pb-c.h"
#include "service/client_port.h"

enum { SHARDS = 2, FRAMES_MAX = 20000, CONNECTIONS_MAX = 2000 };

struct frame {
    uint64_t connection;
    size_t offset, size;
};

struct shard {
    struct counters counters;
    struct turn turn;
    struct buffer mail; /* what frames point into */
    struct frame frames[FRAMES_MAX];
    uint32_t frame_count;
    uint32_t closed; /* connections that it was told have gone */
    uint32_t repeat; /* answers to each frame */
    bool hold;       /* answer nothing for now */
    size_t mail_bytes_extra;
};

struct loop {
    uv_loop_t uv;
    uint32_t index;
    struct shard shard;
};

extern struct loop loops[SHARDS];
extern struct client_port *port;
extern struct loop_hooks hooks;
extern struct connection_limits limits; /* of the port that is started next; the real ones at first */
extern const char *hang_up;             /* the echo's last word */

/* For cmocka, around each test: the port with its real limits and CONNECTIONS_MAX. */
int set_up(void **state);
int tear_down(void **state);
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

void start(uint32_t connections_max);
void stop(void);
void restart(void); /* anew, with what the test has put into `limits` */

/* One round of each loop, and the answers to what came. All that waits below does it. */
void pump(void);

/* --- a client --- */

int dial(void);
int dial_hello(uint32_t wanted); /* welcome; shard @wanted, from 1, or 0: any */

/* Returns early if the other end has closed. */
void put(int fd, const void *data, size_t size);
void put_frame(int fd, const void *payload, size_t size);

/* Wait for @size bytes; fewer only if the connection ends. */
size_t take(int fd, void *data, size_t size);

size_t hello_pack(uint8_t *to, uint32_t magic, uint32_t version, uint32_t shard);
Dynode__Client__Status take_hello(int fd, uint32_t *shard);

/* The kernel shall not read for the client: it may keep 32 MB. */
void keep_little(int fd);

void assert_echo(int fd, const void *payload, size_t size);
void assert_ended(int fd); /* without a byte more; closes it */

/* A good client is served by either shard, and goes. */
void assert_alive(void);

/* Until the port holds no connection. */
void assert_none_left(void);
