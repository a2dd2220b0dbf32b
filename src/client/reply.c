#include "client/dynode.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/config_value.h"
#include "base/hash.h"
#include "client/internal.h"

enum { VNODES_MAX = 65536, MEMBERS_MAX = 1024, TABLES_MAX = 4096, MESSAGE_BYTES_MAX = 1024 };

struct reply *reply_new(size_t count)
{
    struct reply *reply = calloc(1, sizeof(*reply));
    CHECK(reply != NULL);
    arena_init(&reply->arena, 0);
    reply->public.count = count;
    reply->public.results = calloc(count, sizeof(*reply->public.results));
    CHECK(reply->public.results != NULL);
    reply->result_bytes = calloc(count, sizeof(*reply->result_bytes));
    CHECK(reply->result_bytes != NULL);
    for (size_t i = 0; i < count; i++) reply->public.results[i].message = "";
    return reply;
}

void reply_free(struct reply *reply)
{
    if (reply == NULL) return;
    arena_fini(&reply->arena);
    free(reply->public.results);
    free(reply->result_bytes);
    free(reply);
}

void dynode_reply_free(struct dynode_reply *reply)
{
    if (reply == NULL) return;
    reply_free((struct reply *)((char *)reply - offsetof(struct reply, public)));
}

static const char *copy_string(struct arena *arena, const char *from)
{
    size_t size = strnlen(from, MESSAGE_BYTES_MAX);
    if (size == 0) return "";
    char *to = arena_alloc(arena, size + 1);
    memcpy(to, from, size);
    to[size] = '\0';
    return to;
}

static struct dynode_bytes copy_bytes(struct arena *arena, ProtobufCBinaryData from)
{
    struct bytes copy = bytes_copy(arena, bytes_of(from.data, from.len));
    return (struct dynode_bytes){.data = copy.data, .size = copy.size};
}

void reply_clear(struct reply *reply, uint32_t index)
{
    uint64_t sequence = reply->public.results[index].sequence;
    reply->public.results[index] = (struct dynode_result){.message = "", .sequence = sequence};
    reply->result_bytes[index] = 0;
}

void reply_set(struct reply *reply, uint32_t index, enum dynode_status status, enum dynode_applied applied,
               const char *message)
{
    reply_clear(reply, index);
    struct dynode_result *result = &reply->public.results[index];
    result->status = status;
    result->applied = applied;
    result->message = copy_string(&reply->arena, message);
}

static const struct dynode_table *copy_tables(struct arena *arena, Dynode__Client__TableInfo **from,
                                              size_t count)
{
    struct dynode_table *tables = ARENA_ARRAY(arena, struct dynode_table, count + 1);
    for (size_t i = 0; i < count; i++) {
        tables[i] = (struct dynode_table){
            .name = copy_string(arena, from[i]->name),
            .rule = from[i]->rule == DYNODE__CLIENT__RULE__LWW ? DYNODE_RULE_LWW : DYNODE_RULE_SIBLINGS,
            .n = from[i]->n,
            .r = from[i]->r,
            .w = from[i]->w,
            .ttl_ms = from[i]->ttl_ms,
            .tag = from[i]->tag,
        };
    }
    return tables;
}

/* Can clients route by it? What a defective node says, or a damaged frame, must not be kept. NULL: yes; else
 * why not (static memory). */
static const char *judge_members(const Dynode__Client__ClusterDescription *from)
{
    if (from->n_members == 0 || from->n_members > MEMBERS_MAX)
        return "a cluster of no members, or of too many";
    for (size_t i = 0; i < from->n_members; i++) {
        const Dynode__Client__Member *member = from->members[i];
        struct address address;
        const char *why;
        if (member->id == 0) return "a member without an id";
        if (!value_name(member->name)) return "a member with a name that is not allowed";
        if (member->shards > CLIENT_SHARDS_MAX) return "a member of too many shards";
        /* Clients cannot reach a member without an address, but others can. */
        size_t size = strlen(member->client_address);
        if (size > 0 && !address_parse(member->client_address, size, &address, &why))
            return "a member with an address that cannot be read";
        for (size_t k = 0; k < i; k++) {
            if (from->members[k]->id == member->id) return "two members of one id";
            if (size > 0 && strcmp(from->members[k]->client_address, member->client_address) == 0)
                return "two members at one address";
        }
    }
    return NULL;
}

