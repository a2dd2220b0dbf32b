#include "base/map.h"

#include <stdlib.h>

#include "base/check.h"

static uint32_t home_of(const struct map *map, uint64_t key)
{
    return (uint32_t)((key * 0x9e3779b97f4a7c15U) >> 32) & (map->capacity - 1);
}

static uint32_t find(const struct map *map, uint64_t key)
{
    uint32_t i = home_of(map, key);
    while (map->keys[i] != 0 && map->keys[i] != key) i = (i + 1) & (map->capacity - 1);
    return i;
}

void map_fini(struct map *map)
{
    free(map->keys);
    free(map->values);
    *map = (struct map){0};
}

void *map_get(const struct map *map, uint64_t key)
{
    CHECK(key != 0);
    if (map->count == 0) return NULL;
    uint32_t i = find(map, key);
    return map->keys[i] == key ? map->values[i] : NULL;
}

static void grow(struct map *map)
{
    struct map old = *map;
    map->capacity = old.capacity == 0 ? 64 : old.capacity * 2;
    map->keys = calloc(map->capacity, sizeof(*map->keys));
    map->values = calloc(map->capacity, sizeof(*map->values));
    CHECK(map->keys != NULL);
    CHECK(map->values != NULL);
    for (uint32_t i = 0; i < old.capacity; i++) {
        if (old.keys[i] == 0) continue;
        uint32_t at = find(map, old.keys[i]);
        map->keys[at] = old.keys[i];
        map->values[at] = old.values[i];
    }
    free(old.keys);
    free(old.values);
}

void map_put(struct map *map, uint64_t key, void *value)
{
    CHECK(key != 0);
    CHECK(value != NULL);
    if (map->count >= map->capacity / 2) grow(map);
    uint32_t i = find(map, key);
    if (map->keys[i] == 0) map->count++;
    map->keys[i] = key;
    map->values[i] = value;
}

void *map_remove(struct map *map, uint64_t key)
{
    CHECK(key != 0);
    if (map->count == 0) return NULL;
    uint32_t hole = find(map, key), mask = map->capacity - 1;
    if (map->keys[hole] != key) return NULL;
    void *value = map->values[hole];
    /* Close the gap: whoever could no longer be found from his home moves up. */
    for (uint32_t i = (hole + 1) & mask; map->keys[i] != 0; i = (i + 1) & mask) {
        uint32_t distance = (i - home_of(map, map->keys[i])) & mask;
        if (distance < ((i - hole) & mask)) continue;
        map->keys[hole] = map->keys[i];
        map->values[hole] = map->values[i];
        hole = i;
    }
    map->keys[hole] = 0;
    map->count--;
    return value;
}
