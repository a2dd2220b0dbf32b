/* The in-memory engine: the simulator's disk.
 *
 * A skip list per table (Pugh, 1990) with heights from a stream of its own, so that a run depends on nothing
 * but the calls made. Committed is not durable: an undo list remembers, for each write since the last sync,
 * what was there before it. A sync forgets the list; a crash plays it backwards, to the end or to the end of
 * one of the commits in it: never into one, as a log's records are whole or not there. */
#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/prng.h"
#include "store/store_engine.h"

enum { LEVELS = 16, RECENT_BITS = 9 };

struct blob {
    size_t size;
    uint8_t data[];
};

struct node {
    uint64_t head; /* of the key: most comparisons end there, and need not go and fetch it */
    struct blob *key;
    struct blob *value;
    uint32_t levels;
    struct node *next[];
};

struct list {
    struct node *head;                     /* of all LEVELS, without a key */
    uint32_t levels;                       /* of the highest node that was ever in it */
    struct node *recent[1 << RECENT_BITS]; /* found lately, by recent_of: what is read is mostly written next,
                                              or read again */
};

/* How to take one write back: @value NULL means that there was nothing under the key. */
struct undo {
    enum store_table table;
    struct blob *key;
    struct blob *value;
    bool first; /* of its commit */
};

struct store_mem {
    struct store store;
    struct list lists[STORE_TABLES];
    struct undo *undo;
    size_t undo_count, undo_capacity;
    size_t unsynced; /* commits in it */
    uint64_t bytes;
    struct prng prng;
    bool full, refused;
    bool failing[STORE_MEM_SYNC + 1], failed[STORE_MEM_SYNC + 1];
};

static struct blob *blob_alloc(struct bytes from)
{
    struct blob *blob = malloc(sizeof *blob + from.size);
    CHECK(blob != NULL);
    blob->size = from.size;
    if (from.size > 0) memcpy(blob->data, from.data, from.size);
    return blob;
}

static struct bytes blob_bytes(const struct blob *blob)
{
    return bytes_of(blob->data, blob->size);
}

static struct node *node_alloc(uint32_t levels)
{
    struct node *node = calloc(1, sizeof *node + levels * sizeof(struct node *));
    CHECK(node != NULL);
    node->levels = levels;
    return node;
}

static void node_free(struct node *node)
{
    free(node->key);
    free(node->value);
    free(node);
}

/* The first eight bytes, as a number that sorts as they do; a shorter key is filled up with zeros. */
static uint64_t head_of(struct bytes key)
{
    uint8_t head[8] = {0};
    if (key.size >= sizeof head) return get_be64(key.data);
    if (key.size > 0) memcpy(head, key.data, key.size);
    return get_be64(head);
}

static bool is_before(const struct node *node, struct bytes key, uint64_t head)
{
    return node->head != head ? node->head < head : bytes_compare(blob_bytes(node->key), key) < 0;
}

/* The first node not before @key; @before (if not NULL) gets its predecessor on each of the list's levels. */
static struct node *list_seek(const struct list *list, struct bytes key, struct node *before[LEVELS])
{
    struct node *at = list->head;
    uint64_t head = head_of(key);
    for (uint32_t level = list->levels; level-- > 0;) {
        while (at->next[level] != NULL && is_before(at->next[level], key, head)) at = at->next[level];
        if (before != NULL) before[level] = at;
    }
    return at->next[0];
}

static bool node_is(const struct node *node, struct bytes key)
{
    return node != NULL && bytes_equal(blob_bytes(node->key), key);
}

/* Where a node with this head is noted. */
static struct node **recent_of(struct list *list, uint64_t head)
{
    return &list->recent[head * UINT64_C(0x9e3779b97f4a7c15) >> (64 - RECENT_BITS)];
}

/* The node of @key, if it was found lately. */
static struct node *list_recall(struct list *list, struct bytes key)
{
    uint64_t head = head_of(key);
    struct node *node = *recent_of(list, head);
    return node != NULL && node->head == head && node_is(node, key) ? node : NULL;
}

/* The node of @key, NULL if there is none. */
static struct node *list_find(struct list *list, struct bytes key)
{
    struct node *node = list_recall(list, key);
    if (node != NULL) return node;
    node = list_seek(list, key, NULL);
    if (!node_is(node, key)) return NULL;
    *recent_of(list, node->head) = node;
    return node;
}

/* Take the node with these predecessors out. */
static void list_drop(struct list *list, struct node *node, struct node *const before[LEVELS])
{
    for (uint32_t level = 0; level < node->levels; level++) before[level]->next[level] = node->next[level];
    struct node **recent = recent_of(list, node->head);
    if (*recent == node) *recent = NULL;
    node_free(node);
}

/* Put @value (NULL: nothing) under @key and return what was there (NULL: nothing). Takes @value, gives the
 * old one. */
