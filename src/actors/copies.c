#include "actors/copies.h"

#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/hash.h"

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
    return map_get(&copies->list, name_of(vnode, n));
}

static struct copy *find_or_add(struct copies *copies, uint32_t vnode, uint32_t n)
{
    struct copy *copy = find(copies, vnode, n);
    if (copy != NULL) return copy;
    copy = calloc(1, sizeof(*copy));
    CHECK(copy != NULL);
    copy->vnode = vnode;
    copy->n = n;
    map_put(&copies->list, name_of(vnode, n), copy);
    return copy;
}

static void keep_vv(struct vv *own, const struct vv *vv)
{
    struct dot *entries = NULL;
    if (vv->count > 0) {
        entries = malloc(vv->count * sizeof(*entries));
        CHECK(entries != NULL);
        memcpy(entries, vv->entries, vv->count * sizeof(*entries));
    }
    free(own->entries);
    *own = (struct vv){.entries = entries, .count = vv->count};
}

static void forget_known(struct copy *copy)
{
    for (uint32_t i = 0; i < copy->known_count; i++) {
        free(copy->known[i].ripe.entries);
        free(copy->known[i].next.entries);
    }
    copy->known_count = copy->compared_count = 0;
}

static void forget(struct copies *copies, uint32_t vnode, uint32_t n)
{
    struct copy *copy = map_remove(&copies->list, name_of(vnode, n));
    if (copy == NULL) return;
    forget_known(copy);
    free(copy->seen.entries);
    free(copy->reaped.entries);
    free(copy);
}

static void keep_heard(struct copies *copies, const struct copy *from)
{
    struct copy *copy = find_or_add(copies, from->vnode, from->n);
    memcpy(copy->heard, from->heard, sizeof(copy->heard));
    copy->count = from->count;
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
        keep_heard(copies, &copy);
    return true;
}

/* A row: "seen", vnode (2), n (1); since (8), entries of the seen clock (8), then those of it and of the
 * reaped clock (16 each). */
enum { CLOCKS_HEAD_BYTES = 16, CLOCK_BYTES = 16 };

static const char clocks_prefix[] = "seen", clocks_prefix_end[] = "seeo";

static struct vv read_vv(const uint8_t *from, size_t count, struct dot *entries)
{
    for (size_t i = 0; i < count; i++, from += CLOCK_BYTES)
        entries[i] = (struct dot){.clock = get_be64(from), .counter = get_be64(from + 8)};
    return (struct vv){.entries = entries, .count = (uint32_t)count};
}

static bool load_clocks(void *context, struct bytes key, struct bytes value)
{
    struct copies *copies = context;
    if (key.size != KEY_BYTES || value.size < CLOCKS_HEAD_BYTES || value.size % CLOCK_BYTES != 0) return true;
    uint32_t vnode = (uint32_t)key.data[PREFIX_BYTES] << 8 | key.data[PREFIX_BYTES + 1];
    uint32_t n = key.data[PREFIX_BYTES + 2];
    size_t entries = (value.size - CLOCKS_HEAD_BYTES) / CLOCK_BYTES;
    uint64_t seen_count = get_be64(value.data + 8);
    if (vnode >= copies->vnodes || n < 1 || n > COPIES_N_MAX || seen_count > entries) return true;
    struct dot *dots = malloc((entries + 1) * sizeof(*dots));
    CHECK(dots != NULL);
    struct vv seen = read_vv(value.data + CLOCKS_HEAD_BYTES, seen_count, dots);
    struct vv reaped = read_vv(value.data + CLOCKS_HEAD_BYTES + seen_count * CLOCK_BYTES,
                               entries - seen_count, dots + seen_count);
    if (vv_valid(&seen) && vv_valid(&reaped)) {
        struct copy *copy = find_or_add(copies, vnode, n);
        copy->since = get_be64(value.data);
        keep_vv(&copy->seen, &seen);
        keep_vv(&copy->reaped, &reaped);
    }
    free(dots);
    return true;
}

