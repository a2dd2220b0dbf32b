#include "actors/router_forward.h"

#include "actors/result.h"
#include "base/check.h"
#include "wire/pack.h"
#include "wire/unpack.h"

static void arm(struct router *router, struct turn *turn, struct task *task, uint64_t wait_ns)
{
    turn_disarm(turn, task->forward.timer);
    task->forward.timer =
        turn_arm(turn, &router->actor, turn->now_ns + wait_ns, forward_timer((uint32_t)task->id));
}

void forward_end(struct router *router, struct turn *turn, struct task *task)
{
    struct forward *forward = &task->forward;
    turn_disarm(turn, forward->timer);
    router->forward_bytes -= forward->operation.size;
    buffer_fini(&forward->operation);
    *forward = (struct forward){0};
}

/* How many of the preference list may coordinate it: the homes; where none can be reached, or none has said
 * that it is ready, and it is sloppy, all. */
static uint32_t eligible(const struct turn *turn, const struct forward *forward)
{
    const uint64_t *list = ring_preference_list(turn->ring, forward->vnode);
    uint32_t nodes = ring_nodes(turn->ring), n = forward->n < nodes ? forward->n : nodes;
    if (!forward->sloppy) return n;
    for (uint32_t i = 0; i < n && forward->offers <= n; i++)
        if (peers_reachable(turn->peers, list[i])) return n;
    return nodes;
}

static void send(struct turn *turn, struct task *task, uint64_t node, bool only_if_held)
{
    ProtobufCMessage *operation;
    CHECK(unpack(&dynode__client__operation__descriptor, buffer_bytes(&task->forward.operation), turn->arena,
                 &operation) == STATUS_OK);
    Dynode__Peer__Coordinate *message = ARENA_NEW(turn->arena, Dynode__Peer__Coordinate);
    dynode__peer__coordinate__init(message);
    uint64_t deadline_ns = task->request->deadline_ns;
    uint64_t left_ns = deadline_ns > turn->now_ns ? deadline_ns - turn->now_ns : 0;
    message->operation = (Dynode__Client__Operation *)operation;
    message->deadline_ms = (uint32_t)((left_ns + 999999) / 1000000);
    message->only_if_held = only_if_held;
    struct address to = {.node = node, .shard = task->forward.vnode};
    turn_send(turn, to, task->id, DYNODE__PEER__MESSAGE__BODY_COORDINATE, message);
}

/* From here on its outcome is unknown until it is answered. */
static void send_whole(struct router *router, struct turn *turn, struct task *task, uint64_t node)
{
    task->node = node;
    turn_owe(turn, node, 0);
    send(turn, task, node, false);
    task->forward.stage = FORWARD_SENT;
    task->forward.next = 0;
    if (node == turn->self.node) /* what goes there can't be lost */
        turn_disarm(turn, task->forward.timer);
    else
        arm(router, turn, task, FORWARD_SENT_NS);
}

static bool has_refused(const struct forward *forward, uint32_t place)
{
    return place < 64 ? (forward->refused >> place & 1) != 0 : forward->refused != 0;
}

/* Ask the next node that may coordinate it. False: none can be reached. */
static bool offer(struct router *router, struct turn *turn, struct task *task, bool first)
{
    struct forward *forward = &task->forward;
    const uint64_t *list = ring_preference_list(turn->ring, forward->vnode);
    uint32_t count = eligible(turn, forward);
    if (forward->refused != 0 && forward->offers >= 2 * count) return false; /* then that stands */
    forward->offers++;
    for (uint32_t tried = 0; tried < count; tried++) {
        uint32_t place = forward->next++ % count;
        struct address to = {.node = list[place], .shard = forward->vnode};
        if (has_refused(forward, place) || !turn_reaches(turn, to)) continue;
        const struct peer *peer = peers_find(turn->peers, to.node);
        if (peer == NULL || (first && turn->now_ns - peer->heard_ns < FORWARD_FRESH_NS)) {
            send_whole(router, turn, task, to.node);
            return true;
        }
        Dynode__Peer__Offer *message = ARENA_NEW(turn->arena, Dynode__Peer__Offer);
        dynode__peer__offer__init(message);
        turn_send(turn, to, task->id, DYNODE__PEER__MESSAGE__BODY_OFFER, message);
        arm(router, turn, task, FORWARD_OFFER_NS);
        return true;
    }
    return false;
}

