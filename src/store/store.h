/* Store: one shard's bytes: ordered tables of keys and values, and one transaction a turn.
 *
 * A write is only appended to the write set; reads look there first; store_commit applies the set as one
 * transaction and retries by itself what the engine may ask to retry. Committed is not durable: store_sync
 * makes all that was committed before it durable. Whatever can fail for want of space is refused by
 * store_put, before it is staged.
 *
 *      store_put, store_remove ... store_get ... store_commit      (a turn, on the shard's thread)
 *      store_sync                                                  (the shard's thread, or a flusher's)
 *
 * The write set is the same code for all engines (store.c); an engine (store_mem.c, store_wt.c) only applies,
 * reads, scans and syncs. A store belongs to one thread but for store_sync, which one other may call. */
#pragma once

#include <stdbool.h>

#include "base/arena.h"
#include "base/bytes.h"
#include "base/status.h"

enum store_table {
    STORE_OBJECTS, /* vnode, key hash, table tag, key (wire/object_wire.h) -> stored object */
    STORE_META,    /* who this store belongs to, the cluster state, what is filled */
    STORE_HINTS, /* target, vnode, key hash, table tag, key (actors/hints.h) -> what is kept for another node
                  */
    STORE_REAP,  /* store key of an object -> when nothing of it is left but tombstones (actors/reap.h) */
    STORE_TABLES
};

enum {
    STORE_KEY_BYTES_MAX = 2048,
    STORE_WRITE_SET_BYTES_MAX = 64 * 1048576, /* a turn ends long before it (shard.h) */
};

struct store_stats {
    uint64_t bytes_on_disk;
    uint64_t cache_bytes;     /* in use */
    uint64_t cache_bytes_max; /* configured */
    uint64_t log_bytes;       /* of bytes_on_disk */
    uint64_t commits, syncs, gets, puts;
};

struct store;

/* @visit is called for each key in [from, to) in order, with borrowed bytes; it returns false to stop. @to
 * with size 0 means the end of the table. Sees the write set. The visitor must not call the store.
 * STATUS_STORE_BROKEN  The engine failed; the store can only be closed. */
typedef bool store_visit(void *context, struct bytes key, struct bytes value);
enum status store_scan(struct store *store, enum store_table table, struct bytes from, struct bytes to,
                       store_visit *visit, void *context);

/* Read the value under @key.
 *
 * Ownership: @key is borrowed until return; out->data belongs to @arena (or, out of the write set, lives
 * until the next commit: either way it lives as long as the turn).
 *
 * STATUS_NOT_FOUND     Nothing under @key; *out is untouched.
 * STATUS_STORE_BROKEN  The engine failed; the store can only be closed.
 * STATUS_NO_MEMORY     The arena is at its bound. */
enum status store_get(struct store *store, enum store_table table, struct bytes key, struct arena *arena,
                      struct bytes *out);

/* Stage a write; both are copied.
 * STATUS_NO_SPACE      The disk's reserve or the write set's bound would be passed; nothing is staged.
 * STATUS_STORE_BROKEN  The engine failed; nothing is staged. */
enum status store_put(struct store *store, enum store_table table, struct bytes key, struct bytes value);

/* After store_put said STATUS_NO_SPACE: what of the disk is left, and what is kept free of it, so that people
 * need not guess. Where the engine has nothing to add: "is full". It goes behind "the disk of this node"; it
 * lives until the next STATUS_NO_SPACE. */
const char *store_full_text(const struct store *store);

/* Stage a removal. Never refused: it frees space. */
void store_remove(struct store *store, enum store_table table, struct bytes key);

/* Bytes staged since the last commit. */
size_t store_staged_bytes(const struct store *store);

/* Apply the write set as one transaction and empty it. Nothing staged: nothing happens.
 * STATUS_STORE_BROKEN  Nothing of it is applied; the store can only be closed. */
enum status store_commit(struct store *store);

/* Make everything committed before the call durable. May be called from one other thread while the shard goes
 * on.
 *
 * STATUS_STORE_BROKEN  It may or may not be durable; the store can only be closed. */
