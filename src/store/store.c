/* Store: the write set in front of an engine.
 *
 * A turn's writes are kept here until store_commit: a hash table finds a key (every get asks it first), an
 * array keeps the writes, and an order by table and key is made when somebody needs it: a scan, which merges
 * it with the engine's keys, and the commit, which applies it. An ordered batch touches the pages of a B-tree
 * one after the other. Keys and values lie in one arena, so a staged write costs a copy and no malloc. */
#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/hash.h"
#include "store/store_engine.h"

enum {
    SLOTS_MIN = 1024,
    SLOTS_KEPT_MAX = 8192, /* a larger table is given back when the set is emptied: clearing it would cost */
    WRITE_OVERHEAD = 64,   /* what an entry weighs beyond its bytes */
};

static void set_init(struct write_set *set)
{
    *set = (struct write_set){.slots_count = SLOTS_MIN, .capacity = SLOTS_MIN / 2};
    arena_init(&set->arena, 0);
    set->slots = calloc(set->slots_count, sizeof *set->slots);
    set->writes = malloc(set->capacity * sizeof *set->writes);
    set->order = malloc(set->capacity * sizeof(struct store_write *));
    CHECK(set->slots != NULL);
    CHECK(set->writes != NULL);
    CHECK(set->order != NULL);
}

static void set_fini(struct write_set *set)
{
    arena_fini(&set->arena);
    free(set->slots);
    free(set->writes);
    free(set->order);
}

/* Empty the slots of a few writes one by one. Each is somewhere behind the place of its hash, perhaps behind
 * others that are empty by now. */
static void set_clear_slots(struct write_set *set)
{
    uint32_t mask = set->slots_count - 1;
    for (uint32_t i = 0; i < set->count; i++) {
        uint32_t place = (uint32_t)set->writes[i].hash & mask;
        while (set->slots[place] != i + 1) place = (place + 1) & mask;
        set->slots[place] = 0;
    }
}

static void set_reset(struct write_set *set)
{
    if (set->slots_count > SLOTS_KEPT_MAX) {
        set_fini(set);
        set_init(set);
        return;
    }
    if (set->count > set->slots_count / 16)
        memset(set->slots, 0, set->slots_count * sizeof *set->slots);
    else
        set_clear_slots(set);
    arena_reset(&set->arena);
    set->count = 0;
    set->bytes = 0;
    set->ordered = false;
}

/* The slot that holds the key, or the empty one where it belongs. */
static uint32_t *set_slot(const struct write_set *set, enum store_table table, struct bytes key,
                          uint64_t hash)
{
    uint32_t mask = set->slots_count - 1;
    for (uint32_t i = (uint32_t)hash & mask;; i = (i + 1) & mask) {
        if (set->slots[i] == 0) return &set->slots[i];
        const struct store_write *write = &set->writes[set->slots[i] - 1];
        if (write->hash == hash && write->table == table && bytes_equal(write->key, key))
            return &set->slots[i];
    }
}

static void set_grow(struct write_set *set)
{
    set->slots_count *= 2;
    set->capacity *= 2;
    free(set->slots);
    free(set->order);
    set->slots = calloc(set->slots_count, sizeof *set->slots);
    set->order = malloc(set->capacity * sizeof(struct store_write *));
    set->writes = realloc(set->writes, set->capacity * sizeof *set->writes);
    CHECK(set->slots != NULL);
    CHECK(set->order != NULL);
    CHECK(set->writes != NULL);
    set->ordered = false;
    for (uint32_t i = 0; i < set->count; i++) {
        const struct store_write *write = &set->writes[i];
        *set_slot(set, write->table, write->key, write->hash) = i + 1;
    }
}

static uint8_t *set_copy(struct write_set *set, struct bytes from)
{
    uint8_t *to = arena_alloc(&set->arena, from.size);
    if (from.size > 0) memcpy(to, from.data, from.size);
    return to;
}

static void set_stage(struct write_set *set, enum store_table table, struct bytes key, struct bytes value,
                      bool removed)
{
    uint64_t hash = hash64(key, (uint64_t)table);
    uint32_t *slot = set_slot(set, table, key, hash);
    set->bytes += value.size + WRITE_OVERHEAD;
    if (*slot == 0) {
        if (set->count == set->capacity) {
            set_grow(set);
            slot = set_slot(set, table, key, hash);
        }
        set->writes[set->count] =
            (struct store_write){.key = bytes_of(set_copy(set, key), key.size), .hash = hash, .table = table};
        *slot = ++set->count;
        set->bytes += key.size;
        set->ordered = false;
    }
    struct store_write *write = &set->writes[*slot - 1];
    write->removed = removed;
    write->value = bytes_of(set_copy(set, value), value.size);
}

static int write_compare(const void *a, const void *b)
{
    const struct store_write *x = *(struct store_write *const *)a;
    const struct store_write *y = *(struct store_write *const *)b;
    if (x->table != y->table) return x->table < y->table ? -1 : 1;
    return bytes_compare(x->key, y->key);
}

static void set_order(struct write_set *set)
{
    if (set->ordered) return;
    for (uint32_t i = 0; i < set->count; i++) set->order[i] = &set->writes[i];
    qsort(set->order, set->count, sizeof(struct store_write *), write_compare);
    set->ordered = true;
}

