#include "actors/reap.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "wire/client_wire.h"

static_assert(REAP_AFTER_NS >= 2 * UINT64_C(1000000) * DEADLINE_MS_MAX, "no read takes so long");

/* --- the queue --- */

/* When the last of its values has expired by every clock: 0 without any, UINT64_MAX for never, or if nothing
 * is there at all. */
static uint64_t dead_at_ms(const struct object *object)
{
    uint64_t at_ms = 0;
    if (object->count == 0) return UINT64_MAX;
    for (uint32_t i = 0; i < object->count; i++) {
        const struct sibling *sibling = &object->siblings[i];
        if (sibling->tombstone) continue;
        if (sibling->expires_ms == 0 || sibling->expires_ms > UINT64_MAX - REAP_EXPIRED_MS) return UINT64_MAX;
        if (sibling->expires_ms + REAP_EXPIRED_MS > at_ms) at_ms = sibling->expires_ms + REAP_EXPIRED_MS;
    }
    return at_ms;
}

/* Something of the vnode is dead from then on. */
static void note_dead(struct reap *reap, uint32_t vnode, uint64_t at_ms)
{
    if (at_ms < reap->dead_ms[vnode]) reap->dead_ms[vnode] = at_ms;
    if (reap->walked == vnode && at_ms < reap->walked_ms) reap->walked_ms = at_ms;
}

static uint64_t row_ms(struct bytes value)
{
    return value.size == 8 ? get_be64(value.data) : 0; /* one that says nothing is looked at */
}

static bool count_row(void *context, struct bytes key, struct bytes value)
{
    struct reap *reap = context;
    struct store_place place;
    if (!store_key_decode(key, &place) || place.vnode >= reap->vnodes) return true;
    reap->count++;
    reap->by_vnode[place.vnode]++;
    note_dead(reap, place.vnode, row_ms(value));
    return true;
}

enum status reap_load(struct reap *reap, struct store *store, uint32_t vnodes)
{
    reap->vnodes = vnodes;
    reap->by_vnode = calloc(vnodes, sizeof(*reap->by_vnode));
    reap->moves = calloc(vnodes, sizeof(*reap->moves));
    reap->due = calloc(vnodes, sizeof(*reap->due));
    CHECK(reap->by_vnode != NULL);
    CHECK(reap->moves != NULL);
    CHECK(reap->due != NULL);
    reap->dead_ms = malloc(vnodes * sizeof(*reap->dead_ms));
    CHECK(reap->dead_ms != NULL);
    memset(reap->dead_ms, 0xff, vnodes * sizeof(*reap->dead_ms));
    return store_scan(store, STORE_REAP, bytes_of(NULL, 0), bytes_of(NULL, 0), count_row, reap);
}

void reap_fini(struct reap *reap)
{
    free(reap->by_vnode);
    free(reap->moves);
    free(reap->due);
    free(reap->dead_ms);
    buffer_fini(&reap->after);
    *reap = (struct reap){0};
}

static void remove_row(struct reap *reap, struct store *store, uint32_t vnode, struct bytes store_key)
{
    store_remove(store, STORE_REAP, store_key);
    reap->moves[vnode]++;
    if (reap->by_vnode[vnode] == 0) return; /* what it was could not be read when it was written over */
    reap->by_vnode[vnode]--;
    reap->count--;
}

static enum status put_row(struct store *store, struct bytes store_key, uint64_t at_ms)
{
    uint8_t value[8];
    put_be64(value, at_ms);
    return store_put(store, STORE_REAP, store_key, bytes_of(value, sizeof(value)));
}

enum status reap_enter(struct reap *reap, struct store *store, uint32_t vnode, struct bytes store_key,
                       const struct object *before, const struct object *after)
{
    uint64_t was_ms = dead_at_ms(before), at_ms = dead_at_ms(after);
    if (at_ms == UINT64_MAX) return STATUS_OK;
    reap->moves[vnode]++;
    if (at_ms == was_ms) return STATUS_OK;
    enum status status = put_row(store, store_key, at_ms);
    if (status == STATUS_OK) note_dead(reap, vnode, at_ms);
    if (status != STATUS_OK || was_ms != UINT64_MAX) return status;
    reap->by_vnode[vnode]++;
    reap->count++;
    return STATUS_OK;
}

