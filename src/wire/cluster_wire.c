/* The cluster state to and from protobuf. Nothing here decides: the rules are those of ring/cluster.h,
 * applied to whatever a peer sent before any of it becomes a struct cluster. */
#include "wire/cluster_wire.h"

#include <assert.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/hash.h"
#include "wire/pack.h"

static_assert((int)DYNODE__CLIENT__RULE__SIBLINGS == (int)RULE_SIBLINGS,
              "client.proto numbers rules as we do");
static_assert((int)DYNODE__CLIENT__RULE__LWW == (int)RULE_LWW, "client.proto numbers rules as we do");

/* A protobuf string, of which a C string is all that it needs. */
static char *string_copy(struct arena *arena, const char *from)
{
    size_t size = strlen(from) + 1;
    return memcpy(arena_alloc(arena, size), from, size);
}

static Dynode__Peer__MemberRecord *member_to_record(const struct member *member, struct arena *arena)
{
    Dynode__Peer__MemberRecord *record = ARENA_NEW(arena, Dynode__Peer__MemberRecord);
    dynode__peer__member_record__init(record);
    record->id = member->id;
    record->incarnation = member->incarnation;
    record->name = string_copy(arena, member->name);
    record->zone = string_copy(arena, member->zone);
    record->peer_address = string_copy(arena, member->peer_address);
    record->client_address = string_copy(arena, member->client_address);
    record->weight = member->weight;
    record->shards = member->shards;
    record->given_up_below = member->given_up_below;
    return record;
}

static Dynode__Peer__TableRecord *table_to_record(const struct table *table, struct arena *arena)
{
    Dynode__Peer__TableRecord *record = ARENA_NEW(arena, Dynode__Peer__TableRecord);
    dynode__peer__table_record__init(record);
    record->name = string_copy(arena, table->name);
    record->generation = table->generation;
    record->id = table->id;
    record->rule = (uint32_t)table->rule;
    record->n = table->n;
    record->r = table->r;
    record->w = table->w;
    record->ttl_ms = table->ttl_ms;
    record->alter_stamp = table->alter_stamp;
    record->alter_node = table->alter_node;
    record->dropped = table->dropped;
    return record;
}

Dynode__Peer__ClusterState *cluster_to_message(const struct cluster *cluster, struct arena *arena)
{
    Dynode__Peer__ClusterState *message = ARENA_NEW(arena, Dynode__Peer__ClusterState);
    dynode__peer__cluster_state__init(message);
    message->id = cluster->id;
    message->vnodes = cluster->vnodes;
    message->n_members = cluster->member_count;
    message->members = ARENA_ARRAY(arena, Dynode__Peer__MemberRecord *, cluster->member_count);
    for (uint32_t i = 0; i < cluster->member_count; i++)
        message->members[i] = member_to_record(&cluster->members[i], arena);
    message->n_tables = cluster->table_count;
    message->tables = ARENA_ARRAY(arena, Dynode__Peer__TableRecord *, cluster->table_count);
    for (uint32_t i = 0; i < cluster->table_count; i++)
        message->tables[i] = table_to_record(&cluster->tables[i], arena);
    return message;
}

struct bytes cluster_pack(const struct cluster *cluster, struct arena *arena)
{
    const Dynode__Peer__ClusterState *message = cluster_to_message(cluster, arena);
    uint8_t *packed = arena_alloc(arena, pack_size(&message->base));
    return bytes_of(packed, (size_t)(pack(&message->base, packed) - packed));
}

/* Into a zeroed array of @room bytes; false when there is no room for it and its NUL. (What stands behind a
 * NUL within a string is lost when protobuf-c unpacks it, so a name that hides one is judged by what stands
 * before.) */
static bool string_take(char *to, size_t room, const char *from)
{
    if (from == NULL) return true;
    size_t size = strnlen(from, room);
    if (size == room) return false;
    memcpy(to, from, size);
    return true;
}

static bool member_take(struct member *to, const Dynode__Peer__MemberRecord *from)
{
    const char *why;
    to->id = from->id;
    to->incarnation = from->incarnation;
    to->weight = from->weight;
    to->shards = from->shards;
    to->given_up_below = from->given_up_below;
    return string_take(to->name, sizeof(to->name), from->name) &&
           string_take(to->zone, sizeof(to->zone), from->zone) &&
           string_take(to->peer_address, sizeof(to->peer_address), from->peer_address) &&
           string_take(to->client_address, sizeof(to->client_address), from->client_address) &&
           member_valid(to, &why);
}

static bool table_take(struct table *to, const Dynode__Peer__TableRecord *from)
{
    const char *why;
    if (from->rule != RULE_SIBLINGS && from->rule != RULE_LWW) return false;
    to->generation = from->generation;
    to->id = from->id;
    to->rule = (enum table_rule)from->rule;
    to->n = from->n;
    to->r = from->r;
    to->w = from->w;
    to->ttl_ms = from->ttl_ms;
    to->alter_stamp = from->alter_stamp;
    to->alter_node = from->alter_node;
    to->dropped = from->dropped != 0;
    if (!string_take(to->name, sizeof(to->name), from->name) || !table_valid(to, &why)) return false;
    to->tag = table_tag(to->name, to->generation);
    return true;
}