static struct blob *mem_exchange(struct store_mem *mem, enum store_table table, struct bytes key,
                                 struct blob *value)
{
    struct node *before[LEVELS];
    struct list *list = &mem->lists[table];
    struct node *node = value != NULL ? list_recall(list, key) : NULL;
    struct blob *old = NULL;
    if (node == NULL) node = list_seek(list, key, before);
    if (node_is(node, key)) {
        old = node->value;
        node->value = value;
        mem->bytes -= key.size + old->size;
        if (value == NULL) list_drop(list, node, before);
    } else if (value != NULL) {
        uint32_t levels = 1;
        while (levels < LEVELS && prng_chance(&mem->prng, 1, 4)) levels++;
        while (list->levels < levels) before[list->levels++] = list->head;
        node = node_alloc(levels);
        node->head = head_of(key);
        node->key = blob_alloc(key);
        node->value = value;
        for (uint32_t level = 0; level < levels; level++) {
            node->next[level] = before[level]->next[level];
            before[level]->next[level] = node;
        }
    }
    if (value != NULL) mem->bytes += key.size + value->size;
    return old;
}

static struct store_mem *mem_of(struct store *store)
{
    return (struct store_mem *)store;
}

/* Fail if that was asked for. */
static enum status mem_status(struct store_mem *mem, enum store_mem_operation operation)
{
    static const char *const names[] = {"read", "commit", "sync"};
    if (!mem->failing[operation]) return STATUS_OK;
    snprintf(mem->store.error, sizeof mem->store.error, "a %s failed on command", names[operation]);
    mem->store.broken = mem->failed[operation] = true;
    return STATUS_STORE_BROKEN;
}

static enum status mem_get(struct store *store, enum store_table table, struct bytes key, struct arena *arena,
                           struct bytes *out)
{
    if (mem_status(mem_of(store), STORE_MEM_READ) != STATUS_OK) return STATUS_STORE_BROKEN;
    const struct node *node = list_find(&mem_of(store)->lists[table], key);
    if (node == NULL) return STATUS_NOT_FOUND;
    uint8_t *copy = arena_try(arena, node->value->size);
    if (copy == NULL) return STATUS_NO_MEMORY;
    memcpy(copy, node->value->data, node->value->size);
    *out = bytes_of(copy, node->value->size);
    return STATUS_OK;
}

static enum status mem_scan(struct store *store, enum store_table table, struct bytes from, struct bytes to,
                            store_visit *visit, void *context)
{
    if (mem_status(mem_of(store), STORE_MEM_READ) != STATUS_OK) return STATUS_STORE_BROKEN;
    for (const struct node *node = list_seek(&mem_of(store)->lists[table], from, NULL); node != NULL;
         node = node->next[0]) {
        if (to.size > 0 && bytes_compare(blob_bytes(node->key), to) >= 0) break;
        if (!visit(context, blob_bytes(node->key), blob_bytes(node->value))) break;
    }
    return STATUS_OK;
}

static void undo_push(struct store_mem *mem, struct undo undo)
{
    if (mem->undo_count == mem->undo_capacity) {
        mem->undo_capacity = mem->undo_capacity > 0 ? 2 * mem->undo_capacity : 64;
        mem->undo = realloc(mem->undo, mem->undo_capacity * sizeof *mem->undo);
        CHECK(mem->undo != NULL);
    }
    mem->undo[mem->undo_count++] = undo;
}

static enum status mem_apply(struct store *store, struct store_write *const *writes, size_t count)
{
    struct store_mem *mem = mem_of(store);
    if (mem_status(mem, STORE_MEM_COMMIT) != STATUS_OK) return STATUS_STORE_BROKEN;
    mem->unsynced++;
    for (size_t i = 0; i < count; i++) {
        const struct store_write *write = writes[i];
        struct blob *value = write->removed ? NULL : blob_alloc(write->value);
        struct blob *old = mem_exchange(mem, write->table, write->key, value);
        undo_push(mem,
                  (struct undo){
                      .table = write->table, .key = blob_alloc(write->key), .value = old, .first = i == 0});
    }
    return STATUS_OK;
}

static void undo_forget(struct store_mem *mem)
{
    for (size_t i = 0; i < mem->undo_count; i++) {
        free(mem->undo[i].key);
        free(mem->undo[i].value);
    }
    mem->undo_count = 0;
    mem->unsynced = 0;
}

static enum status mem_sync(struct store *store)
{
    struct store_mem *mem = mem_of(store);
    if (mem_status(mem, STORE_MEM_SYNC) != STATUS_OK) return STATUS_STORE_BROKEN;
    undo_forget(mem);
    return STATUS_OK;
}

static void mem_stats(struct store *store, struct store_stats *stats)
{
    stats->bytes_on_disk = mem_of(store)->bytes;
}

