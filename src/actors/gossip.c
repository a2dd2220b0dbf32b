#include "actors/gossip.h"

#include <stdio.h>
#include <stdlib.h>

#include "actors/coordinator.h"
#include "actors/identity.h"
#include "actors/result.h"
#include "base/check.h"
#include "version/hlc.h"
#include "wire/client_wire.h"
#include "wire/cluster_wire.h"

/* A change that waits until all that can be reached have it. */
struct change {
    bool used;
    struct address asker;
    uint64_t asker_request;
    uint64_t timer;
    uint32_t waiting_count;
    struct address *waiting; /* who has not acknowledged yet */
};

/* A peer that waits to hear that this node has its state. */
struct waiter {
    struct address peer;
    uint64_t request;
};

struct gossip {
    struct actor actor;
    bool owner;
    bool unpublished; /* the state is to be stored and told with the first ping */
    struct hlc hlc;
    uint64_t pinged_ns; /* the last time */
    uint64_t round;     /* of sending the state: its Message's request number, so that an answer names what it
                           answers */
    uint64_t rounds[GOSSIP_CHANGES_MAX]; /* the round in which a change was sent */
    struct change changes[GOSSIP_CHANGES_MAX];
    /* A node has a state when all its shards go by it: until then its owner confirms it to nobody. */
    bool *behind; /* by shard: it was told of the present state, and has not said that it has it */
    uint32_t behind_count;
    struct waiter *waiters;
    uint32_t waiter_count;
};

enum { TIMER_PING = GOSSIP_CHANGES_MAX }; /* below it: a change's deadline */

static const uint64_t ms = 1000000;

/* --- the state --- */

static void send_state(struct gossip *gossip, struct turn *turn, struct address to)
{
    turn_send(turn, to, gossip->round, DYNODE__PEER__MESSAGE__BODY_CLUSTER_STATE,
              cluster_to_message(turn->cluster, turn->arena));
}

/* Who else must know: this node's other shards, and the owner shard of each node that can be reached. */
static uint32_t audience(const struct turn *turn, struct address *list)
{
    uint32_t count = 0;
    for (uint32_t shard = 0; shard < turn->shards; shard++)
        if (shard != turn->self.shard)
            list[count++] = (struct address){.node = turn->self.node, .shard = shard};
    for (uint32_t i = 0; i < turn->cluster->member_count; i++) {
        uint64_t node = turn->cluster->members[i].id;
        if (node == turn->self.node || !peers_reachable(turn->peers, node)) continue;
        list[count++] = (struct address){.node = node, .shard = CLUSTER_OWNER_SHARD};
    }
    return count;
}

/* Keep a new state, adopt it (moved), and let everybody know. Returns whom was told, in the turn's arena. If
 * it can't be kept nothing was done, and @cluster stays the caller's. */
static enum status publish(struct gossip *gossip, struct turn *turn, struct cluster *cluster,
                           struct address **told, uint32_t *told_count)
{
    enum status status = cluster_save(turn->store, cluster, turn->arena);
    if (status != STATUS_OK) return status;
    turn_adopt_cluster(turn, cluster);
    /* Above all rounds before a restart: a late answer to one of those must not count. */
    gossip->round = gossip->round >= turn->wall_ms ? gossip->round + 1 : turn->wall_ms;
    *told = ARENA_ARRAY(turn->arena, struct address, turn->shards + cluster->member_count);
    *told_count = audience(turn, *told);
    for (uint32_t i = 0; i < *told_count; i++) send_state(gossip, turn, (*told)[i]);
    for (uint32_t shard = 0; shard < turn->shards; shard++) gossip->behind[shard] = shard != turn->self.shard;
    gossip->behind_count = turn->shards - 1;
    return STATUS_OK;
}

static void cluster_free(struct cluster *cluster)
{
    cluster_fini(cluster);
    free(cluster);
}

