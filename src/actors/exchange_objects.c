/* The objects of an exchange: those that differ are fetched, merged here, and what the other lacks is pushed.
 */
#include "actors/antientropy_state.h"

static struct bytes want_key(const struct exchange *exchange, uint32_t number)
{
    const struct want *one = &exchange->wants[number];
    return bytes_of(exchange->keys.data + one->offset, one->size);
}

/* What is to be pushed, as it grows. */
struct pushing {
    Dynode__Peer__PushObjects *message;
    size_t bytes;
};

static struct pushing pushing_new(struct turn *turn, const struct exchange *exchange)
{
    Dynode__Peer__PushObjects *message = ARENA_NEW(turn->arena, Dynode__Peer__PushObjects);
    dynode__peer__push_objects__init(message);
    message->vnode = exchange->vnode;
    message->n = exchange->n;
    message->objects = ARENA_ARRAY(turn->arena, Dynode__Peer__PushedObject *, ANTIENTROPY_WINDOW_KEYS);
    return (struct pushing){.message = message};
}

static void pushing_add(struct pushing *pushing, struct turn *turn, struct bytes key, struct bytes encoded)
{
    Dynode__Peer__PushedObject *object = ARENA_NEW(turn->arena, Dynode__Peer__PushedObject);
    dynode__peer__pushed_object__init(object);
    object->key = to_pb(bytes_copy(turn->arena, key));
    object->object = to_pb(encoded);
    pushing->message->objects[pushing->message->n_objects++] = object;
    pushing->bytes += key.size + encoded.size;
    turn->counters->objects_out++;
}

/* Who of the two knows what has gone for good: one whose copy is whole, if the other's is not. */
struct judgement {
    bool ours_goes, theirs_goes; /* what was reaped, and the other does not hold */
    bool vouched;                /* what they have counts here, whatever was reaped */
    struct vv reaped;
};

static struct judgement judge(const struct antientropy *self, const struct turn *turn,
                              const struct exchange *exchange)
{
    bool whole = copies_is_whole(self->copies, exchange->vnode, exchange->n, turn->arena);
    return (struct judgement){.ours_goes = exchange->same && exchange->peer_whole && !whole,
                              .theirs_goes = exchange->same && whole && !exchange->peer_whole,
                              .vouched = exchange->same && exchange->peer_whole,
                              .reaped = copies_reaped(self->copies, exchange->vnode, exchange->n)};
}

static struct bytes encode(const struct object *object, struct arena *arena)
{
    return object->count > 0 ? object_encode(object, arena) : bytes_of(NULL, 0);
}

/* Join what the other has (nothing, perhaps) with our own (the same), and what it lacks with what is to be
 * pushed. False: it may not be here now. */
static bool merge_both(struct turn *turn, const struct judgement *judgement, const struct store_place *place,
                       const struct table *table, struct bytes key, const struct object *mine,
                       const struct object *theirs, struct pushing *pushing)
{
    struct object ours = *mine, others = *theirs;
    bool goes = false;
    if (judgement->ours_goes) ours = copies_strip(mine, theirs, &judgement->reaped, turn->arena, &goes);
    if (judgement->theirs_goes) others = copies_strip(theirs, mine, &judgement->reaped, turn->arena, &goes);
    struct object merged = object_merge(&ours, &others, table->rule, turn->arena);
    if (!object_fits(&merged)) return false;
    struct bytes result = encode(&merged, turn->arena);
    if (!object_equal(&merged, mine))
        antientropy_merge(turn, place, table, result,
                          &(struct merge_as){.vouched = judgement->vouched, .judged = judgement->ours_goes});
    if (!object_equal(&merged, theirs)) pushing_add(pushing, turn, key, result);
    return true;
}

/* The same with an object that they sent. What can't be read there is lost there; what can't be read here
 * does not count (mend.c). */
static bool merge_fetched(struct antientropy *self, struct turn *turn, struct exchange *exchange,
                          struct bytes key, const Dynode__Peer__FetchedObject *fetched,
                          struct pushing *pushing)
{
    struct store_place place;
    const struct table *table;
    struct bytes own, encoded = from_pb(fetched->object);
    struct object mine = {0}, theirs = {0};
    if (!antientropy_place_in(self, turn, key, exchange->vnode, exchange->n, &place, &table)) return false;
    if (fetched->status == STATUS_CORRUPT) exchange->complete = exchange->given = false;
    if (fetched->status == STATUS_CORRUPT) return true;
    if (fetched->status != STATUS_OK && fetched->status != STATUS_NOT_FOUND) return false;
    enum status status = antientropy_load(self, turn, key, &own);
    if (status == STATUS_CORRUPT) exchange->complete = exchange->given = false;
    if (status != STATUS_OK && status != STATUS_NOT_FOUND) return status == STATUS_CORRUPT;
    if (fetched->status == STATUS_OK) { /* else it has gone since */
        if (bytes_equal(own, encoded)) return true;
        if (object_decode(encoded, turn->arena, &theirs) != STATUS_OK || theirs.context.count == 0) {
            turn->counters->invalid++;
            return false;
        }
        turn->counters->objects_in++;
    }
    if (status == STATUS_OK && object_decode(own, turn->arena, &mine) != STATUS_OK) return false;
    struct judgement judgement = judge(self, turn, exchange);
    return merge_both(turn, &judgement, &place, table, key, &mine, &theirs, pushing);
}

