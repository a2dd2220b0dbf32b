/* What another home asks of this one. Nothing is remembered of it: each question stands for itself, and is
 * bounded by what it may ask and what is read for it, which is less where there is much to do. It is answered
 * at once, and the answer says how long the other is to rest before it asks again (governor.h). */
#include "actors/clocks.h"
#include "actors/exchange_page.h"
#include "wire/pack.h"

uint32_t antientropy_serve(struct antientropy *self, const struct turn *turn, size_t read_bytes,
                           const ProtobufCMessage *answer)
{
    size_t size = pack_size(answer);
    turn->counters->repair_bytes += size;
    return governor_serve(self->governor, turn->now_ns, read_bytes + size);
}

/* How much of @most is read for one question? */
static size_t slice(const struct antientropy *self, size_t most)
{
    size_t bytes = governor_slice(self->governor);
    return bytes < most ? bytes : most;
}

static bool is_ours(const struct turn *turn, uint32_t vnode, uint32_t n)
{
    return vnode < turn->cluster->vnodes && vnode % turn->shards == turn->self.shard && n >= 1 &&
           n <= FOREST_N_MAX;
}

bool antientropy_rises(const uint32_t *numbers, size_t count, uint32_t bound)
{
    for (size_t i = 0; i < count; i++)
        if (numbers[i] >= bound || (i > 0 && numbers[i] <= numbers[i - 1])) return false;
    return true;
}

static void answer_roots(struct antientropy *self, struct turn *turn, const struct mail *mail)
{
    const Dynode__Peer__TreeRoots *roots = mail->body;
    Dynode__Peer__TreeRootsAnswer *answer = ARENA_NEW(turn->arena, Dynode__Peer__TreeRootsAnswer);
    dynode__peer__tree_roots_answer__init(answer);
    if (roots->n_vnodes > ANTIENTROPY_ROOTS || roots->n_ns != roots->n_vnodes ||
        roots->n_roots != roots->n_vnodes ||
        !antientropy_rises(roots->unsure, roots->n_unsure, (uint32_t)roots->n_vnodes)) {
        turn->counters->invalid++;
        return;
    }
    answer->differing = ARENA_ARRAY(turn->arena, uint32_t, ANTIENTROPY_ROOTS);
    answer->unproven = ARENA_ARRAY(turn->arena, uint32_t, ANTIENTROPY_ROOTS);
    for (uint32_t i = 0, unsure = 0; i < roots->n_vnodes; i++) {
        uint32_t vnode = roots->vnodes[i], n = roots->ns[i];
        bool ours = is_ours(turn, vnode, n), built = ours && forest_is_built(self->forest, vnode);
        bool theirs_unsure = unsure < roots->n_unsure && roots->unsure[unsure] == i;
        unsure += theirs_unsure;
        answer->unbuilt += ours && !built;
        if (built && forest_root(self->forest, vnode, n) != roots->roots[i])
            answer->differing[answer->n_differing++] = i;
        else if (!built || antientropy_is_unsure(self, vnode))
            answer->unproven[answer->n_unproven++] = i;
        else if (!theirs_unsure)
            antientropy_note_equal(self, turn, vnode, n, mail->from.node, turn->now_ns);
    }
    antientropy_serve(self, turn, 0, &answer->base);
    turn_send(turn, mail->from, mail->request, DYNODE__PEER__MESSAGE__BODY_TREE_ROOTS_ANSWER, answer);
}

static enum status nodes(struct antientropy *self, struct turn *turn, const Dynode__Peer__TreeNodes *asked,
                         Dynode__Peer__TreeNodesAnswer *answer)
{
    if (!is_ours(turn, asked->vnode, asked->n) ||
        !antientropy_rises(asked->inners, asked->n_inners, TREE_INNER))
        return STATUS_INVALID;
    if (!forest_is_built(self->forest, asked->vnode)) return STATUS_UNAVAILABLE;
    if (asked->n_inners == 0) {
        answer->sums = ARENA_ARRAY(turn->arena, uint64_t, TREE_INNER);
        forest_inners(self->forest, asked->vnode, asked->n, answer->sums);
        answer->n_sums = TREE_INNER;
        return STATUS_OK;
    }
    answer->sums = ARENA_ARRAY(turn->arena, uint64_t, asked->n_inners * TREE_FAN);
    for (size_t i = 0; i < asked->n_inners; i++, answer->n_sums += TREE_FAN)
        forest_leaves(self->forest, asked->vnode, asked->n, asked->inners[i], answer->sums + answer->n_sums);
    return STATUS_OK;
}