void reap_leave(struct reap *reap, struct store *store, uint32_t vnode, struct bytes store_key,
                const struct object *before, const struct object *after)
{
    if (dead_at_ms(before) != UINT64_MAX && dead_at_ms(after) == UINT64_MAX)
        remove_row(reap, store, vnode, store_key);
}

bool reap_takes(const struct object *object)
{
    return dead_at_ms(object) != UINT64_MAX;
}

bool reap_is_going(const struct object *object, const struct vv *reaped, uint64_t wall_ms)
{
    return dead_at_ms(object) <= wall_ms && vv_descends(reaped, &object->context);
}

bool reap_has(struct turn *turn, struct bytes store_key)
{
    struct bytes row;
    enum status status = store_get(turn->store, STORE_REAP, store_key, turn->arena, &row);
    if (status == STATUS_STORE_BROKEN) turn->store_broken = true;
    return status != STATUS_NOT_FOUND;
}

/* --- the walk --- */

bool reap_waits(const struct reap *reap, uint32_t vnode, uint64_t wall_ms)
{
    return reap->by_vnode[vnode] > 0 && reap->dead_ms[vnode] <= wall_ms;
}

void reap_set_due(struct reap *reap, const struct turn *turn, uint32_t vnode)
{
    if (!reap->on || reap->due[vnode] || !reap_waits(reap, vnode, turn->wall_ms)) return;
    reap->due[vnode] = true;
    reap->due_count++;
}

struct page {
    struct turn *turn;
    struct reap *reap;
    struct bytes after;
    struct bytes keys[REAP_CHUNK];
    uint32_t count, rows;
    bool more;
};

static bool visit(void *context, struct bytes key, struct bytes value)
{
    struct page *page = context;
    if (bytes_compare(key, page->after) <= 0) return true;
    page->more = page->count == REAP_CHUNK || page->rows++ == REAP_CHUNK_ROWS;
    if (page->more) return false;
    page->after = bytes_copy(page->turn->arena, key);
    if (row_ms(value) <= page->turn->wall_ms)
        page->keys[page->count++] = page->after;
    else /* it is a value still */
        note_dead(page->reap, page->reap->walked, row_ms(value));
    return true;
}

/* Read what lies there. STATUS_NOT_FOUND, or nothing that ever dies: the row has nothing to say any more. */
static enum status load(struct reap *reap, struct turn *turn, struct bytes store_key, struct object *object,
                        uint64_t *checksum)
{
    struct bytes stored, encoded;
    enum status status = store_get(turn->store, STORE_OBJECTS, store_key, turn->arena, &stored);
    if (status == STATUS_STORE_BROKEN) turn->store_broken = true;
    if (status != STATUS_OK) return status;
    reap->read_bytes += store_key.size + stored.size;
    status = object_unseal(store_key, stored, &encoded);
    if (status == STATUS_OK) status = object_decode(encoded, turn->arena, object);
    if (status == STATUS_OK) *checksum = object_checksum(stored);
    if (status == STATUS_OK && dead_at_ms(object) == UINT64_MAX) return STATUS_NOT_FOUND;
    return status;
}

void reap_find(struct reap *reap, struct turn *turn, struct table_homes *homes, struct bytes store_key)
{
    static const struct object nothing = {0};
    struct store_place place;
    struct object object;
    uint64_t checksum;
    CHECK(store_key_decode(store_key, &place));
    const struct table *table = table_homes_find(homes, turn, place.tag);
    if (table == NULL || table->rule == RULE_LWW || reap_has(turn, store_key)) return;
    if (load(reap, turn, store_key, &object, &checksum) == STATUS_OK)
        reap_enter(reap, turn->store, place.vnode, store_key, &nothing, &object);
}

/* May it go? Then its context has joined the copy's reaped clock. */
static bool may_go(struct turn *turn, struct copies *copies, uint32_t vnode, uint32_t n,
                   const struct object *object)
{
    struct vv reaped = copies_reaped(copies, vnode, n);
    if (reap_is_going(object, &reaped, turn->wall_ms)) return true; /* another home had the proof */
    if (dead_at_ms(object) > turn->wall_ms) return false;
    if (!copies_is_whole(copies, vnode, n, turn->arena) ||
        !copies_have_seen(copies, turn->ring, vnode, n, &object->context, turn->now_ns))
        return false;
    struct vv joined = vv_join(&reaped, &object->context, turn->arena);
    return joined.count <= COPIES_REAPED_MAX &&
           copies_join_reaped(copies, turn->store, &joined, vnode, n, turn->arena) == STATUS_OK;
}