/* A write of a client that names none gets a name. */
static void name(struct router *router, struct turn *turn, Dynode__Client__Operation *operation)
{
    Dynode__Client__WriteToken **token = operation->kind_case == DYNODE__CLIENT__OPERATION__KIND_PUT
                                             ? &operation->put->token
                                             : &operation->delete_->token;
    if (*token != NULL) return;
    *token = ARENA_NEW(turn->arena, Dynode__Client__WriteToken);
    dynode__client__write_token__init(*token);
    while (router->token_client == 0) router->token_client = prng_next(turn->prng);
    (*token)->client = router->token_client;
    (*token)->sequence = ++router->token_sequence;
}

bool forward_begin(struct router *router, struct turn *turn, struct task *task,
                   Dynode__Client__Operation *operation, uint32_t vnode, uint32_t n, bool sloppy)
{
    struct forward *forward = &task->forward;
    if (router->forward_bytes > FORWARD_BYTES_MAX) return false;
    name(router, turn, operation);
    *forward = (struct forward){.stage = FORWARD_OFFERED, .vnode = vnode, .n = n, .sloppy = sloppy};
    pack_append(&forward->operation, &operation->base);
    router->forward_bytes += forward->operation.size;
    if (ring_is_home(turn->ring, vnode, n, turn->self.node)) {
        send_whole(router, turn, task, turn->self.node);
        return true;
    }
    if (offer(router, turn, task, true)) return true;
    forward_end(router, turn, task);
    return false;
}

void forward_ready(struct router *router, struct turn *turn, const struct mail *mail)
{
    struct task *task = tasks_find(&router->tasks, mail->request);
    if (task == NULL || task->forward.stage != FORWARD_OFFERED) return; /* another was quicker */
    const uint64_t *list = ring_preference_list(turn->ring, task->forward.vnode);
    uint32_t count = eligible(turn, &task->forward), place = 0;
    while (place < count && list[place] != mail->from.node) place++;
    if (place == count) return; /* a home can be reached by now, or the homes are others */
    if (has_refused(&task->forward, place)) return;
    send_whole(router, turn, task, mail->from.node);
}

/* --- sent, and not answered --- */

static void answer_unknown(struct router *router, struct turn *turn, struct task *task)
{
    Dynode__Client__Result *result =
        result_new(turn->arena, STATUS_UNAVAILABLE, "the node that coordinated it was lost");
    result->applied = DYNODE__CLIENT__APPLIED__MAYBE;
    result->needed = 1;
    router_done(router, turn, task, result);
}

/* Ask the next of the other homes whether it holds the write. After the last the round is over: it begins
 * anew while there is an answer to wait for. */
static void look(struct router *router, struct turn *turn, struct task *task)
{
    struct forward *forward = &task->forward;
    const uint64_t *list = ring_preference_list(turn->ring, forward->vnode);
    uint32_t nodes = ring_nodes(turn->ring), n = forward->n < nodes ? forward->n : nodes;
    bool nobody = forward->next == 0; /* may be asked: so far */
    while (forward->next < n) {
        uint32_t place = forward->next++;
        struct address to = {.node = list[place], .shard = forward->vnode};
        if (to.node == task->node || to.node == forward->coordinator || !turn_reaches(turn, to)) continue;
        forward->looking = to.node;
        forward->looked |= UINT32_C(1) << place;
        send(turn, task, to.node, true);
        arm(router, turn, task, FORWARD_SENT_NS);
        return;
    }
    forward->looking = 0;
    forward->next = 0;
    if (forward->lost && (nobody || ++forward->rounds >= FORWARD_ROUNDS))
        answer_unknown(router, turn, task);
    else
        arm(router, turn, task, FORWARD_SENT_NS);
}

