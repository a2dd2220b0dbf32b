/* How many homes a key of a table has: the table's N, or all nodes if there are fewer. Looked up for every
 * write, so the places of the tables last asked for are remembered. */
#pragma once

#include "actor/actor.h"

enum { TABLE_HOMES_PLACES = 64 };

/* Zeroed is valid. */
struct table_homes {
    uint16_t places[TABLE_HOMES_PLACES]; /* in the cluster's list of tables, by the tag's lower bits */
};

/* The table of this tag, alive or dropped; NULL: it is not known here. */
static inline const struct table *table_homes_find(struct table_homes *homes, const struct turn *turn,
                                                   uint64_t tag)
{
    const struct cluster *cluster = turn->cluster;
    uint16_t *place = &homes->places[tag % TABLE_HOMES_PLACES];
    if (*place < cluster->table_count && cluster->tables[*place].tag == tag) return &cluster->tables[*place];
    const struct table *table = cluster_find_tag(cluster, tag);
    if (table != NULL) *place = (uint16_t)(table - cluster->tables);
    return table;
}

/* How many homes; 0 for no table. */
static inline uint32_t table_homes_count(const struct table *table, const struct turn *turn)
{
    if (table == NULL) return 0;
    return table->n < ring_nodes(turn->ring) ? table->n : ring_nodes(turn->ring);
}
