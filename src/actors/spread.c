/* Spread: push-pull of the cluster state between its owners (Demers et al., "Epidemic algorithms for
 * replicated database maintenance", 1987; with a hash tree of two levels in place of their recent-update
 * lists).
 *
 *      A                                         B
 *      whole ------------------------------->    the same: the end. Most exchanges end here
 *        <------------------------- 64 buckets
 *      listed buckets, names and digests --->
 *        <-------- records that A lacks or has otherwise, names of what B wants
 *      records ----------------------------->
 *
 * Nothing is remembered between the steps: each answers with what is known when it comes. So steps may be
 * lost, late or repeated, and the state may change between them; the next exchange finds what this one left.
 */
#include <stdlib.h>

#include "actors/gossip_state.h"
#include "actors/identity.h"
#include "base/check.h"
#include "wire/cluster_wire.h"

enum { RECORDS_MAX = RING_NODES_MAX + CLUSTER_TABLES_MAX };

static Dynode__Peer__Gossip *message_new(struct turn *turn)
{
    Dynode__Peer__Gossip *message = ARENA_NEW(turn->arena, Dynode__Peer__Gossip);
    dynode__peer__gossip__init(message);
    message->cluster = turn->cluster->id;
    message->vnodes = turn->cluster->vnodes;
    return message;
}

static void send(struct turn *turn, uint64_t node, const Dynode__Peer__Gossip *message)
{
    struct address to = {.node = node, .shard = CLUSTER_OWNER_SHARD};
    turn_send(turn, to, 0, DYNODE__PEER__MESSAGE__BODY_GOSSIP, message);
}

static void send_whole(struct gossip *gossip, struct turn *turn, uint64_t node)
{
    Dynode__Peer__Gossip *message = message_new(turn);
    message->whole = gossip->digest.whole;
    send(turn, node, message);
}

/* Records of ours, as a message. */
static Dynode__Peer__ClusterState *records_message(struct turn *turn, const struct record *records,
                                                   uint32_t count)
{
    const struct cluster *cluster = turn->cluster;
    struct cluster part = {.id = cluster->id, .vnodes = cluster->vnodes};
    part.members = ARENA_ARRAY(turn->arena, struct member, count);
    part.tables = ARENA_ARRAY(turn->arena, struct table, count);
    for (uint32_t i = 0; i < count; i++) {
        if (records[i].is_table)
            part.tables[part.table_count++] = cluster->tables[records[i].place];
        else
            part.members[part.member_count++] = cluster->members[records[i].place];
    }
    return cluster_to_message(&part, turn->arena);
}

/* Our own record, unasked: who is silent may have lost the way to us, because we have moved, and takes it
 * from here. */
static void introduce(struct turn *turn, uint64_t node)
{
    const struct member *self = cluster_find_member(turn->cluster, turn->self.node);
    const struct record own = {.place = (uint32_t)(self - turn->cluster->members)};
    Dynode__Peer__Gossip *message = message_new(turn);
    message->records = records_message(turn, &own, 1);
    send(turn, node, message);
}

void spread_round(struct gossip *gossip, struct turn *turn)
{
    gossip->greetings_left = GOSSIP_PEERS;
    gossip->answers_left = GOSSIP_ANSWERS_MAX;
    gossip->steps_left = GOSSIP_STEPS_MAX;
    uint64_t *nodes = ARENA_ARRAY(turn->arena, uint64_t, turn->cluster->member_count);
    uint32_t count = 0, silent = 0;
    for (uint32_t i = 0; i < turn->cluster->member_count; i++) {
        uint64_t node = turn->cluster->members[i].id;
        const struct peer *peer = peers_find(turn->peers, node);
        if (peer == NULL) continue;
        if (peer->reachable)
            nodes[count++] = node;
        else if (peer->link && silent++ < GOSSIP_PEERS)
            introduce(turn, node);
    }
    for (uint32_t told = 0; told < GOSSIP_PEERS && count > 0; told++) {
        uint32_t chosen = (uint32_t)prng_below(turn->prng, count);
        send_whole(gossip, turn, nodes[chosen]);
        nodes[chosen] = nodes[--count];
    }
}

void spread_greet(struct gossip *gossip, struct turn *turn, uint64_t node)
{
    if (gossip->greetings_left == 0 || cluster_find_member(turn->cluster, node) == NULL) return;
    gossip->greetings_left--;
    send_whole(gossip, turn, node);
}

/* --- records --- */

static struct record *records_of(struct turn *turn, uint64_t buckets, uint32_t *count)
{
    struct record *records =
        ARENA_ARRAY(turn->arena, struct record, turn->cluster->member_count + turn->cluster->table_count);
    *count = digest_records(turn->cluster, buckets, records);
    return records;
}

static int by_name(const void *left, const void *right)
{
    const struct record *a = left;
    const struct record *b = right;
    if (a->name != b->name) return a->name < b->name ? -1 : 1;
    return a->digest < b->digest ? -1 : a->digest > b->digest;
}

