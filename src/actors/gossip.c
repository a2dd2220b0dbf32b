#include "actors/gossip.h"

#include <stdlib.h>

#include "actors/gossip_state.h"
#include "actors/identity.h"
#include "base/check.h"
#include "wire/cluster_wire.h"

/* --- the state --- */

struct cluster *gossip_copy(const struct cluster *cluster)
{
    struct cluster *copy = calloc(1, sizeof(*copy));
    CHECK(copy != NULL);
    cluster_copy(cluster, copy);
    return copy;
}

void gossip_free(struct cluster *cluster)
{
    cluster_fini(cluster);
    free(cluster);
}

static void adopt(struct gossip *gossip, struct turn *turn, struct cluster *cluster)
{
    turn_adopt_cluster(turn, cluster);
    if (gossip->owner) gossip->digest = digest_of(cluster);
}

/* Our own shards get all of it: they have no part of it that is theirs. */
static void send_state(struct gossip *gossip, struct turn *turn, const Dynode__Peer__ClusterState *state,
                       uint32_t shard)
{
    struct address to = {.node = turn->self.node, .shard = shard};
    turn_send(turn, to, gossip->round, DYNODE__PEER__MESSAGE__BODY_CLUSTER_STATE, state);
}

enum status gossip_publish(struct gossip *gossip, struct turn *turn, struct cluster *cluster)
{
    enum status status = cluster_save(turn->store, cluster, turn->arena);
    if (status != STATUS_OK) return status;
    adopt(gossip, turn, cluster);
    /* Above all rounds before a restart: a late answer to one of those must not count. */
    gossip->round = gossip->round >= turn->wall_ms ? gossip->round + 1 : turn->wall_ms;
    gossip->behind_count = turn->shards - 1;
    if (gossip->behind_count == 0) return STATUS_OK;
    const Dynode__Peer__ClusterState *state = cluster_to_message(cluster, turn->arena);
    for (uint32_t shard = 0; shard < turn->shards; shard++) {
        gossip->behind[shard] = shard != turn->self.shard;
        if (gossip->behind[shard]) send_state(gossip, turn, state, shard);
    }
    return STATUS_OK;
}

bool gossip_learn(struct gossip *gossip, struct turn *turn, const Dynode__Peer__ClusterState *records)
{
    struct cluster incoming;
    if (records->id != turn->cluster->id || records->vnodes != turn->cluster->vnodes ||
        cluster_unpack(records, &incoming) != STATUS_OK)
        return false;
    struct cluster *merged = gossip_copy(turn->cluster);
    bool changed = cluster_merge(merged, &incoming);
    cluster_fini(&incoming);
    if (changed) cluster_assert_member(merged, &gossip->self);
    if (!changed) {
        gossip_free(merged);
    } else if (gossip_publish(gossip, turn, merged) == STATUS_OK) {
        gossip->unpublished = false;
    } else { /* the disk is full: nobody may tell it again, so it is known, and kept as soon as there is room
              */
        adopt(gossip, turn, merged);
        gossip->unpublished = true;
    }
    return true;
}

static void acknowledge(struct turn *turn, struct address to, uint64_t request)
{
    Dynode__Peer__ClusterStateAck *ack = ARENA_NEW(turn->arena, Dynode__Peer__ClusterStateAck);
    dynode__peer__cluster_state_ack__init(ack);
    turn_send_durable(turn, to, request, DYNODE__PEER__MESSAGE__BODY_CLUSTER_STATE_ACK, ack);
}

/* Tell a peer that this node has its state, now or when it does. */
static void confirm(struct gossip *gossip, struct turn *turn, const struct mail *mail)
{
    if (gossip->behind_count == 0) {
        acknowledge(turn, mail->from, mail->request);
        return;
    }
    uint32_t place = 0; /* a peer that has told more meanwhile waits once */
    while (place < gossip->waiter_count && !address_is(gossip->waiters[place].peer, mail->from)) place++;
    if (place == GOSSIP_WAITERS_MAX) return;
    if (place == gossip->waiter_count) gossip->waiter_count++;
    gossip->waiters[place] = (struct waiter){mail->from, mail->request};
}

/* One of our shards goes by the present state. */
static void catch_up(struct gossip *gossip, struct turn *turn, uint32_t shard)
{
    if (shard >= turn->shards || !gossip->behind[shard]) return;
    gossip->behind[shard] = false;
    if (--gossip->behind_count > 0) return;
    for (uint32_t i = 0; i < gossip->waiter_count; i++)
        acknowledge(turn, gossip->waiters[i].peer, gossip->waiters[i].request);
    gossip->waiter_count = 0;
}

