/* Version vectors are short: one entry for each tenure of a home replica that wrote the key. They are kept
 * sorted, so every question is one walk over two lists, and nothing is copied when one vector already is the
 * answer. */
#include "version/dvv.h"

int dot_compare(struct dot a, struct dot b)
{
    if (a.clock != b.clock) return a.clock < b.clock ? -1 : 1;
    return a.counter < b.counter ? -1 : a.counter > b.counter;
}

bool vv_valid(const struct vv *vv)
{
    if (vv->count > VV_ENTRIES_MAX) return false;
    for (uint32_t i = 0; i < vv->count; i++) {
        if (vv->entries[i].clock == 0 || vv->entries[i].counter == 0) return false;
        if (i > 0 && vv->entries[i - 1].clock >= vv->entries[i].clock) return false;
    }
    return true;
}

/* Where @clock is, or would stand. */
static uint32_t place_of(const struct vv *vv, uint64_t clock)
{
    uint32_t low = 0, high = vv->count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (vv->entries[middle].clock < clock)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

uint64_t vv_get(const struct vv *vv, uint64_t clock)
{
    uint32_t at = place_of(vv, clock);
    return at < vv->count && vv->entries[at].clock == clock ? vv->entries[at].counter : 0;
}

bool vv_descends(const struct vv *a, const struct vv *b)
{
    uint32_t i = 0;
    for (uint32_t j = 0; j < b->count; j++, i++) {
        while (i < a->count && a->entries[i].clock < b->entries[j].clock) i++;
        if (i == a->count || a->entries[i].clock != b->entries[j].clock) return false;
        if (a->entries[i].counter < b->entries[j].counter) return false;
    }
    return true;
}

bool vv_equal(const struct vv *a, const struct vv *b)
{
    if (a->count != b->count) return false;
    for (uint32_t i = 0; i < a->count; i++)
        if (dot_compare(a->entries[i], b->entries[i]) != 0) return false;
    return true;
}

/* One walk over both: how long the union is, and whether it is @a or @b itself. With @out it is written there
 * too. */
static uint32_t unite(const struct vv *a, const struct vv *b, struct dot *out, bool *is_a, bool *is_b)
{
    uint32_t i = 0, j = 0, count = 0;
    *is_a = *is_b = true;
    while (i < a->count || j < b->count) {
        bool from_a = j == b->count || (i < a->count && a->entries[i].clock <= b->entries[j].clock);
        bool from_b = i == a->count || (j < b->count && b->entries[j].clock <= a->entries[i].clock);
        uint64_t in_a = from_a ? a->entries[i].counter : 0;
        uint64_t in_b = from_b ? b->entries[j].counter : 0;
        if (in_a < in_b) *is_a = false;
        if (in_b < in_a) *is_b = false;
        if (out != NULL) out[count] = in_a < in_b ? b->entries[j] : a->entries[i];
        count++;
        i += from_a;
        j += from_b;
    }
    return count;
}

struct vv vv_join(const struct vv *a, const struct vv *b, struct arena *arena)
{
    bool is_a, is_b;
    uint32_t count = unite(a, b, NULL, &is_a, &is_b);
    if (is_a) return *a;
    if (is_b) return *b;
    struct vv joined = {.entries = ARENA_ARRAY(arena, struct dot, count), .count = count};
    unite(a, b, joined.entries, &is_a, &is_b);
    return joined;
}

struct vv vv_with(const struct vv *vv, struct dot dot, struct arena *arena)
{
    if (vv_covers(vv, dot)) return *vv;
    struct vv one = {.entries = ARENA_ARRAY(arena, struct dot, 1), .count = 1};
    one.entries[0] = dot; /* the join may be just this one */
    return vv_join(vv, &one, arena);
}