enum status store_sync(struct store *store);

struct store_stats store_stats(struct store *store);

/* Why the store is broken; "" while it is not. Lives as long as the store. */
const char *store_error(const struct store *store);

/* Is it broken only in that it could not be written: the disk is full, or refuses? Then what it holds is
 * whole, and is there when the store is opened by another process. This one must not close it:
 * WiredTiger 3.2.1 waits for ever in WT_CONNECTION.close for the log record that it could not write. */
bool store_is_stuck(const struct store *store);

/* Close cleanly: a checkpoint, then all files. What is staged is dropped. */
void store_close(struct store *store);

/* --- the in-memory engine: what the simulator uses --- */

/* Heap; empty. */
struct store *store_mem_open(void);

/* A crash: what was committed since the last sync is forgotten, and the write set with it. */
void store_mem_crash(struct store *store);

/* How many commits are not durable yet. */
size_t store_mem_unsynced(const struct store *store);

/* A crash after which the first @kept of those are there all the same: a log that was written as far as
 * there. */
void store_mem_crash_after(struct store *store, size_t kept);

/* The keys of @table that commits wrote since there were @from of those, in order, with what they hold now;
 * what was removed is left out. */
void store_mem_visit_unsynced(const struct store *store, size_t from, enum store_table table,
                              store_visit *visit, void *context);

/* A full disk: every store_put is refused until it is not full any more. Has one been, since it became full?
 */
void store_mem_set_full(struct store *store, bool full);
bool store_mem_has_refused(const struct store *store);

/* From now on every call answers STATUS_STORE_BROKEN, as WiredTiger does after a panic. */
void store_mem_break(struct store *store);

/* From the next read (get or scan), commit or sync on: as store_mem_break. A crash takes it back, or @fail
 * false. */
enum store_mem_operation { STORE_MEM_READ, STORE_MEM_COMMIT, STORE_MEM_SYNC };
void store_mem_fail(struct store *store, enum store_mem_operation operation, bool fail);

/* Will one fail so? */
bool store_mem_will_fail(const struct store *store);

/* Has one failed so? */
bool store_mem_has_failed(const struct store *store, enum store_mem_operation operation);

/* Turn one bit of a value of @table, both chosen by @choice. False: there is none. */
bool store_mem_rot(struct store *store, enum store_table table, uint64_t choice);

/* --- the WiredTiger engine --- */

struct store_wt_options {
    const char *path;              /* a directory of this store's own, made with mode 0700 if it is missing */
    uint64_t cache_bytes;          /* at least 1 MiB; 32 MiB for lsm */
    bool lsm;                      /* experimental: an LSM tree instead of the B-tree */
    uint64_t reserve_bytes;        /* refuse growth when the file system has less than this left */
    uint64_t checkpoint_log_bytes; /* checkpoint after so much log */
    uint32_t checkpoint_seconds;   /* and at least this often while there are writes */
};

/* Open or create.
 * STATUS_STORE_BROKEN  It does not open: corrupt, or the engine refuses it. Move it aside
 *                      (store_wt_set_aside).
 * STATUS_IN_USE        Another process has it open.
 * STATUS_INVALID       The directory can't be made or written, or the store says that a WiredTiger wrote it
 *                      whose files this one doesn't know: it stays where it is, for it may be whole.
 * *why says what (static or @why_bytes buffer). */
enum status store_wt_open(const struct store_wt_options *options, char *why, size_t why_bytes,
                          struct store **out);

/* Which engine the store at @path was made with, from the names of its files: nothing is opened.
 * STATUS_NOT_FOUND There is no store, or too little of it to say. */
enum status store_wt_made_with(const char *path, bool *lsm);

/* Rename a closed store's directory to PATH.broken-UTC so that an operator may salvage it; @moved gets the
 * new path.
 *
 * STATUS_INVALID  It can't be renamed. */
enum status store_wt_set_aside(const char *path, char *moved, size_t moved_bytes);
