#include "actors/exchange_page.h"

struct bytes leaf_bound(uint32_t vnodes, uint32_t vnode, uint32_t leaf, uint8_t bytes[LEAF_BOUND_BYTES])
{
    if (leaf == TREE_LEAVES) {
        if (vnode == UINT16_MAX) return bytes_of(NULL, 0);
        put_be16(bytes, (uint16_t)(vnode + 1));
        return bytes_of(bytes, 2);
    }
    uint32_t bits = (uint32_t)__builtin_ctz(vnodes);
    uint64_t hash = bits == 0 ? 0 : (uint64_t)vnode << (64 - bits);
    put_be16(bytes, (uint16_t)vnode);
    put_be64(bytes + 2, hash | (uint64_t)leaf << (54 - bits));
    return bytes_of(bytes, LEAF_BOUND_BYTES);
}

struct reading {
    struct antientropy *self;
    struct turn *turn;
    const struct leaf_range *range;
    size_t bytes_max;
    struct leaf_page *page;
    struct vv reaped; /* by a whole copy that is about to reap something; else nothing */
    uint32_t visits;
    bool full; /* or at its end */
};

/* Not of an lww table: what lies under the clock by chance is not about to go. */
static bool goes(const struct reading *reading, const struct table *table, struct bytes encoded)
{
    struct object object;
    return reading->reaped.count > 0 && table->rule != RULE_LWW &&
           object_decode(encoded, reading->turn->arena, &object) == STATUS_OK &&
           reap_is_going(&object, &reading->reaped, reading->turn->wall_ms);
}

static bool visit(void *context, struct bytes key, struct bytes value)
{
    struct reading *reading = context;
    struct leaf_page *page = reading->page;
    struct store_place place;
    const struct table *table;
    struct bytes encoded;
    const struct leaf_range *range = reading->range;
    if (bytes_compare(key, range->after) <= 0) return true;
    if (range->last.size > 0 && bytes_compare(key, range->last) > 0) {
        page->cursor = range->last;
        reading->full = true;
        return false;
    }
    if (antientropy_place_in(reading->self, reading->turn, key, range->vnode, range->n, &place, &table)) {
        bool good = object_unseal(key, value, &encoded) == STATUS_OK;
        if (!good) mend_note(reading->self, reading->turn, key, false);
        page->keys[page->count++] = (struct page_key){.key = bytes_copy(reading->turn->arena, key),
                                                      .checksum = good ? object_checksum(value) : 0,
                                                      .goes = good && goes(reading, table, encoded)};
    }
    reading->visits++;
    page->read_bytes += key.size + value.size;
    reading->full = page->count == ANTIENTROPY_PAGE_KEYS || reading->visits == ANTIENTROPY_PAGE_VISITS ||
                    page->read_bytes >= reading->bytes_max;
    if (reading->full) page->cursor = bytes_copy(reading->turn->arena, key);
    return !reading->full;
}

static bool has_leaf(const uint32_t leaves[TREE_INNER], uint32_t leaf)
{
    return leaf < TREE_LEAVES && (leaves[leaf / TREE_FAN] >> leaf % TREE_FAN & 1) != 0;
}

void leaf_page_read(struct antientropy *self, struct turn *turn, const struct leaf_range *range,
                    size_t bytes_max, struct leaf_page *out)
{
    const uint32_t *leaves = range->leaves;
    struct bytes after = range->after;
    uint32_t vnodes = turn->cluster->vnodes;
    *out = (struct leaf_page){.keys = ARENA_ARRAY(turn->arena, struct page_key, ANTIENTROPY_PAGE_KEYS)};
    struct reading reading = {
        .self = self, .turn = turn, .range = range, .bytes_max = bytes_max, .page = out};
    if (self->reap->by_vnode[range->vnode] > 0 &&
        copies_is_whole(self->copies, range->vnode, range->n, turn->arena))
        reading.reaped = copies_reaped(self->copies, range->vnode, range->n);
    for (uint32_t leaf = 0, end; leaf < TREE_LEAVES && !reading.full; leaf = end) {
        for (end = leaf + 1; has_leaf(leaves, leaf) && has_leaf(leaves, end);) end++; /* neighbours at once */
        if (!has_leaf(leaves, leaf)) continue;
        uint8_t from_bytes[LEAF_BOUND_BYTES], to_bytes[LEAF_BOUND_BYTES];
        struct bytes from = leaf_bound(vnodes, range->vnode, leaf, from_bytes);
        struct bytes to = leaf_bound(vnodes, range->vnode, end, to_bytes);
        if (to.size > 0 && bytes_compare(to, after) <= 0) continue;
        if (bytes_compare(after, from) > 0) from = after;
        if (store_scan(turn->store, STORE_OBJECTS, from, to, visit, &reading) != STATUS_OK) {
            turn->store_broken = true;
            return;
        }
    }
    turn->counters->repair_reads += reading.visits;
}