static const char *judge_tables(const Dynode__Client__ClusterDescription *from)
{
    if (from->n_tables > TABLES_MAX) return "a cluster of too many tables";
    for (size_t i = 0; i < from->n_tables; i++) {
        const Dynode__Client__TableInfo *table = from->tables[i];
        if (!value_name(table->name)) return "a table with a name that is not allowed";
        if (table->rule != DYNODE__CLIENT__RULE__SIBLINGS && table->rule != DYNODE__CLIENT__RULE__LWW)
            return "a table of an unknown rule";
        if (table->n < 1 || table->n > DYNODE_PREFERENCE_MAX || table->r < 1 || table->r > table->n ||
            table->w < 1 || table->w > table->n)
            return "a table whose N, R and W do not fit";
        for (size_t k = 0; k < i; k++) {
            if (strcmp(from->tables[k]->name, table->name) == 0) return "two tables of one name";
        }
    }
    return NULL;
}

/* Each list names different members. */
static const char *judge_lists(const Dynode__Client__ClusterDescription *from, uint32_t size)
{
    if (from->vnodes == 0 || from->vnodes > VNODES_MAX || (from->vnodes & (from->vnodes - 1)) != 0)
        return "a number of vnodes that is no power of two, or too large";
    if (from->n_preference_lists != (size_t)from->vnodes * size)
        return "preference lists that do not fit the vnodes and members";
    for (uint32_t v = 0; v < from->vnodes; v++) {
        const uint32_t *list = from->preference_lists + (size_t)v * size;
        for (uint32_t i = 0; i < size; i++) {
            if (list[i] >= from->n_members) return "a preference list of unknown members";
            for (uint32_t k = 0; k < i; k++) {
                if (list[k] == list[i]) return "a preference list that names a member twice";
            }
        }
    }
    return NULL;
}

static const struct dynode_cluster *
copy_cluster(struct arena *arena, const Dynode__Client__ClusterDescription *from, const char **why)
{
    uint32_t size =
        from->n_members < DYNODE_PREFERENCE_MAX ? (uint32_t)from->n_members : DYNODE_PREFERENCE_MAX;
    *why = from->ring_version == 0   ? "a ring without a version"
           : !value_name(from->hash) ? "a hash with a name that is not allowed"
                                     : judge_members(from);
    if (*why == NULL) *why = judge_tables(from);
    if (*why == NULL) *why = judge_lists(from, size);
    if (*why != NULL) return NULL;
    struct dynode_member *members = ARENA_ARRAY(arena, struct dynode_member, from->n_members);
    for (size_t i = 0; i < from->n_members; i++) {
        const Dynode__Client__Member *member = from->members[i];
        members[i] = (struct dynode_member){
            .id = member->id,
            .name = copy_string(arena, member->name),
            .client_address = copy_string(arena, member->client_address),
            .peer_address = copy_string(arena, member->peer_address),
            .zone = copy_string(arena, member->zone),
            .weight = member->weight,
            .shards = member->shards,
            .reachable = member->reachable,
            .given_up = member->given_up,
        };
    }
    uint32_t *lists = ARENA_ARRAY(arena, uint32_t, from->n_preference_lists);
    memcpy(lists, from->preference_lists, from->n_preference_lists * sizeof(*lists));
    struct dynode_cluster *cluster = ARENA_NEW(arena, struct dynode_cluster);
    *cluster = (struct dynode_cluster){
        .id = from->id,
        .ring_version = from->ring_version,
        .vnodes = from->vnodes,
        .hash = copy_string(arena, from->hash),
        .members = members,
        .member_count = (uint32_t)from->n_members,
        .tables = copy_tables(arena, from->tables, from->n_tables),
        .table_count = (uint32_t)from->n_tables,
        .preference_size = size,
        .preference_lists = lists,
    };
    return cluster;
}

static const uint64_t *copy_nodes(struct arena *arena, const uint64_t *from, size_t count)
{
    if (count == 0) return NULL;
    uint64_t *nodes = ARENA_ARRAY(arena, uint64_t, count);
    memcpy(nodes, from, count * sizeof(*nodes));
    return nodes;
}

