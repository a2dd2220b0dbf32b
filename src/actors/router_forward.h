/* Forward: a router's writes that another node has to coordinate.
 *
 *      offered --> Offer to a home --Ready--> Coordinate to it --> sent
 *                  | silent for FORWARD_OFFER_NS: the next home too; the first that is ready gets it
 *      sent    --> its answer
 *                  | lost, or silent for FORWARD_SENT_NS: ask the other homes in turn whether they hold the
 * write
 *
 * A write may be coordinated once only: a second dot for it could come back beside, or on top of, what has
 * covered the first (riak_kv#1046). So it is not known what became of one that was sent to a node that then
 * falls silent, and a node that was killed, stopped or cut off falls silent a second before it is suspected.
 * Hence a node is asked first whether it is there: it gets nothing but the question, which may be asked of
 * several. A node from which something came within FORWARD_FRESH_NS need not be asked; under load that is
 * all of them.
 *
 * What is sent and not answered may have been minted, and then its coordinator has told the other homes in
 * the same turn. They know it by its write token (its client's, or one of the router's own), and let it have
 * its quorum: no home mints it twice. What none of them holds stays unknown, and is answered so.
 *
 * A write that a coordinator refused, and surely did not apply, is offered anew (not one that is OVERLOADED:
 * where one home has too much to do, three would have more). So that this holds for the
 * keys of which this node is a home itself (its disk may be full), their writes are kept too, for
 * FORWARD_DOUBT_NS after the last that was refused here.
 *
 * If none of the homes says that it is ready, other nodes may stand in, as if none could be reached.
 *
 * One with a precondition goes to one node and no other (router.c): none of this is for it. */
#pragma once

#include "actors/router_state.h"

enum {
    FORWARD_OFFER_NS = 50 * 1000 * 1000,
    FORWARD_SENT_NS = 250 * 1000 * 1000,
    FORWARD_DOUBT_NS = 2000 * 1000 * 1000,
    FORWARD_LOST_NS = 20 * 1000 * 1000, /* after a loss: what the lost coordinator has told others arrives */
    FORWARD_ROUNDS = 2,                 /* so often all are asked whether they hold what was lost */
    FORWARD_FRESH_NS = 1000 * 1000,
    FORWARD_BYTES_MAX = 64 * 1048576, /* of writes that are kept until they are answered: above it they are
                                         sent once, unasked */
};

/* Was it refused, surely not applied, and may another node do it? */
bool forward_may_go_on(const Dynode__Client__Result *result);

/* Begin with a task that has no node yet, for a write of @operation to @vnode with @n homes. False: nobody
 * may coordinate it now, or there is no room to keep it; nothing was sent. */
bool forward_begin(struct router *router, struct turn *turn, struct task *task,
                   Dynode__Client__Operation *operation, uint32_t vnode, uint32_t n, bool sloppy);

static inline bool task_is_forwarded(const struct task *task)
{
    return task->forward.stage != FORWARD_NONE;
}

/* What happens to a forwarded task. Each may end it. */
void forward_ready(struct router *router, struct turn *turn, const struct mail *mail);
void forward_answered(struct router *router, struct turn *turn, struct task *task, const struct mail *mail);
void forward_lost(struct router *router, struct turn *turn, struct task *task, uint64_t node);
void forward_timeout(struct router *router, struct turn *turn, uint32_t place);

/* The task ends: let go of what is kept. */
void forward_end(struct router *router, struct turn *turn, struct task *task);

/* The argument of a forwarded task's timer, which no request's pointer is. */
static inline uint64_t forward_timer(uint32_t place)
{
    return (uint64_t)place << 1 | 1;
}
