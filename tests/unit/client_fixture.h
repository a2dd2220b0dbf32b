/* What the tests of libdynode share: nodes that misbehave on purpose (fake_node.h), and one client of theirs.
 *
 * A test starts nodes, sets what each shall do wrong, and opens the client; stop() is its teardown and ends
 * them all. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/prng.h"
#include "client/dynode.h"
#include "client/internal.h"
#include "fake_node.h"

extern uint64_t seed;
extern struct fake_cluster cluster;
extern struct fake_node nodes[FAKE_NODES_MAX];
extern struct dynode_client *client;

/* First of all: the seed that the program was given, or a fresh one; printed. */
void draw_seed(int argc, char **argv);

/* The first @count nodes, as one cluster. */
void start(uint32_t count);

/* The client, with the addresses of the first @count nodes. It connects within 300 ms, and has 100 ms of
 * grace after a deadline. */
void open_client(uint32_t count, uint32_t deadline_ms);

/* The client, if there is one, and all nodes end; their records are forgotten. */
int stop(void **state);

int64_t now_ms(void);

/* One operation on table "t", and what came of it. @applied may be NULL. */
enum dynode_status put(const char *key, const char *value, enum dynode_applied *applied);
enum dynode_status get(const char *key);