static void receive_state(struct gossip *gossip, struct turn *turn, const struct mail *mail)
{
    const Dynode__Peer__ClusterState *state = mail->body;
    bool inside = mail->from.node == turn->self.node;
    struct cluster incoming;
    bool ok = inside != gossip->owner;
    if (ok && !inside) ok = gossip_learn(gossip, turn, state);
    if (ok && inside) ok = state->id == turn->cluster->id && cluster_unpack(state, &incoming) == STATUS_OK;
    if (!ok) {
        turn->counters->invalid++;
    } else if (inside) { /* from our owner: the state as it is */
        struct cluster *cluster = calloc(1, sizeof(*cluster));
        CHECK(cluster != NULL);
        *cluster = incoming;
        adopt(gossip, turn, cluster);
        acknowledge(turn, mail->from, mail->request);
    } else if (!gossip->unpublished) {
        confirm(gossip, turn, mail);
    }
}

static void receive_ack(struct gossip *gossip, struct turn *turn, const struct mail *mail)
{
    if (mail->from.node == turn->self.node && mail->request >= gossip->round)
        catch_up(gossip, turn, mail->from.shard);
    change_confirmed(gossip, turn, mail->from, mail->request);
}

/* What is known, and could not be kept or told yet. */
static void publish_anew(struct gossip *gossip, struct turn *turn)
{
    struct cluster *cluster = gossip_copy(turn->cluster);
    gossip->unpublished = gossip_publish(gossip, turn, cluster) != STATUS_OK;
    if (gossip->unpublished) gossip_free(cluster);
}

/* A shard of ours that starts anew has lost its mail. */
static void remind_shards(struct gossip *gossip, struct turn *turn)
{
    if (gossip->behind_count == 0) return;
    const Dynode__Peer__ClusterState *state = cluster_to_message(turn->cluster, turn->arena);
    for (uint32_t shard = 0; shard < turn->shards; shard++)
        if (gossip->behind[shard]) send_state(gossip, turn, state, shard);
}

/* --- heartbeats --- */

static void send_ping(struct turn *turn, uint64_t node, bool data, bool back)
{
    Dynode__Peer__Ping *message = ARENA_NEW(turn->arena, Dynode__Peer__Ping);
    dynode__peer__ping__init(message);
    message->data = data;
    message->back = back;
    struct address to = {.node = node, .shard = turn->self.shard};
    turn_send(turn, to, 0, DYNODE__PEER__MESSAGE__BODY_PING, message);
}

static void send_pings(struct gossip *gossip, struct turn *turn)
{
    bool data = gossip->pings++ % PEER_DATA_PINGS == 0;
    for (uint32_t i = 0; i < turn->cluster->member_count; i++) {
        uint64_t node = turn->cluster->members[i].id;
        if (node == turn->self.node) continue;
        send_ping(turn, node, false, false);
        if (data) send_ping(turn, node, true, false);
    }
}

static void ping(struct gossip *gossip, struct turn *turn)
{
    if (gossip->unpublished) publish_anew(gossip, turn);
    if (gossip->owner) {
        remind_shards(gossip, turn);
        change_remind(gossip, turn);
    }
    /* Who stood still itself can't tell who was silent: their answers lie in its mail, or were never asked
     * for. */
    if (turn->now_ns > gossip->pinged_ns + PEER_PING_NS + PEER_STILL_NS) turn_excuse_peers(turn);
    turn_judge_peers(turn);
    if (!gossip->silent) send_pings(gossip, turn);
    gossip->pinged_ns = turn->now_ns;
    turn_arm(turn, &gossip->actor, turn->now_ns + PEER_PING_NS, TIMER_PING);
}

/* The answer goes to the shard that asked: with other shard counts no link leads from us to it otherwise. Who
 * was believed dead is asked at once, and not only with the next ping, whether it hears us. */
static void receive_ping(struct turn *turn, const struct mail *mail)
{
    const Dynode__Peer__Ping *asked = mail->body;
    Dynode__Peer__Pong *message = ARENA_NEW(turn->arena, Dynode__Peer__Pong);
    dynode__peer__pong__init(message);
    message->data = asked->data;
    turn_send(turn, mail->from, 0, DYNODE__PEER__MESSAGE__BODY_PONG, message);
    if (!asked->back && !asked->data && !peers_reachable(turn->peers, mail->from.node))
        send_ping(turn, mail->from.node, false, true);
}

static void timeout(struct actor *actor, struct turn *turn, uint64_t argument)
{
    struct gossip *gossip = (struct gossip *)actor;
    switch (argument) {
    case TIMER_PING:
        ping(gossip, turn);
        break;
    case TIMER_SPREAD:
        spread_round(gossip, turn);
        turn_arm(turn, actor, turn->now_ns + GOSSIP_PERIOD_NS, TIMER_SPREAD);
        break;
    case TIMER_BEGIN: /* nodes that start together must not speak together */
        turn_arm(turn, actor, turn->now_ns + prng_below(turn->prng, GOSSIP_PERIOD_NS), TIMER_SPREAD);
        break;
    default:
        change_timeout(gossip, turn, argument);
    }
}