static void write_vv(struct buffer *to, const struct vv *vv)
{
    for (uint32_t i = 0; i < vv->count; i++) {
        uint8_t bytes[CLOCK_BYTES];
        put_be64(bytes, vv->entries[i].clock);
        put_be64(bytes + 8, vv->entries[i].counter);
        buffer_append(to, bytes, sizeof(bytes));
    }
}

/* Stage the row of a copy with these clocks. */
static enum status save_clocks(struct store *store, const struct copy *copy, const struct vv *seen,
                               const struct vv *reaped)
{
    uint8_t key[KEY_BYTES], head[CLOCKS_HEAD_BYTES];
    struct buffer value = {0};
    key_encode(copy->vnode, copy->n, key);
    memcpy(key, clocks_prefix, PREFIX_BYTES);
    put_be64(head, copy->since);
    put_be64(head + 8, seen->count);
    buffer_append(&value, head, sizeof(head));
    write_vv(&value, seen);
    write_vv(&value, reaped);
    enum status status = store_put(store, STORE_META, bytes_of(key, sizeof(key)), buffer_bytes(&value));
    buffer_fini(&value);
    return status;
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

enum status copies_load(struct copies *copies, struct store *store, bool born, uint32_t vnodes,
                        uint64_t nonce)
{
    copies->nonce = nonce;
    copies->vnodes = vnodes;
    copies->filled = calloc(vnodes, sizeof(*copies->filled));
    CHECK(copies->filled != NULL);
    enum status status = mints_load(&copies->mints, store);
    if (status == STATUS_OK)
        status = store_scan(store, STORE_META, bytes_str(clocks_prefix), bytes_str(clocks_prefix_end),
                            load_clocks, copies);
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
        for (uint32_t n = 1; n <= COPIES_N_MAX && copies->list.count > 0; n++) forget(copies, vnode, n);
    map_fini(&copies->list);
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
    if (filled)
        set_filled(copies, vnode, n);
    else
        keep_heard(copies, &after);
    return STATUS_OK;
}

/* --- seen and reaped clocks --- */

static int by_clock(const void *left, const void *right)
{
    return dot_compare(*(const struct dot *)left, *(const struct dot *)right);
}

/* What was minted here under the tenures that count. */
static struct vv minted(const struct mints *mints, uint64_t since, struct arena *arena)
{
    struct vv own = {.entries = ARENA_ARRAY(arena, struct dot, (size_t)mints->count + 1)};
    for (uint32_t i = 0; i < mints->count; i++)
        if (mints->first + i >= since && mints->tenures[i].clock != 0)
            own.entries[own.count++] = mints->tenures[i];
    qsort(own.entries, own.count, sizeof(*own.entries), by_clock);
    return own;
}

struct vv copies_seen(const struct copies *copies, uint32_t vnode, uint32_t n, struct arena *arena)
{
    const struct copy *copy = find(copies, vnode, n);
    struct vv own = minted(&copies->mints, copy != NULL ? copy->since : 0, arena);
    return copy != NULL ? vv_join(&copy->seen, &own, arena) : own;
}

bool copies_have_reaped(const struct copies *copies)
{
    for (uint32_t vnode = 0; vnode < copies->vnodes && copies->list.count > 0; vnode++)
        for (uint32_t n = 1; n <= COPIES_N_MAX; n++)
            if (copies_reaped(copies, vnode, n).count > 0) return true;
    return false;
}

struct vv copies_reaped(const struct copies *copies, uint32_t vnode, uint32_t n)
{
    const struct copy *copy = find(copies, vnode, n);
    return copy != NULL ? copy->reaped : (struct vv){0};
}

bool copies_is_whole(const struct copies *copies, uint32_t vnode, uint32_t n, struct arena *arena)
{
    if (!copies_is_filled(copies, vnode, n)) return false;
    struct vv reaped = copies_reaped(copies, vnode, n), seen = {0};
    if (reaped.count > 0) seen = copies_seen(copies, vnode, n, arena);
    return vv_descends(&seen, &reaped);
}

uint64_t copies_token(const struct copies *copies, uint32_t vnode, uint32_t n)
{
    const struct copy *copy = find(copies, vnode, n);
    uint64_t token = copies->nonce + copies->refused + (copy != NULL ? copy->disturbed : 0);
    return token != 0 ? token : 1;
}

void copies_disturb(struct copies *copies, uint32_t vnode, uint32_t n)
{
    find_or_add(copies, vnode, n)->disturbed++;
}

void copies_lose(struct copies *copies, struct store *store, uint32_t vnode, uint32_t n)
{
    static const struct vv nothing = {0};
    struct copy *copy = find_or_add(copies, vnode, n);
    copy->disturbed++;
    copy->since = copies->mints.first + copies->mints.count;
    copy->compared_count = 0;
    keep_vv(&copy->seen, &nothing);
    save_clocks(store, copy, &copy->seen, &copy->reaped);
}

void copies_forget_seen(struct copies *copies, struct store *store)
{
    static const struct vv nothing = {0};
    for (uint32_t vnode = 0; vnode < copies->vnodes; vnode++)
        for (uint32_t n = 1; n <= COPIES_N_MAX && copies->list.count > 0; n++) {
            struct copy *copy = find(copies, vnode, n);
            if (copy == NULL) continue;
            copy->disturbed++;
            forget_known(copy);
            if (copy->seen.count == 0) continue;
            keep_vv(&copy->seen, &nothing);
            save_clocks(store, copy, &copy->seen, &copy->reaped);
        }
}

enum status copies_join_seen(struct copies *copies, struct store *store, const struct vv *seen,
                             uint32_t vnode, uint32_t n, struct arena *arena)
{
    struct copy *copy = find_or_add(copies, vnode, n);
    struct vv joined = vv_join(&copy->seen, seen, arena);
    if (vv_equal(&joined, &copy->seen) || joined.count > VV_ENTRIES_MAX) return STATUS_OK;
    enum status status = save_clocks(store, copy, &joined, &copy->reaped);
    if (status == STATUS_OK) keep_vv(&copy->seen, &joined);
    return status;
}

/* What is known of others holds for one ring. */
static void look_at_ring(struct copy *copy, const struct ring *ring)
{
    if (copy->ring == ring_version(ring)) return;
    copy->ring = ring_version(ring);
    forget_known(copy);
}

void copies_compare(struct copies *copies, struct store *store, const struct ring *ring, uint64_t self,
                    uint32_t vnode, uint32_t n, uint64_t home, struct arena *arena)
{
    struct copy *copy = find_or_add(copies, vnode, n);
    look_at_ring(copy, ring);
    const uint64_t *list = ring_preference_list(ring, vnode);
    if (n > ring_nodes(ring) || !ring_is_home(ring, vnode, n, self)) return;
    uint32_t count = 0;
    uint64_t before[COPIES_N_MAX];
    memcpy(before, copy->compared, sizeof(before));
    for (uint32_t i = 0; i < n; i++) {
        bool is_compared = list[i] == home;
        for (uint32_t k = 0; k < copy->compared_count; k++) is_compared |= before[k] == list[i];
        if (list[i] != self && is_compared) copy->compared[count++] = list[i];
    }
    copy->compared_count = count;
    if (count < n - 1) return;
    copy->compared_count = 0;
    struct vv seen = copies_seen(copies, vnode, n, arena);
    if (!vv_descends(&seen, &copy->reaped)) copies_join_seen(copies, store, &copy->reaped, vnode, n, arena);
}

enum status copies_join_reaped(struct copies *copies, struct store *store, const struct vv *reaped,
                               uint32_t vnode, uint32_t n, struct arena *arena)
{
    struct copy *copy = find_or_add(copies, vnode, n);
    struct vv joined = vv_join(&copy->reaped, reaped, arena);
    if (vv_equal(&joined, &copy->reaped) || joined.count > VV_ENTRIES_MAX) return STATUS_OK;
    enum status status = save_clocks(store, copy, &copy->seen, &joined);
    if (status == STATUS_OK) keep_vv(&copy->reaped, &joined);
    return status;
}

static struct known *known_of(struct copy *copy, uint64_t home)
{
    for (uint32_t i = 0; i < copy->known_count; i++)
        if (copy->known[i].home == home) return &copy->known[i];
    return NULL;
}

static bool is_ripe(const struct copies *copies, const struct known *known, uint64_t now_ns)
{
    return now_ns >= copies->ripe_ns && known->next_ns <= now_ns - copies->ripe_ns;
}

void copies_set_known(struct copies *copies, const struct ring *ring, uint32_t vnode, uint32_t n,
                      uint64_t home, const struct vv *seen, uint64_t now_ns)
{
    static const struct vv nothing = {0};
    struct copy *copy = find_or_add(copies, vnode, n);
    look_at_ring(copy, ring);
    struct known *known = known_of(copy, home);
    if (known == NULL) {
        if (copy->known_count == COPIES_N_MAX) return;
        known = &copy->known[copy->known_count++];
        *known = (struct known){.home = home, .next_ns = now_ns};
        keep_vv(&known->next, seen);
        return;
    }
    bool less = !vv_descends(seen, &known->next) || !vv_descends(seen, &known->ripe); /* it has lost some */
    bool ripe = is_ripe(copies, known, now_ns);
    if (!less && !ripe) return; /* what it said before has to ripen first */
    keep_vv(&known->ripe, less ? &nothing : &known->next);
    keep_vv(&known->next, seen);
    known->next_ns = now_ns;
}

bool copies_have_seen(const struct copies *copies, const struct ring *ring, uint32_t vnode, uint32_t n,
                      const struct vv *context, uint64_t now_ns)
{
    struct copy *copy = find(copies, vnode, n);
    if (copy == NULL || copy->ring != ring_version(ring)) return false;
    const uint64_t *list = ring_preference_list(ring, vnode);
    for (uint32_t i = 0; i < n; i++) {
        const struct known *known = known_of(copy, list[i]);
        if (known == NULL) return false;
        if (!vv_descends(is_ripe(copies, known, now_ns) ? &known->next : &known->ripe, context)) return false;
    }
    return true;
}

uint64_t copies_hash(const struct vv *vv)
{
    uint64_t hash = 0;
    for (uint32_t i = 0; i < vv->count; i++) {
        uint8_t bytes[CLOCK_BYTES];
        put_be64(bytes, vv->entries[i].clock);
        put_be64(bytes + 8, vv->entries[i].counter);
        hash = hash64(bytes_of(bytes, sizeof(bytes)), hash);
    }
    return hash;
}

static bool holds(const struct object *object, struct dot dot)
{
    for (uint32_t i = 0; i < object->count; i++)
        if (dot_compare(object->siblings[i].dot, dot) == 0) return true;
    return false;
}

struct object copies_strip(const struct object *object, const struct object *held, const struct vv *reaped,
                           struct arena *arena, bool *changed)
{
    struct object stripped = {.context = object->context,
                              .siblings = ARENA_ARRAY(arena, struct sibling, (size_t)object->count + 1)};
    for (uint32_t i = 0; i < object->count; i++)
        if (!vv_covers(reaped, object->siblings[i].dot) || holds(held, object->siblings[i].dot))
            stripped.siblings[stripped.count++] = object->siblings[i];
    if (stripped.count == object->count) return *object;
    *changed = true;
    return stripped.count > 0 ? stripped : (struct object){0};
}

struct object copies_admit(struct copies *copies, uint32_t vnode, uint32_t n, const struct object *held,
                           const struct object *incoming, struct arena *arena)
{
    struct vv reaped = copies_reaped(copies, vnode, n);
    if (reaped.count == 0) return *incoming;
    struct vv seen = copies_seen(copies, vnode, n, arena);
    struct object admitted = {.context = incoming->context,
                              .siblings = ARENA_ARRAY(arena, struct sibling, (size_t)incoming->count + 1)};
    for (uint32_t i = 0; i < incoming->count; i++) {
        struct dot dot = incoming->siblings[i].dot;
        bool is_doubtful = vv_covers(&reaped, dot) && !holds(held, dot);
        if (is_doubtful && vv_covers(&seen, dot)) continue;
        if (is_doubtful && !vv_covers(&held->context, dot)) copies_disturb(copies, vnode, n);
        admitted.siblings[admitted.count++] = incoming->siblings[i];
    }
    if (admitted.count == incoming->count) return *incoming;
    return admitted.count > 0 ? admitted : (struct object){0};
}