static int member_order(const void *left, const void *right)
{
    const struct member *a = left;
    const struct member *b = right;
    return a->id < b->id ? -1 : a->id > b->id;
}

static int table_order(const void *left, const void *right)
{
    const struct table *a = left;
    const struct table *b = right;
    int c = strcmp(a->name, b->name);
    if (c != 0) return c;
    return a->generation < b->generation ? -1 : a->generation > b->generation;
}

static bool members_take(struct cluster *to, const Dynode__Peer__ClusterState *from)
{
    if (from->n_members > RING_NODES_MAX) return false;
    if (from->n_members == 0) return true;
    to->members = calloc(from->n_members, sizeof(*to->members));
    CHECK(to->members != NULL);
    to->member_count = (uint32_t)from->n_members;
    for (uint32_t i = 0; i < to->member_count; i++)
        if (!member_take(&to->members[i], from->members[i])) return false;
    qsort(to->members, to->member_count, sizeof(*to->members), member_order);
    for (uint32_t i = 1; i < to->member_count; i++)
        if (member_order(&to->members[i - 1], &to->members[i]) == 0) return false;
    return true;
}

static bool tables_take(struct cluster *to, const Dynode__Peer__ClusterState *from)
{
    if (from->n_tables > CLUSTER_TABLES_MAX) return false;
    if (from->n_tables == 0) return true;
    to->tables = calloc(from->n_tables, sizeof(*to->tables));
    CHECK(to->tables != NULL);
    to->table_count = (uint32_t)from->n_tables;
    for (uint32_t i = 0; i < to->table_count; i++)
        if (!table_take(&to->tables[i], from->tables[i])) return false;
    qsort(to->tables, to->table_count, sizeof(*to->tables), table_order);
    for (uint32_t i = 1; i < to->table_count; i++)
        if (table_order(&to->tables[i - 1], &to->tables[i]) == 0) return false;
    return true;
}

enum status cluster_unpack(const Dynode__Peer__ClusterState *message, struct cluster *out)
{
    uint32_t vnodes = message->vnodes;
    if (vnodes < 1 || vnodes > RING_VNODES_MAX || (vnodes & (vnodes - 1)) != 0) return STATUS_INVALID;
    struct cluster taken = {.id = message->id, .vnodes = vnodes};
    if (!members_take(&taken, message) || !tables_take(&taken, message)) {
        cluster_fini(&taken);
        return STATUS_INVALID;
    }
    *out = taken;
    return STATUS_OK;
}

Dynode__Client__TableInfo *table_to_info(const struct table *table, struct arena *arena)
{
    Dynode__Client__TableInfo *info = ARENA_NEW(arena, Dynode__Client__TableInfo);
    dynode__client__table_info__init(info);
    info->name = string_copy(arena, table->name);
    info->rule = (Dynode__Client__Rule)table->rule;
    info->n = table->n;
    info->r = table->r;
    info->w = table->w;
    info->ttl_ms = table->ttl_ms;
    info->tag = table->tag;
    return info;
}

static Dynode__Client__Member *member_to_client(const struct member *member, struct arena *arena)
{
    Dynode__Client__Member *to = ARENA_NEW(arena, Dynode__Client__Member);
    dynode__client__member__init(to);
    to->id = member->id;
    to->name = string_copy(arena, member->name);
    to->client_address = string_copy(arena, member->client_address);
    to->peer_address = string_copy(arena, member->peer_address);
    to->zone = string_copy(arena, member->zone);
    to->weight = member->weight;
    to->shards = member->shards;
    to->reachable = 1;
    to->given_up = member_is_given_up(member);
    return to;
}

Dynode__Client__ClusterDescription *cluster_to_description(const struct cluster *cluster,
                                                           const struct ring *ring, struct arena *arena)
{
    CHECK(ring_version(ring) == cluster_ring_version(cluster));
    Dynode__Client__ClusterDescription *to = ARENA_NEW(arena, Dynode__Client__ClusterDescription);
    dynode__client__cluster_description__init(to);
    to->id = cluster->id;
    to->ring_version = ring_version(ring);
    to->vnodes = cluster->vnodes;
    to->hash = string_copy(arena, HASH64_NAME);

    to->members = ARENA_ARRAY(arena, Dynode__Client__Member *, cluster->member_count);
    for (uint32_t i = 0; i < cluster->member_count; i++)
        to->members[to->n_members++] = member_to_client(&cluster->members[i], arena);

    to->tables = ARENA_ARRAY(arena, Dynode__Client__TableInfo *, cluster->table_count);
    for (uint32_t i = 0; i < cluster->table_count; i++)
        if (!cluster->tables[i].dropped)
            to->tables[to->n_tables++] = table_to_info(&cluster->tables[i], arena);

    uint32_t length = cluster->member_count < TABLE_N_MAX ? cluster->member_count : TABLE_N_MAX;
    to->preference_lists = ARENA_ARRAY(arena, uint32_t, (size_t)cluster->vnodes * length);
    for (uint32_t v = 0; v < cluster->vnodes; v++) {
        const uint64_t *list = ring_preference_list(ring, v);
        for (uint32_t i = 0; i < length; i++)
            to->preference_lists[to->n_preference_lists++] = ring_node_index(ring, list[i]);
    }
    return to;
}
