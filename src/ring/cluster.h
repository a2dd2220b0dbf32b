/* Cluster: the one state that all nodes share: members and tables, and its merge.
 *
 * A state-based CRDT: merging is a join, so it may arrive in any order, twice, or late. It is a value on the
 * heap of one shard; between shards and nodes it travels packed (wire/cluster_wire.h).
 *
 * Members: each node owns its own record; the higher incarnation wins, and at equal incarnations the record
 * that sorts higher field by field (so that the join never depends on order). An operator's word that what a
 * node holds is given up is not the node's: it is joined by itself, by the greater, and holds for as long as
 * the node has not started anew.
 *
 * Tables: a record is named by (name, generation). Creating a name that was dropped makes the next
 * generation. What is fixed at birth: id, rule, n. If two nodes made the same one at once, `siblings` wins
 * over `lww`, then the larger N, then the lower id, and both creators' writes lie in the same table: objects
 * are filed under the table's tag, a hash of name and generation. What may be altered (r, w, ttl) is
 * last-writer-wins by (stamp, node) among records of the same birth; the winner of two births keeps its own,
 * for what was set for the loser's N may not fit. So a record is ordered by birth first, then by alteration,
 * the join takes the greater, and r and w never exceed n. `dropped` only ever goes from false to true,
 * whichever birth it was said of.
 *
 * Both lists are bounded: of a union that is larger than its bound the first in order stay, on every node the
 * same. */
#pragma once

#include "base/bytes.h"
#include "base/status.h"
#include "ring/ring.h"
#include "version/object.h"

enum {
    NAME_BYTES_MAX = 63,     /* of nodes and tables: letters, digits, '-', '_', '.'; not empty */
    ADDRESS_BYTES_MAX = 127, /* tcp://HOST:PORT, ipc:///PATH, unix:///PATH */
    CLUSTER_TABLES_MAX =
        4096, /* dropped ones count: they are what keeps a late peer from bringing them back */
    TABLE_N_MAX = 15,
};

struct member {
    uint64_t id;          /* random, never 0 */
    uint64_t incarnation; /* 0: known from configuration only; else the wall time of its start in ms */
    char name[NAME_BYTES_MAX + 1];
    char zone[ZONE_BYTES_MAX + 1]; /* this and the addresses: printable ASCII, may be empty */
    char peer_address[ADDRESS_BYTES_MAX + 1];
    char client_address[ADDRESS_BYTES_MAX + 1];
    uint32_t weight;         /* 1 to RING_WEIGHT_MAX */
    uint32_t shards;         /* 0: not known yet */
    uint64_t given_up_below; /* what it holds is given up, if its incarnation is below this */
};

struct table {
    char name[NAME_BYTES_MAX + 1];
    uint32_t generation; /* from 1 */
    uint64_t id;         /* random */
    enum table_rule rule;
    uint32_t n;           /* 1 to TABLE_N_MAX */
    uint32_t r, w;        /* defaults of a request; 1 to n */
    uint64_t ttl_ms;      /* default time to live of a record, 0: for ever */
    uint64_t alter_stamp; /* of r, w, ttl: hlc.h */
    uint64_t alter_node;
    bool dropped;
    uint64_t tag; /* derived: table_tag(name, generation) */
};

struct cluster {
    uint64_t id; /* of the cluster: nodes of another are refused */
    uint32_t vnodes;
    struct member *members; /* sorted by id */
    uint32_t member_count;
    struct table *tables; /* sorted by name, then generation */
    uint32_t table_count;
};

/* In place; zeroed is empty and valid. cluster_copy overwrites *to, and frees nothing that it held. */
void cluster_fini(struct cluster *cluster);
void cluster_copy(const struct cluster *from, struct cluster *to);

/* Do the fields keep the rules above? False: *why says which does not (static memory). What comes from a peer
 * or from the configuration is asked once; whatever is merged must be valid (CHECK). table_valid takes tag as
 * derived. */
bool member_valid(const struct member *member, const char **why);
bool table_valid(const struct table *table, const char **why);

/* Join @from into @into. True when @into changed. Both must be of the same cluster id and vnode count
 * (CHECK). */
bool cluster_merge(struct cluster *into, const struct cluster *from);

bool cluster_equal(const struct cluster *a, const struct cluster *b);

/* Join one member's record. True when something changed. */
bool cluster_merge_member(struct cluster *cluster, const struct member *member);

/* Let a node's own record win over whatever is said of it here: what differs and is not below its incarnation
 * raises that (in *own too). True when something changed. (Nothing is above the greatest number: who says
 * that of another node is believed.) */
bool cluster_assert_member(struct cluster *cluster, struct member *own);

const struct member *cluster_find_member(const struct cluster *cluster, uint64_t id);

/* Need nobody wait any more for what this node may hold? */
bool member_is_given_up(const struct member *member);

/* Give it up, until the node starts anew. STATUS_NOT_FOUND  There is no such member. */
enum status cluster_give_up(struct cluster *cluster, uint64_t id);

/* Names the members as far as the ring depends on them (id, weight, zone, vnodes). Never 0. */
uint64_t cluster_ring_version(const struct cluster *cluster);

/* The ring of these members, its version that of cluster_ring_version. Heap; needs at least one member. */
struct ring *cluster_ring(const struct cluster *cluster);

/* hash64 of name and generation, never 0. */
uint64_t table_tag(const char *name, uint32_t generation);

/* The table that is alive under @name, NULL for none. Borrowed until the cluster changes. */
const struct table *cluster_find_table(const struct cluster *cluster, struct bytes name);

/* Any table, alive or dropped, by its tag; NULL for none. */
const struct table *cluster_find_tag(const struct cluster *cluster, uint64_t tag);

/* Is @name legal for a node or a table? */
bool name_valid(struct bytes name);

/* Make a table. @table gives name, id, rule, n, r, w, ttl_ms, alter_stamp, alter_node; the rest is set here.
 * STATUS_TABLE_EXISTS  One of that name is alive.
 * STATUS_INVALID       The name, n, r, w or the number of tables is out of range, or n is above the number of
 * members; *why says so (static memory), and is set for nothing else. */
enum status cluster_create_table(struct cluster *cluster, const struct table *table, const char **why);

/* Set r, w and ttl_ms (those not NULL) under the given stamp, which must exceed table->alter_stamp (mint it
 * with that as the floor).
 *
 * STATUS_NO_SUCH_TABLE  None of that name is alive.
 * STATUS_INVALID        r or w is not in 1 to n, or the stamp is not above the table's; *why says so. */
enum status cluster_alter_table(struct cluster *cluster, struct bytes name, const uint32_t *r,
                                const uint32_t *w, const uint64_t *ttl_ms, uint64_t stamp, uint64_t node,
                                const char **why);

/* STATUS_NO_SUCH_TABLE. */
enum status cluster_drop_table(struct cluster *cluster, struct bytes name);
