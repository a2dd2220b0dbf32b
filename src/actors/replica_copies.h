/* What exchanges tell the replica of its vnode copies (copies.h). */
#pragma once

#include "actor/actor.h"
#include "actors/copies.h"
#include "actors/reap.h"

/* One that anti-entropy began here has come to its end. */
void replica_exchanged(struct copies *copies, struct reap *reap, struct turn *turn, const struct mail *mail);

/* One that another home began has. */
void replica_exchange_done(struct copies *copies, struct reap *reap, struct turn *turn,
                           const struct mail *mail);

/* Another home has reaped. */
void replica_reaped(struct copies *copies, struct reap *reap, struct turn *turn, const struct mail *mail);

/* An object can't be read; or objects belong to other copies than they did. */
void replica_copy_lost(struct copies *copies, struct turn *turn, const struct mail *mail);
