#include "actors/hints.h"

#include <stdlib.h>

#include "base/check.h"

enum { FIRST_BYTES = 8 };

/* --- the table's keys and values --- */

bool hint_key_decode(struct bytes store_key, uint64_t *target, struct store_place *place)
{
    if (store_key.size <= HINT_PLACE_BYTES) return false;
    *target = get_be64(store_key.data);
    return store_key_decode(bytes_of(store_key.data + 8, store_key.size - 8), place);
}

struct bytes hint_from(uint64_t target, struct arena *arena)
{
    uint8_t *key = arena_alloc(arena, 8);
    put_be64(key, target);
    return bytes_of(key, 8);
}

static struct bytes key_encode(uint64_t target, const struct store_place *place, struct arena *arena)
{
    struct bytes tail = store_key_encode(place, arena);
    uint8_t *key = arena_alloc(arena, 8 + tail.size);
    put_be64(key, target);
    memcpy(key + 8, tail.data, tail.size);
    return bytes_of(key, 8 + tail.size);
}

/* --- what is counted --- */

static uint32_t place_of(const struct hints *hints, uint64_t target)
{
    uint32_t place = 0;
    while (place < hints->count && hints->list[place].node < target) place++;
    return place;
}

const struct hint_target *hints_of(const struct hints *hints, uint64_t target)
{
    uint32_t place = place_of(hints, target);
    return place < hints->count && hints->list[place].node == target ? &hints->list[place] : NULL;
}

static struct hint_target *find_or_add(struct hints *hints, uint64_t target)
{
    uint32_t place = place_of(hints, target);
    if (place < hints->count && hints->list[place].node == target) return &hints->list[place];
    if (hints->count == hints->capacity) {
        hints->capacity = hints->capacity == 0 ? 8 : hints->capacity * 2;
        hints->list = realloc(hints->list, hints->capacity * sizeof(*hints->list));
        CHECK(hints->list != NULL);
    }
    memmove(&hints->list[place + 1], &hints->list[place], (hints->count - place) * sizeof(*hints->list));
    hints->count++;
    hints->list[place] = (struct hint_target){.node = target};
    return &hints->list[place];
}

static void count_in(struct hints *hints, uint64_t target, size_t bytes, uint64_t first_ms)
{
    struct hint_target *of = find_or_add(hints, target);
    if (of->count == 0 || first_ms < of->oldest_ms) of->oldest_ms = first_ms;
    of->count++;
    of->bytes += bytes;
    hints->bytes += bytes;
}

static void count_out(struct hints *hints, uint64_t target, size_t bytes)
{
    struct hint_target *of = find_or_add(hints, target);
    CHECK(of->count > 0);
    CHECK(of->bytes >= bytes);
    of->bytes -= bytes;
    hints->bytes -= bytes;
    if (--of->count == 0) of->oldest_ms = 0;
}

static uint64_t first_of(struct bytes value)
{
    return value.size >= FIRST_BYTES ? get_be64(value.data) : 0;
}

static bool visit(void *context, struct bytes key, struct bytes value)
{
    uint64_t target;
    struct store_place place;
    if (hint_key_decode(key, &target, &place))
        count_in(context, target, key.size + value.size, first_of(value));
    return true;
}

enum status hints_load(struct hints *hints, struct store *store, uint64_t bytes_max)
{
    hints->bytes_max = bytes_max;
    return store_scan(store, STORE_HINTS, bytes_of(NULL, 0), bytes_of(NULL, 0), visit, hints);
}

void hints_fini(struct hints *hints)
{
    free(hints->list);
    *hints = (struct hints){0};
}

/* --- one hint --- */

enum status hint_open(struct bytes store_key, struct bytes value, struct hint *out)
{
    *out = (struct hint){.store_key = store_key, .first_ms = first_of(value)};
    if (value.size < FIRST_BYTES) return STATUS_CORRUPT;
    struct bytes sealed = bytes_of(value.data + FIRST_BYTES, value.size - FIRST_BYTES);
    return object_unseal(store_key, sealed, &out->encoded);
}

enum status hints_get(struct store *store, uint64_t target, const struct store_place *place,
                      struct arena *arena, struct hint *out)
{
    struct bytes value;
    *out = (struct hint){.store_key = key_encode(target, place, arena)};
    enum status status = store_get(store, STORE_HINTS, out->store_key, arena, &value);
    return status == STATUS_OK ? hint_open(out->store_key, value, out) : status;
}

/* The bytes that lie under the key now, as they were counted; 0 for none. */
static enum status bytes_held(struct store *store, struct bytes store_key, struct arena *arena, size_t *out)
{
    struct bytes value;
    enum status status = store_get(store, STORE_HINTS, store_key, arena, &value);
    *out = status == STATUS_OK ? store_key.size + value.size : 0;
    return status == STATUS_NOT_FOUND ? STATUS_OK : status;
}

enum status hints_put(struct hints *hints, struct store *store, const struct hint *before,
                      struct bytes encoded, uint64_t wall_ms, struct arena *arena)
{
    size_t old;
    enum status status = bytes_held(store, before->store_key, arena, &old);
    if (status != STATUS_OK) return status;
    struct bytes sealed = object_seal(before->store_key, encoded, arena);
    size_t size = FIRST_BYTES + sealed.size, bytes = before->store_key.size + size;
    if (old == 0 && hints->bytes + bytes > hints->bytes_max) {
        hints->refused++;
        return STATUS_NO_SPACE;
    }
    uint64_t first_ms = old > 0 && before->first_ms != 0 ? before->first_ms : wall_ms;
    uint8_t *value = arena_alloc(arena, size);
    put_be64(value, first_ms);
    memcpy(value + FIRST_BYTES, sealed.data, sealed.size);
    status = store_put(store, STORE_HINTS, before->store_key, bytes_of(value, size));
    if (status != STATUS_OK) return status;
    uint64_t target = get_be64(before->store_key.data);
    count_in(hints, target, bytes, first_ms);
    if (old > 0) count_out(hints, target, old);
    return STATUS_OK;
}

enum status hints_remove(struct hints *hints, struct store *store, struct bytes store_key,
                         struct arena *arena)
{
    size_t old;
    enum status status = bytes_held(store, store_key, arena, &old);
    if (status != STATUS_OK || old == 0) return status;
    store_remove(store, STORE_HINTS, store_key);
    count_out(hints, get_be64(store_key.data), old);
    return STATUS_OK;
}

enum status hints_set_aside(struct hints *hints, struct store *store, struct bytes store_key,
                            struct arena *arena)
{
    struct bytes value;
    enum status status = store_get(store, STORE_HINTS, store_key, arena, &value);
    if (status != STATUS_OK) return status == STATUS_NOT_FOUND ? STATUS_OK : status;
    uint8_t *key = arena_alloc(arena, 8 + store_key.size);
    put_be64(key, HINTS_ASIDE);
    memcpy(key + 8, store_key.data, store_key.size);
    status = store_put(store, STORE_HINTS, bytes_of(key, 8 + store_key.size), value);
    if (status != STATUS_OK) return status;
    store_remove(store, STORE_HINTS, store_key);
    count_out(hints, get_be64(store_key.data), store_key.size + value.size);
    count_in(hints, HINTS_ASIDE, 8 + store_key.size + value.size, first_of(value));
    return STATUS_OK;
}