static void push(struct antientropy *self, struct turn *turn, struct exchange *exchange,
                 const struct pushing *pushing)
{
    struct vv reaped = copies_reaped(self->copies, exchange->vnode, exchange->n);
    pushing->message->reaped = copies_hash(&reaped);
    pushing->message->whole = copies_is_whole(self->copies, exchange->vnode, exchange->n, turn->arena);
    exchange->asked = 0; /* its answer moves nothing on */
    exchange_ask(self, turn, exchange, DYNODE__PEER__MESSAGE__BODY_PUSH_OBJECTS, &pushing->message->base);
}

void exchange_objects_answered(struct antientropy *self, struct turn *turn, struct exchange *exchange,
                               const Dynode__Peer__ObjectsFetched *answer)
{
    struct pushing pushing = pushing_new(turn, exchange);
    bool good = answer->status == STATUS_OK || answer->status == STATUS_NOT_FILLED;
    if (!good || exchange->asked == 0) {
        exchange_end(turn, exchange);
        return;
    }
    if (answer->n_objects == 0 || answer->n_objects > exchange->asked) {
        exchange_refuse(turn, exchange);
        return;
    }
    exchange_look_at_reaped(self, exchange, answer->reaped, answer->whole);
    /* Ours may be far larger than theirs: those that this message has no room for are fetched again. */
    for (size_t i = 0; i < answer->n_objects && pushing.bytes < ANTIENTROPY_WINDOW_BYTES; i++) {
        struct bytes key = want_key(exchange, exchange->want_next++);
        if (!merge_fetched(self, turn, exchange, key, answer->objects[i], &pushing)) exchange->whole = false;
        if (turn->store_broken) return;
    }
    if (pushing.message->n_objects == 0) return;
    if (antientropy_is_refused(self, turn, exchange->node))
        exchange->given = false;
    else
        push(self, turn, exchange, &pushing);
}

static void ask_objects(struct antientropy *self, struct turn *turn, struct exchange *exchange)
{
    Dynode__Peer__FetchObjects *fetch = ARENA_NEW(turn->arena, Dynode__Peer__FetchObjects);
    dynode__peer__fetch_objects__init(fetch);
    fetch->vnode = exchange->vnode;
    fetch->n = exchange->n;
    fetch->keys = ARENA_ARRAY(turn->arena, ProtobufCBinaryData, ANTIENTROPY_WINDOW_KEYS);
    for (uint32_t i = exchange->want_next;
         i < exchange->want_count && exchange->wants[i].fetch && fetch->n_keys < ANTIENTROPY_WINDOW_KEYS; i++)
        fetch->keys[fetch->n_keys++] = to_pb(bytes_copy(turn->arena, want_key(exchange, i)));
    exchange->asked = (uint32_t)fetch->n_keys;
    exchange_ask(self, turn, exchange, DYNODE__PEER__MESSAGE__BODY_FETCH_OBJECTS, &fetch->base);
}

/* What the other lacks altogether. False: nothing of it is here any more. */
static bool push_own(struct antientropy *self, struct turn *turn, struct exchange *exchange)
{
    struct pushing pushing = pushing_new(turn, exchange);
    struct judgement judgement = judge(self, turn, exchange);
    while (exchange->want_next < exchange->want_count && !exchange->wants[exchange->want_next].fetch &&
           pushing.message->n_objects < ANTIENTROPY_WINDOW_KEYS && pushing.bytes < ANTIENTROPY_WINDOW_BYTES) {
        struct bytes key = want_key(exchange, exchange->want_next++), own;
        struct store_place place;
        const struct table *table;
        struct object mine, theirs = {0};
        if (antientropy_load(self, turn, key, &own) == STATUS_OK) {
            if (!antientropy_place_in(self, turn, key, exchange->vnode, exchange->n, &place, &table) ||
                object_decode(own, turn->arena, &mine) != STATUS_OK ||
                !merge_both(turn, &judgement, &place, table, key, &mine, &theirs, &pushing))
                exchange->whole = false;
        }
        if (turn->store_broken) return true;
    }
    if (pushing.message->n_objects == 0) return false;
    push(self, turn, exchange, &pushing);
    return true;
}

void exchange_objects_pushed(struct antientropy *self, struct turn *turn, struct exchange *exchange,
                             const Dynode__Peer__ObjectsPushed *answer)
{
    if (answer->status != STATUS_OK || answer->partial) exchange->given = false;
    if (answer->status != STATUS_OK) antientropy_note_refusal(self, turn, exchange->node);
}

void exchange_step_objects(struct antientropy *self, struct turn *turn, struct exchange *exchange)
{
    while (exchange->want_next < exchange->want_count) {
        if (exchange->wants[exchange->want_next].fetch) {
            ask_objects(self, turn, exchange);
            return;
        }
        if (antientropy_is_refused(self, turn, exchange->node)) {
            exchange->given = false;
            exchange->want_next++;
        } else if (push_own(self, turn, exchange))
            return;
    }
    if (exchange->last) {
        turn->counters->exchanges++;
        exchange_complete(turn, exchange);
    } else {
        exchange->phase = EXCHANGE_KEYS;
        exchange_ask_keys(self, turn, exchange);
    }
}