static struct cluster *copy_of(const struct cluster *cluster)
{
    struct cluster *copy = calloc(1, sizeof(*copy));
    CHECK(copy != NULL);
    cluster_copy(cluster, copy);
    return copy;
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
    struct cluster *incoming = calloc(1, sizeof(*incoming));
    CHECK(incoming != NULL);
    bool inside = mail->from.node == turn->self.node;
    if (cluster_unpack(mail->body, incoming) != STATUS_OK || incoming->id != turn->cluster->id ||
        incoming->vnodes != turn->cluster->vnodes || inside == gossip->owner) {
        turn->counters->invalid++;
        cluster_free(incoming);
        return;
    }
    if (inside) { /* from our owner: the state as it is */
        turn_adopt_cluster(turn, incoming);
        acknowledge(turn, mail->from, mail->request);
        return;
    }
    struct cluster *merged = copy_of(turn->cluster);
    bool changed = cluster_merge(merged, incoming);
    cluster_free(incoming);
    struct address *told;
    uint32_t told_count;
    if (!changed) {
        cluster_free(merged);
    } else if (publish(gossip, turn, merged, &told, &told_count) == STATUS_OK) {
        gossip->unpublished = false;
    } else { /* the disk is full: nobody may tell it again, so it is known, and kept as soon as there is room
              */
        turn_adopt_cluster(turn, merged);
        gossip->unpublished = true;
    }
    if (!gossip->unpublished) confirm(gossip, turn, mail);
}

/* --- changes by clients --- */

static void answer_change(struct turn *turn, struct address asker, uint64_t request,
                          Dynode__Client__Result *result)
{
    Dynode__Peer__Administered *message = ARENA_NEW(turn->arena, Dynode__Peer__Administered);
    dynode__peer__administered__init(message);
    message->result = result;
    /* Durable: what it says is in our own store, written in this turn or an earlier one. */
    turn_send_durable(turn, asker, request, DYNODE__PEER__MESSAGE__BODY_ADMINISTERED, message);
}

static void finish_change(struct turn *turn, struct change *change, Dynode__Client__Result *result)
{
    answer_change(turn, change->asker, change->asker_request, result);
    turn_disarm(turn, change->timer);
    free(change->waiting);
    *change = (struct change){0};
}

static void strike(struct turn *turn, struct change *change, struct address who, bool whole_node)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < change->waiting_count; i++) {
        struct address one = change->waiting[i];
        bool same = whole_node ? one.node == who.node : address_is(one, who);
        if (!same) change->waiting[kept++] = one;
    }
    change->waiting_count = kept;
    if (kept == 0) finish_change(turn, change, result_new(turn->arena, STATUS_OK, NULL));
}

static void receive_ack(struct gossip *gossip, struct turn *turn, const struct mail *mail)
{
    if (mail->from.node == turn->self.node && mail->request >= gossip->round)
        catch_up(gossip, turn, mail->from.shard);
    for (uint32_t i = 0; i < GOSSIP_CHANGES_MAX; i++) {
        struct change *change = &gossip->changes[i];
        if (change->used && mail->request >= gossip->rounds[i]) strike(turn, change, mail->from, false);
    }
}

static enum status create_table(struct gossip *gossip, struct turn *turn, struct cluster *cluster,
                                const Dynode__Client__TableInfo *info, const char **why)
{
    uint32_t members = cluster->member_count;
    uint32_t n = info->n != 0 ? info->n : members < 3 ? members : 3;
    struct table table = {
        .id = prng_next(turn->prng),
        .rule = (enum table_rule)info->rule,
        .n = n,
        .r = info->r != 0 ? info->r : n / 2 + 1,
        .w = info->w != 0 ? info->w : n / 2 + 1,
        .ttl_ms = info->ttl_ms,
        .alter_stamp = hlc_mint(&gossip->hlc, turn->wall_ms, 0),
        .alter_node = turn->self.node,
    };
    snprintf(table.name, sizeof(table.name), "%s", info->name);
    return cluster_create_table(cluster, &table, why);
}

static enum status alter_table(struct gossip *gossip, struct turn *turn, struct cluster *cluster,
                               const Dynode__Client__AlterTable *alter, const char **why)
{
    const struct table *table = cluster_find_table(cluster, bytes_str(alter->name));
    if (table == NULL) return STATUS_NO_SUCH_TABLE;
    uint64_t stamp = hlc_mint(&gossip->hlc, turn->wall_ms, table->alter_stamp), for_ever = 0;
    return cluster_alter_table(cluster, bytes_str(alter->name), alter->r != 0 ? &alter->r : NULL,
                               alter->w != 0 ? &alter->w : NULL,
                               alter->ttl_for_ever  ? &for_ever
                               : alter->ttl_ms != 0 ? &alter->ttl_ms
                                                    : NULL,
                               stamp, turn->self.node, why);
}

static enum status apply(struct gossip *gossip, struct turn *turn, struct cluster *cluster,
                         const Dynode__Client__Operation *operation, const char **why)
{
    switch (operation->kind_case) {
    case DYNODE__CLIENT__OPERATION__KIND_CREATE_TABLE:
        return create_table(gossip, turn, cluster, operation->create_table->table, why);
    case DYNODE__CLIENT__OPERATION__KIND_ALTER_TABLE:
        return alter_table(gossip, turn, cluster, operation->alter_table, why);
    case DYNODE__CLIENT__OPERATION__KIND_DROP_TABLE:
        return cluster_drop_table(cluster, bytes_str(operation->drop_table->name));
    default:
        return STATUS_INVALID;
    }
}

