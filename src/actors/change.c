/* Changes of tables, and of what is given up of a member: made here, kept, and told at once to all that can
 * be reached, beside gossip's own pace.
 *
 * A change is OK when every node that could be reached when it was made has confirmed it (it is on that
 * node's disk, and all its shards go by it) or has gone. At the deadline it is TIMEOUT: it spreads all the
 * same, but somebody may not know it yet. What is sent is the records of all changes that are under way, so
 * whoever has confirmed one round has all before it. It is one message to each node and one answer, whatever
 * the size of the state; nobody passes it on but by gossip, which also brings it to those that were away. */
#include <stdio.h>
#include <stdlib.h>

#include "actors/coordinator.h"
#include "actors/gossip_state.h"
#include "actors/identity.h"
#include "actors/result.h"
#include "base/check.h"
#include "wire/client_wire.h"
#include "wire/cluster_wire.h"

static const uint64_t ms = 1000000;

/* --- telling --- */

/* @name: a table's tag, or a member's id. */
static bool under_way(const struct gossip *gossip, bool member, uint64_t name)
{
    for (uint32_t i = 0; i < GOSSIP_CHANGES_MAX; i++) {
        const struct change *change = &gossip->changes[i];
        if (change->used && change->member == member && change->name == name) return true;
    }
    return false;
}

/* The records of all changes that are under way. */
static Dynode__Peer__ClusterState *news(const struct gossip *gossip, struct turn *turn)
{
    const struct cluster *cluster = turn->cluster;
    struct cluster part = {.id = cluster->id, .vnodes = cluster->vnodes};
    part.tables = ARENA_ARRAY(turn->arena, struct table, GOSSIP_CHANGES_MAX);
    for (uint32_t i = 0; i < cluster->table_count; i++)
        if (under_way(gossip, false, cluster->tables[i].tag))
            part.tables[part.table_count++] = cluster->tables[i];
    part.members = ARENA_ARRAY(turn->arena, struct member, GOSSIP_CHANGES_MAX);
    for (uint32_t i = 0; i < cluster->member_count; i++)
        if (under_way(gossip, true, cluster->members[i].id))
            part.members[part.member_count++] = cluster->members[i];
    return cluster_to_message(&part, turn->arena);
}

/* Who must know: our other shards, and the owner of each node that can be reached. Our shards are told all of
 * it by gossip_publish. */
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

static void tell(const struct gossip *gossip, struct turn *turn, const struct address *list, uint32_t count)
{
    const Dynode__Peer__ClusterState *message = news(gossip, turn);
    for (uint32_t i = 0; i < count; i++)
        if (list[i].node != turn->self.node && (i == 0 || list[i].node != list[i - 1].node))
            turn_send(turn, list[i], gossip->round, DYNODE__PEER__MESSAGE__BODY_CLUSTER_STATE, message);
}

static int by_node(const void *left, const void *right)
{
    const struct address *a = left;
    const struct address *b = right;
    return a->node < b->node ? -1 : a->node > b->node;
}

/* The answer comes over another link than the question, and may be lost while ours stands. */
void change_remind(struct gossip *gossip, struct turn *turn)
{
    uint32_t count = 0, room = 0;
    for (uint32_t i = 0; i < GOSSIP_CHANGES_MAX; i++) room += gossip->changes[i].waiting_count;
    if (room == 0) return;
    struct address *list = ARENA_ARRAY(turn->arena, struct address, room);
    for (uint32_t i = 0; i < GOSSIP_CHANGES_MAX; i++)
        for (uint32_t k = 0; k < gossip->changes[i].waiting_count; k++)
            list[count++] = gossip->changes[i].waiting[k];
    qsort(list, count, sizeof(*list), by_node);
    tell(gossip, turn, list, count);
}

/* --- ends --- */

static void answer(struct turn *turn, struct address asker, uint64_t request, Dynode__Client__Result *result)
{
    Dynode__Peer__Administered *message = ARENA_NEW(turn->arena, Dynode__Peer__Administered);
    dynode__peer__administered__init(message);
    message->result = result;
    /* Durable: what it says is in our own store, written in this turn or an earlier one. */
    turn_send_durable(turn, asker, request, DYNODE__PEER__MESSAGE__BODY_ADMINISTERED, message);
}

static void finish(struct gossip *gossip, struct turn *turn, struct change *change,
                   Dynode__Client__Result *result)
{
    answer(turn, change->asker, change->asker_request, result);
    turn_disarm(turn, change->timer);
    free(change->waiting);
    *change = (struct change){0};
    gossip->change_count--;
}

static void strike(struct gossip *gossip, struct turn *turn, struct change *change, struct address who,
                   bool whole_node)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < change->waiting_count; i++) {
        struct address one = change->waiting[i];
        bool same = whole_node ? one.node == who.node : address_is(one, who);
        if (!same) change->waiting[kept++] = one;
    }
    change->waiting_count = kept;
    if (kept == 0) finish(gossip, turn, change, result_new(turn->arena, STATUS_OK, NULL));
}

void change_confirmed(struct gossip *gossip, struct turn *turn, struct address who, uint64_t round)
{
    for (uint32_t i = 0; i < GOSSIP_CHANGES_MAX; i++) {
        struct change *change = &gossip->changes[i];
        if (change->used && round >= change->round) strike(gossip, turn, change, who, false);
    }
}