static const struct dynode_node_report *copy_report(struct arena *arena,
                                                    const Dynode__Client__NodeReport *from)
{
    struct dynode_shard_report *shards = ARENA_ARRAY(arena, struct dynode_shard_report, from->n_shards + 1);
    for (size_t i = 0; i < from->n_shards; i++) {
        const Dynode__Client__ShardReport *shard = from->shards[i];
        struct dynode_peer_report *peers = ARENA_ARRAY(arena, struct dynode_peer_report, shard->n_peers + 1);
        for (size_t k = 0; k < shard->n_peers; k++) {
            const Dynode__Client__PeerReport *peer = shard->peers[k];
            peers[k] =
                (struct dynode_peer_report){peer->node, peer->up, peer->queued_bytes, peer->heard_ms_ago};
        }
        struct dynode_hint_report *hints = ARENA_ARRAY(arena, struct dynode_hint_report, shard->n_hints + 1);
        for (size_t k = 0; k < shard->n_hints; k++) {
            const Dynode__Client__HintReport *hint = shard->hints[k];
            hints[k] = (struct dynode_hint_report){hint->node, hint->count, hint->bytes, hint->oldest_ms};
        }
#define SAME(field) .field = shard->field
        shards[i] = (struct dynode_shard_report){
            SAME(shard),
            SAME(vnodes),
            SAME(gets),
            SAME(puts),
            SAME(replica_reads),
            SAME(replica_writes),
            SAME(repairs),
            SAME(errors),
            SAME(overloaded),
            SAME(connections),
            SAME(requests_in_flight),
            SAME(coordinating),
            SAME(inbox_bytes),
            SAME(outbox_bytes),
            SAME(turns),
            SAME(syncs),
            SAME(store_bytes),
            SAME(store_log_bytes),
            SAME(cache_bytes),
            SAME(cache_bytes_max),
            SAME(dropped),
            SAME(corrupt),
            SAME(filled),
            SAME(vnodes_built),
            SAME(exchanges),
            SAME(differing),
            SAME(objects_in),
            SAME(objects_out),
            SAME(audits),
            SAME(audited),
            SAME(damaged),
            SAME(tombstones),
            SAME(reaped),
            SAME(equal_ms_ago),
            SAME(unproven),
            SAME(mended),
            .peers = peers,
            .peer_count = (uint32_t)shard->n_peers,
            .hints = hints,
            .hint_count = (uint32_t)shard->n_hints,
            SAME(hint_bytes_max),
            SAME(hints_refused),
            SAME(dirty),
            SAME(lingering),
            SAME(owed),
            SAME(results_bytes),
            SAME(mail_wait_us),
            SAME(expired),
            SAME(repairs_shed),
            SAME(speculated),
            SAME(speculations_withheld),
            SAME(speculation_wait_us),
            SAME(unfilled),
            .unfilled_for = copy_nodes(arena, shard->unfilled_for, shard->n_unfilled_for),
            .unfilled_for_count = (uint32_t)shard->n_unfilled_for,
        };
#undef SAME
    }
    struct dynode_node_report *report = ARENA_NEW(arena, struct dynode_node_report);
    *report = (struct dynode_node_report){
        .node = from->node,
        .name = copy_string(arena, from->name),
        .software = copy_string(arena, from->software),
        .uptime_ms = from->uptime_ms,
        .resident_bytes = from->resident_bytes,
        .shards = shards,
        .shard_count = (uint32_t)from->n_shards,
    };
    return report;
}

static const struct dynode_scan_page *copy_page(struct arena *arena, const Dynode__Client__ScanPage *from)
{
    struct dynode_bytes *keys = ARENA_ARRAY(arena, struct dynode_bytes, from->n_keys + 1);
    for (size_t i = 0; i < from->n_keys; i++) keys[i] = copy_bytes(arena, from->keys[i]);
    struct dynode_scan_page *page = ARENA_NEW(arena, struct dynode_scan_page);
    *page = (struct dynode_scan_page){.keys = keys,
                                      .key_count = from->n_keys,
                                      .count = from->count,
                                      .cursor = copy_bytes(arena, from->cursor)};
    return page;
}

