/* Map: from a 64-bit name to a pointer. Open addressing; it is never walked, so its order decides nothing. */
#pragma once

#include <stdint.h>

/* Zeroed is empty and valid. Keys are not 0. */
struct map {
    uint64_t *keys;
    void **values;
    uint32_t count, capacity;
};

void map_fini(struct map *map);
void *map_get(const struct map *map, uint64_t key);       /* NULL for none */
void map_put(struct map *map, uint64_t key, void *value); /* replaces; @value not NULL */
void *map_remove(struct map *map, uint64_t key);          /* what was there, or NULL */
