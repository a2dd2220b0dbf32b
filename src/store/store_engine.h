/* Store engine: what store.c asks of the code that keeps the bytes.
 *
 * An engine embeds `struct store` as its first member and fills in `ops`. It never sees the write set: it
 * gets a batch of writes, each key once, in order of table and key, and applies it as one transaction. */
#pragma once

#include <stdatomic.h>

#include "store/store.h"

/* One staged write; the last write of a key wins. */
struct store_write {
    struct bytes key;
    struct bytes value;
    uint64_t hash;
    enum store_table table;
    bool removed;
};

struct write_set {
    struct arena arena; /* the keys and values; an overwritten value stays until the reset: a get lent it */
    struct store_write *writes; /* in the order they were first staged */
    uint32_t count, capacity;
    uint32_t *slots;            /* open addressing: 1 + index into writes, 0 is empty */
    uint32_t slots_count;       /* a power of two */
    struct store_write **order; /* by table and key; valid while ordered */
    bool ordered;
    size_t bytes;
};

struct store_engine {
    /* As their namesakes of store.h, on committed data only. */
    enum status (*get)(struct store *store, enum store_table table, struct bytes key, struct arena *arena,
                       struct bytes *out);
    enum status (*scan)(struct store *store, enum store_table table, struct bytes from, struct bytes to,
                        store_visit *visit, void *context);
    enum status (*apply)(struct store *store, struct store_write *const *writes, size_t count);
    enum status (*sync)(struct store *store);
    void (*stats)(struct store *store, struct store_stats *stats);

    /* May the data grow by @bytes? OK or STATUS_NO_SPACE. */
    enum status (*room)(struct store *store, size_t bytes);

    /* Close and free @store. */
    void (*close)(struct store *store);
};

struct store {
    const struct store_engine *engine;
    struct write_set set;
    uint64_t commits, gets, puts;
    atomic_uint_fast64_t syncs;
    atomic_bool broken;
    char error[256]; /* why; written before broken is set, never after */
    char full[96];   /* store_full_text; empty: nothing to add */
    bool stuck;      /* likewise: store_is_stuck */
};

/* For the engines: the common part. */
void store_init(struct store *store, const struct store_engine *engine);
void store_fini(struct store *store);

/* Forget what is staged. */
void store_unstage(struct store *store);
