#include "actors/copies.h"

#include <stdlib.h>
#include <string.h>

#include "base/check.h"

/* A row: "copy", vnode (2 bytes, big-endian), n (1); filled (1), the homes heard of (8 each). */
enum { PREFIX_BYTES = 4, KEY_BYTES = PREFIX_BYTES + 3, VALUE_BYTES_MAX = 1 + 8 * COPIES_N_MAX };

static const char prefix[] = "copy", prefix_end[] = "copz";

static struct bytes key_encode(uint32_t vnode, uint32_t n, uint8_t key[KEY_BYTES])
{
    memcpy(key, prefix, PREFIX_BYTES);
    key[PREFIX_BYTES] = (uint8_t)(vnode >> 8);
    key[PREFIX_BYTES + 1] = (uint8_t)vnode;
    key[PREFIX_BYTES + 2] = (uint8_t)n;
    return bytes_of(key, KEY_BYTES);
}

/* --- in memory --- */

static uint64_t name_of(uint32_t vnode, uint32_t n)
{
    return ((uint64_t)vnode + 1) << 8 | n; /* not 0 */
}

static struct copy *find(const struct copies *copies, uint32_t vnode, uint32_t n)
{
    return map_get(&copies->partial, name_of(vnode, n));
}

static void forget(struct copies *copies, uint32_t vnode, uint32_t n)
{
    free(map_remove(&copies->partial, name_of(vnode, n)));
}

static void keep(struct copies *copies, const struct copy *copy)
{
    struct copy *own = find(copies, copy->vnode, copy->n);
    if (own == NULL) {
        own = malloc(sizeof(*own));
        CHECK(own != NULL);
        map_put(&copies->partial, name_of(copy->vnode, copy->n), own);
    }
    *own = *copy;
}

static bool has_heard(const struct copy *copy, uint64_t home)
{
    for (uint32_t i = 0; i < copy->count; i++)
        if (copy->heard[i] == home) return true;
    return false;
}

static void set_filled(struct copies *copies, uint32_t vnode, uint32_t n)
{
    copies->filled[vnode] = (uint16_t)(copies->filled[vnode] | 1U << n);
}

bool copies_is_filled(const struct copies *copies, uint32_t vnode, uint32_t n)
{
    CHECK(vnode < copies->vnodes);
    CHECK(n <= COPIES_N_MAX);
    return n == 1 || (copies->filled[vnode] >> n & 1) != 0;
}

bool copies_waits_for(const struct copies *copies, uint32_t vnode, uint32_t n, uint64_t home)
{
    if (copies_is_filled(copies, vnode, n)) return false;
    const struct copy *copy = find(copies, vnode, n);
    return copy == NULL || !has_heard(copy, home);
}

/* --- in the store --- */

static bool load_row(void *context, struct bytes key, struct bytes value)
{
    struct copies *copies = context;
    if (key.size != KEY_BYTES || value.size < 1 || value.size > VALUE_BYTES_MAX || value.size % 8 != 1)
        return true;
    struct copy copy = {.vnode = (uint32_t)key.data[PREFIX_BYTES] << 8 | key.data[PREFIX_BYTES + 1],
                        .n = key.data[PREFIX_BYTES + 2],
                        .count = (uint32_t)(value.size / 8)};
    if (copy.vnode >= copies->vnodes || copy.n < 2 || copy.n > COPIES_N_MAX) return true;
    for (uint32_t i = 0; i < copy.count; i++) copy.heard[i] = get_be64(value.data + 1 + (size_t)8 * i);
    if (value.data[0] == 1)
        set_filled(copies, copy.vnode, copy.n);
    else
        keep(copies, &copy);
    return true;
}

static struct bytes born_key(void)
{
    return bytes_str("born");
}

static bool is_born(struct store *store)
{
    struct arena arena;
    struct bytes value;
    arena_init(&arena, 0);
    bool born = store_get(store, STORE_META, born_key(), &arena, &value) == STATUS_OK;
    arena_fini(&arena);
    return born;
}

static void fill_all(struct copies *copies)
{
    copies->born = true;
    memset(copies->filled, 0xff, copies->vnodes * sizeof(*copies->filled));
}

enum status copies_load(struct copies *copies, struct store *store, bool born, uint32_t vnodes)
{
    copies->vnodes = vnodes;
    copies->filled = calloc(vnodes, sizeof(*copies->filled));
    CHECK(copies->filled != NULL);
    enum status status = mints_load(&copies->mints, store);
    if (status != STATUS_OK) return status;
    if (born || is_born(store)) {
        fill_all(copies);
        return STATUS_OK;
    }
    return store_scan(store, STORE_META, bytes_str(prefix), bytes_str(prefix_end), load_row, copies);
}

enum status copies_bear(struct copies *copies, struct store *store)
{
    enum status status = store_put(store, STORE_META, born_key(), bytes_str("1"));
    if (status == STATUS_OK) fill_all(copies);
    return status;
}

void copies_fini(struct copies *copies)
{
    for (uint32_t vnode = 0; vnode < copies->vnodes; vnode++)
        for (uint32_t n = 2; n <= COPIES_N_MAX && copies->partial.count > 0; n++) forget(copies, vnode, n);
    map_fini(&copies->partial);
    mints_fini(&copies->mints);
    free(copies->filled);
    *copies = (struct copies){0};
}

static enum status save(struct store *store, const struct copy *copy, bool filled)
{
    uint8_t key[KEY_BYTES], value[VALUE_BYTES_MAX];
    size_t size = 1;
    value[0] = filled;
    for (uint32_t i = 0; i < copy->count && !filled; i++, size += 8) put_be64(value + size, copy->heard[i]);
    return store_put(store, STORE_META, key_encode(copy->vnode, copy->n, key), bytes_of(value, size));
}

enum status copies_hear(struct copies *copies, struct store *store, const struct ring *ring, uint64_t self,
                        uint32_t vnode, uint32_t n, uint64_t home)
{
    CHECK(n >= 2);
    CHECK(n <= COPIES_N_MAX);
    if (n > ring_nodes(ring) || !ring_is_home(ring, vnode, n, self) || copies_is_filled(copies, vnode, n))
        return STATUS_OK;
    const uint64_t *list = ring_preference_list(ring, vnode);
    const struct copy *before = find(copies, vnode, n);
    struct copy after = {.vnode = vnode, .n = n};
    /* Of present homes alone: those that were homes once count for nothing. */
    for (uint32_t i = 0; i < n; i++)
        if (list[i] != self && (list[i] == home || (before != NULL && has_heard(before, list[i]))))
            after.heard[after.count++] = list[i];
    bool filled = after.count == n - 1;
    enum status status = save(store, &after, filled);
    if (status != STATUS_OK) return status;
    if (filled) {
        forget(copies, vnode, n);
        set_filled(copies, vnode, n);
    } else {
        keep(copies, &after);
    }
    return STATUS_OK;
}