/* False: it stays in the queue. */
static bool look_at(struct reap *reap, struct turn *turn, struct copies *copies, struct forest *forest,
                    struct table_homes *homes, struct bytes store_key)
{
    struct store_place place;
    struct object object;
    uint64_t checksum;
    CHECK(store_key_decode(store_key, &place));
    const struct table *table = table_homes_find(homes, turn, place.tag);
    uint32_t n = table_homes_count(table, turn);
    if (n == 0 || !ring_is_home(turn->ring, place.vnode, n, turn->self.node)) return false;
    if (table->rule == RULE_LWW) { /* it was not known yet */
        remove_row(reap, turn->store, place.vnode, store_key);
        return true;
    }
    struct vv seen = copies_seen(copies, place.vnode, n, turn->arena);
    copies_set_known(copies, turn->ring, place.vnode, n, turn->self.node, &seen, turn->now_ns);
    enum status status = load(reap, turn, store_key, &object, &checksum);
    if (status == STATUS_NOT_FOUND) {
        remove_row(reap, turn->store, place.vnode, store_key);
        return true;
    }
    if (status != STATUS_OK || !may_go(turn, copies, place.vnode, n, &object)) return false;
    struct forest_entry entry = {.vnode = place.vnode, .n = n, .hash = place.hash, .store_key = store_key};
    store_remove(turn->store, STORE_OBJECTS, store_key);
    forest_replace(forest, &entry, checksum, 0);
    remove_row(reap, turn->store, place.vnode, store_key);
    turn->counters->reaped++;
    return true;
}

/* Go on in a vnode that is due. False: none is. */
static bool choose(struct reap *reap, const struct turn *turn)
{
    if (reap->after.size > 0) return true;
    if (reap->due_count == 0) return false;
    uint32_t first = reap->walked % turn->shards == turn->self.shard ? reap->walked : turn->self.shard;
    for (uint32_t vnode = first;;) {
        vnode = vnode + turn->shards < reap->vnodes ? vnode + turn->shards : turn->self.shard;
        if (vnode < reap->vnodes && reap->due[vnode]) {
            reap->due[vnode] = false;
            reap->due_count--;
            reap->walked = vnode;
            reap->walked_ms = UINT64_MAX;
            return true;
        }
        if (vnode == first || vnode >= reap->vnodes) break;
    }
    return false;
}

void reap_step(struct reap *reap, struct turn *turn, struct copies *copies, struct forest *forest,
               struct table_homes *homes)
{
    if (turn->store_broken || !choose(reap, turn)) return;
    uint8_t bounds[4];
    put_be16(bounds, (uint16_t)reap->walked);
    put_be16(bounds + 2, (uint16_t)(reap->walked + 1));
    struct bytes from = bytes_of(bounds, 2), to = bytes_of(bounds + 2, 2);
    if (reap->walked == UINT16_MAX) to = bytes_of(NULL, 0);
    struct page page = {
        .turn = turn, .reap = reap, .after = bytes_copy(turn->arena, buffer_bytes(&reap->after))};
    if (page.after.size > 0) from = page.after;
    if (store_scan(turn->store, STORE_REAP, from, to, visit, &page) != STATUS_OK) {
        turn->store_broken = true;
        return;
    }
    size_t before = reap->read_bytes;
    uint32_t i = 0;
    for (; i < page.count && reap->read_bytes - before < REAP_CHUNK_BYTES && !turn->store_broken; i++)
        if (!look_at(reap, turn, copies, forest, homes, page.keys[i])) reap->walked_ms = 0;
    buffer_clear(&reap->after);
    if (i < page.count) page.after = page.keys[i - 1];
    if (i < page.count || page.more) buffer_append(&reap->after, page.after.data, page.after.size);
    if (reap->after.size == 0) reap->dead_ms[reap->walked] = reap->walked_ms;
}
