/* What the store's tests share: one fixture that opens each engine, breaks the power and throws the files
 * away. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/prng.h"
#include "store/store.h"

enum engine { ENGINE_MEMORY, ENGINE_BTREE, ENGINE_LSM, ENGINES };

struct fixture {
    enum engine engine;
    uint64_t seed;
    struct prng prng;
    char root[256]; /* a directory that goes with the fixture */
    int lives;      /* of the store: each power cut starts a new one, in a directory of its own */
    struct store_wt_options options;
    char path[300]; /* options.path */
    struct store *store;
    struct arena arena;
};

/* A fixture with an open, empty store; @f->engine and @f->seed are set. */
void fixture_init(struct fixture *f);
void fixture_fini(struct fixture *f);

/* Open a WiredTiger store at f->path. */
enum status fixture_open(struct fixture *f);

/* Close and open again. The memory engine syncs and crashes. */
void fixture_reopen(struct fixture *f);

/* Cut the power: only what the disk has is left, that is a copy of the directory as it is now. */
void fixture_power_cut(struct fixture *f);

void directory_copy(const char *from, const char *to);
void directory_remove(const char *path);