static void peer_changed(struct actor *actor, struct turn *turn, uint64_t node, bool reachable)
{
    struct gossip *gossip = (struct gossip *)actor;
    if (!gossip->owner) return;
    if (reachable)
        spread_greet(gossip, turn, node);
    else
        change_forget(gossip, turn, node);
}

/* It is reachable as soon as it answers: that need not wait for the next round of pings. */
static void linked(struct actor *actor, struct turn *turn, uint64_t node)
{
    if (!((struct gossip *)actor)->silent) send_ping(turn, node, false, false);
}

static void receive(struct actor *actor, struct turn *turn, const struct mail *mail)
{
    struct gossip *gossip = (struct gossip *)actor;
    switch (mail->kind) {
    case DYNODE__PEER__MESSAGE__BODY_PING:
        receive_ping(turn, mail);
        break;
    case DYNODE__PEER__MESSAGE__BODY_PONG:
        turn_peer_beat(turn, mail->from.node, ((const Dynode__Peer__Pong *)mail->body)->data);
        break;
    case DYNODE__PEER__MESSAGE__BODY_GOSSIP:
        spread_receive(gossip, turn, mail);
        break;
    case DYNODE__PEER__MESSAGE__BODY_CLUSTER_STATE:
        receive_state(gossip, turn, mail);
        break;
    case DYNODE__PEER__MESSAGE__BODY_CLUSTER_STATE_ACK:
        receive_ack(gossip, turn, mail);
        break;
    default:
        CHECK(mail->kind == DYNODE__PEER__MESSAGE__BODY_ADMINISTER);
        change_receive(gossip, turn, mail);
    }
}

static void check(const struct actor *actor)
{
    const struct gossip *gossip = (const struct gossip *)actor;
    for (uint32_t i = 0, left = gossip->change_count; left > 0; i++) {
        CHECK(i < GOSSIP_CHANGES_MAX);
        if (!gossip->changes[i].used) continue;
        left--;
        CHECK(gossip->changes[i].waiting_count > 0);
    }
    CHECK(gossip->waiter_count == 0 || gossip->behind_count > 0);
}

static void free_gossip(struct actor *actor)
{
    struct gossip *gossip = (struct gossip *)actor;
    for (uint32_t i = 0; i < GOSSIP_CHANGES_MAX; i++) free(gossip->changes[i].waiting);
    free(gossip->behind);
    free(gossip->waiters);
    free(gossip);
}

void gossip_add(struct shard *shard, const struct gossip_options *options)
{
    static const Dynode__Peer__Message__BodyCase kinds[] = {
        DYNODE__PEER__MESSAGE__BODY_PING,          DYNODE__PEER__MESSAGE__BODY_PONG,
        DYNODE__PEER__MESSAGE__BODY_CLUSTER_STATE, DYNODE__PEER__MESSAGE__BODY_CLUSTER_STATE_ACK,
        DYNODE__PEER__MESSAGE__BODY_ADMINISTER,    DYNODE__PEER__MESSAGE__BODY_GOSSIP,
    };
    struct turn *turn = shard_turn_context(shard);
    struct gossip *gossip = calloc(1, sizeof(*gossip));
    CHECK(gossip != NULL);
    gossip->actor = (struct actor){.name = "gossip",
                                   .receive = receive,
                                   .timeout = timeout,
                                   .peer_changed = peer_changed,
                                   .linked = linked,
                                   .check = check,
                                   .free = free_gossip};
    gossip->owner = turn->self.shard == CLUSTER_OWNER_SHARD;
    gossip->unpublished = gossip->owner && options->unpublished;
    gossip->silent = options->silent;
    gossip->self = options->self;
    gossip->greetings_left = GOSSIP_PEERS;
    gossip->answers_left = GOSSIP_ANSWERS_MAX;
    gossip->steps_left = GOSSIP_STEPS_MAX;
    gossip->behind = calloc(turn->shards, sizeof(*gossip->behind));
    CHECK(gossip->behind != NULL);
    gossip->waiters = calloc(GOSSIP_WAITERS_MAX, sizeof(*gossip->waiters));
    CHECK(gossip->waiters != NULL);
    shard_add_actor(shard, &gossip->actor, kinds, sizeof(kinds) / sizeof(kinds[0]));
    turn_arm(turn, &gossip->actor, 0, TIMER_PING);
    if (!gossip->owner) return;
    gossip->digest = digest_of(turn->cluster);
    turn_arm(turn, &gossip->actor, 0, TIMER_BEGIN);
}
