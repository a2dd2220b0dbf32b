/* Mints: the clock under which a shard mints as a home, and what it has minted under it and under those
 * before.
 *
 * A dot's clock id stands for one tenure of this store: the time in which it remembers all that it minted. It
 * is drawn at random, and a fresh one before the next mint whenever memory may have gone: a clock that is
 * used again after it has forgotten mints dots that others take for old ones, and the write is lost
 * (riak_kv#679, riak_kv#1643). One clock serves all vnodes of the shard: an entry of a version vector means
 * "all of this clock's writes to the key up to here", so numbers that other keys have used are no gap.
 *
 * What each tenure has minted is kept in the store (STORE_META: one row for each tenure), in the commit of
 * what was minted: so a shard that starts anew knows of each former clock of this store up to where it still
 * holds all of its mints. Nobody needs that to mint. It is what a copy says it has seen when tombstones are
 * to be reaped (copies.h). The row of the present tenure is staged by each mint, so a turn writes it once. */
#pragma once

#include "base/prng.h"
#include "store/store.h"
#include "version/dvv.h"

enum { MINTS_TENURES_MAX = 1024 }; /* those before are forgotten: tombstones with their dots stay */

struct mints {
    struct dot *tenures; /* their clocks, and the last counter of each; in their order */
    uint64_t first;      /* the number of the first of them, from 1 */
    uint32_t count, capacity;
    bool open; /* the last of them goes on */
};

/* Read what the store knows. @mints is zeroed; the first mint has a fresh clock. A row that says nothing
 * sensible is passed over. STATUS_STORE_BROKEN */
enum status mints_load(struct mints *mints, struct store *store);
void mints_fini(struct mints *mints);

/* The next dot. Staged. STATUS_NO_SPACE  None was made. */
enum status mints_next(struct mints *mints, struct store *store, struct prng *prng, struct dot *dot);

/* Memory may have gone: the next mint has a fresh clock. */
void mints_end(struct mints *mints);

/* A context that names our clock above our own counter knows a mint that we do not: memory has gone. */
void mints_judge(struct mints *mints, const struct vv *context);