/* What a peer has named, sorted. */
static struct record *named(struct turn *turn, const uint64_t *names, const uint64_t *digests, size_t count)
{
    struct record *records = ARENA_ARRAY(turn->arena, struct record, count);
    for (size_t i = 0; i < count; i++)
        records[i] = (struct record){.name = names[i], .digest = digests != NULL ? digests[i] : 0};
    qsort(records, count, sizeof(*records), by_name);
    return records;
}

/* --- the steps --- */

static void answer_whole(struct gossip *gossip, struct turn *turn, uint64_t node)
{
    if (gossip->answers_left == 0) return;
    gossip->answers_left--;
    Dynode__Peer__Gossip *message = message_new(turn);
    message->whole = gossip->digest.whole;
    message->n_buckets = DIGEST_BUCKETS;
    message->buckets = ARENA_ARRAY(turn->arena, uint64_t, DIGEST_BUCKETS);
    memcpy(message->buckets, gossip->digest.buckets, sizeof(gossip->digest.buckets));
    send(turn, node, message);
}

static void answer_buckets(struct gossip *gossip, struct turn *turn, uint64_t node, const uint64_t *buckets)
{
    Dynode__Peer__Gossip *message = message_new(turn);
    for (uint32_t i = 0; i < DIGEST_BUCKETS; i++)
        if (buckets[i] != gossip->digest.buckets[i]) message->listed |= UINT64_C(1) << i;
    uint32_t count;
    const struct record *records = records_of(turn, message->listed, &count);
    message->n_names = message->n_digests = count;
    message->names = ARENA_ARRAY(turn->arena, uint64_t, count);
    message->digests = ARENA_ARRAY(turn->arena, uint64_t, count);
    for (uint32_t i = 0; i < count; i++) {
        message->names[i] = records[i].name;
        message->digests[i] = records[i].digest;
    }
    if (message->listed != 0) send(turn, node, message);
}

/* Both lists are sorted by name. */
static void answer_names(struct turn *turn, uint64_t node, const Dynode__Peer__Gossip *asked)
{
    uint32_t own_count, differ = 0, i = 0;
    struct record *own = records_of(turn, asked->listed, &own_count);
    const struct record *theirs = named(turn, asked->names, asked->digests, asked->n_names);
    Dynode__Peer__Gossip *message = message_new(turn);
    message->wanted = ARENA_ARRAY(turn->arena, uint64_t, asked->n_names);
    for (size_t k = 0; i < own_count || k < asked->n_names;) {
        bool only_own = k == asked->n_names || (i < own_count && own[i].name < theirs[k].name);
        bool only_theirs = i == own_count || (k < asked->n_names && theirs[k].name < own[i].name);
        if (!only_own && !only_theirs && own[i].digest == theirs[k].digest) {
            i++, k++;
            continue;
        }
        if (!only_own) message->wanted[message->n_wanted++] = theirs[k++].name;
        if (!only_theirs) own[differ++] = own[i++];
    }
    if (differ > 0) message->records = records_message(turn, own, differ);
    if (differ > 0 || message->n_wanted > 0) send(turn, node, message);
}

static void answer_wanted(struct turn *turn, uint64_t node, const Dynode__Peer__Gossip *asked)
{
    uint32_t count, found = 0;
    struct record *own = records_of(turn, UINT64_MAX, &count);
    const struct record *wanted = named(turn, asked->wanted, NULL, asked->n_wanted);
    for (uint32_t i = 0, k = 0; i < count && k < asked->n_wanted;) {
        if (own[i].name == wanted[k].name)
            own[found++] = own[i++];
        else if (own[i].name < wanted[k].name)
            i++;
        else
            k++;
    }
    if (found == 0) return;
    Dynode__Peer__Gossip *message = message_new(turn);
    message->records = records_message(turn, own, found);
    send(turn, node, message);
}

static bool valid(const struct turn *turn, const Dynode__Peer__Gossip *message)
{
    return message->cluster == turn->cluster->id && message->vnodes == turn->cluster->vnodes &&
           (message->n_buckets == 0 || message->n_buckets == DIGEST_BUCKETS) &&
           message->n_names == message->n_digests && message->n_names <= RECORDS_MAX &&
           message->n_wanted <= RECORDS_MAX;
}

void spread_receive(struct gossip *gossip, struct turn *turn, const struct mail *mail)
{
    const Dynode__Peer__Gossip *message = mail->body;
    uint64_t node = mail->from.node;
    if (!gossip->owner || node == turn->self.node || !valid(turn, message)) {
        turn->counters->invalid++;
        return;
    }
    if (message->records != NULL && !gossip_learn(gossip, turn, message->records)) {
        turn->counters->invalid++;
        return;
    }
    bool step = message->n_wanted > 0 || message->listed != 0 || message->n_buckets > 0;
    if (!step) {
        if (message->whole != 0 && message->whole != gossip->digest.whole) answer_whole(gossip, turn, node);
        return;
    }
    if (gossip->steps_left == 0) return;
    gossip->steps_left--;
    if (message->n_wanted > 0)
        answer_wanted(turn, node, message);
    else if (message->listed != 0)
        answer_names(turn, node, message);
    else
        answer_buckets(gossip, turn, node, message->buckets);
}