static void receive_administer(struct gossip *gossip, struct turn *turn, const struct mail *mail)
{
    const Dynode__Peer__Administer *message = mail->body;
    const char *why = NULL;
    if (mail->from.node != turn->self.node || !gossip->owner) {
        turn->counters->invalid++;
        return;
    }
    uint32_t place = 0;
    while (place < GOSSIP_CHANGES_MAX && gossip->changes[place].used) place++;
    struct cluster *cluster = copy_of(turn->cluster);
    enum status status = place < GOSSIP_CHANGES_MAX ? apply(gossip, turn, cluster, message->operation, &why)
                                                    : STATUS_OVERLOADED;
    struct address *told;
    uint32_t told_count = 0;
    if (status == STATUS_OK) status = publish(gossip, turn, cluster, &told, &told_count);
    if (status != STATUS_OK) cluster_free(cluster);
    if (status == STATUS_NO_SPACE) {
        status = STATUS_UNAVAILABLE;
        why = "the disk of this node is full";
    }
    if (status != STATUS_OK || told_count == 0) {
        answer_change(turn, mail->from, mail->request, result_new(turn->arena, status, why));
        return;
    }
    struct change *change = &gossip->changes[place];
    uint64_t left_ns = (uint64_t)message->deadline_ms * ms;
    uint64_t margin = left_ns / 10 < COORDINATOR_MARGIN_NS ? left_ns / 10 : COORDINATOR_MARGIN_NS;
    *change = (struct change){.used = true, .asker = mail->from, .asker_request = mail->request};
    change->waiting = malloc(told_count * sizeof(*change->waiting));
    CHECK(change->waiting != NULL);
    memcpy(change->waiting, told, told_count * sizeof(*change->waiting));
    change->waiting_count = told_count;
    change->timer = turn_arm(turn, &gossip->actor, turn->now_ns + left_ns - margin, place);
    gossip->rounds[place] = gossip->round;
}

/* --- pings --- */

static bool waits_for(const struct gossip *gossip, struct address who)
{
    for (uint32_t i = 0; i < GOSSIP_CHANGES_MAX; i++)
        for (uint32_t k = 0; k < gossip->changes[i].waiting_count; k++)
            if (address_is(gossip->changes[i].waiting[k], who)) return true;
    return false;
}

/* Who has not confirmed a change yet is told again with each ping: the answer comes over another link than
 * the question, and may be lost while ours stands. A shard of ours that starts anew has lost its mail. */
static void remind(struct gossip *gossip, struct turn *turn)
{
    struct address *list =
        ARENA_ARRAY(turn->arena, struct address, turn->shards + turn->cluster->member_count);
    uint32_t count = audience(turn, list);
    for (uint32_t i = 0; i < count; i++) {
        bool behind = list[i].node == turn->self.node && gossip->behind[list[i].shard];
        if (behind || waits_for(gossip, list[i])) send_state(gossip, turn, list[i]);
    }
}

/* What is known, and could not be kept or told yet. */
static void publish_anew(struct gossip *gossip, struct turn *turn)
{
    struct address *told;
    uint32_t told_count;
    struct cluster *cluster = copy_of(turn->cluster);
    gossip->unpublished = publish(gossip, turn, cluster, &told, &told_count) != STATUS_OK;
    if (gossip->unpublished) cluster_free(cluster);
}

static void ping(struct gossip *gossip, struct turn *turn)
{
    if (gossip->unpublished) publish_anew(gossip, turn);
    if (gossip->owner) remind(gossip, turn);
    Dynode__Peer__Ping *message = ARENA_NEW(turn->arena, Dynode__Peer__Ping);
    dynode__peer__ping__init(message);
    for (uint32_t i = 0; i < turn->cluster->member_count; i++) {
        uint64_t node = turn->cluster->members[i].id;
        if (node == turn->self.node) continue;
        struct address to = {.node = node, .shard = turn->self.shard};
        turn_send(turn, to, 0, DYNODE__PEER__MESSAGE__BODY_PING, message);
    }
    /* A shard that stood still itself can't tell who was silent: what they said lies in its mail. */
    if (turn->now_ns < gossip->pinged_ns + PEER_SILENCE_NS / 2) turn_judge_peers(turn);
    gossip->pinged_ns = turn->now_ns;
    turn_arm(turn, &gossip->actor, turn->now_ns + PEER_PING_NS, TIMER_PING);
}

