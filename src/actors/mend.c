/* Mending a copy that can't be read: all other homes are asked for theirs, and when all of them have told,
 * what they hold together takes its place. With one home less it could lack a write that was acknowledged
 * with the help of this very copy, and of that home: each request chooses its own w, so no number below all
 * proves that there is none. Until then the copy answers no read of the key.
 *
 * A home whose own copy is damaged has told all that it ever will: two such would wait for each other. But
 * where no sound home has anything a damaged copy stays, for the key may have been there. */
#include "actors/antientropy_state.h"

static struct buffer *first_key(struct mend *mend)
{
    return &mend->keys[mend->first];
}

static void tell(struct antientropy *self, struct turn *turn)
{
    turn->counters->damaged = self->mend.count;
}

/* What the copy has seen does not count any more; nor do its trees, until they have been made without it. */
static void tell_lost(struct antientropy *self, struct turn *turn, struct bytes store_key, bool swept)
{
    struct store_place place;
    const struct table *table;
    if (!antientropy_place(self, turn, store_key, &place, &table) || table == NULL) return;
    Dynode__Peer__CopyLost *lost = ARENA_NEW(turn->arena, Dynode__Peer__CopyLost);
    dynode__peer__copy_lost__init(lost);
    lost->vnode = place.vnode;
    lost->n = table_homes_count(table, turn);
    turn_send(turn, turn->self, 0, DYNODE__PEER__MESSAGE__BODY_COPY_LOST, lost);
    if (swept) return;
    forest_distrust(self->forest, place.vnode);
    audit_soon(self, turn);
}

void mend_note(struct antientropy *self, struct turn *turn, struct bytes store_key, bool swept)
{
    struct mend *mend = &self->mend;
    for (uint32_t i = 0; i < mend->count; i++)
        if (bytes_equal(buffer_bytes(&mend->keys[(mend->first + i) % ANTIENTROPY_DAMAGED]), store_key))
            return;
    if (self->options.pass_ns == 0) return;
    tell_lost(self, turn, store_key, swept);
    if (mend->count == ANTIENTROPY_DAMAGED) return;
    struct buffer *key = &mend->keys[(mend->first + mend->count++) % ANTIENTROPY_DAMAGED];
    buffer_clear(key);
    buffer_append(key, store_key.data, store_key.size);
    tell(self, turn);
    antientropy_wake(self, turn, turn->now_ns + 1);
}

/* The first is done with, or has to wait: the next may come. */
static void go_on(struct antientropy *self, struct turn *turn, bool done)
{
    struct mend *mend = &self->mend;
    turn_disarm(turn, mend->timer);
    mend->waits = false;
    struct buffer key = *first_key(mend);
    *first_key(mend) = (struct buffer){0};
    mend->first = (mend->first + 1) % ANTIENTROPY_DAMAGED;
    mend->count--;
    if (done) {
        buffer_fini(&key);
    } else { /* behind all others */
        struct buffer *last = &mend->keys[(mend->first + mend->count++) % ANTIENTROPY_DAMAGED];
        buffer_fini(last);
        *last = key;
        mend->next_ns = turn->now_ns + self->options.pass_ns;
    }
    tell(self, turn);
}

bool mend_is_ready(const struct antientropy *self, const struct turn *turn)
{
    return self->mend.count > 0 && !self->mend.waits && turn->now_ns >= self->mend.next_ns;
}