bool forward_may_go_on(const Dynode__Client__Result *result)
{
    return result->applied == DYNODE__CLIENT__APPLIED__NO &&
           result->status == DYNODE__CLIENT__STATUS__UNAVAILABLE;
}

static void note_refusal(const struct turn *turn, struct forward *forward, uint64_t node)
{
    const uint64_t *list = ring_preference_list(turn->ring, forward->vnode);
    for (uint32_t i = 0; i < 64 && i < ring_nodes(turn->ring); i++)
        if (list[i] == node) forward->refused |= UINT64_C(1) << i;
}

static bool was_looked_at(const struct turn *turn, const struct forward *forward, uint64_t node)
{
    const uint64_t *list = ring_preference_list(turn->ring, forward->vnode);
    for (uint32_t i = 0; forward->looked >> i != 0; i++)
        if ((forward->looked >> i & 1) != 0 && list[i] == node) return true;
    return false;
}

void forward_answered(struct router *router, struct turn *turn, struct task *task, const struct mail *mail)
{
    struct forward *forward = &task->forward;
    Dynode__Client__Result *result = ((const Dynode__Peer__Coordinated *)mail->body)->result;
    if (forward->stage != FORWARD_SENT) return; /* of one that was asked before */
    bool is_good = result != NULL && result->status == DYNODE__CLIENT__STATUS__OK;
    if (was_looked_at(turn, forward, mail->from.node)) {
        if (is_good)
            router_done(router, turn, task, result);
        else if (mail->from.node == forward->looking)
            look(router, turn, task);
        return;
    }
    bool late = forward->lost && mail->from.node == forward->coordinator;
    if (mail->from.node != task->node && !late) {
        turn->counters->invalid++;
        return;
    }
    if (!late && result != NULL && forward_may_go_on(result)) {
        note_refusal(turn, forward, task->node);
        if (task->node == turn->self.node) router->doubt_until_ns = turn->now_ns + FORWARD_DOUBT_NS;
        turn_settle(turn, task->node, 0);
        task->node = 0;
        forward->stage = FORWARD_OFFERED;
        forward->offers = 0;
        if (offer(router, turn, task, false)) return;
    }
    if (result == NULL) {
        result = result_new(turn->arena, STATUS_INTERNAL, NULL);
        result->applied = DYNODE__CLIENT__APPLIED__MAYBE;
    }
    router_done(router, turn, task, result);
}

void forward_lost(struct router *router, struct turn *turn, struct task *task, uint64_t node)
{
    struct forward *forward = &task->forward;
    if (forward->stage != FORWARD_SENT) return; /* the next is asked soon */
    if (task->node == node) {
        turn_settle(turn, node, 0);
        task->node = 0;
        forward->coordinator = node;
        forward->lost = true;
        if (forward->looking == 0) arm(router, turn, task, FORWARD_LOST_NS);
    } else if (forward->looking == node) {
        look(router, turn, task);
    }
}

void forward_timeout(struct router *router, struct turn *turn, uint32_t place)
{
    struct task *task = router->tasks.pool[place];
    CHECK(task->kind == TASK_WRITE);
    task->forward.timer = 0;
    if (task->forward.stage == FORWARD_SENT) {
        look(router, turn, task);
    } else if (!offer(router, turn, task, false)) {
        Dynode__Client__Result *result =
            result_new(turn->arena, STATUS_UNAVAILABLE, "no home of the key is ready");
        result->applied = DYNODE__CLIENT__APPLIED__NO;
        router_done(router, turn, task, result);
    }
}
