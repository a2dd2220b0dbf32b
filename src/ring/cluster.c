/* The cluster state: sorted lists of records, each joined with its namesake by taking the greater of two.
 *
 * A join of lists is the union of their names and, for each name, the join of its records. A record's join
 * takes the greater in a total order, and a greatest element does not depend on the order in which one looks:
 * that is the whole proof that merging commutes, associates and may be repeated. `dropped` is a second
 * component, joined by itself with `or`; so is given_up_below, by the greater. Cutting a list at its bound
 * keeps this true, because it keeps the first names: a name among the first k of the whole union is among the
 * first k of each part that holds it.
 */
#include "ring/cluster.h"

#include <stdlib.h>

#include "base/check.h"
#include "base/hash.h"

void cluster_fini(struct cluster *cluster)
{
    free(cluster->members);
    free(cluster->tables);
    *cluster = (struct cluster){0};
}

static void *copy_array(const void *from, size_t count, size_t size)
{
    if (count == 0) return NULL;
    void *to = calloc(count, size);
    CHECK(to != NULL);
    memcpy(to, from, count * size);
    return to;
}

void cluster_copy(const struct cluster *from, struct cluster *to)
{
    *to = *from;
    to->members = copy_array(from->members, from->member_count, sizeof(*from->members));
    to->tables = copy_array(from->tables, from->table_count, sizeof(*from->tables));
}

/* Put @element at @at of an array of *count elements of @size that holds at most @max; a full one loses its
 * last. Returns the array, which may have moved. */
static void *array_insert(void *array, uint32_t *count, uint32_t max, uint32_t at, const void *element,
                          size_t size)
{
    if (*count == max) {
        (*count)--;
    } else {
        array = realloc(array, (*count + 1) * size);
        CHECK(array != NULL);
    }
    uint8_t *place = (uint8_t *)array + at * size;
    memmove(place + size, place, (*count - at) * size);
    memcpy(place, element, size);
    (*count)++;
    return array;
}

static int compare_u64(uint64_t a, uint64_t b)
{
    return a < b ? -1 : a > b;
}

/* ---- members ---- */

static bool printable(const char *string, size_t room)
{
    size_t size = strnlen(string, room);
    if (size == room) return false;
    for (size_t i = 0; i < size; i++)
        if (string[i] < ' ' || string[i] > '~') return false;
    return true;
}

bool name_valid(struct bytes name)
{
    if (name.size < 1 || name.size > NAME_BYTES_MAX) return false;
    for (size_t i = 0; i < name.size; i++) {
        uint8_t c = name.data[i];
        bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        bool digit = c >= '0' && c <= '9';
        if (!letter && !digit && c != '-' && c != '_' && c != '.') return false;
    }
    return true;
}

static bool refuse(const char **why, const char *sentence)
{
    *why = sentence;
    return false;
}

#define NAME_RULE "must be 1 to 63 letters, digits, '-', '_' or '.'"

bool member_valid(const struct member *member, const char **why)
{
    if (member->id == 0) return refuse(why, "a node's id must not be 0");
    if (!name_valid(bytes_of(member->name, strnlen(member->name, sizeof(member->name)))))
        return refuse(why, "a node's name " NAME_RULE);
    if (!printable(member->zone, sizeof(member->zone)))
        return refuse(why, "a zone must be at most 63 printable ASCII characters");
    if (!printable(member->peer_address, sizeof(member->peer_address)) ||
        !printable(member->client_address, sizeof(member->client_address)))
        return refuse(why, "an address must be at most 127 printable ASCII characters");
    if (member->weight < 1 || member->weight > RING_WEIGHT_MAX)
        return refuse(why, "a node's weight must be 1 to 1000");
    return true;
}

/* Total: 0 only for equal records. The incarnation decides; the rest is there for records that never should
 * differ. */
static int member_compare(const struct member *a, const struct member *b)
{
    int c = compare_u64(a->incarnation, b->incarnation);
    if (c == 0) c = strcmp(a->name, b->name);
    if (c == 0) c = strcmp(a->zone, b->zone);
    if (c == 0) c = strcmp(a->peer_address, b->peer_address);
    if (c == 0) c = strcmp(a->client_address, b->client_address);
    if (c == 0) c = compare_u64(a->weight, b->weight);
    if (c == 0) c = compare_u64(a->shards, b->shards);
    return c;
}