/* The answer goes to the shard that asked: with other shard counts no link leads from us to it otherwise. */
static void receive_ping(struct turn *turn, const struct mail *mail)
{
    Dynode__Peer__Pong *message = ARENA_NEW(turn->arena, Dynode__Peer__Pong);
    dynode__peer__pong__init(message);
    turn_send(turn, mail->from, 0, DYNODE__PEER__MESSAGE__BODY_PONG, message);
}

static void timeout(struct actor *actor, struct turn *turn, uint64_t argument)
{
    struct gossip *gossip = (struct gossip *)actor;
    if (argument == TIMER_PING) {
        ping(gossip, turn);
        return;
    }
    struct change *change = &gossip->changes[argument];
    CHECK(change->used);
    change->timer = 0;
    /* It is made, and can't be taken back; but its client must not believe that all know it. */
    Dynode__Client__Result *result =
        result_new(turn->arena, STATUS_TIMEOUT,
                   "a node that can be reached has not confirmed the change: it may not know it yet");
    result->applied = DYNODE__CLIENT__APPLIED__MAYBE;
    finish_change(turn, change, result);
}

static void peer_changed(struct actor *actor, struct turn *turn, uint64_t node, bool reachable)
{
    struct gossip *gossip = (struct gossip *)actor;
    if (!gossip->owner) return;
    if (reachable) {
        send_state(gossip, turn, (struct address){.node = node, .shard = CLUSTER_OWNER_SHARD});
        return;
    }
    for (uint32_t i = 0; i < GOSSIP_CHANGES_MAX; i++)
        if (gossip->changes[i].used) strike(turn, &gossip->changes[i], (struct address){.node = node}, true);
}

static void receive(struct actor *actor, struct turn *turn, const struct mail *mail)
{
    struct gossip *gossip = (struct gossip *)actor;
    switch (mail->kind) {
    case DYNODE__PEER__MESSAGE__BODY_PING:
        receive_ping(turn, mail);
        break;
    case DYNODE__PEER__MESSAGE__BODY_PONG: /* that it came was all: shard.c has noted it */
        break;
    case DYNODE__PEER__MESSAGE__BODY_CLUSTER_STATE:
        receive_state(gossip, turn, mail);
        break;
    case DYNODE__PEER__MESSAGE__BODY_CLUSTER_STATE_ACK:
        receive_ack(gossip, turn, mail);
        break;
    default:
        CHECK(mail->kind == DYNODE__PEER__MESSAGE__BODY_ADMINISTER);
        receive_administer(gossip, turn, mail);
    }
}

static void check(const struct actor *actor)
{
    const struct gossip *gossip = (const struct gossip *)actor;
    for (uint32_t i = 0; i < GOSSIP_CHANGES_MAX; i++)
        if (gossip->changes[i].used) CHECK(gossip->changes[i].waiting_count > 0);
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

void gossip_add(struct shard *shard, bool unpublished)
{
    static const Dynode__Peer__Message__BodyCase kinds[] = {
        DYNODE__PEER__MESSAGE__BODY_PING,          DYNODE__PEER__MESSAGE__BODY_PONG,
        DYNODE__PEER__MESSAGE__BODY_CLUSTER_STATE, DYNODE__PEER__MESSAGE__BODY_CLUSTER_STATE_ACK,
        DYNODE__PEER__MESSAGE__BODY_ADMINISTER,
    };
    struct turn *turn = shard_turn_context(shard);
    struct gossip *gossip = calloc(1, sizeof(*gossip));
    CHECK(gossip != NULL);
    gossip->actor = (struct actor){.name = "gossip",
                                   .receive = receive,
                                   .timeout = timeout,
                                   .peer_changed = peer_changed,
                                   .check = check,
                                   .free = free_gossip};
    gossip->owner = turn->self.shard == CLUSTER_OWNER_SHARD;
    gossip->unpublished = gossip->owner && unpublished;
    gossip->behind = calloc(turn->shards, sizeof(*gossip->behind));
    CHECK(gossip->behind != NULL);
    gossip->waiters = calloc(GOSSIP_WAITERS_MAX, sizeof(*gossip->waiters));
    CHECK(gossip->waiters != NULL);
    shard_add_actor(shard, &gossip->actor, kinds, sizeof(kinds) / sizeof(kinds[0]));
    turn_arm(turn, &gossip->actor, 0, TIMER_PING);
}