static uint64_t reaped_hash(const struct antientropy *self, uint32_t vnode, uint32_t n)
{
    struct vv reaped = copies_reaped(self->copies, vnode, n);
    return copies_hash(&reaped);
}

/* Each side joins what the other has reaped: ours will, when this turn goes on. */
static void tell_clocks(struct antientropy *self, struct turn *turn, const Dynode__Peer__TreeNodes *asked,
                        Dynode__Peer__TreeNodesAnswer *answer)
{
    struct clocks mine, theirs;
    struct vv reaped, own = copies_reaped(self->copies, asked->vnode, asked->n);
    if (!clocks_open(asked->clocks, turn->arena, &theirs, &reaped)) {
        turn->counters->invalid++;
        return;
    }
    clocks_read(self->copies, asked->vnode, asked->n, turn->arena, &mine);
    answer->clocks = clocks_message(&mine, &own, turn->arena);
    antientropy_join_reaped(self, turn, asked->vnode, asked->n, &reaped);
}

static void answer_nodes(struct antientropy *self, struct turn *turn, const struct mail *mail)
{
    Dynode__Peer__TreeNodesAnswer *answer = ARENA_NEW(turn->arena, Dynode__Peer__TreeNodesAnswer);
    dynode__peer__tree_nodes_answer__init(answer);
    const Dynode__Peer__TreeNodes *asked = mail->body;
    answer->status = nodes(self, turn, asked, answer);
    answer->ring = ring_version(turn->ring);
    answer->unsure = answer->status == STATUS_OK && antientropy_is_unsure(self, asked->vnode);
    if (answer->status == STATUS_OK) answer->reaped = reaped_hash(self, asked->vnode, asked->n);
    if (answer->status == STATUS_OK && asked->clocks != NULL) tell_clocks(self, turn, asked, answer);
    answer->rest_ms = antientropy_serve(self, turn, 0, &answer->base);
    /* What clocks say we have seen others go by. */
    if (answer->clocks != NULL)
        turn_send_durable(turn, mail->from, mail->request, DYNODE__PEER__MESSAGE__BODY_TREE_NODES_ANSWER,
                          answer);
    else
        turn_send(turn, mail->from, mail->request, DYNODE__PEER__MESSAGE__BODY_TREE_NODES_ANSWER, answer);
}

static enum status leaf_keys(struct antientropy *self, struct turn *turn, const Dynode__Peer__LeafKeys *asked,
                             Dynode__Peer__LeafKeysAnswer *answer, size_t *read_bytes)
{
    uint32_t leaves[TREE_INNER] = {0};
    struct leaf_page page;
    if (!is_ours(turn, asked->vnode, asked->n) ||
        !antientropy_rises(asked->leaves, asked->n_leaves, TREE_LEAVES) ||
        asked->after.len > STORE_PLACE_BYTES + KEY_BYTES_MAX)
        return STATUS_INVALID;
    for (size_t i = 0; i < asked->n_leaves; i++)
        leaves[asked->leaves[i] / TREE_FAN] |= UINT32_C(1) << asked->leaves[i] % TREE_FAN;
    struct leaf_range range = {
        .vnode = asked->vnode, .n = asked->n, .leaves = leaves, .after = from_pb(asked->after)};
    leaf_page_read(self, turn, &range, slice(self, ANTIENTROPY_PAGE_BYTES), &page);
    *read_bytes = page.read_bytes;
    answer->keys = ARENA_ARRAY(turn->arena, Dynode__Peer__LeafKey *, page.count);
    for (uint32_t i = 0; i < page.count; i++) {
        Dynode__Peer__LeafKey *key = ARENA_NEW(turn->arena, Dynode__Peer__LeafKey);
        dynode__peer__leaf_key__init(key);
        key->key = to_pb(page.keys[i].key);
        key->checksum = page.keys[i].checksum;
        key->goes = page.keys[i].goes;
        answer->keys[answer->n_keys++] = key;
    }
    answer->cursor = to_pb(page.cursor);
    answer->reaped = reaped_hash(self, asked->vnode, asked->n);
    answer->whole = copies_is_whole(self->copies, asked->vnode, asked->n, turn->arena);
    return STATUS_OK;
}