static enum status mem_room(struct store *store, size_t bytes)
{
    struct store_mem *mem = mem_of(store);
    (void)bytes;
    mem->refused |= mem->full;
    if (mem->full) store->full[0] = '\0';
    return mem->full ? STATUS_NO_SPACE : STATUS_OK;
}

static void mem_close(struct store *store)
{
    struct store_mem *mem = mem_of(store);
    undo_forget(mem);
    for (int table = 0; table < STORE_TABLES; table++) {
        for (struct node *node = mem->lists[table].head, *next; node != NULL; node = next) {
            next = node->next[0];
            node_free(node);
        }
    }
    free(mem->undo);
    store_fini(store);
    free(mem);
}

static const struct store_engine mem_engine = {
    .get = mem_get,
    .scan = mem_scan,
    .apply = mem_apply,
    .sync = mem_sync,
    .stats = mem_stats,
    .room = mem_room,
    .close = mem_close,
};

struct store *store_mem_open(void)
{
    struct store_mem *mem = calloc(1, sizeof *mem);
    CHECK(mem != NULL);
    store_init(&mem->store, &mem_engine);
    prng_init(&mem->prng, 1);
    for (int table = 0; table < STORE_TABLES; table++) mem->lists[table].head = node_alloc(LEVELS);
    return &mem->store;
}

size_t store_mem_unsynced(const struct store *store)
{
    CHECK(store->engine == &mem_engine);
    return ((const struct store_mem *)store)->unsynced;
}

void store_mem_visit_unsynced(const struct store *store, size_t from, enum store_table table,
                              store_visit *visit, void *context)
{
    CHECK(store->engine == &mem_engine);
    const struct store_mem *mem = (const struct store_mem *)store;
    size_t commits = 0;
    for (size_t i = 0; i < mem->undo_count; i++) {
        const struct undo *undo = &mem->undo[i];
        commits += undo->first;
        if (commits <= from || undo->table != table) continue;
        const struct node *node = list_seek(&mem->lists[table], blob_bytes(undo->key), NULL);
        if (!node_is(node, blob_bytes(undo->key))) continue;
        if (!visit(context, blob_bytes(node->key), blob_bytes(node->value))) return;
    }
}

void store_mem_crash_after(struct store *store, size_t kept)
{
    CHECK(store->engine == &mem_engine);
    struct store_mem *mem = mem_of(store);
    store_unstage(store);
    memset(mem->failing, 0, sizeof mem->failing);
    while (mem->unsynced > kept) {
        struct undo *undo = &mem->undo[--mem->undo_count];
        free(mem_exchange(mem, undo->table, blob_bytes(undo->key), undo->value));
        free(undo->key);
        if (undo->first) mem->unsynced--;
    }
    undo_forget(mem);
}

void store_mem_crash(struct store *store)
{
    store_mem_crash_after(store, 0);
}

void store_mem_fail(struct store *store, enum store_mem_operation operation, bool fail)
{
    CHECK(store->engine == &mem_engine);
    mem_of(store)->failing[operation] = fail;
}

bool store_mem_will_fail(const struct store *store)
{
    const bool *failing = ((const struct store_mem *)store)->failing;
    return failing[STORE_MEM_READ] || failing[STORE_MEM_COMMIT] || failing[STORE_MEM_SYNC];
}

bool store_mem_has_failed(const struct store *store, enum store_mem_operation operation)
{
    CHECK(store->engine == &mem_engine);
    return ((const struct store_mem *)store)->failed[operation];
}

bool store_mem_rot(struct store *store, enum store_table table, uint64_t choice)
{
    CHECK(store->engine == &mem_engine);
    uint64_t count = 0;
    const struct node *head = mem_of(store)->lists[table].head;
    for (const struct node *node = head->next[0]; node != NULL; node = node->next[0])
        count += node->value->size;
    if (count == 0) return false;
    uint64_t bit = choice % (count * 8);
    for (const struct node *node = head->next[0];; node = node->next[0]) {
        if (bit < node->value->size * 8) {
            node->value->data[bit / 8] ^= (uint8_t)(1U << bit % 8);
            return true;
        }
        bit -= node->value->size * 8;
    }
}

void store_mem_set_full(struct store *store, bool full)
{
    CHECK(store->engine == &mem_engine);
    struct store_mem *mem = mem_of(store);
    if (full && !mem->full) mem->refused = false;
    mem->full = full;
}

bool store_mem_has_refused(const struct store *store)
{
    CHECK(store->engine == &mem_engine);
    return ((const struct store_mem *)store)->refused;
}

void store_mem_break(struct store *store)
{
    CHECK(store->engine == &mem_engine);
    snprintf(store->error, sizeof store->error, "broken on command");
    store->broken = true;
}