/* Where @id is, or would be. */
static uint32_t member_place(const struct cluster *cluster, uint64_t id)
{
    uint32_t low = 0, high = cluster->member_count;
    while (low < high) {
        uint32_t middle = (low + high) / 2;
        if (cluster->members[middle].id < id)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

const struct member *cluster_find_member(const struct cluster *cluster, uint64_t id)
{
    uint32_t at = member_place(cluster, id);
    return at < cluster->member_count && cluster->members[at].id == id ? &cluster->members[at] : NULL;
}

bool cluster_merge_member(struct cluster *cluster, const struct member *member)
{
    const char *why;
    CHECK(member_valid(member, &why));
    uint32_t at = member_place(cluster, member->id);
    if (at < cluster->member_count && cluster->members[at].id == member->id) {
        struct member *own = &cluster->members[at];
        uint64_t before = own->given_up_below, below = before;
        if (member->given_up_below > below) below = member->given_up_below;
        bool newer = member_compare(own, member) < 0;
        if (newer) *own = *member;
        own->given_up_below = below;
        return newer || below != before;
    }
    if (at == RING_NODES_MAX) return false;
    cluster->members =
        array_insert(cluster->members, &cluster->member_count, RING_NODES_MAX, at, member, sizeof(*member));
    return true;
}

bool cluster_assert_member(struct cluster *cluster, struct member *own)
{
    const struct member *said = cluster_find_member(cluster, own->id);
    if (said != NULL && member_compare(said, own) == 0) return false;
    if (said != NULL && said->incarnation >= own->incarnation)
        own->incarnation = said->incarnation < UINT64_MAX ? said->incarnation + 1 : UINT64_MAX;
    return cluster_merge_member(cluster, own);
}

bool member_is_given_up(const struct member *member)
{
    return member->incarnation < member->given_up_below;
}

enum status cluster_give_up(struct cluster *cluster, uint64_t id)
{
    uint32_t at = member_place(cluster, id);
    if (at == cluster->member_count || cluster->members[at].id != id) return STATUS_NOT_FOUND;
    struct member *member = &cluster->members[at];
    if (!member_is_given_up(member) && member->incarnation < UINT64_MAX)
        member->given_up_below = member->incarnation + 1;
    return STATUS_OK;
}

uint64_t cluster_ring_version(const struct cluster *cluster)
{
    struct buffer named = {0};
    put_be32(buffer_reserve(&named, 4), cluster->vnodes);
    named.size += 4;
    for (uint32_t i = 0; i < cluster->member_count; i++) {
        const struct member *member = &cluster->members[i];
        uint8_t *to = buffer_reserve(&named, 12);
        put_be64(to, member->id);
        put_be32(to + 8, member->weight);
        named.size += 12;
        buffer_append(&named, member->zone, strlen(member->zone) + 1);
    }
    uint64_t version = hash64(buffer_bytes(&named), 0);
    buffer_fini(&named);
    return version == 0 ? 1 : version;
}

struct ring *cluster_ring(const struct cluster *cluster)
{
    CHECK(cluster->member_count >= 1);
    struct ring_node *nodes = calloc(cluster->member_count, sizeof(*nodes));
    CHECK(nodes != NULL);
    for (uint32_t i = 0; i < cluster->member_count; i++) {
        nodes[i].id = cluster->members[i].id;
        nodes[i].weight = cluster->members[i].weight;
        memcpy(nodes[i].zone, cluster->members[i].zone, sizeof(nodes[i].zone));
    }
    struct ring *ring =
        ring_build(nodes, cluster->member_count, cluster->vnodes, cluster_ring_version(cluster));
    free(nodes);
    return ring;
}

/* ---- tables ---- */

static bool numbers_valid(uint32_t n, uint32_t r, uint32_t w, const char **why)
{
    if (n < 1 || n > TABLE_N_MAX) return refuse(why, "n must be 1 to 15");
    if (r < 1 || r > n) return refuse(why, "r must be 1 to n");
    if (w < 1 || w > n) return refuse(why, "w must be 1 to n");
    return true;
}

bool table_valid(const struct table *table, const char **why)
{
    if (!name_valid(bytes_of(table->name, strnlen(table->name, sizeof(table->name)))))
        return refuse(why, "a table's name " NAME_RULE);
    if (table->generation == 0) return refuse(why, "a table's generation must be 1 or more");
    if (table->rule != RULE_SIBLINGS && table->rule != RULE_LWW)
        return refuse(why, "a table's rule must be siblings or lww");
    return numbers_valid(table->n, table->r, table->w, why);
}

uint64_t table_tag(const char *name, uint32_t generation)
{
    uint8_t named[NAME_BYTES_MAX + 4];
    size_t size = strlen(name);
    CHECK(size <= NAME_BYTES_MAX);
    put_be32(named, generation);
    memcpy(named + 4, name, size);
    uint64_t tag = hash64(bytes_of(named, 4 + size), 0);
    return tag == 0 ? 1 : tag;
}

/* The greater birth wins: siblings over lww, then the larger n, then the lower id. */
static int birth_compare(const struct table *a, const struct table *b)
{
    if (a->rule != b->rule) return a->rule == RULE_SIBLINGS ? 1 : -1;
    if (a->n != b->n) return compare_u64(a->n, b->n);
    return -compare_u64(a->id, b->id);
}

/* Birth, then alteration. Total but for `dropped`, which is joined by itself, and what is equal in namesakes.
 */
static int table_compare(const struct table *a, const struct table *b)
{
    int c = birth_compare(a, b);
    if (c == 0) c = compare_u64(a->alter_stamp, b->alter_stamp);
    if (c == 0) c = compare_u64(a->alter_node, b->alter_node);
    if (c == 0) c = compare_u64(a->r, b->r);
    if (c == 0) c = compare_u64(a->w, b->w);
    if (c == 0) c = compare_u64(a->ttl_ms, b->ttl_ms);
    return c;
}

static int namesake_compare(const struct table *a, struct bytes name, uint32_t generation)
{
    int c = bytes_compare(bytes_str(a->name), name);
    return c != 0 ? c : compare_u64(a->generation, generation);
}

/* Where the table is, or would be. */
static uint32_t table_place(const struct cluster *cluster, struct bytes name, uint32_t generation)
{
    uint32_t low = 0, high = cluster->table_count;
    while (low < high) {
        uint32_t middle = (low + high) / 2;
        if (namesake_compare(&cluster->tables[middle], name, generation) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* The newest generation of @name, dropped or not; NULL if there never was one. */
static struct table *newest(const struct cluster *cluster, struct bytes name)
{
    uint32_t end = table_place(cluster, name, UINT32_MAX);
    if (end < cluster->table_count && bytes_equal(bytes_str(cluster->tables[end].name), name))
        return &cluster->tables[end]; /* of generation UINT32_MAX itself */
    if (end == 0 || !bytes_equal(bytes_str(cluster->tables[end - 1].name), name)) return NULL;
    return &cluster->tables[end - 1];
}

/* Only the newest generation can be alive: whoever made it knew that the one before was dropped. */
static struct table *alive(const struct cluster *cluster, struct bytes name)
{
    struct table *table = newest(cluster, name);
    return table == NULL || table->dropped ? NULL : table;
}

const struct table *cluster_find_table(const struct cluster *cluster, struct bytes name)
{
    return alive(cluster, name);
}

const struct table *cluster_find_tag(const struct cluster *cluster, uint64_t tag)
{
    for (uint32_t i = 0; i < cluster->table_count; i++)
        if (cluster->tables[i].tag == tag) return &cluster->tables[i];
    return NULL;
}

static bool merge_table(struct cluster *cluster, const struct table *table)
{
    const char *why;
    CHECK(table_valid(table, &why));
    struct bytes name = bytes_str(table->name);
    uint32_t at = table_place(cluster, name, table->generation);
    if (at < cluster->table_count && namesake_compare(&cluster->tables[at], name, table->generation) == 0) {
        struct table *own = &cluster->tables[at];
        bool dropped = own->dropped || table->dropped;
        bool changed = dropped != own->dropped || table_compare(own, table) < 0;
        if (table_compare(own, table) < 0) *own = *table;
        own->dropped = dropped;
        return changed;
    }
    if (at == CLUSTER_TABLES_MAX) return false;
    cluster->tables =
        array_insert(cluster->tables, &cluster->table_count, CLUSTER_TABLES_MAX, at, table, sizeof(*table));
    return true;
}

enum status cluster_create_table(struct cluster *cluster, const struct table *table, const char **why)
{
    struct table made = *table;
    made.generation = 1;
    made.dropped = false;
    if (!table_valid(&made, why)) return STATUS_INVALID;
    const struct table *before = newest(cluster, bytes_str(made.name));
    if (before != NULL && !before->dropped) return STATUS_TABLE_EXISTS;
    if (made.n > cluster->member_count) {
        *why = "n must not exceed the number of nodes in the cluster";
        return STATUS_INVALID;
    }
    if (cluster->table_count >= CLUSTER_TABLES_MAX) {
        *why = "there must be at most 4096 tables, those that were dropped included";
        return STATUS_INVALID;
    }
    if (before != NULL && before->generation == UINT32_MAX) {
        *why = "this name has been used up: choose another";
        return STATUS_INVALID;
    }
    if (before != NULL) made.generation = before->generation + 1;
    made.tag = table_tag(made.name, made.generation);
    merge_table(cluster, &made);
    return STATUS_OK;
}

enum status cluster_alter_table(struct cluster *cluster, struct bytes name, const uint32_t *r,
                                const uint32_t *w, const uint64_t *ttl_ms, uint64_t stamp, uint64_t node,
                                const char **why)
{
    struct table *table = alive(cluster, name);
    if (table == NULL) return STATUS_NO_SUCH_TABLE;
    if (!numbers_valid(table->n, r != NULL ? *r : table->r, w != NULL ? *w : table->w, why))
        return STATUS_INVALID;
    if (stamp <= table->alter_stamp) {
        *why = "the table was last altered with a later time stamp than this node's clock can give";
        return STATUS_INVALID;
    }
    if (r != NULL) table->r = *r;
    if (w != NULL) table->w = *w;
    if (ttl_ms != NULL) table->ttl_ms = *ttl_ms;
    table->alter_stamp = stamp;
    table->alter_node = node;
    return STATUS_OK;
}

enum status cluster_drop_table(struct cluster *cluster, struct bytes name)
{
    struct table *table = alive(cluster, name);
    if (table == NULL) return STATUS_NO_SUCH_TABLE;
    table->dropped = true;
    return STATUS_OK;
}

/* ---- the whole ---- */

bool cluster_merge(struct cluster *into, const struct cluster *from)
{
    CHECK(into->id == from->id);
    CHECK(into->vnodes == from->vnodes);
    bool changed = false;
    for (uint32_t i = 0; i < from->member_count; i++)
        changed |= cluster_merge_member(into, &from->members[i]);
    for (uint32_t i = 0; i < from->table_count; i++) changed |= merge_table(into, &from->tables[i]);
    return changed;
}

bool cluster_equal(const struct cluster *a, const struct cluster *b)
{
    if (a->id != b->id || a->vnodes != b->vnodes) return false;
    if (a->member_count != b->member_count || a->table_count != b->table_count) return false;
    for (uint32_t i = 0; i < a->member_count; i++)
        if (a->members[i].id != b->members[i].id || member_compare(&a->members[i], &b->members[i]) != 0 ||
            a->members[i].given_up_below != b->members[i].given_up_below)
            return false;
    for (uint32_t i = 0; i < a->table_count; i++) {
        const struct table *x = &a->tables[i];
        const struct table *y = &b->tables[i];
        if (namesake_compare(x, bytes_str(y->name), y->generation) != 0) return false;
        if (table_compare(x, y) != 0 || x->dropped != y->dropped) return false;
    }
    return true;
}