static void answer_keys(struct antientropy *self, struct turn *turn, const struct mail *mail)
{
    Dynode__Peer__LeafKeysAnswer *answer = ARENA_NEW(turn->arena, Dynode__Peer__LeafKeysAnswer);
    dynode__peer__leaf_keys_answer__init(answer);
    size_t read_bytes = 0;
    answer->status = leaf_keys(self, turn, mail->body, answer, &read_bytes);
    if (turn->store_broken) return;
    answer->rest_ms = antientropy_serve(self, turn, read_bytes, &answer->base);
    turn_send(turn, mail->from, mail->request, DYNODE__PEER__MESSAGE__BODY_LEAF_KEYS_ANSWER, answer);
}

static void fetch(struct antientropy *self, struct turn *turn, const Dynode__Peer__FetchObjects *asked,
                  Dynode__Peer__ObjectsFetched *answer)
{
    struct store_place place;
    const struct table *table;
    size_t bytes = 0, most = slice(self, ANTIENTROPY_WINDOW_BYTES);
    answer->objects = ARENA_ARRAY(turn->arena, Dynode__Peer__FetchedObject *, asked->n_keys);
    for (size_t i = 0; i < asked->n_keys && bytes < most; i++) {
        Dynode__Peer__FetchedObject *object = ARENA_NEW(turn->arena, Dynode__Peer__FetchedObject);
        dynode__peer__fetched_object__init(object);
        struct bytes encoded = {0}, key = from_pb(asked->keys[i]);
        object->status = STATUS_INVALID;
        if (antientropy_place_in(self, turn, key, asked->vnode, asked->n, &place, &table))
            object->status = antientropy_load(self, turn, key, &encoded);
        if (turn->store_broken) return;
        if (bytes > 0 && bytes + encoded.size > OBJECT_BYTES_MAX) return; /* the frame's bound is near */
        object->object = to_pb(encoded);
        bytes += encoded.size;
        answer->objects[answer->n_objects++] = object;
    }
}

static void answer_fetch(struct antientropy *self, struct turn *turn, const struct mail *mail)
{
    const Dynode__Peer__FetchObjects *asked = mail->body;
    Dynode__Peer__ObjectsFetched *answer = ARENA_NEW(turn->arena, Dynode__Peer__ObjectsFetched);
    dynode__peer__objects_fetched__init(answer);
    if (!is_ours(turn, asked->vnode, asked->n) || asked->n_keys > ANTIENTROPY_WINDOW_KEYS) {
        answer->status = STATUS_INVALID;
    } else {
        bool filled = copies_is_filled(self->copies, asked->vnode, asked->n);
        answer->status = filled ? STATUS_OK : STATUS_NOT_FILLED;
        answer->reaped = reaped_hash(self, asked->vnode, asked->n);
        answer->whole = copies_is_whole(self->copies, asked->vnode, asked->n, turn->arena);
        fetch(self, turn, asked, answer);
    }
    if (turn->store_broken) return;
    answer->rest_ms = antientropy_serve(self, turn, 0, &answer->base);
    turn_send(turn, mail->from, mail->request, DYNODE__PEER__MESSAGE__BODY_OBJECTS_FETCHED, answer);
}