void mend_step(struct antientropy *self, struct turn *turn)
{
    struct mend *mend = &self->mend;
    struct store_place place;
    const struct table *table;
    struct bytes key = bytes_copy(turn->arena, buffer_bytes(first_key(mend))), own;
    bool known = antientropy_place(self, turn, key, &place, &table);
    uint32_t n = known ? table_homes_count(table, turn) : 0;
    if (n < 2 || !ring_is_home(turn->ring, place.vnode, n, turn->self.node)) {
        go_on(self, turn, true);
        return;
    }
    enum status status = antientropy_load(self, turn, key, &own);
    if (turn->store_broken) return;
    if (status != STATUS_CORRUPT) { /* somebody was faster */
        go_on(self, turn, true);
        audit_soon(self, turn);
        return;
    }
    Dynode__Peer__FetchObjects *fetch = ARENA_NEW(turn->arena, Dynode__Peer__FetchObjects);
    dynode__peer__fetch_objects__init(fetch);
    fetch->vnode = place.vnode;
    fetch->n = n;
    fetch->keys = ARENA_NEW(turn->arena, ProtobufCBinaryData);
    fetch->keys[fetch->n_keys++] = to_pb(key);
    const uint64_t *list = ring_preference_list(turn->ring, place.vnode);
    mend->home_count = mend->heard = mend->damaged = 0;
    buffer_clear(&mend->object);
    mend->waits = true;
    antientropy_expect(self, turn, PLACE_MEND, &mend->id, &mend->timer);
    for (uint32_t i = 0; i < n; i++) {
        struct address to = {.node = list[i], .shard = place.vnode};
        if (list[i] == turn->self.node) continue;
        mend->homes[mend->home_count++] = list[i];
        antientropy_send(self, turn, to, mend->id, DYNODE__PEER__MESSAGE__BODY_FETCH_OBJECTS, &fetch->base);
    }
}

/* Join what one home holds with what others told. */
static bool join(struct antientropy *self, struct turn *turn, const struct table *table, struct bytes encoded)
{
    struct object incoming, before = {0};
    struct buffer *object = &self->mend.object;
    if (object_decode(encoded, turn->arena, &incoming) != STATUS_OK || incoming.context.count == 0)
        return false;
    CHECK(object_decode(buffer_bytes(object), turn->arena, &before) == STATUS_OK);
    struct object merged = object_merge(&before, &incoming, table->rule, turn->arena);
    if (!object_fits(&merged)) return false;
    struct bytes result = object_encode(&merged, turn->arena);
    buffer_clear(object);
    buffer_append(object, result.data, result.size);
    return true;
}

void mend_answered(struct antientropy *self, struct turn *turn, const struct mail *mail)
{
    struct mend *mend = &self->mend;
    const Dynode__Peer__ObjectsFetched *answer = mail->body;
    struct store_place place;
    const struct table *table;
    uint32_t home = 0;
    while (home < mend->home_count && mend->homes[home] != mail->from.node) home++;
    if (home == mend->home_count) return;
    struct bytes key = bytes_copy(turn->arena, buffer_bytes(first_key(mend)));
    if (!antientropy_place(self, turn, key, &place, &table) || table == NULL) {
        go_on(self, turn, true);
        return;
    }
    /* A home that was not filled may not know what it should, but what it knows is true. */
    if (answer->n_objects == 1 && answer->objects[0]->status == STATUS_OK &&
        join(self, turn, table, from_pb(answer->objects[0]->object)) && answer->status == STATUS_OK)
        mend->heard |= UINT32_C(1) << home;
    if (answer->n_objects == 1 && answer->objects[0]->status == STATUS_NOT_FOUND &&
        answer->status == STATUS_OK)
        mend->heard |= UINT32_C(1) << home;
    if (answer->n_objects == 1 && answer->objects[0]->status == STATUS_CORRUPT &&
        answer->status == STATUS_OK) {
        mend->heard |= UINT32_C(1) << home;
        mend->damaged |= UINT32_C(1) << home;
    }
    if ((uint32_t)__builtin_popcount(mend->heard) < mend->home_count) return;
    if (mend->object.size == 0 && mend->damaged != 0) {
        go_on(self, turn, false);
        return;
    }
    /* Nothing, if it was reaped there. */
    struct bytes object = bytes_copy(turn->arena, buffer_bytes(&mend->object));
    antientropy_merge(turn, &place, table, object, &(struct merge_as){.agreed = true});
    turn->counters->mended++;
    audit_soon(self, turn);
    go_on(self, turn, true);
}

void mend_timeout(struct antientropy *self, struct turn *turn)
{
    self->mend.timer = 0;
    go_on(self, turn, false);
    antientropy_wake(self, turn, self->mend.next_ns);
}
