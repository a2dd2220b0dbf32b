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
    copies_set_known(copies, turn->ring, vnode, n, home, theirs->whole ? &theirs->seen : &nothing,
                     turn->now_ns);
    if (theirs->whole) copies_join_seen(copies, turn->store, &theirs->seen, vnode, n, turn->arena);
    copies_compare(copies, turn->store, turn->ring, turn->self.node, vnode, n, home, turn->arena);
}

static void hear(struct copies *copies, struct turn *turn, const Dynode__Peer__Exchanged *message,
                 uint64_t home)
{
    copies_hear(copies, turn->store, turn->ring, turn->self.node, message->vnode, message->n,
                home); /* a full disk: the next exchange says so again */
}

/* Homes that are given up are not waited for once all others were heard. (Before that one of them may come
 * back.) */
static void pass_over_lost(struct copies *copies, struct turn *turn, const Dynode__Peer__Exchanged *message)
{
    uint64_t lost[TABLE_N_MAX];
    uint32_t count = 0, n = message->n;
    if (n < 2 || n > ring_nodes(turn->ring) || copies_is_filled(copies, message->vnode, n)) return;
    const uint64_t *list = ring_preference_list(turn->ring, message->vnode);
    for (uint32_t i = 0; i < n; i++) {
        if (list[i] == turn->self.node || !copies_waits_for(copies, message->vnode, n, list[i])) continue;
        const struct member *member = cluster_find_member(turn->cluster, list[i]);
        if (member == NULL || !member_is_given_up(member) || peers_reachable(turn->peers, list[i])) return;
        lost[count++] = list[i];
    }
    for (uint32_t i = 0; i < count; i++) hear(copies, turn, message, lost[i]);
}

void replica_exchanged(struct copies *copies, struct reap *reap, struct turn *turn, const struct mail *mail)
{
    const Dynode__Peer__Exchanged *message = mail->body;
    struct clocks theirs;
    struct vv reaped;
    if (message->node == 0) { /* there was none to have an exchange with */
        pass_over_lost(copies, turn, message);
        return;
    }
    if (!is_undisturbed(copies, message->vnode, message->n, message->token, message->reaped)) return;
    hear(copies, turn, message, message->node);
    pass_over_lost(copies, turn, message);
    if (message->complete && clocks_open(message->clocks, turn->arena, &theirs, &reaped))
        join(copies, turn, message->vnode, message->n, message->node, &theirs);
    reap_set_due(reap, turn, message->vnode);
}

void replica_exchange_done(struct copies *copies, struct reap *reap, struct turn *turn,
                           const struct mail *mail)
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
    reap_set_due(reap, turn, vnode);
}

void replica_reaped(struct copies *copies, struct reap *reap, struct turn *turn, const struct mail *mail)
{
    const Dynode__Peer__Reaped *message = mail->body;
    struct vv reaped;
    if (clocks_vv(message->clocks, message->n_clocks, message->counters, message->n_counters, turn->arena,
                  &reaped))
        copies_join_reaped(copies, turn->store, &reaped, message->vnode, message->n, turn->arena);
    reap_set_due(reap, turn, message->vnode);
}

void replica_copy_lost(struct copies *copies, struct turn *turn, const struct mail *mail)
{
    const Dynode__Peer__CopyLost *message = mail->body;
    if (message->n == 0)
        copies_forget_seen(copies, turn->store);
    else
        copies_lose(copies, turn->store, message->vnode, message->n);
}
