/* What an actor leaves behind in a turn: messages, answers, timers, a new snapshot. */
#include "actor/actor.h"

#include <stdlib.h>

#include "actor/shard_state.h"
#include "base/check.h"
#include "wire/batch.h"
#include "wire/frame.h"

static void set_body(Dynode__Peer__Message *message, struct address to, uint64_t request,
                     Dynode__Peer__Message__BodyCase kind, const void *body)
{
    dynode__peer__message__init(message);
    message->to_shard = to.shard;
    message->request = request;
    message->body_case = kind;
    message->ping = (void *)(uintptr_t)body; /* a union of pointers; packing only reads */
}

/* Which lane a message to another node takes. */
static enum link_lane lane_of(Dynode__Peer__Message__BodyCase kind, const void *body)
{
    switch (kind) {
    case DYNODE__PEER__MESSAGE__BODY_PING:
        return ((const Dynode__Peer__Ping *)body)->data ? LANE_DATA : LANE_BEATS;
    case DYNODE__PEER__MESSAGE__BODY_PONG:
    case DYNODE__PEER__MESSAGE__BODY_GOSSIP:
        return LANE_BEATS;
    default:
        return LANE_DATA;
    }
}

static bool is_answer(Dynode__Peer__Message__BodyCase kind)
{
    switch (kind) {
    case DYNODE__PEER__MESSAGE__BODY_READY:
    case DYNODE__PEER__MESSAGE__BODY_COORDINATED:
    case DYNODE__PEER__MESSAGE__BODY_READ_ANSWER:
    case DYNODE__PEER__MESSAGE__BODY_MERGED:
    case DYNODE__PEER__MESSAGE__BODY_HANDED_OFF:
    case DYNODE__PEER__MESSAGE__BODY_ADMINISTERED:
    case DYNODE__PEER__MESSAGE__BODY_SCAN_ANSWER:
    case DYNODE__PEER__MESSAGE__BODY_SHARD_REPORTED:
        return true;
    default:
        return false;
    }
}

bool turn_has_no_room(const struct outbox_queue *queue, Dynode__Peer__Message__BodyCase kind)
{
    return is_answer(kind) ? outbox_is_full_of_answers(queue) : outbox_is_full(queue);
}

static bool is_here(const struct turn *turn, struct address to)
{
    return to.node == turn->self.node && to.shard % turn->shards == turn->self.shard;
}

bool turn_reaches(const struct turn *turn, struct address to)
{
    if (is_here(turn, to)) return true;
    return peers_reachable(turn->peers, to.node) && !peers_overloaded(turn->peers, to.node) &&
           !outbox_is_full(outbox_queue(&turn->shard->outbox, to.node, to.shard % turn->shards));
}

/* NULL for ourselves. */
static struct peer *peer_of(struct turn *turn, uint64_t node)
{
    return (struct peer *)(uintptr_t)peers_find(&turn->shard->peers, node);
}

void turn_owe(struct turn *turn, uint64_t node, size_t bytes)
{
    struct peer *peer = peer_of(turn, node);
    if (peer == NULL) return;
    peer->owed++;
    peer->owed_bytes += bytes;
    turn->counters->owed++;
}

void turn_settle(struct turn *turn, uint64_t node, size_t bytes)
{
    struct peer *peer = peer_of(turn, node);
    if (peer == NULL) return;
    CHECK(peer->owed > 0);
    CHECK(peer->owed_bytes >= bytes);
    peer->owed--;
    peer->owed_bytes -= bytes;
    turn->counters->owed--;
}

void turn_send(struct turn *turn, struct address to, uint64_t request, Dynode__Peer__Message__BodyCase kind,
               const void *body)
{
    struct shard *shard = turn->shard;
    if (is_here(turn, to)) {
        if (shard->local_count == shard->local_capacity) {
            shard->local_capacity = shard->local_capacity == 0 ? 64 : shard->local_capacity * 2;
            shard->local = realloc(shard->local, shard->local_capacity * sizeof(*shard->local));
            CHECK(shard->local != NULL);
        }
        shard->local[shard->local_count++] =
            (struct mail){.from = turn->self, .request = request, .kind = kind, .body = body};
        return;
    }
    enum link_lane lane = LANE_DATA;
    if (to.node == turn->self.node)
        to.shard %= turn->shards;
    else
        lane = lane_of(kind, body);
    struct outbox_queue *queue = outbox_lane(&shard->outbox, to.node, to.shard, lane);
    if (to.node != turn->self.node) {
        const struct peer *peer = peers_find(&shard->peers, to.node);
        if (peer == NULL || !peer->link) return;
    }
    if (turn_has_no_room(queue, kind)) {
        queue->dropped++;
        turn->counters->dropped++;
        return;
    }
    if (queue->batch.size == 0) batch_begin(&queue->batch, turn->self.node, turn->self.shard);
    Dynode__Peer__Message message;
    set_body(&message, to, request, kind, body);
    batch_add(&queue->batch, &message);
}