/* What our replica makes of each is its own affair: it checks them as if a coordinator had sent them. */
static void answer_push(struct antientropy *self, struct turn *turn, const struct mail *mail)
{
    const Dynode__Peer__PushObjects *pushed = mail->body;
    struct store_place place;
    const struct table *table;
    if (!is_ours(turn, pushed->vnode, pushed->n) || pushed->n_objects > ANTIENTROPY_WINDOW_KEYS) {
        turn->counters->invalid++;
        return;
    }
    size_t bytes = 0;
    bool whole = pushed->whole && pushed->reaped == reaped_hash(self, pushed->vnode, pushed->n);
    bool own_whole = copies_is_whole(self->copies, pushed->vnode, pushed->n, turn->arena);
    Dynode__Peer__Pushed *end = ARENA_NEW(turn->arena, Dynode__Peer__Pushed);
    dynode__peer__pushed__init(end);
    end->node = mail->from.node;
    end->shard = mail->from.shard;
    end->no_room = self->copies->no_room;
    for (size_t i = 0; i < pushed->n_objects; i++) {
        struct bytes key = from_pb(pushed->objects[i]->key), encoded = from_pb(pushed->objects[i]->object);
        if (!antientropy_place_in(self, turn, key, pushed->vnode, pushed->n, &place, &table)) {
            end->partial = true;
            continue;
        }
        if (encoded.size > 0 || (whole && !own_whole))
            antientropy_merge(turn, &place, table, encoded,
                              &(struct merge_as){.vouched = whole, .judged = whole && !own_whole});
        turn->counters->objects_in++;
        bytes += encoded.size;
    }
    governor_serve(self->governor, turn->now_ns, bytes);
    turn_send(turn, turn->self, mail->request, DYNODE__PEER__MESSAGE__BODY_PUSHED, end);
}

/* Another push may have been refused meanwhile: a disk that is full for one is full for all. */
static void answer_pushed(struct antientropy *self, struct turn *turn, const struct mail *mail)
{
    const Dynode__Peer__Pushed *pushed = mail->body;
    struct address to = {.node = pushed->node, .shard = pushed->shard};
    if (!address_is(mail->from, turn->self)) {
        turn->counters->invalid++; /* nobody answers for another shard */
        return;
    }
    Dynode__Peer__ObjectsPushed *answer = ARENA_NEW(turn->arena, Dynode__Peer__ObjectsPushed);
    dynode__peer__objects_pushed__init(answer);
    answer->status = pushed->no_room == self->copies->no_room ? STATUS_OK : STATUS_NO_SPACE;
    answer->partial = pushed->partial;
    answer->rest_ms = antientropy_serve(self, turn, 0, &answer->base);
    turn_send_durable(turn, to, mail->request, DYNODE__PEER__MESSAGE__BODY_OBJECTS_PUSHED, answer);
}

void antientropy_answer(struct antientropy *self, struct turn *turn, const struct mail *mail)
{
    bool waits = mail->kind == DYNODE__PEER__MESSAGE__BODY_TREE_ROOTS ||
                 mail->kind == DYNODE__PEER__MESSAGE__BODY_TREE_NODES ||
                 mail->kind == DYNODE__PEER__MESSAGE__BODY_LEAF_KEYS ||
                 mail->kind == DYNODE__PEER__MESSAGE__BODY_FETCH_OBJECTS;
    antientropy_observe(self, turn, 0);
    if (waits && turn_is_late(turn, ANTIENTROPY_TIMEOUT_NS / 1000000)) {
        turn->counters->expired++;
        return;
    }
    switch (mail->kind) {
    case DYNODE__PEER__MESSAGE__BODY_TREE_ROOTS:
        answer_roots(self, turn, mail);
        break;
    case DYNODE__PEER__MESSAGE__BODY_TREE_NODES:
        answer_nodes(self, turn, mail);
        break;
    case DYNODE__PEER__MESSAGE__BODY_LEAF_KEYS:
        answer_keys(self, turn, mail);
        break;
    case DYNODE__PEER__MESSAGE__BODY_FETCH_OBJECTS:
        answer_fetch(self, turn, mail);
        break;
    case DYNODE__PEER__MESSAGE__BODY_ASK_BLANK:
        blank_answer(self, turn, mail);
        break;
    case DYNODE__PEER__MESSAGE__BODY_PUSHED:
        answer_pushed(self, turn, mail);
        break;
    default:
        CHECK(mail->kind == DYNODE__PEER__MESSAGE__BODY_PUSH_OBJECTS);
        answer_push(self, turn, mail);
    }
}