void change_forget(struct gossip *gossip, struct turn *turn, uint64_t node)
{
    for (uint32_t i = 0; i < GOSSIP_CHANGES_MAX; i++)
        if (gossip->changes[i].used)
            strike(gossip, turn, &gossip->changes[i], (struct address){.node = node}, true);
}

void change_timeout(struct gossip *gossip, struct turn *turn, uint64_t place)
{
    struct change *change = &gossip->changes[place];
    CHECK(change->used);
    change->timer = 0;
    /* It is made, and can't be taken back; but its client must not believe that all know it. */
    Dynode__Client__Result *result =
        result_new(turn->arena, STATUS_TIMEOUT,
                   "a node that can be reached has not confirmed the change: it may not know it yet");
    result->applied = DYNODE__CLIENT__APPLIED__MAYBE;
    finish(gossip, turn, change, result);
}

/* --- beginnings --- */

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

static enum status give_up(struct turn *turn, struct cluster *cluster, uint64_t node, const char **why)
{
    *why = "no member has this id";
    if (cluster_find_member(cluster, node) == NULL) return STATUS_NOT_FOUND;
    *why = "the node can be reached: what it holds is not lost";
    if (node == turn->self.node || peers_reachable(turn->peers, node)) return STATUS_INVALID;
    return cluster_give_up(cluster, node);
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
    case DYNODE__CLIENT__OPERATION__KIND_ACCEPT_LOSS:
        return give_up(turn, cluster, operation->accept_loss->node, why);
    default:
        return STATUS_INVALID;
    }
}

static const char *table_name(const Dynode__Client__Operation *operation)
{
    switch (operation->kind_case) {
    case DYNODE__CLIENT__OPERATION__KIND_CREATE_TABLE:
        return operation->create_table->table->name;
    case DYNODE__CLIENT__OPERATION__KIND_ALTER_TABLE:
        return operation->alter_table->name;
    default:
        return operation->drop_table->name;
    }
}

/* What table it is: one that is dropped is known before, one that is made afterwards. */
static uint64_t tag_of(const struct cluster *before, const struct cluster *after,
                       const Dynode__Client__Operation *operation)
{
    struct bytes name = bytes_str(table_name(operation));
    const struct table *table = cluster_find_table(after, name);
    if (table == NULL) table = cluster_find_table(before, name);
    CHECK(table != NULL);
    return table->tag;
}

/* Which record it is about. */
static struct change change_of(const struct cluster *before, const struct cluster *after,
                               const Dynode__Client__Operation *operation)
{
    if (operation->kind_case == DYNODE__CLIENT__OPERATION__KIND_ACCEPT_LOSS)
        return (struct change){.member = true, .name = operation->accept_loss->node};
    return (struct change){.name = tag_of(before, after, operation)};
}

/* Make it, keep it. The place that waits for its confirmation, or NULL: *status is the answer. */
static struct change *make(struct gossip *gossip, struct turn *turn,
                           const Dynode__Client__Operation *operation, enum status *status, const char **why)
{
    uint32_t place = 0;
    while (place < GOSSIP_CHANGES_MAX && gossip->changes[place].used) place++;
    *status = STATUS_OVERLOADED;
    if (place == GOSSIP_CHANGES_MAX) return NULL;
    const struct cluster *before = turn->cluster; /* lives until the turn ends */
    struct cluster *cluster = gossip_copy(before);
    *status = apply(gossip, turn, cluster, operation, why);
    if (*status == STATUS_OK) *status = gossip_publish(gossip, turn, cluster);
    if (*status == STATUS_NO_SPACE) {
        *status = STATUS_UNAVAILABLE;
        *why = result_full_disk(turn->arena, "this node", turn->store);
    }
    if (*status != STATUS_OK) {
        gossip_free(cluster);
        return NULL;
    }
    struct change *change = &gossip->changes[place];
    *change = change_of(before, cluster, operation);
    change->round = gossip->round;
    change->waiting = calloc(turn->shards + cluster->member_count, sizeof(*change->waiting));
    CHECK(change->waiting != NULL);
    change->waiting_count = audience(turn, change->waiting);
    change->used = change->waiting_count > 0;
    gossip->change_count += change->used;
    if (change->used) return change;
    free(change->waiting);
    *change = (struct change){0};
    return NULL;
}

void change_receive(struct gossip *gossip, struct turn *turn, const struct mail *mail)
{
    const Dynode__Peer__Administer *message = mail->body;
    const char *why = NULL;
    enum status status;
    if (mail->from.node != turn->self.node || !gossip->owner) {
        turn->counters->invalid++;
        return;
    }
    struct change *change = make(gossip, turn, message->operation, &status, &why);
    if (change == NULL) {
        answer(turn, mail->from, mail->request, result_new(turn->arena, status, why));
        return;
    }
    change->asker = mail->from;
    change->asker_request = mail->request;
    uint64_t left_ns = (uint64_t)message->deadline_ms * ms;
    uint64_t margin = left_ns / 10 < COORDINATOR_MARGIN_NS ? left_ns / 10 : COORDINATOR_MARGIN_NS;
    change->timer =
        turn_arm(turn, &gossip->actor, turn->now_ns + left_ns - margin, (uint64_t)(change - gossip->changes));
    tell(gossip, turn, change->waiting, change->waiting_count);
}