/* The first place in the order that is not before @key. */
static uint32_t set_lower_bound(const struct write_set *set, enum store_table table, struct bytes key)
{
    struct store_write probe = {.table = table, .key = key}, *at = &probe;
    uint32_t low = 0, high = set->count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (write_compare(&set->order[middle], &at) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

void store_init(struct store *store, const struct store_engine *engine)
{
    *store = (struct store){.engine = engine};
    set_init(&store->set);
}

void store_fini(struct store *store)
{
    set_fini(&store->set);
}

void store_unstage(struct store *store)
{
    set_reset(&store->set);
}

static void check_key(enum store_table table, struct bytes key)
{
    CHECK(table < STORE_TABLES);
    CHECK(key.size > 0);
    CHECK(key.size <= STORE_KEY_BYTES_MAX);
}

enum status store_get(struct store *store, enum store_table table, struct bytes key, struct arena *arena,
                      struct bytes *out)
{
    check_key(table, key);
    if (store->broken) return STATUS_STORE_BROKEN;
    store->gets++;
    if (store->set.count > 0) {
        uint32_t slot = *set_slot(&store->set, table, key, hash64(key, (uint64_t)table));
        if (slot != 0) {
            const struct store_write *write = &store->set.writes[slot - 1];
            if (write->removed) return STATUS_NOT_FOUND;
            *out = write->value;
            return STATUS_OK;
        }
    }
    return store->engine->get(store, table, key, arena, out);
}

enum status store_put(struct store *store, enum store_table table, struct bytes key, struct bytes value)
{
    check_key(table, key);
    if (store->broken) return STATUS_STORE_BROKEN;
    size_t growth = key.size + value.size + WRITE_OVERHEAD;
    if (value.size > STORE_WRITE_SET_BYTES_MAX || store->set.bytes + growth > STORE_WRITE_SET_BYTES_MAX) {
        snprintf(store->full, sizeof(store->full), "has no part in it: one turn may not write so much");
        return STATUS_NO_SPACE;
    }
    enum status status = store->engine->room(store, growth);
    if (status != STATUS_OK) return status;
    store->puts++;
    set_stage(&store->set, table, key, value, false);
    return STATUS_OK;
}

const char *store_full_text(const struct store *store)
{
    return store->full[0] != '\0' ? store->full : "is full";
}

void store_remove(struct store *store, enum store_table table, struct bytes key)
{
    check_key(table, key);
    if (!store->broken) set_stage(&store->set, table, key, bytes_of(NULL, 0), true);
}

size_t store_staged_bytes(const struct store *store)
{
    return store->set.bytes;
}

/* --- a scan: the engine's keys and the staged ones, merged --- */

struct merge {
    struct write_set *set;
    uint32_t at, end; /* what is left of the staged order */
    store_visit *visit;
    void *context;
    bool stopped;
};

static bool merge_emit(struct merge *merge, struct bytes key, struct bytes value)
{
    merge->stopped = !merge->visit(merge->context, key, value);
    return !merge->stopped;
}

static bool merge_emit_staged(struct merge *merge)
{
    const struct store_write *write = merge->set->order[merge->at++];
    return write->removed || merge_emit(merge, write->key, write->value);
}

static bool merge_visit(void *context, struct bytes key, struct bytes value)
{
    struct merge *merge = context;
    while (merge->at < merge->end) {
        int order = bytes_compare(merge->set->order[merge->at]->key, key);
        if (order > 0) break;
        if (!merge_emit_staged(merge)) return false;
        if (order == 0) return true;
    }
    return merge_emit(merge, key, value);
}

enum status store_scan(struct store *store, enum store_table table, struct bytes from, struct bytes to,
                       store_visit *visit, void *context)
{
    CHECK(table < STORE_TABLES);
    if (store->broken) return STATUS_STORE_BROKEN;
    if (to.size > 0 && bytes_compare(from, to) >= 0) return STATUS_OK;
    struct write_set *set = &store->set;
    if (set->count == 0) return store->engine->scan(store, table, from, to, visit, context);

    set_order(set);
    struct merge merge = {.set = set, .visit = visit, .context = context};
    merge.at = set_lower_bound(set, table, from);
    merge.end = to.size > 0 ? set_lower_bound(set, table, to) : set_lower_bound(set, table + 1, to);
    enum status status = store->engine->scan(store, table, from, to, merge_visit, &merge);
    if (status != STATUS_OK) return status;
    while (!merge.stopped && merge.at < merge.end) merge_emit_staged(&merge);
    return STATUS_OK;
}

enum status store_commit(struct store *store)
{
    enum status status = STATUS_OK;
    if (store->set.count > 0 && !store->broken) {
        set_order(&store->set);
        status = store->engine->apply(store, store->set.order, store->set.count);
        if (status == STATUS_OK) store->commits++;
    }
    set_reset(&store->set);
    return store->broken ? STATUS_STORE_BROKEN : status;
}

enum status store_sync(struct store *store)
{
    if (store->broken) return STATUS_STORE_BROKEN;
    atomic_fetch_add(&store->syncs, 1);
    return store->engine->sync(store);
}

struct store_stats store_stats(struct store *store)
{
    struct store_stats stats = {
        .commits = store->commits, .syncs = store->syncs, .gets = store->gets, .puts = store->puts};
    if (!store->broken) store->engine->stats(store, &stats);
    return stats;
}

const char *store_error(const struct store *store)
{
    return store->broken ? store->error : "";
}

bool store_is_stuck(const struct store *store)
{
    return store->broken && store->stuck;
}

void store_close(struct store *store)
{
    store->engine->close(store);
}