static bool add_siblings(struct reply *reply, uint32_t index, const Dynode__Client__Result *from,
                         const char **why)
{
    struct dynode_result *result = &reply->public.results[index];
    size_t *bytes = &reply->result_bytes[index];
    *why = "more siblings than there can be";
    if (result->sibling_count + from->n_siblings > CLIENT_SIBLINGS_MAX) return false;
    for (size_t i = 0; i < from->n_siblings; i++) *bytes += from->siblings[i]->value.len;
    if (*bytes > CLIENT_RESULT_BYTES_MAX) return false;
    if (from->n_siblings == 0) return true;
    size_t count = result->sibling_count + from->n_siblings;
    struct dynode_sibling *siblings = ARENA_ARRAY(&reply->arena, struct dynode_sibling, count);
    if (result->sibling_count > 0)
        memcpy(siblings, result->siblings, result->sibling_count * sizeof(*siblings));
    for (size_t i = 0; i < from->n_siblings; i++) {
        const Dynode__Client__Sibling *sibling = from->siblings[i];
        siblings[result->sibling_count + i] = (struct dynode_sibling){
            .value = copy_bytes(&reply->arena, sibling->value),
            .written_ms = sibling->written_ms,
            .expires_ms = sibling->expires_ms,
        };
    }
    result->siblings = siblings;
    result->sibling_count = count;
    return true;
}

/* Nobody can tell by it where a key belongs. */
static void refuse_hash(struct arena *arena, struct dynode_result *result)
{
    char message[200];
    snprintf(message, sizeof(message),
             "the cluster hashes keys with %s, and this client knows " HASH64_NAME
             " only: it takes a newer client",
             result->cluster->hash);
    result->status = DYNODE_WRONG_VERSION;
    result->message = copy_string(arena, message);
    result->cluster = NULL;
}

bool reply_add(struct reply *reply, uint32_t index, const Dynode__Client__Result *from, const char **why)
{
    struct dynode_result *result = &reply->public.results[index];
    struct arena *arena = &reply->arena;
    /* A part counts whole, or an answer that never ends would fill the memory. */
    if (from->more) reply->result_bytes[index] += protobuf_c_message_get_packed_size(&from->base);
    if (!add_siblings(reply, index, from, why)) return false;
    result->status = (enum dynode_status)from->status;
    result->message = copy_string(arena, from->message);
    if (strcmp(dynode_status_name(result->status), "UNKNOWN") == 0) {
        result->status = DYNODE_INTERNAL;
        result->message = "the node answered with a status that this client does not know";
    }
    result->applied = from->applied == DYNODE__CLIENT__APPLIED__NO      ? DYNODE_APPLIED_NO
                      : from->applied == DYNODE__CLIENT__APPLIED__MAYBE ? DYNODE_APPLIED_MAYBE
                                                                        : DYNODE_APPLIED_NOTHING_TO_SAY;
    result->got = from->got;
    result->needed = from->needed;
    if (from->context.len > 0) result->context = copy_bytes(arena, from->context);
    *why = "a receipt of more replicas than there can be";
    if (from->n_replicas > MEMBERS_MAX || from->n_stand_ins > MEMBERS_MAX) return false;
    result->replicas = copy_nodes(arena, from->replicas, from->n_replicas);
    result->replica_count = from->n_replicas;
    result->stand_ins = copy_nodes(arena, from->stand_ins, from->n_stand_ins);
    result->stand_in_count = from->n_stand_ins;
    switch (from->answer_case) {
    case DYNODE__CLIENT__RESULT__ANSWER_SCAN:
        result->scan = copy_page(arena, from->scan);
        break;
    case DYNODE__CLIENT__RESULT__ANSWER_TABLES:
        result->tables = copy_tables(arena, from->tables->tables, from->tables->n_tables);
        result->table_count = (uint32_t)from->tables->n_tables;
        break;
    case DYNODE__CLIENT__RESULT__ANSWER_CLUSTER:
        result->cluster = copy_cluster(arena, from->cluster, why);
        if (result->cluster == NULL) return false;
        if (strcmp(result->cluster->hash, HASH64_NAME) != 0) refuse_hash(arena, result);
        break;
    case DYNODE__CLIENT__RESULT__ANSWER_NODE:
        result->node = copy_report(arena, from->node);
        break;
    default:
        break;
    }
    return true;
}
