#include "base/hash.h"
#include "base/status.h"
#include "client/dynode.h"

#include <string.h>

const char *dynode_status_name(enum dynode_status status)
{
    return (unsigned)status <= STATUS_INTERNAL ? status_name((enum status)status) : "UNKNOWN";
}

const char *dynode_status_text(enum dynode_status status)
{
    return (unsigned)status <= STATUS_INTERNAL ? status_text((enum status)status) : "unknown status";
}

enum dynode_status dynode_place_find(const struct dynode_cluster *cluster, const char *table,
                                     struct dynode_bytes key, struct dynode_place *place)
{
    const struct dynode_table *found = NULL;
    for (uint32_t i = 0; i < cluster->table_count && found == NULL; i++) {
        if (strcmp(cluster->tables[i].name, table) == 0) found = &cluster->tables[i];
    }
    if (found == NULL) return DYNODE_NO_SUCH_TABLE;
    place->table = found;
    place->hash = hash64(bytes_of(key.data, key.size), found->tag);
    /* The upper log2(vnodes) bits. vnodes is a power of two, so dividing the circle by it is shifting. */
    place->vnode = (uint32_t)(((unsigned __int128)place->hash * cluster->vnodes) >> 64);
    place->count = cluster->preference_size;
    const uint32_t *list = cluster->preference_lists + (size_t)place->vnode * cluster->preference_size;
    for (uint32_t i = 0; i < place->count; i++) {
        const struct dynode_member *member = &cluster->members[list[i]];
        place->nodes[i] = member;
        place->shards[i] = member->shards == 0 ? 0 : place->vnode % member->shards + 1;
    }
    return DYNODE_OK;
}