void turn_send_durable(struct turn *turn, struct address to, uint64_t request,
                       Dynode__Peer__Message__BodyCase kind, const void *body)
{
    struct shard *shard = turn->shard;
    if (to.node == turn->self.node) to.shard %= turn->shards;
    Dynode__Peer__Message message;
    set_body(&message, to, request, kind, body);
    size_t offset = shard->release.bytes.size;
    batch_add(&shard->release.bytes, &message);
    /* This turn's commit will have the next number: see end_turn. */
    release_hold(&shard->release, shard->committed_turn + 1, to.node, to.shard, offset);
}

static void add_answer(struct outbox *outbox, uint64_t connection, size_t size, const char *hang_up)
{
    if (outbox->answer_count == outbox->answer_capacity) {
        outbox->answer_capacity = outbox->answer_capacity == 0 ? 64 : outbox->answer_capacity * 2;
        outbox->answers = realloc(outbox->answers, outbox->answer_capacity * sizeof(*outbox->answers));
        CHECK(outbox->answers != NULL);
    }
    outbox->answers[outbox->answer_count++] = (struct answer){.connection = connection,
                                                              .offset = outbox->answer_bytes.size - size,
                                                              .size = size,
                                                              .hang_up = hang_up};
}

void turn_answer(struct turn *turn, uint64_t connection, struct bytes response)
{
    struct outbox *outbox = &turn->shard->outbox;
    CHECK(response.size <= FRAME_CLIENT_BYTES_MAX);
    uint8_t header[FRAME_HEADER_BYTES];
    frame_header(header, response.size);
    buffer_append(&outbox->answer_bytes, header, sizeof(header));
    buffer_append(&outbox->answer_bytes, response.data, response.size);
    add_answer(outbox, connection, sizeof(header) + response.size, NULL);
}

void turn_hang_up(struct turn *turn, uint64_t connection, const char *why)
{
    add_answer(&turn->shard->outbox, connection, 0, why);
}

uint64_t turn_arm(struct turn *turn, struct actor *actor, uint64_t at_ns, uint64_t argument)
{
    return timers_arm(&turn->shard->timers, actor, at_ns, argument);
}

void turn_disarm(struct turn *turn, uint64_t timer)
{
    timers_disarm(&turn->shard->timers, timer);
}

static void tell_peer_changed(struct turn *turn, uint64_t node, bool reachable)
{
    const struct shard *shard = turn->shard;
    for (uint32_t i = 0; i < shard->actor_count; i++) {
        struct actor *actor = shard->actors[i];
        if (actor->peer_changed != NULL) actor->peer_changed(actor, turn, node, reachable);
    }
}

void turn_judge_peers(struct turn *turn)
{
    struct peers *peers = &turn->shard->peers;
    for (uint32_t i = 0; i < peers->count; i++) {
        struct peer *peer = &peers->list[i];
        if (peers_judge(peers, peer, turn->now_ns)) tell_peer_changed(turn, peer->node, peer->reachable);
    }
}

void turn_peer_beat(struct turn *turn, uint64_t node, bool data)
{
    struct peers *peers = &turn->shard->peers;
    struct peer *peer = peer_of(turn, node);
    if (peer == NULL) return;
    if (data) {
        peer->data_beat_ns = turn->now_ns;
        return;
    }
    phi_beat(&peer->phi, turn->now_ns);
    if (!peer->reachable && peers_judge(peers, peer, turn->now_ns)) tell_peer_changed(turn, node, true);
}

void turn_excuse_peers(struct turn *turn)
{
    peers_excuse(&turn->shard->peers, turn->now_ns);
}

/* Keep a snapshot until the turn ends. */
static void retire(struct shard *shard, struct cluster *cluster, struct ring *ring)
{
    if (shard->retired_count == shard->retired_capacity) {
        shard->retired_capacity = shard->retired_capacity == 0 ? 4 : shard->retired_capacity * 2;
        shard->retired = realloc(shard->retired, shard->retired_capacity * sizeof(*shard->retired));
        CHECK(shard->retired != NULL);
    }
    shard->retired[shard->retired_count++] = (struct retired){.cluster = cluster, .ring = ring};
}

void turn_adopt_cluster(struct turn *turn, struct cluster *cluster)
{
    struct shard *shard = turn->shard;
    struct ring *ring = NULL;
    bool other_ring = shard->ring == NULL || ring_version(shard->ring) != cluster_ring_version(cluster);
    if (other_ring) {
        ring = shard->ring;
        shard->ring = cluster_ring(cluster);
    }
    if (shard->cluster != NULL) retire(shard, shard->cluster, ring);
    shard->cluster = cluster;
    turn->cluster = cluster;
    turn->ring = shard->ring;
    for (uint32_t i = 0; i < cluster->member_count; i++)
        peers_find_or_add(&shard->peers, cluster->members[i].id);
}
