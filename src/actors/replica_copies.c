#include "actors/replica_copies.h"

#include "actors/clocks.h"

/* Is it the same copy as when the exchange began, and has nothing been reaped since? What could not be taken
 * is still lacking, and so is what may have been told after something was lost. */
static bool is_undisturbed(const struct copies *copies, uint32_t vnode, uint32_t n, uint64_t token,
                           uint64_t reaped)
{
    struct vv own = copies_reaped(copies, vnode, n);
    return token == copies_token(copies, vnode, n) && reaped == copies_hash(&own);
}

/* Join what another home had seen, all of which is here now. A full disk: the next exchange says so again. */
static void join(struct copies *copies, struct turn *turn, uint32_t vnode, uint32_t n, uint64_t home,
                 const struct clocks *theirs)
{
    static const struct vv nothing = {0};
    copies_set_known(copies, turn->ring, vnode, n, home, theirs->whole ? &theirs->seen : &nothing);
    if (theirs->whole) copies_join_seen(copies, turn->store, &theirs->seen, vnode, n, turn->arena);
    copies_compare(copies, turn->store, turn->ring, turn->self.node, vnode, n, home, turn->arena);
}

void replica_exchanged(struct copies *copies, struct turn *turn, const struct mail *mail)
{
    const Dynode__Peer__Exchanged *message = mail->body;
    struct clocks theirs;
    struct vv reaped;
    if (!is_undisturbed(copies, message->vnode, message->n, message->token, message->reaped)) return;
    copies_hear(copies, turn->store, turn->ring, turn->self.node, message->vnode, message->n, message->node);
    if (message->complete && clocks_open(message->clocks, turn->arena, &theirs, &reaped))
        join(copies, turn, message->vnode, message->n, message->node, &theirs);
}

void replica_exchange_done(struct copies *copies, struct turn *turn, const struct mail *mail)
{
    const Dynode__Peer__ExchangeDone *message = mail->body;
    struct clocks theirs;
    struct vv reaped;
    uint32_t vnode = message->vnode, n = message->n;
    if (message->clocks == NULL || vnode >= copies->vnodes || vnode % turn->shards != turn->self.shard ||
        n < 2 || n > COPIES_N_MAX || n > ring_nodes(turn->ring) ||
        !ring_is_home(turn->ring, vnode, n, mail->from.node) ||
        !clocks_open(message->clocks, turn->arena, &theirs, &reaped)) {
        turn->counters->invalid++;
        return;
    }
    if (is_undisturbed(copies, vnode, n, message->token, message->reaped))
        join(copies, turn, vnode, n, mail->from.node, &theirs);
}

void replica_reaped(struct copies *copies, struct turn *turn, const struct mail *mail)
{
    const Dynode__Peer__Reaped *message = mail->body;
    struct vv reaped;
    if (clocks_vv(message->clocks, message->n_clocks, message->counters, message->n_counters, turn->arena,
                  &reaped))
        copies_join_reaped(copies, turn->store, &reaped, message->vnode, message->n, turn->arena);
}

void replica_copy_lost(struct copies *copies, struct turn *turn, const struct mail *mail)
{
    const Dynode__Peer__CopyLost *message = mail->body;
    if (message->n == 0)
        copies_forget_seen(copies, turn->store);
    else
        copies_lose(copies, turn->store, message->vnode, message->n);
}
